//! The only room with SQL: one concrete [`Store`], on SQLite, PostgreSQL or MySQL.
//!
//! Reads go to a few read-only connections. Every write is a job for the one writer, which commits many jobs at once
//! and answers each only when it is on disk (`writer.rs`). Of several gateways on one database one leads, and only its
//! writes are committed (`leader.rs`). Statements are written once for all engines (`sql!`, `on!`); what differs lies in
//! `dialect/`. Secrets are sealed by the [`Vault`] before they get here.
//!
//! To add a table: write `migrations/<engine>/NNNN_name.sql` under the same name for each engine, with
//! `REFERENCES sessions (id) ON DELETE CASCADE` when its rows belong to a session; add a file beside this one with its
//! statements in one `statements!` block on top and its calls below; list the block in `store/tests.rs`. A call on
//! users' data takes a [`Scope`] and names `owner BETWEEN` it in every statement.
//!
//! Invariant: nothing is answered as written before the disk has it.

pub mod backup;
mod bulk;
mod column;
pub mod deliveries;
mod dialect;
pub mod endpoints;
pub mod events;
mod gather;
pub mod keys;
mod leader;
pub mod plugin_sends;
pub mod plugins;
mod pool;
pub mod replays;
pub mod retention;
pub mod sends;
pub mod sessions;
pub mod settings;
mod sql;
pub mod users;
pub mod vault;
mod writer;

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock};

use futures_util::future::BoxFuture;
use sqlx::error::DatabaseError;
use tokio::sync::watch;
use tokio_util::sync::WaitForCancellationFutureOwned;

use self::deliveries::Settling;
use self::events::intake::Reception;
use self::gather::Gathering;
use self::leader::Leader;
use self::pool::{Pool, Tx};
use self::writer::Writer;
use crate::app::tasks::Tasks;
use crate::config::DatabaseConfig;
use crate::model::{Clock, Millis, Scope, SessionId};

pub use dialect::Migration;
pub use vault::Vault;

/// The one store, over whichever engine is configured. Cheap to clone.
#[derive(Clone)]
pub struct Store(Arc<Parts>);

struct Parts {
    readers: Pool,
    writer: Writer,
    receiving: Arc<Gathering<Reception>>,
    settling: Arc<Gathering<Settling>>,
    leader: Leader,
    /// Set once it leads.
    led_since: OnceLock<Millis>,
    vault: Vault,
    rotation: Mutex<vault::rotation::Progress>,
    copying: Mutex<backup::Progress>,
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
    /// The database server cannot be reached at the moment.
    #[error("the database ({database}) cannot be reached: {reason}; {fix}")]
    Unreachable {
        /// The engine, the name of the database, and the server.
        database: String,
        /// What the system or the server said.
        reason: String,
        /// What to do about it, should it last.
        fix: &'static str,
    },
    /// The database server does not let us in, or must not be used as it is.
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
    /// Another gateway leads on this database.
    #[error("another gateway is active on this database")]
    Standby,
    /// Another gateway has taken the lead since; nothing more is written here.
    #[error("another gateway took over this database")]
    Superseded,
    /// A sealed value could not be opened.
    #[error("a sealed value could not be opened: {0}; is the master key the one it was sealed with?")]
    Sealed(&'static str),
    /// The database holds what is sealed under a key that is not there.
    #[error(
        "the database is sealed under the master key {needed}, and there is only {found}; put {needed} back where it \
         was: the key file, MASTER_KEY, MASTER_KEY_COMMAND, or the old keys (MASTER_KEYS_OLD, master.key.old)"
    )]
    KeyLost {
        /// The key's id.
        needed: vault::KeyId,
        /// The keys that are there, each with where it was found.
        found: String,
    },
    /// The master key could not be kept.
    #[error(transparent)]
    Vault(#[from] vault::VaultError),
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

    /// Whether the database cannot be had at the moment: its server is away, or another gateway leads. Worth waiting
    /// for.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Standby => true,
            Self::Database(error) => dialect::is_away(error) || dialect::is_busy(error),
            Self::Commit(error) => dialect::is_away(error) || dialect::is_busy(error),
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
        let leader = Leader::new(&opened.source);
        let writer = Writer::start(opened.source, opened.tx, leader.fence(), tasks)?;
        let (readers, rotation, copying) = (opened.readers, Mutex::default(), Mutex::default());
        let (receiving, settling, led_since) = (Arc::default(), Arc::default(), OnceLock::new());
        let store = Self(Arc::new(Parts {
            readers,
            writer,
            receiving,
            settling,
            leader,
            led_since,
            vault,
            rotation,
            copying,
            clock,
        }));
        if let Err(error) = vault::checks::admit(&store).await {
            store.close().await;
            return Err(error);
        }
        Ok(store)
    }

    /// Makes this store the one that leads on its database, as a gateway must before it holds sessions or sends
    /// deliveries; [`StoreError::Standby`] while another does. On SQLite it always does. A store that does not lead can be
    /// read and written all the same, for commands beside a gateway.
    ///
    /// Whoever led before may have changed the master key, so the vault is held against the database once more. The lead
    /// is kept by one of `tasks`, the group of [`Store::open`], until [`Store::close`].
    pub async fn lead(&self, tasks: &Tasks) -> Result<(), StoreError> {
        self.0.leader.lead(tasks).await?;
        let now = self.0.clock.now();
        self.0.led_since.get_or_init(|| now);
        vault::checks::admit_again(self).await
    }

    /// When this store took the lead, if it has.
    fn led_since(&self) -> Option<Millis> {
        self.0.led_since.get().copied()
    }

    /// Resolves when this store led and another gateway took over: every write fails from then on.
    pub fn superseded(&self) -> WaitForCancellationFutureOwned {
        self.0.leader.superseded()
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
        self.0.leader.resign().await;
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

    /// Changes with every commit, so that whoever follows what is stored knows when to look; ends with the store.
    pub fn commits(&self) -> watch::Receiver<u64> {
        self.0.writer.commits()
    }

    /// The one writer, for calls that keep a place with it.
    fn writer(&self) -> &Writer {
        &self.0.writer
    }

    /// Where received messages wait for the writer.
    fn receiving(&self) -> &Arc<Gathering<Reception>> {
        &self.0.receiving
    }

    /// Where attempts that have ended wait for the writer.
    fn settling(&self) -> &Arc<Gathering<Settling>> {
        &self.0.settling
    }

    /// The epoch this store leads under; above all others while it does not take part in the election.
    fn epoch(&self) -> i64 {
        self.0.leader.epoch()
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

    /// Replays of deliveries.
    pub fn replays(&self, scope: Scope) -> replays::Replays<'_> {
        replays::Replays(self, scope)
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

    /// How secrets are sealed, and sealing them anew under another master key.
    pub fn sealing(&self) -> vault::rotation::Sealing<'_> {
        vault::rotation::Sealing(self)
    }

    /// Copying the database file.
    pub fn copying(&self) -> backup::Copying<'_> {
        backup::Copying(self)
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
