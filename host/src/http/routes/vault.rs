//! The master keys that secrets at rest are sealed with, for administrators. Keys go by their ids; no key is answered.

use axum::Json as Answer;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::super::Shared;
use super::super::caller::Admin;
use super::super::docs::answers::{Guarded, Standing};
use super::super::error::ApiError;
use crate::store::vault::rotation::{self, Progress, Status};

/// How secrets at rest are sealed.
#[derive(Serialize, ToSchema)]
#[schema(as = Vault)]
pub(in crate::http) struct VaultBody {
    /// The id of the master key that seals.
    #[schema(example = "5eaf00d5")]
    current: String,
    /// The ids of all master keys at hand, the one that seals first.
    #[schema(example = json!(["5eaf00d5", "01dcafe0"]))]
    keys: Vec<String>,
    /// How many secrets lie under which key.
    values: Vec<SealedBody>,
}

/// Secrets of one column under one key.
#[derive(Serialize, ToSchema)]
#[schema(as = SealedValues)]
pub(in crate::http) struct SealedBody {
    /// The table.
    #[schema(example = "whatsapp_keys")]
    table: &'static str,
    /// The column.
    #[schema(example = "value")]
    column: &'static str,
    /// The id of the key; null when they do not look sealed at all.
    #[schema(example = "5eaf00d5")]
    key: Option<String>,
    /// How many there are.
    #[schema(example = 812)]
    count: u64,
}

/// How far the rotation is, or how the last one ended.
#[derive(Serialize, ToSchema)]
#[schema(as = Rotation)]
pub(in crate::http) struct RotationBody {
    /// Where it stands.
    state: RotationState,
    /// The table it is at.
    #[schema(example = "whatsapp_keys")]
    table: Option<&'static str>,
    /// Secrets it has sealed anew.
    #[schema(example = 500)]
    resealed: u64,
    /// Why it failed.
    error: Option<String>,
}

/// Where a rotation stands: none since the gateway started, under way, through everything, or ended before that.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::http) enum RotationState {
    Idle,
    Running,
    Done,
    Failed,
}

/// See how secrets are sealed
///
/// Counts every sealed value of the database, which takes a while when there are many.
#[utoipa::path(get, path = "/api/admin/vault", operation_id = "getVault", tag = "Vault",
    responses((status = 200, description = "Keys and counts", body = VaultBody), Guarded))]
pub(in crate::http) async fn status(State(site): Shared, _admin: Admin) -> Result<Answer<VaultBody>, ApiError> {
    Ok(Answer(site.parts.store.sealing().status().await?.into()))
}

/// See how far the rotation is
#[utoipa::path(get, path = "/api/admin/vault/rotation", operation_id = "getRotation", tag = "Vault",
    responses((status = 200, description = "The rotation", body = RotationBody), Guarded))]
pub(in crate::http) async fn rotation(State(site): Shared, _admin: Admin) -> Answer<RotationBody> {
    Answer(site.parts.store.sealing().progress().into())
}

/// Seal every secret under the present master key
///
/// The gateway takes its master keys up anew from where they come from (files and the key command; the environment only
/// at a start) and goes on working while it seals. `master_key_unusable` says what is wrong with them; nothing has
/// changed then.
#[utoipa::path(post, path = "/api/admin/vault/rotate", operation_id = "rotateVault", tag = "Vault",
    responses((status = 202, description = "Begun", body = RotationBody), Guarded, Standing))]
pub(in crate::http) async fn rotate(
    State(site): Shared,
    Admin(admin): Admin,
) -> Result<(StatusCode, Answer<RotationBody>), ApiError> {
    let sealing = site.parts.store.sealing();
    sealing.start(&site.tasks).await?;
    tracing::info!(by = %admin.id, "secrets are being sealed under the present master key");
    Ok((StatusCode::ACCEPTED, Answer(sealing.progress().into())))
}

impl From<Status> for VaultBody {
    fn from(status: Status) -> Self {
        let values = status.counts.into_iter().map(|count| SealedBody {
            table: count.table,
            column: count.column,
            key: count.key.map(|key| key.to_string()),
            count: count.values,
        });
        Self {
            current: status.current.to_string(),
            keys: status.keys.iter().map(ToString::to_string).collect(),
            values: values.collect(),
        }
    }
}

impl From<Progress> for RotationBody {
    fn from(progress: Progress) -> Self {
        let state = match progress.state {
            rotation::State::Idle => RotationState::Idle,
            rotation::State::Running => RotationState::Running,
            rotation::State::Done => RotationState::Done,
            rotation::State::Failed => RotationState::Failed,
        };
        Self { state, table: progress.table, resealed: progress.resealed, error: progress.error }
    }
}
