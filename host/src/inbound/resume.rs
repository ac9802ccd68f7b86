//! What an earlier process stored and did not route: back on its lanes, oldest first, while the gateway is already up.
//!
//! A lane that is full is passed by until it has room, so one chat's backlog holds up no other lane. Until a lane has
//! caught up, what is received for it is only stored and comes in its turn.
//!
//! Invariant: on a lane, what an earlier process stored stands before what this one receives.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::lanes::{Lanes, lane_of};
use crate::app::tasks::Tasks;
use crate::model::{EventId, Scope};
use crate::store::events::Past;
use crate::store::{Store, StoreError};

/// Events looked at in one read.
const PAGE: u32 = 500;
/// Pause before lanes that were full are offered more.
const PAUSE: Duration = Duration::from_millis(200);

/// Works until every lane has caught up, or `tasks` stops.
pub(super) async fn resume(store: Store, lanes: Arc<Lanes>, tasks: Tasks) {
    let mut through = None;
    while !tasks.is_stopping() {
        match look(&store, &lanes, &mut through).await {
            Ok(true) | Err(StoreError::Closed) => return,
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "what was not routed before cannot be read; trying again"),
        }
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            () = tasks.stopping() => return,
        }
    }
}

/// Offers what is not routed to the lanes that have not caught up; whether all of them have. Everything up to `through`
/// is on its lane.
async fn look(store: &Store, lanes: &Lanes, through: &mut Option<EventId>) -> Result<bool, StoreError> {
    let events = store.events(Scope::gateway());
    let (mut at, mut full) = (through.clone(), HashSet::new());
    loop {
        let page = events.unrouted(at.as_ref(), PAGE).await?;
        if page.is_empty() {
            break;
        }
        for event in page {
            let (id, lane) = (event.id.clone(), lane_of(&event));
            if lanes.is_behind(lane) && (full.contains(&lane) || !lanes.offer(event, Past::default())) {
                full.insert(lane);
            }
            if full.is_empty() {
                *through = Some(id.clone());
            }
            at = Some(id);
        }
        if lanes.behind().all(|lane| full.contains(&lane)) {
            return Ok(false);
        }
    }
    lanes.caught_up(|lane| !full.contains(&lane));
    // What was received since the last read and left to us.
    for event in events.unrouted(at.as_ref(), PAGE).await? {
        if !full.contains(&lane_of(&event)) {
            lanes.offer(event, Past::default());
        }
    }
    Ok(full.is_empty())
}
