//! Sends: the message id chosen before the wire, the caller's idempotency key, and what became of the message.

use super::{Store, StoreError};
use crate::model::{Chat, MessageId, MessageState, Scope, Sent, SessionId};

/// Calls on sends within a scope.
#[derive(Debug)]
pub struct Sends<'a>(pub(super) &'a Store, pub(super) Scope);

/// A send about to go out.
#[derive(Clone, Debug)]
pub struct NewSend<'a> {
    /// Through which session.
    pub session: &'a SessionId,
    /// The id it will have on WhatsApp.
    pub message: &'a MessageId,
    /// Where to.
    pub to: &'a Chat,
    /// The caller's key, if any, and a digest of the request it stands for.
    pub key: Option<(&'a str, &'a [u8; 32])>,
}

/// What [`Sends::begin`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begun {
    /// Stored as pending: send it.
    Fresh,
    /// An earlier request with this key was accepted: give this answer.
    Replay(Sent),
    /// An earlier request with this key never got an answer: send again, under its message id.
    Again(MessageId),
    /// An earlier request with this key is younger than a minute and still pending.
    InFlight,
    /// The key belongs to a different request.
    Mismatch,
}

impl Sends<'_> {
    /// Stores the send before it goes out, unless its key is known. Keys live 24 h.
    pub async fn begin(&self, _send: NewSend<'_>) -> Result<Begun, StoreError> {
        unimplemented!()
    }
    /// Moves a message on; never backwards. `code` is WhatsApp's refusal code. Unknown messages are ignored.
    pub async fn advance(
        &self,
        _session: &SessionId,
        _messages: &[MessageId],
        _to: MessageState,
        _code: Option<u16>,
    ) -> Result<(), StoreError> {
        unimplemented!()
    }
    /// How far a message has come.
    pub async fn state(
        &self,
        _session: &SessionId,
        _message: &MessageId,
    ) -> Result<Option<(MessageState, Option<u16>)>, StoreError> {
        unimplemented!()
    }
}
