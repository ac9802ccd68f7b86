//! A gateway that listens and is not ready: it lives, says what it waits for, and has no part that needs a store.
//!
//! A database server may be started after its gateway, and another gateway may be active on it. Both pass, so they are
//! waited for; what somebody must mend ends the start with the reason.
//!
//! Invariant: no part that reads, writes or reaches WhatsApp is started before the store is open and leads.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::tasks::Tasks;
use super::{App, Mode, PATIENCE, StartError, receiver};
use crate::auth::{Auth, OneTimePassword};
use crate::config::{Config, DatabaseConfig};
use crate::egress::Egress;
use crate::http::{Parts, Server, WaitsFor};
use crate::inbound::Inbound;
use crate::model::Clock;
use crate::outbound::{Outbound, queue};
use crate::plugin::Plugins;
use crate::plugin::catalog::Catalog;
use crate::session::Sessions;
use crate::store::{Store, StoreError, Vault, retention};
use crate::webhook::Webhooks;
use crate::whatsapp::Whatsapp;

/// The pause before the second attempt to open the store; each one after is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// The longest pause while the database server cannot be reached.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The longest pause while another gateway is active: about how long nobody is, when that one ends.
const STANDBY_PAUSE: Duration = Duration::from_secs(1);

/// A gateway that listens. Open its store and start it, or stop it.
pub struct Listening {
    config: Config,
    mode: Mode,
    clock: Clock,
    server: Server,
    /// Open from the first attempt on: the program that prints the master key is asked once.
    vault: Option<Vault>,
    /// Open, and leading once [`Listening::open`] has returned.
    store: Option<Store>,
    tasks: Tasks,
    storing: Tasks,
}

/// What starting the parts brings forth.
struct Started {
    store: Store,
    sessions: Sessions,
    first_password: Option<OneTimePassword>,
}

impl Listening {
    pub(super) fn bind(config: Config, mode: Mode, clock: Clock) -> Result<Self, StartError> {
        let address = config.http.listen();
        if mode == Mode::Demo && !address.ip().is_loopback() {
            return Err(StartError::OpenDemo(address));
        }
        let (tasks, storing) = (Tasks::new(), Tasks::new());
        let server =
            Server::bind(config.http.clone(), &tasks).map_err(|reason| StartError::Listen { address, reason })?;
        Ok(Self { config, mode, clock, server, vault: None, store: None, tasks, storing })
    }

    /// The address it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.server.addr()
    }

    /// Opens the store and takes the lead on it; tries again for as long as the database server cannot be reached or
    /// another gateway leads. May be given up at any moment.
    pub async fn open(&mut self) -> Result<(), StartError> {
        let (mut pause, mut told) = (FIRST_PAUSE, None);
        loop {
            let error = match self.attempt().await {
                Ok(()) => return Ok(()),
                Err(error) if self.is_worth_waiting(&error) => error,
                Err(error) => return Err(error.into()),
            };
            let (waits_for, longest) = match error {
                StoreError::Standby => (WaitsFor::Lead, STANDBY_PAUSE),
                _ => (WaitsFor::Database, LONGEST_PAUSE),
            };
            self.server.waits_for(waits_for);
            if told == Some(waits_for) {
                tracing::debug!(%error, "still waiting");
            } else if waits_for == WaitsFor::Lead {
                tracing::info!("{error}; this one stands by");
            } else {
                tracing::warn!(%error, "waiting for the database");
            }
            told = Some(waits_for);
            pause = pause.min(longest);
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    }

    /// Starts every part; opens the store first unless that is done.
    pub async fn start(mut self) -> Result<App, StartError> {
        match self.furnish().await {
            Ok(Started { store, sessions, first_password }) => {
                let Self { server, tasks, storing, .. } = self;
                Ok(App { server, sessions, store, tasks, storing, first_password })
            }
            Err(error) => {
                self.stop().await;
                Err(error)
            }
        }
    }

    /// Stops listening and closes the store, if it is open.
    pub async fn stop(self) {
        self.tasks.stop(PATIENCE).await;
        if let Some(store) = self.store {
            store.close().await;
        }
        self.storing.stop(PATIENCE).await;
    }

    async fn attempt(&mut self) -> Result<(), StoreError> {
        let store = if let Some(store) = &self.store {
            store.clone()
        } else {
            let vault = match &self.vault {
                Some(vault) => vault.clone(),
                None => self.vault.insert(Vault::open(&self.config.vault).await?).clone(),
            };
            let clock = self.clock.clone();
            let opened = Store::open(&self.config.database, vault, clock, &self.storing).await?;
            self.store.insert(opened).clone()
        };
        store.lead(&self.storing).await
    }

    /// A file is there or it is not.
    fn is_worth_waiting(&self, error: &StoreError) -> bool {
        error.is_passing() && !matches!(self.config.database, DatabaseConfig::Sqlite { .. })
    }

    async fn furnish(&mut self) -> Result<Started, StartError> {
        self.open().await?;
        let Some(store) = self.store.clone() else { return Err(StoreError::Closed.into()) };
        let (config, mode, clock, tasks) = (self.config.clone(), self.mode, self.clock.clone(), &self.tasks);
        let egress = Egress::new(&config.webhook, mode == Mode::Demo)?.with_nats(config.nats);
        let (webhooks, mut news) = Webhooks::start(store.clone(), egress.clone(), clock.clone(), config.webhook, tasks);
        let plugins = Plugins::start(config.plugin, store.clone(), egress.clone(), clock.clone(), tasks)?;
        let queued = Arc::new(Notify::new());
        let (wake, queue_wake) = (webhooks.clone(), Arc::clone(&queued));
        let inbound = Inbound::start(store.clone(), plugins.clone(), clock.clone(), tasks, move |endpoints, sends| {
            wake.wake(endpoints);
            if sends {
                queue_wake.notify_one();
            }
        });
        let raising = inbound.clone();
        let stopping = tasks.stopping();
        tasks.spawn("disabled endpoints", async move {
            let raise = async {
                while let Some(event) = news.recv().await {
                    raising.take_up(vec![event]);
                }
            };
            tokio::select! {
                () = raise => {}
                () = stopping => {}
            }
        });
        let again = inbound.clone();
        let catalog = Catalog::new(plugins.clone(), store.clone(), move || again.look_again());
        catalog.welcome_all().await?;
        inbound.resume(tasks);
        let starting_at_once = config.whatsapp.starting_at_once;
        let (raising, telling) = (inbound.clone(), inbound.clone());
        let whatsapp = Whatsapp::new(
            config.whatsapp,
            store.clone(),
            egress.clone(),
            clock.clone(),
            tasks.clone(),
            receiver(inbound),
        )?;
        let hand_on = move |events| telling.take_up(events);
        let sessions = Sessions::new(whatsapp, store.clone(), clock.clone(), tasks.clone(), starting_at_once, hand_on);
        let wake = Arc::clone(&queued);
        let outbound = Outbound::new(store.clone(), sessions.clone(), plugins, clock.clone(), move |raised| {
            raising.take_up(raised);
            wake.notify_one();
        });
        queue::start(outbound.clone(), store.clone(), clock.clone(), queued, tasks);
        retention::start(store.clone(), config.retention, clock.clone(), tasks);
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
            webhooks,
            backups: config.data_dir.join("backups"),
            clock,
            config: config.http,
        };
        self.server.open(parts, tasks);
        let resumed = sessions.resume().await?;
        tracing::info!(address = %self.server.addr(), resumed, "the gateway is up");
        Ok(Started { store, sessions, first_password })
    }
}
