//! The catalog of plugins: look at components, install, switch, roll back, remove.

mod answer;
pub(in crate::http) mod bindings;
pub(in crate::http) mod trials;
mod upload;

use axum::Json as Answer;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::Shared;
use super::super::caller::Caller;
use super::super::docs::answers::{Body, Guarded, Named, Parameter, Standing};
use super::super::error::ApiError;
use super::super::extract::{Json, PluginPath, Query};
use super::Done;

pub(in crate::http) use answer::StepBody;
use answer::{LogBody, PluginBody, ReportBody, VersionBody};
use upload::{ScriptRequest, Upload, Wishes};

/// Log lines shown when nothing is said, and at most.
const LINES: u32 = 100;
const MOST_LINES: u32 = 1_000;

/// What is to change about a plugin. What is left out stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct PluginChange {
    /// Whether it runs at all.
    #[serde(default)]
    enabled: Option<bool>,
    /// The number of the version that is to run. An earlier one rolls back.
    #[serde(default)]
    #[schema(example = 1)]
    current: Option<u32>,
}

/// How many log lines.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct LogQuery {
    limit: Option<u32>,
}

/// Events that no longer wait for a plugin.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct Released {
    /// Always true.
    #[schema(example = true)]
    success: bool,
    /// How many there were.
    #[schema(example = 3)]
    released: u64,
}

/// Look at a component or a script
///
/// Nothing is stored. The answer says what it exports, what it imports and what it would like to be granted.
#[utoipa::path(post, path = "/api/plugins/check", operation_id = "checkPlugin", tag = "Plugins",
    request_body(description = "A component, or a script as JSON", content(
        (Vec<u8> = "application/wasm"), (ScriptRequest = "application/json"))),
    responses((status = 200, description = "What looking at it found", body = ReportBody), Body, Guarded))]
pub(in crate::http) async fn check(State(site): Shared, upload: Upload) -> Result<Answer<ReportBody>, ApiError> {
    Ok(Answer(site.parts.catalog.check(&upload.source).await?.into()))
}

/// List your plugins
#[utoipa::path(get, path = "/api/plugins", operation_id = "listPlugins", tag = "Plugins",
    responses((status = 200, description = "Your plugins, in the order they were installed", body = [PluginBody]),
              Guarded))]
pub(in crate::http) async fn list(State(site): Shared, caller: Caller) -> Result<Answer<Vec<PluginBody>>, ApiError> {
    let entries = site.parts.catalog.list(caller.user.id).await?;
    Ok(Answer(entries.into_iter().map(PluginBody::from).collect()))
}

/// Install a plugin
///
/// A component as the body, or a script as JSON. It runs nowhere until it is bound. A component that imports a
/// capability it is not granted is refused with `ungranted_import`; a script is denied it when it runs.
#[utoipa::path(post, path = "/api/plugins", operation_id = "installPlugin", tag = "Plugins",
    params(("name" = Option<String>, Query, description = "Its name in your catalog; the one it gives itself when left out",
            example = "keyword-router"),
           ("grant" = Option<Vec<String>>, Query, explode, description = "What it may do; once for each grant",
            example = json!(["log", "kv"])),
           ("accept_ungranted" = Option<bool>, Query,
            description = "Whether a component may import what it is not granted, and be denied it; false when left out")),
    request_body(description = "A component, or a script as JSON", content(
        (Vec<u8> = "application/wasm"), (ScriptRequest = "application/json"))),
    responses((status = 201, description = "Installed", body = PluginBody), Body, Guarded, Standing))]
pub(in crate::http) async fn install(State(site): Shared, upload: Upload) -> Result<impl IntoResponse, ApiError> {
    let Upload { caller, source, wishes } = upload;
    let grants = wishes.grants.unwrap_or_default();
    let entry = site
        .parts
        .catalog
        .install(caller.user.id, wishes.name.as_deref(), &source, grants, wishes.accept_ungranted)
        .await?;
    tracing::info!(user = %caller.user.id, plugin = %entry.plugin.id, component = %entry.version.component, "plugin installed");
    let location = [(header::LOCATION, format!("/api/plugins/{}", entry.plugin.id))];
    Ok((StatusCode::CREATED, location, Answer(PluginBody::from(entry))))
}

/// Look at a plugin
#[utoipa::path(get, path = "/api/plugins/{id}", operation_id = "getPlugin", tag = "Plugins",
    params(("id" = String, Path, description = "The plugin")),
    responses((status = 200, description = "The plugin", body = PluginBody), Guarded, Named))]
pub(in crate::http) async fn get(
    State(site): Shared,
    caller: Caller,
    PluginPath(id): PluginPath,
) -> Result<Answer<PluginBody>, ApiError> {
    Ok(Answer(site.parts.catalog.get(caller.scope, &id).await?.into()))
}

/// Switch a plugin on or off, or change the version that runs
///
/// A version runs only if it starts with the configuration of every binding in force.
#[utoipa::path(patch, path = "/api/plugins/{id}", operation_id = "changePlugin", tag = "Plugins",
    params(("id" = String, Path, description = "The plugin")),
    request_body = PluginChange,
    responses((status = 200, description = "Changed", body = PluginBody), Body, Guarded, Named))]
pub(in crate::http) async fn change(
    State(site): Shared,
    caller: Caller,
    PluginPath(id): PluginPath,
    Json(change): Json<PluginChange>,
) -> Result<Answer<PluginBody>, ApiError> {
    let entry = site.parts.catalog.change(caller.scope, &id, change.enabled, change.current).await?;
    tracing::info!(user = %caller.user.id, plugin = %id, enabled = change.enabled, current = change.current, "plugin changed");
    Ok(Answer(entry.into()))
}

/// Remove a plugin
///
/// With its versions, bindings, values and logs. What waits for it goes on without it.
#[utoipa::path(delete, path = "/api/plugins/{id}", operation_id = "removePlugin", tag = "Plugins",
    params(("id" = String, Path, description = "The plugin")),
    responses((status = 200, description = "Removed", body = Done), Guarded, Named))]
pub(in crate::http) async fn remove(
    State(site): Shared,
    caller: Caller,
    PluginPath(id): PluginPath,
) -> Result<Answer<Done>, ApiError> {
    site.parts.catalog.remove(caller.scope, &id).await?;
    tracing::info!(user = %caller.user.id, plugin = %id, "plugin removed");
    Ok(Answer(Done::new("Plugin removed successfully")))
}

/// List a plugin's versions
#[utoipa::path(get, path = "/api/plugins/{id}/versions", operation_id = "listPluginVersions", tag = "Plugins",
    params(("id" = String, Path, description = "The plugin")),
    responses((status = 200, description = "Its versions, oldest first", body = [VersionBody]), Guarded, Named))]
pub(in crate::http) async fn versions(
    State(site): Shared,
    caller: Caller,
    PluginPath(id): PluginPath,
) -> Result<Answer<Vec<VersionBody>>, ApiError> {
    let current = site.parts.catalog.get(caller.scope, &id).await?.plugin.current;
    let versions = site.parts.catalog.versions(caller.scope, &id).await?;
    Ok(Answer(versions.into_iter().map(|version| VersionBody::new(version, current)).collect()))
}

/// Add a version of a plugin
///
/// It gets the grants of the version that runs unless others are given, and runs at once unless `activate` is false.
/// A plugin keeps 100 versions: the oldest that does not run makes way.
#[utoipa::path(post, path = "/api/plugins/{id}/versions", operation_id = "addPluginVersion", tag = "Plugins",
    params(("id" = String, Path, description = "The plugin"),
           ("grant" = Option<Vec<String>>, Query, explode, description = "What it may do; once for each grant",
            example = json!(["log", "kv"])),
           ("accept_ungranted" = Option<bool>, Query,
            description = "Whether a component may import what it is not granted, and be denied it; false when left out"),
           ("activate" = Option<bool>, Query, description = "Whether it is to run at once; true when left out")),
    request_body(description = "A component, or a script as JSON", content(
        (Vec<u8> = "application/wasm"), (ScriptRequest = "application/json"))),
    responses((status = 201, description = "Added", body = VersionBody), Body, Guarded, Named))]
pub(in crate::http) async fn add_version(
    State(site): Shared,
    PluginPath(id): PluginPath,
    upload: Upload,
) -> Result<(StatusCode, Answer<VersionBody>), ApiError> {
    let Upload { caller, source, wishes } = upload;
    if wishes.name.is_some() {
        return Err(ApiError::bad_request("invalid_field", "name: a plugin keeps its name; leave it out"));
    }
    let catalog = &site.parts.catalog;
    let Wishes { grants, accept_ungranted, activate, .. } = wishes;
    let activate = activate.unwrap_or(true);
    let version = catalog.add_version(caller.scope, &id, &source, grants, accept_ungranted, activate).await?;
    tracing::info!(user = %caller.user.id, plugin = %id, version = version.number, activate, "plugin version added");
    let current = catalog.get(caller.scope, &id).await?.plugin.current;
    Ok((StatusCode::CREATED, Answer(VersionBody::new(version, current))))
}

/// Read a plugin's log
#[utoipa::path(get, path = "/api/plugins/{id}/logs", operation_id = "getPluginLogs", tag = "Plugins",
    params(("id" = String, Path, description = "The plugin"),
           ("limit" = Option<u32>, Query, description = "How many lines, 1 to 1,000; 100 when left out", example = 100)),
    responses((status = 200, description = "The newest lines, newest first", body = [LogBody]), Parameter, Guarded,
              Named))]
pub(in crate::http) async fn logs(
    State(site): Shared,
    caller: Caller,
    PluginPath(id): PluginPath,
    Query(query): Query<LogQuery>,
) -> Result<Answer<Vec<LogBody>>, ApiError> {
    let limit = query.limit.unwrap_or(LINES);
    if !(1..=MOST_LINES).contains(&limit) {
        return Err(ApiError::bad_request("invalid_query", "limit: 1 to 1,000 lines can be read"));
    }
    site.parts.catalog.get(caller.scope, &id).await?;
    let lines = site.parts.store.plugins(caller.scope).logs(&id, limit).await?;
    Ok(Answer(lines.into_iter().map(LogBody::from).collect()))
}

/// Try what waits for a plugin again, now
#[utoipa::path(post, path = "/api/plugins/{id}/release", operation_id = "releaseParked", tag = "Plugins",
    params(("id" = String, Path, description = "The plugin")),
    responses((status = 200, description = "What waits for it is due now", body = Released), Guarded, Named))]
pub(in crate::http) async fn release(
    State(site): Shared,
    caller: Caller,
    PluginPath(id): PluginPath,
) -> Result<Answer<Released>, ApiError> {
    let released = site.parts.catalog.release(caller.scope, &id).await?;
    Ok(Answer(Released { success: true, released }))
}
