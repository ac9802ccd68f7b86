//! Rows of any table, on any engine.
//!
//! Which tables and columns there are is known only when the program runs, so this is the one place whose statements are
//! made then. Their names come from [`schema`](super::schema), which lets only plain ones in, and stand in quotes; values
//! are always bound.

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use sqlx::{AssertSqlSafe, ColumnIndex, Decode, Row as _, Type};

use super::schema::{Column, Kind, Table};
use crate::store::column;
use crate::store::pool::{Tx, on};
use crate::store::sql::statements;

statements! {
    /// The newest migration a database has.
    VERSION = "SELECT MAX(version) FROM _sqlx_migrations";
    /// What a database without users has written about itself. A backup brings its own.
    FORGET_SETTINGS = "DELETE FROM settings";
}

/// A row: a value for each column of its table.
pub(super) type Row = Vec<Value>;

/// A value of a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// None.
    Null,
    /// Of [`Kind::Integer`].
    Integer(i64),
    /// Of [`Kind::Flag`].
    Flag(bool),
    /// Of [`Kind::Text`].
    Text(String),
    /// Of [`Kind::Bytes`].
    Bytes(Vec<u8>),
}

impl Value {
    /// Its bytes, as far as it may have many.
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Bytes(bytes) => bytes,
            Self::Null | Self::Integer(_) | Self::Flag(_) => &[],
        }
    }
}

/// The newest migration of a database.
pub(super) async fn version(tx: &mut Tx) -> sqlx::Result<Option<i64>> {
    on!(tx, |db, q| { sqlx::query_scalar(q(VERSION)).fetch_one(db).await })
}

/// Deletes what a database without users holds all the same.
pub(super) async fn forget_settings(tx: &mut Tx) -> sqlx::Result<()> {
    on!(tx, |db, q| { sqlx::query(q(FORGET_SETTINGS)).execute(db).await.map(|_| ()) })
}

/// Every row of a table in the order of its key, one after the other: memory is needed for a few of them at a time.
pub(super) fn all<'a>(tx: &'a mut Tx, table: &'a Table) -> BoxStream<'a, sqlx::Result<Row>> {
    let (columns, key) = (columns(tx, table), list(tx, table.key.iter().map(String::as_str)));
    let sql = AssertSqlSafe(format!("SELECT {columns} FROM {} ORDER BY {key}", quoted(tx, &table.name)));
    on!(tx, |db, _q| { sqlx::query(sql).fetch(db).map(move |row| read(&row?, &table.columns)).boxed() })
}

/// How many rows a table has.
pub(super) async fn count(tx: &mut Tx, table: &str) -> sqlx::Result<u64> {
    let sql = AssertSqlSafe(format!("SELECT COUNT(*) FROM {}", quoted(tx, table)));
    let rows: i64 = on!(tx, |db, _q| { sqlx::query_scalar(sql).fetch_one(db).await? });
    Ok(rows.unsigned_abs())
}

/// Whether a table has any row.
pub(super) async fn any(tx: &mut Tx, table: &Table) -> sqlx::Result<bool> {
    let name = quoted(tx, &table.name);
    let sql = AssertSqlSafe(format!("SELECT COUNT(*) FROM (SELECT 1 AS found FROM {name} LIMIT 1) hit"));
    let rows: i64 = on!(tx, |db, _q| { sqlx::query_scalar(sql).fetch_one(db).await? });
    Ok(rows > 0)
}

/// Writes rows, all in one statement.
pub(super) async fn insert(tx: &mut Tx, table: &Table, rows: Vec<Row>) -> sqlx::Result<()> {
    let sql = AssertSqlSafe(insertion(tx, table, rows.len()));
    // PostgreSQL has no text with a NUL in it. The gateway writes none today, but SQLite may hold one from before.
    let no_nul = matches!(tx, Tx::Postgres(_));
    on!(tx, |db, _q| {
        let mut query = sqlx::query(sql);
        for row in rows {
            for (value, column) in row.into_iter().zip(&table.columns) {
                query = match (value, column.kind) {
                    (Value::Null, Kind::Integer) => query.bind(None::<i64>),
                    (Value::Null, Kind::Flag) => query.bind(None::<bool>),
                    (Value::Null, Kind::Text) => query.bind(None::<String>),
                    (Value::Null, Kind::Bytes) => query.bind(None::<Vec<u8>>),
                    (Value::Integer(number), _) => query.bind(number),
                    (Value::Flag(flag), _) => query.bind(flag),
                    (Value::Text(text), _) if no_nul => query.bind(column::text(&text).into_owned()),
                    (Value::Text(text), _) => query.bind(text),
                    (Value::Bytes(bytes), _) => query.bind(bytes),
                };
            }
        }
        query.execute(db).await?;
    });
    Ok(())
}

/// The next number a table gives out by itself; `None` where it numbers nothing. Numbers are not given out twice, so
/// this may be more than one above the highest there is.
pub(super) async fn next_number(tx: &mut Tx, table: &Table) -> sqlx::Result<Option<i64>> {
    let Some(column) = &table.numbered else { return Ok(None) };
    let name = quoted(tx, &table.name);
    let last: Option<i64> = match tx {
        Tx::Sqlite(db) => {
            let last = sqlx::query_scalar("SELECT seq FROM sqlite_sequence WHERE name = $1").bind(&table.name);
            last.fetch_optional(db).await?
        }
        Tx::Postgres(db) => {
            let last = "SELECT pg_sequence_last_value(CAST(pg_get_serial_sequence($1, $2) AS regclass))";
            sqlx::query_scalar(last).bind(name).bind(column).fetch_one(db).await?
        }
        Tx::MySql(db) => {
            // What information_schema says of it may be a day old.
            let row = sqlx::query(AssertSqlSafe(format!("SHOW CREATE TABLE {name}"))).fetch_one(db).await?;
            let text: String = row.try_get_unchecked(1)?;
            return Ok(Some(auto_increment(&text).unwrap_or(1)));
        }
    };
    Ok(Some(last.map_or(1, |last| last.saturating_add(1))))
}

/// Lets a table that is still empty begin its own numbers here. Outside a transaction: MySQL would commit it.
pub(super) async fn begin_numbers(tx: &mut Tx, table: &Table, next: i64) -> sqlx::Result<()> {
    let Some(column) = table.numbered.as_ref().filter(|_| next > 1) else { return Ok(()) };
    let name = quoted(tx, &table.name);
    match tx {
        Tx::Sqlite(db) => {
            sqlx::query("DELETE FROM sqlite_sequence WHERE name = $1").bind(&table.name).execute(&mut *db).await?;
            let set = sqlx::query("INSERT INTO sqlite_sequence (name, seq) VALUES ($1, $2)").bind(&table.name);
            set.bind(next.saturating_sub(1)).execute(db).await?;
        }
        Tx::Postgres(db) => {
            let set = "SELECT setval(CAST(pg_get_serial_sequence($1, $2) AS regclass), $3)";
            sqlx::query(set).bind(name).bind(column).bind(next.saturating_sub(1)).execute(db).await?;
        }
        Tx::MySql(db) => {
            let set = format!("ALTER TABLE {name} AUTO_INCREMENT = {next}");
            sqlx::query(AssertSqlSafe(set)).execute(db).await?;
        }
    }
    Ok(())
}

/// The number in `… AUTO_INCREMENT=7 …`, as `SHOW CREATE TABLE` has it behind the columns once it is above 1.
fn auto_increment(text: &str) -> Option<i64> {
    let (_, options) = text.rsplit_once(')')?;
    let (_, number) = options.split_once("AUTO_INCREMENT=")?;
    number.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

fn quoted(tx: &Tx, name: &str) -> String {
    match tx {
        Tx::Sqlite(_) | Tx::Postgres(_) => format!("\"{name}\""),
        Tx::MySql(_) => format!("`{name}`"),
    }
}

fn list<'a>(tx: &Tx, names: impl Iterator<Item = &'a str>) -> String {
    names.map(|name| quoted(tx, name)).collect::<Vec<_>>().join(", ")
}

fn columns(tx: &Tx, table: &Table) -> String {
    list(tx, table.columns.iter().map(|column| column.name.as_str()))
}

/// `INSERT INTO "t" ("a", "b") VALUES ($1, $2), ($3, $4)`.
fn insertion(tx: &Tx, table: &Table, rows: usize) -> String {
    let width = table.columns.len();
    let parameter = |number: usize| match tx {
        Tx::Sqlite(_) | Tx::Postgres(_) => format!("${number}"),
        Tx::MySql(_) => "?".to_owned(),
    };
    let values = |row: usize| {
        let numbers = (row * width + 1)..=((row + 1) * width);
        format!("({})", numbers.map(parameter).collect::<Vec<_>>().join(", "))
    };
    let values: Vec<String> = (0..rows).map(values).collect();
    format!("INSERT INTO {} ({}) VALUES {}", quoted(tx, &table.name), columns(tx, table), values.join(", "))
}

fn read<R>(row: &R, columns: &[Column]) -> sqlx::Result<Row>
where
    R: sqlx::Row,
    usize: ColumnIndex<R>,
    for<'r> i64: Decode<'r, R::Database> + Type<R::Database>,
    for<'r> bool: Decode<'r, R::Database> + Type<R::Database>,
    for<'r> String: Decode<'r, R::Database> + Type<R::Database>,
    for<'r> Vec<u8>: Decode<'r, R::Database> + Type<R::Database>,
{
    let mut values = Vec::with_capacity(columns.len());
    for (at, column) in columns.iter().enumerate() {
        let value = match column.kind {
            Kind::Integer => row.try_get::<Option<i64>, _>(at)?.map(Value::Integer),
            Kind::Flag => row.try_get::<Option<bool>, _>(at)?.map(Value::Flag),
            Kind::Text => row.try_get::<Option<String>, _>(at)?.map(Value::Text),
            Kind::Bytes => row.try_get::<Option<Vec<u8>>, _>(at)?.map(Value::Bytes),
        };
        values.push(value.unwrap_or(Value::Null));
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::auto_increment;

    #[test]
    fn finds_the_next_number_behind_the_columns() {
        let text =
            "CREATE TABLE `a` (\n  `b` text DEFAULT 'AUTO_INCREMENT=9'\n) ENGINE=InnoDB AUTO_INCREMENT=42 DEFAULT";
        assert_eq!(auto_increment(text), Some(42));
        assert_eq!(auto_increment("CREATE TABLE `a` (\n  `seq` bigint AUTO_INCREMENT\n) ENGINE=InnoDB"), None);
    }
}
