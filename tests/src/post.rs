//! A post office without WhatsApp: a real store with one session and its endpoint, and the deliverer on request. For
//! tests of deliveries, and for benches of the store and the deliverer.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use secrecy::ExposeSecret as _;
use tempfile::TempDir;
use wagate::app::tasks::Tasks;
use wagate::config::{VaultConfig, WebhookConfig};
use wagate::egress::Egress;
use wagate::model::{
    Attempt, Chat, Clock, EndpointId, Incoming, Labels, MessageKind, Millis, Role, Scope, SessionId, Shape,
};
use wagate::store::deliveries::DeliveryRow;
use wagate::store::events::{NewDelivery, Routed, Routing};
use wagate::store::{Store, Vault};
use wagate::webhook::Webhooks;

use crate::database::Database;
use crate::raw::Raw;

/// How long anything may take.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// How long an attempt may take.
pub const TIMEOUT: Duration = Duration::from_secs(2);

/// A store with one session and its endpoint. Stopping and starting again keeps the database.
#[derive(Debug)]
pub struct Post {
    /// The store.
    pub store: Store,
    /// Its clock.
    pub clock: Clock,
    /// The session.
    pub session: SessionId,
    /// What its webhooks are signed with.
    pub secret: String,
    sequence: u32,
    storing: Tasks,
    home: Home,
}

/// What outlives a reopening. The database goes before the folder.
#[derive(Debug)]
struct Home {
    database: Database,
    folder: TempDir,
}

/// A running deliverer.
#[derive(Debug)]
pub struct Running {
    /// The deliverer.
    pub webhooks: Webhooks,
    tasks: Tasks,
}

impl Post {
    /// Opens it on the engine of this run; the endpoint is at `url`.
    pub async fn to(url: &str, clock: Clock) -> Result<Self> {
        Self::on(Database::of_run()?, url, clock).await
    }

    /// Opens it on this database; the endpoint is at `url`.
    pub async fn on(database: Database, url: &str, clock: Clock) -> Result<Self> {
        let home = Home { database, folder: tempfile::tempdir()? };
        let storing = Tasks::new();
        let store = home.open(&clock, &storing).await?;
        let owner = store.users().add("ida", Role::User, "no hash", false).await?;
        let session: SessionId = "ses_sales".parse()?;
        let url = url.parse()?;
        store.sessions(Scope::of(owner.id)).create(owner.id, session.clone(), "Sales", Some(&url)).await?;
        let secret = store.sessions(Scope::gateway()).webhook_secret(&session).await?.context("no secret")?;
        let secret = secret.expose_secret().to_owned();
        Ok(Self { store, clock, session, secret, sequence: 0, storing, home })
    }

    /// Closes the database as a process that ends would, and opens it again.
    pub async fn reopen(mut self) -> Result<Self> {
        self.store.close().await;
        self.storing.stop(PATIENCE).await;
        self.storing = Tasks::new();
        self.store = self.home.open(&self.clock, &self.storing).await?;
        Ok(self)
    }

    /// Closes the store for good; what is left is its database.
    pub async fn close(&self) {
        self.store.close().await;
        self.storing.stop(PATIENCE).await;
    }

    /// A way into the database.
    pub async fn raw(&self) -> Result<Raw> {
        self.home.database.raw(&self.home.folder.path().join("wagate.db")).await
    }

    /// The session's endpoint.
    pub async fn endpoint(&self) -> Result<EndpointId> {
        let endpoints = self.store.endpoints(Scope::gateway()).list(&self.session).await?;
        Ok(endpoints.into_iter().next().context("no endpoint")?.id)
    }

    /// The next `count` messages, as they would arrive now.
    pub fn messages(&mut self, count: u32) -> Result<Vec<Incoming>> {
        let first = self.sequence;
        self.sequence += count;
        (first..self.sequence).map(|number| incoming(number, self.clock.now())).collect()
    }

    /// Receives and routes `count` messages; the ids of their events.
    pub async fn receive(&mut self, count: u32) -> Result<Vec<String>> {
        let batch = self.messages(count)?;
        let events = self.store.events(Scope::gateway()).receive(&self.session, &batch).await?;
        let endpoint = self.endpoint().await?;
        for event in &events {
            let delivery =
                NewDelivery { endpoint: endpoint.clone(), shape: Shape::json(event.document(&Labels::new())) };
            let routing = Routing { deliveries: vec![delivery], ..Routing::default() };
            let routed = self.store.events(Scope::gateway()).route(&event.id, routing).await?;
            ensure!(routed != Routed::Already, "the event was routed before");
        }
        Ok(events.into_iter().map(|event| event.id.to_string()).collect())
    }

    /// Starts a deliverer.
    pub fn deliver(&self) -> Result<Running> {
        self.deliver_under(&WebhookConfig { timeout: TIMEOUT, concurrency: 64, allow: Vec::new() }, true)
    }

    /// Starts a deliverer with settings of the caller's own; `loopback` lets it reach this machine.
    pub fn deliver_under(&self, config: &WebhookConfig, loopback: bool) -> Result<Running> {
        let egress = Egress::new(config, loopback)?;
        let tasks = Tasks::new();
        let webhooks = Webhooks::start(self.store.clone(), egress, self.clock.clone(), config.clone(), &tasks);
        Ok(Running { webhooks, tasks })
    }

    /// The session's deliveries.
    pub async fn rows(&self) -> Result<Vec<DeliveryRow>> {
        Ok(self.store.deliveries(Scope::gateway()).list(&self.session, 1_000).await?)
    }

    /// The attempts of the only delivery.
    pub async fn attempts(&self) -> Result<Vec<Attempt>> {
        let row = self.only().await?;
        Ok(self.store.deliveries(Scope::gateway()).attempts(&row.id).await?)
    }

    /// Waits until the only delivery looks like this.
    pub async fn until(&self, what: &str, condition: impl Fn(&DeliveryRow) -> bool) -> Result<DeliveryRow> {
        let begun = Instant::now();
        loop {
            let row = self.only().await?;
            if condition(&row) {
                return Ok(row);
            }
            ensure!(begun.elapsed() < PATIENCE, "waited for {what}, but it is {row:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn only(&self) -> Result<DeliveryRow> {
        self.rows().await?.into_iter().next().context("no delivery")
    }
}

impl Running {
    /// Lets attempts under way end.
    pub async fn stop(self) -> Result<()> {
        ensure!(self.tasks.stop(PATIENCE).await == 0, "attempts were left behind");
        Ok(())
    }
}

impl Home {
    async fn open(&self, clock: &Clock, tasks: &Tasks) -> Result<Store> {
        let folder = self.folder.path();
        let vault = Vault::open(&VaultConfig::in_file(folder.join("master.key"))).await?;
        let config = self.database.config(&folder.join("wagate.db"))?;
        Ok(Store::open(&config, vault, clock.clone(), tasks).await?)
    }
}

fn incoming(number: u32, now: Millis) -> Result<Incoming> {
    let friend: Chat = "6281381393739".parse()?;
    Ok(Incoming {
        id: format!("3EB0{number:08}").into(),
        kind: MessageKind::Text,
        chat: friend.clone(),
        sender: friend,
        sender_alt: None,
        to: "6282260790996".parse()?,
        from_me: false,
        text: Some(format!("Hello {number}! 👋")),
        push_name: Some("Budi".to_owned()),
        sent_at: now,
        backfill: false,
    })
}
