//! A session's webhook endpoints beyond the founding one. Plugins route to them by name.

use axum::Json as Answer;
use axum::extract::State;
use axum::http::StatusCode;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::Shared;
use super::super::caller::Caller;
use super::super::docs::answers::{Body, Guarded, Named, Standing};
use super::super::error::ApiError;
use super::super::extract::{EndpointPath, Json, SessionPath};
use super::{Done, webhook};
use crate::model::Endpoint;
use crate::store::StoreError;

/// An endpoint to be added.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct EndpointRequest {
    /// The name plugins route to: 1 to 64 of `A-Z a-z 0-9 . _ -`, unique on its session; not `default`.
    #[schema(example = "billing")]
    name: String,
    /// An `http` or `https` address.
    #[schema(example = "https://myapp.com/webhook/billing")]
    url: String,
}

/// Where a session's events are posted.
#[derive(Serialize, ToSchema)]
#[schema(as = Endpoint)]
pub(in crate::http) struct EndpointBody {
    /// Its id.
    #[schema(example = "end_0198c0ffee007000800000000000c0de")]
    id: String,
    /// The name plugins route to; the session's `webhook_url` is called `default`.
    #[schema(example = "billing")]
    name: String,
    /// The address.
    #[schema(example = "https://myapp.com/webhook/billing")]
    url: String,
    /// The signing secret (Standard Webhooks 1.0).
    #[schema(example = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")]
    secret: String,
}

/// List a session's webhook endpoints and their signing secrets
#[utoipa::path(get, path = "/api/sessions/{id}/endpoints", operation_id = "listEndpoints", tag = "Webhooks",
    params(("id" = String, Path, description = "The session", example = "1234567890")),
    responses((status = 200, description = "Its endpoints, the founding one first", body = [EndpointBody]), Guarded,
              Named))]
pub(in crate::http) async fn list(
    State(site): Shared,
    caller: Caller,
    SessionPath(id): SessionPath,
) -> Result<Answer<Vec<EndpointBody>>, ApiError> {
    site.parts.store.sessions(caller.scope).get(&id).await?.ok_or_else(ApiError::no_session)?;
    let endpoints = site.parts.store.endpoints(caller.scope).list(&id).await?;
    if !endpoints.is_empty() {
        tracing::info!(session = %id, user = %caller.user.id, "webhook secrets shown");
    }
    Ok(Answer(endpoints.into_iter().map(EndpointBody::from).collect()))
}

/// Add a webhook endpoint
///
/// Every event of the session goes to each of its endpoints, unless a plugin routes it. At most 64 a session.
#[utoipa::path(post, path = "/api/sessions/{id}/endpoints", operation_id = "addEndpoint", tag = "Webhooks",
    params(("id" = String, Path, description = "The session", example = "1234567890")),
    request_body = EndpointRequest,
    responses((status = 201, description = "Added", body = EndpointBody), Body, Guarded, Named, Standing))]
pub(in crate::http) async fn add(
    State(site): Shared,
    caller: Caller,
    SessionPath(id): SessionPath,
    Json(request): Json<EndpointRequest>,
) -> Result<(StatusCode, Answer<EndpointBody>), ApiError> {
    let name = checked_name(&request.name)?;
    let url = webhook::parse(Some(&request.url))?;
    let url = url.ok_or_else(|| ApiError::bad_request("invalid_webhook_url", "url: an endpoint needs an address"))?;
    webhook::check(&site, &url).await?;
    let added = site.parts.store.endpoints(caller.scope).add(&id, &name, &url).await;
    let endpoint = added.map_err(|error| match error {
        StoreError::Taken(what @ "the endpoint name") => {
            ApiError::conflict("name_taken", format!("{what} {name} is taken on this session; choose another"))
        }
        StoreError::Taken(_) => {
            ApiError::conflict("too_many", "the session has 64 endpoints, which is the limit; remove one first")
        }
        error => error.into(),
    })?;
    let endpoint = endpoint.ok_or_else(ApiError::no_session)?;
    tracing::info!(session = %id, user = %caller.user.id, endpoint = %endpoint.id, "webhook endpoint added");
    Ok((StatusCode::CREATED, Answer(endpoint.into())))
}

/// Remove a webhook endpoint
///
/// Deliveries that wait for it are deleted with it.
#[utoipa::path(delete, path = "/api/sessions/{id}/endpoints/{endpoint}", operation_id = "removeEndpoint",
    tag = "Webhooks",
    params(("id" = String, Path, description = "The session", example = "1234567890"),
           ("endpoint" = String, Path, description = "The endpoint")),
    responses((status = 200, description = "Removed", body = Done), Guarded, Named))]
pub(in crate::http) async fn remove(
    State(site): Shared,
    caller: Caller,
    EndpointPath(id, endpoint): EndpointPath,
) -> Result<Answer<Done>, ApiError> {
    if !site.parts.store.endpoints(caller.scope).remove(&id, &endpoint).await? {
        return Err(ApiError::not_found("no endpoint with this id"));
    }
    tracing::info!(session = %id, user = %caller.user.id, %endpoint, "webhook endpoint removed");
    Ok(Answer(Done::new("Endpoint removed successfully")))
}

fn checked_name(name: &str) -> Result<String, ApiError> {
    let sound = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    let name = name.trim();
    if (1..=64).contains(&name.len()) && name.bytes().all(sound) {
        return Ok(name.to_owned());
    }
    let message = "name: an endpoint's name has 1 to 64 characters from A-Z a-z 0-9 . _ -";
    Err(ApiError::bad_request("invalid_name", message))
}

impl From<Endpoint> for EndpointBody {
    fn from(endpoint: Endpoint) -> Self {
        Self {
            id: endpoint.id.into(),
            name: endpoint.name,
            url: endpoint.url.into(),
            secret: endpoint.secret.expose_secret().to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_plain() {
        assert_eq!(checked_name(" billing.eu ").ok().as_deref(), Some("billing.eu"));
        for bad in ["", "a b", "a/b", &"x".repeat(65)] {
            assert!(checked_name(bad).is_err(), "{bad}");
        }
    }
}
