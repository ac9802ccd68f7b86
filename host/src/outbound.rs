//! A send, from the request to WhatsApp's answer: one straight call.
//!
//! Whose session is it → is the recipient on WhatsApp → store the send under its message id → the wire → the
//! server's word. The plugin chain for outgoing messages and pacing have their place before the store.
//!
//! Invariant: a message id is stored before it goes out, and a repeated request goes out under the same id.

mod recipient;

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use self::recipient::Recipients;
use crate::model::{Chat, Clock, MessageId, MessageState, Outgoing, Phone, Scope, Sent, SessionId, Status};
use crate::session::{SessionError, Sessions};
use crate::store::Store;
use crate::store::sends::{Begun, NewSend};

/// The sender. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Outbound {
    store: Store,
    sessions: Sessions,
    recipients: Arc<Recipients>,
}

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
    /// No session of the caller has this number.
    #[error("none of your sessions is linked to this phone number")]
    NoSuchPhone,
    /// The number is not on WhatsApp.
    #[error("the recipient {0} is not on WhatsApp; check the number and its country code")]
    NoSuchRecipient(Phone),
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
    /// The sender over the running sessions.
    pub fn new(store: Store, sessions: Sessions, clock: Clock) -> Self {
        Self { store, sessions, recipients: Arc::new(Recipients::new(clock)) }
    }

    /// Sends through one session.
    pub async fn send(&self, scope: Scope, session: &SessionId, send: Send) -> Result<Accepted, SendError> {
        let found = self.store.sessions(scope).get(session).await.map_err(SessionError::from)?;
        found.ok_or(SessionError::NotFound)?;
        let fresh = MessageId::new();
        let digest = digest(&send);
        let key = send.key.as_deref().map(|key| (key, &digest));
        let begin = NewSend { session, message: &fresh, to: &send.to, key };
        let id = match self.store.sends(scope).begin(begin).await.map_err(SessionError::from)? {
            Begun::Fresh => fresh,
            Begun::Again(id) => id,
            Begun::Replay(sent) => return Ok(Accepted { session: session.clone(), sent, replayed: true }),
            Begun::InFlight => return Err(SendError::InFlight),
            Begun::Mismatch => return Err(SendError::KeyReused),
        };
        let sent = self.transmit(scope, session, &id, &send).await?;
        Ok(Accepted { session: session.clone(), sent, replayed: false })
    }

    /// Sends through the caller's session that is linked to this number; a connected one where there are several.
    pub async fn send_from(&self, scope: Scope, phone: &Phone, send: Send) -> Result<Accepted, SendError> {
        let linked = self.store.sessions(scope).by_phone(phone).await.map_err(SessionError::from)?;
        let connected = |id: &SessionId| matches!(self.sessions.status(id), Status::Connected { .. });
        let chosen = linked.iter().find(|session| connected(&session.id)).or(linked.first());
        let session = chosen.ok_or(SendError::NoSuchPhone)?;
        self.send(scope, &session.id, send).await
    }

    async fn transmit(
        &self,
        scope: Scope,
        session: &SessionId,
        id: &MessageId,
        send: &Send,
    ) -> Result<Sent, SendError> {
        let sends = self.store.sends(scope);
        let known = self.recipients.check(&self.sessions, scope, session, &send.to).await;
        let outcome = match known {
            Ok(()) => self.sessions.send(session, id, &send.to, &send.what).await.map_err(SendError::from),
            Err(error) => Err(error),
        };
        let (state, code) = match &outcome {
            Ok(_) => (MessageState::Sent, None),
            Err(SendError::Session(SessionError::Refused { code, .. })) => (MessageState::Refused, Some(*code)),
            Err(SendError::NoSuchRecipient(_)) => (MessageState::Refused, None),
            // It may have gone out: the send stays pending, the server's late word settles it, and a repetition under
            // the same key may go ahead at once, because nobody works on it any more.
            Err(_) => {
                if let Err(error) = sends.release(session, id).await {
                    tracing::warn!(%session, %error, "a send could not be released; a repetition must wait a minute");
                }
                return outcome;
            }
        };
        sends.advance(session, std::slice::from_ref(id), state, code).await.map_err(SessionError::from)?;
        outcome
    }
}

fn digest(send: &Send) -> [u8; 32] {
    let Outgoing::Text(text) = &send.what;
    let mut hasher = Sha256::new();
    for part in [send.to.jid(), text.as_str()] {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}
