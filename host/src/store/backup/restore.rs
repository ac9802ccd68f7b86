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
use crate::store::sql::Sql;
use crate::store::vault::{Keyring, Vault};

/// Rows in one statement.
const BATCH: usize = 64;

/// Bytes of rows that wait for their statement.
const WAITING: usize = 1 << 20;

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

    /// Gives every row to `sink` and verifies whatever needs no key.
    async fn pour(self, path: &Path, sink: &mut impl Sink) -> Result<Contents, BackupError> {
        match self {
            Self::Dump(reader) => reader.pour(sink).await,
            Self::File(mut snapshot) => {
                if let Some(fault) = snapshot.fault().await? {
                    return Err(BackupError::damaged(path, &fault));
                }
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
    refuse_rows(config).await?;
    let backup = Backup::open(from).await?;
    let dump = matches!(backup, Backup::Dump(_));
    let ring = vault.ring();
    let mut verifier = Verifier { ring: &ring, sealed: None, numbers: Vec::new(), keys: BTreeSet::new() };
    let mut contents = backup.pour(from, &mut verifier).await?;
    contents.keys.append(&mut verifier.keys);
    if !rehearsal {
        match config {
            DatabaseConfig::Sqlite { path } if !dump => place(from, path, &contents).await?,
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

/// Refuses a database with rows, and one that a gateway has open.
async fn refuse_rows(config: &DatabaseConfig) -> Result<(), BackupError> {
    let applied = dialect::applied(config).await?;
    let Some(found) = applied.into_iter().max() else {
        // Nothing is there, or an empty file that somebody may hold all the same.
        return match config {
            DatabaseConfig::Sqlite { path } if path.exists() => Ok(dialect::claim(path).map(drop)?),
            _ => Ok(()),
        };
    };
    let known = dialect::newest();
    if found > known {
        return Err(BackupError::Newer { path: config.to_string(), found, known });
    }
    let (schema, mut visit) = (Schema::of(found).await?, dialect::visit(config).await?);
    let filled = first_with_rows(&mut visit.tx, &schema).await;
    visit.tx.close().await?;
    refuse(config, filled?)
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
    let applied = dialect::applied(config).await?.into_iter().max();
    if let Some(found) = applied.filter(|found| *found > schema.version) {
        let database = config.to_string();
        return Err(BackupError::Ahead { database, found, backup: schema.version });
    }
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
    // Where it failed, the connection goes, and what it did with it.
    if filled.is_ok() {
        tx.run(opened.source.commit()).await?;
        if let Some(unlock) = let_in {
            tx.run(unlock).await?;
        }
    }
    let closed = tx.close().await;
    filled.and(closed.map_err(BackupError::from))
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
    let poured = backup.pour(from, &mut loader).await?;
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
        self.bytes += row.iter().map(|value| value.bytes().len()).sum::<usize>();
        self.waiting.push(row);
        if self.waiting.len() == BATCH || self.bytes >= WAITING { self.flush(table).await } else { Ok(()) }
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
