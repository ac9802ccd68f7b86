//! The store through its public face, on the engine of the run; what is SQLite's alone is in `file`.

mod accounts;
mod arrivals;
mod deliveries;
mod endpoints;
mod file;
mod kept;
mod names;
mod plugin_sends;
mod plugins;
mod refusals;
mod replays;
mod routing;
mod scope;
mod sends;

use std::path::PathBuf;

use bytes::Bytes;
use tempfile::TempDir;
use wagate::app::tasks::Tasks;
use wagate::config::VaultConfig;
use wagate::model::{
    Attempt, AttemptOutcome, Chat, Clock, Effects, EndpointId, EventId, Incoming, MessageId, MessageKind, Millis,
    Outgoing, Phases, Role, Scope, Session, SessionId, Shape, UserId, WebhookUrl,
};
use wagate::store::deliveries::{Deliveries, DeliveryFilter, DeliveryRow, Page};
use wagate::store::events::{NewDelivery, Routed, Routing};
use wagate::store::sends::NewSend;
use wagate::store::{Store, StoreError, Vault};
use wagate_tests::database::Database;
use wagate_tests::engine::Engine;
use wagate_tests::raw::Raw;

const START: Millis = Millis(1_700_000_000_000);

/// A database with the directory of its master key, and the clock it is opened under.
struct Place {
    database: Database,
    directory: TempDir,
    clock: Clock,
    tasks: Tasks,
}

impl Place {
    fn new() -> Self {
        Self::on(Database::of_run().unwrap())
    }

    /// On SQLite, whichever engine the run is about.
    fn sqlite() -> Self {
        Self::on(Database::on(Engine::Sqlite).unwrap())
    }

    /// Where the engine's raw files are nobody else's.
    async fn apart() -> Self {
        Self::on(Database::apart(Engine::of_run().unwrap()).await.unwrap())
    }

    fn on(database: Database) -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self { database, directory, clock: Clock::manual(START), tasks: Tasks::new() }
    }

    /// SQLite's file.
    fn path(&self) -> PathBuf {
        self.directory.path().join("data/wagate.db")
    }

    async fn open(&self) -> Store {
        self.try_open("master.key").await.unwrap()
    }

    /// Opens under the key in this file, made when it is missing.
    async fn try_open(&self, key: &str) -> Result<Store, StoreError> {
        let config = VaultConfig::in_file(self.directory.path().join(key));
        let vault = Vault::open(&config).await.unwrap();
        let database = self.database.config(&self.path()).unwrap();
        Store::open(&database, vault, self.clock.clone(), &self.tasks).await
    }

    /// The database behind the store's back. Only while the store is closed.
    async fn raw(&self) -> Raw {
        self.database.raw(&self.path()).await.unwrap()
    }
}

async fn user(store: &Store, name: &str) -> UserId {
    store.users().add(name, Role::User, "$argon2id$…", false).await.unwrap().id
}

/// A session of `owner`, with a webhook.
async fn session(store: &Store, owner: UserId, id: &str) -> Session {
    let sessions = store.sessions(Scope::of(owner));
    sessions.create(owner, id.parse().unwrap(), "Shop", Some(&hook("https://example.org/hook"))).await.unwrap()
}

/// One user with one session, and that session's id.
async fn shop(store: &Store) -> (Scope, SessionId) {
    let owner = user(store, "ann").await;
    (Scope::of(owner), session(store, owner, "ses_shop").await.id)
}

/// A delivery of this JSON.
fn delivery(endpoint: EndpointId, body: impl Into<String>) -> NewDelivery {
    NewDelivery { endpoint, chat: None, shape: Shape::json(body.into()) }
}

/// An attempt that ended like this.
fn attempt(outcome: AttemptOutcome) -> Attempt {
    let (phases, answer) = (Phases { first_byte_us: Some(1_200), ..Phases::default() }, Bytes::from_static(b"said"));
    Attempt { started_at: START, took_ms: 12, phases, address: "127.0.0.1:9".parse().ok(), outcome, answer }
}

/// A session's deliveries, newest first.
async fn listed(deliveries: &Deliveries<'_>, session: &SessionId) -> Vec<DeliveryRow> {
    let filter = DeliveryFilter { session: Some(session.clone()), ..DeliveryFilter::default() };
    deliveries.list(&filter, Page { before: None, limit: 100 }).await.unwrap()
}

/// Routes an event as one that met no plugin; whether this call did it.
async fn forward(store: &Store, scope: Scope, event: &EventId, deliveries: Vec<NewDelivery>) -> bool {
    let routing = Routing { deliveries, ..Routing::default() };
    store.events(scope).route(event, routing).await.unwrap() != Routed::Already
}

/// The session's founding endpoint.
async fn endpoint(store: &Store, session: &SessionId) -> EndpointId {
    store.endpoints(Scope::gateway()).list(Some(session)).await.unwrap().remove(0).id
}

/// What is sent where it does not matter.
static NOTHING: Outgoing = Outgoing::Text(String::new());

/// A send without key that met no plugin.
fn new_send<'a>(session: &'a SessionId, message: &'a MessageId, to: &'a Chat) -> NewSend<'a> {
    NewSend { session, message, to, what: &NOTHING, key: None, effects: Effects::default(), logs: Vec::new() }
}

fn hook(url: &str) -> WebhookUrl {
    url.parse().unwrap()
}

fn message(id: impl Into<String>) -> Incoming {
    Incoming {
        id: MessageId::from(id.into()),
        kind: MessageKind::Text,
        chat: "6281381393739".parse().unwrap(),
        sender: "6281381393739".parse().unwrap(),
        sender_alt: Some("100000000000001@lid".parse().unwrap()),
        to: "6282260790996".parse().unwrap(),
        from_me: false,
        text: Some("Hello!".to_owned()),
        push_name: Some("Budi".to_owned()),
        sent_at: Millis(1_643_723_400_000),
        backfill: false,
        chat_alt: None,
        target: None,
    }
}
