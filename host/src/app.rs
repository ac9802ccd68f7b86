//! The gateway as one value: every long-lived part, built from the configuration, started and stopped in order.
//!
//! Start: the HTTP address, where it says what it waits for → vault → store, and the lead on it → egress → webhooks →
//! plugins → inbound (what was stored and not routed first) → WhatsApp → sessions → outbound and its queue → retention →
//! auth → the HTTP routes → the sessions that were running. Stop: sessions leave WhatsApp, so nothing more arrives; then
//! every task; the store last.
//!
//! Invariant: a part is started after everything it calls and stopped before it.

mod listening;
pub mod tasks;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use self::tasks::Tasks;
use crate::auth::{AuthError, OneTimePassword};
use crate::config::Config;
use crate::egress::EgressError;
use crate::http::Server;
use crate::inbound::Inbound;
use crate::model::Clock;
use crate::plugin::PluginError;
use crate::session::Sessions;
use crate::store::{Store, StoreError};
use crate::whatsapp::Receive;

pub use listening::Listening;

/// Time tasks have to end at a stop. SIGTERM to exit takes at most about 30 s with the sessions' own patience.
const PATIENCE: Duration = Duration::from_secs(15);

/// Who the gateway is run for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Its users.
    #[default]
    Product,
    /// Somebody who tries it against the simulated network: may dial this machine, takes `admin`/`admin`.
    Demo,
}

/// A running gateway.
pub struct App {
    server: Server,
    sessions: Sessions,
    store: Store,
    tasks: Tasks,
    /// The store's own tasks: they end after everybody else's, because everybody writes to the end.
    storing: Tasks,
    first_password: Option<OneTimePassword>,
}

/// Why the gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database could not be opened, or there is no master key that opens it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The outgoing HTTP client could not be built.
    #[error(transparent)]
    Egress(#[from] EgressError),
    /// Plugins cannot be run.
    #[error(transparent)]
    Plugins(#[from] PluginError),
    /// TLS towards WhatsApp could not be set up.
    #[error("TLS could not be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// Logging in could not be set up.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// The address could not be listened on.
    #[error("cannot listen on {address}: {reason}; is another program there? set PORT or HOST")]
    Listen {
        /// The configured address.
        address: SocketAddr,
        /// What the system said.
        reason: std::io::Error,
    },
    /// A demo on an address others can reach.
    #[error("the demo takes admin/admin and therefore listens on loopback only, not on {0}")]
    OpenDemo(SocketAddr),
}

impl App {
    /// Starts the gateway; when this returns, it answers requests and its sessions are connecting.
    pub async fn start(config: Config, mode: Mode) -> Result<Self, StartError> {
        Self::start_with(config, mode, Clock::System).await
    }

    /// Starts the gateway on a clock of the caller's.
    pub async fn start_with(config: Config, mode: Mode, clock: Clock) -> Result<Self, StartError> {
        Self::listen(config, mode, clock)?.start().await
    }

    /// Begins the start: answers as soon as the gateway listens, so that its store can be waited for. Needs a running
    /// tokio runtime.
    pub fn listen(config: Config, mode: Mode, clock: Clock) -> Result<Listening, StartError> {
        Listening::bind(config, mode, clock)
    }

    /// The address it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.server.addr()
    }

    /// The one-time password of the first administrator, when this was the first start and none was configured.
    pub fn first_password(&self) -> Option<&OneTimePassword> {
        self.first_password.as_ref()
    }

    /// The running sessions.
    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Resolves when another gateway has taken over the database: this one can do nothing more and should be stopped.
    pub async fn superseded(&self) -> StoreError {
        self.store.superseded().await;
        StoreError::Superseded
    }

    /// Stops: sessions leave WhatsApp and stay linked, what is under way is finished, the database is closed.
    pub async fn stop(self) {
        self.sessions.stop_all().await;
        let left = self.tasks.stop(PATIENCE).await;
        if left > 0 {
            tracing::warn!(left, "tasks did not end in time");
        }
        self.store.close().await;
        self.storing.stop(PATIENCE).await;
    }
}

fn receiver(inbound: Inbound) -> Receive {
    Arc::new(move |session, batch| {
        let inbound = inbound.clone();
        Box::pin(async move { Ok(inbound.receive(&session, &batch).await?) })
    })
}
