//! Backups: a copy of the SQLite file, a portable dump of any engine, and the way back from either.
//!
//! Both are read in one snapshot while the gateway goes on writing. Rows stay sealed as they are, so a backup is good for
//! nothing without the master key, which is in neither. A dump carries the data and not the engine: it is read back into
//! any of the three, and so is a copied file.
//!
//! [`schema`] knows the tables, from the migrations themselves. [`snapshot`] reads a database and [`mod@dump`] a file, each
//! into a [`Sink`]: one that writes a dump, one that verifies, one that restores. SQL that is made at run time stands in
//! [`rows`], and what is SQLite's alone in [`mod@file`]; [`copying`] has a running gateway copy its file.
//!
//! Invariants: a backup has its name only once it is whole, verified and on disk; a restore that fails leaves an empty
//! database.

mod copying;
mod draft;
mod dump;
mod file;
mod restore;
pub(in crate::store) mod rows;
mod schema;
mod sealed;
mod snapshot;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use self::draft::Draft;
use self::dump::{Reader, Writer};
use self::rows::Row;
use self::schema::Table;
use self::snapshot::Snapshot;
use super::pool::Engine;
use super::vault::KeyId;
use super::{Store, StoreError, dialect};
use crate::config::DatabaseConfig;
use crate::model::Clock;

pub use copying::{Copying, Progress, State};
pub use file::{copy, deliver, inspect};
pub use restore::{Restored, restore};

/// What is in a backup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// The newest migration of its schema.
    pub schema: i64,
    /// Rows by table.
    pub tables: BTreeMap<String, u64>,
    /// The ids of the master keys its sealed values need, as far as they were looked at.
    pub keys: BTreeSet<String>,
}

impl Contents {
    /// Rows of all tables.
    pub fn rows(&self) -> u64 {
        self.tables.values().sum()
    }

    /// Refuses to believe in a copy that has other rows than what it was made from.
    fn same_rows(&self, copy: &Self, path: &Path) -> Result<(), BackupError> {
        if self.schema != copy.schema {
            let reason = format!("it has schema {} in place of {}", copy.schema, self.schema);
            return Err(BackupError::damaged(path, &reason));
        }
        for (table, rows) in &self.tables {
            let found = copy.tables.get(table).copied().unwrap_or(0);
            if found != *rows {
                return Err(BackupError::damaged(path, &format!("{table} has {found} rows in place of {rows}")));
            }
        }
        Ok(())
    }
}

/// Why there is no backup, or why one could not be restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The database could not be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file could not be read or written.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: String,
        /// What the system said.
        reason: String,
    },
    /// A file stands where the backup is to be written.
    #[error("{0} exists; choose another name or move it away")]
    Exists(String),
    /// There is no file to copy.
    #[error("the database lies on a server and has no file to copy; `wagate backup` makes a dump of it")]
    OnServer,
    /// There is nothing to back up.
    #[error("{0} holds no wagate database yet")]
    Blank(String),
    /// It is another kind of file.
    #[error("{0} is no backup of wagate: neither a dump nor a SQLite file")]
    Foreign(String),
    /// It is a backup, but not a whole one.
    #[error("{path} cannot be restored: {reason}")]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// A newer wagate wrote it.
    #[error("{path} has schema {found}, this wagate knows up to {known}; restore it with the wagate that made it")]
    Newer {
        /// The file.
        path: String,
        /// Its newest migration.
        found: i64,
        /// The newest migration this build knows.
        known: i64,
    },
    /// There is something to lose.
    #[error("{database} is not empty (there are rows in {table}), and a restore replaces nothing; {fix}")]
    NotEmpty {
        /// The database.
        database: String,
        /// A table with rows.
        table: String,
        /// How to proceed.
        fix: &'static str,
    },
    /// The empty database has tables that rows of the backup may not fit.
    #[error(
        "{database} is empty, but has schema {found} already, and the backup has {backup}, whose rows are brought there \
         by migrations; restore into a database without tables"
    )]
    Ahead {
        /// The database.
        database: String,
        /// Its newest migration.
        found: i64,
        /// The backup's newest migration.
        backup: i64,
    },
    /// A gateway works on the database that was to be restored into.
    #[error("a gateway is active on {0}; stop it first, or restore into another database")]
    Active(String),
    /// One copy is made at a time.
    #[error("a copy of the database is being made already")]
    UnderWay,
    /// The gateway stops.
    #[error("the gateway stopped before the copy was complete, and nothing is left of it")]
    Stopped,
    /// The key is another one.
    #[error(
        "the backup needs the master key {needed} (for {table}), and there is only {found}; put {needed} where this \
         gateway looks for it: the key file, MASTER_KEY, MASTER_KEY_COMMAND, or the old keys (MASTER_KEYS_OLD, \
         master.key.old)"
    )]
    KeyLost {
        /// The table with the value that was met first.
        table: &'static str,
        /// The key's id.
        needed: KeyId,
        /// The keys that are there, each with where it was found.
        found: String,
    },
    /// The key is there, and a value does not open all the same.
    #[error("a sealed value of {0} opens under none of the keys, though the one it names is there: it was damaged")]
    Unreadable(&'static str),
    /// A table could not be read or written.
    #[error("the table {table}: {reason}")]
    Table {
        /// The table.
        table: String,
        /// What the engine said.
        reason: sqlx::Error,
    },
}

impl BackupError {
    fn file(path: &Path, reason: &dyn fmt::Display) -> Self {
        Self::File { path: path.display().to_string(), reason: reason.to_string() }
    }

    fn damaged(path: &Path, reason: &dyn fmt::Display) -> Self {
        Self::Damaged { path: path.display().to_string(), reason: reason.to_string() }
    }

    fn table(table: &Table) -> impl FnOnce(sqlx::Error) -> Self {
        move |reason| Self::Table { table: table.name.clone(), reason }
    }
}

impl From<sqlx::Error> for BackupError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// Where the rows of a backup go, table by table, parents before their children.
trait Sink {
    /// A table begins; `next` is the next number it gives out by itself.
    async fn table(&mut self, table: &Table, next: Option<i64>) -> Result<(), BackupError>;
    /// One row of it.
    async fn row(&mut self, table: &Table, row: Row) -> Result<(), BackupError>;
    /// It is complete.
    async fn end(&mut self, table: &Table) -> Result<(), BackupError>;
}

impl Store {
    /// The database file; `None` on a server.
    pub fn file(&self) -> Option<PathBuf> {
        match self.readers() {
            Engine::Sqlite(pool) => Some(pool.connect_options().get_filename().to_owned()),
            Engine::Postgres(_) | Engine::MySql(_) => None,
        }
    }

    /// Copies the database file while it is in use. The copy is verified and on disk when this answers.
    pub async fn copy_to(&self, to: &Path) -> Result<Contents, BackupError> {
        let from = self.file().ok_or(BackupError::OnServer)?;
        file::copy_open(&from, to).await
    }
}

/// Writes a portable dump of the configured database, which may be in use unless it is a SQLite file.
pub async fn dump(config: &DatabaseConfig, to: &Path, clock: &Clock) -> Result<Contents, BackupError> {
    let engine = match config {
        DatabaseConfig::Sqlite { .. } => "sqlite",
        DatabaseConfig::Postgres(_) => "postgres",
        DatabaseConfig::MySql(_) => "mysql",
    };
    let visit = dialect::visit(config).await?;
    write_dump(Snapshot::of(visit, &config.to_string()).await?, engine, to, clock).await
}

/// The same of a SQLite file that nobody has open, such as one copied before.
pub async fn dump_file(from: &Path, to: &Path, clock: &Clock) -> Result<Contents, BackupError> {
    write_dump(Snapshot::of_file(from).await?, "sqlite", to, clock).await
}

async fn write_dump(
    mut snapshot: Snapshot,
    engine: &'static str,
    to: &Path,
    clock: &Clock,
) -> Result<Contents, BackupError> {
    let draft = Draft::begin(to)?;
    let mut writer = Writer::begin(draft.path(), snapshot.schema(), engine, clock.now()).await?;
    snapshot.pour(&mut writer).await?;
    let written = writer.finish().await?;
    snapshot.close().await?;
    let found = Reader::open(draft.path()).await?.pour(&mut Glance).await?;
    written.same_rows(&found, draft.path())?;
    draft.publish().await?;
    Ok(written)
}

/// Takes every row and does nothing with it: for what a reader checks by itself.
struct Glance;

impl Sink for Glance {
    async fn table(&mut self, _table: &Table, _next: Option<i64>) -> Result<(), BackupError> {
        Ok(())
    }

    async fn row(&mut self, _table: &Table, _row: Row) -> Result<(), BackupError> {
        Ok(())
    }

    async fn end(&mut self, _table: &Table) -> Result<(), BackupError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
