//! Deliveries and their attempts: station three of the incoming journey.
//!
//! A claim takes a delivery until its lease ends and raises its epoch. Whoever settles names the epoch of the claim,
//! so that a claimer who was too slow changes nothing.
//!
//! A claim is two statements, however many deliveries it takes: one moves their `due_at` to the end of the lease and
//! leaves the claim's mark on them, one reads what bears the mark. Where two gateways on one database pick the same row,
//! the second finds it moved and leaves it.

use std::string::FromUtf8Error;
use std::time::Duration;

use sqlx::FromRow;

use super::column::{count, json, parsed, text, unknown};
use super::endpoints::EndpointRow;
use super::pool::on;
use super::sql::statements;
use super::{Store, StoreError};
use crate::model::{
    Attempt, AttemptOutcome, Delivery, DeliveryId, DeliveryState, EndpointId, EventId, Millis, Scope, SessionId, Shape,
};

statements! {
    /// MySQL's planner would begin with the sessions and sort a million rows; its text fixes the order and the index.
    CLAIM = "WITH page AS (SELECT d.seq, d.due_at FROM deliveries d WHERE d.state = 'waiting' AND d.due_at <= $1
            AND EXISTS (SELECT 1 FROM sessions s WHERE s.owner BETWEEN $2 AND $3 AND s.id = d.session_id)
            ORDER BY d.due_at, d.seq LIMIT $4)
        UPDATE deliveries SET leased_from = COALESCE(deliveries.leased_from, page.due_at), due_at = $5,
            epoch = deliveries.epoch + 1, claim = $6
        FROM page WHERE deliveries.seq = page.seq AND deliveries.state = 'waiting' AND deliveries.due_at = page.due_at",
        mysql: "UPDATE (SELECT d.seq, d.due_at FROM deliveries d FORCE INDEX (deliveries_due)
                STRAIGHT_JOIN sessions s ON s.id = d.session_id
            WHERE d.state = 'waiting' AND d.due_at <= ? AND s.owner BETWEEN ? AND ?
            ORDER BY d.due_at, d.seq LIMIT ?) AS page
            STRAIGHT_JOIN deliveries w ON w.seq = page.seq
        SET w.leased_from = COALESCE(w.leased_from, page.due_at), w.due_at = ?, w.epoch = w.epoch + 1, w.claim = ?
        WHERE w.state = 'waiting' AND w.due_at = page.due_at";
    CLAIMED = "SELECT d.id, d.event_id, d.body, d.body_bytes, d.content_type, d.headers, d.path_suffix, d.attempts, d.epoch,
        d.created_at, d.session_id, d.endpoint_id, e.name, e.url, e.secret
        FROM deliveries d JOIN endpoints e ON e.id = d.endpoint_id
        WHERE d.state = 'waiting' AND d.due_at = $1 AND d.claim = $2 ORDER BY d.leased_from, d.seq";
    RELEASE = "UPDATE deliveries SET due_at = leased_from, leased_from = NULL
        WHERE state = 'waiting' AND leased_from IS NOT NULL
        AND session_id IN (SELECT id FROM sessions WHERE owner BETWEEN $1 AND $2)";
    SETTLE = "UPDATE deliveries SET state = $1, due_at = COALESCE($2, due_at), leased_from = NULL, attempts = attempts + 1
        WHERE id = $3 AND epoch = $4 AND state = 'waiting'
        AND EXISTS (SELECT 1 FROM sessions s WHERE s.owner BETWEEN $5 AND $6 AND s.id = deliveries.session_id)";
    LOG = "INSERT INTO attempts (delivery_id, number, started_at, took_ms, outcome, status, error)
        SELECT id, attempts, $1, $2, $3, $4, $5 FROM deliveries WHERE id = $6";
    NEXT_DUE = "SELECT d.due_at FROM deliveries d WHERE d.state = 'waiting'
        AND EXISTS (SELECT 1 FROM sessions s WHERE s.owner BETWEEN $1 AND $2 AND s.id = d.session_id)
        ORDER BY d.due_at LIMIT 1",
        mysql: "SELECT d.due_at FROM deliveries d FORCE INDEX (deliveries_due)
            STRAIGHT_JOIN sessions s ON s.id = d.session_id
        WHERE d.state = 'waiting' AND s.owner BETWEEN ? AND ? ORDER BY d.due_at LIMIT 1";
    LIST = "SELECT d.id, d.endpoint_id, d.state, d.attempts, COALESCE(d.leased_from, d.due_at) AS due_at
        FROM deliveries d JOIN sessions s ON s.id = d.session_id
        WHERE s.owner BETWEEN $1 AND $2 AND d.session_id = $3 ORDER BY d.seq DESC LIMIT $4";
    OF_EVENT = "SELECT d.id, d.endpoint_id, d.state, d.attempts, COALESCE(d.leased_from, d.due_at) AS due_at
        FROM deliveries d JOIN sessions s ON s.id = d.session_id
        WHERE s.owner BETWEEN $1 AND $2 AND d.event_id = $3 ORDER BY d.seq";
    ATTEMPTS = "SELECT a.started_at, a.took_ms, a.outcome, a.status, a.error FROM attempts a
        JOIN deliveries d ON d.id = a.delivery_id JOIN sessions s ON s.id = d.session_id
        WHERE s.owner BETWEEN $1 AND $2 AND a.delivery_id = $3 ORDER BY a.number";
}

/// Calls on deliveries within a scope.
#[derive(Debug)]
pub struct Deliveries<'a>(pub(super) &'a Store, pub(super) Scope);

/// What becomes of a delivery after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// The receiver has it.
    Delivered,
    /// Try again at this moment.
    Retry(Millis),
    /// Give up.
    Dead,
}

/// A delivery as its owner sees it in a list.
#[derive(Clone, Debug)]
pub struct DeliveryRow {
    /// Its id.
    pub id: DeliveryId,
    /// Where it goes.
    pub endpoint: EndpointId,
    /// Where it stands.
    pub state: DeliveryState,
    /// Attempts made.
    pub attempts: u32,
    /// When it is due next, while waiting; in the past while an attempt is under way.
    pub due_at: Option<Millis>,
}

impl Deliveries<'_> {
    /// Claims up to `limit` due deliveries for `lease`, oldest due first; raises each one's epoch.
    ///
    /// A delivery whose endpoint cannot be read is logged, left out, and comes up again when its lease has ended.
    pub async fn claim(&self, limit: u32, lease: Duration) -> Result<Vec<Delivery>, StoreError> {
        let ((low, high), now) = (self.1.owners(), self.0.clock().now());
        let (until, mark): (Millis, i64) = (now.after(lease), rand::random());
        let work = self.0.write(move |tx| {
            Box::pin(async move {
                let claimed: Vec<ClaimedRow> = on!(tx, |db, q| {
                    let claim = sqlx::query(q(CLAIM)).bind(now).bind(low).bind(high).bind(i64::from(limit));
                    if claim.bind(until).bind(mark).execute(&mut *db).await?.rows_affected() == 0 {
                        return Ok(Vec::new());
                    }
                    sqlx::query_as(q(CLAIMED)).bind(until).bind(mark).fetch_all(db).await?
                });
                Ok(claimed)
            })
        });
        let readable = |row: ClaimedRow| {
            let id = row.id.clone();
            let failed =
                |error: &StoreError| tracing::error!(delivery = %id, %error, "a delivery's endpoint cannot be read");
            row.into_delivery(self.0).inspect_err(failed).ok()
        };
        Ok(work.await?.into_iter().filter_map(readable).collect())
    }

    /// Records an attempt and what becomes of the delivery, in one transaction. Answers `false`, and changes nothing,
    /// when the claim is no longer the newest.
    pub async fn settle(
        &self,
        delivery: &DeliveryId,
        epoch: i64,
        attempt: &Attempt,
        then: Settlement,
    ) -> Result<bool, StoreError> {
        let ((low, high), id, attempt) = (self.1.owners(), delivery.clone(), attempt.clone());
        let (state, due) = match then {
            Settlement::Delivered => (DeliveryState::Delivered, None),
            Settlement::Retry(at) => (DeliveryState::Waiting, Some(at)),
            Settlement::Dead => (DeliveryState::Dead, None),
        };
        let work = self.0.write(move |tx| {
            Box::pin(async move {
                let (outcome, status, error) = columns(attempt.outcome);
                on!(tx, |db, q| {
                    let settle = sqlx::query(q(SETTLE)).bind(state.name()).bind(due).bind(&id).bind(epoch);
                    if settle.bind(low).bind(high).execute(&mut *db).await?.rows_affected() == 0 {
                        return Ok(false);
                    }
                    let log = sqlx::query(q(LOG)).bind(attempt.started_at).bind(attempt.took_ms).bind(outcome);
                    log.bind(status).bind(error).bind(&id).execute(db).await?;
                });
                Ok(true)
            })
        });
        work.await
    }

    /// When the next waiting delivery may be claimed; `None` when none waits. For one that is being attempted that is
    /// the end of its lease.
    pub async fn next_due(&self) -> Result<Option<Millis>, StoreError> {
        let (low, high) = self.1.owners();
        let due = on!(self.0.readers(), |db, q| {
            sqlx::query_scalar(q(NEXT_DUE)).bind(low).bind(high).fetch_optional(db).await?
        });
        Ok(due)
    }

    /// A session's deliveries, newest first.
    pub async fn list(&self, session: &SessionId, limit: u32) -> Result<Vec<DeliveryRow>, StoreError> {
        let (low, high) = self.1.owners();
        let rows: Vec<ListRow> = on!(self.0.readers(), |db, q| {
            let list = sqlx::query_as(q(LIST)).bind(low).bind(high).bind(session).bind(i64::from(limit));
            list.fetch_all(db).await?
        });
        rows.into_iter().map(ListRow::into_row).collect()
    }

    /// The deliveries of an event, oldest first.
    pub async fn of_event(&self, event: &EventId) -> Result<Vec<DeliveryRow>, StoreError> {
        let (low, high) = self.1.owners();
        let rows: Vec<ListRow> = on!(self.0.readers(), |db, q| {
            sqlx::query_as(q(OF_EVENT)).bind(low).bind(high).bind(event).fetch_all(db).await?
        });
        rows.into_iter().map(ListRow::into_row).collect()
    }

    /// The attempts of a delivery, oldest first.
    pub async fn attempts(&self, delivery: &DeliveryId) -> Result<Vec<Attempt>, StoreError> {
        let (low, high) = self.1.owners();
        let rows: Vec<AttemptRow> = on!(self.0.readers(), |db, q| {
            sqlx::query_as(q(ATTEMPTS)).bind(low).bind(high).bind(delivery).fetch_all(db).await?
        });
        rows.into_iter().map(AttemptRow::into_attempt).collect()
    }

    /// Ends every lease, so that its delivery is due at once; answers how many there were. For the start of a gateway: it
    /// leads on its database (`store/leader.rs`), so whoever claimed before it is gone or writes nothing more, and what
    /// such a one still posts it cannot settle.
    pub async fn release_leases(&self) -> Result<u64, StoreError> {
        let (low, high) = self.1.owners();
        let work = self.0.write(move |tx| {
            Box::pin(async move {
                let ended = on!(tx, |db, q| {
                    sqlx::query(q(RELEASE)).bind(low).bind(high).execute(db).await?.rows_affected()
                });
                Ok(ended)
            })
        });
        work.await
    }
}

#[derive(FromRow)]
struct ClaimedRow {
    id: DeliveryId,
    event_id: EventId,
    #[sqlx(flatten)]
    shape: ShapeRow,
    attempts: i64,
    epoch: i64,
    created_at: Millis,
    #[sqlx(flatten)]
    endpoint: EndpointRow,
}

impl ClaimedRow {
    /// The delivery under the claim that has just been made.
    fn into_delivery(self, store: &Store) -> Result<Delivery, StoreError> {
        let Self { id, event_id: event, shape, attempts, epoch, created_at, endpoint } = self;
        let (endpoint, shape) = (endpoint.open(store.vault())?, shape.into_shape()?);
        Ok(Delivery { id, event, endpoint, shape, attempts: count(attempts), epoch, created_at })
    }
}

/// A shape as its columns. Text stays readable; what is no text, or holds a NUL, which not every engine takes in one, is
/// kept as bytes beside an empty text.
#[derive(Clone, Debug, FromRow)]
pub(super) struct ShapeRow {
    pub(super) body: String,
    pub(super) body_bytes: Option<Vec<u8>>,
    pub(super) content_type: String,
    pub(super) headers: Option<String>,
    pub(super) path_suffix: String,
}

impl ShapeRow {
    pub(super) fn of(shape: Shape) -> Result<Self, StoreError> {
        let Shape { body, content_type, headers, path_suffix } = shape;
        let body = String::from_utf8(body.into()).map_err(FromUtf8Error::into_bytes);
        let (body, body_bytes) = match body {
            Ok(body) if body.contains('\0') => (String::new(), Some(body.into_bytes())),
            Ok(body) => (body, None),
            Err(bytes) => (String::new(), Some(bytes)),
        };
        let headers = (!headers.is_empty()).then(|| json(&headers)).transpose()?;
        let [content_type, path_suffix] = [content_type, path_suffix].map(|foreign| text(&foreign).into_owned());
        Ok(Self { body, body_bytes, content_type, headers, path_suffix })
    }

    fn into_shape(self) -> Result<Shape, StoreError> {
        let Self { body, body_bytes, content_type, headers, path_suffix } = self;
        let headers = headers.as_deref().map(parsed).transpose()?.unwrap_or_default();
        Ok(Shape { body: body_bytes.unwrap_or(body.into_bytes()).into(), content_type, headers, path_suffix })
    }
}

#[derive(FromRow)]
struct ListRow {
    id: DeliveryId,
    endpoint_id: EndpointId,
    state: String,
    attempts: i64,
    due_at: Millis,
}

impl ListRow {
    fn into_row(self) -> Result<DeliveryRow, StoreError> {
        let Self { id, endpoint_id: endpoint, state, attempts, due_at } = self;
        let state = state_named(&state)?;
        let due_at = (state == DeliveryState::Waiting).then_some(due_at);
        Ok(DeliveryRow { id, endpoint, state, attempts: count(attempts), due_at })
    }
}

#[derive(FromRow)]
struct AttemptRow {
    started_at: Millis,
    took_ms: i64,
    outcome: String,
    status: Option<i64>,
    error: Option<String>,
}

impl AttemptRow {
    fn into_attempt(self) -> Result<Attempt, StoreError> {
        let Self { started_at, took_ms, outcome, status, error } = self;
        let status = status.and_then(|status| u16::try_from(status).ok());
        let outcome = match (outcome.as_str(), status, error) {
            ("accepted", Some(status), _) => AttemptOutcome::Accepted { status },
            ("refused", Some(status), _) => AttemptOutcome::Refused { status },
            ("unanswered", _, Some(error)) => AttemptOutcome::Unanswered { error },
            _ => return Err(unknown("attempt outcome", &outcome)),
        };
        Ok(Attempt { started_at, took_ms, outcome })
    }
}

/// An outcome as its columns: name, status, error.
fn columns(outcome: AttemptOutcome) -> (&'static str, Option<i64>, Option<String>) {
    match outcome {
        AttemptOutcome::Accepted { status } => ("accepted", Some(i64::from(status)), None),
        AttemptOutcome::Refused { status } => ("refused", Some(i64::from(status)), None),
        AttemptOutcome::Unanswered { error } => ("unanswered", None, Some(text(&error).into_owned())),
    }
}

fn state_named(name: &str) -> Result<DeliveryState, StoreError> {
    let states = [DeliveryState::Waiting, DeliveryState::Delivered, DeliveryState::Dead];
    states.into_iter().find(|state| state.name() == name).ok_or_else(|| unknown("delivery state", name))
}
