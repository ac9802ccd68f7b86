//! The SQLite file as one copy, made while the gateway writes to it.
//!
//! The rows go over in one read transaction, which also counts them, so the copy can be held against exactly what it was
//! made from; `VACUUM INTO`, which begins a transaction of its own, could not be. The copy has its indexes built anew and
//! holds no free pages. Writers do not wait; SQLite's log grows while the copy is made.
//!
//! What is copied are tables and indexes, which is all that migrations make.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use sqlx::{AssertSqlSafe, Connection, SqliteConnection};

use super::draft::Draft;
use super::snapshot::Snapshot;
use super::{BackupError, Contents};
use crate::config::DatabaseConfig;
use crate::store::dialect;

/// Nothing is kept of a copy that was cut off, so nothing is flushed before its end.
const ATTACH: &str = "ATTACH DATABASE $1 AS copy";
const UNGUARDED: &str = "PRAGMA copy.journal_mode = OFF; PRAGMA copy.synchronous = OFF";
const OBJECTS: &str = "SELECT type, name, sql FROM main.sqlite_master
    WHERE type IN ('table', 'index') AND sql IS NOT NULL AND name NOT LIKE 'sqlite%' ORDER BY name";
const NUMBERS: &str = "DELETE FROM copy.sqlite_sequence;
    INSERT INTO copy.sqlite_sequence (name, seq) SELECT name, seq FROM main.sqlite_sequence";

/// Copies the configured SQLite file when no gateway has it open.
pub async fn copy(config: &DatabaseConfig, to: &Path) -> Result<Contents, BackupError> {
    let DatabaseConfig::Sqlite { path } = config else { return Err(BackupError::OnServer) };
    // Holds the lock.
    let visit = dialect::visit(config).await?;
    let copied = copy_open(path, to).await;
    visit.tx.close().await?;
    copied
}

/// Copies a SQLite file that this process has open.
pub(super) async fn copy_open(from: &Path, to: &Path) -> Result<Contents, BackupError> {
    let draft = Draft::begin(to)?;
    let mut connection = dialect::beside(from).await?;
    let copied = transfer(&mut connection, from, draft.path()).await;
    connection.close().await?;
    let copied = copied?;
    let found = inspect(draft.path()).await?;
    copied.same_rows(&found, draft.path())?;
    draft.publish().await?;
    Ok(found)
}

/// Gives a finished copy to whoever asked for it: moves it, or where it cannot be moved copies, verifies and removes it.
pub async fn deliver(from: &Path, to: &Path) -> Result<(), BackupError> {
    let draft = Draft::begin(to)?;
    match tokio::fs::rename(from, draft.path()).await {
        Ok(()) => draft.publish().await,
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            duplicate(from, draft.path()).await?;
            draft.publish().await?;
            tokio::fs::remove_file(from).await.map_err(|error| BackupError::file(from, &error))
        }
        Err(error) => Err(BackupError::file(from, &error)),
    }
}

/// Copies a backup byte by byte and verifies the copy.
pub(super) async fn duplicate(from: &Path, to: &Path) -> Result<Contents, BackupError> {
    tokio::fs::copy(from, to).await.map_err(|error| BackupError::file(to, &error))?;
    let expected = Snapshot::of_file(from).await?.contents().await?;
    let found = inspect(to).await?;
    expected.same_rows(&found, to)?;
    Ok(found)
}

/// Checks a SQLite file that nobody has open, page by page, and counts its rows.
pub async fn inspect(path: &Path) -> Result<Contents, BackupError> {
    let mut snapshot = Snapshot::of_file(path).await?;
    if let Some(fault) = snapshot.fault().await? {
        return Err(BackupError::damaged(path, &fault));
    }
    let contents = snapshot.contents().await?;
    snapshot.close().await?;
    Ok(contents)
}

/// Fills the file `to`, which is empty, with what `from` holds at one moment. Answers what that is.
async fn transfer(connection: &mut SqliteConnection, from: &Path, to: &Path) -> Result<Contents, BackupError> {
    let text = to.to_str().ok_or_else(|| BackupError::file(to, &"its name must be UTF-8"))?;
    sqlx::query(ATTACH).bind(text).execute(&mut *connection).await?;
    sqlx::raw_sql(UNGUARDED).execute(&mut *connection).await?;
    sqlx::raw_sql("BEGIN").execute(&mut *connection).await?;
    let objects: Vec<(String, String, String)> = sqlx::query_as(OBJECTS).fetch_all(&mut *connection).await?;
    let (tables, indexes): (Vec<_>, Vec<_>) = objects.into_iter().partition(|(kind, ..)| kind == "table");
    for (_, name, sql) in &tables {
        create(connection, name, sql).await?;
    }
    let mut rows = BTreeMap::new();
    for (_, name, _) in &tables {
        let name = name.replace('"', "\"\"");
        let count = format!("SELECT COUNT(*) FROM main.\"{name}\"");
        let count: i64 = sqlx::query_scalar(AssertSqlSafe(count)).fetch_one(&mut *connection).await?;
        let fill = format!("INSERT INTO copy.\"{name}\" SELECT * FROM main.\"{name}\"");
        sqlx::raw_sql(AssertSqlSafe(fill)).execute(&mut *connection).await?;
        rows.insert(name, count.unsigned_abs());
    }
    sqlx::raw_sql(NUMBERS).execute(&mut *connection).await?;
    for (_, name, sql) in &indexes {
        create(connection, name, sql).await?;
    }
    let version = "SELECT MAX(version) FROM main._sqlx_migrations";
    let version: Option<i64> = sqlx::query_scalar(version).fetch_one(&mut *connection).await?;
    sqlx::raw_sql("COMMIT").execute(connection).await?;
    let schema = version.ok_or_else(|| BackupError::Blank(from.display().to_string()))?;
    // What a database notes for itself counts for nothing; see `schema`.
    rows.retain(|name, _| !["_sqlx_migrations", "leadership"].contains(&name.as_str()));
    Ok(Contents { schema, tables: rows, ..Contents::default() })
}

/// Makes a table or an index in the copy. The statement is as SQLite keeps it, which always begins the same way.
async fn create(connection: &mut SqliteConnection, name: &str, sql: &str) -> Result<(), BackupError> {
    let heads = ["CREATE TABLE ", "CREATE UNIQUE INDEX ", "CREATE INDEX "];
    let parts = heads.iter().find_map(|head| Some((head, sql.strip_prefix(head)?)));
    let Some((head, rest)) = parts else {
        let reason = format!("{name} is made by a statement that cannot be copied: {sql}");
        return Err(sqlx::Error::Decode(reason.into()).into());
    };
    sqlx::raw_sql(AssertSqlSafe(format!("{head}copy.{rest}"))).execute(connection).await?;
    Ok(())
}
