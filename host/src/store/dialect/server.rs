//! What PostgreSQL and MySQL have in common: a server that others use too, and that may be slow, away or cut off.
//!
//! Invariant: nothing waits for a server longer than it says here, and a transaction that the server has given up is
//! never taken for a committed one.

use std::future::Future;
use std::io;
use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::pool::PoolOptions;
use sqlx::{Connection, Database};

use crate::config::ServerConfig;
use crate::store::sql::{Sql, sql};
use crate::store::{StoreError, dialect};

/// Sent as one text, which is one way there and back.
pub(super) const BEGIN: Sql = sql!("BEGIN; SAVEPOINT job");

/// `RELEASE` fails where the savepoint is gone: MySQL ends the whole transaction on a deadlock and goes on without one,
/// and PostgreSQL takes nothing but an undo after an error.
pub(super) const NEXT_JOB: Sql = sql!("RELEASE SAVEPOINT job; SAVEPOINT job");

/// For the same reason: alone, `COMMIT` would succeed in MySQL after a deadlock, and in PostgreSQL after an error, and
/// keep nothing.
pub(super) const COMMIT: Sql = sql!("RELEASE SAVEPOINT job; COMMIT");

/// Connections that read at the same time.
const READERS: u32 = 8;

/// How long a reader waits for a connection.
const ACQUIRE: Duration = Duration::from_secs(5);

/// How long a connection may take until it can be used.
const CONNECT: Duration = Duration::from_secs(10);

/// A connection that was idle for longer is asked whether it still stands.
const FRESH: Duration = Duration::from_secs(1);

/// Runs what makes a connection, as long as that may take. It is a large future, and whoever waits for it need not be.
pub(super) fn in_time<'w, T>(
    work: impl Future<Output = sqlx::Result<T>> + Send + 'w,
) -> BoxFuture<'w, sqlx::Result<T>> {
    Box::pin(async {
        match tokio::time::timeout(CONNECT, work).await {
            Ok(done) => done,
            Err(_elapsed) => Err(sqlx::Error::Io(io::ErrorKind::TimedOut.into())),
        }
    })
}

/// The readers' pool, without its server. A connection that broke while it was idle is replaced before it is used.
pub(super) fn readers<DB: Database>() -> PoolOptions<DB> {
    let options = PoolOptions::new().max_connections(READERS).acquire_timeout(ACQUIRE).test_before_acquire(false);
    options.before_acquire(|connection: &mut DB::Connection, idle| {
        Box::pin(async move {
            if idle.idle_for > FRESH {
                connection.ping().await?;
            }
            Ok(true)
        })
    })
}

/// Whether what the system said may pass. What it says about files and certificates is for somebody to mend.
pub(super) fn is_away(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput, PermissionDenied};
    !matches!(error.kind(), InvalidData | InvalidInput | PermissionDenied)
}

/// Why a server cannot be used, and what to do about it. `fix` answers for the errors the engine itself reports.
pub(super) fn unusable(
    engine: &'static str,
    server: &ServerConfig,
    error: &sqlx::Error,
    fix: fn(&str) -> Option<&'static str>,
) -> StoreError {
    let told = match error {
        sqlx::Error::Io(_) => Some("does the server run, and are DB_HOST and DB_PORT right?"),
        sqlx::Error::Tls(_) => Some("see DB_TLS and DB_TLS_CA"),
        sqlx::Error::Database(error) => error.code().and_then(|code| fix(&code)),
        _ => None,
    };
    let (reason, fix) = (error.to_string(), told.unwrap_or("the server's log may say more"));
    // A socket is made by its server. Any other file that is missing is one of authorities.
    let lacks_file = matches!(error, sqlx::Error::Io(error) if error.kind() == io::ErrorKind::NotFound);
    if dialect::is_away(error) && (server.is_local_socket() || !lacks_file) {
        return StoreError::Unreachable { database: format!("{engine}, {server}"), reason, fix };
    }
    refused(engine, server, reason, fix)
}

/// A server that is there but must not be used as it is.
pub(super) fn refused(engine: &'static str, server: &ServerConfig, reason: String, fix: &'static str) -> StoreError {
    StoreError::Unusable { database: format!("{engine}, {server}"), reason, fix }
}
