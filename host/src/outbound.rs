//! A send, from the request to WhatsApp's answer: one straight call.
//!
//! Whose session is it → was it asked before under this key → what do the plugins make of it → store the send under its
//! message id, with what the plugins want done → is the recipient on WhatsApp → the wire → the server's word. Pacing
//! has its place before the wire. What plugins ask to be sent comes from rows (`queue.rs`) and passes no plugin.
//!
//! Invariant: a message id is stored before it goes out, and a repeated request goes out under the same id.

pub mod queue;
mod recipient;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use self::recipient::Recipients;
use crate::model::{
    Chat, Clock, Effects, Event, LogLine, MessageId, MessageState, Outgoing, Phone, Scope, Sent, SessionId, Status,
};
use crate::plugin::{Left, OutgoingVerdict, Plugins};
use crate::session::{SessionError, Sessions};
use crate::store::sends::{Begun, NewSend, Progress};
use crate::store::{Store, StoreError};

/// Times the plugins are asked again when values change under them.
const CONFLICTS: u32 = 20;

/// The sender. Cheap to clone.
#[derive(Clone)]
pub struct Outbound {
    store: Store,
    sessions: Sessions,
    plugins: Plugins,
    recipients: Arc<Recipients>,
    /// Told what was stored and is to be routed: what plugins raised, and what became of a message; and that plugins may
    /// have asked for messages to be sent.
    asked: Arc<dyn Fn(Vec<Event>) + std::marker::Send + Sync>,
}

/// A send as the plugins left it.
struct Judged {
    send: Send,
    effects: Effects,
    logs: Vec<LogLine>,
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
    /// A plugin that filters what goes out dropped it.
    #[error("a plugin dropped the message: {0}")]
    Dropped(String),
    /// A plugin that filters what goes out cannot judge it now.
    #[error("a plugin cannot judge the message now: {why}")]
    Undecided {
        /// What happened.
        why: String,
        /// When to ask again.
        after: Duration,
    },
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
    /// The sender over the running sessions. `asked` is called with the events that were stored on the way and are to be
    /// routed, and when plugins wanted something done and that is committed, because messages may wait to be sent.
    pub fn new(
        store: Store,
        sessions: Sessions,
        plugins: Plugins,
        clock: Clock,
        asked: impl Fn(Vec<Event>) + std::marker::Send + Sync + 'static,
    ) -> Self {
        Self { store, sessions, plugins, recipients: Arc::new(Recipients::new(clock)), asked: Arc::new(asked) }
    }

    /// Sends through one session.
    pub async fn send(&self, scope: Scope, session: &SessionId, send: Send) -> Result<Accepted, SendError> {
        let found = self.store.sessions(scope).get(session).await.map_err(SessionError::from)?;
        found.ok_or(SessionError::NotFound)?;
        let asked = digest(&send);
        for _ in 0..CONFLICTS {
            let Some(Judged { send, effects, logs }) = self.judge(scope, session, &asked, &send).await? else {
                continue;
            };
            let (fresh, wants) = (MessageId::new(), wants_work(&effects));
            let key = send.key.as_deref().map(|key| (key, &asked));
            let new = NewSend { session, message: &fresh, to: &send.to, what: &send.what, key, effects, logs };
            let mut begun = self.store.sends(scope).begin(new).await.map_err(SessionError::from)?;
            match &mut begun {
                Begun::Conflict => continue,
                Begun::Fresh { raised } if wants => (self.asked)(std::mem::take(raised)),
                _ => {}
            }
            return self.go_on(scope, session, fresh, begun, &send).await;
        }
        Err(SessionError::from(StoreError::Contended).into())
    }

    /// Sends what a plugin asked for, under the id it was promised. The same id is never sent twice at once.
    pub(super) async fn send_as(&self, session: &SessionId, id: MessageId, send: &Send) -> Result<Accepted, SendError> {
        let (scope, asked) = (Scope::gateway(), digest(send));
        let key = send.key.as_deref().map(|key| (key, &asked));
        let (to, what, effects) = (&send.to, &send.what, Effects::default());
        let new = NewSend { session, message: &id, to, what, key, effects, logs: Vec::new() };
        let begun = self.store.sends(scope).begin(new).await.map_err(SessionError::from)?;
        self.go_on(scope, session, id, begun, send).await
    }

    /// Asks the plugins that filter what goes out. `None` when a value they relied on changed meanwhile.
    ///
    /// What an earlier request under the same key settled is taken as it is. One that is to be sent again is judged
    /// again, because nobody kept what the plugins had made of it; but what they want done was done the first time.
    async fn judge(
        &self,
        scope: Scope,
        session: &SessionId,
        asked: &[u8; 32],
        send: &Send,
    ) -> Result<Option<Judged>, SendError> {
        let earlier = match &send.key {
            Some(key) => self.store.sends(scope).earlier(session, key, asked).await.map_err(SessionError::from)?,
            None => None,
        };
        if matches!(earlier, Some(Begun::Replay(_) | Begun::Mismatch)) {
            return Ok(Some(Judged { send: send.clone(), effects: Effects::default(), logs: Vec::new() }));
        }
        let Outgoing::Text(text) = &send.what;
        let judged = self.plugins.outgoing(session, &send.to, text).await.map_err(SessionError::from)?;
        let (verdict, Left { effects, logs, .. }) = judged;
        let effects = if earlier.is_none() { effects } else { Effects::default() };
        match verdict {
            OutgoingVerdict::Send { to, text } => {
                let send = Send { to, what: Outgoing::Text(text), key: send.key.clone() };
                Ok(Some(Judged { send, effects, logs }))
            }
            OutgoingVerdict::Drop { code, detail } => {
                let wants = wants_work(&effects);
                let committed = self.store.plugins(scope).commit(session, effects, logs).await;
                let Some(raised) = committed.map_err(SessionError::from)? else { return Ok(None) };
                if wants {
                    (self.asked)(raised);
                }
                let said = detail.map(|detail| format!(" ({detail})")).unwrap_or_default();
                Err(SendError::Dropped(format!("{code}{said}")))
            }
            OutgoingVerdict::Wait { why, after } => {
                // It leaves nothing to be done, only what was said.
                let committed = self.store.plugins(scope).commit(session, effects, logs).await;
                committed.map_err(SessionError::from)?;
                Err(SendError::Undecided { why, after })
            }
        }
    }

    async fn go_on(
        &self,
        scope: Scope,
        session: &SessionId,
        fresh: MessageId,
        begun: Begun,
        send: &Send,
    ) -> Result<Accepted, SendError> {
        let id = match begun {
            Begun::Fresh { .. } => fresh,
            Begun::Again(id) => id,
            Begun::Replay(sent) => return Ok(Accepted { session: session.clone(), sent, replayed: true }),
            Begun::InFlight => return Err(SendError::InFlight),
            Begun::Mismatch => return Err(SendError::KeyReused),
            Begun::Conflict => return Err(SessionError::from(StoreError::Contended).into()),
        };
        let sent = self.transmit(scope, session, &id, send).await?;
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
        let recipient = self.sessions.person(session, &send.to).await;
        let progress = Progress { code, recipient, ..Progress::to(state) };
        let told = sends.confirm(session, std::slice::from_ref(id), progress).await.map_err(SessionError::from)?;
        if !told.is_empty() {
            (self.asked)(told);
        }
        outcome
    }
}

/// Whether somebody has to be told of these effects.
fn wants_work(effects: &Effects) -> bool {
    !effects.sends.is_empty() || !effects.events.is_empty()
}

impl fmt::Debug for Outbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbound").finish_non_exhaustive()
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
