//! The open database: connections that read, and the one transaction that writes.
//!
//! Each engine is a variant; `on!` compiles a block once per variant, with `db` as that engine's executor and `q` to
//! pick the text of a statement. A new engine is one variant, one arm in `on!` and one file in `dialect/`.

use std::io;
use std::time::Duration;

use sqlx::error::DatabaseError;
use sqlx::{Executor as _, MySqlConnection, MySqlPool, PgConnection, PgPool, SqliteConnection, SqlitePool};

use super::sql::Sql;

/// One thing in the shape of each engine.
#[derive(Debug)]
pub(in crate::store) enum Engine<S, P, M> {
    /// SQLite's.
    Sqlite(S),
    /// PostgreSQL's.
    Postgres(P),
    /// MySQL's and MariaDB's.
    MySql(M),
}

/// Connections for reading. Read-only.
pub(in crate::store) type Pool = Engine<SqlitePool, PgPool, MySqlPool>;

/// The write transaction a job runs in. Only the writer begins and ends it.
pub(in crate::store) type Tx = Engine<SqliteConnection, PgConnection, MySqlConnection>;

/// Runs one block against whichever engine is open: `on!(pool, |db, q| { … q(STATEMENT) … .fetch_all(db).await })`.
/// In a transaction `db` is `&mut`: pass `&mut *db` when it is used more than once. The block has one type on every
/// engine: take `rows_affected()` inside.
macro_rules! on {
    ($engine:expr, |$db:ident, $q:ident| $body:block) => {
        match $engine {
            $crate::store::pool::Engine::Sqlite($db) => {
                let $q = |sql: $crate::store::sql::Sql| sql.numbered;
                $body
            }
            $crate::store::pool::Engine::Postgres($db) => {
                let $q = |sql: $crate::store::sql::Sql| sql.numbered;
                $body
            }
            $crate::store::pool::Engine::MySql($db) => {
                let $q = |sql: $crate::store::sql::Sql| sql.positional;
                $body
            }
        }
    };
}

pub(in crate::store) use on;

impl Pool {
    /// Waits for reads under way and closes every connection.
    pub(in crate::store) async fn close(&self) {
        on!(self, |db, _q| { db.close().await });
    }
}

impl Tx {
    /// Runs statements without parameters, several of them separated by semicolons.
    ///
    /// The servers are sent the text as it is: a prepared statement is a single one, and MySQL prepares no savepoints.
    /// SQLite takes several in one, and keeps them prepared.
    pub(in crate::store) async fn run(&mut self, sql: Sql) -> sqlx::Result<()> {
        match self {
            Self::Sqlite(db) => sqlx::query(sql.numbered).execute(db).await.map(|_| ()),
            Self::Postgres(db) => db.execute(sql.numbered).await.map(|_| ()),
            Self::MySql(db) => db.execute(sql.positional).await.map(|_| ()),
        }
    }

    /// Closes the connection.
    pub(in crate::store) async fn close(self) -> sqlx::Result<()> {
        on!(self, |db, _q| { sqlx::Connection::close(db).await })
    }
}

/// Waits for `work`, for so long at most.
pub(in crate::store) async fn within<T>(
    patience: Option<Duration>,
    work: impl Future<Output = sqlx::Result<T>>,
) -> sqlx::Result<T> {
    let Some(patience) = patience else { return work.await };
    let done = tokio::time::timeout(patience, work).await;
    done.unwrap_or_else(|_elapsed| Err(sqlx::Error::Io(io::ErrorKind::TimedOut.into())))
}

/// The rows an insert added, when a row that is there already shall be left as it is.
///
/// SQLite and PostgreSQL say so in the statement, `ON CONFLICT … DO NOTHING`. MySQL has no such clause, and its
/// `INSERT IGNORE` would also pass over what must fail; there the plain insert is refused and its transaction goes on.
pub(in crate::store) fn added(inserted: sqlx::Result<u64>) -> sqlx::Result<u64> {
    match inserted {
        Err(error) if error.as_database_error().is_some_and(DatabaseError::is_unique_violation) => Ok(0),
        inserted => inserted,
    }
}
