//! PostgreSQL, from release 13 on.
//!
//! Transactions are READ COMMITTED and committed with `synchronous_commit`, so that a commit is on the server's disk when
//! it returns. A job waits for a lock of another gateway for a few seconds and is then told that the database is busy; a
//! gateway that stops half way through a transaction loses it, and its locks with it.

use std::fmt;

use secrecy::ExposeSecret;
use sqlx::error::DatabaseError;
use sqlx::migrate::{Migrate, Migrator};
use sqlx::postgres::{PgConnectOptions, PgDatabaseError, PgSslMode};
use sqlx::{ConnectOptions, Connection, PgConnection, Postgres};

use super::server::{self, in_time};
use super::{APPLIED, Election, Opened, Source, upgrade};
use crate::config::{DatabaseTls, ServerConfig};
use crate::store::StoreError;
use crate::store::pool::{Engine, Tx};
use crate::store::sql::{Sql, sql};

/// The schema, embedded.
pub(super) static MIGRATIONS: Migrator = sqlx::migrate!("../migrations/postgres");

const ENGINE: &str = "PostgreSQL";

/// A transaction that reads everything as it is at one moment. The first read fixes what it sees.
pub(super) const SNAPSHOT: Sql = sql!("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");

/// The tables' files never shrink, so each counts as far as it is filled with rows.
pub(super) const SIZE: Sql = sql!(
    "SELECT CAST(COALESCE(SUM(pg_total_relation_size(t.relid) * LEAST(1.0, t.n_live_tup * (28 + w.width)::numeric
            / GREATEST(pg_relation_size(t.relid), 1))), 0) AS BIGINT)
        FROM pg_stat_user_tables t LEFT JOIN (SELECT schemaname, tablename, SUM(avg_width) AS width FROM pg_stats
            GROUP BY 1, 2) w ON w.schemaname = t.schemaname AND w.tablename = t.relname
        WHERE t.schemaname = current_schema()"
);

/// The lock is an advisory one of the database, under a number of ours and that of the table, so that gateways in
/// several schemas of one database do not meet.
pub(super) const ELECTION: Election = Election {
    lock: sql!(
        "SELECT CAST(CASE WHEN pg_try_advisory_lock(2002872180, CAST(CAST('leadership' AS regclass) AS int4))
            THEN 1 ELSE 0 END AS BIGINT)"
    ),
    unlock: sql!("SELECT pg_advisory_unlock_all()"),
    share: "FOR SHARE",
};

/// The oldest release that works, as `server_version_num` has it.
const OLDEST: u32 = 130_000;

/// Prepared statements a connection keeps: room for every statement of ours.
const STATEMENTS: usize = 256;

/// Where the writer's connections come from.
#[derive(Clone)]
pub(in crate::store) struct PostgresServer(PgConnectOptions);

impl PostgresServer {
    pub(super) async fn connect(&self) -> sqlx::Result<Tx> {
        in_time(self.0.connect()).await.map(Engine::Postgres)
    }
}

/// Without the options, which hold the password.
impl fmt::Debug for PostgresServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresServer").finish_non_exhaustive()
    }
}

/// Opens the database, which must exist, and brings it to the newest schema.
pub(super) async fn open(server: &ServerConfig, target: Option<i64>) -> Result<Opened, StoreError> {
    let mut connection = dial(server).await?;
    check(server, &mut connection).await?;
    // The lock is of the connection: it ends with it, whatever happens, and others wait for it as long as it takes.
    connection.lock().await.map_err(sqlx::Error::from)?;
    upgrade(&mut connection, &MIGRATIONS, target).await?;
    connection.close().await?;
    let writing = options(server).options([
        ("synchronous_commit", "on"),
        ("lock_timeout", "5s"),
        ("idle_in_transaction_session_timeout", "60s"),
        // The writer touches rows by their keys. A plan made while a table was empty, of ours or of a foreign key's check,
        // reads all of it and is kept until the server next counts its rows: each commit would read the whole table.
        ("enable_seqscan", "off"),
        // A gateway whose machine is gone holds its locks for half a minute, not for hours.
        ("tcp_keepalives_idle", "15"),
        ("tcp_keepalives_interval", "5"),
        ("tcp_keepalives_count", "3"),
    ]);
    let reading = options(server).options([("default_transaction_read_only", "on")]);
    let readers = server::readers::<Postgres>().connect_lazy_with(reading);
    Ok(Opened { source: Source::Postgres(PostgresServer(writing)), tx: None, readers: Engine::Postgres(readers) })
}

/// The migrations the database has.
pub(super) async fn applied(server: &ServerConfig) -> Result<Vec<i64>, StoreError> {
    let mut connection = dial(server).await?;
    let known =
        "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = current_schema() AND table_name = $1";
    let known: i64 = sqlx::query_scalar(known).bind(APPLIED).fetch_one(&mut connection).await?;
    let applied = if known == 0 {
        Vec::new()
    } else {
        connection.list_applied_migrations(APPLIED).await.map_err(sqlx::Error::from)?
    };
    connection.close().await?;
    Ok(applied.into_iter().map(|migration| migration.version).collect())
}

/// SQLSTATE: a serialization failure, a deadlock, a lock that was waited for too long
/// (<https://www.postgresql.org/docs/current/errcodes-appendix.html>).
pub(super) fn is_busy(error: &(dyn DatabaseError + 'static)) -> bool {
    let ours = error.try_downcast_ref::<PgDatabaseError>();
    ours.is_some_and(|error| matches!(error.code(), "40001" | "40P01" | "55P03"))
}

/// SQLSTATE: the server shuts down, has crashed, is starting, or has no connection left; class 08 is the way there.
pub(super) fn is_away(error: &(dyn DatabaseError + 'static)) -> bool {
    let ours = error.try_downcast_ref::<PgDatabaseError>();
    ours.is_some_and(|error| {
        matches!(error.code(), "57P01" | "57P02" | "57P03" | "53300") || error.code().starts_with("08")
    })
}

/// A connection to the database as it is.
pub(super) async fn dial(server: &ServerConfig) -> Result<PgConnection, StoreError> {
    let fix = |code: &str| match code {
        "28P01" | "28000" => Some("check DB_USER and DB_PASS, and what the server's pg_hba.conf lets in"),
        "3D000" => Some("make it first: CREATE DATABASE … ENCODING 'UTF8'"),
        "42501" => Some("give the user of DB_USER the rights to connect and to create tables"),
        "53300" => Some("raise the server's max_connections"),
        "57P03" => Some("the server is starting or stopping; try again"),
        _ => None,
    };
    in_time(options(server).connect()).await.map_err(|error| server::unusable(ENGINE, server, &error, fix))
}

fn options(server: &ServerConfig) -> PgConnectOptions {
    let options = PgConnectOptions::new_without_pgpass()
        .host(&server.host)
        .port(server.port)
        .username(&server.user)
        .password(server.password.as_ref().map_or("", ExposeSecret::expose_secret))
        .database(&server.name)
        .application_name("wagate")
        .statement_cache_capacity(STATEMENTS)
        .options([
            ("client_min_messages", "warning"),
            ("default_transaction_isolation", "read committed"),
            // Compiling a statement takes longer than any of ours runs.
            ("jit", "off"),
        ])
        .ssl_mode(match server.tls {
            _ if server.is_local_socket() => PgSslMode::Disable,
            DatabaseTls::Disable => PgSslMode::Disable,
            DatabaseTls::Prefer => PgSslMode::Prefer,
            DatabaseTls::Require => PgSslMode::Require,
            DatabaseTls::Verify => PgSslMode::VerifyFull,
        })
        .disable_statement_logging();
    match &server.authorities {
        Some(file) => options.ssl_root_cert(file),
        None => options,
    }
}

/// Refuses a server that is too old or a database that is not in UTF-8, and warns of one that may lose what it committed.
async fn check(server: &ServerConfig, connection: &mut PgConnection) -> Result<(), StoreError> {
    let (number, version, encoding, fsync): (String, String, String, String) = sqlx::query_as(
        "SELECT current_setting('server_version_num'), current_setting('server_version'),
            current_setting('server_encoding'), current_setting('fsync')",
    )
    .fetch_one(connection)
    .await?;
    if number.parse().is_ok_and(|number: u32| number < OLDEST) {
        let reason = format!("the server is PostgreSQL {version}");
        return Err(server::refused(ENGINE, server, reason, "wagate needs PostgreSQL 13 or newer"));
    }
    if encoding != "UTF8" {
        let reason = format!("the database is in {encoding}");
        return Err(server::refused(ENGINE, server, reason, "make one with CREATE DATABASE … ENCODING 'UTF8'"));
    }
    if fsync != "on" {
        tracing::warn!("the PostgreSQL server runs with fsync = {fsync}: it loses committed messages when it crashes");
    }
    Ok(())
}
