//! Station one of what happens besides received messages: one statement an event, because it comes one by one.
//!
//! What WhatsApp tells twice, a change of a group for instance, is known by a digest of what names it. What has no name is
//! told once by whoever tells it: the state of a message only ever moves forward, a presence is told when it changes.
//!
//! Invariant: as in `intake.rs`: the insert that wins is the one that answers the event.

use std::time::Duration;

use super::Events;
use super::identity::{digest, message_key};
use crate::model::{Event, EventId, Happening, Millis, Scope, SessionId};
use crate::store::StoreError;
use crate::store::column::json;
use crate::store::pool::{Tx, added, on};
use crate::store::sql::statements;

statements! {
    /// Makes no row when the session is gone.
    ADD = "INSERT INTO events (id, session_id, kind, dedup, message_key, payload, stored_at, forget_at)
        SELECT $1, s.id, $2, $3, $4, $5, $6, $7 FROM sessions s WHERE s.id = $8 AND s.owner BETWEEN $9 AND $10
        ON CONFLICT (dedup) DO NOTHING",
        mysql: "INSERT INTO events (id, session_id, kind, dedup, message_key, payload, stored_at, forget_at)
        SELECT ?, s.id, ?, ?, ?, ?, ?, ? FROM sessions s WHERE s.id = ? AND s.owner BETWEEN ? AND ?";
}

/// How long what is worth nothing later is kept: for whoever looks at what just happened.
const FLEETING: Duration = Duration::from_hours(24);

impl Events<'_> {
    /// Stores what happened, in one transaction, and answers the events that are new, in order. Left out is what was stored
    /// before, and what happened on a session that is gone.
    pub async fn record(&self, news: &[(SessionId, Happening)]) -> Result<Vec<Event>, StoreError> {
        let Self(store, scope) = *self;
        let new =
            |(session, what): &(SessionId, Happening)| New::of(session, what.clone()).map(|new| (session.clone(), new));
        let news = news.iter().map(new).collect::<Result<Vec<_>, StoreError>>()?;
        let clock = store.clock().clone();
        let work = store.write(move |tx| {
            Box::pin(async move {
                let mut stored = Vec::with_capacity(news.len());
                for (session, new) in news {
                    stored.extend(add(tx, scope, &session, new, clock.now()).await?);
                }
                Ok(stored)
            })
        });
        work.await
    }
}

/// What happened, encoded.
#[derive(Clone, Debug)]
pub(in crate::store) struct New {
    what: Happening,
    payload: String,
    /// What tells it from all others; `None` for what is told once.
    dedup: Option<[u8; 32]>,
}

impl New {
    /// What happened on this session.
    pub(in crate::store) fn of(session: &SessionId, what: Happening) -> Result<Self, StoreError> {
        let payload = what.payload().map_err(|error| sqlx::Error::Encode(error.into()))?;
        let dedup = names(session, &what)?.map(|names| digest(&names.iter().map(String::as_str).collect::<Vec<_>>()));
        Ok(Self { what, payload, dedup })
    }
}

/// Stores it; the event, when it is new.
pub(in crate::store) async fn add(
    tx: &mut Tx,
    scope: Scope,
    session: &SessionId,
    new: New,
    now: Millis,
) -> Result<Option<Event>, StoreError> {
    let (low, high) = scope.owners();
    let New { what, payload, dedup } = new;
    let event = Event { id: EventId::new(), session: session.clone(), what, stored_at: now };
    let dedup = dedup.unwrap_or_else(|| digest(&["once", event.id.as_str()]));
    let key = event.what.message_id().map(|message| message_key(session, message).to_vec());
    let forget_at = event.what.is_fleeting().then(|| now.after(FLEETING));
    let added = on!(tx, |db, q| {
        let add = sqlx::query(q(ADD)).bind(&event.id).bind(event.kind()).bind(dedup.to_vec()).bind(key);
        let add = add.bind(payload).bind(now).bind(forget_at).bind(session).bind(low).bind(high).execute(db).await;
        added(add.map(|done| done.rows_affected()))?
    });
    Ok((added == 1).then_some(event))
}

/// What WhatsApp names it by. A message has the names it has when it is received.
fn names(session: &SessionId, what: &Happening) -> Result<Option<Vec<String>>, StoreError> {
    let session = session.to_string();
    Ok(match what {
        Happening::Message(message) => Some(vec![
            session,
            message.chat.to_string(),
            message.sender.to_string(),
            message.id.to_string(),
            json(&message.kind)?,
        ]),
        Happening::Group(update) => update
            .id
            .as_ref()
            .map(|id| vec!["group".to_owned(), session, update.chat.to_string(), id.clone(), update.place.to_string()]),
        Happening::Call(call) => Some(vec!["call".to_owned(), session, call.from.chat.to_string(), call.id.clone()]),
        _ => None,
    })
}

#[cfg(test)]
mod tests;
