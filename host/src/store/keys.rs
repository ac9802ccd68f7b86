//! A session's WhatsApp keys: Signal state, app state, device identity. Sealed.

use super::Store;
use crate::model::SessionId;

/// Calls on one session's keys.
#[derive(Clone, Debug)]
#[expect(dead_code, reason = "skeleton")]
pub struct Keys(pub(super) Store, pub(super) SessionId);
