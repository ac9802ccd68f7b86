//! Where a message is: stored, each plugin's verdict, each delivery and its attempts.

use axum::Json as Answer;
use axum::extract::State;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::super::Shared;
use super::super::caller::Caller;
use super::super::docs::answers::{Guarded, Named};
use super::super::error::ApiError;
use super::super::extract::EventPath;
use super::plugins::StepBody;
use crate::model::{Attempt, AttemptOutcome, DeliveryState, Labels};
use crate::store::deliveries::DeliveryRow;
use crate::store::events::RoutingRow;
use crate::store::plugin_sends::SendRow;

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
    let store = &site.parts.store;
    let event = store.events(caller.scope).get(&id).await?;
    let event = event.ok_or_else(|| ApiError::not_found("no event with this id"))?;
    let routing = store.events(caller.scope).routing(&id).await?;
    let mut deliveries = Vec::new();
    for delivery in store.deliveries(caller.scope).of_event(&id).await? {
        let attempts = store.deliveries(caller.scope).attempts(&delivery.id).await?;
        deliveries.push(DeliveryBody::new(delivery, attempts));
    }
    let sends = store.plugin_sends(caller.scope).of_event(&id).await?;
    // As it arrived: what plugins made of it is in their steps.
    let event = serde_json::from_str(&event.document(&Labels::new())).unwrap_or_default();
    let sends = sends.into_iter().map(QueuedBody::from).collect();
    Ok(Answer(Trace { event, routing: routing.map(RoutingBody::from), deliveries, sends }))
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

impl From<Attempt> for AttemptBody {
    fn from(attempt: Attempt) -> Self {
        let (status, error) = match attempt.outcome {
            AttemptOutcome::Accepted { status } | AttemptOutcome::Refused { status } => (Some(status), None),
            AttemptOutcome::Unanswered { error } => (None, Some(error)),
        };
        Self { started_at: attempt.started_at.0, took_ms: attempt.took_ms, status, error }
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
