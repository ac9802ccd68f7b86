//! Deliveries: what was posted, what came of it, and having it posted again.

use axum::Json as Answer;
use axum::extract::State;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::super::Shared;
use super::super::caller::Caller;
use super::super::docs::answers::{Guarded, Named, Parameter};
use super::super::error::ApiError;
use super::super::extract::{DeliveryPath, Query};
use crate::model::{Attempt, AttemptOutcome, DeadWhy, DeliveryId, DeliveryState, ErrorClass, Millis, Shape};
use crate::store::deliveries::{DeliveryFilter, DeliveryRow, Page};

/// Deliveries of a page unless told otherwise, and at most.
pub(super) const USUAL: u32 = 50;
pub(super) const MOST: u32 = 500;

/// Which deliveries, a page of them.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct Listing {
    /// Of this session.
    session: Option<String>,
    /// To this endpoint.
    endpoint: Option<String>,
    /// Of this event.
    event: Option<String>,
    /// In this state: `waiting`, `delivered` or `dead`; several separated by commas.
    state: Option<String>,
    /// Created then or later, milliseconds since 1970.
    from: Option<i64>,
    /// Created before then, milliseconds since 1970.
    until: Option<i64>,
    /// How many, 1 to 500; 50 when left out.
    limit: Option<u32>,
    /// Those older than this delivery: `next` of the page before.
    before: Option<String>,
}

/// A page of deliveries.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct Deliveries {
    /// Newest first.
    deliveries: Vec<ListedDelivery>,
    /// What to ask for as `before` for the next page; null when there is none.
    next: Option<String>,
}

/// A delivery in a list.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct ListedDelivery {
    /// Its id, the header `webhook-id`.
    #[schema(example = "dlv_0198c0ffee007000800000000000c0de")]
    id: String,
    /// The event it carries.
    event_id: String,
    /// The session the event happened on.
    session_id: String,
    /// Where it goes.
    endpoint: String,
    /// The event's kind.
    #[schema(example = "message.received")]
    kind: String,
    /// `waiting`, `delivered` or `dead`.
    #[schema(value_type = String, example = "delivered")]
    state: DeliveryState,
    /// Why it was given up: `exhausted`, every retry failed; `gone`, the receiver answered 410; `skipped` by its owner;
    /// `disabled`, its endpoint was.
    #[schema(value_type = Option<String>)]
    dead_why: Option<DeadWhy>,
    /// Attempts made.
    attempts: u32,
    /// When it is tried next, while it waits, milliseconds since 1970; null there while it stands behind another of its
    /// chat.
    due_at: Option<i64>,
    /// Its number at its endpoint, the header `wagate-sequence`; 0 where none was given.
    sequence: i64,
    /// When it was created, milliseconds since 1970.
    created_at: i64,
    /// When it was delivered or given up, milliseconds since 1970.
    settled_at: Option<i64>,
}

/// A delivery with what is posted and what was tried.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct DeliveryDetail {
    /// Its id, the header `webhook-id`.
    id: String,
    /// The event it carries.
    event_id: String,
    /// The session the event happened on.
    session_id: String,
    /// Where it goes.
    endpoint: String,
    /// The event's kind.
    kind: String,
    /// `waiting`, `delivered` or `dead`.
    #[schema(value_type = String, example = "delivered")]
    state: DeliveryState,
    /// Why it was given up.
    #[schema(value_type = Option<String>)]
    dead_why: Option<DeadWhy>,
    /// When it is tried next, while it waits, milliseconds since 1970.
    due_at: Option<i64>,
    /// Its number at its endpoint.
    sequence: i64,
    /// When it was created, milliseconds since 1970.
    created_at: i64,
    /// When it was delivered or given up, milliseconds since 1970.
    settled_at: Option<i64>,
    /// What is posted, the same on every attempt.
    request: Option<PostedBody>,
    /// What was tried, oldest first.
    attempts: Vec<AttemptBody>,
}

/// What a delivery posts. Signatures and the endpoint's own headers come on top.
#[derive(Serialize, ToSchema)]
#[schema(as = Posted)]
struct PostedBody {
    /// Its content type.
    #[schema(example = "application/json")]
    content_type: String,
    /// Headers that plugins set, as pairs of name and value.
    headers: Vec<(String, String)>,
    /// What follows the endpoint's path.
    path_suffix: String,
    /// The body, where it is text.
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    /// The body in base64, where it is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
}

/// One attempt to post a webhook.
#[derive(Serialize, ToSchema)]
#[schema(as = Attempt)]
pub(in crate::http) struct AttemptBody {
    /// When it started, milliseconds since 1970.
    started_at: i64,
    /// Milliseconds it took.
    took_ms: i64,
    /// The status the receiver answered with.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    /// What went wrong, when there was no answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// The kind of what went wrong: `malformed`, `forbidden`, `dns`, `connect`, `tls`, `timeout`, `broken`, `protocol`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    class: Option<ErrorClass>,
    /// The address that was dialled.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "203.0.113.7:443")]
    address: Option<String>,
    /// Microseconds for the lookup of the name; absent on a connection that was kept open, like the two below.
    #[serde(skip_serializing_if = "Option::is_none")]
    dns_us: Option<i64>,
    /// Microseconds for connecting.
    #[serde(skip_serializing_if = "Option::is_none")]
    connect_us: Option<i64>,
    /// Microseconds for the TLS handshake.
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_us: Option<i64>,
    /// Microseconds from the start to the first byte of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    first_byte_us: Option<i64>,
    /// How the answer's body begins, at most 4 KiB; what is no text in it is replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<String>,
}

/// A delivery that is due again, or was given up.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct DeliveryDone {
    /// Always true.
    #[schema(example = true)]
    success: bool,
    /// The delivery.
    delivery: ListedDelivery,
}

/// List deliveries
///
/// Newest first. The states tell what was delivered, what waits and when it is tried next, and what was given up.
#[utoipa::path(get, path = "/api/deliveries", operation_id = "listDeliveries", tag = "Deliveries",
    params(Listing),
    responses((status = 200, description = "A page", body = Deliveries), Guarded, Parameter))]
pub(in crate::http) async fn list(
    State(site): Shared,
    caller: Caller,
    Query(listing): Query<Listing>,
) -> Result<Answer<Deliveries>, ApiError> {
    let (filter, page) = listing.checked()?;
    let limit = usize::try_from(page.limit).unwrap_or(usize::MAX);
    let rows = site.parts.store.deliveries(caller.scope).list(&filter, page).await?;
    let next = if rows.len() < limit { None } else { rows.last().map(|row| row.id.to_string()) };
    Ok(Answer(Deliveries { deliveries: rows.into_iter().map(ListedDelivery::from).collect(), next }))
}

/// Show a delivery
///
/// What is posted, and every attempt: its phases, the address, the status or the error, and how the answer begins.
#[utoipa::path(get, path = "/api/deliveries/{id}", operation_id = "getDelivery", tag = "Deliveries",
    params(("id" = String, Path, description = "The delivery, the header `webhook-id`")),
    responses((status = 200, description = "The delivery", body = DeliveryDetail), Guarded, Named))]
pub(in crate::http) async fn get(
    State(site): Shared,
    caller: Caller,
    DeliveryPath(id): DeliveryPath,
) -> Result<Answer<DeliveryDetail>, ApiError> {
    let deliveries = site.parts.store.deliveries(caller.scope);
    let row = deliveries.get(&id).await?.ok_or_else(no_delivery)?;
    let shape = deliveries.shape(&id).await?;
    let attempts = deliveries.attempts(&id).await?;
    Ok(Answer(DeliveryDetail::new(row, shape, attempts)))
}

/// Post a delivery again
///
/// The same bytes under the same `webhook-id`, now; one that was delivered or given up begins its schedule of retries anew.
#[utoipa::path(post, path = "/api/deliveries/{id}/replay", operation_id = "replayDelivery", tag = "Deliveries",
    params(("id" = String, Path, description = "The delivery")),
    responses((status = 200, description = "It is due", body = DeliveryDone), Guarded, Named))]
pub(in crate::http) async fn replay(
    State(site): Shared,
    caller: Caller,
    DeliveryPath(id): DeliveryPath,
) -> Result<Answer<DeliveryDone>, ApiError> {
    let deliveries = site.parts.store.deliveries(caller.scope);
    let endpoint = deliveries.replay(&id).await?.ok_or_else(no_delivery)?;
    site.parts.webhooks.wake(&[endpoint]);
    let row = deliveries.get(&id).await?.ok_or_else(no_delivery)?;
    Ok(Answer(DeliveryDone { success: true, delivery: row.into() }))
}

/// Give a delivery up
///
/// One that waits. At an endpoint with strict order the next of its chat goes on.
#[utoipa::path(post, path = "/api/deliveries/{id}/skip", operation_id = "skipDelivery", tag = "Deliveries",
    params(("id" = String, Path, description = "The delivery")),
    responses((status = 200, description = "It is given up", body = DeliveryDone), Guarded, Named))]
pub(in crate::http) async fn skip(
    State(site): Shared,
    caller: Caller,
    DeliveryPath(id): DeliveryPath,
) -> Result<Answer<DeliveryDone>, ApiError> {
    let deliveries = site.parts.store.deliveries(caller.scope);
    let nothing = || ApiError::not_found("no delivery that waits with this id");
    let endpoint = deliveries.skip(&id).await?.ok_or_else(nothing)?;
    site.parts.webhooks.wake(&[endpoint]);
    let row = deliveries.get(&id).await?.ok_or_else(no_delivery)?;
    Ok(Answer(DeliveryDone { success: true, delivery: row.into() }))
}

pub(super) fn no_delivery() -> ApiError {
    ApiError::not_found("no delivery with this id")
}

impl Listing {
    fn checked(self) -> Result<(DeliveryFilter, Page), ApiError> {
        let limit = self.limit.unwrap_or(USUAL);
        if !(1..=MOST).contains(&limit) {
            return Err(ApiError::bad_request("invalid_query", "limit: must be 1 to 500"));
        }
        let before: Option<DeliveryId> = self.before.as_deref().map(|id| parsed("before", id)).transpose()?;
        let filter = DeliveryFilter {
            ids: Vec::new(),
            endpoint: self.endpoint.as_deref().map(|id| parsed("endpoint", id)).transpose()?,
            session: self.session.as_deref().map(|id| parsed("session", id)).transpose()?,
            event: self.event.as_deref().map(|id| parsed("event", id)).transpose()?,
            states: states_named(self.state.as_deref())?,
            from: self.from.map(Millis),
            until: self.until.map(Millis),
        };
        Ok((filter, Page { before, limit }))
    }
}

/// An id that a request names.
pub(in crate::http) fn parsed<T: std::str::FromStr>(field: &str, id: &str) -> Result<T, ApiError> {
    id.parse().map_err(|_| ApiError::bad_request("invalid_query", format!("{field}: {id:?} is no id")))
}

/// The states that a request names, separated by commas; none of them for any.
pub(super) fn states_named(names: Option<&str>) -> Result<Vec<DeliveryState>, ApiError> {
    let names = names.unwrap_or_default().split(',').map(str::trim);
    names.filter(|name| !name.is_empty()).map(state_named).collect()
}

fn state_named(name: &str) -> Result<DeliveryState, ApiError> {
    let states = [DeliveryState::Waiting, DeliveryState::Delivered, DeliveryState::Dead];
    let state = states.into_iter().find(|state| state.name() == name);
    let message = format!("state: {name:?} is none of waiting, delivered and dead");
    state.ok_or_else(|| ApiError::bad_request("invalid_query", message))
}

impl From<DeliveryRow> for ListedDelivery {
    fn from(row: DeliveryRow) -> Self {
        Self {
            id: row.id.into(),
            event_id: row.event.into(),
            session_id: row.session.to_string(),
            endpoint: row.endpoint.into(),
            kind: row.kind,
            state: row.state,
            dead_why: row.dead_why,
            attempts: row.attempts,
            due_at: row.due_at.map(|at| at.0),
            sequence: row.sequence,
            created_at: row.created_at.0,
            settled_at: row.settled_at.map(|at| at.0),
        }
    }
}

impl DeliveryDetail {
    fn new(row: DeliveryRow, shape: Option<Shape>, attempts: Vec<Attempt>) -> Self {
        Self {
            id: row.id.into(),
            event_id: row.event.into(),
            session_id: row.session.to_string(),
            endpoint: row.endpoint.into(),
            kind: row.kind,
            state: row.state,
            dead_why: row.dead_why,
            due_at: row.due_at.map(|at| at.0),
            sequence: row.sequence,
            created_at: row.created_at.0,
            settled_at: row.settled_at.map(|at| at.0),
            request: shape.map(PostedBody::from),
            attempts: attempts.into_iter().map(AttemptBody::from).collect(),
        }
    }
}

impl From<Shape> for PostedBody {
    fn from(shape: Shape) -> Self {
        let Shape { body, content_type, headers, path_suffix } = shape;
        let text = std::str::from_utf8(&body).ok().map(str::to_owned);
        let body_base64 = text.is_none().then(|| STANDARD.encode(&body));
        Self { content_type, headers, path_suffix, body: text, body_base64 }
    }
}

impl From<Attempt> for AttemptBody {
    fn from(attempt: Attempt) -> Self {
        let (status, error, class) = match attempt.outcome {
            AttemptOutcome::Accepted { status } | AttemptOutcome::Refused { status } => (Some(status), None, None),
            AttemptOutcome::Unanswered { class, error } => (None, Some(error), Some(class)),
        };
        let answer = (!attempt.answer.is_empty()).then(|| String::from_utf8_lossy(&attempt.answer).into_owned());
        Self {
            started_at: attempt.started_at.0,
            took_ms: attempt.took_ms,
            status,
            error,
            class,
            address: attempt.address.map(|address| address.to_string()),
            dns_us: attempt.phases.dns_us,
            connect_us: attempt.phases.connect_us,
            tls_us: attempt.phases.tls_us,
            first_byte_us: attempt.phases.first_byte_us,
            answer,
        }
    }
}
