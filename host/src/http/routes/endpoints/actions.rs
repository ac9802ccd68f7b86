//! What can be done with an endpoint besides changing it: its keys, putting it out of use and back, trying it out.

use std::time::Duration;

use axum::Json as Answer;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::super::super::Shared;
use super::super::super::caller::Caller;
use super::super::super::docs::answers::{Body, Guarded, Named, Standing};
use super::super::super::error::ApiError;
use super::super::super::extract::{Json, LoneEndpointPath};
use super::body::{EndpointBody, KeyBody, keys};
use super::{no_endpoint, shown};
use crate::model::{Event, EventId, Happening, SessionId, Shape, WebhookTest};
use crate::store::endpoints::{EndpointChange, Rotation};

/// How long an old key signs beside the new one, unless told otherwise, and at most.
const KEEP: u64 = 24 * 3_600;
const LONGEST_KEEP: u64 = 7 * 24 * 3_600;

/// A rotation to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct RotationRequest {
    /// The kind of the new key; `hmac` when left out.
    #[serde(default)]
    algorithm: Algorithm,
    /// Seconds for which the old key of that kind goes on signing beside the new one, 0 to 604,800; a day when left out.
    #[serde(default)]
    #[schema(example = 86_400)]
    keep_old_for: Option<u64>,
}

/// How requests are signed.
#[derive(Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Algorithm {
    /// HMAC-SHA256, `v1`.
    #[default]
    Hmac,
    /// Ed25519, `v1a`.
    Ed25519,
}

/// The keys of an endpoint.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct Keys {
    /// All that requests are signed with, newest first.
    keys: Vec<KeyBody>,
}

/// A test event on its way.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct TestSent {
    /// Always true.
    #[schema(example = true)]
    success: bool,
    /// The event.
    event_id: String,
    /// Its delivery; `GET /api/deliveries/{id}` tells how it went.
    delivery_id: String,
}

/// Show an endpoint's signing keys
#[utoipa::path(get, path = "/api/endpoints/{endpoint}/secret", operation_id = "getEndpointSecret", tag = "Webhooks",
    params(("endpoint" = String, Path, description = "The endpoint")),
    responses((status = 200, description = "What its requests are signed with", body = Keys), Guarded, Named))]
pub(in crate::http) async fn secret(
    State(site): Shared,
    caller: Caller,
    LoneEndpointPath(id): LoneEndpointPath,
) -> Result<Answer<Keys>, ApiError> {
    let endpoint = site.parts.store.endpoints(caller.scope).get(&id).await?.ok_or_else(no_endpoint)?;
    tracing::info!(endpoint = %id, user = %caller.user.id, "webhook secret shown");
    Ok(Answer(Keys { keys: keys(&endpoint) }))
}

/// Give an endpoint a new signing key
///
/// For a while requests carry the signatures of both keys, so that a receiver can take the new one when it likes.
#[utoipa::path(post, path = "/api/endpoints/{endpoint}/rotate", operation_id = "rotateEndpointSecret", tag = "Webhooks",
    params(("endpoint" = String, Path, description = "The endpoint")),
    request_body = RotationRequest,
    responses((status = 200, description = "All its keys", body = Keys), Body, Guarded, Named))]
pub(in crate::http) async fn rotate(
    State(site): Shared,
    caller: Caller,
    LoneEndpointPath(id): LoneEndpointPath,
    Json(request): Json<RotationRequest>,
) -> Result<Answer<Keys>, ApiError> {
    let keep = request.keep_old_for.unwrap_or(KEEP);
    if keep > LONGEST_KEEP {
        return Err(ApiError::bad_request("invalid_field", "keep_old_for: must be 0 to 604800 seconds, seven days"));
    }
    let rotation =
        Rotation { ed25519: matches!(request.algorithm, Algorithm::Ed25519), keep: Duration::from_secs(keep) };
    let rotated = site.parts.store.endpoints(caller.scope).rotate(&id, rotation).await?;
    let endpoint = rotated.ok_or_else(no_endpoint)?;
    site.parts.webhooks.changed(&id);
    tracing::info!(endpoint = %id, user = %caller.user.id, "webhook secret rotated");
    Ok(Answer(Keys { keys: keys(&endpoint) }))
}

/// Put an endpoint back into use
///
/// What waits for it is due at once.
#[utoipa::path(post, path = "/api/endpoints/{endpoint}/enable", operation_id = "enableEndpoint", tag = "Webhooks",
    params(("endpoint" = String, Path, description = "The endpoint")),
    responses((status = 200, description = "As it is now", body = EndpointBody), Guarded, Named))]
pub(in crate::http) async fn enable(
    state: Shared,
    caller: Caller,
    path: LoneEndpointPath,
) -> Result<Answer<EndpointBody>, ApiError> {
    set_enabled(state, caller, path, true).await
}

/// Put an endpoint out of use
///
/// It gets no events from now on, and what waits for it goes on waiting.
#[utoipa::path(post, path = "/api/endpoints/{endpoint}/disable", operation_id = "disableEndpoint", tag = "Webhooks",
    params(("endpoint" = String, Path, description = "The endpoint")),
    responses((status = 200, description = "As it is now", body = EndpointBody), Guarded, Named))]
pub(in crate::http) async fn disable(
    state: Shared,
    caller: Caller,
    path: LoneEndpointPath,
) -> Result<Answer<EndpointBody>, ApiError> {
    set_enabled(state, caller, path, false).await
}

async fn set_enabled(
    State(site): Shared,
    caller: Caller,
    LoneEndpointPath(id): LoneEndpointPath,
    enabled: bool,
) -> Result<Answer<EndpointBody>, ApiError> {
    let change = EndpointChange { enabled: Some(enabled), ..EndpointChange::default() };
    let changed = site.parts.store.endpoints(caller.scope).change(&id, change).await?;
    let endpoint = changed.ok_or_else(no_endpoint)?;
    site.parts.webhooks.changed(&id);
    tracing::info!(endpoint = %id, user = %caller.user.id, enabled, "webhook endpoint enabled or disabled");
    Ok(Answer(shown(&site, &endpoint)))
}

/// Try an endpoint out
///
/// Posts an event of the type `webhook.test` there, signed like any other, whatever the endpoint's filter says.
#[utoipa::path(post, path = "/api/endpoints/{endpoint}/test", operation_id = "testEndpoint", tag = "Webhooks",
    params(("endpoint" = String, Path, description = "The endpoint")),
    responses((status = 202, description = "On its way", body = TestSent), Guarded, Named, Standing))]
pub(in crate::http) async fn test(
    State(site): Shared,
    caller: Caller,
    LoneEndpointPath(id): LoneEndpointPath,
) -> Result<(StatusCode, Answer<TestSent>), ApiError> {
    let store = &site.parts.store;
    let endpoint = store.endpoints(caller.scope).get(&id).await?.ok_or_else(no_endpoint)?;
    if endpoint.disabled.is_some() {
        return Err(ApiError::conflict("endpoint_disabled", "the endpoint is out of use; enable it first"));
    }
    let first = store.sessions(caller.scope).list().await?.into_iter().next().map(|session| session.id);
    let session: Option<SessionId> = endpoint.session.or(first);
    let nowhere = || ApiError::conflict("no_session", "an event belongs to a session; create one first");
    let session = session.ok_or_else(nowhere)?;
    let told = WebhookTest { endpoint_id: id.clone(), text: "This is a test of your webhook.".to_owned() };
    let (what, stored_at) = (Happening::Test(told.clone()), site.parts.clock.now());
    let event = Event { id: EventId::new(), session, what, stored_at };
    // As `forward` makes it of what is no message.
    let body = json!({
        "session_id": event.session, "event": event.kind(), "event_id": event.id, "occurred_at": stored_at, "data": told,
    });
    let shape = Shape::json(body.to_string());
    let added = store.deliveries(caller.scope).add_test(&id, &event, shape).await?;
    let delivery = added.ok_or_else(no_endpoint)?;
    site.parts.webhooks.wake(std::slice::from_ref(&id));
    let answer = TestSent { success: true, event_id: event.id.into(), delivery_id: delivery.into() };
    Ok((StatusCode::ACCEPTED, Answer(answer)))
}
