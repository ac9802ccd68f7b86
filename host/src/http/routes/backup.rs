//! The copy of a database that only the running gateway can open, for administrators. It stays on the gateway's machine.

use axum::Json as Answer;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::super::Shared;
use super::super::caller::Admin;
use super::super::docs::answers::{Guarded, Standing};
use super::super::error::ApiError;
use crate::store::backup::{self, Progress};

/// How far the backup is, or how the last one ended.
#[derive(Serialize, ToSchema)]
#[schema(as = Backup)]
pub(in crate::http) struct BackupBody {
    /// Where it stands.
    state: BackupState,
    /// Where it lies on the gateway's machine, once it is done.
    #[schema(example = "/var/lib/wagate/wagate.db.backup")]
    file: Option<String>,
    /// How many rows it has.
    #[schema(example = 4711)]
    rows: Option<u64>,
    /// Why it failed.
    error: Option<String>,
}

/// Where a backup stands: none since the gateway started, under way, verified and on disk, or failed.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::http) enum BackupState {
    Idle,
    Running,
    Done,
    Failed,
}

/// See how far the backup is
#[utoipa::path(get, path = "/api/admin/backup", operation_id = "getBackup", tag = "Backup",
    responses((status = 200, description = "The backup", body = BackupBody), Guarded))]
pub(in crate::http) async fn progress(State(site): Shared, _admin: Admin) -> Answer<BackupBody> {
    Answer(site.parts.store.backups().progress().into())
}

/// Copy the database
///
/// Writes a verified copy of the SQLite file beside it, in place of the last one, while the gateway goes on working.
/// `wagate backup` asks for it and takes it away. A database on a server is read by `wagate backup` itself:
/// `database_on_server`. The master key is not in the copy.
#[utoipa::path(post, path = "/api/admin/backup", operation_id = "beginBackup", tag = "Backup",
    responses((status = 202, description = "Begun", body = BackupBody), Guarded, Standing))]
pub(in crate::http) async fn begin(
    State(site): Shared,
    Admin(admin): Admin,
) -> Result<(StatusCode, Answer<BackupBody>), ApiError> {
    let backups = site.parts.store.backups();
    backups.start(&site.tasks)?;
    tracing::info!(by = %admin.id, "the database is being copied");
    Ok((StatusCode::ACCEPTED, Answer(backups.progress().into())))
}

impl From<Progress> for BackupBody {
    fn from(progress: Progress) -> Self {
        let state = match progress.state {
            backup::State::Idle => BackupState::Idle,
            backup::State::Running => BackupState::Running,
            backup::State::Done => BackupState::Done,
            backup::State::Failed => BackupState::Failed,
        };
        let file = progress.file.map(|file| file.display().to_string());
        Self { state, file, rows: progress.rows, error: progress.error }
    }
}
