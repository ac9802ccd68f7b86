//! Lanes: events of one chat are routed one after the other, chats side by side.
//!
//! An event is on a lane at most once at a time, so a deferred one that comes due while it is being routed is not
//! routed twice.
//!
//! Invariants: what is on a lane is stored; what leaves one unrouted, for whatever reason, can be put on it again.

use std::collections::{HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::mpsc;

use super::route::Router;
use crate::app::tasks::Tasks;
use crate::model::{Event, EventId};
use crate::store::StoreError;
use crate::store::events::Past;

/// Lanes side by side. Each waits for its own commit, so more lanes share one.
const LANES: usize = 32;
/// Events that may wait in a lane. A full lane makes `receive` wait, which makes WhatsApp wait.
const LANE_LENGTH: usize = 256;
/// Pause before a failed routing is tried again.
const PAUSE: Duration = Duration::from_millis(500);
/// Errors after which an event makes way for others.
const ERRORS: u32 = 3;

/// The lanes.
pub(super) struct Lanes {
    entries: Vec<mpsc::Sender<Waiting>>,
    under_way: UnderWay,
    /// Which lanes still wait for what an earlier process stored (`resume.rs`).
    behind: [AtomicBool; LANES],
}

/// An event that waits to be routed.
struct Waiting {
    event: Event,
    /// What it has been through, when it was deferred or parked.
    past: Past,
    _place: Place,
}

/// The events on the lanes.
#[derive(Clone, Default)]
struct UnderWay(Arc<Mutex<HashSet<EventId>>>);

/// An event's place among those under way, given back when it is dropped.
struct Place {
    under_way: UnderWay,
    id: EventId,
}

impl UnderWay {
    /// Gives the event its place; `None` when it has one already.
    fn admit(&self, event: Event, past: Past) -> Option<Waiting> {
        let id = event.id.clone();
        let fresh = self.lock().insert(id.clone());
        fresh.then(|| Waiting { event, past, _place: Place { under_way: self.clone(), id } })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashSet<EventId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.under_way.lock().remove(&self.id);
    }
}

impl Lanes {
    pub(super) fn start(router: &Router, tasks: &Tasks) -> Self {
        let under_way = UnderWay::default();
        let entries = (0..LANES)
            .map(|_| {
                let (entry, events) = mpsc::channel(LANE_LENGTH);
                let lane = lane(router.clone(), tasks.clone(), events, under_way.clone());
                tasks.spawn("routing lane", lane);
                entry
            })
            .collect();
        Self { entries, under_way, behind: [const { AtomicBool::new(false) }; LANES] }
    }

    /// Puts an event that has just been stored on its chat's lane. Waits while the lane is full; whoever stops waiting
    /// leaves nothing behind. Where older ones are still to come first, it is left to whoever brings those.
    pub(super) async fn enter(&self, event: Event) {
        let lane = lane_of(&event);
        if self.is_behind(lane) {
            return;
        }
        // A closed lane means that the gateway stops; the event is stored and routed at the next start.
        if let Ok(room) = self.entries[lane].reserve().await
            && let Some(waiting) = self.under_way.admit(event, Past::default())
        {
            room.send(waiting);
        }
    }

    /// Puts a stored event on its chat's lane, unless it is on it. `false` when the lane is full: then the event stays
    /// where it is stored.
    pub(super) fn offer(&self, event: Event, past: Past) -> bool {
        let Ok(room) = self.entries[lane_of(&event)].try_reserve() else { return false };
        if let Some(waiting) = self.under_way.admit(event, past) {
            room.send(waiting);
        }
        true
    }

    /// From now on every lane waits for what an earlier process stored.
    pub(super) fn fall_behind(&self) {
        self.behind.iter().for_each(|behind| behind.store(true, Ordering::SeqCst));
    }

    /// The lanes that have all that an earlier process stored.
    pub(super) fn caught_up(&self, which: impl Fn(usize) -> bool) {
        for lane in (0..LANES).filter(|lane| which(*lane)) {
            self.behind[lane].store(false, Ordering::SeqCst);
        }
    }

    pub(super) fn is_behind(&self, lane: usize) -> bool {
        self.behind[lane].load(Ordering::SeqCst)
    }

    /// The lanes that have not caught up.
    pub(super) fn behind(&self) -> impl Iterator<Item = usize> {
        (0..LANES).filter(move |lane| self.is_behind(*lane))
    }
}

/// The lane of the event's chat.
pub(super) fn lane_of(event: &Event) -> usize {
    let mut hasher = DefaultHasher::new();
    (&event.session, event.message().map(|message| &message.chat)).hash(&mut hasher);
    usize::try_from(hasher.finish() % LANES as u64).unwrap_or_default()
}

async fn lane(router: Router, tasks: Tasks, mut events: mpsc::Receiver<Waiting>, under_way: UnderWay) {
    loop {
        let waiting = tokio::select! {
            waiting = events.recv() => waiting,
            () = tasks.stopping() => None,
        };
        let Some(waiting) = waiting else { return };
        let id = waiting.event.id.clone();
        // The lane outlives a panic: others wait in it.
        match AssertUnwindSafe(follow(&router, &tasks, &under_way, waiting)).catch_unwind().await {
            Ok(Some(())) => {}
            Ok(None) => return,
            Err(_) => tracing::error!(event = %id, "routing an event panicked; it will be tried again later"),
        }
    }
}

/// Routes an event, and at once what its plugins raise: only messages are filtered and only filters raise events, so
/// this ends. `None` when the gateway stops first.
async fn follow(router: &Router, tasks: &Tasks, under_way: &UnderWay, first: Waiting) -> Option<()> {
    let mut queue = VecDeque::from([first]);
    while let Some(waiting) = queue.pop_front() {
        let raised = persist(router, tasks, &waiting.event, waiting.past).await?;
        queue.extend(raised.into_iter().filter_map(|event| under_way.admit(event, Past::default())));
    }
    Some(())
}

/// Routes until it succeeds, or until it is plain that something is wrong with this event: then it makes way for the
/// others of the lane, stays stored, and is taken up again by the watch over what was left behind. `None` when the
/// gateway stops first.
async fn persist(router: &Router, tasks: &Tasks, event: &Event, past: Past) -> Option<Vec<Event>> {
    let mut errors = 0;
    loop {
        match router.route(event, past).await {
            Ok(raised) => return Some(raised),
            Err(StoreError::Contended) => {
                tracing::warn!(event = %event.id, "values keep changing while an event is routed; trying again");
            }
            Err(error) => {
                errors += 1;
                tracing::error!(event = %event.id, %error, errors, "an event could not be routed; it is tried again");
            }
        }
        if errors >= ERRORS {
            return Some(Vec::new());
        }
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            () = tasks.stopping() => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Happening, Millis, PluginEvent, PluginId, SessionId};

    fn event() -> Event {
        let what = PluginEvent { plugin: PluginId::new(), kind: "ping".to_owned(), payload: serde_json::Value::Null };
        Event { id: EventId::new(), session: SessionId::new(), what: Happening::Plugin(what), stored_at: Millis(0) }
    }

    /// Lanes that all end in one of this length, which nobody empties.
    fn lanes(length: usize) -> (Lanes, mpsc::Receiver<Waiting>) {
        let (entry, events) = mpsc::channel(length);
        let behind = [const { AtomicBool::new(false) }; LANES];
        (Lanes { entries: vec![entry; LANES], under_way: UnderWay::default(), behind }, events)
    }

    #[tokio::test]
    async fn who_stops_waiting_for_a_full_lane_leaves_nothing_behind() {
        let (lanes, mut events) = lanes(1);
        let (first, second) = (event(), event());
        lanes.enter(first.clone()).await;
        let waiting = tokio::time::timeout(Duration::from_millis(10), lanes.enter(second.clone()));
        assert!(waiting.await.is_err(), "the lane is full");
        assert!(!lanes.offer(second.clone(), Past::default()));
        assert_eq!(events.recv().await.map(|waiting| waiting.event), Some(first));
        assert!(events.try_recv().is_err());
        lanes.enter(second.clone()).await;
        assert_eq!(events.recv().await.map(|waiting| waiting.event), Some(second));
    }

    #[tokio::test]
    async fn an_event_is_under_way_once_and_again_when_it_was_let_go() {
        let (lanes, mut events) = lanes(4);
        let (event, again) = (event(), Past { tries: 1, failures: 0 });
        lanes.enter(event.clone()).await;
        let under_way = events.recv().await;
        lanes.enter(event.clone()).await;
        assert!(lanes.offer(event.clone(), again));
        assert!(events.try_recv().is_err(), "it is being routed");
        drop(under_way);
        assert!(lanes.offer(event, again));
        assert_eq!(events.recv().await.map(|waiting| waiting.past), Some(again));
    }

    #[tokio::test]
    async fn what_is_received_waits_for_the_older_ones_of_its_lane() {
        let (lanes, mut events) = lanes(2);
        let (older, newer) = (event(), event());
        lanes.fall_behind();
        lanes.enter(newer.clone()).await;
        assert!(events.try_recv().is_err() && lanes.behind().count() == LANES);
        assert!(lanes.offer(older.clone(), Past::default()));
        lanes.caught_up(|lane| lane == lane_of(&newer));
        assert_eq!(lanes.behind().count(), LANES - 1);
        lanes.enter(newer.clone()).await;
        assert_eq!(events.recv().await.map(|waiting| waiting.event), Some(older));
        assert_eq!(events.recv().await.map(|waiting| waiting.event), Some(newer));
    }
}
