//! Stations one and two of an incoming message: `receive` stores it, `route` passes it through the plugins and makes
//! one delivery per endpoint.
//!
//! Invariant: `receive` returns only after the commit, and its return is the acknowledgement to WhatsApp; no plugin
//! runs before it. What was stored but not routed when the process ended is routed at the next start.

mod held;
mod lanes;
mod resume;
mod route;

use std::sync::Arc;

use tokio::sync::Notify;

use self::lanes::Lanes;
use self::route::Router;
use crate::app::tasks::Tasks;
use crate::model::{Clock, EndpointId, Event, Incoming, Scope, SessionId};
use crate::plugin::Plugins;
use crate::store::events::Past;
use crate::store::{Store, StoreError};

/// The incoming side. Cheap to clone.
#[derive(Clone)]
pub struct Inbound {
    store: Store,
    lanes: Lanes,
    held: Arc<Notify>,
}

impl Inbound {
    /// Starts routing. `routed` is called after each routed event that left something to do: with the endpoints that got a
    /// delivery, and whether plugins want something sent.
    pub fn start(
        store: Store,
        plugins: Plugins,
        clock: Clock,
        tasks: &Tasks,
        routed: impl Fn(&[EndpointId], bool) + Send + Sync + 'static,
    ) -> Self {
        let held = Arc::new(Notify::new());
        let router = Router {
            store: store.clone(),
            plugins,
            clock: clock.clone(),
            routed: Arc::new(routed),
            held: Arc::clone(&held),
        };
        let lanes = Lanes::new(router, tasks.clone());
        let watch = held::watch(store.clone(), lanes.clone(), Arc::clone(&held), clock, tasks.clone());
        tasks.spawn("held events", watch);
        Self { store, lanes, held }
    }

    /// Makes a session's messages durable, all or none, then has the new ones routed.
    pub async fn receive(&self, session: &SessionId, batch: &[Incoming]) -> Result<(), StoreError> {
        let events = self.store.events(Scope::gateway()).receive(session, batch).await?;
        for event in events {
            self.lanes.enter(event).await;
        }
        Ok(())
    }

    /// Has routed what an earlier process stored and did not route, in a task of its own: it may be much, and a start
    /// does not wait for it. Call before sessions start, so that order holds.
    pub fn resume(&self, tasks: &Tasks) {
        self.lanes.fall_behind();
        tasks.spawn("resuming", resume::resume(self.store.clone(), self.lanes.clone(), tasks.clone()));
    }

    /// Has events routed that were stored elsewhere. Where a session has no room, their time comes later.
    pub fn take_up(&self, stored: Vec<Event>) {
        for event in stored {
            self.lanes.offer(event, Past::default());
        }
    }

    /// Held events may have come due: look now.
    pub fn look_again(&self) {
        self.held.notify_one();
    }
}
