//! A post office without WhatsApp: a real store with one session and its endpoints, and the deliverer on request. For
//! tests of deliveries, and for benches of the store and the deliverer.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;
use secrecy::ExposeSecret as _;
use tempfile::TempDir;
use wagate::app::tasks::Tasks;
use wagate::config::{VaultConfig, WebhookConfig};
use wagate::egress::Egress;
use wagate::model::{
    Attempt, Chat, Clock, DeliveryOrder, EndpointId, EndpointLimits, Event, EventFilter, Incoming, Labels, MessageKind,
    Millis, Role, Scope, SessionId, Shape, UserId,
};
use wagate::store::deliveries::{DeliveryFilter, DeliveryRow, Page};
use wagate::store::endpoints::{EndpointChange, NewEndpoint};
use wagate::store::events::{NewDelivery, Routed, Routing};
use wagate::store::{Store, Vault};
use wagate::webhook::{Pulse, Webhooks};

use crate::database::Database;
use crate::raw::Raw;

/// How long anything may take.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// How long an attempt may take.
pub const TIMEOUT: Duration = Duration::from_secs(2);
/// Events that are routed side by side.
const SIDE_BY_SIDE: usize = 200;
/// Who writes, when it is one; others have the numbers after it.
const FRIEND: u64 = 6_281_381_393_739;

/// A store with one session and its endpoint. Stopping and starting again keeps the database.
#[derive(Debug)]
pub struct Post {
    /// The store.
    pub store: Store,
    /// Its clock.
    pub clock: Clock,
    /// Whose the session is.
    pub owner: UserId,
    /// The session.
    pub session: SessionId,
    /// What its webhooks are signed with.
    pub secret: String,
    /// Of how many chats messages come, in turn; one unless a test wants more.
    pub chats: u32,
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
        Ok(Self { store, clock, owner: owner.id, session, secret, chats: 1, sequence: 0, storing, home })
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
        let endpoints = self.store.endpoints(Scope::gateway()).list(Some(&self.session)).await?;
        Ok(endpoints.into_iter().next().context("no endpoint")?.id)
    }

    /// Adds an endpoint to the session, as an owner who wishes for nothing in particular would.
    pub async fn add_endpoint(&self, name: &str, url: &str) -> Result<EndpointId> {
        let new = NewEndpoint {
            owner: self.owner,
            session: Some(self.session.clone()),
            name: name.to_owned(),
            description: String::new(),
            url: url.parse()?,
            events: EventFilter::default(),
            headers: Vec::new(),
            order: DeliveryOrder::default(),
            limits: EndpointLimits::default(),
            ed25519: false,
        };
        let added = self.store.endpoints(Scope::of(self.owner)).add(new).await?;
        Ok(added.context("no such session")?.id)
    }

    /// The next `count` messages, as they would arrive now.
    pub fn messages(&mut self, count: u32) -> Result<Vec<Incoming>> {
        let first = self.sequence;
        self.sequence += count;
        (first..self.sequence).map(|number| incoming(number, number % self.chats.max(1), self.clock.now())).collect()
    }

    /// Receives and routes `count` messages, one after the other; the ids of their events.
    pub async fn receive(&mut self, count: u32) -> Result<Vec<String>> {
        let batch = self.messages(count)?;
        let events = self.store.events(Scope::gateway()).receive(&self.session, &batch).await?;
        let endpoint = self.endpoint().await?;
        for event in &events {
            self.route(event, &endpoint, founding(event)).await?;
        }
        Ok(events.into_iter().map(|event| event.id.to_string()).collect())
    }

    /// The same, many at once and dealt out among these endpoints, each in the shape that `shape` gives it.
    pub async fn receive_for(
        &mut self,
        count: u32,
        endpoints: &[EndpointId],
        mut shape: impl FnMut(&Event) -> Shape,
    ) -> Result<()> {
        let batch = self.messages(count)?;
        let events = self.store.events(Scope::gateway()).receive(&self.session, &batch).await?;
        let work: Vec<_> = events.iter().zip(endpoints.iter().cycle()).collect();
        for some in work.chunks(SIDE_BY_SIDE) {
            try_join_all(some.iter().map(|(event, endpoint)| self.route(event, endpoint, shape(event)))).await?;
        }
        Ok(())
    }

    /// Makes a received event a delivery to one endpoint.
    pub async fn route(&self, event: &Event, endpoint: &EndpointId, shape: Shape) -> Result<()> {
        let delivery = NewDelivery { endpoint: endpoint.clone(), chat: event.chat().cloned(), shape };
        let routing = Routing { deliveries: vec![delivery], ..Routing::default() };
        let routed = self.store.events(Scope::gateway()).route(&event.id, routing).await?;
        ensure!(!matches!(routed, Routed::Already), "the event was routed before");
        Ok(())
    }

    /// Starts a deliverer.
    pub fn deliver(&self) -> Result<Running> {
        self.deliver_under(&WebhookConfig { timeout: TIMEOUT, concurrency: 256, allow: Vec::new() }, true)
    }

    /// Starts a deliverer with settings of the caller's own; `loopback` lets it reach this machine.
    pub fn deliver_under(&self, config: &WebhookConfig, loopback: bool) -> Result<Running> {
        let egress = Egress::new(config, loopback)?;
        let tasks = Tasks::new();
        let (webhooks, _disabled) =
            Webhooks::start(self.store.clone(), egress, self.clock.clone(), config.clone(), &tasks);
        Ok(Running { webhooks, tasks })
    }

    /// The session's deliveries, newest first.
    pub async fn rows(&self) -> Result<Vec<DeliveryRow>> {
        let filter = DeliveryFilter { session: Some(self.session.clone()), ..DeliveryFilter::default() };
        Ok(self.store.deliveries(Scope::gateway()).list(&filter, Page { before: None, limit: 1_000 }).await?)
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

    /// Waits until the deliveries look like this, oldest first.
    pub async fn until_all(&self, what: &str, condition: impl Fn(&[DeliveryRow]) -> bool) -> Result<Vec<DeliveryRow>> {
        let begun = Instant::now();
        loop {
            let mut rows = self.rows().await?;
            rows.reverse();
            if condition(&rows) {
                return Ok(rows);
            }
            ensure!(begun.elapsed() < PATIENCE, "waited for {what}, but they are {rows:#?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Changes the session's endpoint, and tells a deliverer.
    pub async fn change(&self, running: Option<&Running>, change: EndpointChange) -> Result<()> {
        let id = self.endpoint().await?;
        let changed = self.store.endpoints(Scope::gateway()).change(&id, change).await?;
        ensure!(changed.is_some(), "there is no such endpoint");
        if let Some(running) = running {
            running.webhooks.changed(&id);
        }
        Ok(())
    }

    async fn only(&self) -> Result<DeliveryRow> {
        self.rows().await?.into_iter().next().context("no delivery")
    }
}

impl Running {
    /// Tells the deliverer to look at an endpoint of the post's.
    pub async fn wake(&self, post: &Post) -> Result<()> {
        self.webhooks.wake(&[post.endpoint().await?]);
        Ok(())
    }

    /// Waits until the deliverer says this of the post's endpoint.
    pub async fn until_pulse(&self, post: &Post, what: &str, condition: impl Fn(&Pulse) -> bool) -> Result<Pulse> {
        let (endpoint, begun) = (post.endpoint().await?, Instant::now());
        loop {
            let pulse = self.webhooks.pulse(&endpoint);
            if condition(&pulse) {
                return Ok(pulse);
            }
            ensure!(begun.elapsed() < PATIENCE, "waited for {what}, but it is {pulse:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

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

/// The founding body of an event.
pub fn founding(event: &Event) -> Shape {
    Shape::json(event.document(&Labels::new()))
}

fn incoming(number: u32, chat: u32, now: Millis) -> Result<Incoming> {
    let friend: Chat = (FRIEND + u64::from(chat)).to_string().parse()?;
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
        chat_alt: None,
        target: None,
    })
}
