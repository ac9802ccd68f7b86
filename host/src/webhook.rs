//! Deliveries on their way: read what is due, attempt it, settle it.
//!
//! The rows are the queue: nothing waits in memory only, so a killed process loses no delivery and its successor starts
//! where it stood. What is under way only this process knows, because it leads on its database.
//!
//! Each endpoint for which something waits has a lane, a task that reads what is due there and sets attempts going, as
//! many as the endpoint's limits, its receiver's health and the shared slots let it.
//!
//! - [`lane`] is the task, [`breaker`] and [`pace`] its pure decisions, [`slots`] what all lanes share
//! - [`attempt`] is one attempt in four types, [`sign`] and [`retry`] its pure decisions
//! - [`replay`] makes deliveries wait again, many of them, slowly
//!
//! Delivery is at least once: a receiver may see a `webhook-id` again, always with the same body.
//!
//! Invariant: no transaction is open and no connection of the database is held while a receiver is spoken to.

mod attempt;
mod breaker;
mod lane;
mod pace;
mod replay;
mod retry;
mod sign;
mod slots;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::time::sleep;

use self::lane::Lane;
use self::slots::Slots;
use crate::app::tasks::Tasks;
use crate::config::WebhookConfig;
use crate::egress::Egress;
use crate::model::{Clock, EndpointId, Event, Millis, Scope};
use crate::store::deliveries::Deliveries;
use crate::store::{Store, StoreError};

pub use attempt::below;
pub use sign::public_key;

/// How often all endpoints are looked at for something that is due and that nobody told of.
const SWEEP: Duration = Duration::from_secs(30);
/// Pauses after the store failed: the first, doubled each time, up to the longest.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LONGEST_BACKOFF: Duration = Duration::from_secs(5);

/// The deliverer. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Webhooks(Arc<Deliverer>);

/// How an endpoint fares at this moment, as far as the deliverer knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pulse {
    /// Attempts under way.
    pub in_flight: u32,
    /// Attempts in a row that say that the receiver is ill.
    pub failures: u32,
    /// Nothing is attempted until then.
    pub paused_until: Option<Millis>,
}

/// What every lane and every attempt share.
#[derive(Debug)]
struct Deliverer {
    store: Store,
    egress: Egress,
    clock: Clock,
    config: WebhookConfig,
    tasks: Tasks,
    slots: Slots,
    lanes: Mutex<HashMap<EndpointId, Arc<Handle>>>,
    replays: Notify,
    /// Where events go that say that an endpoint was disabled.
    news: mpsc::UnboundedSender<Event>,
}

/// A lane, for whoever has something to tell it.
#[derive(Debug, Default)]
struct Handle {
    told: Notify,
    /// Deliveries were added, or changed.
    woken: AtomicBool,
    /// The endpoint was changed.
    changed: AtomicBool,
    pulse: Mutex<Pulse>,
}

impl Webhooks {
    /// Starts delivering what is due, now and as it becomes due, until `tasks` stops. Events that say that an endpoint
    /// was disabled are stored, and come out at the other end to be routed.
    pub fn start(
        store: Store,
        egress: Egress,
        clock: Clock,
        config: WebhookConfig,
        tasks: &Tasks,
    ) -> (Self, mpsc::UnboundedReceiver<Event>) {
        let (news, raised) = mpsc::unbounded_channel();
        let deliverer = Arc::new(Deliverer {
            store,
            egress,
            clock,
            slots: Slots::new(config.concurrency.max(1)),
            config,
            tasks: tasks.clone(),
            lanes: Mutex::default(),
            replays: Notify::new(),
            news,
        });
        tasks.spawn("webhooks", Arc::clone(&deliverer).sweep());
        tasks.spawn("webhook replays", replay::drive(Arc::clone(&deliverer)));
        (Self(deliverer), raised)
    }

    /// Deliveries to these endpoints were committed, or changed: look at once.
    pub fn wake(&self, endpoints: &[EndpointId]) {
        for endpoint in endpoints {
            self.0.wake(endpoint);
        }
    }

    /// The endpoint was changed, put into or out of use, given another key, or removed: what is attempted from now on
    /// follows.
    pub fn changed(&self, endpoint: &EndpointId) {
        self.0.tell(endpoint, |handle| handle.changed.store(true, Ordering::Release));
    }

    /// How an endpoint fares.
    pub fn pulse(&self, endpoint: &EndpointId) -> Pulse {
        let handle = self.0.lanes().get(endpoint).map(Arc::clone);
        handle.map(|handle| *lock(&handle.pulse)).unwrap_or_default()
    }

    /// A replay was started or cancelled.
    pub fn replays_changed(&self) {
        self.0.replays.notify_one();
    }
}

impl Deliverer {
    /// Opens a lane for every endpoint with something due, now and again.
    async fn sweep(self: Arc<Self>) {
        let mut backoff = FIRST_BACKOFF;
        while !self.tasks.is_stopping() {
            let pause = match self.deliveries().waiting_endpoints().await {
                Ok(waiting) => {
                    // A lane that has nothing due yet waits for it.
                    for (endpoint, _due) in &waiting {
                        self.open(endpoint);
                    }
                    backoff = FIRST_BACKOFF;
                    SWEEP
                }
                Err(StoreError::Closed) => return,
                Err(error) => {
                    tracing::warn!(%error, retry_in = ?backoff, "webhooks that wait cannot be looked for");
                    backoff = (backoff * 2).min(LONGEST_BACKOFF);
                    backoff
                }
            };
            tokio::select! {
                () = sleep(pause) => {}
                () = self.tasks.stopping() => return,
            }
        }
    }

    fn wake(self: &Arc<Self>, endpoint: &EndpointId) {
        self.tell(endpoint, |handle| handle.woken.store(true, Ordering::Release));
    }

    /// Opens the endpoint's lane unless it is open.
    fn open(self: &Arc<Self>, endpoint: &EndpointId) {
        if !self.lanes().contains_key(endpoint) {
            self.wake(endpoint);
        }
    }

    /// Tells the endpoint's lane something, opening it if it is not open.
    fn tell(self: &Arc<Self>, endpoint: &EndpointId, what: impl FnOnce(&Handle)) {
        let mut lanes = self.lanes();
        if let Some(handle) = lanes.get(endpoint) {
            what(handle);
            handle.told.notify_one();
            return;
        }
        let handle = Arc::new(Handle::default());
        what(&handle);
        lanes.insert(endpoint.clone(), Arc::clone(&handle));
        drop(lanes);
        let lane = Lane::new(Arc::clone(self), endpoint.clone(), handle);
        self.tasks.spawn("webhook lane", lane.run());
    }

    /// Closes a lane, unless it was told something that it has not heard yet.
    fn close(&self, endpoint: &EndpointId, handle: &Handle) -> bool {
        let mut lanes = self.lanes();
        if handle.woken.load(Ordering::Acquire) || handle.changed.load(Ordering::Acquire) {
            return false;
        }
        lanes.remove(endpoint);
        true
    }

    fn deliveries(&self) -> Deliveries<'_> {
        self.store.deliveries(Scope::gateway())
    }

    fn lanes(&self) -> MutexGuard<'_, HashMap<EndpointId, Arc<Handle>>> {
        lock(&self.lanes)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
