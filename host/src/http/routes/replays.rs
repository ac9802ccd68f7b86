//! Replays: many deliveries posted again, chosen by a filter, so many a second.

use axum::Json as Answer;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::Shared;
use super::super::caller::Caller;
use super::super::docs::answers::{Body, Guarded, Named, Standing};
use super::super::error::ApiError;
use super::super::extract::{Json, ReplayPath};
use super::Done;
use super::deliveries::{parsed, states_named};
use crate::model::{DeliveryId, Millis};
use crate::store::deliveries::DeliveryFilter;
use crate::store::replays::{Replay, ReplayState};

/// Deliveries a second unless told otherwise, and at most.
const USUAL: u32 = 50;
const MOST: u32 = 1_000;
/// Ids in one request at most.
const MOST_IDS: usize = 256;

/// Which deliveries are to be posted again.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct ReplayRequest {
    /// These, at most 256; all that the rest names when left out.
    #[serde(default)]
    ids: Vec<String>,
    /// To this endpoint.
    #[serde(default)]
    endpoint: Option<String>,
    /// Of this session.
    #[serde(default)]
    session: Option<String>,
    /// Of this event.
    #[serde(default)]
    event: Option<String>,
    /// In this state: `waiting`, `delivered` or `dead`; several separated by commas, any when left out.
    #[serde(default)]
    #[schema(example = "dead")]
    state: Option<String>,
    /// Created then or later, milliseconds since 1970.
    #[serde(default)]
    from: Option<i64>,
    /// Created before then, milliseconds since 1970.
    #[serde(default)]
    until: Option<i64>,
    /// How many a second, 1 to 1,000; 50 when left out.
    #[serde(default)]
    #[schema(example = 50)]
    per_second: Option<u32>,
    /// Only count them.
    #[serde(default)]
    dry_run: bool,
}

/// What a replay would do.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct ReplayCount {
    /// Deliveries that would be posted again.
    count: u64,
}

/// A replay as it stands.
#[derive(Serialize, ToSchema)]
#[schema(as = Replay)]
pub(in crate::http) struct ReplayBody {
    /// Its id.
    id: String,
    /// `running`, `done` or `cancelled`.
    #[schema(value_type = String, example = "running")]
    state: ReplayState,
    /// Deliveries it found when it began.
    total: u64,
    /// Those that wait again or have been posted again.
    done: u64,
    /// How many a second.
    per_second: u32,
    /// Which deliveries.
    #[schema(value_type = Object)]
    filter: DeliveryFilter,
    /// When it began, milliseconds since 1970.
    created_at: i64,
    /// When it ended, milliseconds since 1970.
    ended_at: Option<i64>,
}

/// Post many deliveries again
///
/// They are due again at the pace asked for; a restart of the gateway does not end it. With `dry_run` they are only
/// counted.
#[utoipa::path(post, path = "/api/replays", operation_id = "startReplay", tag = "Deliveries",
    request_body = ReplayRequest,
    responses((status = 200, description = "Counted (`dry_run`)", body = ReplayCount),
              (status = 202, description = "It has begun", body = ReplayBody), Body, Guarded))]
pub(in crate::http) async fn start(
    State(site): Shared,
    caller: Caller,
    Json(request): Json<ReplayRequest>,
) -> Result<Response, ApiError> {
    let (dry_run, per_second) = (request.dry_run, request.per_second.unwrap_or(USUAL));
    if !(1..=MOST).contains(&per_second) {
        return Err(ApiError::bad_request("invalid_field", "per_second: must be 1 to 1000"));
    }
    let (filter, store) = (request.filter()?, &site.parts.store);
    if dry_run {
        let count = store.deliveries(caller.scope).count(&filter).await?;
        return Ok(Answer(ReplayCount { count }).into_response());
    }
    let replay = store.replays(caller.scope).start(caller.user.id, filter, per_second).await?;
    site.parts.webhooks.replays_changed();
    tracing::info!(user = %caller.user.id, replay = %replay.id, total = replay.total, "replay started");
    Ok((StatusCode::ACCEPTED, Answer(ReplayBody::from(replay))).into_response())
}

/// List replays
#[utoipa::path(get, path = "/api/replays", operation_id = "listReplays", tag = "Deliveries",
    responses((status = 200, description = "The newest hundred, newest first", body = [ReplayBody]), Guarded))]
pub(in crate::http) async fn list(State(site): Shared, caller: Caller) -> Result<Answer<Vec<ReplayBody>>, ApiError> {
    let replays = site.parts.store.replays(caller.scope).list().await?;
    Ok(Answer(replays.into_iter().map(ReplayBody::from).collect()))
}

/// Show a replay
#[utoipa::path(get, path = "/api/replays/{id}", operation_id = "getReplay", tag = "Deliveries",
    params(("id" = String, Path, description = "The replay")),
    responses((status = 200, description = "As it stands", body = ReplayBody), Guarded, Named))]
pub(in crate::http) async fn get(
    State(site): Shared,
    caller: Caller,
    ReplayPath(id): ReplayPath,
) -> Result<Answer<ReplayBody>, ApiError> {
    let replay = site.parts.store.replays(caller.scope).get(&id).await?;
    Ok(Answer(replay.ok_or_else(no_replay)?.into()))
}

/// Cancel a replay
///
/// What waits again by now goes on waiting.
#[utoipa::path(delete, path = "/api/replays/{id}", operation_id = "cancelReplay", tag = "Deliveries",
    params(("id" = String, Path, description = "The replay")),
    responses((status = 200, description = "Cancelled", body = Done), Guarded, Named, Standing))]
pub(in crate::http) async fn cancel(
    State(site): Shared,
    caller: Caller,
    ReplayPath(id): ReplayPath,
) -> Result<Answer<Done>, ApiError> {
    let replays = site.parts.store.replays(caller.scope);
    if !replays.cancel(&id).await? {
        replays.get(&id).await?.ok_or_else(no_replay)?;
        return Err(ApiError::conflict("replay_ended", "the replay has ended already"));
    }
    site.parts.webhooks.replays_changed();
    Ok(Answer(Done::new("Replay cancelled")))
}

fn no_replay() -> ApiError {
    ApiError::not_found("no replay with this id")
}

impl ReplayRequest {
    fn filter(self) -> Result<DeliveryFilter, ApiError> {
        if self.ids.len() > MOST_IDS {
            return Err(ApiError::bad_request("invalid_field", "ids: has more than 256"));
        }
        let ids: Vec<DeliveryId> = self.ids.iter().map(|id| parsed("ids", id)).collect::<Result<_, _>>()?;
        Ok(DeliveryFilter {
            ids,
            endpoint: self.endpoint.as_deref().map(|id| parsed("endpoint", id)).transpose()?,
            session: self.session.as_deref().map(|id| parsed("session", id)).transpose()?,
            event: self.event.as_deref().map(|id| parsed("event", id)).transpose()?,
            states: states_named(self.state.as_deref())?,
            from: self.from.map(Millis),
            until: self.until.map(Millis),
        })
    }
}

impl From<Replay> for ReplayBody {
    fn from(replay: Replay) -> Self {
        Self {
            id: replay.id.into(),
            state: replay.state,
            total: replay.total,
            done: replay.done,
            per_second: replay.per_second,
            filter: replay.filter,
            created_at: replay.created_at.0,
            ended_at: replay.ended_at.map(|at| at.0),
        }
    }
}
