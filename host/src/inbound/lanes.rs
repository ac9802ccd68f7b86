//! Lanes: events of one chat are routed one after the other, chats side by side.
//!
//! An event is on a lane at most once at a time, so a deferred one that comes due while it is being routed is not
//! routed twice.
//!
//! Invariant: what is on a lane is stored; a lane that ends early loses nothing.

use std::collections::{HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

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
}

/// The events on the lanes.
type UnderWay = Arc<Mutex<HashSet<EventId>>>;

impl Lanes {
    pub(super) fn start(router: &Router, tasks: &Tasks) -> Self {
        let under_way = UnderWay::default();
        let entries = (0..LANES)
            .map(|_| {
                let (entry, events) = mpsc::channel(LANE_LENGTH);
                let lane = lane(router.clone(), tasks.clone(), events, Arc::clone(&under_way));
                tasks.spawn("routing lane", lane);
                entry
            })
            .collect();
        Self { entries, under_way }
    }

    /// Puts a stored event on its chat's lane, unless it is on it. Waits while the lane is full.
    pub(super) async fn enter(&self, event: Event, tries: u32) {
        if !lock(&self.under_way).insert(event.id.clone()) {
            return;
        }
        let mut hasher = DefaultHasher::new();
        (&event.session, event.message().map(|message| &message.chat)).hash(&mut hasher);
        let lane = usize::try_from(hasher.finish() % LANES as u64).unwrap_or_default();
        // A closed lane means that the gateway stops; the event is stored and routed at the next start.
        let _ = self.entries[lane].send(Waiting { event, tries }).await;
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
        // Events that its plugins raise follow at once. Only messages are filtered and only filters raise events, so
        // this ends.
        let mut queue = VecDeque::from([waiting]);
        while let Some(Waiting { event, tries }) = queue.pop_front() {
            let Some(raised) = persist(&router, &tasks, &event, tries).await else { return };
            queue.extend(raised.into_iter().map(|event| Waiting { event, tries: 0 }));
        }
        lock(&under_way).remove(&id);
    }
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

fn lock(under_way: &UnderWay) -> std::sync::MutexGuard<'_, HashSet<EventId>> {
    under_way.lock().unwrap_or_else(PoisonError::into_inner)
}
