//! The database behind the gateway's back: what lies in it, and how to spoil it.
//!
//! Statements are a test's own, so values stand in their text.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use sqlx::mysql::MySqlPoolOptions;
use sqlx::postgres::PgPoolOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{AssertSqlSafe, MySqlPool, PgPool, SqlitePool};

use crate::engine::Engine;

/// A way into a database. Made for one statement at a time.
#[derive(Clone, Debug)]
pub enum Raw {
    /// Into SQLite's file.
    Sqlite(SqlitePool),
    /// Into PostgreSQL.
    Postgres(PgPool),
    /// Into MariaDB.
    Mysql(MySqlPool),
}

/// The same on each engine.
macro_rules! on {
    ($raw:expr, |$db:ident| $body:expr) => {
        match $raw {
            $crate::raw::Raw::Sqlite($db) => $body,
            $crate::raw::Raw::Postgres($db) => $body,
            $crate::raw::Raw::Mysql($db) => $body,
        }
    };
}

impl Raw {
    pub(crate) async fn open(engine: Engine, url: Option<&str>, file: &Path) -> Result<Self> {
        let url = || url.context("a server's database has an address");
        Ok(match engine {
            Engine::Sqlite => {
                let options = SqliteConnectOptions::new().filename(file).synchronous(SqliteSynchronous::Full);
                Self::Sqlite(SqlitePoolOptions::new().max_connections(1).connect_with(options).await?)
            }
            Engine::Postgres => Self::Postgres(PgPoolOptions::new().max_connections(1).connect(url()?).await?),
            Engine::Mysql => Self::Mysql(MySqlPoolOptions::new().max_connections(1).connect(url()?).await?),
        })
    }

    /// Runs statements.
    pub async fn run(&self, sql: impl Into<String>) -> Result<()> {
        let statements = sqlx::raw_sql(AssertSqlSafe(sql.into()));
        on!(self, |db| statements.execute(db).await.map(drop))?;
        Ok(())
    }

    /// The only value of a row.
    pub async fn number(&self, sql: impl Into<String>) -> Result<i64> {
        let sql = AssertSqlSafe(sql.into());
        Ok(on!(self, |db| sqlx::query_scalar(sql).fetch_one(db).await)?)
    }

    /// A column of texts.
    pub async fn texts(&self, sql: impl Into<String>) -> Result<Vec<String>> {
        let sql = AssertSqlSafe(sql.into());
        Ok(on!(self, |db| sqlx::query_scalar(sql).fetch_all(db).await)?)
    }

    /// A column of bytes.
    pub async fn bytes(&self, sql: impl Into<String>) -> Result<Vec<Vec<u8>>> {
        let sql = AssertSqlSafe(sql.into());
        Ok(on!(self, |db| sqlx::query_scalar(sql).fetch_all(db).await)?)
    }

    /// How many rows a table has; `condition` narrows them.
    pub async fn count(&self, table: &str, condition: &str) -> Result<i64> {
        self.number(format!("SELECT COUNT(*) FROM {table} WHERE {condition}")).await
    }

    /// The product's tables, the one of its migrations left out.
    pub async fn tables(&self) -> Result<Vec<String>> {
        let names = match self {
            Self::Sqlite(_) => "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
            Self::Postgres(_) => "SELECT tablename::text FROM pg_tables WHERE schemaname = current_schema()",
            Self::Mysql(_) => {
                "SELECT CAST(table_name AS CHAR) FROM information_schema.tables WHERE table_schema = DATABASE()"
            }
        };
        let mut names = self.texts(names).await?;
        names.retain(|name| name != "_sqlx_migrations");
        names.sort();
        Ok(names)
    }

    /// A table's columns.
    pub async fn columns(&self, table: &str) -> Result<Vec<String>> {
        let names = match self {
            Self::Sqlite(_) => format!("SELECT name FROM pragma_table_info('{table}')"),
            Self::Postgres(_) => format!(
                "SELECT column_name::text FROM information_schema.columns
                 WHERE table_schema = current_schema() AND table_name = '{table}'"
            ),
            Self::Mysql(_) => format!(
                "SELECT CAST(column_name AS CHAR) FROM information_schema.columns
                 WHERE table_schema = DATABASE() AND table_name = '{table}'"
            ),
        };
        self.texts(names).await
    }

    /// Bytes, as a statement writes them.
    pub fn literal(&self, bytes: &[u8]) -> String {
        let mut hex = String::new();
        for byte in bytes {
            let _never_fails = write!(hex, "{byte:02x}");
        }
        match self {
            Self::Postgres(_) => format!("'\\x{hex}'::bytea"),
            _ => format!("x'{hex}'"),
        }
    }

    /// Makes the database refuse to take rows into a table, as a full disk would: all of them, or those with these
    /// bytes in a column.
    pub async fn refuse(&self, table: &str, only: Option<(&str, &[u8])>) -> Result<()> {
        let condition = only.map(|(column, bytes)| format!("NEW.{column} = {}", self.literal(bytes)));
        let trigger = format!("CREATE TRIGGER refusal_{table} BEFORE INSERT ON {table} FOR EACH ROW");
        let when = condition.as_ref().map_or_else(String::new, |condition| format!("WHEN ({condition})"));
        let sql = match self {
            Self::Sqlite(_) => format!("{trigger} {when} BEGIN SELECT RAISE(ABORT, 'refused'); END"),
            Self::Postgres(_) => format!(
                "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
                 $$ BEGIN RAISE EXCEPTION 'refused'; END $$;
                 {trigger} {when} EXECUTE FUNCTION refuse()"
            ),
            Self::Mysql(_) => format!(
                "{trigger} IF {} THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'refused'; END IF",
                condition.as_deref().unwrap_or("TRUE")
            ),
        };
        self.run(sql).await
    }

    /// Lets it take them again.
    pub async fn allow(&self, table: &str) -> Result<()> {
        match self {
            Self::Postgres(_) => self.run(format!("DROP TRIGGER refusal_{table} ON {table}")).await,
            _ => self.run(format!("DROP TRIGGER refusal_{table}")).await,
        }
    }

    /// Leaves.
    pub async fn close(self) {
        on!(self, |db| db.close().await);
    }
}
