//! Events that plugins deferred, or that wait for a plugin to recover: back on their lane when their time has come.
//! With them go events that were left behind: stored by a commit that reported a failure and reached the disk after all,
//! or not routed for errors.
//!
//! Invariant: the rows are the memory; a start finds what an earlier process held.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::lanes::{Lanes, group_of};
use crate::app::tasks::Tasks;
use crate::model::{Clock, EventId, Scope};
use crate::store::events::Past;
use crate::store::{Store, StoreError};

/// Longest wait between two looks.
const POLL: Duration = Duration::from_secs(10);
/// Shortest wait, so that an event that cannot be routed does not keep the store busy.
const BREATH: Duration = Duration::from_millis(50);
/// Events put on their lanes at a time.
const PAGE: u32 = 200;
/// An event that was not routed for so long, though it is neither held nor on a lane, was left behind.
const LEFT_BEHIND: Duration = Duration::from_secs(30);

/// Puts held events on their lanes as they come due, until `tasks` stops. `wake` is told of each new one.
pub(super) async fn watch(store: Store, lanes: Lanes, wake: Arc<Notify>, clock: Clock, tasks: Tasks) {
    let mut seen = None;
    while !tasks.is_stopping() {
        let wait = match release(&store, &lanes, &clock, &mut seen).await {
            Ok(wait) => wait,
            Err(StoreError::Closed) => return,
            Err(error) => {
                tracing::warn!(%error, "held events cannot be looked at");
                POLL
            }
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = wake.notified() => {}
            () = tasks.stopping() => return,
        }
    }
}

/// Enters what is due and answers how long to wait for the next. A session without room is passed by: what cannot
/// enter now comes up again. `seen` is how far what was left behind was looked through, a page each time, so that what
/// cannot be routed does not hide the rest.
async fn release(
    store: &Store,
    lanes: &Lanes,
    clock: &Clock,
    seen: &mut Option<EventId>,
) -> Result<Duration, StoreError> {
    let (events, now) = (store.events(Scope::gateway()), clock.now());
    for (event, past) in events.held(now, PAGE).await? {
        lanes.offer(event, past);
    }
    let page = events.unrouted(seen.as_ref(), PAGE).await?;
    let full = u32::try_from(page.len()).is_ok_and(|events| events >= PAGE);
    *seen = page.last().filter(|_| full).map(|event| event.id.clone());
    for event in page.into_iter().filter(|event| now.since(event.stored_at) > LEFT_BEHIND) {
        // Where a start is still at work, it comes to the event in its turn.
        if !lanes.is_behind(group_of(&event)) {
            lanes.offer(event, Past::default());
        }
    }
    let next = events.next_held().await?;
    Ok(next.map_or(POLL, |due| due.since(clock.now()).clamp(BREATH, POLL)))
}
