//! Events: station one (stored) and station two (routed) of the incoming journey. Station one is [`intake`] for messages
//! and [`record`] for what happens besides; station two is [`routing`], what it leaves behind [`held`]. Whose they are looks at
//! them through [`look`].
//!
//! Invariant: an event is new exactly once. Its `dedup` digest is unique, and the insert that wins is the one that
//! answers the event.

pub mod held;
pub(in crate::store) mod identity;
pub(in crate::store) mod intake;
pub mod look;
pub(in crate::store) mod record;
pub mod routing;

use sqlx::{FromRow, QueryBuilder};

use self::identity::message_key;
use self::intake::Reception;
use super::bulk::{MOST, push_list};
use super::pool::on;
use super::sql::statements;
use super::{Store, StoreError};
use crate::model::{Event, EventId, Happening, Incoming, MessageId, Millis, Scope, SessionId};

pub use held::RoutingRow;
pub use look::{EventPage, Onward, Place, Wanted};
pub use routing::{NewDelivery, Outcome, Past, Routed, Routing};

statements! {
    /// Held events have their own time.
    UNROUTED = "SELECT id, session_id, kind, payload, stored_at FROM events e WHERE routed_at IS NULL
        AND EXISTS (SELECT 1 FROM sessions s WHERE s.owner BETWEEN $1 AND $2 AND s.id = e.session_id)
        AND NOT EXISTS (SELECT 1 FROM routings r WHERE r.event_id = e.id AND r.due_at IS NOT NULL)
        AND seq > COALESCE((SELECT seq FROM events WHERE id = $3), 0) ORDER BY seq LIMIT $4";
    GET = "SELECT e.id, e.session_id, e.kind, e.payload, e.stored_at FROM events e JOIN sessions s ON s.id = e.session_id
        WHERE s.owner BETWEEN $1 AND $2 AND e.id = $3 AND e.digest_until IS NULL";
    /// Messages, newest first: of each session as many as are wanted, and of those the newest.
    RECENT = "SELECT e.id, e.session_id, e.kind, e.payload, e.stored_at FROM sessions s JOIN events e ON e.session_id = s.id
        WHERE s.owner BETWEEN $1 AND $2 AND s.id = COALESCE($3, s.id) AND e.kind = 'message.received'
        AND e.seq >= COALESCE((SELECT n.seq FROM events n WHERE n.session_id = s.id AND n.kind = 'message.received'
            ORDER BY n.seq DESC LIMIT 1 OFFSET $4), 0) ORDER BY e.seq DESC LIMIT $5";
    /// The sessions a message may be of.
    SESSIONS = "SELECT s.id FROM sessions s WHERE s.owner BETWEEN $1 AND $2 AND s.id = COALESCE($3, s.id)";
}

/// A list of keys follows.
const OF_MESSAGE: &str = "SELECT id, session_id, kind, payload, stored_at FROM events WHERE message_key IN ";

/// Calls on events within a scope.
#[derive(Debug)]
pub struct Events<'a>(pub(super) &'a Store, pub(super) Scope);

impl Events<'_> {
    /// Station one: stores the whole batch in one transaction, which may be that of other calls too, and returns once it is
    /// durable. Answers the events that are new, in order; messages seen before (same session, chat, sender, id and kind)
    /// are left out.
    ///
    /// A session that does not exist is an error (row not found), so that nothing is acknowledged for it.
    pub async fn receive(&self, session: &SessionId, batch: &[Incoming]) -> Result<Vec<Event>, StoreError> {
        self.0.receiving().run(self.0, Reception::of(self.1, session, batch)?).await
    }

    /// Events stored but not routed yet, oldest first: where to resume after a crash. Events that are held are left out:
    /// their time comes ([`Events::held`]). An event that cannot be read, because a newer wagate wrote it for instance,
    /// is logged and left for later.
    pub async fn unrouted(&self, after: Option<&EventId>, limit: u32) -> Result<Vec<Event>, StoreError> {
        let (low, high) = self.1.owners();
        let rows: Vec<EventRow> = on!(self.0.readers(), |db, q| {
            let query = sqlx::query_as(q(UNROUTED)).bind(low).bind(high).bind(after).bind(i64::from(limit));
            query.fetch_all(db).await?
        });
        Ok(rows.into_iter().filter_map(EventRow::readable).collect())
    }

    /// The newest messages of a session, or of all sessions, newest first: to be looked at again, in a rehearsal for
    /// instance. Events of other kinds are left out, and so is what cannot be read.
    pub async fn recent(&self, session: Option<&SessionId>, limit: u32) -> Result<Vec<Event>, StoreError> {
        let ((low, high), limit) = (self.1.owners(), i64::from(limit));
        let rows: Vec<EventRow> = on!(self.0.readers(), |db, q| {
            let recent = sqlx::query_as(q(RECENT)).bind(low).bind(high).bind(session);
            recent.bind((limit - 1).max(0)).bind(limit).fetch_all(db).await?
        });
        Ok(rows.into_iter().filter_map(EventRow::readable).collect())
    }

    /// One event.
    pub async fn get(&self, id: &EventId) -> Result<Option<Event>, StoreError> {
        let (low, high) = self.1.owners();
        let row: Option<EventRow> = on!(self.0.readers(), |db, q| {
            sqlx::query_as(q(GET)).bind(low).bind(high).bind(id).fetch_optional(db).await?
        });
        row.map(EventRow::into_event).transpose()
    }

    /// The events about the message of this id, of a session or of any, oldest first: it, and what became of it later. A
    /// message's id is unique only together with its chat and sender, so they may be about several. What cannot be read is
    /// left out.
    pub async fn of_message(&self, session: Option<&SessionId>, message: &MessageId) -> Result<Vec<Event>, StoreError> {
        let (low, high) = self.1.owners();
        let sessions: Vec<SessionId> = on!(self.0.readers(), |db, q| {
            sqlx::query_scalar(q(SESSIONS)).bind(low).bind(high).bind(session).fetch_all(db).await?
        });
        let keys: Vec<[u8; 32]> = sessions.iter().map(|session| message_key(session, message)).collect();
        let keys: Vec<&[u8]> = keys.iter().map(|key| &key[..]).collect();
        let mut rows: Vec<EventRow> = Vec::new();
        for keys in keys.chunks(MOST) {
            let found: Vec<EventRow> = on!(self.0.readers(), |db, _q| {
                let mut look = QueryBuilder::new(OF_MESSAGE);
                push_list(&mut look, keys);
                look.build_query_as().fetch_all(db).await?
            });
            rows.extend(found);
        }
        let mut events: Vec<Event> = rows.into_iter().filter_map(EventRow::readable).collect();
        // Ids sort by the moment an event was stored.
        events.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(events)
    }
}

#[derive(FromRow)]
struct EventRow {
    id: EventId,
    session_id: SessionId,
    kind: String,
    payload: String,
    stored_at: Millis,
}

impl EventRow {
    /// The event, unless it cannot be read, which is logged.
    fn readable(self) -> Option<Event> {
        let id = self.id.clone();
        self.into_event().inspect_err(|error| tracing::error!(event = %id, %error, "an event cannot be read")).ok()
    }

    fn into_event(self) -> Result<Event, StoreError> {
        let Self { id, session_id: session, kind, payload, stored_at } = self;
        let what = Happening::read(&kind, &payload).map_err(|error| sqlx::Error::Decode(error.into()))?;
        Ok(Event { id, session, what, stored_at })
    }
}
