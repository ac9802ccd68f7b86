//! The tables and columns of a schema version, as the migrations themselves make them.
//!
//! The migrations of SQLite run in memory and the result is asked for its tables. All engines have the same ones, which a
//! test sees to, so this one answer serves every engine, and a table that a migration adds is in every backup from then on.
//! What a database notes for itself is no data and not among them: its migrations, and which gateway leads on it.
//!
//! Invariant: names consist of lower-case letters, digits and underscores, so that they can stand in a statement.

use serde::{Deserialize, Serialize};
use sqlx::{Connection, SqliteConnection};

use crate::store::{StoreError, dialect};

/// Asked of SQLite only, and of its own tables only.
const TABLES: &str = "SELECT name, UPPER(sql) LIKE '% AUTOINCREMENT%' FROM sqlite_master
    WHERE type = 'table' AND name NOT LIKE 'sqlite%' AND name NOT IN ('_sqlx_migrations', 'leadership') ORDER BY name";
const COLUMNS: &str = "SELECT name, type, pk FROM pragma_table_info($1) ORDER BY cid";
const PARENTS: &str = "SELECT \"table\" FROM pragma_foreign_key_list($1)";

/// All tables of a version, parents before their children.
#[derive(Clone, Debug)]
pub(super) struct Schema {
    /// The newest migration.
    pub(super) version: i64,
    /// The tables.
    pub(super) tables: Vec<Table>,
}

/// A table.
#[derive(Clone, Debug)]
pub(super) struct Table {
    /// Its name.
    pub(super) name: String,
    /// Its columns, in order.
    pub(super) columns: Vec<Column>,
    /// The columns of its primary key, in order.
    pub(super) key: Vec<String>,
    /// The column it numbers by itself.
    pub(super) numbered: Option<String>,
    parents: Vec<String>,
}

/// A column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Column {
    /// Its name.
    pub(super) name: String,
    /// What it holds.
    pub(super) kind: Kind,
}

/// What a column holds on every engine, besides null.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    /// A whole number of 64 bits.
    Integer,
    /// True or false.
    Flag,
    /// Text.
    Text,
    /// Bytes.
    Bytes,
}

impl Kind {
    fn of(declared: &str) -> Option<Self> {
        Some(match declared {
            "INTEGER" | "BIGINT" => Self::Integer,
            "BOOLEAN" => Self::Flag,
            "TEXT" => Self::Text,
            "BLOB" => Self::Bytes,
            _ => return None,
        })
    }
}

impl Schema {
    /// The schema of this version, which this wagate must know.
    pub(super) async fn of(version: i64) -> Result<Self, StoreError> {
        let mut blank = dialect::blank(version).await?;
        let names: Vec<(String, bool)> = sqlx::query_as(TABLES).fetch_all(&mut blank).await?;
        let mut tables = Vec::with_capacity(names.len());
        for (name, numbered) in names {
            tables.push(Table::of(&mut blank, name, numbered).await?);
        }
        blank.close().await?;
        Ok(Self { version, tables: parents_first(tables)? })
    }

    /// The table of this name.
    pub(super) fn table(&self, name: &str) -> Option<&Table> {
        self.tables.iter().find(|table| table.name == name)
    }
}

impl Table {
    async fn of(blank: &mut SqliteConnection, name: String, numbered: bool) -> Result<Self, StoreError> {
        let found: Vec<(String, String, i64)> = sqlx::query_as(COLUMNS).bind(&name).fetch_all(&mut *blank).await?;
        let parents: Vec<String> = sqlx::query_scalar(PARENTS).bind(&name).fetch_all(blank).await?;
        let mut columns = Vec::with_capacity(found.len());
        let mut key = Vec::new();
        for (column, declared, place) in found {
            let plain = |name: &str| name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
            // Up to migration 4 SQLite had text there, and the other engines never.
            let declared = if name == "plugin_values" && column == "name" { "BLOB" } else { declared.as_str() };
            let kind = Kind::of(declared).filter(|_| plain(&name) && plain(&column));
            let kind = kind.ok_or_else(|| unfit(&format!("{name}.{column} is declared as {declared}")))?;
            if place > 0 {
                key.push((place, column.clone()));
            }
            columns.push(Column { name: column, kind });
        }
        key.sort();
        let key: Vec<String> = key.into_iter().map(|(_, column)| column).collect();
        let numbered = key.first().filter(|_| numbered).cloned();
        Ok(Self { name, columns, key, numbered, parents })
    }

    /// Where the column of this name stands.
    pub(super) fn place(&self, column: &str) -> Option<usize> {
        self.columns.iter().position(|known| known.name == column)
    }
}

/// Tables in an order in which their rows can be written: by name, but none before a table it refers to.
fn parents_first(mut tables: Vec<Table>) -> Result<Vec<Table>, StoreError> {
    let mut ordered: Vec<Table> = Vec::with_capacity(tables.len());
    while !tables.is_empty() {
        let placed = |name: &String| ordered.iter().any(|table| table.name == *name);
        let free = tables.iter().position(|table| table.parents.iter().all(|name| *name == table.name || placed(name)));
        let free = free.ok_or_else(|| unfit("tables refer to each other in a circle"))?;
        ordered.push(tables.remove(free));
    }
    Ok(ordered)
}

/// The migrations made something a dump has no form for. A test meets it before anybody else does.
fn unfit(reason: &str) -> StoreError {
    sqlx::Error::Decode(format!("the schema does not fit into a dump: {reason}").into()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str, parents: &[&str]) -> Table {
        let parents = parents.iter().map(|&parent| parent.to_owned()).collect();
        Table { name: name.to_owned(), columns: Vec::new(), key: Vec::new(), numbered: None, parents }
    }

    #[test]
    fn parents_stand_before_their_children() {
        let tables = vec![named("a", &["c", "a"]), named("b", &[]), named("c", &["b"])];
        let ordered: Vec<String> = parents_first(tables).unwrap().into_iter().map(|table| table.name).collect();
        assert_eq!(ordered, ["b", "c", "a"]);
        assert!(parents_first(vec![named("a", &["b"]), named("b", &["a"])]).is_err());
    }

    #[tokio::test]
    async fn reads_the_schema_off_the_migrations() {
        let schema = Schema::of(dialect::newest()).await.unwrap();
        let events = schema.table("events").unwrap();
        assert_eq!((events.key.as_slice(), events.numbered.as_deref()), (&["seq".to_owned()][..], Some("seq")));
        let kind = |column| events.place(column).map(|at| events.columns[at].kind);
        assert_eq!(
            [kind("seq"), kind("payload"), kind("dedup"), kind("no")],
            [Some(Kind::Integer), Some(Kind::Text), Some(Kind::Bytes), None]
        );
        let attempts = schema.table("attempts").unwrap();
        assert_eq!(
            (attempts.key.as_slice(), &attempts.numbered),
            (&["delivery_id".to_owned(), "number".to_owned()][..], &None)
        );
        let at = |name| schema.tables.iter().position(|table| table.name == name).unwrap();
        assert!(at("users") < at("sessions") && at("deliveries") < at("attempts"));
        let older = Schema::of(2).await.unwrap();
        assert!(older.table("plugins").is_none() && older.table("events").is_some());
        assert!(schema.table("leadership").is_none(), "who leads on a database is no data");
    }
}
