//! Events: what happened on a session, as webhooks, live streams and plugins see it.

use serde::{Deserialize, Serialize};

use super::{EventId, Incoming, Millis, SessionId};

/// What kind of thing happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventKind {
    /// A message reached the account.
    #[serde(rename = "message.received")]
    MessageReceived,
}

impl EventKind {
    /// The kind's public name, also stored in the database.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MessageReceived => "message.received",
        }
    }
}

/// One thing that happened. Immutable once stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its id; sorts by the moment it was stored.
    pub id: EventId,
    /// Where it happened.
    pub session: SessionId,
    /// The received message it is about.
    pub message: Incoming,
    /// When it was stored, which is when WhatsApp was acknowledged.
    pub stored_at: Millis,
}
