//! Station two: an event becomes deliveries, in order per chat.
//!
//! Events of one chat go through one lane, so they are routed in the order they were stored. The plugin chain
//! (keep, change, drop, defer) has its place between reading the endpoints and the transaction.
//!
//! Invariant: an event and its deliveries are committed together; an event is never routed twice.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::app::tasks::Tasks;
use crate::model::{Event, Scope, Shape};
use crate::store::events::{NewDelivery, Outcome, Routed as Done, Routing};
use crate::store::{Store, StoreError};
use crate::webhook::body;

/// Lanes side by side. Each waits for its own commit, so more lanes share one.
const LANES: usize = 32;
/// Events that may wait in a lane. A full lane makes `receive` wait, which makes WhatsApp wait.
const LANE_LENGTH: usize = 256;
/// Pause before a failed routing is tried again.
const PAUSE: Duration = Duration::from_millis(500);

/// Called when deliveries were committed.
pub(super) type Routed = Arc<dyn Fn() + Send + Sync>;

/// The lanes.
pub(super) struct Lanes {
    entries: Vec<mpsc::Sender<Event>>,
}

impl Lanes {
    pub(super) fn start(store: &Store, tasks: &Tasks, routed: &Routed) -> Self {
        let entries = (0..LANES)
            .map(|_| {
                let (entry, events) = mpsc::channel(LANE_LENGTH);
                tasks.spawn("routing lane", lane(store.clone(), tasks.clone(), Arc::clone(routed), events));
                entry
            })
            .collect();
        Self { entries }
    }

    /// Puts a stored event on its chat's lane. Waits while the lane is full.
    pub(super) async fn enter(&self, event: Event) {
        let mut hasher = DefaultHasher::new();
        (&event.session, event.message().map(|message| &message.chat)).hash(&mut hasher);
        let lane = usize::try_from(hasher.finish() % LANES as u64).unwrap_or_default();
        // A closed lane means that the gateway stops; the event is stored and routed at the next start.
        let _ = self.entries[lane].send(event).await;
    }
}

async fn lane(store: Store, tasks: Tasks, routed: Routed, mut events: mpsc::Receiver<Event>) {
    loop {
        let event = tokio::select! {
            event = events.recv() => event,
            () = tasks.stopping() => None,
        };
        let Some(event) = event else { return };
        while let Err(error) = route(&store, &event, &routed).await {
            tracing::error!(event = %event.id, %error, "an event could not be routed; trying again");
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                () = tasks.stopping() => return,
            }
        }
    }
}

async fn route(store: &Store, event: &Event, routed: &Routed) -> Result<(), StoreError> {
    let deliveries = deliveries(store, event).await?;
    let some = !deliveries.is_empty();
    let routing = Routing { deliveries, ..Routing::new(Outcome::Forwarded) };
    if let (Done::Done { .. }, true) = (store.events(Scope::gateway()).route(&event.id, routing).await?, some) {
        routed();
    }
    Ok(())
}

/// One delivery an endpoint. What the account wrote itself is stored and not forwarded, or a bot would answer itself.
async fn deliveries(store: &Store, event: &Event) -> Result<Vec<NewDelivery>, StoreError> {
    if event.message().is_some_and(|message| message.from_me) {
        return Ok(Vec::new());
    }
    let endpoints = store.endpoints(Scope::gateway()).list(&event.session).await?;
    let shape = Shape::json(body::founding(event));
    Ok(endpoints.into_iter().map(|to| NewDelivery { endpoint: to.id, shape: shape.clone() }).collect())
}
