//! The one writer: jobs from everywhere, many to a commit.
//!
//! A commit that survives a power cut costs a disk flush, some milliseconds; the work in it costs microseconds. So jobs
//! queue up while a commit is under way, and the next commit takes all of them (up to [`MOST`], for at most
//! [`LONGEST`]). Each job runs in a savepoint of its own: one that fails is undone and answered alone. When the commit
//! itself fails, every job of the batch fails with it, and the writer starts the next batch afresh.
//!
//! A server may have other writers, and gives one of two up that wait for each other. PostgreSQL undoes the job that
//! waited, MySQL the whole transaction; either way nothing of it is kept, so what was undone for that reason runs again
//! with the next batch, before later jobs. Where it is not known what the server kept, as when the connection breaks, no
//! job is run again.
//!
//! A store that leads (`leader.rs`) begins each transaction by making sure that it still does.
//!
//! Invariants: no job is answered `Ok` before its commit has returned; a job that was handed over runs to its end
//! whether or not its caller still waits; no job takes effect twice.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::StoreError;
use super::dialect::{self, Source};
use super::leader::{self, Fence};
use super::pool::{Tx, within};
use super::sql::{Sql, sql};
use crate::app::tasks::Tasks;

/// Jobs in one commit at most.
const MOST: usize = 256;

/// How long a batch takes up new jobs at most.
const LONGEST: Duration = Duration::from_millis(5);

/// Jobs that may wait; whoever comes later waits to hand over.
const QUEUE: usize = 1024;

/// How often a job is run at most while others stand in its way.
const TRIES: u32 = 5;

/// What a batch may take on a server. One that does not answer by then is taken for gone.
const PATIENCE: Duration = Duration::from_mins(1);

/// What ending a failed transaction, or a connection, may take on a server.
const FAREWELL: Duration = Duration::from_secs(5);

const UNDO: Sql = sql!("ROLLBACK TO SAVEPOINT job");
const ROLLBACK: Sql = sql!("ROLLBACK");

/// The way to the writer. Cheap to clone; the writer ends with [`Writer::close`] or with the last of these.
#[derive(Clone, Debug)]
pub(in crate::store) struct Writer {
    jobs: mpsc::Sender<Box<dyn Job>>,
    /// How many commits there were.
    commits: watch::Receiver<u64>,
    closing: CancellationToken,
    closed: CancellationToken,
}

impl Writer {
    /// Starts the writer on `tx`; connections in its place come from `source`. It has a thread of its own: a transaction
    /// is many short waits, and the fewer other tasks come between, the sooner everybody has his commit.
    pub(in crate::store) fn start(
        source: Source,
        tx: Option<Tx>,
        fence: Arc<Fence>,
        tasks: &Tasks,
    ) -> Result<Self, StoreError> {
        let ((jobs, queue), (counted, commits)) = (mpsc::channel(QUEUE), watch::channel(0));
        let writer = Self { jobs, commits, closing: CancellationToken::new(), closed: CancellationToken::new() };
        let closing = writer.closing.clone();
        let desk = Desk { source, tx, fence, again: VecDeque::new(), queue, counted, closing };
        let closed = writer.closed.clone().drop_guard();
        let serving = tasks.spawn_thread("store-desk", async move {
            desk.serve().await;
            drop(closed);
        });
        serving.map_err(sqlx::Error::from)?;
        Ok(writer)
    }

    /// Runs `work` in a write transaction and answers once it is durable. On a server it is run on a clone of `work`, so
    /// that it can be run again.
    pub(in crate::store) async fn write<T, W>(&self, work: W) -> Result<T, StoreError>
    where
        T: Send + 'static,
        W: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<T, StoreError>> + Clone + Send + 'static,
    {
        let (to, answer) = oneshot::channel();
        // A caller that no longer waits does not matter: the work is done either way.
        self.place().await?.hand_over(work, |outcome| drop(to.send(outcome)));
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Waits for a place in the queue.
    pub(in crate::store) async fn place(&self) -> Result<Place<'_>, StoreError> {
        self.jobs.reserve().await.map(Place).map_err(|_| StoreError::Closed)
    }

    /// Whether somebody's job waits to be begun.
    pub(in crate::store) fn is_awaited(&self) -> bool {
        self.jobs.capacity() < self.jobs.max_capacity()
    }

    /// Changes with every commit; ends with the writer.
    pub(in crate::store) fn commits(&self) -> watch::Receiver<u64> {
        self.commits.clone()
    }

    /// Takes no more jobs, finishes those handed over, and waits until the connection and the lock are let go.
    pub(in crate::store) async fn close(&self) {
        self.closing.cancel();
        self.closed.cancelled().await;
    }
}

/// A place in the queue, kept for one job.
pub(in crate::store) struct Place<'w>(mpsc::Permit<'w, Box<dyn Job>>);

impl Place<'_> {
    /// Hands `work` over, as [`Writer::write`] does; `then` gets the outcome once it is durable, on the writer's thread. A
    /// writer that ends first drops both.
    pub(in crate::store) fn hand_over<T, W>(self, work: W, then: impl FnOnce(Result<T, StoreError>) + Send + 'static)
    where
        T: Send + 'static,
        W: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<T, StoreError>> + Clone + Send + 'static,
    {
        self.0.send(Box::new(Task { work: Some(work), tries: 0, outcome: None, then }));
    }
}

/// A job in the queue, whatever it answers.
trait Job: Send {
    /// Does the work and keeps the outcome; with `keep` it may be run again.
    fn run<'t>(&'t mut self, tx: &'t mut Tx, keep: bool) -> BoxFuture<'t, Ran>;
    /// Makes it ready to be run again, if it was undone only because somebody stood in its way, alone or, when `lost`,
    /// with its whole batch. Whether it is.
    fn again(&mut self, lost: bool) -> bool;
    /// Tells the caller: the outcome when the batch was committed, else why it was not.
    fn answer(self: Box<Self>, commit: Result<(), Arc<sqlx::Error>>);
}

/// How a job went.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ran {
    Well,
    Badly,
    /// The database gave way to somebody else.
    Busy,
}

struct Task<T, W, A> {
    work: Option<W>,
    tries: u32,
    outcome: Option<Result<T, StoreError>>,
    then: A,
}

impl<T, W, A> Job for Task<T, W, A>
where
    T: Send + 'static,
    A: FnOnce(Result<T, StoreError>) + Send + 'static,
    W: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<T, StoreError>> + Clone + Send + 'static,
{
    fn run<'t>(&'t mut self, tx: &'t mut Tx, keep: bool) -> BoxFuture<'t, Ran> {
        self.tries += 1;
        let work = if keep && self.tries < TRIES { self.work.clone() } else { self.work.take() };
        let Some(work) = work else { return Box::pin(async { Ran::Badly }) };
        Box::pin(async move {
            let outcome = AssertUnwindSafe(async { work(tx).await }).catch_unwind().await;
            let outcome = outcome.unwrap_or(Err(StoreError::Panicked));
            match self.outcome.insert(outcome) {
                Ok(_) => Ran::Well,
                Err(error) if error.is_busy() => Ran::Busy,
                Err(_) => Ran::Badly,
            }
        })
    }

    fn again(&mut self, lost: bool) -> bool {
        let undone = match &self.outcome {
            Some(Err(error)) => error.is_busy(),
            Some(Ok(_)) | None => lost,
        };
        // One that was never run failed before its turn, for want of a connection for instance.
        let again = undone && self.tries > 0 && self.work.is_some();
        if again {
            self.outcome = None;
        }
        again
    }

    fn answer(self: Box<Self>, commit: Result<(), Arc<sqlx::Error>>) {
        let answer = match (self.outcome, commit) {
            (Some(Err(error)), _) => Err(error),
            (Some(Ok(value)), Ok(())) => Ok(value),
            (_, Err(error)) if leader::is_superseded(&error) => Err(StoreError::Superseded),
            (_, Err(error)) => Err(StoreError::Commit(error)),
            (None, Ok(())) => Err(StoreError::Closed),
        };
        (self.then)(answer);
    }
}

/// Where the jobs are worked on.
struct Desk {
    source: Source,
    /// `None` after a failure that left the connection in doubt.
    tx: Option<Tx>,
    /// Lets no transaction begin once another gateway leads.
    fence: Arc<Fence>,
    /// Jobs that were undone because somebody stood in their way; they go first.
    again: VecDeque<Box<dyn Job>>,
    queue: mpsc::Receiver<Box<dyn Job>>,
    counted: watch::Sender<u64>,
    closing: CancellationToken,
}

impl Desk {
    async fn serve(mut self) {
        while let Some(first) = self.next().await {
            self.batch(first).await;
        }
        if let Some(tx) = self.tx.take()
            && let Err(error) = within(self.source.is_server().then_some(FAREWELL), tx.close()).await
        {
            tracing::warn!(%error, "the database did not close cleanly; nothing committed is lost");
        }
    }

    /// The next job; `None` once closed and drained.
    async fn next(&mut self) -> Option<Box<dyn Job>> {
        if let Some(job) = self.again.pop_front() {
            return Some(job);
        }
        tokio::select! {
            biased;
            () = self.closing.cancelled(), if !self.queue.is_closed() => self.queue.close(),
            job = self.queue.recv() => return job,
        }
        self.queue.recv().await
    }

    async fn batch(&mut self, first: Box<dyn Job>) {
        let (mut done, mut busy) = (vec![first], false);
        let patience = self.source.is_server().then_some(PATIENCE);
        let commit = within(patience, self.transact(&mut done, &mut busy)).await.map_err(Arc::new);
        if let Err(error) = &commit {
            busy |= dialect::is_busy(error);
            if busy {
                tracing::debug!(%error, jobs = done.len(), "a batch of writes gave way to another writer");
            } else {
                tracing::error!(%error, jobs = done.len(), "a batch of writes was not committed");
            }
            self.recover(error).await;
        }
        if commit.is_ok() {
            self.counted.send_modify(|commits| *commits = commits.wrapping_add(1));
        }
        for mut job in done {
            if job.again(commit.is_err() && busy) {
                self.again.push_back(job);
            } else {
                job.answer(commit.clone());
            }
        }
    }

    /// One transaction: the first job and those that queue up meanwhile. An error means that none of it is kept; `busy`
    /// then says whether it came of a job that somebody stood in the way of.
    async fn transact(&mut self, done: &mut Vec<Box<dyn Job>>, busy: &mut bool) -> sqlx::Result<()> {
        let (started, keep) = (Instant::now(), self.source.is_server());
        let tx = begin(&self.source, &self.fence, &mut self.tx).await?;
        while let Some(job) = done.last_mut() {
            let ran = job.run(tx, keep).await;
            if ran != Ran::Well {
                // Its savepoint is as new, and serves the next.
                *busy = ran == Ran::Busy;
                tx.run(UNDO).await?;
            }
            // After a job that must run again, whatever it waits for is let go first.
            let room = done.len() < MOST && started.elapsed() < LONGEST && ran != Ran::Busy;
            let next = if room { self.again.pop_front().or_else(|| self.queue.try_recv().ok()) } else { None };
            let Some(next) = next else { break };
            done.push(next);
            if ran == Ran::Well {
                tx.run(self.source.next_job()).await?;
            }
        }
        *busy = false;
        tx.run(self.source.commit()).await
    }

    /// Ends what is left of a failed transaction. SQLite may have ended it already, on a full disk for instance; then
    /// `ROLLBACK` fails, and a fresh connection is the one sure state. A server that said nothing is not asked again.
    async fn recover(&mut self, error: &sqlx::Error) {
        let server = self.source.is_server();
        let sound = match &mut self.tx {
            Some(_) if server && error.as_database_error().is_none() => false,
            Some(tx) => within(server.then_some(FAREWELL), tx.run(ROLLBACK)).await.is_ok(),
            None => false,
        };
        if !sound {
            self.tx = None;
        }
    }
}

/// Begins a transaction, on a fresh connection when the last one is gone. A server may have ended it since, by a restart
/// for instance: then nothing has been done on it, and a fresh one takes its place at once.
async fn begin<'t>(source: &Source, fence: &Fence, tx: &'t mut Option<Tx>) -> sqlx::Result<&'t mut Tx> {
    if let Some(mut standing) = tx.take() {
        match fence.begin(&mut standing, source.begin()).await {
            Ok(()) => return Ok(tx.insert(standing)),
            Err(error) if !source.is_server() || leader::is_superseded(&error) => {
                *tx = Some(standing);
                return Err(error);
            }
            Err(error) => tracing::debug!(%error, "the connection to the database is gone; making another"),
        }
    }
    let fresh = tx.insert(source.connect().await?);
    fence.begin(fresh, source.begin()).await?;
    Ok(fresh)
}

#[cfg(test)]
mod tests;
