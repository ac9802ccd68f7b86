//! Deliveries that wait once more, or are waited for no longer, because their owner says so.
//!
//! One that waits again is due now. At a strict endpoint it first takes its old place in its lane, and is due when it is
//! the first there: what is replayed comes in the order of its chat like everything else.
//!
//! Invariant: what is delivered again is the same bytes under the same id.

use std::collections::BTreeSet;

use sqlx::FromRow;

use super::{Deliveries, ShapeRow, lanes};
use crate::model::{Chat, DeadWhy, DeliveryId, EndpointId, Event, Millis, Shape};
use crate::store::events::identity::digest;
use crate::store::pool::{Tx, on};
use crate::store::sql::statements;
use crate::store::{StoreError, sessions};

statements! {
    /// Its schedule begins anew, unless it waits. Nothing, when it changed since it was looked at, or when its endpoint was
    /// removed.
    AGAIN = "UPDATE deliveries SET due_at = $1,
            replayed_from = CASE WHEN state = 'waiting' THEN replayed_from ELSE attempts END,
            state = 'waiting', dead_why = NULL, settled_at = NULL
        WHERE id = $2 AND state = $3
        AND EXISTS (SELECT 1 FROM endpoints n WHERE n.id = deliveries.endpoint_id AND n.enabled)";
    PLACE = "SELECT d.id, d.endpoint_id, d.chat, d.state, n.ordering
        FROM deliveries d JOIN endpoints n ON n.id = d.endpoint_id
        WHERE n.enabled AND n.owner BETWEEN $1 AND $2 AND d.id = $3";
    SKIP = "UPDATE deliveries SET state = 'dead', dead_why = $1, settled_at = $2 WHERE id = $3 AND state = 'waiting'";
    NUMBER = "UPDATE endpoints SET sequence = sequence + 1 WHERE id = $1 AND enabled
        AND owner = (SELECT s.owner FROM sessions s WHERE s.id = $2)";
    EVENT = "INSERT INTO events (id, session_id, kind, dedup, payload, stored_at, routed_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7)";
    DELIVERY = "INSERT INTO deliveries (id, session_id, event_id, endpoint_id, sequence, state, due_at, attempts, body,
            body_bytes, content_type, headers, path_suffix, created_at)
        SELECT $1, e.session_id, e.id, n.id, n.sequence, 'waiting', $2, 0, $3, $4, $5, $6, $7, $8
        FROM events e JOIN endpoints n ON n.id = $9 WHERE e.id = $10";
}

/// Where a delivery stands that is looked at to be changed.
#[derive(Clone, Debug, FromRow)]
pub(in crate::store) struct PlaceRow {
    id: DeliveryId,
    endpoint_id: EndpointId,
    chat: Option<Chat>,
    state: String,
    /// Null when the endpoint was removed.
    ordering: Option<String>,
}

impl PlaceRow {
    /// The lane it stands in, if it stands in one.
    fn lane(&self) -> Option<(&EndpointId, &Chat)> {
        lanes::of(self.ordering.as_deref()?, &self.endpoint_id, self.chat.as_ref())
    }
}

impl Deliveries<'_> {
    /// Makes a delivery due now: one that was delivered or given up waits once more, and its schedule of retries begins
    /// anew. At a strict endpoint it is due when none of its chat stands before it. Answers its endpoint; `None` when there
    /// is no such delivery, or its endpoint was removed.
    pub async fn replay(&self, id: &DeliveryId) -> Result<Option<EndpointId>, StoreError> {
        let (owners, now, id) = (self.1.owners(), self.0.clock().now(), id.clone());
        let work = self.0.write(move |tx| {
            Box::pin(async move {
                let Some(place) = find(tx, owners, &id).await? else { return Ok(None) };
                Ok(make(tx, std::slice::from_ref(&place), now).await?.pop())
            })
        });
        work.await
    }

    /// Gives up a delivery that waits; at a strict endpoint the next of its chat becomes due. Answers its endpoint; `None`
    /// when there is none that waits under this id.
    pub async fn skip(&self, id: &DeliveryId) -> Result<Option<EndpointId>, StoreError> {
        let (owners, now, id) = (self.1.owners(), self.0.clock().now(), id.clone());
        let work = self.0.write(move |tx| {
            Box::pin(async move {
                let Some(place) = find(tx, owners, &id).await? else { return Ok(None) };
                let skipped = on!(&mut *tx, |db, q| {
                    let skip = sqlx::query(q(SKIP)).bind(DeadWhy::Skipped.name()).bind(now).bind(&id);
                    skip.execute(db).await?.rows_affected()
                });
                if skipped == 0 {
                    return Ok(None);
                }
                if let Some((endpoint, chat)) = place.lane() {
                    lanes::open(tx, endpoint, chat, now).await?;
                }
                Ok(Some(place.endpoint_id))
            })
        });
        work.await
    }

    /// Stores an event that was made up to try an endpoint out, and its delivery there, past the plugins and past the
    /// endpoint's filter. `None` when the scope has no such session, or its owner no such endpoint.
    pub async fn add_test(
        &self,
        endpoint: &EndpointId,
        event: &Event,
        shape: Shape,
    ) -> Result<Option<DeliveryId>, StoreError> {
        let (scope, now, id, endpoint) = (self.1, event.stored_at, DeliveryId::new(), endpoint.clone());
        let (event, kind, shape) = (event.clone(), event.kind(), ShapeRow::of(shape)?);
        let payload = event.what.payload().map_err(|error| sqlx::Error::Encode(error.into()))?;
        let dedup = digest(&["test", event.id.as_str()]);
        let work = self.0.write(move |tx| {
            Box::pin(async move {
                if !sessions::is_visible(tx, scope, &event.session).await? {
                    return Ok(None);
                }
                let ShapeRow { body, body_bytes, content_type, headers, path_suffix } = shape;
                on!(tx, |db, q| {
                    let number = sqlx::query(q(NUMBER)).bind(&endpoint).bind(&event.session);
                    if number.execute(&mut *db).await?.rows_affected() == 0 {
                        return Ok(None);
                    }
                    let add = sqlx::query(q(EVENT)).bind(&event.id).bind(&event.session).bind(kind);
                    add.bind(dedup.to_vec()).bind(payload).bind(now).bind(now).execute(&mut *db).await?;
                    let add = sqlx::query(q(DELIVERY)).bind(&id).bind(now).bind(body).bind(body_bytes);
                    let add = add.bind(content_type).bind(headers).bind(path_suffix).bind(now);
                    add.bind(&endpoint).bind(&event.id).execute(db).await?;
                });
                Ok(Some(id))
            })
        });
        work.await
    }
}

/// A delivery whose endpoint was not removed.
async fn find(tx: &mut Tx, (low, high): (i64, i64), id: &DeliveryId) -> Result<Option<PlaceRow>, StoreError> {
    let place: Option<PlaceRow> =
        on!(tx, |db, q| { sqlx::query_as(q(PLACE)).bind(low).bind(high).bind(id).fetch_optional(db).await? });
    Ok(place)
}

/// Makes deliveries wait again, as they were found; the endpoints they are for. What has changed since is left as it is.
pub(in crate::store) async fn make(
    tx: &mut Tx,
    places: &[PlaceRow],
    now: Millis,
) -> Result<Vec<EndpointId>, StoreError> {
    let (mut endpoints, mut entered) = (BTreeSet::new(), BTreeSet::new());
    for place in places {
        let lane = place.lane();
        let due = lane.is_none().then_some(now);
        let made = on!(&mut *tx, |db, q| {
            let again = sqlx::query(q(AGAIN)).bind(due).bind(&place.id).bind(&place.state);
            again.execute(db).await?.rows_affected()
        });
        if made == 1 {
            endpoints.insert(&place.endpoint_id);
            entered.extend(lane);
        }
    }
    for (endpoint, chat) in entered {
        lanes::open(tx, endpoint, chat, now).await?;
    }
    Ok(endpoints.into_iter().cloned().collect())
}
