//! A session's WhatsApp keys: Signal state, app state, device identity. Sealed.

use super::pool::Tx;
use super::{Store, StoreError};
use crate::model::SessionId;

/// Calls on one session's keys.
#[derive(Clone, Debug)]
#[expect(dead_code, reason = "skeleton")]
pub struct Keys(pub(super) Store, pub(super) SessionId);

/// Forgets every key of a session, within the transaction that forgets its link.
#[expect(clippy::unused_async, reason = "skeleton: there is no table of keys yet")]
pub(super) async fn forget(_tx: &mut Tx, _session: &SessionId) -> Result<(), StoreError> {
    Ok(())
}
