//! Station two: an event becomes deliveries.
//!
//! One passage through the plugins: the message filters once, then the webhook transforms for each endpoint that is
//! left. What came of it, with every effect the plugins asked for, is one transaction. When a value that a plugin relied
//! on has changed meanwhile, the transaction is undone and the passage is made again on the new one.
//!
//! Invariant: an event, its deliveries and its effects are committed together; an event is never routed twice.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::model::{Clock, Effects, EndpointId, Event, PluginId, Scope};
use crate::plugin::{Filtered, Left, Passage, Plugins, Shaped, admits};
use crate::store::events::{NewDelivery, Outcome, Past, Routed, Routing};
use crate::store::{Store, StoreError};

/// Passages made at once when values change under them; then the lane pauses.
const CONFLICTS: u32 = 20;
/// The first pause of a message that waits for its plugin to recover, doubled with each failure, and the longest.
const FIRST_PARK: Duration = Duration::from_secs(5);
const LONGEST_PARK: Duration = Duration::from_mins(10);

/// Called with the endpoints that got a delivery, and whether plugins want something sent.
pub(super) type Told = dyn Fn(&[EndpointId], bool) + Send + Sync;

/// What routing needs. Cheap to clone.
#[derive(Clone)]
pub(super) struct Router {
    pub(super) store: Store,
    pub(super) plugins: Plugins,
    pub(super) clock: Clock,
    /// Told when deliveries to endpoints, or sends, were committed.
    pub(super) routed: Arc<Told>,
    /// Told when an event was held.
    pub(super) held: Arc<Notify>,
}

impl Router {
    /// Routes one event that has been through this. Answers the events its plugins raised, still to be routed.
    pub(super) async fn route(&self, event: &Event, past: Past) -> Result<Vec<Event>, StoreError> {
        for conflicts in 0..CONFLICTS {
            let attempt = past.tries.saturating_add(conflicts).saturating_add(1);
            let routing = Routing { past, ..self.decide(event, attempt, past.failures).await? };
            let (sends, held) = (routing.sends(), routing.outcome.holds());
            match self.store.events(Scope::gateway()).route(&event.id, routing).await? {
                Routed::Conflict => {}
                Routed::Already => return Ok(Vec::new()),
                Routed::Done { raised, endpoints } => {
                    if sends || !endpoints.is_empty() {
                        (self.routed)(&endpoints, sends);
                    }
                    if held {
                        self.held.notify_one();
                    }
                    return Ok(raised);
                }
            }
        }
        Err(StoreError::Contended)
    }

    /// Lets the plugins judge what others wrote, and shape what goes to an endpoint that wants to know of it.
    async fn decide(&self, event: &Event, attempt: u32, failures: u32) -> Result<Routing, StoreError> {
        let kind = event.kind();
        let mut passage = self.plugins.passage(event, attempt).await?.having_failed(failures);
        let filtered = passage.filter().await;
        let route_to = match filtered {
            Filtered::Forward { route_to } => route_to,
            Filtered::Drop { code, detail } => return Ok(routing(Outcome::Dropped { code, detail }, passage)),
            Filtered::Defer { plugin, after } => {
                let until = self.clock.now().after(after);
                return Ok(routing(Outcome::Deferred { until, plugin }, passage));
            }
            Filtered::Park { plugin, why, after } => return Ok(self.park(passage, plugin, why, after, failures)),
        };
        let mut deliveries = Vec::new();
        for endpoint in self.store.endpoints(Scope::gateway()).of_session(&event.session).await? {
            if !endpoint.events.admits(&kind) || !admits(route_to.as_deref(), &endpoint) {
                continue;
            }
            let chat = event.chat().cloned();
            match passage.shape(&endpoint).await {
                Shaped::Send(shape) => deliveries.push(NewDelivery { endpoint: endpoint.id, chat, shape }),
                Shaped::Cancel(_) => {}
                Shaped::Park { plugin, why, after } => return Ok(self.park(passage, plugin, why, after, failures)),
            }
        }
        Ok(Routing { deliveries, ..routing(Outcome::Forwarded, passage) })
    }

    /// Holds the event until its plugin may have recovered. Nothing the passage asked for is done: it will ask again.
    fn park(&self, passage: Passage, plugin: PluginId, why: String, after: Duration, failures: u32) -> Routing {
        let grown = FIRST_PARK.saturating_mul(1 << failures.min(10)).min(LONGEST_PARK);
        let until = self.clock.now().after(after.max(grown));
        let held = routing(Outcome::Parked { until, plugin, why }, passage);
        Routing { effects: Effects::default(), ..held }
    }
}

fn routing(outcome: Outcome, passage: Passage) -> Routing {
    let Left { steps, labels, effects, logs } = passage.finish();
    Routing { outcome, steps, labels, effects, logs, ..Routing::default() }
}
