//! Station one, many messages to a statement.
//!
//! Messages come one or a few to a call, from many sessions at once. Calls that come while the writer is busy wait here,
//! and one job stores them all: two statements for as many as a statement takes, instead of some for each. A call that
//! fails by its own fault must not take the others with it: when the job fails and it is nobody else's fault, the calls
//! are stored one by one.
//!
//! Invariants: calls are stored in the order they came; none is answered before its commit has returned; each is answered,
//! or told that the store is closed.

use std::collections::{HashMap, HashSet};
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sqlx::{FromRow, QueryBuilder};
use tokio::sync::oneshot;

use super::digest;
use crate::model::{Clock, Event, EventId, Happening, Incoming, MESSAGE_RECEIVED, Millis, Scope, SessionId};
use crate::store::column::json;
use crate::store::pool::{Tx, on};
use crate::store::sql::{Sql, sql};
use crate::store::{Store, StoreError};

/// How many messages a statement may have. Few numbers, so that each statement is prepared once: preparing one of many
/// values costs a server more than running it. With six values each the largest stays far below what any engine takes.
const SIZES: [usize; 4] = [1, 8, 64, MOST];
const MOST: usize = 256;

/// Bytes of messages in one statement, unless it is a single one. MySQL takes 16 MiB at most unless told otherwise.
const LARGEST: usize = 1024 * 1024;

const UNDO_JOB: Sql = sql!("ROLLBACK TO SAVEPOINT job");
const BEGIN_CALL: Sql = sql!("SAVEPOINT one_call");
const KEEP_CALL: Sql = sql!("RELEASE SAVEPOINT one_call");
const UNDO_CALL: Sql = sql!("ROLLBACK TO SAVEPOINT one_call");

/// Calls that wait to be stored.
#[derive(Debug, Default)]
pub(in crate::store) struct Intake(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    calls: Vec<Waiter>,
    /// A job that will take them is in the writer's queue.
    called: bool,
}

#[derive(Debug)]
struct Waiter {
    call: Arc<Call>,
    to: oneshot::Sender<Result<Vec<Event>, StoreError>>,
}

/// What one call wants stored.
#[derive(Debug)]
pub(super) struct Call {
    scope: Scope,
    session: SessionId,
    arrivals: Vec<Arrival>,
}

/// A message ready to be stored.
#[derive(Debug)]
struct Arrival {
    message: Incoming,
    dedup: [u8; 32],
    payload: String,
}

impl Call {
    pub(super) fn new(scope: Scope, session: &SessionId, batch: &[Incoming]) -> Result<Self, StoreError> {
        let arrivals = batch.iter().map(|message| Arrival::of(session, message)).collect::<Result<_, _>>()?;
        Ok(Self { scope, session: session.clone(), arrivals })
    }

    /// Waits until it is stored; the events that are new.
    pub(super) async fn store(self, store: &Store) -> Result<Vec<Event>, StoreError> {
        // Once there is a place nothing is waited for, so that nobody who gives up leaves the others uncalled.
        let place = store.writer().place().await?;
        let (to, answer) = oneshot::channel();
        if store.intake().add(Waiter { call: Arc::new(self), to }) {
            let taking = Arc::new(Taking { intake: Arc::clone(store.intake()), taken: Mutex::default() });
            let (taken, clock) = (Arc::clone(&taking), store.clock().clone());
            place.hand_over(
                move |tx| Box::pin(async move { store_all(tx, &taking.calls(), &clock).await }),
                move |outcome| taken.answer(outcome),
            );
        }
        answer.await.unwrap_or(Err(StoreError::Closed))
    }
}

impl Arrival {
    fn of(session: &SessionId, message: &Incoming) -> Result<Self, StoreError> {
        let kind = json(&message.kind)?;
        let parts = [session.as_str(), message.chat.jid(), message.sender.jid(), message.id.as_str(), &kind];
        let payload = json(message)?;
        Ok(Self { message: message.clone(), dedup: digest(&parts), payload })
    }

    fn event(&self, session: &SessionId, stored_at: Millis) -> Event {
        let what = Happening::Message(self.message.clone());
        Event { id: EventId::new(), session: session.clone(), what, stored_at }
    }
}

impl Intake {
    /// Whether a job has to be handed over for it.
    fn add(&self, waiter: Waiter) -> bool {
        let mut waiting = lock(&self.0);
        waiting.calls.push(waiter);
        !mem::replace(&mut waiting.called, true)
    }

    fn take(&self) -> Vec<Waiter> {
        mem::take(&mut *lock(&self.0)).calls
    }
}

/// One job's calls: those that wait when it first runs.
struct Taking {
    intake: Arc<Intake>,
    taken: Mutex<Option<Vec<Waiter>>>,
}

impl Taking {
    /// What is to be stored; the same when the job runs again.
    fn calls(&self) -> Vec<Arc<Call>> {
        let mut taken = lock(&self.taken);
        let taken = taken.get_or_insert_with(|| self.intake.take());
        taken.iter().map(|waiter| Arc::clone(&waiter.call)).collect()
    }

    fn answer(&self, outcome: Result<Vec<Stored>, StoreError>) {
        // A job that failed before its turn has taken nothing yet.
        let waiters = mem::take(lock(&self.taken).get_or_insert_with(|| self.intake.take()));
        match outcome {
            Ok(stored) => {
                for (waiter, stored) in waiters.into_iter().zip(stored) {
                    drop(waiter.to.send(stored));
                }
            }
            Err(error) => {
                let cause = Cause::of(error);
                for waiter in waiters {
                    drop(waiter.to.send(Err(cause.error())));
                }
            }
        }
    }
}

/// A writer that ends before the job's turn lets it go. Then nobody is left to take what waits.
impl Drop for Taking {
    fn drop(&mut self) {
        if lock(&self.taken).is_none() {
            drop(self.intake.take());
        }
    }
}

/// Why a job failed, for each of its calls.
enum Cause {
    Database(Arc<sqlx::Error>),
    Superseded,
    Panicked,
    Closed,
}

impl Cause {
    fn of(error: StoreError) -> Self {
        match error {
            StoreError::Commit(error) => Self::Database(error),
            StoreError::Database(error) => Self::Database(Arc::new(error)),
            StoreError::Superseded => Self::Superseded,
            StoreError::Panicked => Self::Panicked,
            _ => Self::Closed,
        }
    }

    fn error(&self) -> StoreError {
        match self {
            Self::Database(error) => StoreError::Commit(Arc::clone(error)),
            Self::Superseded => StoreError::Superseded,
            Self::Panicked => StoreError::Panicked,
            Self::Closed => StoreError::Closed,
        }
    }
}

/// The events of a call that are new, or why it alone was not stored.
type Stored = Result<Vec<Event>, StoreError>;

/// Stores the calls together or, when one of them is at fault, each alone. An error means that none is stored.
async fn store_all(tx: &mut Tx, calls: &[Arc<Call>], clock: &Clock) -> Result<Vec<Stored>, StoreError> {
    match store(tx, calls, clock).await {
        Err(error) if calls.len() > 1 && !error.is_passing() => {
            tracing::debug!(%error, calls = calls.len(), "messages are stored one call at a time");
            tx.run(UNDO_JOB).await?;
        }
        outcome => return outcome,
    }
    let mut outcome = Vec::with_capacity(calls.len());
    for call in calls.chunks(1) {
        tx.run(BEGIN_CALL).await?;
        match store(tx, call, clock).await {
            Ok(stored) => outcome.extend(stored),
            Err(error) if error.is_passing() => return Err(error),
            Err(error) => {
                tx.run(UNDO_CALL).await?;
                outcome.push(Err(error));
            }
        }
        tx.run(KEEP_CALL).await?;
    }
    Ok(outcome)
}

/// Stores of all calls what is new.
async fn store(tx: &mut Tx, calls: &[Arc<Call>], clock: &Clock) -> Result<Vec<Stored>, StoreError> {
    let Found { owners, mut dedups } = look(tx, calls).await?;
    let mut outcome: Vec<Result<Vec<(Event, &Arrival)>, StoreError>> = Vec::with_capacity(calls.len());
    for call in calls {
        let (low, high) = call.scope.owners();
        if !owners.get(&call.session).is_some_and(|owner| (low..=high).contains(owner)) {
            outcome.push(Err(sqlx::Error::RowNotFound.into()));
            continue;
        }
        let fresh = call.arrivals.iter().filter(|arrival| dedups.insert(arrival.dedup.to_vec()));
        // Ids are made here, one job after the other, so that they sort as their commits do.
        outcome.push(Ok(fresh.map(|arrival| (arrival.event(&call.session, clock.now()), arrival)).collect()));
    }
    let rows: Vec<&(Event, &Arrival)> = outcome.iter().flatten().flatten().collect();
    let mut rows = &rows[..];
    while !rows.is_empty() {
        let (now, later) = rows.split_at(fitting(rows));
        insert(tx, now).await?;
        rows = later;
    }
    let events = |fresh: Vec<(Event, &Arrival)>| fresh.into_iter().map(|(event, _)| event).collect();
    Ok(outcome.into_iter().map(|fresh| fresh.map(events)).collect())
}

/// What is there of what calls name.
#[derive(Default)]
struct Found {
    /// The sessions, and whose they are.
    owners: HashMap<SessionId, i64>,
    /// Digests of messages that are stored.
    dedups: HashSet<Vec<u8>>,
}

/// A session, or the digest of an event.
#[derive(FromRow)]
struct FoundRow {
    id: Option<SessionId>,
    owner: Option<i64>,
    dedup: Option<Vec<u8>>,
}

/// Looks for the calls' sessions and messages.
async fn look(tx: &mut Tx, calls: &[Arc<Call>]) -> Result<Found, StoreError> {
    let sessions: HashSet<&SessionId> = calls.iter().map(|call| &call.session).collect();
    let sessions: Vec<&SessionId> = sessions.into_iter().collect();
    let dedups: Vec<&[u8]> = calls.iter().flat_map(|call| &call.arrivals).map(|one| &one.dedup[..]).collect();
    let (mut sessions, mut dedups, mut found) = (sessions.chunks(MOST), dedups.chunks(MOST), Found::default());
    loop {
        let (sessions, dedups) = (sessions.next().unwrap_or_default(), dedups.next().unwrap_or_default());
        if sessions.is_empty() && dedups.is_empty() {
            return Ok(found);
        }
        let rows: Vec<FoundRow> = on!(&mut *tx, |db, _q| {
            let mut look = QueryBuilder::new("");
            if !sessions.is_empty() {
                look.push("SELECT id, owner, NULL AS dedup FROM sessions WHERE id IN (");
                let mut list = look.separated(", ");
                for session in filled(sessions) {
                    list.push_bind(session);
                }
                look.push(if dedups.is_empty() { ")" } else { ") UNION ALL " });
            }
            if !dedups.is_empty() {
                look.push("SELECT NULL AS id, NULL AS owner, dedup FROM events WHERE dedup IN (");
                let mut list = look.separated(", ");
                for dedup in filled(dedups) {
                    list.push_bind(dedup);
                }
                look.push(")");
            }
            look.build_query_as().fetch_all(db).await?
        });
        found.owners.extend(rows.iter().filter_map(|row| Some((row.id.clone()?, row.owner?))));
        found.dedups.extend(rows.into_iter().filter_map(|row| row.dedup));
    }
}

/// The values, and the last of them again until they are as many as a statement has.
fn filled<T: Copy>(values: &[T]) -> impl Iterator<Item = T> {
    let size = SIZES.into_iter().find(|size| *size >= values.len()).unwrap_or(values.len());
    let last = values.last().copied();
    values.iter().copied().chain(last.into_iter().cycle()).take(size)
}

/// How many of the rows go into one statement.
fn fitting(rows: &[&(Event, &Arrival)]) -> usize {
    let mut bytes = 0;
    let fits = rows.iter().take(MOST).take_while(|(_, arrival)| {
        bytes += arrival.payload.len();
        bytes <= LARGEST
    });
    let fits = fits.count();
    SIZES.into_iter().rev().find(|size| *size <= fits).unwrap_or(1)
}

async fn insert(tx: &mut Tx, rows: &[&(Event, &Arrival)]) -> Result<(), StoreError> {
    on!(tx, |db, _q| {
        let mut insert = QueryBuilder::new("INSERT INTO events (id, session_id, kind, dedup, payload, stored_at) ");
        insert.push_values(rows, |mut row, (event, arrival)| {
            row.push_bind(&event.id).push_bind(&event.session).push_bind(MESSAGE_RECEIVED);
            row.push_bind(&arrival.dedup[..]).push_bind(&arrival.payload).push_bind(event.stored_at);
        });
        insert.build().execute(db).await?;
    });
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
