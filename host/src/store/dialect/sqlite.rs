//! SQLite: one file, one process, one writer.
//!
//! WAL with `synchronous=FULL`, so that a commit is on disk when it returns. Page caches are small: the system caches
//! the file anyway. Only the bundled library is used, because releases before 3.51.3 can corrupt a WAL
//! (<https://www.sqlite.org/wal.html>).
//!
//! Invariant: whoever has the file open holds the lock on `<file>.lock`; a second process is refused.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::error::DatabaseError;
use sqlx::migrate::{Migrate, MigrateError, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteError, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, SqliteConnection};

use super::{APPLIED, Opened, Source, refuse_newer};
use crate::store::StoreError;
use crate::store::pool::{Engine, Tx};
use crate::store::sql::{Sql, sql};

/// The schema, embedded.
pub(super) static MIGRATIONS: Migrator = sqlx::migrate!("../migrations/sqlite");

/// Takes the write lock at once, so that a transaction never fails half way for want of it.
pub(super) const BEGIN: Sql = sql!("BEGIN IMMEDIATE; SAVEPOINT job");

pub(super) const NEXT_JOB: Sql = sql!("RELEASE SAVEPOINT job; SAVEPOINT job");

/// Fails where a failure has ended the transaction.
pub(super) const COMMIT: Sql = sql!("COMMIT");

/// A transaction that reads everything as it is at one moment. The first read fixes what it sees.
pub(super) const SNAPSHOT: Sql = sql!("BEGIN");

/// Pages in use; those that are free wait in the file for new rows.
pub(super) const SIZE: Sql = sql!(
    "SELECT (c.page_count - f.freelist_count) * s.page_size
    FROM pragma_page_count c, pragma_freelist_count f, pragma_page_size s"
);

/// Pages in the log of commits from which on a commit copies them into the file, and whoever waits for it waits for that
/// too. SQLite's own 1000 are 30 ms where they lie all over a large file; a tenth of it costs some throughput and 10 ms.
const CHECKPOINT: &str = "100";

/// Connections that read at the same time.
const READERS: u32 = 4;

/// A file up to this size is checked page by page when it is opened (about 0.1 s); a larger one only by its schema.
const CHECKED_UP_TO: u64 = 64 * 1024 * 1024;

/// The file, and the lock that keeps others out of it.
#[derive(Debug)]
pub(in crate::store) struct SqliteFile {
    options: SqliteConnectOptions,
    _lock: File,
}

impl SqliteFile {
    pub(super) async fn connect(&self) -> sqlx::Result<Tx> {
        self.options.connect().await.map(Engine::Sqlite)
    }
}

/// Opens the file, made with its directory when missing (modes 0600 and 0700).
pub(super) async fn open(path: &Path, target: Option<i64>) -> Result<Opened, StoreError> {
    let (path, lock) = claim(path)?;
    let file = SqliteFile { options: writing(&path), _lock: lock };
    let mut connection = file.options.connect().await.map_err(|error| judge(&path, error))?;
    check(&mut connection, &path).await?;
    match MIGRATIONS.run_direct(target, &mut connection, false).await {
        Ok(()) => {}
        Err(MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)) => {
            return Err(judge(&path, error));
        }
        Err(error) => return Err(sqlx::Error::from(error).into()),
    }
    let readers =
        SqlitePoolOptions::new().max_connections(READERS).test_before_acquire(false).connect_lazy_with(reading(&path));
    let tx = Some(Engine::Sqlite(connection));
    Ok(Opened { source: Source::Sqlite(file), tx, readers: Engine::Sqlite(readers) })
}

/// The file as it is, and the lock on it.
pub(super) async fn visit(path: &Path) -> Result<(SqliteConnection, File), StoreError> {
    if !path.exists() {
        let reason = "there is no such file".to_owned();
        return Err(StoreError::Unavailable { path: path.display().to_string(), reason });
    }
    let (path, lock) = claim(path)?;
    let mut connection = streaming(&path).connect().await.map_err(|error| judge(&path, error))?;
    check(&mut connection, &path).await?;
    Ok((connection, lock))
}

/// A file nobody writes to, read without a lock and without a trace beside it.
pub(super) async fn resting(path: &Path) -> Result<SqliteConnection, StoreError> {
    if is_stump(path) {
        return Err(cut_off(path));
    }
    let options = streaming(path).read_only(true).immutable(true);
    let mut connection = options.connect().await.map_err(|error| judge(path, error))?;
    check(&mut connection, path).await?;
    Ok(connection)
}

/// One more connection to a file this process has open.
pub(super) async fn beside(path: &Path) -> Result<SqliteConnection, StoreError> {
    streaming(path).foreign_keys(false).connect().await.map_err(|error| judge(path, error))
}

/// Makes the file where none is, and holds the lock on it.
pub(super) fn claim(path: &Path) -> Result<(PathBuf, File), StoreError> {
    let path = create(path)
        .map_err(|error| StoreError::Unavailable { path: path.display().to_string(), reason: error.to_string() })?;
    if is_stump(&path) {
        return Err(cut_off(&path));
    }
    let lock = lock(&path)?;
    Ok((path, lock))
}

/// A database in memory with the schema of this version.
pub(super) async fn blank(version: i64) -> Result<SqliteConnection, StoreError> {
    let mut connection = SqliteConnectOptions::new().in_memory(true).disable_statement_logging().connect().await?;
    MIGRATIONS.run_direct(Some(version), &mut connection, false).await.map_err(sqlx::Error::from)?;
    Ok(connection)
}

/// The migrations the file has; none where there is no file.
pub(super) async fn applied(path: &Path) -> Result<Vec<i64>, StoreError> {
    if !path.exists() || is_stump(path) {
        return Ok(Vec::new());
    }
    let mut connection = reading(path).connect().await.map_err(|error| judge(path, error))?;
    let known = "SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name = $1";
    let known: i64 =
        sqlx::query_scalar(known).bind(APPLIED).fetch_one(&mut connection).await.map_err(|error| judge(path, error))?;
    let applied = if known == 0 {
        Vec::new()
    } else {
        connection.list_applied_migrations(APPLIED).await.map_err(sqlx::Error::from)?
    };
    connection.close().await?;
    Ok(applied.into_iter().map(|migration| migration.version).collect())
}

/// `BUSY` and `LOCKED` with their extensions (<https://www.sqlite.org/rescode.html>).
pub(super) fn is_busy(error: &(dyn DatabaseError + 'static)) -> bool {
    let code = error.try_downcast_ref::<SqliteError>().and_then(DatabaseError::code);
    matches!(code.as_deref(), Some("5" | "6" | "261" | "262" | "517" | "518"))
}

/// Makes the file if need be and answers its one true path, so that every way to it meets the same lock.
fn create(path: &Path) -> io::Result<PathBuf> {
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    }
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
    path.canonicalize()
}

fn lock(path: &Path) -> Result<File, StoreError> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".lock");
    let beside = PathBuf::from(beside);
    let unavailable =
        |error: io::Error| StoreError::Unavailable { path: beside.display().to_string(), reason: error.to_string() };
    let file =
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&beside).map_err(unavailable)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse(path.display().to_string())),
        Err(TryLockError::Error(error)) => Err(unavailable(error)),
    }
}

fn writing(path: &Path) -> SqliteConnectOptions {
    common(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .pragma("cache_size", "-4096")
        .pragma("journal_size_limit", "16777216")
        .pragma("wal_autocheckpoint", CHECKPOINT)
        // Room for every statement of ours: one that falls out is prepared again on the path of each message.
        .statement_cache_capacity(256)
        .thread_name(|_| "store-writer".to_owned())
}

fn reading(path: &Path) -> SqliteConnectOptions {
    common(path).read_only(true).pragma("cache_size", "-1024").thread_name(|id| format!("store-reader-{id}"))
}

/// Reads whole tables: few rows on their way at once, because one may be tens of megabytes long.
fn streaming(path: &Path) -> SqliteConnectOptions {
    common(path).row_buffer_size(4).thread_name(|_| "store-backup".to_owned())
}

fn common(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .foreign_keys(true)
        .busy_timeout(Duration::from_secs(5))
        .disable_statement_logging()
}

/// The smallest SQLite file is one page of 512 bytes (<https://www.sqlite.org/fileformat2.html>). SQLite takes a file of
/// one byte for a new one and would write over it.
fn is_stump(path: &Path) -> bool {
    path.metadata().is_ok_and(|file| (1..512).contains(&file.len()))
}

fn cut_off(path: &Path) -> StoreError {
    StoreError::Damaged { path: path.display().to_string(), reason: "it is cut off".to_owned() }
}

/// Refuses a file that is damaged, that is another program's, or that a newer wagate wrote.
async fn check(connection: &mut SqliteConnection, path: &Path) -> Result<(), StoreError> {
    let damaged = |reason: String| StoreError::Damaged { path: path.display().to_string(), reason };
    let tables: Vec<String> = sqlx::query_scalar("SELECT name FROM sqlite_master WHERE type = 'table'")
        .fetch_all(&mut *connection)
        .await
        .map_err(|error| judge(path, error))?;
    if tables.is_empty() {
        return Ok(());
    }
    if path.metadata().is_ok_and(|file| file.len() <= CHECKED_UP_TO) {
        let found: String = sqlx::query_scalar("PRAGMA quick_check(1)")
            .fetch_one(&mut *connection)
            .await
            .map_err(|error| judge(path, error))?;
        if found != "ok" {
            return Err(damaged(found));
        }
    }
    if !tables.iter().any(|name| name == APPLIED) {
        return Err(damaged("it holds another program's tables".to_owned()));
    }
    let found: Option<i64> = sqlx::query_scalar("SELECT MAX(version) FROM _sqlx_migrations")
        .fetch_one(&mut *connection)
        .await
        .map_err(|error| judge(path, error))?;
    refuse_newer(found, &MIGRATIONS)
}

/// Tells a damaged file from other failures: `SQLITE_CORRUPT` is 11, `SQLITE_NOTADB` 26
/// (<https://www.sqlite.org/rescode.html>); the low byte of an extended code is its primary code.
fn judge(path: &Path, error: sqlx::Error) -> StoreError {
    let code = error.as_database_error().and_then(|error| error.code()?.parse::<u32>().ok());
    match code.map(|code| code & 0xff) {
        Some(11 | 26) => StoreError::Damaged { path: path.display().to_string(), reason: error.to_string() },
        _ => error.into(),
    }
}
