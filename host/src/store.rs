//! The only room with SQL: one concrete [`Store`], on SQLite, PostgreSQL or MySQL.
//!
//! Reads go to a few read-only connections. Every write is a job for the one writer, which commits many jobs at once
//! and answers each only when it is on disk (`writer.rs`). Statements are written once for all
//! engines (`sql!`, `on!`); what differs lies in `dialect/`. Secrets are sealed by the [`Vault`] before they get here.
//!
//! To add a table: write `migrations/<engine>/NNNN_name.sql` under the same name for each engine, with
//! `REFERENCES sessions (id) ON DELETE CASCADE` when its rows belong to a session; add a file beside this one with its
//! statements in one `statements!` block on top and its calls below; list the block in `store/tests.rs`. A call on
//! users' data takes a [`Scope`] and names `owner BETWEEN` it in every statement.
//!
//! Invariant: nothing is answered as written before the disk has it.

pub mod backup;
mod column;
pub mod deliveries;
mod dialect;
pub mod endpoints;
pub mod events;
pub mod keys;
pub mod plugin_sends;
pub mod plugins;
mod pool;
pub mod retention;
pub mod sends;
pub mod sessions;
pub mod settings;
mod sql;
pub mod users;
pub mod vault;
mod writer;

use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use sqlx::error::DatabaseError;

use self::pool::{Pool, Tx};
use self::writer::Writer;
use crate::app::tasks::Tasks;
use crate::config::DatabaseConfig;
use crate::model::{Clock, Scope, SessionId};

pub use dialect::Migration;
pub use vault::Vault;

/// The one store, over whichever engine is configured. Cheap to clone.
#[derive(Clone)]
pub struct Store(Arc<Parts>);

struct Parts {
    readers: Pool,
    writer: Writer,
    vault: Vault,
    clock: Clock,
}

/// Why the store could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A row with this unique value exists, or one that stands in the way.
    #[error("{0} is already taken")]
    Taken(&'static str),
    /// The database was written by a newer wagate.
    #[error(
        "the database has migration {found}, this wagate knows up to {known}; run a newer wagate or restore a backup"
    )]
    Newer {
        /// The newest migration in the database.
        found: i64,
        /// The newest migration this build knows.
        known: i64,
    },
    /// The database file is damaged or is no database.
    #[error(
        "the database file {path} is damaged or is not a database: {reason}; restore a backup or move the file away"
    )]
    Damaged {
        /// The file.
        path: String,
        /// What the engine said.
        reason: String,
    },
    /// The database file cannot be made or opened.
    #[error("the database file {path} cannot be opened: {reason}")]
    Unavailable {
        /// The file, or the lock file beside it.
        path: String,
        /// What the system said.
        reason: String,
    },
    /// The database server cannot be reached, or must not be used as it is.
    #[error("the database ({database}) cannot be used: {reason}; {fix}")]
    Unusable {
        /// The engine, the name of the database, and the server.
        database: String,
        /// What is wrong.
        reason: String,
        /// What to do about it.
        fix: &'static str,
    },
    /// Another process has the file open.
    #[error("another wagate uses {0}; SQLite serves one process")]
    InUse(String),
    /// A sealed value could not be opened.
    #[error("a sealed value could not be opened: {0}; is the master key the one it was sealed with?")]
    Sealed(&'static str),
    /// The write could not be committed; nothing of it is kept. Other writes of the same moment share the cause.
    #[error("the database could not commit: {0}")]
    Commit(#[source] Arc<sqlx::Error>),
    /// Anything else the engine reports.
    #[error("the database failed: {0}")]
    Database(#[source] sqlx::Error),
    /// What plugins relied on was changed by others, again and again.
    #[error("values kept changing while plugins relied on them; try again")]
    Contended,
    /// The work panicked and was undone: a fault in wagate.
    #[error("a write panicked and was undone; please report this with the log")]
    Panicked,
    /// The store has been closed.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    /// Makes [`StoreError::Taken`] of an error when `why` holds for it.
    fn taken(error: sqlx::Error, why: fn(&dyn DatabaseError) -> bool, what: &'static str) -> Self {
        if error.as_database_error().is_some_and(why) { Self::Taken(what) } else { error.into() }
    }

    /// Whether the database only gave way to somebody else, so that the same call may succeed a moment later.
    pub fn is_busy(&self) -> bool {
        match self {
            Self::Database(error) => dialect::is_busy(error),
            Self::Commit(error) => dialect::is_busy(error),
            _ => false,
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::PoolClosed => Self::Closed,
            error => Self::Database(error),
        }
    }
}

impl Store {
    /// Opens the database, brings it to the newest schema and starts the writer.
    ///
    /// The writer is one of `tasks` and ends with [`Store::close`], not with `tasks.stop()`, because whoever stops has
    /// last words to write. Give it a group of its own: stop the others, close the store, stop this one.
    pub async fn open(config: &DatabaseConfig, vault: Vault, clock: Clock, tasks: &Tasks) -> Result<Self, StoreError> {
        let opened = dialect::open(config).await?;
        let writer = Writer::start(opened.source, opened.tx, tasks)?;
        let store = Self(Arc::new(Parts { readers: opened.readers, writer, vault, clock }));
        if let Err(error) = store.settings().check_key().await {
            store.close().await;
            return Err(error);
        }
        Ok(store)
    }

    /// The migrations this wagate knows, oldest first, and which of them the configured database has. Changes nothing.
    pub async fn migrations(config: &DatabaseConfig) -> Result<Vec<Migration>, StoreError> {
        dialect::migrations(config).await
    }

    /// Commits one row and reads it back: whether the store can be relied on now.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let now = self.0.clock.now().to_string();
        self.settings().set("store.ping", &now).await?;
        self.settings().get("store.ping").await.map(|_| ())
    }

    /// Waits for what was handed to the writer, then closes the database. Later calls answer [`StoreError::Closed`].
    pub async fn close(&self) {
        self.0.readers.close().await;
        self.0.writer.close().await;
    }

    /// Runs `work` in a write transaction, alone or with others, and answers once it is durable. An `Err` undoes it. On a
    /// server that other gateways write to it may be undone and run again, so it does nothing but write.
    ///
    /// ```ignore
    /// store.write(|tx| Box::pin(async move { on!(tx, |db, q| { sqlx::query(q(ADD)).execute(db).await? }); Ok(()) })).await
    /// ```
    async fn write<T, W>(&self, work: W) -> Result<T, StoreError>
    where
        T: Send + 'static,
        W: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<T, StoreError>> + Clone + Send + 'static,
    {
        self.0.writer.write(work).await
    }

    /// The connections to read with.
    fn readers(&self) -> &Pool {
        &self.0.readers
    }

    fn vault(&self) -> &Vault {
        &self.0.vault
    }

    fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// Users and their passwords.
    pub fn users(&self) -> users::Users<'_> {
        users::Users(self)
    }

    /// Sessions within a scope.
    pub fn sessions(&self, scope: Scope) -> sessions::Sessions<'_> {
        sessions::Sessions(self, scope)
    }

    /// Received events.
    pub fn events(&self, scope: Scope) -> events::Events<'_> {
        events::Events(self, scope)
    }

    /// Webhook endpoints.
    pub fn endpoints(&self, scope: Scope) -> endpoints::Endpoints<'_> {
        endpoints::Endpoints(self, scope)
    }

    /// Webhook deliveries.
    pub fn deliveries(&self, scope: Scope) -> deliveries::Deliveries<'_> {
        deliveries::Deliveries(self, scope)
    }

    /// Sends and their idempotency keys.
    pub fn sends(&self, scope: Scope) -> sends::Sends<'_> {
        sends::Sends(self, scope)
    }

    /// Plugins: the catalog, where they are bound, what they keep and what they said.
    pub fn plugins(&self, scope: Scope) -> plugins::Plugins<'_> {
        plugins::Plugins(self, scope)
    }

    /// Messages plugins asked to be sent.
    pub fn plugin_sends(&self, scope: Scope) -> plugin_sends::PluginSends<'_> {
        plugin_sends::PluginSends(self, scope)
    }

    /// Small values of the gateway itself, such as the web client version last fetched.
    pub fn settings(&self) -> settings::Settings<'_> {
        settings::Settings(self)
    }

    /// A session's WhatsApp keys.
    pub fn keys(&self, session: SessionId) -> keys::Keys {
        keys::Keys(self.clone(), session)
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
