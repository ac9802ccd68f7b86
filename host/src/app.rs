//! The gateway as one value: every long-lived part, built from the configuration, started and stopped in order.
//!
//! Start: vault → store → egress → webhooks → plugins → inbound (what was stored and not routed first) → WhatsApp →
//! sessions → outbound and its queue → retention → auth → HTTP → the sessions that were running. Stop: sessions leave
//! WhatsApp, so nothing more arrives; then every task; the store last.
//!
//! Invariant: a part is started after everything it calls and stopped before it.

pub mod tasks;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use self::tasks::Tasks;
use crate::auth::{Auth, AuthError, OneTimePassword};
use crate::config::Config;
use crate::egress::{Egress, EgressError};
use crate::http::{Parts, Server};
use crate::inbound::Inbound;
use crate::model::Clock;
use crate::outbound::{Outbound, queue};
use crate::plugin::catalog::Catalog;
use crate::plugin::{PluginError, Plugins};
use crate::session::Sessions;
use crate::store::vault::VaultError;
use crate::store::{Store, StoreError, Vault, retention};
use crate::webhook::Webhooks;
use crate::whatsapp::{Receive, Whatsapp};

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
    /// No vault to seal secrets with.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The database could not be opened.
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
        let listen = config.http.listen();
        if mode == Mode::Demo && !listen.ip().is_loopback() {
            return Err(StartError::OpenDemo(listen));
        }
        let (tasks, storing) = (Tasks::new(), Tasks::new());
        let vault = Vault::open(&config.vault)?;
        let store = Store::open(&config.database, vault, clock.clone(), &storing).await?;
        let egress = Egress::new(&config.webhook, mode == Mode::Demo)?;
        let webhooks = Webhooks::start(store.clone(), egress.clone(), clock.clone(), config.webhook, &tasks);
        let plugins = Plugins::start(config.plugin, store.clone(), egress.clone(), clock.clone(), &tasks)?;
        let queued = Arc::new(Notify::new());
        let (wake, queue_wake) = (webhooks, Arc::clone(&queued));
        let inbound = Inbound::start(store.clone(), plugins.clone(), clock.clone(), &tasks, move || {
            wake.wake();
            queue_wake.notify_one();
        });
        let again = inbound.clone();
        let catalog = Catalog::new(plugins.clone(), store.clone(), move || again.look_again());
        catalog.welcome_all().await?;
        inbound.resume(&tasks);
        let starting_at_once = config.whatsapp.starting_at_once;
        let raising = inbound.clone();
        let whatsapp = Whatsapp::new(
            config.whatsapp,
            store.clone(),
            egress.clone(),
            clock.clone(),
            tasks.clone(),
            receiver(inbound),
        )?;
        let sessions = Sessions::new(whatsapp, store.clone(), clock.clone(), tasks.clone(), starting_at_once);
        let wake = Arc::clone(&queued);
        let outbound = Outbound::new(store.clone(), sessions.clone(), plugins, clock.clone(), move |raised| {
            raising.take_up(raised);
            wake.notify_one();
        });
        queue::start(outbound.clone(), store.clone(), clock.clone(), queued, &tasks);
        retention::start(store.clone(), config.retention, clock.clone(), &tasks);
        let auth = match mode {
            Mode::Product => Auth::open(&config.auth, &config.data_dir, store.clone(), clock.clone())?,
            Mode::Demo => Auth::open_demo(&config.auth, &config.data_dir, store.clone(), clock.clone())?,
        };
        let first_password = auth.first_start().await?;
        let parts = Parts {
            store: store.clone(),
            sessions: sessions.clone(),
            outbound,
            catalog,
            auth,
            egress,
            clock,
            config: config.http,
        };
        let server = Server::bind(parts, &tasks).map_err(|reason| StartError::Listen { address: listen, reason })?;
        let resumed = sessions.resume().await?;
        tracing::info!(address = %server.addr(), resumed, "the gateway is up");
        Ok(Self { server, sessions, store, tasks, storing, first_password })
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
