//! A send, from the request to WhatsApp's answer.

use crate::model::{Chat, Outgoing, Phone, Scope, Sent, SessionId};
use crate::session::SessionError;

/// The sender. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Outbound;

/// A send as the caller asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Send {
    /// Where to.
    pub to: Chat,
    /// What.
    pub what: Outgoing,
    /// The caller's `Idempotency-Key`: the same key within 24 h is answered, not sent again.
    pub key: Option<String>,
}

/// A send that WhatsApp accepted, and which session it went through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The session used.
    pub session: SessionId,
    /// What WhatsApp accepted.
    pub sent: Sent,
    /// Whether this is the answer of an earlier request with the same key.
    pub replayed: bool,
}

/// Why a send failed.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// No session of the caller has this number or id.
    #[error("none of your sessions is linked to this phone number")]
    NoSuchPhone,
    /// The key was used for a different request.
    #[error("this Idempotency-Key was used for another request; use a fresh one")]
    KeyReused,
    /// The first request with this key is still running.
    #[error("a request with this Idempotency-Key is still running; ask again shortly")]
    InFlight,
    /// The session refused or failed.
    #[error(transparent)]
    Session(#[from] SessionError),
}

impl Outbound {
    /// Sends through one session.
    pub async fn send(&self, _scope: Scope, _session: &SessionId, _send: Send) -> Result<Accepted, SendError> {
        unimplemented!()
    }

    /// Sends through the caller's session that is linked to this number.
    pub async fn send_from(&self, _scope: Scope, _phone: &Phone, _send: Send) -> Result<Accepted, SendError> {
        unimplemented!()
    }
}
