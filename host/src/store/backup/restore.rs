//! Back from a backup into an empty database, of any engine.
//!
//! The whole file is verified first, down to every sealed value, and nothing is touched before that. Then the database is
//! brought to the schema of the backup, takes all rows in one transaction, and only then goes on to the newest schema, so
//! that migrations meet the rows as they would have met them at home. A copied file goes into a SQLite database as it is.
//!
//! Invariant: rows are written only into a database that has none and that no gateway works on, and all of them or none.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use tokio::io::AsyncReadExt;

use super::draft::Draft;
use super::dump::{self, Reader};
use super::rows::{self, Row};
use super::schema::{Schema, Table};
use super::sealed::{self, Sealed};
use super::snapshot::Snapshot;
use super::{BackupError, Contents, Sink, file};
use crate::config::DatabaseConfig;
use crate::store::dialect::{self, Source};
use crate::store::leader;
use crate::store::pool::Tx;
use crate::store::sql::{Sql, sql};
use crate::store::vault::{Keyring, Vault};

/// Rows in one statement.
const BATCH: usize = 64;

/// Bytes of rows that wait for their statement.
const WAITING: usize = 1 << 20;

const ROLLBACK: Sql = sql!("ROLLBACK");

/// How SQLite files begin (<https://www.sqlite.org/fileformat2.html>).
const SQLITE: &[u8] = b"SQLite format 3\0";

/// What was restored, or would be.
#[derive(Clone, Debug)]
pub struct Restored {
    /// What is in it.
    pub contents: Contents,
    /// Whether the backup is a dump, and not a copied file.
    pub dump: bool,
}

/// A backup that is open.
enum Backup {
    Dump(Box<Reader>),
    File(Snapshot),
}

impl Backup {
    async fn open(path: &Path) -> Result<Self, BackupError> {
        let mut head = Vec::new();
        let opened = tokio::fs::File::open(path).await;
        let opened = opened.map_err(|error| BackupError::file(path, &error))?;
        let read = opened.take(64).read_to_end(&mut head).await;
        read.map_err(|error| BackupError::file(path, &error))?;
        if head.starts_with(dump::MAGIC) {
            return Reader::open(path).await.map(|reader| Self::Dump(Box::new(reader)));
        }
        if !head.starts_with(SQLITE) {
            return Err(BackupError::Foreign(path.display().to_string()));
        }
        if beside(path, "-wal").metadata().is_ok_and(|log| log.len() > 0) {
            let reason = "there is a log beside it, so it is a database in use and no backup; use `wagate backup`";
            return Err(BackupError::damaged(path, &reason));
        }
        Snapshot::of_file(path).await.map(Self::File)
    }

    fn version(&self) -> i64 {
        match self {
            Self::Dump(reader) => reader.version(),
            Self::File(snapshot) => snapshot.schema().version,
        }
    }

    /// Looks for what reading the rows does not show, which may take long in a large file. A dump shows everything.
    async fn examine(&mut self, path: &Path) -> Result<(), BackupError> {
        let Self::File(snapshot) = self else { return Ok(()) };
        match snapshot.fault().await? {
            Some(fault) => Err(BackupError::damaged(path, &fault)),
            None => Ok(()),
        }
    }

    /// Gives every row to `sink`.
    async fn pour(self, sink: &mut impl Sink) -> Result<Contents, BackupError> {
        match self {
            Self::Dump(reader) => reader.pour(sink).await,
            Self::File(mut snapshot) => {
                let contents = snapshot.pour(sink).await?;
                snapshot.close().await?;
                Ok(contents)
            }
        }
    }
}

/// Restores a backup into the configured database, which must be empty. A rehearsal verifies everything and writes
/// nothing.
pub async fn restore(
    from: &Path,
    config: &DatabaseConfig,
    vault: &Vault,
    rehearsal: bool,
) -> Result<Restored, BackupError> {
    let applied = refuse_rows(config).await?;
    let mut backup = Backup::open(from).await?;
    let (dump, version) = (matches!(backup, Backup::Dump(_)), backup.version());
    // A copied file takes the place of another, whatever schema that had.
    let replaces = !dump && matches!(config, DatabaseConfig::Sqlite { .. });
    if let Some(found) = applied.filter(|found| *found > version && !replaces) {
        return Err(BackupError::Ahead { database: config.to_string(), found, backup: version });
    }
    backup.examine(from).await?;
    let ring = vault.ring();
    let mut verifier = Verifier { ring: &ring, sealed: None, numbers: Vec::new(), keys: BTreeSet::new() };
    let mut contents = backup.pour(&mut verifier).await?;
    contents.keys.append(&mut verifier.keys);
    if !rehearsal {
        match config {
            DatabaseConfig::Sqlite { path } if replaces => place(from, path, &contents).await?,
            _ => load(from, config, &contents, &verifier.numbers).await?,
        }
        // Migrations that are newer than the backup.
        let opened = dialect::open(config).await?;
        opened.readers.close().await;
        if let Some(tx) = opened.tx {
            tx.close().await?;
        }
    }
    Ok(Restored { contents, dump })
}

/// Refuses a database with rows, and a file that a gateway has open or that is another program's. Answers the newest
/// migration of what is there.
async fn refuse_rows(config: &DatabaseConfig) -> Result<Option<i64>, BackupError> {
    let applied = dialect::applied(config).await?;
    let Some(found) = applied.into_iter().max() else {
        // An empty file may be held by somebody all the same, and one without our tables need not be empty.
        if let DatabaseConfig::Sqlite { path } = config
            && path.exists()
        {
            dialect::visit(config).await?.tx.close().await?;
        }
        return Ok(None);
    };
    let known = dialect::newest();
    if found > known {
        return Err(BackupError::Newer { path: config.to_string(), found, known });
    }
    let (schema, mut visit) = (Schema::of(found).await?, dialect::visit(config).await?);
    let filled = first_with_rows(&mut visit.tx, &schema).await;
    visit.tx.close().await?;
    refuse(config, filled?)?;
    Ok(Some(found))
}

fn refuse(config: &DatabaseConfig, filled: Option<String>) -> Result<(), BackupError> {
    let Some(table) = filled else { return Ok(()) };
    let fix = match config {
        DatabaseConfig::Sqlite { .. } => {
            "move the file away, with those beside it that begin with its name, and try again"
        }
        DatabaseConfig::Postgres(_) | DatabaseConfig::MySql(_) => {
            "make another database (CREATE DATABASE …) and name it in DB_NAME or DATABASE_URL"
        }
    };
    Err(BackupError::NotEmpty { database: config.to_string(), table, fix })
}

/// The first table that has rows. Settings do not count: a gateway writes some when it opens an empty database.
async fn first_with_rows(tx: &mut Tx, schema: &Schema) -> Result<Option<String>, BackupError> {
    for table in schema.tables.iter().filter(|table| table.name != "settings") {
        if rows::any(tx, table).await.map_err(BackupError::table(table))? {
            return Ok(Some(table.name.clone()));
        }
    }
    Ok(None)
}

/// Puts a verified copy of the file in the place of the database, which is empty.
async fn place(from: &Path, to: &Path, contents: &Contents) -> Result<(), BackupError> {
    let (to, lock) = dialect::claim(to)?;
    let draft = Draft::replacing(&to)?;
    contents.same_rows(&file::duplicate(from, draft.path()).await?, draft.path())?;
    // The log of the empty database must not meet the new file.
    for ending in ["-wal", "-shm", "-journal"] {
        let left = beside(&to, ending);
        match fs::remove_file(&left) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(BackupError::file(&left, &error)),
            _ => {}
        }
    }
    draft.publish().await?;
    drop(lock);
    Ok(())
}

/// Writes every row of a backup that was verified.
async fn load(
    from: &Path,
    config: &DatabaseConfig,
    contents: &Contents,
    numbers: &[(Table, i64)],
) -> Result<(), BackupError> {
    let backup = Backup::open(from).await?;
    let schema = Schema::of(backup.version()).await?;
    let opened = dialect::open_at(config, Some(schema.version)).await?;
    opened.readers.close().await;
    let mut tx = match opened.tx {
        Some(tx) => tx,
        None => opened.source.connect().await?,
    };
    let let_in = keep_gateways_out(&mut tx, &opened.source, &schema, config).await?;
    // Not part of the transaction: MySQL would commit it. Numbers that are left out harm nobody.
    for (table, next) in numbers {
        rows::begin_numbers(&mut tx, table, *next).await.map_err(BackupError::table(table))?;
    }
    tx.run(opened.source.begin()).await?;
    let filled = fill(&mut tx, backup, from, config, contents, &schema).await;
    let done = match filled {
        Ok(()) => tx.run(opened.source.commit()).await.map_err(BackupError::from),
        failed => {
            // At once, so that the next restore need not wait until the server notices that the connection is gone.
            let _undone_with_its_connection = tx.run(ROLLBACK).await;
            failed
        }
    };
    if let Some(unlock) = let_in {
        let _let_go_with_its_connection = tx.run(unlock).await;
    }
    let closed = tx.close().await;
    done.and(closed.map_err(BackupError::from))
}

/// Takes the lock of whoever leads on a server, so that no gateway writes meanwhile. Answers what lets it go; at the
/// latest it ends with the connection.
async fn keep_gateways_out(
    tx: &mut Tx,
    source: &Source,
    schema: &Schema,
    config: &DatabaseConfig,
) -> Result<Option<Sql>, BackupError> {
    let candidate = source.candidate().filter(|_| schema.version >= leader::SINCE);
    let Some((_, election)) = candidate else { return Ok(None) };
    if leader::lock(tx, election).await? {
        Ok(Some(election.unlock))
    } else {
        Err(BackupError::Active(config.to_string()))
    }
}

async fn fill(
    tx: &mut Tx,
    backup: Backup,
    from: &Path,
    config: &DatabaseConfig,
    contents: &Contents,
    schema: &Schema,
) -> Result<(), BackupError> {
    refuse(config, first_with_rows(tx, schema).await?)?;
    rows::forget_settings(tx).await?;
    let mut loader = Loader { tx, waiting: Vec::new(), bytes: 0 };
    let poured = backup.pour(&mut loader).await?;
    contents.same_rows(&poured, from)?;
    let tx = loader.tx;
    for table in &schema.tables {
        let found = rows::count(tx, &table.name).await.map_err(BackupError::table(table))?;
        let expected = contents.tables.get(&table.name).copied().unwrap_or(0);
        if found != expected {
            let reason = format!("{} took {found} of its {expected} rows", table.name);
            return Err(BackupError::damaged(from, &reason));
        }
    }
    Ok(())
}

/// Opens every sealed value, and keeps none.
struct Verifier<'a> {
    ring: &'a Keyring,
    sealed: Option<Sealed>,
    /// Tables and the next number each gives out by itself.
    numbers: Vec<(Table, i64)>,
    /// The keys that were needed.
    keys: BTreeSet<String>,
}

impl Sink for Verifier<'_> {
    async fn table(&mut self, table: &Table, next: Option<i64>) -> Result<(), BackupError> {
        self.sealed = Sealed::of(table);
        self.numbers.extend(next.map(|next| (table.clone(), next)));
        Ok(())
    }

    async fn row(&mut self, table: &Table, row: Row) -> Result<(), BackupError> {
        sealed::check_setting(self.ring, table, &row)?;
        if let Some(sealed) = &self.sealed {
            sealed.check(self.ring, &row)?;
            self.keys.extend(sealed.key(&row).map(|key| key.to_string()));
        }
        Ok(())
    }

    async fn end(&mut self, _table: &Table) -> Result<(), BackupError> {
        Ok(())
    }
}

/// Writes rows, many at once.
struct Loader<'a> {
    tx: &'a mut Tx,
    waiting: Vec<Row>,
    bytes: usize,
}

impl Loader<'_> {
    /// A full batch is one statement; fewer rows go one by one, so that a table has two statements to prepare.
    async fn flush(&mut self, table: &Table) -> Result<(), BackupError> {
        self.bytes = 0;
        let rows = std::mem::take(&mut self.waiting);
        if rows.len() == BATCH {
            return rows::insert(self.tx, table, rows).await.map_err(BackupError::table(table));
        }
        for row in rows {
            rows::insert(self.tx, table, vec![row]).await.map_err(BackupError::table(table))?;
        }
        Ok(())
    }
}

impl Sink for Loader<'_> {
    async fn table(&mut self, _table: &Table, _next: Option<i64>) -> Result<(), BackupError> {
        Ok(())
    }

    async fn row(&mut self, table: &Table, row: Row) -> Result<(), BackupError> {
        let bytes: usize = row.iter().map(|value| value.bytes().len()).sum();
        // A long row goes alone: servers take only so much at once.
        if self.bytes + bytes > WAITING {
            self.flush(table).await?;
        }
        self.bytes += bytes;
        self.waiting.push(row);
        if self.waiting.len() == BATCH { self.flush(table).await } else { Ok(()) }
    }

    async fn end(&mut self, table: &Table) -> Result<(), BackupError> {
        self.flush(table).await
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}
