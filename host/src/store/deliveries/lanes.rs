//! Lanes: at a strict endpoint the deliveries of one chat go one after the other.
//!
//! A delivery that is made while another of its chat waits has no time it is due at. When the one before it is delivered,
//! given up or skipped, it gets one. One that is replayed stands where it stood before: it is due at once when it is the
//! first that waits there, and those behind it that are not due yet wait for it too.
//!
//! Invariant: of the deliveries that wait in a lane the first is due.

use crate::model::{Chat, DeliveryOrder, EndpointId, Millis};
use crate::store::StoreError;
use crate::store::pool::{Tx, on};
use crate::store::sql::statements;

statements! {
    /// Changes nothing, and keeps others from the endpoint until this transaction has ended.
    HOLD = "UPDATE endpoints SET sequence = sequence WHERE id = $1";
    /// MySQL changes no table that the statement reads.
    OPEN = "UPDATE deliveries SET due_at = $1 WHERE due_at IS NULL AND seq = (SELECT MIN(w.seq) FROM deliveries w
            WHERE w.endpoint_id = $2 AND w.chat = $3 AND w.state = 'waiting')",
        mysql: "UPDATE deliveries d JOIN (SELECT CAST(? AS SIGNED) AS due) moment JOIN (SELECT MIN(w.seq) AS seq
            FROM deliveries w FORCE INDEX (deliveries_lanes)
            WHERE w.endpoint_id = ? AND w.chat = ? AND w.state = 'waiting') first ON d.seq = first.seq
        SET d.due_at = moment.due WHERE d.due_at IS NULL";
}

/// The lane of a delivery to an endpoint of this order, if it stands in one.
pub(super) fn of<'a>(
    ordering: &str,
    endpoint: &'a EndpointId,
    chat: Option<&'a Chat>,
) -> Option<(&'a EndpointId, &'a Chat)> {
    chat.filter(|_| ordering == DeliveryOrder::Strict.name()).map(|chat| (endpoint, chat))
}

/// Makes the first that waits in a lane due, unless it is: after one has left the lane, or has come back to its place.
/// Another writer may just be adding one behind it, so the endpoint is held, and that transaction waited for.
pub(super) async fn open(tx: &mut Tx, endpoint: &EndpointId, chat: &Chat, now: Millis) -> Result<(), StoreError> {
    on!(tx, |db, q| {
        sqlx::query(q(HOLD)).bind(endpoint).execute(&mut *db).await?;
        sqlx::query(q(OPEN)).bind(now).bind(endpoint).bind(chat).execute(db).await?;
    });
    Ok(())
}
