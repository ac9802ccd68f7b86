//! A copy of the database file, for administrators. It stays on the gateway's machine; none is answered.

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

/// How far the copy is, or how the last one ended.
#[derive(Serialize, ToSchema)]
#[schema(as = Backup)]
pub(in crate::http) struct BackupBody {
    /// Where it stands.
    state: BackupState,
    /// The file on the gateway's machine: there once the copy is done.
    #[schema(example = "/var/lib/wagate/backups/wagate-1700000000000.db")]
    file: Option<String>,
    /// Why there is none.
    error: Option<String>,
}

/// Where a copy stands: none since the gateway started, under way, whole and on disk, or given up.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::http) enum BackupState {
    Idle,
    Running,
    Done,
    Failed,
}

/// See how far the copy of the database is
#[utoipa::path(get, path = "/api/admin/backup", operation_id = "getBackup", tag = "Backup",
    responses((status = 200, description = "The copy", body = BackupBody), Guarded))]
pub(in crate::http) async fn get(State(site): Shared, _admin: Admin) -> Answer<BackupBody> {
    Answer(site.parts.store.copying().progress().into())
}

/// Copy the database file
///
/// The copy is what the SQLite file holds at one moment, whole and verified, in the folder `backups` of the data folder;
/// it is not deleted by itself, and the master key is not in it. `no_file`: the database lies on a server, of which
/// `wagate backup` makes a dump.
#[utoipa::path(post, path = "/api/admin/backup", operation_id = "createBackup", tag = "Backup",
    responses((status = 202, description = "Begun", body = BackupBody), Guarded, Standing))]
pub(in crate::http) async fn create(
    State(site): Shared,
    Admin(admin): Admin,
) -> Result<(StatusCode, Answer<BackupBody>), ApiError> {
    let begun = site.parts.store.copying().start(&site.parts.backups, &site.tasks)?;
    tracing::info!(by = %admin.id, "the database is being copied");
    Ok((StatusCode::ACCEPTED, Answer(begun.into())))
}

impl From<Progress> for BackupBody {
    fn from(progress: Progress) -> Self {
        let state = match progress.state {
            backup::State::Idle => BackupState::Idle,
            backup::State::Running => BackupState::Running,
            backup::State::Done => BackupState::Done,
            backup::State::Failed => BackupState::Failed,
        };
        Self { state, file: progress.file.map(|file| file.display().to_string()), error: progress.error }
    }
}
