//! Calls of many callers, done by one job.
//!
//! What comes one by one from many tasks at once, received messages and ended attempts, costs the writer some statements
//! each.
//! Calls that come while the writer is busy wait here, and one job does what all of them want: a few statements for as
//! many as a statement takes. A call that fails by its own fault must not take the others with it: when the job fails and
//! it is nobody else's fault, the calls are done one by one.
//!
//! Invariants: calls are done in the order they came; none is answered before its commit has returned; each is answered,
//! or told that the store is closed.

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

use super::pool::Tx;
use super::sql::{Sql, sql};
use super::{Store, StoreError};
use crate::model::Clock;

const UNDO_JOB: Sql = sql!("ROLLBACK TO SAVEPOINT job");
const BEGIN_CALL: Sql = sql!("SAVEPOINT one_call");
const KEEP_CALL: Sql = sql!("RELEASE SAVEPOINT one_call");
const UNDO_CALL: Sql = sql!("ROLLBACK TO SAVEPOINT one_call");

/// What came of each call of a job, in their order; none of them where all of them failed.
pub(in crate::store) type Outcomes<T> = Result<Vec<Result<T, StoreError>>, StoreError>;

/// What one caller wants done, and others of its kind at the same time.
pub(in crate::store) trait Call: Send + Sync + Sized + 'static {
    /// What the caller learns.
    type Answer: Send + 'static;

    /// Does what all of them want. An error means that nothing of it is kept; of a single call it is what the caller
    /// learns.
    fn together<'t>(calls: &'t [Arc<Self>], tx: &'t mut Tx, clock: &'t Clock) -> BoxFuture<'t, Outcomes<Self::Answer>>;
}

/// Calls that wait for the writer.
pub(in crate::store) struct Gathering<C: Call>(Mutex<Waiting<C>>);

struct Waiting<C: Call> {
    calls: Vec<Waiter<C>>,
    /// A job that will take them is in the writer's queue.
    called: bool,
}

struct Waiter<C: Call> {
    call: Arc<C>,
    to: oneshot::Sender<Result<C::Answer, StoreError>>,
}

impl<C: Call> Default for Gathering<C> {
    fn default() -> Self {
        Self(Mutex::new(Waiting { calls: Vec::new(), called: false }))
    }
}

impl<C: Call> Gathering<C> {
    /// Waits until the call is done, alone or with others.
    pub(in crate::store) async fn run(self: &Arc<Self>, store: &Store, call: C) -> Result<C::Answer, StoreError> {
        // Once there is a place nothing is waited for, so that nobody who gives up leaves the others uncalled.
        let place = store.writer().place().await?;
        let (to, answer) = oneshot::channel();
        if self.add(Waiter { call: Arc::new(call), to }) {
            let taking = Arc::new(Taking { from: Arc::clone(self), taken: Mutex::new(None) });
            let (taken, clock) = (Arc::clone(&taking), store.clock().clone());
            place.hand_over(
                move |tx| Box::pin(async move { all(&taking.calls(), tx, &clock).await }),
                move |outcome| taken.answer(outcome),
            );
        } else {
            drop(place);
        }
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Whether a job has to be handed over for it.
    fn add(&self, waiter: Waiter<C>) -> bool {
        let mut waiting = lock(&self.0);
        waiting.calls.push(waiter);
        !mem::replace(&mut waiting.called, true)
    }

    fn take(&self) -> Vec<Waiter<C>> {
        let mut waiting = lock(&self.0);
        waiting.called = false;
        mem::take(&mut waiting.calls)
    }
}

/// One job's calls: those that wait when it first runs.
struct Taking<C: Call> {
    from: Arc<Gathering<C>>,
    taken: Mutex<Option<Vec<Waiter<C>>>>,
}

impl<C: Call> Taking<C> {
    /// What is to be done; the same when the job runs again.
    fn calls(&self) -> Vec<Arc<C>> {
        let mut taken = lock(&self.taken);
        let taken = taken.get_or_insert_with(|| self.from.take());
        taken.iter().map(|waiter| Arc::clone(&waiter.call)).collect()
    }

    fn answer(&self, outcome: Outcomes<C::Answer>) {
        // A job that failed before its turn has taken nothing yet.
        let mut waiters = mem::take(lock(&self.taken).get_or_insert_with(|| self.from.take()));
        match outcome {
            Ok(answers) => {
                for (waiter, answer) in waiters.into_iter().zip(answers) {
                    drop(waiter.to.send(answer));
                }
            }
            Err(error) if waiters.len() > 1 => {
                let cause = Cause::of(error);
                for waiter in waiters {
                    drop(waiter.to.send(Err(cause.error())));
                }
            }
            Err(error) => {
                if let Some(waiter) = waiters.pop() {
                    drop(waiter.to.send(Err(error)));
                }
            }
        }
    }
}

/// A writer that ends before the job's turn lets it go. Then nobody is left to take what waits.
impl<C: Call> Drop for Taking<C> {
    fn drop(&mut self) {
        if lock(&self.taken).is_none() {
            drop(self.from.take());
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

/// Does the calls together or, when one of them is at fault, each alone.
async fn all<C: Call>(calls: &[Arc<C>], tx: &mut Tx, clock: &Clock) -> Outcomes<C::Answer> {
    match C::together(calls, tx, clock).await {
        Err(error) if calls.len() > 1 && !error.is_passing() => {
            tracing::debug!(%error, calls = calls.len(), "calls are done one by one");
            tx.run(UNDO_JOB).await?;
        }
        outcome => return outcome,
    }
    let mut outcomes = Vec::with_capacity(calls.len());
    for call in calls.chunks(1) {
        tx.run(BEGIN_CALL).await?;
        match C::together(call, tx, clock).await {
            Ok(answers) => outcomes.extend(answers),
            Err(error) if error.is_passing() => return Err(error),
            Err(error) => {
                tx.run(UNDO_CALL).await?;
                outcomes.push(Err(error));
            }
        }
        tx.run(KEEP_CALL).await?;
    }
    Ok(outcomes)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
