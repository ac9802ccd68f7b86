//! Webhook endpoints: of a session, the founding one included, and of all sessions of an account.

pub(in crate::http) mod actions;
pub(in crate::http) mod body;

use axum::Json as Answer;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;

use self::body::{EndpointBody, EndpointChanges, EndpointRequest};
use super::super::caller::Caller;
use super::super::docs::answers::{Body, Guarded, Named, Parameter, Standing};
use super::super::error::ApiError;
use super::super::extract::{EndpointPath, Json, LoneEndpointPath, Query, SessionPath};
use super::super::{Shared, Site};
use super::{Done, webhook};
use crate::model::{Endpoint, SessionId};
use crate::store::StoreError;

/// Which endpoints.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct Which {
    /// Those of this session; all of the account when left out.
    #[param(example = "1234567890")]
    session: Option<String>,
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
    let endpoints = site.parts.store.endpoints(caller.scope).list(Some(&id)).await?;
    if !endpoints.is_empty() {
        tracing::info!(session = %id, user = %caller.user.id, "webhook secrets shown");
    }
    Ok(Answer(endpoints.iter().map(|endpoint| shown(&site, endpoint).with_keys(endpoint)).collect()))
}

/// Add a webhook endpoint to a session
///
/// Every event of the session that the endpoint asks for goes there, unless a plugin routes it. At most 64 a session. The
/// signing secrets are in this answer, and at `GET /api/endpoints/{endpoint}/secret`.
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
    added(&site, &caller, Some(id), request).await
}

/// Add a webhook endpoint for all sessions
///
/// It gets the events of every session of the account, those to come included. At most 64 an account.
#[utoipa::path(post, path = "/api/endpoints", operation_id = "addAccountEndpoint", tag = "Webhooks",
    request_body = EndpointRequest,
    responses((status = 201, description = "Added", body = EndpointBody), Body, Guarded, Standing))]
pub(in crate::http) async fn add_to_account(
    State(site): Shared,
    caller: Caller,
    Json(request): Json<EndpointRequest>,
) -> Result<(StatusCode, Answer<EndpointBody>), ApiError> {
    added(&site, &caller, None, request).await
}

/// List webhook endpoints
///
/// Those of the account, of all its sessions and of each, or those of one session. Without secrets.
#[utoipa::path(get, path = "/api/endpoints", operation_id = "listAllEndpoints", tag = "Webhooks",
    params(Which),
    responses((status = 200, description = "The endpoints, oldest first", body = [EndpointBody]), Guarded, Parameter,
              Named))]
pub(in crate::http) async fn list_all(
    State(site): Shared,
    caller: Caller,
    Query(which): Query<Which>,
) -> Result<Answer<Vec<EndpointBody>>, ApiError> {
    let session: Option<SessionId> = match which.session.as_deref() {
        Some(id) => Some(id.parse().map_err(|_| ApiError::no_session())?),
        None => None,
    };
    if let Some(id) = &session {
        site.parts.store.sessions(caller.scope).get(id).await?.ok_or_else(ApiError::no_session)?;
    }
    let endpoints = site.parts.store.endpoints(caller.scope).list(session.as_ref()).await?;
    Ok(Answer(endpoints.iter().map(|endpoint| shown(&site, endpoint)).collect()))
}

/// Show a webhook endpoint
///
/// With its health: whether its receiver takes what is posted, and if not, since when and until when it is left alone.
#[utoipa::path(get, path = "/api/endpoints/{endpoint}", operation_id = "getEndpoint", tag = "Webhooks",
    params(("endpoint" = String, Path, description = "The endpoint")),
    responses((status = 200, description = "The endpoint", body = EndpointBody), Guarded, Named))]
pub(in crate::http) async fn get(
    State(site): Shared,
    caller: Caller,
    LoneEndpointPath(id): LoneEndpointPath,
) -> Result<Answer<EndpointBody>, ApiError> {
    let endpoint = site.parts.store.endpoints(caller.scope).get(&id).await?.ok_or_else(no_endpoint)?;
    Ok(Answer(shown(&site, &endpoint)))
}

/// Change a webhook endpoint
///
/// What is left out stays. Deliveries that wait follow: they go to the new address with the new headers. A founding
/// endpoint keeps its name.
#[utoipa::path(patch, path = "/api/endpoints/{endpoint}", operation_id = "changeEndpoint", tag = "Webhooks",
    params(("endpoint" = String, Path, description = "The endpoint")),
    request_body = EndpointChanges,
    responses((status = 200, description = "As it is now", body = EndpointBody), Body, Guarded, Named, Standing))]
pub(in crate::http) async fn change(
    State(site): Shared,
    caller: Caller,
    LoneEndpointPath(id): LoneEndpointPath,
    Json(changes): Json<EndpointChanges>,
) -> Result<Answer<EndpointBody>, ApiError> {
    let endpoints = site.parts.store.endpoints(caller.scope);
    let before = endpoints.get(&id).await?.ok_or_else(no_endpoint)?;
    let change = changes.checked(before.limits)?;
    if let Some(url) = &change.url {
        webhook::check(&site, url).await?;
    }
    let name = change.name.clone().unwrap_or_default();
    let changed = endpoints.change(&id, change).await.map_err(|error| taken(error, &name))?;
    let endpoint = changed.ok_or_else(no_endpoint)?;
    site.parts.webhooks.changed(&id);
    tracing::info!(user = %caller.user.id, endpoint = %id, "webhook endpoint changed");
    Ok(Answer(shown(&site, &endpoint)))
}

/// Remove a webhook endpoint by its id
///
/// Deliveries that wait for it are deleted with it.
#[utoipa::path(delete, path = "/api/endpoints/{endpoint}", operation_id = "deleteEndpoint", tag = "Webhooks",
    params(("endpoint" = String, Path, description = "The endpoint")),
    responses((status = 200, description = "Removed", body = Done), Guarded, Named))]
pub(in crate::http) async fn delete(
    State(site): Shared,
    caller: Caller,
    LoneEndpointPath(id): LoneEndpointPath,
) -> Result<Answer<Done>, ApiError> {
    if !site.parts.store.endpoints(caller.scope).remove(&id).await? {
        return Err(no_endpoint());
    }
    site.parts.webhooks.changed(&id);
    tracing::info!(user = %caller.user.id, endpoint = %id, "webhook endpoint removed");
    Ok(Answer(Done::new("Endpoint removed successfully")))
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
    EndpointPath(session, id): EndpointPath,
) -> Result<Answer<Done>, ApiError> {
    let endpoints = site.parts.store.endpoints(caller.scope);
    let here = endpoints.get(&id).await?.is_some_and(|endpoint| endpoint.session.as_ref() == Some(&session));
    if !here || !endpoints.remove(&id).await? {
        return Err(no_endpoint());
    }
    site.parts.webhooks.changed(&id);
    tracing::info!(%session, user = %caller.user.id, endpoint = %id, "webhook endpoint removed");
    Ok(Answer(Done::new("Endpoint removed successfully")))
}

async fn added(
    site: &Site,
    caller: &Caller,
    session: Option<SessionId>,
    request: EndpointRequest,
) -> Result<(StatusCode, Answer<EndpointBody>), ApiError> {
    let new = request.checked(caller.user.id, session)?;
    webhook::check(site, &new.url).await?;
    let name = new.name.clone();
    let added = site.parts.store.endpoints(caller.scope).add(new).await.map_err(|error| taken(error, &name))?;
    let endpoint = added.ok_or_else(ApiError::no_session)?;
    tracing::info!(user = %caller.user.id, endpoint = %endpoint.id, "webhook endpoint added");
    Ok((StatusCode::CREATED, Answer(shown(site, &endpoint).with_keys(&endpoint))))
}

fn shown(site: &Site, endpoint: &Endpoint) -> EndpointBody {
    EndpointBody::new(endpoint, site.parts.webhooks.pulse(&endpoint.id), site.parts.clock.now())
}

fn no_endpoint() -> ApiError {
    ApiError::not_found("no endpoint with this id")
}

fn taken(error: StoreError, name: &str) -> ApiError {
    match error {
        StoreError::Taken(what @ "the endpoint name") => ApiError::conflict(
            "name_taken",
            format!("{what} {name} is taken, or the founding endpoint's; choose another"),
        ),
        StoreError::Taken(_) => {
            ApiError::conflict("too_many", "there are 64 endpoints, which is the limit; remove one first")
        }
        error => error.into(),
    }
}
