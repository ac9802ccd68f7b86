//! Deliveries: station three of the incoming journey. What waits is read by [`Deliveries::due`], endpoint by endpoint, and
//! what came of an attempt is written by [`settle`]; [`attempts`] are their log, [`lanes`] keep order at endpoints that ask
//! for it, [`look`] shows them to their owner, [`again`] makes them wait once more.
//!
//! No claim is written. One gateway leads on a database (`leader.rs`), so the one deliverer knows by itself what it has
//! under way; one that was replaced reads nothing any more. A process that is killed leaves its rows as they were.
//!
//! Invariant: a delivery is settled only as it was read: while it waits, and after as many attempts.

pub(in crate::store) mod again;
pub(in crate::store) mod attempts;
pub(in crate::store) mod lanes;
pub(in crate::store) mod look;
pub(in crate::store) mod settle;
mod shape;

use sqlx::FromRow;

use super::column::count;
use super::pool::on;
use super::sql::statements;
use super::{Store, StoreError};
use crate::model::{Chat, Delivery, DeliveryId, EndpointId, EventId, Millis, Scope, SessionId};

pub(in crate::store) use look::push_filter;
pub use look::{DeliveryFilter, DeliveryRow, Page};
pub(in crate::store) use settle::Settling;
pub use settle::{Settled, Settlement};
pub(in crate::store) use shape::ShapeRow;

statements! {
    /// One place of the index for each endpoint, however many wait there.
    WAITING = "SELECT n.id, (SELECT d.due_at FROM deliveries d WHERE d.endpoint_id = n.id AND d.state = 'waiting'
            AND d.due_at IS NOT NULL ORDER BY d.due_at LIMIT 1) AS due
        FROM endpoints n WHERE n.owner BETWEEN $1 AND $2 AND n.enabled AND n.disabled_why IS NULL",
        mysql: "SELECT n.id, (SELECT d.due_at FROM deliveries d FORCE INDEX (deliveries_due)
            WHERE d.endpoint_id = n.id AND d.state = 'waiting' AND d.due_at IS NOT NULL
            ORDER BY d.due_at LIMIT 1) AS due
        FROM endpoints n WHERE n.owner BETWEEN ? AND ? AND n.enabled AND n.disabled_why IS NULL";
    /// Nothing, once another gateway leads.
    DUE = "SELECT d.id, d.event_id, d.session_id, d.endpoint_id, d.chat, d.sequence, d.body, d.body_bytes, d.content_type,
            d.headers, d.path_suffix, d.attempts, d.replayed_from, d.created_at
        FROM deliveries d WHERE d.endpoint_id = $1 AND d.state = 'waiting' AND d.due_at <= $2
        AND EXISTS (SELECT 1 FROM endpoints n WHERE n.id = $3 AND n.enabled AND n.owner BETWEEN $4 AND $5)
        AND NOT EXISTS (SELECT 1 FROM leadership l WHERE l.epoch > $6)
        ORDER BY d.due_at, d.seq LIMIT $7",
        mysql: "SELECT d.id, d.event_id, d.session_id, d.endpoint_id, d.chat, d.sequence, d.body, d.body_bytes, d.content_type,
            d.headers, d.path_suffix, d.attempts, d.replayed_from, d.created_at
        FROM deliveries d FORCE INDEX (deliveries_due)
        WHERE d.endpoint_id = ? AND d.state = 'waiting' AND d.due_at <= ?
        AND EXISTS (SELECT 1 FROM endpoints n WHERE n.id = ? AND n.enabled AND n.owner BETWEEN ? AND ?)
        AND NOT EXISTS (SELECT 1 FROM leadership l WHERE l.epoch > ?)
        ORDER BY d.due_at, d.seq LIMIT ?";
    NEXT_DUE = "SELECT d.due_at FROM deliveries d WHERE d.endpoint_id = $1 AND d.state = 'waiting' AND d.due_at > $2
        AND EXISTS (SELECT 1 FROM endpoints n WHERE n.id = $3 AND n.owner BETWEEN $4 AND $5)
        ORDER BY d.due_at LIMIT 1";
}

/// Calls on deliveries within a scope.
#[derive(Debug)]
pub struct Deliveries<'a>(pub(super) &'a Store, pub(super) Scope);

impl Deliveries<'_> {
    /// The endpoints in use for which deliveries wait, each with the moment its first one is due.
    pub async fn waiting_endpoints(&self) -> Result<Vec<(EndpointId, Millis)>, StoreError> {
        let (low, high) = self.1.owners();
        let rows: Vec<(EndpointId, Option<Millis>)> =
            on!(self.0.readers(), |db, q| { sqlx::query_as(q(WAITING)).bind(low).bind(high).fetch_all(db).await? });
        Ok(rows.into_iter().filter_map(|(endpoint, due)| Some((endpoint, due?))).collect())
    }

    /// Up to `limit` deliveries of an endpoint that are due, those due first first; none of an endpoint that was removed,
    /// and none once another gateway leads.
    pub async fn due(&self, endpoint: &EndpointId, limit: u32) -> Result<Vec<Delivery>, StoreError> {
        let ((low, high), now, epoch) = (self.1.owners(), self.0.clock().now(), self.0.epoch());
        let rows: Vec<DueRow> = on!(self.0.readers(), |db, q| {
            let due = sqlx::query_as(q(DUE)).bind(endpoint).bind(now).bind(endpoint).bind(low).bind(high);
            due.bind(epoch).bind(i64::from(limit)).fetch_all(db).await?
        });
        rows.into_iter().map(DueRow::into_delivery).collect()
    }

    /// When the next delivery of an endpoint is due after this moment; `None` when none is.
    pub async fn next_due(&self, endpoint: &EndpointId, after: Millis) -> Result<Option<Millis>, StoreError> {
        let (low, high) = self.1.owners();
        let due = on!(self.0.readers(), |db, q| {
            let next = sqlx::query_scalar(q(NEXT_DUE)).bind(endpoint).bind(after).bind(endpoint).bind(low).bind(high);
            next.fetch_optional(db).await?
        });
        Ok(due)
    }
}

#[derive(FromRow)]
struct DueRow {
    id: DeliveryId,
    event_id: EventId,
    session_id: SessionId,
    endpoint_id: EndpointId,
    chat: Option<Chat>,
    sequence: i64,
    #[sqlx(flatten)]
    shape: ShapeRow,
    attempts: i64,
    replayed_from: i64,
    created_at: Millis,
}

impl DueRow {
    fn into_delivery(self) -> Result<Delivery, StoreError> {
        Ok(Delivery {
            id: self.id,
            event: self.event_id,
            session: self.session_id,
            endpoint: self.endpoint_id,
            chat: self.chat,
            sequence: self.sequence,
            shape: self.shape.into_shape()?,
            attempts: count(self.attempts),
            replayed_from: count(self.replayed_from),
            created_at: self.created_at,
        })
    }
}
