//! Whether the gateway lives and is ready, and what it is.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::Shared;
use super::docs::answers::Always;
use super::error::ApiError;

/// A sign of life.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Health {
    /// `ok`.
    #[schema(example = "ok")]
    status: &'static str,
}

/// What is running.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Version {
    /// The product.
    #[schema(example = "wagate")]
    name: &'static str,
    /// Its version.
    #[schema(example = "0.1.0")]
    version: &'static str,
}

/// Whether the process answers
///
/// Restart it when this fails.
#[utoipa::path(get, path = "/livez", operation_id = "livez", tag = "Health", security(()),
    responses((status = 200, description = "It lives", body = Health)))]
pub(super) async fn livez() -> Json<Health> {
    Json(Health { status: "ok" })
}

/// Whether it can do its work
///
/// Commits and reads back one row. Send no traffic while this fails.
#[utoipa::path(get, path = "/readyz", operation_id = "readyz", tag = "Health", security(()),
    responses((status = 200, description = "It is ready", body = Health), Always))]
pub(super) async fn readyz(State(site): Shared) -> Result<Json<Health>, ApiError> {
    if let Err(error) = site.parts.store.ping().await {
        tracing::warn!(%error, "the store does not answer");
        let status = axum::http::StatusCode::SERVICE_UNAVAILABLE;
        return Err(ApiError::new(status, "not_ready", "the database does not answer"));
    }
    Ok(Json(Health { status: "ok" }))
}

/// Which version is running
#[utoipa::path(get, path = "/api/version", operation_id = "getVersion", tag = "Health", security(()),
    responses((status = 200, description = "Name and version", body = Version)))]
pub(super) async fn version() -> Json<Version> {
    Json(Version { name: env!("CARGO_PKG_NAME"), version: env!("CARGO_PKG_VERSION") })
}
