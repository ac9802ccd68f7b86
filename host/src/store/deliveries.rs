//! Deliveries, their endpoints and attempts: station three of the incoming journey.

use std::time::Duration;

use super::{Store, StoreError};
use crate::model::{Attempt, Delivery, DeliveryId, DeliveryState, Endpoint, Millis, Scope, SessionId};

/// Calls on deliveries within a scope.
#[derive(Debug)]
pub struct Deliveries<'a>(pub(super) &'a Store, pub(super) Scope);

/// What becomes of a delivery after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// The receiver has it.
    Delivered,
    /// Try again at this moment.
    Retry(Millis),
    /// Give up.
    Dead,
}

/// A delivery as its owner sees it in a list.
#[derive(Clone, Debug)]
pub struct DeliveryRow {
    /// Its id.
    pub id: DeliveryId,
    /// Where it stands.
    pub state: DeliveryState,
    /// Attempts made.
    pub attempts: u32,
    /// When it is due next, while waiting.
    pub due_at: Option<Millis>,
}

impl Deliveries<'_> {
    /// The enabled endpoints of a session.
    pub async fn endpoints(&self, _session: &SessionId) -> Result<Vec<Endpoint>, StoreError> {
        unimplemented!()
    }
    /// Claims up to `limit` due deliveries for `lease`, oldest due first; raises each one's epoch.
    pub async fn claim(&self, _limit: u32, _lease: Duration) -> Result<Vec<Delivery>, StoreError> {
        unimplemented!()
    }
    /// Gives up every claim, so that what is claimed is due again at its own time; how many there were. For the start
    /// of the one process that uses the store: claims of a process that died must not delay its successor.
    pub async fn release_leases(&self) -> Result<u64, StoreError> {
        unimplemented!()
    }
    /// Records an attempt and what becomes of the delivery, in one transaction. Answers `false`, and changes nothing,
    /// when the claim is no longer the newest.
    pub async fn settle(
        &self,
        _delivery: &DeliveryId,
        _epoch: i64,
        _attempt: &Attempt,
        _then: Settlement,
    ) -> Result<bool, StoreError> {
        unimplemented!()
    }
    /// When the next waiting delivery is due; `None` when none waits.
    pub async fn next_due(&self) -> Result<Option<Millis>, StoreError> {
        unimplemented!()
    }
    /// A session's deliveries, newest first.
    pub async fn list(&self, _session: &SessionId, _limit: u32) -> Result<Vec<DeliveryRow>, StoreError> {
        unimplemented!()
    }
    /// The attempts of a delivery, oldest first.
    pub async fn attempts(&self, _delivery: &DeliveryId) -> Result<Vec<Attempt>, StoreError> {
        unimplemented!()
    }
}
