//! Lanes: events of one chat are routed one after the other, chats side by side. A lane is there while it has events; no
//! chat waits for another, so a slow plugin holds up nobody's messages but those it is called with.
//!
//! An event is on a lane at most once at a time, so a deferred one that comes due while it is being routed is not
//! routed twice.
//!
//! Invariants: what is on a lane is stored; what leaves one unrouted, for whatever reason, can be put on it again.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::route::Router;
use crate::app::tasks::Tasks;
use crate::model::{Chat, Event, EventId, SessionId};
use crate::store::StoreError;
use crate::store::events::Past;

/// Events of one session that may be on lanes. With more `receive` waits, which makes WhatsApp wait.
const ROOM: usize = 256;
/// Lanes catch up with what an earlier process stored in so many groups.
const GROUPS: usize = 32;
/// Pause before a failed routing is tried again.
const PAUSE: Duration = Duration::from_millis(500);
/// Errors after which an event makes way for others.
const ERRORS: u32 = 3;

/// The lanes. Cheap to clone.
#[derive(Clone)]
pub(super) struct Lanes {
    board: Board,
    router: Router,
    tasks: Tasks,
}

/// What is on the lanes.
#[derive(Clone, Default)]
struct Board(Arc<Shared>);

#[derive(Default)]
struct Shared {
    table: Mutex<Table>,
    /// Which groups still wait for what an earlier process stored (`resume.rs`).
    behind: [AtomicBool; GROUPS],
}

#[derive(Default)]
struct Table {
    lanes: HashMap<Lane, VecDeque<Waiting>>,
    /// Rooms of the sessions that have events on lanes.
    rooms: HashMap<SessionId, Arc<Semaphore>>,
    under_way: HashSet<EventId>,
}

/// What the events of a lane have in common.
type Lane = (SessionId, Option<Chat>);

/// An event that waits to be routed.
struct Waiting {
    event: Event,
    /// What it has been through, when it was deferred or parked.
    past: Past,
    _mark: Mark,
    /// Its place in the session's room; what plugins raise follows without one.
    _place: Option<OwnedSemaphorePermit>,
}

/// Marks an event as under way until it is dropped.
struct Mark {
    board: Board,
    id: EventId,
}

impl Drop for Mark {
    fn drop(&mut self) {
        self.board.table().under_way.remove(&self.id);
    }
}

impl Lanes {
    pub(super) fn new(router: Router, tasks: Tasks) -> Self {
        Self { board: Board::default(), router, tasks }
    }

    /// Puts an event that has just been stored on its chat's lane. Waits while the session's room is full; whoever stops
    /// waiting leaves nothing behind. Where older ones are still to come first, it is left to whoever brings those.
    pub(super) async fn enter(&self, event: Event) {
        if let Some(lane) = self.board.enter(event).await {
            self.open(lane);
        }
    }

    /// Puts a stored event on its chat's lane, unless it is on it. `false` when the session's room is full: then the
    /// event stays where it is stored.
    pub(super) fn offer(&self, event: Event, past: Past) -> bool {
        let Some(place) = self.board.try_place(&event) else { return false };
        if let Some(lane) = self.board.put(event, past, place) {
            self.open(lane);
        }
        true
    }

    /// From now on every lane waits for what an earlier process stored.
    pub(super) fn fall_behind(&self) {
        self.board.0.behind.iter().for_each(|behind| behind.store(true, Ordering::SeqCst));
    }

    /// The groups that have all that an earlier process stored.
    pub(super) fn caught_up(&self, which: impl Fn(usize) -> bool) {
        for group in (0..GROUPS).filter(|group| which(*group)) {
            self.board.0.behind[group].store(false, Ordering::SeqCst);
        }
    }

    pub(super) fn is_behind(&self, group: usize) -> bool {
        self.board.is_behind(group)
    }

    /// The groups that have not caught up.
    pub(super) fn behind(&self) -> impl Iterator<Item = usize> {
        (0..GROUPS).filter(move |group| self.is_behind(*group))
    }

    fn open(&self, lane: Lane) {
        self.tasks.spawn("routing lane", run(self.clone(), lane));
    }
}

impl Board {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_behind(&self, group: usize) -> bool {
        self.0.behind[group].load(Ordering::SeqCst)
    }

    /// The room of the event's session.
    fn room(&self, event: &Event) -> Arc<Semaphore> {
        let mut table = self.table();
        let new = || Arc::new(Semaphore::new(ROOM));
        Arc::clone(table.rooms.entry(event.session.clone()).or_insert_with(new))
    }

    /// Answers the lane when it is to be opened, as [`Self::put`].
    async fn enter(&self, event: Event) -> Option<Lane> {
        if self.is_behind(group_of(&event)) {
            return None;
        }
        // A room is never closed.
        let place = self.room(&event).acquire_owned().await.ok()?;
        self.put(event, Past::default(), place)
    }

    fn try_place(&self, event: &Event) -> Option<OwnedSemaphorePermit> {
        self.room(event).try_acquire_owned().ok()
    }

    /// Appends the event to its lane, unless it is under way. Answers the lane when this opens it.
    fn put(&self, event: Event, past: Past, place: OwnedSemaphorePermit) -> Option<Lane> {
        let waiting = self.admit(event, past, Some(place))?;
        match self.table().lanes.entry(lane_of(&waiting.event)) {
            Entry::Occupied(mut lane) => {
                lane.get_mut().push_back(waiting);
                None
            }
            Entry::Vacant(lane) => {
                let name = lane.key().clone();
                lane.insert(VecDeque::from([waiting]));
                Some(name)
            }
        }
    }

    /// Marks the event as under way; `None` when it is so already.
    fn admit(&self, event: Event, past: Past, place: Option<OwnedSemaphorePermit>) -> Option<Waiting> {
        let id = event.id.clone();
        let fresh = self.table().under_way.insert(id.clone());
        fresh.then(|| Waiting { event, past, _mark: Mark { board: self.clone(), id }, _place: place })
    }

    /// The next event of an open lane. Without one the lane is closed, and a room that nobody is in is given up.
    fn next(&self, lane: &Lane) -> Option<Waiting> {
        let mut table = self.table();
        let waiting = table.lanes.get_mut(lane).and_then(VecDeque::pop_front);
        if waiting.is_none() {
            table.lanes.remove(lane);
            if table.rooms.get(&lane.0).is_some_and(|room| Arc::strong_count(room) == 1) {
                table.rooms.remove(&lane.0);
            }
        }
        waiting
    }

    /// Closes a lane with all that is on it.
    fn close(&self, lane: &Lane) {
        let left = self.table().lanes.remove(lane);
        drop(left);
    }
}

fn lane_of(event: &Event) -> Lane {
    (event.session.clone(), event.chat().cloned())
}

/// The group of the event's session.
pub(super) fn group_of(event: &Event) -> usize {
    let mut hasher = DefaultHasher::new();
    event.session.hash(&mut hasher);
    usize::try_from(hasher.finish() % GROUPS as u64).unwrap_or_default()
}

/// Routes what is on a lane until there is nothing. When the gateway stops, the rest is stored and routed at the next
/// start.
async fn run(lanes: Lanes, lane: Lane) {
    while let Some(waiting) = lanes.board.next(&lane) {
        let id = waiting.event.id.clone();
        // The lane outlives a panic: others wait in it.
        match AssertUnwindSafe(follow(&lanes, waiting)).catch_unwind().await {
            Ok(Some(())) if !lanes.tasks.is_stopping() => {}
            Ok(_) => return lanes.board.close(&lane),
            Err(_) => tracing::error!(event = %id, "routing an event panicked; it will be tried again later"),
        }
    }
}

/// Routes an event, and at once what its plugins raise: only messages are filtered and only filters raise events, so
/// this ends. `None` when the gateway stops first.
async fn follow(lanes: &Lanes, first: Waiting) -> Option<()> {
    let mut queue = VecDeque::from([first]);
    while let Some(waiting) = queue.pop_front() {
        let raised = persist(&lanes.router, &lanes.tasks, &waiting.event, waiting.past).await?;
        queue.extend(raised.into_iter().filter_map(|event| lanes.board.admit(event, Past::default(), None)));
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
    use crate::model::{Happening, Millis, PluginEvent, PluginId};

    fn event(session: &SessionId) -> Event {
        let what = PluginEvent { plugin: PluginId::new(), kind: "ping".to_owned(), payload: serde_json::Value::Null };
        Event { id: EventId::new(), session: session.clone(), what: Happening::Plugin(what), stored_at: Millis(0) }
    }

    #[tokio::test]
    async fn a_lane_is_open_while_it_has_events() {
        let (board, session) = (Board::default(), SessionId::new());
        let [first, second] = [event(&session), event(&session)];
        let lane = board.enter(first.clone()).await.expect("opened");
        assert_eq!(board.enter(second.clone()).await, None, "it is open");
        assert_eq!(board.next(&lane).map(|waiting| waiting.event), Some(first));
        assert_eq!(board.next(&lane).map(|waiting| waiting.event), Some(second.clone()));
        assert!(board.next(&lane).is_none());
        assert!(board.table().lanes.is_empty() && board.table().rooms.is_empty());
        assert_eq!(board.enter(second).await, Some(lane));
    }

    #[tokio::test]
    async fn who_stops_waiting_for_a_full_room_leaves_nothing_behind() {
        let (board, session) = (Board::default(), SessionId::new());
        let lane = board.enter(event(&session)).await.expect("opened");
        for _ in 1..ROOM {
            board.enter(event(&session)).await;
        }
        let late = event(&session);
        let waiting = tokio::time::timeout(Duration::from_millis(10), board.enter(late.clone()));
        assert!(waiting.await.is_err(), "the room is full");
        assert!(board.try_place(&late).is_none());
        assert!(board.try_place(&event(&SessionId::new())).is_some(), "another session has a room of its own");
        assert!(board.next(&lane).is_some());
        assert_eq!(board.enter(late.clone()).await, None);
        let last = std::iter::from_fn(|| board.next(&lane)).last();
        assert_eq!(last.map(|waiting| waiting.event), Some(late));
    }

    #[tokio::test]
    async fn an_event_is_under_way_once_and_again_when_it_was_let_go() {
        let (board, session) = (Board::default(), SessionId::new());
        let (event, again) = (event(&session), Past { tries: 1, failures: 0 });
        let put = |past| board.put(event.clone(), past, board.try_place(&event).expect("room"));
        let lane = put(Past::default()).expect("opened");
        let under_way = board.next(&lane);
        assert_eq!(put(again), None, "it is being routed");
        assert!(board.next(&lane).is_none());
        drop(under_way);
        assert_eq!(put(again), Some(lane.clone()));
        assert_eq!(board.next(&lane).map(|waiting| waiting.past), Some(again));
    }

    #[tokio::test]
    async fn what_is_received_waits_for_the_older_ones_of_its_session() {
        let (board, session) = (Board::default(), SessionId::new());
        let (older, newer) = (event(&session), event(&session));
        board.0.behind[group_of(&newer)].store(true, Ordering::SeqCst);
        assert_eq!(board.enter(newer.clone()).await, None);
        let lane = board.put(older.clone(), Past::default(), board.try_place(&older).expect("room")).expect("opened");
        board.0.behind[group_of(&newer)].store(false, Ordering::SeqCst);
        assert_eq!(board.enter(newer.clone()).await, None, "it is open");
        assert_eq!(board.next(&lane).map(|waiting| waiting.event), Some(older));
        assert_eq!(board.next(&lane).map(|waiting| waiting.event), Some(newer));
    }

    #[tokio::test]
    async fn a_closed_lane_lets_go_of_what_was_on_it() {
        let (board, session) = (Board::default(), SessionId::new());
        let event = event(&session);
        let lane = board.enter(event.clone()).await.expect("opened");
        board.close(&lane);
        assert!(board.table().under_way.is_empty());
        assert_eq!(board.enter(event).await, Some(lane));
    }
}
