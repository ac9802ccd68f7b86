//! What differs between engines: how to open one, how to begin, which errors mean what.
//!
//! Everything else is written once. A file here holds the whole difference of its engine; what the two servers have in
//! common is [`server`].

mod mysql;
mod postgres;
mod server;
mod sqlite;

use std::fs::File;
use std::path::{Path, PathBuf};

use sqlx::SqliteConnection;
use sqlx::migrate::{Migrate, MigrateError, Migrator};

use super::StoreError;
use super::pool::{Pool, Tx, on};
use super::sql::Sql;
use crate::config::DatabaseConfig;

/// The table sqlx keeps the applied migrations in.
const APPLIED: &str = "_sqlx_migrations";

/// A database that is open, checked and brought to the newest schema.
#[derive(Debug)]
pub(in crate::store) struct Opened {
    /// Where more connections come from.
    pub(in crate::store) source: Source,
    /// The writer's connection; `None` where the writer makes its own, on its own thread.
    pub(in crate::store) tx: Option<Tx>,
    /// The readers' connections.
    pub(in crate::store) readers: Pool,
}

/// How the gateways on one server agree on the one that leads.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct Election {
    /// Takes the lock of the connection if it is free, and answers 1, else 0. Waits for nobody.
    pub(in crate::store) lock: Sql,
    /// Lets the lock go.
    pub(in crate::store) unlock: Sql,
    /// What a `SELECT` ends with so that its rows are not changed before the transaction has ended.
    pub(in crate::store) share: &'static str,
}

/// Makes connections for the writer, and holds whatever keeps the database ours.
#[derive(Debug)]
pub(in crate::store) enum Source {
    /// A SQLite file.
    Sqlite(sqlite::SqliteFile),
    /// A database on a PostgreSQL server.
    Postgres(postgres::PostgresServer),
    /// A database on a MySQL or MariaDB server.
    MySql(mysql::MySqlServer),
}

/// A connection to a database as it is: nothing was made, nothing migrated.
#[derive(Debug)]
pub(in crate::store) struct Visit {
    /// The connection.
    pub(in crate::store) tx: Tx,
    /// What keeps other processes out of a file meanwhile; `None` where nobody else can be in it.
    _lock: Option<File>,
}

/// A migration this wagate knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migration {
    /// Its number and name, as its file has them.
    pub name: String,
    /// Whether the database has it.
    pub applied: bool,
}

/// The migrations of SQLite, PostgreSQL and MySQL.
#[cfg(test)]
pub(in crate::store) fn every_schema() -> [&'static Migrator; 3] {
    [&sqlite::MIGRATIONS, &postgres::MIGRATIONS, &mysql::MIGRATIONS]
}

/// Opens the configured database.
pub(in crate::store) async fn open(config: &DatabaseConfig) -> Result<Opened, StoreError> {
    open_at(config, None).await
}

/// Opens the configured database and applies its migrations up to `target`; all of them where there is none.
pub(in crate::store) async fn open_at(config: &DatabaseConfig, target: Option<i64>) -> Result<Opened, StoreError> {
    match config {
        DatabaseConfig::Sqlite { path } => sqlite::open(path, target).await,
        DatabaseConfig::Postgres(server) => postgres::open(server, target).await,
        DatabaseConfig::MySql(server) => mysql::open(server, target).await,
    }
}

/// Connects to the configured database, which must exist, and leaves it as it is.
pub(in crate::store) async fn visit(config: &DatabaseConfig) -> Result<Visit, StoreError> {
    let (tx, lock) = match config {
        DatabaseConfig::Sqlite { path } => {
            let (connection, lock) = sqlite::visit(path).await?;
            (Tx::Sqlite(connection), Some(lock))
        }
        DatabaseConfig::Postgres(server) => (Tx::Postgres(postgres::dial(server).await?), None),
        DatabaseConfig::MySql(server) => (Tx::MySql(mysql::dial(server).await?), None),
    };
    Ok(Visit { tx, _lock: lock })
}

/// The same of a SQLite file that nobody writes to.
pub(in crate::store) async fn visit_resting_file(path: &Path) -> Result<Visit, StoreError> {
    Ok(Visit { tx: Tx::Sqlite(sqlite::resting(path).await?), _lock: None })
}

/// A connection to a SQLite file that this process has open already.
pub(in crate::store) async fn beside(path: &Path) -> Result<SqliteConnection, StoreError> {
    sqlite::beside(path).await
}

/// Makes a SQLite file where none is and keeps other processes out of it; answers its one true path. Does not open it.
pub(in crate::store) fn claim(path: &Path) -> Result<(PathBuf, File), StoreError> {
    sqlite::claim(path)
}

/// An empty database in memory, with the schema of this version.
pub(in crate::store) async fn blank(version: i64) -> Result<SqliteConnection, StoreError> {
    sqlite::blank(version).await
}

/// The newest migration this wagate knows.
pub(in crate::store) fn newest() -> i64 {
    sqlite::MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0)
}

/// The migrations the configured database has.
pub(in crate::store) async fn applied(config: &DatabaseConfig) -> Result<Vec<i64>, StoreError> {
    match config {
        DatabaseConfig::Sqlite { path } => sqlite::applied(path).await,
        DatabaseConfig::Postgres(server) => postgres::applied(server).await,
        DatabaseConfig::MySql(server) => mysql::applied(server).await,
    }
}

/// The migrations and which of them the configured database has. Changes nothing.
pub(in crate::store) async fn migrations(config: &DatabaseConfig) -> Result<Vec<Migration>, StoreError> {
    let applied = applied(config).await?;
    let known = match config {
        DatabaseConfig::Sqlite { .. } => &sqlite::MIGRATIONS,
        DatabaseConfig::Postgres(_) => &postgres::MIGRATIONS,
        DatabaseConfig::MySql(_) => &mysql::MIGRATIONS,
    };
    let shown = |migration: &sqlx::migrate::Migration| Migration {
        name: format!("{:04} {}", migration.version, migration.description),
        applied: applied.contains(&migration.version),
    };
    Ok(known.iter().map(shown).collect())
}

/// Whether the engine gave way to somebody else, so that the same work may succeed a moment later.
pub(in crate::store) fn is_busy(error: &sqlx::Error) -> bool {
    match error.as_database_error() {
        Some(error) => sqlite::is_busy(error) || postgres::is_busy(error) || mysql::is_busy(error),
        None => matches!(error, sqlx::Error::PoolTimedOut),
    }
}

/// Whether the server cannot be reached at the moment, and may be later: it is down, starting, stopping or full, or
/// the way there is cut.
pub(in crate::store) fn is_away(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(error) => server::is_away(error),
        sqlx::Error::PoolTimedOut => true,
        sqlx::Error::Database(error) => postgres::is_away(&**error) || mysql::is_away(&**error),
        sqlx::Error::Migrate(error) => match &**error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => is_away(error),
            _ => false,
        },
        _ => false,
    }
}

/// About how many bytes the database's rows and indexes take. What deleted rows leave free is not counted, at the latest
/// when the engine next counts.
pub(in crate::store) async fn size(readers: &Pool) -> sqlx::Result<u64> {
    let sql = match readers {
        Pool::Sqlite(_) => sqlite::SIZE,
        Pool::Postgres(_) => postgres::SIZE,
        Pool::MySql(_) => mysql::SIZE,
    };
    let bytes: i64 = on!(readers, |db, q| { sqlx::query_scalar(q(sql)).fetch_one(db).await? });
    Ok(bytes.unsigned_abs())
}

impl Visit {
    /// From now on everything is read as it is at this moment.
    pub(in crate::store) async fn begin_snapshot(&mut self) -> sqlx::Result<()> {
        let begin = match &self.tx {
            Tx::Sqlite(_) => sqlite::SNAPSHOT,
            Tx::Postgres(_) => postgres::SNAPSHOT,
            Tx::MySql(_) => mysql::SNAPSHOT,
        };
        self.tx.run(begin).await
    }
}

impl Source {
    /// A fresh connection for the writer, in place of one that broke.
    pub(in crate::store) async fn connect(&self) -> sqlx::Result<Tx> {
        match self {
            Self::Sqlite(file) => file.connect().await,
            Self::Postgres(server) => server.connect().await,
            Self::MySql(server) => server.connect().await,
        }
    }

    /// Whether the database is a server, which others write to as well and which may go away.
    pub(in crate::store) const fn is_server(&self) -> bool {
        !matches!(self, Self::Sqlite(_))
    }

    /// The same server, for the connection that stands for election there, and how it elects. `None` for a file, which
    /// lets one process in.
    pub(in crate::store) fn candidate(&self) -> Option<(Self, Election)> {
        match self {
            Self::Sqlite(_) => None,
            Self::Postgres(server) => Some((Self::Postgres(server.clone()), postgres::ELECTION)),
            Self::MySql(server) => Some((Self::MySql(server.clone()), mysql::ELECTION)),
        }
    }

    /// Begins a write transaction, and the savepoint `job` in it.
    pub(in crate::store) const fn begin(&self) -> Sql {
        match self {
            Self::Sqlite(_) => sqlite::BEGIN,
            Self::Postgres(_) | Self::MySql(_) => server::BEGIN,
        }
    }

    /// Keeps what was done since the savepoint `job`, and begins it anew.
    pub(in crate::store) const fn next_job(&self) -> Sql {
        match self {
            Self::Sqlite(_) => sqlite::NEXT_JOB,
            Self::Postgres(_) | Self::MySql(_) => server::NEXT_JOB,
        }
    }

    /// Makes the transaction durable, or fails.
    pub(in crate::store) const fn commit(&self) -> Sql {
        match self {
            Self::Sqlite(_) => sqlite::COMMIT,
            Self::Postgres(_) | Self::MySql(_) => server::COMMIT,
        }
    }
}

/// Applies what is pending, up to `target` where one is given, unless a newer wagate has been here.
async fn upgrade<C: Migrate>(connection: &mut C, known: &Migrator, target: Option<i64>) -> Result<(), StoreError> {
    connection.ensure_migrations_table(APPLIED).await.map_err(sqlx::Error::from)?;
    let applied = connection.list_applied_migrations(APPLIED).await.map_err(sqlx::Error::from)?;
    refuse_newer(applied.iter().map(|migration| migration.version).max(), known)?;
    Ok(known.run_direct(target, connection, false).await.map_err(sqlx::Error::from)?)
}

/// Refuses a database whose newest migration this wagate does not know.
fn refuse_newer(found: Option<i64>, known: &Migrator) -> Result<(), StoreError> {
    let known = known.iter().map(|migration| migration.version).max().unwrap_or(0);
    match found {
        Some(found) if found > known => Err(StoreError::Newer { found, known }),
        _ => Ok(()),
    }
}
