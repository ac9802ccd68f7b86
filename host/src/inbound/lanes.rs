//! Lanes: events of one chat are routed one after the other, chats side by side.
//!
//! An event is on a lane at most once at a time, so a deferred one that comes due while it is being routed is not
//! routed twice.
//!
//! Invariants: what is on a lane is stored; what leaves one unrouted, for whatever reason, can be put on it again.

use std::collections::{HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::mpsc;

use super::route::Router;
use crate::app::tasks::Tasks;
use crate::model::{Event, EventId};

/// Lanes side by side. Each waits for its own commit, so more lanes share one.
const LANES: usize = 32;
/// Events that may wait in a lane. A full lane makes `receive` wait, which makes WhatsApp wait.
const LANE_LENGTH: usize = 256;
/// Pause before a failed routing is tried again.
const PAUSE: Duration = Duration::from_millis(500);

/// The lanes.
pub(super) struct Lanes {
    entries: Vec<mpsc::Sender<Waiting>>,
    under_way: UnderWay,
}

/// An event that waits to be routed.
struct Waiting {
    event: Event,
    /// Times it was routed before, when it was deferred or parked.
    tries: u32,
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
    fn admit(&self, event: Event, tries: u32) -> Option<Waiting> {
        let id = event.id.clone();
        let fresh = self.lock().insert(id.clone());
        fresh.then(|| Waiting { event, tries, _place: Place { under_way: self.clone(), id } })
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
        Self { entries, under_way }
    }

    /// Puts a stored event on its chat's lane, unless it is on it. Waits while the lane is full; whoever stops waiting
    /// leaves nothing behind.
    pub(super) async fn enter(&self, event: Event, tries: u32) {
        // A closed lane means that the gateway stops; the event is stored and routed at the next start.
        if let Ok(room) = self.of(&event).reserve().await
            && let Some(waiting) = self.under_way.admit(event, tries)
        {
            room.send(waiting);
        }
    }

    /// The same without waiting: when the lane is full, the event stays where it is stored.
    pub(super) fn offer(&self, event: Event, tries: u32) {
        if let Ok(room) = self.of(&event).try_reserve()
            && let Some(waiting) = self.under_way.admit(event, tries)
        {
            room.send(waiting);
        }
    }

    /// The lane of the event's chat.
    fn of(&self, event: &Event) -> &mpsc::Sender<Waiting> {
        let mut hasher = DefaultHasher::new();
        (&event.session, event.message().map(|message| &message.chat)).hash(&mut hasher);
        let lane = usize::try_from(hasher.finish() % LANES as u64).unwrap_or_default();
        &self.entries[lane]
    }
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
        let raised = persist(router, tasks, &waiting.event, waiting.tries).await?;
        queue.extend(raised.into_iter().filter_map(|event| under_way.admit(event, 0)));
    }
    Some(())
}

/// Routes until it succeeds; `None` when the gateway stops first.
async fn persist(router: &Router, tasks: &Tasks, event: &Event, tries: u32) -> Option<Vec<Event>> {
    loop {
        match router.route(event, tries).await {
            Ok(raised) => return Some(raised),
            Err(error) => tracing::error!(event = %event.id, %error, "an event could not be routed; trying again"),
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
        (Lanes { entries: vec![entry; LANES], under_way: UnderWay::default() }, events)
    }

    #[tokio::test]
    async fn who_stops_waiting_for_a_full_lane_leaves_nothing_behind() {
        let (lanes, mut events) = lanes(1);
        let (first, second) = (event(), event());
        lanes.enter(first.clone(), 0).await;
        let waiting = tokio::time::timeout(Duration::from_millis(10), lanes.enter(second.clone(), 0));
        assert!(waiting.await.is_err(), "the lane is full");
        lanes.offer(second.clone(), 0);
        assert_eq!(events.recv().await.map(|waiting| waiting.event), Some(first));
        assert!(events.try_recv().is_err());
        lanes.enter(second.clone(), 0).await;
        assert_eq!(events.recv().await.map(|waiting| waiting.event), Some(second));
    }

    #[tokio::test]
    async fn an_event_is_under_way_once_and_again_when_it_was_let_go() {
        let (lanes, mut events) = lanes(4);
        let event = event();
        lanes.enter(event.clone(), 0).await;
        let under_way = events.recv().await;
        lanes.enter(event.clone(), 1).await;
        lanes.offer(event.clone(), 1);
        assert!(events.try_recv().is_err(), "it is being routed");
        drop(under_way);
        lanes.offer(event, 1);
        assert_eq!(events.recv().await.map(|waiting| waiting.tries), Some(1));
    }
}
