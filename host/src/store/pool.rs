//! The open database: connections that read, and the one transaction that writes.
//!
//! Each engine is a variant; `on!` compiles a block once per variant, with `db` as that engine's executor and `q` to
//! pick the text of a statement. A new engine is one variant, one arm in `on!` and one file in `dialect/`.

use sqlx::{SqliteConnection, SqlitePool};

use super::sql::Sql;

/// One thing in the shape of each engine.
#[derive(Debug)]
pub(in crate::store) enum Engine<S> {
    /// SQLite's.
    Sqlite(S),
}

/// Connections for reading. Read-only.
pub(in crate::store) type Pool = Engine<SqlitePool>;

/// The write transaction a job runs in. Only the writer begins and ends it.
pub(in crate::store) type Tx = Engine<SqliteConnection>;

/// Runs one block against whichever engine is open: `on!(pool, |db, q| { … q(STATEMENT) … .fetch_all(db).await })`.
/// In a transaction `db` is `&mut`: pass `&mut *db` when it is used more than once.
macro_rules! on {
    ($engine:expr, |$db:ident, $q:ident| $body:block) => {
        match $engine {
            $crate::store::pool::Engine::Sqlite($db) => {
                let $q = |sql: $crate::store::sql::Sql| sql.numbered;
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
    /// Runs a statement without parameters.
    pub(in crate::store) async fn run(&mut self, sql: Sql) -> sqlx::Result<()> {
        on!(self, |db, q| { sqlx::query(q(sql)).execute(db).await.map(|_| ()) })
    }

    /// Closes the connection.
    pub(in crate::store) async fn close(self) -> sqlx::Result<()> {
        on!(self, |db, _q| { sqlx::Connection::close(db).await })
    }
}
