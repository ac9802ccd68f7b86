//! MySQL from release 8.0 on, and MariaDB from 10.6 on.
//!
//! Transactions are READ COMMITTED, text is utf8mb4 and compared byte for byte, the SQL mode is strict, tables are
//! `InnoDB`. A job waits for a lock of another gateway for a few seconds and is then told that the database is busy.
//!
//! Each CREATE commits by itself here, so an interrupted migration is run again; see the note in the first one.

use std::fmt;

use secrecy::ExposeSecret;
use sqlx::error::DatabaseError;
use sqlx::migrate::{Migrate, Migrator};
use sqlx::mysql::{MySqlConnectOptions, MySqlDatabaseError, MySqlSslMode};
use sqlx::{ConnectOptions, Connection, Executor, MySql, MySqlConnection};

use super::server::{self, in_time};
use super::{APPLIED, Election, Opened, Source, upgrade};
use crate::config::{DatabaseTls, ServerConfig};
use crate::store::StoreError;
use crate::store::pool::{Engine, Tx};
use crate::store::sql::{Sql, sql};

/// The schema, embedded.
pub(super) static MIGRATIONS: Migrator = sqlx::migrate!("../migrations/mysql");

const ENGINE: &str = "MySQL";

/// A transaction that reads everything as it is at one moment; under READ COMMITTED each statement would have its own.
pub(super) const SNAPSHOT: Sql = sql!(
    "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ;
    START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY"
);

/// As the server counted last.
pub(super) const SIZE: Sql = sql!(
    "SELECT CAST(COALESCE(SUM(data_length + index_length), 0) AS SIGNED) FROM information_schema.tables
        WHERE table_schema = DATABASE()"
);

/// The lock is one of the server, under a name of the database's own. The name is hashed, because a lock's has 64
/// characters at most.
pub(super) const ELECTION: Election = Election {
    lock: sql!("SELECT CAST(COALESCE(GET_LOCK(CONCAT('wagate.leader.', SHA1(DATABASE())), 0), 0) AS SIGNED)"),
    unlock: sql!("DO RELEASE_LOCK(CONCAT('wagate.leader.', SHA1(DATABASE())))"),
    share: "LOCK IN SHARE MODE",
};

/// Prepared statements a connection keeps: room for every statement of ours.
const STATEMENTS: usize = 256;

/// What holds for every connection.
const SESSION: &str = "SET SESSION autocommit = 1, sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION',
    default_storage_engine = InnoDB, innodb_lock_wait_timeout = 5;
    SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED";

/// What holds for the connections that write, too: one that says nothing for so long is closed with all its locks, so
/// that a gateway whose machine is gone does not keep them. The writer then makes another.
const MORTAL: &str = "SET SESSION wait_timeout = 60";

const READ_ONLY: &str = "SET SESSION TRANSACTION READ ONLY";

/// Where the writer's connections come from.
#[derive(Clone)]
pub(in crate::store) struct MySqlServer(MySqlConnectOptions);

impl MySqlServer {
    pub(super) async fn connect(&self) -> sqlx::Result<Tx> {
        let mut connection = connect(&self.0).await?;
        in_time(connection.execute(MORTAL)).await?;
        Ok(Engine::MySql(connection))
    }
}

/// Without the options, which hold the password.
impl fmt::Debug for MySqlServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MySqlServer").finish_non_exhaustive()
    }
}

/// Opens the database, which must exist, and brings it to the newest schema.
pub(super) async fn open(server: &ServerConfig, target: Option<i64>) -> Result<Opened, StoreError> {
    let mut connection = dial(server).await?;
    check(server, &mut connection).await?;
    migrate(server, &mut connection, target).await?;
    connection.close().await?;
    let readers = server::readers::<MySql>().after_connect(|connection, _fresh| {
        Box::pin(async move {
            Executor::execute(&mut *connection, SESSION).await?;
            Executor::execute(connection, READ_ONLY).await.map(|_| ())
        })
    });
    let readers = readers.connect_lazy_with(options(server));
    Ok(Opened { source: Source::MySql(MySqlServer(options(server))), tx: None, readers: Engine::MySql(readers) })
}

/// The migrations the database has.
pub(super) async fn applied(server: &ServerConfig) -> Result<Vec<i64>, StoreError> {
    let mut connection = dial(server).await?;
    let known = "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = ?";
    let known: i64 = sqlx::query_scalar(known).bind(APPLIED).fetch_one(&mut connection).await?;
    let done = "SELECT version FROM _sqlx_migrations WHERE success = TRUE";
    let applied: Vec<i64> =
        if known == 0 { Vec::new() } else { sqlx::query_scalar(done).fetch_all(&mut connection).await? };
    connection.close().await?;
    Ok(applied)
}

/// A lock that was waited for too long, a deadlock, and a row that changed since it was read
/// (<https://dev.mysql.com/doc/mysql-errors/8.0/en/server-error-reference.html>).
pub(super) fn is_busy(error: &(dyn DatabaseError + 'static)) -> bool {
    let ours = error.try_downcast_ref::<MySqlDatabaseError>();
    ours.is_some_and(|error| matches!(error.number(), 1205 | 1213 | 1020) || error.code() == Some("40001"))
}

/// The server has no connection left, for anybody or for this user, or shuts down, or has ended the connection.
pub(super) fn is_away(error: &(dyn DatabaseError + 'static)) -> bool {
    let ours = error.try_downcast_ref::<MySqlDatabaseError>();
    ours.is_some_and(|error| matches!(error.number(), 1040 | 1203 | 1053 | 1927))
}

/// A connection to the database as it is.
pub(super) async fn dial(server: &ServerConfig) -> Result<MySqlConnection, StoreError> {
    let fix = |code: &str| match code {
        "28000" => Some("check DB_USER and DB_PASS, and from where the server lets that user in"),
        "42000" => Some("make it first (CREATE DATABASE … CHARACTER SET utf8mb4) and GRANT ALL ON it to the user"),
        "08004" => Some("raise the server's max_connections"),
        _ => None,
    };
    connect(&options(server)).await.map_err(|error| server::unusable(ENGINE, server, &error, fix))
}

async fn connect(options: &MySqlConnectOptions) -> sqlx::Result<MySqlConnection> {
    let made = async {
        let mut connection = options.connect().await?;
        connection.execute(SESSION).await?;
        Ok(connection)
    };
    in_time(made).await
}

fn options(server: &ServerConfig) -> MySqlConnectOptions {
    let options = MySqlConnectOptions::new()
        .host(&server.host)
        .port(server.port)
        .username(&server.user)
        .database(&server.name)
        .charset("utf8mb4")
        .collation("utf8mb4_bin")
        .statement_cache_capacity(STATEMENTS)
        .ssl_mode(match server.tls {
            _ if server.is_local_socket() => MySqlSslMode::Disabled,
            DatabaseTls::Disable => MySqlSslMode::Disabled,
            DatabaseTls::Prefer => MySqlSslMode::Preferred,
            DatabaseTls::Require => MySqlSslMode::Required,
            DatabaseTls::Verify => MySqlSslMode::VerifyIdentity,
        })
        .disable_statement_logging();
    let options = if server.is_local_socket() { options.socket(&server.host) } else { options };
    let options = match &server.password {
        Some(password) => options.password(password.expose_secret()),
        None => options,
    };
    match &server.authorities {
        Some(file) => options.ssl_ca(file),
        None => options,
    }
}

/// Refuses a server that is too old, and warns of one that may lose what it committed or takes no large plugins.
async fn check(server: &ServerConfig, connection: &mut MySqlConnection) -> Result<(), StoreError> {
    let (version, flushes, packet): (String, i64, i64) = sqlx::query_as(
        "SELECT VERSION(), CAST(@@innodb_flush_log_at_trx_commit AS SIGNED), CAST(@@max_allowed_packet AS SIGNED)",
    )
    .fetch_one(connection)
    .await?;
    if is_too_old(&version) {
        let reason = format!("the server is {version}");
        return Err(server::refused(ENGINE, server, reason, "wagate needs MySQL 8.0, MariaDB 10.6, or newer"));
    }
    if flushes != 1 {
        tracing::warn!(
            "the database server runs with innodb_flush_log_at_trx_commit = {flushes}: it loses committed messages when \
             it crashes; set it to 1"
        );
    }
    if packet < 64 << 20 {
        tracing::warn!(
            "the database server takes {} MiB at once: larger plugins cannot be installed; set max_allowed_packet to 64M",
            packet >> 20
        );
    }
    Ok(())
}

/// `8.0.36`, `10.11.19-MariaDB-…`, and what MariaDB tells old clients: `5.5.5-10.11.19-MariaDB-…`.
fn is_too_old(version: &str) -> bool {
    let told = version.strip_prefix("5.5.5-").unwrap_or(version);
    let mut numbers = told.split(['.', '-']).map_while(|number| number.parse::<u32>().ok());
    let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    found < if told.contains("MariaDB") { (10, 6) } else { (8, 0) }
}

/// Brings the database to the newest schema; others that start at the same time wait. The lock is our own, because the
/// one sqlx asks for waits for `-1` seconds, which MariaDB answers with NULL and no lock. It ends with the connection.
async fn migrate(
    server: &ServerConfig,
    connection: &mut MySqlConnection,
    target: Option<i64>,
) -> Result<(), StoreError> {
    let lock = "SELECT GET_LOCK(CONCAT('wagate.', SHA1(DATABASE())), 60)";
    let locked: Option<i64> = sqlx::query_scalar(lock).fetch_one(&mut *connection).await?;
    if locked != Some(1) {
        let reason = "another wagate has been bringing it to the newest schema for a minute".to_owned();
        return Err(server::refused(ENGINE, server, reason, "wait until that is done, or stop it"));
    }
    connection.ensure_migrations_table(APPLIED).await.map_err(sqlx::Error::from)?;
    // One that was interrupted: nobody else is at it now.
    sqlx::query("DELETE FROM _sqlx_migrations WHERE success = FALSE").execute(&mut *connection).await?;
    upgrade(connection, &MIGRATIONS, target).await?;
    let foreign = "SELECT COUNT(*) FROM information_schema.tables
        WHERE table_schema = DATABASE() AND table_type = 'BASE TABLE' AND engine <> 'InnoDB'";
    let foreign: i64 = sqlx::query_scalar(foreign).fetch_one(&mut *connection).await?;
    if foreign > 0 {
        let reason = format!("{foreign} of its tables are not InnoDB and keep no transactions");
        return Err(server::refused(ENGINE, server, reason, "convert them: ALTER TABLE … ENGINE = InnoDB"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::is_too_old;

    #[test]
    fn tells_old_releases_of_both_from_new_ones() {
        for old in ["5.7.44-log", "5.5.68-MariaDB", "10.5.29-MariaDB-0+deb11u1", "5.5.5-10.5.8-MariaDB"] {
            assert!(is_too_old(old), "{old}");
        }
        for new in ["8.0.36", "8.4.0", "9.1.0-log", "10.6.1-MariaDB", "10.11.19-MariaDB-0+deb12u1", "11.4.2-MariaDB"] {
            assert!(!is_too_old(new), "{new}");
        }
        assert!(!is_too_old("5.5.5-10.11.19-MariaDB-0+deb12u1"));
    }
}
