//! A session's webhook address and signing secret.

use std::time::Duration;

use axum::Json as Answer;
use axum::extract::State;
use secrecy::ExposeSecret;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::super::caller::Caller;
use super::super::docs::answers::{Body, Guarded, Named};
use super::super::error::ApiError;
use super::super::extract::{Json, SessionPath};
use super::super::{Shared, Site};
use crate::egress::EgressError;
use crate::model::{EndpointId, SessionId, WebhookUrl};
use crate::store::endpoints::DEFAULT;

/// How long the check at save may take. It is a convenience; dialling decides.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// Where a session's messages are to be posted.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct WebhookRequest {
    /// An `http` or `https` address; empty or null to post nowhere.
    // A missing field must not remove a webhook, so it is not the same as null here.
    #[serde(deserialize_with = "present")]
    #[schema(required = true, example = "https://myapp.com/webhook")]
    webhook_url: Option<String>,
}

/// A webhook that has been set or removed.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct WebhookSet {
    /// Always true.
    #[schema(example = true)]
    success: bool,
    /// What was done.
    #[schema(example = "Webhook URL updated successfully")]
    message: &'static str,
    /// The address; empty when there is none.
    #[schema(example = "https://myapp.com/webhook")]
    webhook_url: String,
}

/// A webhook, with what its receiver needs to check signatures.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct WebhookBody {
    /// The address; empty when there is none.
    #[schema(example = "https://myapp.com/webhook")]
    webhook_url: String,
    /// The signing secret (Standard Webhooks 1.0); absent when there is no webhook.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")]
    secret: Option<String>,
}

/// Set or remove the webhook
///
/// The signing secret stays when only the address changes.
#[utoipa::path(put, path = "/api/sessions/{id}/webhook", operation_id = "setWebhook", tag = "Webhooks",
    params(("id" = String, Path, description = "The session", example = "1234567890")),
    request_body = WebhookRequest,
    responses((status = 200, description = "Set or removed", body = WebhookSet), Body, Guarded, Named))]
pub(in crate::http) async fn set(
    State(site): Shared,
    caller: Caller,
    SessionPath(id): SessionPath,
    Json(request): Json<WebhookRequest>,
) -> Result<Answer<WebhookSet>, ApiError> {
    let url = parse(request.webhook_url.as_deref())?;
    if let Some(url) = &url {
        check(&site, url).await?;
    }
    let founding = founding(&site, &caller, &id).await?;
    if !site.parts.store.sessions(caller.scope).set_webhook(&id, url.as_ref()).await? {
        return Err(ApiError::no_session());
    }
    if let Some(endpoint) = founding {
        site.parts.webhooks.changed(&endpoint);
    }
    let webhook_url = url.map(String::from).unwrap_or_default();
    Ok(Answer(WebhookSet { success: true, message: "Webhook URL updated successfully", webhook_url }))
}

/// Read the webhook and its signing secret
#[utoipa::path(get, path = "/api/sessions/{id}/webhook", operation_id = "getWebhook", tag = "Webhooks",
    params(("id" = String, Path, description = "The session", example = "1234567890")),
    responses((status = 200, description = "The webhook", body = WebhookBody), Guarded, Named))]
pub(in crate::http) async fn get(
    State(site): Shared,
    caller: Caller,
    SessionPath(id): SessionPath,
) -> Result<Answer<WebhookBody>, ApiError> {
    let sessions = site.parts.store.sessions(caller.scope);
    let session = sessions.get(&id).await?.ok_or_else(ApiError::no_session)?;
    let secret = match &session.webhook_url {
        Some(_) => sessions.webhook_secret(&id).await?,
        None => None,
    };
    if secret.is_some() {
        tracing::info!(session = %id, user = %caller.user.id, "webhook secret shown");
    }
    let webhook_url = session.webhook_url.map(String::from).unwrap_or_default();
    Ok(Answer(WebhookBody { webhook_url, secret: secret.map(|secret| secret.expose_secret().to_owned()) }))
}

/// The session's endpoint as it was before a change.
async fn founding(site: &Site, caller: &Caller, session: &SessionId) -> Result<Option<EndpointId>, ApiError> {
    let endpoints = site.parts.store.endpoints(caller.scope).list(Some(session)).await?;
    Ok(endpoints.into_iter().find(|endpoint| endpoint.name == DEFAULT).map(|endpoint| endpoint.id))
}

/// The address a request names; an empty text is none.
pub(super) fn parse(text: Option<&str>) -> Result<Option<WebhookUrl>, ApiError> {
    let Some(text) = text.map(str::trim).filter(|text| !text.is_empty()) else { return Ok(None) };
    text.parse()
        .map(Some)
        .map_err(|error: crate::model::WebhookUrlError| ApiError::bad_request("invalid_webhook_url", error.to_string()))
}

/// Refuses an address that may not be dialled. A name that does not resolve now may resolve later, so it is taken.
pub(super) async fn check(site: &Site, url: &WebhookUrl) -> Result<(), ApiError> {
    match tokio::time::timeout(CHECK_TIMEOUT, site.parts.egress.check(url.url())).await {
        Ok(Err(error @ (EgressError::Forbidden { .. } | EgressError::NoNats))) => Err(error.into()),
        Ok(Err(error)) => {
            tracing::debug!(%error, "a webhook address could not be checked");
            Ok(())
        }
        Ok(Ok(())) | Err(_) => Ok(()),
    }
}

fn present<'de, D: Deserializer<'de>>(given: D) -> Result<Option<String>, D::Error> {
    Option::deserialize(given)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removing_is_said_aloud() {
        let read = |body: &str| serde_json::from_str::<WebhookRequest>(body).map(|request| request.webhook_url);
        assert_eq!(read(r#"{"webhook_url": null}"#).unwrap(), None);
        assert_eq!(read(r#"{"webhook_url": ""}"#).unwrap(), Some(String::new()));
        assert!(read("{}").is_err(), "a forgotten field must not remove the webhook");
    }

    #[test]
    fn an_empty_address_is_none() {
        assert_eq!(parse(None).ok(), Some(None));
        assert_eq!(parse(Some(" ")).ok(), Some(None));
        assert!(parse(Some("https://example.org/hook")).is_ok_and(|url| url.is_some()));
        assert!(parse(Some("ftp://example.org")).is_err());
    }
}
