//! Sends: the message id chosen before the wire, the caller's idempotency key, and what became of the message, which is
//! [`progress`].
//!
//! Invariant: a message's state only ever moves forward, except that sending it again under its key makes it pending.

pub mod progress;

use std::time::Duration;

use sqlx::FromRow;

use self::progress::Content;
use super::column::{json, text};
use super::plugins::effects::Wanted;
use super::plugins::logs;
use super::pool::{Tx, on};
use super::sql::statements;
use super::{Store, StoreError, sessions};
use crate::model::{Chat, Effects, Event, LogLine, MessageId, MessageState, Millis, Outgoing, Scope, Sent, SessionId};

pub use progress::Progress;

statements! {
    KNOWN = "SELECT message, chat, digest, state, created_at, begun_at, accepted_at FROM sends
        WHERE session_id = $1 AND key = $2",
        mysql: "SELECT message, chat, digest, state, created_at, begun_at, accepted_at FROM sends
        WHERE session_id = ? AND `key` = ?";
    EARLIER = "SELECT m.message, m.chat, m.digest, m.state, m.created_at, m.begun_at, m.accepted_at FROM sends m
        JOIN sessions s ON s.id = m.session_id WHERE m.session_id = $1 AND m.key = $2 AND s.owner BETWEEN $3 AND $4",
        mysql: "SELECT m.message, m.chat, m.digest, m.state, m.created_at, m.begun_at, m.accepted_at FROM sends m
        JOIN sessions s ON s.id = m.session_id WHERE m.session_id = ? AND m.`key` = ? AND s.owner BETWEEN ? AND ?";
    FREE_KEY = "UPDATE sends SET key = NULL, digest = NULL WHERE session_id = $1 AND message = $2",
        mysql: "UPDATE sends SET `key` = NULL, digest = NULL WHERE session_id = ? AND message = ?";
    AGAIN = "UPDATE sends SET state = 0, code = NULL, begun_at = $1, content = $2 WHERE session_id = $3 AND message = $4";
    ADD = "INSERT INTO sends (session_id, message, chat, key, digest, state, created_at, begun_at, content)
        VALUES ($1, $2, $3, $4, $5, 0, $6, $7, $8)",
        mysql: "INSERT INTO sends (session_id, message, chat, `key`, digest, state, created_at, begun_at, content)
        VALUES (?, ?, ?, ?, ?, 0, ?, ?, ?)";
    ADVANCE = "UPDATE sends SET state = $1, code = $2, accepted_at = COALESCE(accepted_at, $3), content = NULL
        WHERE session_id = $4 AND message = $5 AND state < $6
        AND EXISTS (SELECT 1 FROM sessions s WHERE s.owner BETWEEN $7 AND $8 AND s.id = sends.session_id)";
    RELEASE = "UPDATE sends SET begun_at = 0 WHERE session_id = $1 AND message = $2 AND state = 0
        AND EXISTS (SELECT 1 FROM sessions s WHERE s.owner BETWEEN $3 AND $4 AND s.id = sends.session_id)";
    STATE = "SELECT m.state, m.code FROM sends m JOIN sessions s ON s.id = m.session_id
        WHERE s.owner BETWEEN $1 AND $2 AND m.session_id = $3 AND m.message = $4";
}

/// How long an idempotency key is remembered. Sends are kept for longer (`config::RetentionConfig::sends`).
const KEY_LIFE: Duration = Duration::from_hours(24);

/// How long a pending send counts as under way; after that its sender is taken to be gone.
const IN_FLIGHT: Duration = Duration::from_mins(1);

/// The states in the order of their stored numbers.
const STATES: [MessageState; 6] = [
    MessageState::Pending,
    MessageState::Refused,
    MessageState::Sent,
    MessageState::Delivered,
    MessageState::Read,
    MessageState::Played,
];

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
    /// What it says.
    pub what: &'a Outgoing,
    /// The caller's key, if any, and a digest of the request it stands for.
    pub key: Option<(&'a str, &'a [u8; 32])>,
    /// What the plugins that judged it want done, with it or not at all.
    pub effects: Effects,
    /// What they said.
    pub logs: Vec<LogLine>,
}

/// What [`Sends::begin`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begun {
    /// Stored as pending: send it.
    Fresh {
        /// The events plugins raised, stored and to be routed.
        raised: Vec<Event>,
    },
    /// An earlier request with this key was accepted: give this answer.
    Replay(Sent),
    /// An earlier request with this key never got an answer, or was refused: send again, under its message id. It is
    /// pending once more.
    Again(MessageId),
    /// An earlier request with this key is younger than a minute, still pending and not released, and no older than this
    /// gateway's lead.
    InFlight,
    /// The key belongs to a different request.
    Mismatch,
    /// A value that a plugin relied on was changed meanwhile. Let the plugins judge again.
    Conflict,
}

impl Sends<'_> {
    /// Stores the send before it goes out, unless its key is known. Keys live 24 h; one that always comes with the same
    /// message id does not end. What plugins want done is committed with it when it is new ([`Begun::Fresh`]); when it is
    /// sent again, that was done the first time.
    ///
    /// A session that does not exist is an error (row not found); so is a message id that is in use
    /// ([`StoreError::Taken`]).
    pub async fn begin(&self, send: NewSend<'_>) -> Result<Begun, StoreError> {
        let (scope, moment) = (self.1, self.moment());
        let now = moment.now;
        let (session, message, chat) = (send.session.clone(), send.message.clone(), send.to.clone());
        let key = send.key.map(|(key, digest)| (key.to_owned(), *digest));
        let content = json(&Content::of(send.what))?;
        let (wanted, logs) = (Wanted::of(None, 0, send.effects)?, send.logs);
        let work = self.0.write(move |tx| {
            Box::pin(async move {
                if !sessions::is_visible(tx, scope, &session).await? {
                    return Err(sqlx::Error::RowNotFound.into());
                }
                let expired = match known(tx, &session, key.as_ref(), &message, moment).await? {
                    None => None,
                    Some(Known::Expired(earlier)) => Some(earlier),
                    Some(Known::Answer(answer)) => {
                        if let Begun::Again(earlier) = &answer {
                            on!(&mut *tx, |db, q| {
                                let again = sqlx::query(q(AGAIN)).bind(now).bind(&content).bind(&session);
                                again.bind(earlier).execute(db).await?;
                            });
                            logs::add(tx, scope.owners(), &logs).await?;
                        }
                        return Ok(answer);
                    }
                };
                let Some(found) = wanted.look(tx, &session, now).await? else { return Ok(Begun::Conflict) };
                let (key, digest) = key.unzip();
                let added = on!(&mut *tx, |db, q| {
                    if let Some(earlier) = expired {
                        sqlx::query(q(FREE_KEY)).bind(&session).bind(earlier).execute(&mut *db).await?;
                    }
                    let digest = digest.as_ref().map(|digest| &digest[..]);
                    let add = sqlx::query(q(ADD)).bind(&session).bind(&message).bind(&chat).bind(&key);
                    add.bind(digest).bind(now).bind(now).bind(&content).execute(db).await.map(|_| ())
                });
                added.map_err(|error| {
                    StoreError::taken(error, sqlx::error::DatabaseError::is_unique_violation, "the message id")
                })?;
                let (raised, mut lines) = wanted.put(tx, &session, found, now).await?;
                lines.splice(0..0, logs);
                logs::add(tx, scope.owners(), &lines).await?;
                Ok(Begun::Fresh { raised })
            })
        });
        work.await
    }

    /// What [`Sends::begin`] would answer a request under this key now; `None` when that would be new.
    pub async fn earlier(
        &self,
        session: &SessionId,
        key: &str,
        digest: &[u8; 32],
    ) -> Result<Option<Begun>, StoreError> {
        let ((low, high), moment) = (self.1.owners(), self.moment());
        let known: Option<KnownRow> = on!(self.0.readers(), |db, q| {
            let known = sqlx::query_as(q(EARLIER)).bind(session).bind(key).bind(low).bind(high);
            known.fetch_optional(db).await?
        });
        Ok(known.and_then(|known| match known.judge(digest, moment) {
            Known::Expired(_) => None,
            Known::Answer(begun) => Some(begun),
        }))
    }

    /// Says that nobody waits for a pending message's answer any more: its key may be used again at once.
    pub async fn release(&self, session: &SessionId, message: &MessageId) -> Result<(), StoreError> {
        let (low, high) = self.1.owners();
        let (session, message) = (session.clone(), message.clone());
        let work = self.0.write(move |tx| {
            Box::pin(async move {
                on!(tx, |db, q| {
                    let release = sqlx::query(q(RELEASE)).bind(&session).bind(&message).bind(low).bind(high);
                    release.execute(db).await?;
                });
                Ok(())
            })
        });
        work.await
    }

    /// How far a message has come, with WhatsApp's code when it was refused.
    pub async fn state(
        &self,
        session: &SessionId,
        message: &MessageId,
    ) -> Result<Option<(MessageState, Option<u16>)>, StoreError> {
        let (low, high) = self.1.owners();
        let row: Option<(i64, Option<i64>)> = on!(self.0.readers(), |db, q| {
            let query = sqlx::query_as(q(STATE)).bind(low).bind(high).bind(session).bind(text(message.as_str()));
            query.fetch_optional(db).await?
        });
        Ok(row.map(|(state, code)| (numbered(state), code.and_then(|code| u16::try_from(code).ok()))))
    }

    fn moment(&self) -> Moment {
        Moment { now: self.0.clock().now(), led_since: self.0.led_since() }
    }
}

/// When an earlier request is judged.
#[derive(Clone, Copy)]
struct Moment {
    now: Millis,
    /// Whoever began a send before this is gone: no other gateway sends beside the one that leads.
    led_since: Option<Millis>,
}

impl Moment {
    /// Whether somebody may still be at what was begun then.
    fn is_in_flight(self, begun: Millis) -> bool {
        self.now.since(begun) < IN_FLIGHT && self.led_since.is_none_or(|since| begun >= since)
    }
}

/// What an earlier request under this key means for one of this digest and message id. Where both stand for the same
/// message, the key does not expire: a message that waited for days is still sent once.
async fn known(
    tx: &mut Tx,
    session: &SessionId,
    key: Option<&(String, [u8; 32])>,
    message: &MessageId,
    moment: Moment,
) -> Result<Option<Known>, StoreError> {
    let Some((key, digest)) = key else { return Ok(None) };
    let row: Option<KnownRow> =
        on!(tx, |db, q| { sqlx::query_as(q(KNOWN)).bind(session).bind(key).fetch_optional(db).await? });
    let same = |known: &KnownRow| known.message == *message;
    Ok(row.map(
        |known| if same(&known) { Known::Answer(known.answer(digest, moment)) } else { known.judge(digest, moment) },
    ))
}

/// An earlier request with the same key.
#[derive(FromRow)]
struct KnownRow {
    message: MessageId,
    chat: Chat,
    digest: Option<Vec<u8>>,
    state: i64,
    created_at: Millis,
    begun_at: Millis,
    accepted_at: Option<Millis>,
}

/// What an earlier request means for this one.
#[derive(Debug, PartialEq, Eq)]
enum Known {
    /// Nothing any more: its key has lived its time.
    Expired(MessageId),
    /// This answer.
    Answer(Begun),
}

impl KnownRow {
    fn judge(self, digest: &[u8; 32], moment: Moment) -> Known {
        if moment.now.since(self.created_at) >= KEY_LIFE {
            return Known::Expired(self.message);
        }
        Known::Answer(self.answer(digest, moment))
    }

    /// What it means while its key lives.
    fn answer(self, digest: &[u8; 32], moment: Moment) -> Begun {
        if self.digest.as_deref() != Some(digest) {
            return Begun::Mismatch;
        }
        match numbered(self.state) {
            MessageState::Pending if moment.is_in_flight(self.begun_at) => Begun::InFlight,
            MessageState::Pending | MessageState::Refused => Begun::Again(self.message),
            MessageState::Sent | MessageState::Delivered | MessageState::Read | MessageState::Played => {
                let at = self.accepted_at.unwrap_or(self.begun_at);
                Begun::Replay(Sent { id: self.message, to: self.chat, at })
            }
        }
    }
}

/// The stored number of a state.
fn number(state: MessageState) -> i64 {
    STATES.iter().zip(0..).find(|(known, _)| **known == state).map_or(0, |(_, number)| number)
}

/// The state behind a stored number.
fn numbered(number: i64) -> MessageState {
    usize::try_from(number).ok().and_then(|number| STATES.get(number)).copied().unwrap_or(MessageState::Pending)
}

#[cfg(test)]
mod tests;
