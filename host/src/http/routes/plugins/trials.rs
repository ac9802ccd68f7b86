//! Trying a plugin without consequences: on one event, or on the last ones.

mod answer;

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json as Answer;
use axum::extract::State;
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use self::answer::{DifferingBody, DryRun, ReplayBody};
use super::bindings::LimitsBody;
use crate::http::caller::Caller;
use crate::http::docs::answers::{Body, Guarded, Named, Standing};
use crate::http::error::ApiError;
use crate::http::extract::{Json, PluginPath};
use crate::http::{Shared, Site};
use crate::model::{Event, EventId, Limits, PluginId, SessionId};
use crate::plugin::catalog::{Catalog, Wish};
use crate::plugin::rehearse::{Sample, rehearse, replay as run};

/// Events replayed when nothing is said, and at most.
const LAST: u32 = 100;
const MOST: u32 = 1_000;
/// How long a replay may take; what is left then is left out.
const REPLAY_TIME: Duration = Duration::from_secs(30);

/// What a plugin is to be tried on: a stored event, or a message that is made up.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct DryRunRequest {
    /// A stored event.
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "evt_0198c0ffee007000800000000000c0de")]
    event_id: Option<EventId>,
    /// A message that is made up; its members are those of an event's `message`, all of them optional.
    #[serde(default)]
    #[schema(value_type = Option<Object>, example = json!({ "text": "the invoice, please" }))]
    message: Option<Sample>,
    /// The session a made-up message is to have reached; one the plugin is bound to, when left out.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    session_id: Option<SessionId>,
    /// The version to try; the one that runs, when left out.
    #[serde(default)]
    version: Option<u32>,
    /// A configuration to try; that of the binding, when left out.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    config: Option<Value>,
    /// Limits to try; those of the binding, when left out.
    #[serde(default)]
    #[schema(value_type = Option<LimitsBody>)]
    limits: Option<Limits>,
    /// Whether it stands alone, without the rest of the session's chain.
    #[serde(default)]
    alone: bool,
}

/// Which events are to be replayed through which version.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct PluginReplayRequest {
    /// The version to try; the one that runs, when left out, which shows what another configuration would change.
    #[serde(default)]
    version: Option<u32>,
    /// How many of the last messages, 1 to 1,000; 100 when left out.
    #[serde(default)]
    #[schema(example = 100, minimum = 1, maximum = 1_000)]
    last: Option<u32>,
    /// Only those of this session; those of the sessions it is bound to, when left out.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    session_id: Option<SessionId>,
    /// A configuration to try.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    config: Option<Value>,
}

/// Try a plugin on one event
///
/// The session's whole chain is run with this plugin in its place, on values as they are now. Nothing is stored, sent
/// or raised, and requests to other services are not made.
#[utoipa::path(post, path = "/api/plugins/{id}/dry-run", operation_id = "dryRunPlugin", tag = "Plugins",
    params(("id" = String, Path, description = "The plugin")),
    request_body = DryRunRequest,
    responses((status = 200, description = "What would have happened", body = DryRun), Body, Guarded, Named))]
pub(in crate::http) async fn dry_run(
    State(site): Shared,
    caller: Caller,
    PluginPath(id): PluginPath,
    Json(request): Json<DryRunRequest>,
) -> Result<Answer<DryRun>, ApiError> {
    let event = subject(&site, &caller, &id, &request).await?;
    let DryRunRequest { version, config, limits, alone, .. } = request;
    let wish = Wish { version, config, limits, alone };
    let catalog = &site.parts.catalog;
    let stages = catalog.stages(caller.scope, &id, &event.session, &wish).await?;
    let rehearsal = rehearse(catalog.plugins(), &stages.after, &event, &stages.endpoints).await;
    Ok(Answer(DryRun::new(rehearsal, &id)))
}

/// Replay the last messages through a version of a plugin
///
/// Each is run through the session's chain as it is and as it would be, both on values as they are now; shown is where
/// the two differ. Nothing is stored, sent or raised, and requests to other services are not made. One at a time.
#[utoipa::path(post, path = "/api/plugins/{id}/replay", operation_id = "replayThroughPlugin", tag = "Plugins",
    params(("id" = String, Path, description = "The plugin")),
    request_body = PluginReplayRequest,
    responses((status = 200, description = "What would have gone another way", body = ReplayBody), Body, Guarded,
              Named, Standing))]
pub(in crate::http) async fn replay(
    State(site): Shared,
    caller: Caller,
    PluginPath(id): PluginPath,
    Json(request): Json<PluginReplayRequest>,
) -> Result<Answer<ReplayBody>, ApiError> {
    let last = request.last.unwrap_or(LAST);
    if !(1..=MOST).contains(&last) {
        return Err(ApiError::bad_request("invalid_field", "last: 1 to 1,000 messages can be replayed"));
    }
    let catalog = &site.parts.catalog;
    catalog.get(caller.scope, &id).await?;
    if let Some(session) = &request.session_id {
        site.parts.store.sessions(caller.scope).get(session).await?.ok_or_else(ApiError::no_session)?;
    }
    let _alone = catalog.begin_replay(caller.user.id)?;
    let mut events = site.parts.store.events(caller.scope).recent(request.session_id.as_ref(), last).await?;
    // What the account wrote itself meets no plugin.
    events.retain(|event| event.message().is_some_and(|message| !message.from_me));
    if request.session_id.is_none() {
        let bindings = catalog.bindings(caller.scope, &id).await?;
        events.retain(|event| Catalog::covers(&bindings, &event.session));
    }
    let wish = Wish { version: request.version, config: request.config, ..Wish::default() };
    let mut stages = BTreeMap::new();
    for event in &events {
        if !stages.contains_key(&event.session) {
            let of_session = catalog.stages(caller.scope, &id, &event.session, &wish).await?;
            stages.insert(event.session.clone(), of_session);
        }
    }
    let replay = run(catalog.plugins(), &events, &stages, REPLAY_TIME).await;
    let same = replay.events.saturating_sub(replay.differing.len());
    let differing = replay.differing.into_iter().map(DifferingBody::from).collect();
    Ok(Answer(ReplayBody { events: replay.events, same, complete: replay.complete, differing }))
}

/// The event a dry run is about.
async fn subject(site: &Site, caller: &Caller, id: &PluginId, request: &DryRunRequest) -> Result<Event, ApiError> {
    let event = match (&request.event_id, &request.message) {
        (Some(event), None) => {
            let event = site.parts.store.events(caller.scope).get(event).await?;
            event.ok_or_else(|| ApiError::not_found("no event with this id"))?
        }
        (None, Some(sample)) => {
            let session = match &request.session_id {
                Some(session) => {
                    site.parts.store.sessions(caller.scope).get(session).await?.ok_or_else(ApiError::no_session)?.id
                }
                None => site.parts.catalog.usual_session(caller.scope, id).await?,
            };
            let now = site.parts.clock.now();
            sample.clone().into_event(session, now).ok_or_else(ApiError::internal)?
        }
        _ => return Err(ApiError::bad_request("invalid_field", "give either event_id or message")),
    };
    if event.message().is_some_and(|message| message.from_me) {
        let message = "the account wrote this message itself; such messages are stored and meet no plugin";
        return Err(ApiError::bad_request("own_message", message));
    }
    Ok(event)
}
