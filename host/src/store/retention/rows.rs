//! What has had its time, found a page at a time and deleted row by row.
//!
//! A page is looked up on a reading connection, along the index by age, and never looks at more than [`PAGE`] rows: a row
//! that is old but not finished is in it and says so. Each deletion asks once more whether the row is finished, because
//! that may have changed since.
//!
//! WhatsApp keeps what it could not deliver for up to 30 days (<https://www.whatsapp.com/legal/privacy-policy>), and what
//! it was not acknowledged it delivers again. So an event that goes sooner leaves its digest behind until then: the same
//! message is not taken for a new one.
//!
//! Invariant: every deletion names in its own statement what it must not touch.

use std::time::{Duration, Instant};

use crate::model::{DeliveryId, EndpointId, EventId, MessageId, Millis, ReplayId, SessionId};
use crate::store::pool::{Tx, on};
use crate::store::sql::statements;
use crate::store::{Store, StoreError};

statements! {
    /// Whole events that were routed for good, with about the bytes that each takes with its deliveries: a body is about
    /// as long as the message it was made of, and a row and its places in the indexes take about 500 bytes.
    EVENTS = "SELECT e.id, e.stored_at,
            (OCTET_LENGTH(e.payload) + 500) * (SELECT COUNT(*) + 1 FROM deliveries d WHERE d.event_id = e.id) AS bytes,
            EXISTS (SELECT 1 FROM deliveries d WHERE d.event_id = e.id AND d.state = 'waiting')
            OR EXISTS (SELECT 1 FROM plugin_sends w WHERE w.event_id = e.id AND w.state = 'waiting') AS held
        FROM events e WHERE e.routed_at IS NOT NULL AND e.digest_until IS NULL AND e.stored_at >= $1 AND e.stored_at < $2
        ORDER BY e.stored_at LIMIT $3";
    /// Events that are worth nothing any more, whatever else is kept for how long.
    FLEETING = "SELECT e.id, e.forget_at,
            EXISTS (SELECT 1 FROM deliveries d WHERE d.event_id = e.id AND d.state = 'waiting')
            OR EXISTS (SELECT 1 FROM plugin_sends w WHERE w.event_id = e.id AND w.state = 'waiting') AS held
        FROM events e WHERE e.forget_at >= $1 AND e.forget_at < $2 AND e.routed_at IS NOT NULL
        ORDER BY e.forget_at LIMIT $3";
    /// Deliveries, their attempts and the record of the routing go with the event.
    DROP_EVENT = "DELETE FROM events WHERE id = $1 AND routed_at IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.event_id = events.id AND d.state = 'waiting')
        AND NOT EXISTS (SELECT 1 FROM plugin_sends w WHERE w.event_id = events.id AND w.state = 'waiting')";
    EMPTY_EVENT = "UPDATE events SET kind = 'pruned', payload = '', message_key = NULL, digest_until = $1
        WHERE id = $2 AND digest_until IS NULL AND routed_at IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.event_id = events.id AND d.state = 'waiting')
        AND NOT EXISTS (SELECT 1 FROM plugin_sends w WHERE w.event_id = events.id AND w.state = 'waiting')";
    DROP_DELIVERIES = "DELETE FROM deliveries WHERE event_id = $1 AND state <> 'waiting'";
    DROP_ROUTING = "DELETE FROM routings WHERE event_id = $1";
    DIGESTS = "SELECT id, digest_until FROM events
        WHERE routed_at IS NOT NULL AND digest_until >= $1 AND digest_until < $2 ORDER BY digest_until LIMIT $3";
    DROP_DIGEST = "DELETE FROM events WHERE id = $1 AND digest_until IS NOT NULL";
    ATTEMPTS = "SELECT a.delivery_id, a.number, a.started_at,
            EXISTS (SELECT 1 FROM deliveries d WHERE d.id = a.delivery_id AND d.state = 'waiting') AS held
        FROM attempts a WHERE a.started_at >= $1 AND a.started_at < $2 ORDER BY a.started_at LIMIT $3";
    DROP_ATTEMPT = "DELETE FROM attempts WHERE delivery_id = $1 AND number = $2
        AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.id = attempts.delivery_id AND d.state = 'waiting')";
    /// A message that a plugin asked for is known by its send until its row in the queue is settled.
    SENDS = "SELECT m.session_id, m.message, m.created_at, m.state = 0
            OR EXISTS (SELECT 1 FROM plugin_sends w WHERE w.session_id = m.session_id AND w.message = m.message
                AND w.state = 'waiting') AS held
        FROM sends m WHERE m.created_at >= $1 AND m.created_at < $2 ORDER BY m.created_at LIMIT $3";
    DROP_SEND = "DELETE FROM sends WHERE session_id = $1 AND message = $2 AND state > 0
        AND NOT EXISTS (SELECT 1 FROM plugin_sends w WHERE w.session_id = sends.session_id AND w.message = sends.message
            AND w.state = 'waiting')";
    PLUGIN_SENDS = "SELECT w.seq, w.created_at, w.state = 'waiting' AS held FROM plugin_sends w
        WHERE w.created_at >= $1 AND w.created_at < $2 ORDER BY w.created_at LIMIT $3";
    DROP_PLUGIN_SEND = "DELETE FROM plugin_sends WHERE seq = $1 AND state <> 'waiting'";
    REPLAYS = "SELECT r.id, r.created_at, r.state = 'running' AS held FROM replays r
        WHERE r.created_at >= $1 AND r.created_at < $2 ORDER BY r.created_at LIMIT $3";
    DROP_REPLAY = "DELETE FROM replays WHERE id = $1 AND state <> 'running'";
    /// Removed endpoints that no delivery points at any more. The founding one's place is kept, as at its removal.
    ENDPOINTS = "SELECT e.id, e.created_at FROM endpoints e
        WHERE e.enabled = FALSE AND e.place > 0 AND e.created_at >= $1 AND e.created_at < $2
        AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.endpoint_id = e.id) ORDER BY e.created_at LIMIT $3";
    DROP_ENDPOINT = "DELETE FROM endpoints WHERE id = $1 AND enabled = FALSE AND place > 0
        AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.endpoint_id = endpoints.id)";
}

/// Rows a page looks at.
pub(super) const PAGE: usize = 200;

/// How long one job may keep the writer busy. It holds up everybody else's commit, so it is less than the 5 ms that a
/// batch of the writer takes up jobs.
const SLICE: Duration = Duration::from_millis(3);

/// How long WhatsApp may deliver a message again.
pub(super) const REDELIVERED: Duration = Duration::from_hours(30 * 24);

/// What an event of which only the digest is left still takes, about.
const EMPTY: u64 = 500;

/// What a pass goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Whole events, with what hangs on them. By when they were stored.
    Events,
    /// Events that are worth nothing later, somebody's presence for instance. By when they are to go.
    Fleeting,
    /// What deleted events left behind. By when WhatsApp has forgotten their messages.
    Digests,
    /// Attempts of deliveries. By when they began.
    Attempts,
    /// Replays. By when they were started.
    Replays,
    /// Sends. By when they were asked for.
    Sends,
    /// What plugins asked to be sent. By when they asked.
    PluginSends,
    /// Removed endpoints. By when they were made.
    Endpoints,
}

/// An old row, and whether something unfinished still needs it.
#[derive(Clone, Debug)]
pub(super) struct Row {
    key: Key,
    /// Its age is counted from here.
    pub(super) at: Millis,
    bytes: u64,
    /// It stays, for now.
    pub(super) held: bool,
}

#[derive(Clone, Debug)]
enum Key {
    Event(EventId),
    Fleeting(EventId),
    Digest(EventId),
    Attempt(DeliveryId, i64),
    Replay(ReplayId),
    Send(SessionId, MessageId),
    PluginSend(i64),
    Endpoint(EndpointId),
}

/// What a job deleted, and what it had no time for.
#[derive(Debug)]
pub(super) struct Slice {
    /// Rows that are gone; what went with them is not counted.
    pub(super) gone: u64,
    /// About the bytes they took. Only events are weighed.
    pub(super) bytes: u64,
    /// Rows to go on with.
    pub(super) rest: Vec<Row>,
}

/// The first [`PAGE`] rows from `from` on, oldest first, that are older than `before`.
pub(super) async fn page(store: &Store, kind: Kind, from: Millis, before: Millis) -> Result<Vec<Row>, StoreError> {
    let limit = i64::try_from(PAGE).unwrap_or(i64::MAX);
    let row = |key, at, held| Row { key, at, bytes: 0, held };
    let rows = on!(store.readers(), |db, q| {
        match kind {
            Kind::Events => {
                let page = sqlx::query_as(q(EVENTS)).bind(from).bind(before).bind(limit);
                let page: Vec<(EventId, Millis, i64, bool)> = page.fetch_all(db).await?;
                let weighed = |(id, at, bytes, held): (_, _, i64, _)| Row {
                    bytes: bytes.unsigned_abs(),
                    ..row(Key::Event(id), at, held)
                };
                page.into_iter().map(weighed).collect()
            }
            Kind::Fleeting => {
                let page = sqlx::query_as(q(FLEETING)).bind(from).bind(before).bind(limit);
                let page: Vec<(EventId, Millis, bool)> = page.fetch_all(db).await?;
                page.into_iter().map(|(id, at, held)| row(Key::Fleeting(id), at, held)).collect()
            }
            Kind::Digests => {
                let page = sqlx::query_as(q(DIGESTS)).bind(from).bind(before).bind(limit);
                let page: Vec<(EventId, Millis)> = page.fetch_all(db).await?;
                page.into_iter().map(|(id, at)| row(Key::Digest(id), at, false)).collect()
            }
            Kind::Attempts => {
                let page = sqlx::query_as(q(ATTEMPTS)).bind(from).bind(before).bind(limit);
                let page: Vec<(DeliveryId, i64, Millis, bool)> = page.fetch_all(db).await?;
                page.into_iter().map(|(id, number, at, held)| row(Key::Attempt(id, number), at, held)).collect()
            }
            Kind::Replays => {
                let page = sqlx::query_as(q(REPLAYS)).bind(from).bind(before).bind(limit);
                let page: Vec<(ReplayId, Millis, bool)> = page.fetch_all(db).await?;
                page.into_iter().map(|(id, at, held)| row(Key::Replay(id), at, held)).collect()
            }
            Kind::Sends => {
                let page = sqlx::query_as(q(SENDS)).bind(from).bind(before).bind(limit);
                let page: Vec<(SessionId, MessageId, Millis, bool)> = page.fetch_all(db).await?;
                page.into_iter().map(|(session, id, at, held)| row(Key::Send(session, id), at, held)).collect()
            }
            Kind::PluginSends => {
                let page = sqlx::query_as(q(PLUGIN_SENDS)).bind(from).bind(before).bind(limit);
                let page: Vec<(i64, Millis, bool)> = page.fetch_all(db).await?;
                page.into_iter().map(|(seq, at, held)| row(Key::PluginSend(seq), at, held)).collect()
            }
            Kind::Endpoints => {
                let page = sqlx::query_as(q(ENDPOINTS)).bind(from).bind(before).bind(limit);
                let page: Vec<(EndpointId, Millis)> = page.fetch_all(db).await?;
                page.into_iter().map(|(id, at)| row(Key::Endpoint(id), at, false)).collect()
            }
        }
    });
    Ok(rows)
}

/// Deletes rows in one job, as many as [`SLICE`] leaves time for.
pub(super) async fn delete(store: &Store, rows: Vec<Row>) -> Result<Slice, StoreError> {
    let now = store.clock().now();
    let work = store.write(move |tx| {
        Box::pin(async move {
            let (begun, mut rows) = (Instant::now(), rows.into_iter());
            let (mut gone, mut bytes) = (0, 0);
            while begun.elapsed() < SLICE {
                let Some(row) = rows.next() else { break };
                if let Some(freed) = row.delete(tx, now).await? {
                    gone += 1;
                    bytes += freed;
                }
            }
            Ok(Slice { gone, bytes, rest: rows.collect() })
        })
    });
    work.await
}

impl Row {
    /// Deletes it and answers about how many bytes that frees; `None` when it is not finished any more, or gone already.
    async fn delete(self, tx: &mut Tx, now: Millis) -> Result<Option<u64>, StoreError> {
        let forgotten_at = self.at.after(REDELIVERED);
        let gone = match self.key {
            Key::Event(id) if forgotten_at > now => {
                let empty = empty(tx, &id, forgotten_at).await?;
                return Ok(empty.then(|| self.bytes.saturating_sub(EMPTY)));
            }
            Key::Event(id) | Key::Fleeting(id) => {
                on!(tx, |db, q| { sqlx::query(q(DROP_EVENT)).bind(id).execute(db).await?.rows_affected() })
            }
            Key::Digest(id) => {
                on!(tx, |db, q| { sqlx::query(q(DROP_DIGEST)).bind(id).execute(db).await?.rows_affected() })
            }
            Key::Attempt(id, number) => on!(tx, |db, q| {
                sqlx::query(q(DROP_ATTEMPT)).bind(id).bind(number).execute(db).await?.rows_affected()
            }),
            Key::Replay(id) => {
                on!(tx, |db, q| { sqlx::query(q(DROP_REPLAY)).bind(id).execute(db).await?.rows_affected() })
            }
            Key::Send(session, message) => on!(tx, |db, q| {
                sqlx::query(q(DROP_SEND)).bind(session).bind(message).execute(db).await?.rows_affected()
            }),
            Key::PluginSend(seq) => {
                on!(tx, |db, q| { sqlx::query(q(DROP_PLUGIN_SEND)).bind(seq).execute(db).await?.rows_affected() })
            }
            Key::Endpoint(id) => {
                on!(tx, |db, q| { sqlx::query(q(DROP_ENDPOINT)).bind(id).execute(db).await?.rows_affected() })
            }
        };
        Ok((gone > 0).then_some(self.bytes))
    }
}

/// Leaves nothing of an event but its digest; whether it could go.
async fn empty(tx: &mut Tx, id: &EventId, forgotten_at: Millis) -> Result<bool, StoreError> {
    on!(tx, |db, q| {
        let emptied = sqlx::query(q(EMPTY_EVENT)).bind(forgotten_at).bind(id).execute(&mut *db).await?;
        if emptied.rows_affected() == 0 {
            return Ok(false);
        }
        sqlx::query(q(DROP_DELIVERIES)).bind(id).execute(&mut *db).await?;
        sqlx::query(q(DROP_ROUTING)).bind(id).execute(db).await?;
    });
    Ok(true)
}
