//! Stations one and two of an incoming message: `receive` stores it, `route` makes one delivery per endpoint.
//!
//! Invariant: `receive` returns only after the commit, and its return is the acknowledgement to WhatsApp. What
//! was stored but not routed when the process ended is routed at the next start.

mod route;

use std::sync::Arc;

use crate::app::tasks::Tasks;
use crate::model::{Incoming, Scope, SessionId};
use crate::store::{Store, StoreError};

use self::route::Lanes;

/// The incoming side. Cheap to clone.
#[derive(Clone)]
pub struct Inbound {
    store: Store,
    lanes: Arc<Lanes>,
}

impl Inbound {
    /// Starts the routing lanes. `routed` is called after each routed event that has deliveries.
    pub fn start(store: Store, tasks: &Tasks, routed: impl Fn() + Send + Sync + 'static) -> Self {
        let lanes = Arc::new(Lanes::start(&store, tasks, &(Arc::new(routed) as route::Routed)));
        Self { store, lanes }
    }

    /// Makes a session's messages durable, all or none, then has the new ones routed.
    pub async fn receive(&self, session: &SessionId, batch: &[Incoming]) -> Result<(), StoreError> {
        let events = self.store.events(Scope::gateway()).receive(session, batch).await?;
        for event in events {
            self.lanes.enter(event).await;
        }
        Ok(())
    }

    /// Routes what an earlier process stored and did not route. Call before sessions start, so that order holds.
    pub async fn resume(&self) -> Result<usize, StoreError> {
        const PAGE: u32 = 500;
        let (mut after, mut resumed) = (None, 0);
        loop {
            let page = self.store.events(Scope::gateway()).unrouted(after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else { return Ok(resumed) };
            after = Some(last.id.clone());
            resumed += page.len();
            for event in page {
                self.lanes.enter(event).await;
            }
        }
    }
}
