//! Received events: station one (stored) and station two (routed) of the incoming journey.
//!
//! Invariant: an event is new exactly once. Its `dedup` digest is unique, and the insert that wins is the one that
//! answers the event.

use sha2::{Digest, Sha256};
use sqlx::FromRow;

use super::pool::on;
use super::sql::statements;
use super::{Store, StoreError, sessions};
use crate::model::{
    DeliveryId, EndpointId, Event, EventId, Happening, Incoming, MESSAGE_RECEIVED, Millis, Scope, SessionId,
};

statements! {
    STORE = "INSERT INTO events (id, session_id, kind, dedup, payload, stored_at) VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT (dedup) DO NOTHING",
        mysql: "INSERT IGNORE INTO events (id, session_id, kind, dedup, payload, stored_at) VALUES (?, ?, ?, ?, ?, ?)";
    UNROUTED = "SELECT id, session_id, kind, payload, stored_at FROM events e WHERE routed_at IS NULL
        AND EXISTS (SELECT 1 FROM sessions s WHERE s.owner BETWEEN $1 AND $2 AND s.id = e.session_id)
        AND seq > COALESCE((SELECT seq FROM events WHERE id = $3), 0) ORDER BY seq LIMIT $4";
    GET = "SELECT e.id, e.session_id, e.kind, e.payload, e.stored_at FROM events e JOIN sessions s ON s.id = e.session_id
        WHERE s.owner BETWEEN $1 AND $2 AND e.id = $3";
    ROUTED = "UPDATE events SET routed_at = $1 WHERE routed_at IS NULL
        AND session_id IN (SELECT id FROM sessions WHERE owner BETWEEN $2 AND $3) AND id = $4";
    /// Makes no row when the endpoint is gone, disabled, or another session's.
    DELIVER = "INSERT INTO deliveries (id, session_id, event_id, endpoint_id, state, due_at, epoch, attempts, body, created_at)
        SELECT $1, e.session_id, e.id, n.id, 'waiting', $2, 0, 0, $3, $4
        FROM events e JOIN endpoints n ON n.session_id = e.session_id AND n.enabled WHERE e.id = $5 AND n.id = $6";
}

/// Calls on events within a scope.
#[derive(Debug)]
pub struct Events<'a>(pub(super) &'a Store, pub(super) Scope);

/// A delivery to be created when an event is routed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDelivery {
    /// Where it goes.
    pub endpoint: EndpointId,
    /// Its body, fixed now.
    pub body: String,
}

impl Events<'_> {
    /// Station one: stores the whole batch in one transaction and returns once it is durable. Answers the events
    /// that are new, in order; messages seen before (same session, chat, sender, id and kind) are left out.
    ///
    /// A session that does not exist is an error (row not found), so that nothing is acknowledged for it.
    pub async fn receive(&self, session: &SessionId, batch: &[Incoming]) -> Result<Vec<Event>, StoreError> {
        let arrivals = batch.iter().map(|message| Arrival::of(session, message)).collect::<Result<Vec<_>, _>>()?;
        let (scope, session, clock) = (self.1, session.clone(), self.0.clock().clone());
        let work = self.0.write(move |tx| {
            Box::pin(async move {
                if !sessions::is_visible(tx, scope, &session).await? {
                    return Err(sqlx::Error::RowNotFound.into());
                }
                let mut fresh = Vec::with_capacity(arrivals.len());
                for Arrival { message, dedup, payload } in arrivals {
                    // The id is made here, one job after the other, so that ids sort as their commits do.
                    let (id, stored_at, kind) = (EventId::new(), clock.now(), MESSAGE_RECEIVED);
                    let added = on!(&mut *tx, |db, q| {
                        let store = sqlx::query(q(STORE)).bind(&id).bind(&session).bind(kind);
                        store.bind(&dedup[..]).bind(payload).bind(stored_at).execute(db).await?.rows_affected()
                    });
                    if added == 1 {
                        fresh.push(Event {
                            id,
                            session: session.clone(),
                            what: Happening::Message(message),
                            stored_at,
                        });
                    }
                }
                Ok(fresh)
            })
        });
        work.await
    }

    /// Events stored but not routed yet, oldest first: where to resume after a crash. An event that cannot be read,
    /// because a newer wagate wrote it for instance, is logged and left for later.
    pub async fn unrouted(&self, after: Option<&EventId>, limit: u32) -> Result<Vec<Event>, StoreError> {
        let (low, high) = self.1.owners();
        let rows: Vec<EventRow> = on!(self.0.readers(), |db, q| {
            let query = sqlx::query_as(q(UNROUTED)).bind(low).bind(high).bind(after).bind(i64::from(limit));
            query.fetch_all(db).await?
        });
        let readable = |row: EventRow| {
            let id = row.id.clone();
            row.into_event().inspect_err(|error| tracing::error!(event = %id, %error, "an event cannot be read")).ok()
        };
        Ok(rows.into_iter().filter_map(readable).collect())
    }

    /// Station two: marks the event routed and creates its deliveries, in one transaction. Answers `false`, and
    /// creates nothing, when it was routed before. A delivery to an endpoint that is gone meanwhile is left out.
    pub async fn route(&self, event: &EventId, deliveries: &[NewDelivery]) -> Result<bool, StoreError> {
        let ((low, high), now) = (self.1.owners(), self.0.clock().now());
        let (event, deliveries) = (event.clone(), deliveries.to_vec());
        let work = self.0.write(move |tx| {
            Box::pin(async move {
                on!(tx, |db, q| {
                    let mark = sqlx::query(q(ROUTED)).bind(now).bind(low).bind(high).bind(&event);
                    if mark.execute(&mut *db).await?.rows_affected() == 0 {
                        return Ok(false);
                    }
                    for NewDelivery { endpoint, body } in deliveries {
                        let add = sqlx::query(q(DELIVER)).bind(DeliveryId::new()).bind(now).bind(body).bind(now);
                        add.bind(&event).bind(endpoint).execute(&mut *db).await?;
                    }
                });
                Ok(true)
            })
        });
        work.await
    }

    /// One event.
    pub async fn get(&self, id: &EventId) -> Result<Option<Event>, StoreError> {
        let (low, high) = self.1.owners();
        let row: Option<EventRow> = on!(self.0.readers(), |db, q| {
            sqlx::query_as(q(GET)).bind(low).bind(high).bind(id).fetch_optional(db).await?
        });
        row.map(EventRow::into_event).transpose()
    }
}

/// A message ready to be stored.
struct Arrival {
    message: Incoming,
    dedup: [u8; 32],
    payload: String,
}

impl Arrival {
    fn of(session: &SessionId, message: &Incoming) -> Result<Self, StoreError> {
        let encode = |error: serde_json::Error| sqlx::Error::Encode(error.into());
        let kind = serde_json::to_string(&message.kind).map_err(encode)?;
        let parts = [session.as_str(), message.chat.jid(), message.sender.jid(), message.id.as_str(), &kind];
        let payload = serde_json::to_string(message).map_err(encode)?;
        Ok(Self { message: message.clone(), dedup: digest(&parts), payload })
    }
}

/// A digest of the parts, each with its length before it, so that no two lists of parts read the same.
fn digest(parts: &[&str]) -> [u8; 32] {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    digest.finalize().into()
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
    fn into_event(self) -> Result<Event, StoreError> {
        let Self { id, session_id: session, kind, payload, stored_at } = self;
        let what = if kind == MESSAGE_RECEIVED {
            serde_json::from_str(&payload).map(Happening::Message)
        } else {
            serde_json::from_str(&payload).map(Happening::Plugin)
        };
        let what = what.map_err(|error| sqlx::Error::Decode(error.into()))?;
        Ok(Event { id, session, what, stored_at })
    }
}
