//! Backups: a copy of the SQLite file, a portable dump of any engine, and the way back from either.
//!
//! Both are read in one snapshot while the gateway goes on writing. Rows stay sealed as they are, so a backup is good for
//! nothing without the master key, which is in neither. A dump carries the data and not the engine: it is read back into
//! any of the three, and so is a copied file.
//!
//! [`schema`] knows the tables, from the migrations themselves. [`snapshot`] reads a database and [`mod@dump`] a file, each
//! into a [`Sink`]: one that writes a dump, one that verifies, one that restores. SQL that is made at run time stands in
//! [`rows`], and what is SQLite's alone in [`file`]; [`running`] is the copy a gateway makes of its own file.
//!
//! Invariants: a backup has its name only once it is whole, verified and on disk; a restore that fails or is cut off
//! leaves a database without rows, into which the next one can go.

mod draft;
mod dump;
mod file;
mod restore;
pub(in crate::store) mod rows;
mod running;
mod schema;
mod sealed;
mod snapshot;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use self::draft::Draft;
use self::dump::{Reader, Writer};
use self::rows::Row;
use self::schema::Table;
use self::snapshot::Snapshot;
use super::vault::KeyId;
use super::{StoreError, dialect};
use crate::config::DatabaseConfig;
use crate::model::Clock;

pub use file::{copy, deliver, inspect};
pub use restore::{Restored, restore};
pub use running::{Backups, Progress, State};

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
    /// Its migrations have been applied to nothing, and would not be to what is restored.
    #[error("{database} has schema {found} already, and the backup has {version}; {fix}")]
    Ahead {
        /// The database.
        database: String,
        /// Its newest migration.
        found: i64,
        /// The newest migration of the backup.
        version: i64,
        /// How to proceed.
        fix: &'static str,
    },
    /// A gateway is active on it, or another restore.
    #[error("{0} is in use; stop the gateway, and whatever else restores into it")]
    InUse(String),
    /// It is sealed under a key that is not there.
    #[error(
        "the backup is sealed under the master key {needed}, and there is only {found}; put {needed} where this gateway \
         looks for its keys: the key file, MASTER_KEY, MASTER_KEY_COMMAND, or the old keys (MASTER_KEYS_OLD, \
         master.key.old)"
    )]
    KeyLost {
        /// The key's id.
        needed: KeyId,
        /// The keys that are there, each with where it was found.
        found: String,
    },
    /// It was changed after it was sealed.
    #[error(
        "a sealed value of {table} does not open under its own key: the backup was damaged, or changed by somebody"
    )]
    Unopened {
        /// The table.
        table: &'static str,
    },
    /// The gateway copies its database already.
    #[error("a backup is under way already")]
    UnderWay,
    /// The gateway stops.
    #[error("the gateway stopped before its backup was complete; nothing is left of it")]
    Stopped,
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
pub(in crate::store) mod tests;
