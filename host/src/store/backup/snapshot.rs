//! A database as it is at one moment, while others go on writing.
//!
//! One transaction reads everything: SQLite's sees the file as its first read found it, PostgreSQL's is REPEATABLE READ,
//! MySQL's begins WITH CONSISTENT SNAPSHOT. None of them makes a writer wait; SQLite's log grows meanwhile.

use std::collections::BTreeMap;
use std::path::Path;

use futures_util::StreamExt;

use super::schema::Schema;
use super::{BackupError, Contents, Sink, rows};
use crate::store::dialect::{self, Visit};
use crate::store::pool::Tx;

/// An open snapshot.
#[derive(Debug)]
pub(super) struct Snapshot {
    visit: Visit,
    schema: Schema,
}

impl Snapshot {
    /// Of the database behind this connection. `name` is the database for a reader.
    pub(super) async fn of(mut visit: Visit, name: &str) -> Result<Self, BackupError> {
        visit.begin_snapshot().await?;
        let found = match rows::version(&mut visit.tx).await {
            Ok(found) => found,
            // The table of the migrations is not there.
            Err(error) if error.as_database_error().is_some() => None,
            Err(error) => return Err(error.into()),
        };
        let Some(found) = found else { return Err(BackupError::Blank(name.to_owned())) };
        let known = dialect::newest();
        if found > known {
            return Err(BackupError::Newer { path: name.to_owned(), found, known });
        }
        Ok(Self { visit, schema: Schema::of(found).await? })
    }

    /// Of a SQLite file that nobody has open.
    pub(super) async fn of_file(path: &Path) -> Result<Self, BackupError> {
        Self::of(dialect::visit_resting_file(path).await?, &path.display().to_string()).await
    }

    /// Its tables.
    pub(super) fn schema(&self) -> &Schema {
        &self.schema
    }

    /// What is wrong with a SQLite file; `None` where nothing is, and of a server, which sees to that itself.
    pub(super) async fn fault(&mut self) -> Result<Option<String>, BackupError> {
        let Tx::Sqlite(db) = &mut self.visit.tx else { return Ok(None) };
        let pages: String = sqlx::query_scalar("PRAGMA integrity_check(1)").fetch_one(&mut *db).await?;
        if pages != "ok" {
            return Ok(Some(pages));
        }
        let orphan: Option<String> =
            sqlx::query_scalar("SELECT \"table\" FROM pragma_foreign_key_check LIMIT 1").fetch_optional(db).await?;
        Ok(orphan.map(|table| format!("a row of {table} refers to one that is not there")))
    }

    /// How many rows each table has.
    pub(super) async fn contents(&mut self) -> Result<Contents, BackupError> {
        let mut tables = BTreeMap::new();
        for table in &self.schema.tables {
            let rows = rows::count(&mut self.visit.tx, &table.name).await.map_err(BackupError::table(table))?;
            tables.insert(table.name.clone(), rows);
        }
        Ok(Contents { schema: self.schema.version, tables, ..Contents::default() })
    }

    /// Gives every row to `sink`.
    pub(super) async fn pour(&mut self, sink: &mut impl Sink) -> Result<Contents, BackupError> {
        let mut tables = BTreeMap::new();
        for table in &self.schema.tables {
            let next = rows::next_number(&mut self.visit.tx, table).await.map_err(BackupError::table(table))?;
            sink.table(table, next).await?;
            let mut count = 0;
            let mut stream = rows::all(&mut self.visit.tx, table);
            while let Some(row) = stream.next().await {
                sink.row(table, row.map_err(BackupError::table(table))?).await?;
                count += 1;
            }
            sink.end(table).await?;
            tables.insert(table.name.clone(), count);
        }
        Ok(Contents { schema: self.schema.version, tables, ..Contents::default() })
    }

    /// Lets the database go.
    pub(super) async fn close(self) -> Result<(), BackupError> {
        Ok(self.visit.tx.close().await?)
    }
}
