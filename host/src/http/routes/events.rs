//! What happened, page by page; and where a message is: stored, each plugin's verdict, each delivery and its attempts.

use axum::Json as Answer;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::super::caller::Caller;
use super::super::docs::answers::{Guarded, Named, Parameter};
use super::super::error::ApiError;
use super::super::extract::{EventPath, MessagePath, Query};
use super::super::{Shared, Site};
use super::deliveries::{AttemptBody, MOST, USUAL, parsed};
use super::endpoints::body::checked_events;
use super::plugins::StepBody;
use crate::model::{Attempt, DeliveryState, Event, EventId, Labels, Scope, SessionId};
use crate::store::deliveries::DeliveryRow;
use crate::store::events::{EventPage, RoutingRow, Wanted};
use crate::store::plugin_sends::SendRow;

/// Which events, a page of them.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct Listing {
    /// Those of this session.
    #[param(example = "1234567890")]
    session: Option<String>,
    /// Kinds separated by commas, families included, such as `message.*,session.status`; all when left out.
    #[param(example = "message.*")]
    events: Option<String>,
    /// How many, 1 to 500; 50 when left out.
    limit: Option<u32>,
    /// Those older than this event: `next` of the page before.
    before: Option<String>,
}

/// A page of events.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct EventList {
    /// The events as plugins see them, without labels; newest first.
    #[schema(value_type = Vec<Object>)]
    events: Vec<Value>,
    /// What to ask for as `before` for the next page; null when there is none.
    next: Option<String>,
}

/// The way of one event.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct Trace {
    /// The event as plugins see it.
    #[schema(value_type = Object)]
    event: Value,
    /// How its plugins routed it; null when it has not been routed yet, or met no plugin.
    routing: Option<RoutingBody>,
    /// Its webhooks, oldest first.
    deliveries: Vec<DeliveryBody>,
    /// The messages plugins asked for on it.
    sends: Vec<QueuedBody>,
}

/// How an event was routed.
#[derive(Serialize, ToSchema)]
#[schema(as = Routing)]
pub(in crate::http) struct RoutingBody {
    /// `forwarded`, `dropped`, `deferred` or `parked`.
    #[schema(example = "forwarded")]
    outcome: String,
    /// The plugin's short name for why, when it was dropped.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    /// Why it was dropped or has to wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    /// The plugin it waits for.
    #[serde(skip_serializing_if = "Option::is_none")]
    plugin: Option<String>,
    /// Every call, in order.
    steps: Vec<StepBody>,
    /// The labels it came out with.
    #[schema(value_type = Object)]
    labels: Labels,
    /// How often it was run through its chain.
    tries: u32,
    /// When it is run again, while it waits; milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    due_at: Option<i64>,
    /// When it was run last, milliseconds since 1970.
    at: i64,
}

/// A webhook of the event.
#[derive(Serialize, ToSchema)]
#[schema(as = Delivery)]
pub(in crate::http) struct DeliveryBody {
    /// Its id, the header `webhook-id`.
    id: String,
    /// The endpoint.
    endpoint: String,
    /// `waiting`, `delivered` or `dead`.
    #[schema(value_type = String, example = "delivered")]
    state: DeliveryState,
    /// When it is tried next, while it waits; milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    due_at: Option<i64>,
    /// What was tried, oldest first.
    attempts: Vec<AttemptBody>,
}

/// A message a plugin asked to be sent.
#[derive(Serialize, ToSchema)]
#[schema(as = QueuedSend)]
pub(in crate::http) struct QueuedBody {
    /// The id it has, or will have, on WhatsApp.
    message_id: String,
    /// The plugin.
    plugin: String,
    /// Where to.
    to: String,
    /// The text.
    text: String,
    /// `waiting`, `sent` or `failed`.
    #[schema(example = "sent")]
    state: &'static str,
    /// How often it was tried.
    tries: u32,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// When it is tried next, while it waits; milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    due_at: Option<i64>,
}

/// List events
///
/// Everything that happened on the account's sessions, as far as it is kept.
#[utoipa::path(get, path = "/api/events", operation_id = "listEvents", tag = "Events", params(Listing),
    responses((status = 200, description = "A page", body = EventList), Guarded, Parameter))]
pub(in crate::http) async fn list(
    State(site): Shared,
    caller: Caller,
    Query(listing): Query<Listing>,
) -> Result<Answer<EventList>, ApiError> {
    let limit = listing.limit.unwrap_or(USUAL);
    if !(1..=MOST).contains(&limit) {
        return Err(ApiError::bad_request("invalid_query", "limit: must be 1 to 500"));
    }
    let before: Option<EventId> = listing.before.as_deref().map(|id| parsed("before", id)).transpose()?;
    let wanted = wanted(listing.session.as_deref(), listing.events.as_deref())?;
    let page = site.parts.store.events(caller.scope).page(&wanted, before.as_ref(), limit).await?;
    let EventPage { events, next } = page;
    let shown = |event: &Event| serde_json::from_str(&event.document(&Labels::new())).unwrap_or_default();
    Ok(Answer(EventList { events: events.iter().map(shown).collect(), next: next.map(String::from) }))
}

/// The events that a request names by their session and their kinds.
pub(in crate::http) fn wanted(session: Option<&str>, kinds: Option<&str>) -> Result<Wanted, ApiError> {
    let patterns = |kinds: &str| checked_events(kinds.split(',').map(|kind| kind.trim().to_owned()).collect());
    let session = session.map(|id| parsed("session", id)).transpose()?;
    Ok(Wanted { session, kinds: kinds.map(patterns).transpose()? })
}

/// Follow an event
///
/// Where a message stopped, and why: every plugin's verdict, every webhook and its attempts.
#[utoipa::path(get, path = "/api/events/{id}/trace", operation_id = "traceEvent", tag = "Webhooks",
    params(("id" = String, Path, description = "The event, `event_id` in its webhooks")),
    responses((status = 200, description = "Its way", body = Trace), Guarded, Named))]
pub(in crate::http) async fn trace(
    State(site): Shared,
    caller: Caller,
    EventPath(id): EventPath,
) -> Result<Answer<Trace>, ApiError> {
    let event = site.parts.store.events(caller.scope).get(&id).await?;
    let event = event.ok_or_else(|| ApiError::not_found("no event with this id"))?;
    Ok(Answer(traced(&site, caller.scope, event).await?))
}

/// Which session's message.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct Where {
    /// The session; any of the account's when left out.
    #[param(example = "1234567890")]
    session: Option<String>,
}

/// Follow a message
///
/// By the id that WhatsApp knows it by. Oldest first; an id is unique only within its chat, so there may be several.
#[utoipa::path(get, path = "/api/messages/{message}/trace", operation_id = "traceMessage", tag = "Webhooks",
    params(("message" = String, Path, description = "The message's id, `message.id` in its webhooks"), Where),
    responses((status = 200, description = "The way of each event about it", body = [Trace]), Guarded, Named))]
pub(in crate::http) async fn trace_message(
    State(site): Shared,
    caller: Caller,
    MessagePath(message): MessagePath,
    Query(place): Query<Where>,
) -> Result<Answer<Vec<Trace>>, ApiError> {
    let session: Option<SessionId> = match place.session.as_deref() {
        Some(id) => Some(id.parse().map_err(|_| ApiError::no_session())?),
        None => None,
    };
    let mut traces = Vec::new();
    for event in site.parts.store.events(caller.scope).of_message(session.as_ref(), &message).await? {
        traces.push(traced(&site, caller.scope, event).await?);
    }
    if traces.is_empty() {
        return Err(ApiError::not_found("no message with this id"));
    }
    Ok(Answer(traces))
}

async fn traced(site: &Site, scope: Scope, event: Event) -> Result<Trace, ApiError> {
    let (store, id) = (&site.parts.store, &event.id);
    let routing = store.events(scope).routing(id).await?;
    let mut deliveries = Vec::new();
    for delivery in store.deliveries(scope).of_event(id).await? {
        let attempts = store.deliveries(scope).attempts(&delivery.id).await?;
        deliveries.push(DeliveryBody::new(delivery, attempts));
    }
    let sends = store.plugin_sends(scope).of_event(id).await?;
    // As it arrived: what plugins made of it is in their steps.
    let document = serde_json::from_str(&event.document(&Labels::new())).unwrap_or_default();
    let sends = sends.into_iter().map(QueuedBody::from).collect();
    Ok(Trace { event: document, routing: routing.map(RoutingBody::from), deliveries, sends })
}

impl From<RoutingRow> for RoutingBody {
    fn from(row: RoutingRow) -> Self {
        Self {
            outcome: row.outcome,
            code: row.code,
            detail: row.detail,
            plugin: row.plugin.map(String::from),
            steps: row.steps.into_iter().map(StepBody::from).collect(),
            labels: row.labels,
            tries: row.tries,
            due_at: row.due_at.map(|at| at.0),
            at: row.at.0,
        }
    }
}

impl DeliveryBody {
    fn new(row: DeliveryRow, attempts: Vec<Attempt>) -> Self {
        let attempts = attempts.into_iter().map(AttemptBody::from).collect();
        let due_at = row.due_at.map(|at| at.0);
        Self { id: row.id.into(), endpoint: row.endpoint.into(), state: row.state, due_at, attempts }
    }
}

impl From<SendRow> for QueuedBody {
    fn from(row: SendRow) -> Self {
        Self {
            message_id: row.send.message.as_str().to_owned(),
            plugin: row.send.plugin.into(),
            to: row.send.to.into(),
            text: row.send.text,
            state: row.state.name(),
            tries: row.tries,
            error: row.error,
            due_at: row.due_at.map(|at| at.0),
        }
    }
}
