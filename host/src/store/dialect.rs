//! What differs between engines: how to open one, how to begin, which errors mean what.
//!
//! Everything else is written once. A file here holds the whole difference of its engine.

mod sqlite;

use super::StoreError;
use super::pool::{Pool, Tx, on};
use super::sql::Sql;
use crate::config::DatabaseConfig;

/// A database that is open, checked and brought to the newest schema.
#[derive(Debug)]
pub(in crate::store) struct Opened {
    /// Where more connections come from.
    pub(in crate::store) source: Source,
    /// The writer's connection.
    pub(in crate::store) tx: Tx,
    /// The readers' connections.
    pub(in crate::store) readers: Pool,
}

/// Makes connections for the writer, and holds whatever keeps the database ours.
#[derive(Debug)]
pub(in crate::store) enum Source {
    /// A SQLite file.
    Sqlite(sqlite::SqliteFile),
}

/// Opens the configured database.
pub(in crate::store) async fn open(config: &DatabaseConfig) -> Result<Opened, StoreError> {
    match config {
        DatabaseConfig::Sqlite { path } => sqlite::open(path).await,
    }
}

/// About how many bytes the database's rows and indexes take. What deleted rows leave free is not counted, at the latest
/// when the engine next counts.
pub(in crate::store) async fn size(readers: &Pool) -> sqlx::Result<u64> {
    let sql = match readers {
        Pool::Sqlite(_) => sqlite::SIZE,
    };
    let bytes: i64 = on!(readers, |db, q| { sqlx::query_scalar(q(sql)).fetch_one(db).await? });
    Ok(bytes.unsigned_abs())
}

impl Source {
    /// A fresh connection for the writer, in place of one that broke.
    pub(in crate::store) async fn connect(&self) -> sqlx::Result<Tx> {
        match self {
            Self::Sqlite(file) => file.connect().await,
        }
    }

    /// Begins a write transaction, and the savepoint `job` in it.
    pub(in crate::store) const fn begin(&self) -> Sql {
        match self {
            Self::Sqlite(_) => sqlite::BEGIN,
        }
    }

    /// Keeps what was done since the savepoint `job`, and begins it anew.
    pub(in crate::store) const fn next_job(&self) -> Sql {
        match self {
            Self::Sqlite(_) => sqlite::NEXT_JOB,
        }
    }
}
