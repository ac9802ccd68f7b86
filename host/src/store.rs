//! The only room with SQL.

pub mod deliveries;
pub mod events;
pub mod keys;
pub mod sends;
pub mod sessions;
pub mod settings;
pub mod users;
pub mod vault;

use crate::app::tasks::Tasks;
use crate::config::DatabaseConfig;
use crate::model::{Clock, Scope, SessionId};

pub use vault::Vault;

/// The one store, over whichever engine is configured. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store;

/// Why the store could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A row with this unique value exists.
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
    /// Another process has the file open.
    #[error("another wagate uses {0}; SQLite serves one process")]
    InUse(String),
    /// A sealed value could not be opened.
    #[error("a sealed value could not be opened: {0}; is the master key the one it was sealed with?")]
    Sealed(&'static str),
    /// Anything else the engine reports.
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),
    /// The store has been closed.
    #[error("the store is closed")]
    Closed,
}

impl Store {
    /// Opens the database, brings it to the newest schema and starts the writer.
    pub async fn open(
        _config: &DatabaseConfig,
        _vault: Vault,
        _clock: Clock,
        _tasks: &Tasks,
    ) -> Result<Self, StoreError> {
        unimplemented!()
    }

    /// Commits one row and reads it back: whether the store can be relied on now.
    pub async fn ping(&self) -> Result<(), StoreError> {
        unimplemented!()
    }

    /// Waits for what was handed to the writer, then closes the database.
    pub async fn close(&self) {
        unimplemented!()
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

    /// Webhook deliveries.
    pub fn deliveries(&self, scope: Scope) -> deliveries::Deliveries<'_> {
        deliveries::Deliveries(self, scope)
    }

    /// Sends and their idempotency keys.
    pub fn sends(&self, scope: Scope) -> sends::Sends<'_> {
        sends::Sends(self, scope)
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
