//! Where a plugin runs: on a session or on all of its owner's, with its configuration, limits and failure policy.

use axum::Json as Answer;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::http::Shared;
use crate::http::caller::Caller;
use crate::http::docs::answers::{Body, Guarded, Named, Standing};
use crate::http::error::ApiError;
use crate::http::extract::{BindingPath, Json, PluginPath};
use crate::http::routes::Done;
use crate::model::{Binding, FailurePolicy, Limits, SessionId};
use crate::plugin::catalog::{self, Draft};
use crate::plugin::masking;

/// What becomes of a message when a plugin fails on it.
#[derive(ToSchema)]
#[schema(as = FailurePolicy, rename_all = "lowercase")]
#[expect(dead_code, reason = "describes model::FailurePolicy, which knows nothing of OpenAPI")]
pub(in crate::http) enum PolicyName {
    /// It goes on as if the plugin had passed it.
    Open,
    /// It is dropped, a webhook cancelled. It stays stored.
    Closed,
    /// It waits, and is tried again.
    Park,
}

/// Where and how a plugin runs.
#[derive(Serialize, ToSchema)]
#[schema(as = Binding)]
pub(in crate::http) struct BindingBody {
    /// Its id.
    #[schema(example = "bnd_0198c0ffee007000800000000000c0de")]
    id: String,
    /// The session whose messages it sees; null for all of yours.
    #[schema(example = "1234567890")]
    session_id: Option<String>,
    /// The place in the chain: lower runs first. The gateway's own `forward` stands at 0.
    #[schema(example = 100)]
    position: i64,
    /// The configuration. What lies under a name ending in secret, token, password or key is shown as `***`.
    #[schema(value_type = Object)]
    config: Value,
    /// What a call may use.
    limits: LimitsBody,
    /// What becomes of a message when a call fails.
    #[schema(value_type = PolicyName)]
    policy: FailurePolicy,
    /// Whether it runs.
    enabled: bool,
    /// Raised with every change.
    #[schema(example = 1)]
    revision: i64,
}

/// What a call may use. Above any of these it is ended, and the failure policy decides.
#[derive(Serialize, ToSchema)]
#[schema(as = Limits)]
pub(in crate::http) struct LimitsBody {
    /// Processor time in milliseconds.
    #[schema(minimum = 1, maximum = 1_000, default = 50)]
    cpu_ms: u32,
    /// Wall-clock time in milliseconds, waiting for the host included.
    #[schema(minimum = 1, maximum = 30_000, default = 2_000)]
    wall_ms: u32,
    /// Linear memory in MiB.
    #[schema(minimum = 1, maximum = 64, default = 64)]
    memory_mib: u32,
    /// HTTP requests.
    #[schema(minimum = 0, maximum = 16, default = 4)]
    http_requests: u32,
    /// Effects through `outbox`.
    #[schema(minimum = 0, maximum = 32, default = 5)]
    effects: u32,
    /// Log lines kept.
    #[schema(minimum = 0, maximum = 1_000, default = 100)]
    log_lines: u32,
}

/// A session, or all of a user's.
type Ground = Option<SessionId>;

/// A binding to be made, or what is to change about one. What is left out has its default, or stays.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::http) struct BindingRequest {
    /// The session whose messages it sees; null, the default, for all of yours.
    // A missing field must not move a binding, so it is not the same as null here.
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<String>, example = "1234567890")]
    session_id: Option<Ground>,
    /// The place in the chain, 100 by default: lower runs first. The gateway's own `forward` stands at 0.
    #[schema(example = 100)]
    position: Option<i64>,
    /// The configuration, a JSON object of at most 64 KiB; the plugin checks it. `***` keeps the secret that is stored.
    #[schema(value_type = Option<Object>)]
    config: Option<Value>,
    /// What a call may use; a limit left out has its default.
    #[schema(value_type = Option<LimitsBody>)]
    limits: Option<Limits>,
    /// What becomes of a message when a call fails; `open` by default.
    #[schema(value_type = Option<PolicyName>)]
    policy: Option<FailurePolicy>,
    /// Whether it runs; true by default.
    enabled: Option<bool>,
}

/// List where a plugin runs
#[utoipa::path(get, path = "/api/plugins/{id}/bindings", operation_id = "listBindings", tag = "Plugins",
    params(("id" = String, Path, description = "The plugin")),
    responses((status = 200, description = "Its bindings", body = [BindingBody]), Guarded, Named))]
pub(in crate::http) async fn list(
    State(site): Shared,
    caller: Caller,
    PluginPath(id): PluginPath,
) -> Result<Answer<Vec<BindingBody>>, ApiError> {
    let bindings = site.parts.catalog.bindings(caller.scope, &id).await?;
    Ok(Answer(bindings.into_iter().map(BindingBody::from).collect()))
}

/// Bind a plugin to a session, or to all of yours
///
/// The plugin's own `init` checks the configuration first. A plugin has at most 100 bindings, and at most 32 that are
/// enabled meet on one session; one more is 409 with the code `too_many`.
#[utoipa::path(post, path = "/api/plugins/{id}/bindings", operation_id = "bindPlugin", tag = "Plugins",
    params(("id" = String, Path, description = "The plugin")),
    request_body = BindingRequest,
    responses((status = 201, description = "Bound", body = BindingBody), Body, Guarded, Named, Standing))]
pub(in crate::http) async fn bind(
    State(site): Shared,
    caller: Caller,
    PluginPath(id): PluginPath,
    Json(request): Json<BindingRequest>,
) -> Result<(StatusCode, Answer<BindingBody>), ApiError> {
    let binding = site.parts.catalog.bind(caller.scope, &id, request.into()).await?;
    tracing::info!(user = %caller.user.id, plugin = %id, binding = %binding.id, "plugin bound");
    Ok((StatusCode::CREATED, Answer(binding.into())))
}

/// Change a binding
///
/// The plugin's own `init` checks the configuration first. At most 32 enabled bindings meet on one session; one more is
/// 409 with the code `too_many`.
#[utoipa::path(patch, path = "/api/plugins/{id}/bindings/{binding}", operation_id = "changeBinding", tag = "Plugins",
    params(("id" = String, Path, description = "The plugin"), ("binding" = String, Path, description = "The binding")),
    request_body = BindingRequest,
    responses((status = 200, description = "Changed", body = BindingBody), Body, Guarded, Named, Standing))]
pub(in crate::http) async fn change(
    State(site): Shared,
    caller: Caller,
    BindingPath(id, binding): BindingPath,
    Json(request): Json<BindingRequest>,
) -> Result<Answer<BindingBody>, ApiError> {
    let changed = site.parts.catalog.rebind(caller.scope, &id, &binding, request.into()).await?;
    tracing::info!(user = %caller.user.id, plugin = %id, %binding, "binding changed");
    Ok(Answer(changed.into()))
}

/// Take a binding away
#[utoipa::path(delete, path = "/api/plugins/{id}/bindings/{binding}", operation_id = "unbindPlugin", tag = "Plugins",
    params(("id" = String, Path, description = "The plugin"), ("binding" = String, Path, description = "The binding")),
    responses((status = 200, description = "Taken away", body = Done), Guarded, Named))]
pub(in crate::http) async fn unbind(
    State(site): Shared,
    caller: Caller,
    BindingPath(id, binding): BindingPath,
) -> Result<Answer<Done>, ApiError> {
    site.parts.catalog.unbind(caller.scope, &id, &binding).await?;
    tracing::info!(user = %caller.user.id, plugin = %id, %binding, "plugin unbound");
    Ok(Answer(Done::new("Binding removed successfully")))
}

impl From<BindingRequest> for Draft {
    fn from(request: BindingRequest) -> Self {
        let BindingRequest { session_id: session, position, config, limits, policy, enabled } = request;
        Self { session, position, config, limits, policy, enabled }
    }
}

impl From<Binding> for BindingBody {
    fn from(binding: Binding) -> Self {
        Self {
            config: masking::masked(&catalog::configuration(&binding)),
            id: binding.id.into(),
            session_id: binding.session.map(String::from),
            position: binding.position,
            limits: binding.limits.into(),
            policy: binding.policy,
            enabled: binding.enabled,
            revision: binding.revision,
        }
    }
}

impl From<Limits> for LimitsBody {
    fn from(limits: Limits) -> Self {
        let Limits { cpu_ms, wall_ms, memory_mib, http_requests, effects, log_lines } = limits;
        Self { cpu_ms, wall_ms, memory_mib, http_requests, effects, log_lines }
    }
}

fn present<'de, D: Deserializer<'de>>(given: D) -> Result<Option<Ground>, D::Error> {
    Option::deserialize(given).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_sessions_is_said_aloud() {
        let read = |body: &str| serde_json::from_str::<BindingRequest>(body).unwrap().session_id;
        assert_eq!(read("{}"), None);
        assert_eq!(read(r#"{"session_id": null}"#), Some(None));
        assert_eq!(read(r#"{"session_id": "s"}"#), Some("s".parse().ok()));
    }

    #[test]
    fn limits_left_out_have_their_default() {
        let request: BindingRequest = serde_json::from_str(r#"{"limits": {"cpu_ms": 5}}"#).unwrap();
        assert_eq!(request.limits, Some(Limits { cpu_ms: 5, ..Limits::default() }));
        assert!(serde_json::from_str::<BindingRequest>(r#"{"limits": {"cpu": 5}}"#).is_err());
    }
}
