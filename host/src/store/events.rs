//! Received events: station one (stored) and station two (routed) of the incoming journey.

use super::{Store, StoreError};
use crate::model::{EndpointId, Event, EventId, Incoming, Scope, SessionId};

/// Calls on events within a scope.
#[derive(Debug)]
pub struct Events<'a>(pub(super) &'a Store, pub(super) Scope);

/// A delivery to be created when an event is routed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDelivery {
    /// Where it goes.
    pub endpoint: EndpointId,
    /// Its body, fixed now.
    pub body: String,
}

impl Events<'_> {
    /// Station one: stores the whole batch in one transaction and returns once it is durable. Answers the events
    /// that are new, in order; messages seen before (same session, chat, sender, id and kind) are left out.
    pub async fn receive(&self, _session: &SessionId, _batch: &[Incoming]) -> Result<Vec<Event>, StoreError> {
        unimplemented!()
    }
    /// Events stored but not routed yet, oldest first: where to resume after a crash.
    pub async fn unrouted(&self, _after: Option<&EventId>, _limit: u32) -> Result<Vec<Event>, StoreError> {
        unimplemented!()
    }
    /// Station two: marks the event routed and creates its deliveries, in one transaction. Answers `false`, and
    /// creates nothing, when it was routed before.
    pub async fn route(&self, _event: &EventId, _deliveries: &[NewDelivery]) -> Result<bool, StoreError> {
        unimplemented!()
    }
    /// One event.
    pub async fn get(&self, _id: &EventId) -> Result<Option<Event>, StoreError> {
        unimplemented!()
    }
}
