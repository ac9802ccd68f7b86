//! What an earlier process stored and did not route: back on its lanes, oldest first, while the gateway is already up.
//!
//! Sessions catch up in groups. A group with a session that has no room is passed by until it has, so one session's
//! backlog holds up no other group. Until a group has caught up, what is received for it is only stored and comes in its
//! turn.
//!
//! Invariant: on a lane, what an earlier process stored stands before what this one receives.

use std::collections::HashSet;
use std::time::Duration;

use super::lanes::{Lanes, group_of};
use crate::app::tasks::Tasks;
use crate::model::{EventId, Scope};
use crate::store::events::Past;
use crate::store::{Store, StoreError};

/// Events looked at in one read.
const PAGE: u32 = 500;
/// Pause before groups that had no room are offered more.
const PAUSE: Duration = Duration::from_millis(200);

/// Works until every group has caught up, or `tasks` stops.
pub(super) async fn resume(store: Store, lanes: Lanes, tasks: Tasks) {
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

/// Offers what is not routed to the groups that have not caught up; whether all of them have. Everything up to `through`
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
            let (id, group) = (event.id.clone(), group_of(&event));
            if lanes.is_behind(group) && (full.contains(&group) || !lanes.offer(event, Past::default())) {
                full.insert(group);
            }
            if full.is_empty() {
                *through = Some(id.clone());
            }
            at = Some(id);
        }
        if lanes.behind().all(|group| full.contains(&group)) {
            return Ok(false);
        }
    }
    lanes.caught_up(|group| !full.contains(&group));
    // What was received since the last read and left to us.
    for event in events.unrouted(at.as_ref(), PAGE).await? {
        if !full.contains(&group_of(&event)) {
            lanes.offer(event, Past::default());
        }
    }
    Ok(full.is_empty())
}
