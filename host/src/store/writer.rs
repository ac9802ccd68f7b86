//! The one writer: jobs from everywhere, many to a commit.
//!
//! A commit that survives a power cut costs a disk flush, some milliseconds; the work in it costs microseconds. So jobs
//! queue up while a commit is under way, and the next commit takes all of them (up to [`MOST`], for at most
//! [`LONGEST`]). Each job runs in a savepoint of its own: one that fails is undone and answered alone. When the commit
//! itself fails, every job of the batch fails with it, and the writer starts the next batch afresh.
//!
//! Invariants: no job is answered `Ok` before its commit has returned; a job that was handed over runs to its end
//! whether or not its caller still waits.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::StoreError;
use super::dialect::Source;
use super::pool::Tx;
use super::sql::{Sql, sql};
use crate::app::tasks::Tasks;

/// Jobs in one commit at most.
const MOST: usize = 256;

/// How long a batch takes up new jobs at most.
const LONGEST: Duration = Duration::from_millis(5);

/// Jobs that may wait; whoever comes later waits to hand over.
const QUEUE: usize = 1024;

const UNDO: Sql = sql!("ROLLBACK TO SAVEPOINT job");
const COMMIT: Sql = sql!("COMMIT");
const ROLLBACK: Sql = sql!("ROLLBACK");

/// The way to the writer. Cheap to clone; the writer ends with [`Writer::close`] or with the last of these.
#[derive(Clone, Debug)]
pub(in crate::store) struct Writer {
    jobs: mpsc::Sender<Box<dyn Job>>,
    closing: CancellationToken,
    closed: CancellationToken,
}

impl Writer {
    /// Starts the writer on `tx`; connections in its place come from `source`. It has a thread of its own: a transaction
    /// is many short waits, and the fewer other tasks come between, the sooner everybody has his commit.
    pub(in crate::store) fn start(source: Source, tx: Tx, tasks: &Tasks) -> Result<Self, StoreError> {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let writer = Self { jobs, closing: CancellationToken::new(), closed: CancellationToken::new() };
        let desk = Desk { source, tx: Some(tx), queue, closing: writer.closing.clone() };
        let closed = writer.closed.clone().drop_guard();
        let serving = tasks.spawn_thread("store-desk", async move {
            desk.serve().await;
            drop(closed);
        });
        serving.map_err(sqlx::Error::from)?;
        Ok(writer)
    }

    /// Runs `work` in a write transaction and answers once it is durable.
    pub(in crate::store) async fn write<T, W>(&self, work: W) -> Result<T, StoreError>
    where
        T: Send + 'static,
        W: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<T, StoreError>> + Send + 'static,
    {
        let (to, answer) = oneshot::channel();
        let job = Task { work: Some(work), outcome: None, to };
        self.jobs.send(Box::new(job)).await.map_err(|_| StoreError::Closed)?;
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Whether somebody's job waits to be begun.
    pub(in crate::store) fn is_awaited(&self) -> bool {
        self.jobs.capacity() < self.jobs.max_capacity()
    }

    /// Takes no more jobs, finishes those handed over, and waits until the connection and the lock are let go.
    pub(in crate::store) async fn close(&self) {
        self.closing.cancel();
        self.closed.cancelled().await;
    }
}

/// A job in the queue, whatever it answers.
trait Job: Send {
    /// Does the work and keeps the outcome; whether it succeeded.
    fn run<'t>(&'t mut self, tx: &'t mut Tx) -> BoxFuture<'t, bool>;
    /// Tells the caller: the outcome when the batch was committed, else why it was not.
    fn answer(self: Box<Self>, commit: Result<(), Arc<sqlx::Error>>);
}

struct Task<T, W> {
    work: Option<W>,
    outcome: Option<Result<T, StoreError>>,
    to: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, W> Job for Task<T, W>
where
    T: Send + 'static,
    W: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<T, StoreError>> + Send + 'static,
{
    fn run<'t>(&'t mut self, tx: &'t mut Tx) -> BoxFuture<'t, bool> {
        let Some(work) = self.work.take() else { return Box::pin(async { false }) };
        Box::pin(async move {
            let outcome = AssertUnwindSafe(async { work(tx).await }).catch_unwind().await;
            let outcome = outcome.unwrap_or(Err(StoreError::Panicked));
            self.outcome.insert(outcome).is_ok()
        })
    }

    fn answer(self: Box<Self>, commit: Result<(), Arc<sqlx::Error>>) {
        let answer = match (self.outcome, commit) {
            (Some(Err(error)), _) => Err(error),
            (Some(Ok(value)), Ok(())) => Ok(value),
            (_, Err(error)) => Err(StoreError::Commit(error)),
            (None, Ok(())) => Err(StoreError::Closed),
        };
        // A caller that no longer waits does not matter: the work is done either way.
        let _ = self.to.send(answer);
    }
}

/// Where the jobs are worked on.
struct Desk {
    source: Source,
    /// `None` after a failure that left the connection in doubt.
    tx: Option<Tx>,
    queue: mpsc::Receiver<Box<dyn Job>>,
    closing: CancellationToken,
}

impl Desk {
    async fn serve(mut self) {
        while let Some(first) = self.next().await {
            self.batch(first).await;
        }
        if let Some(tx) = self.tx.take()
            && let Err(error) = tx.close().await
        {
            tracing::warn!(%error, "the database did not close cleanly; nothing committed is lost");
        }
    }

    /// The next job; `None` once closed and drained.
    async fn next(&mut self) -> Option<Box<dyn Job>> {
        tokio::select! {
            biased;
            () = self.closing.cancelled(), if !self.queue.is_closed() => self.queue.close(),
            job = self.queue.recv() => return job,
        }
        self.queue.recv().await
    }

    async fn batch(&mut self, first: Box<dyn Job>) {
        let mut done = Vec::new();
        let commit = self.transact(first, &mut done).await.map_err(Arc::new);
        if let Err(error) = &commit {
            tracing::error!(%error, jobs = done.len(), "a batch of writes was not committed");
            self.recover().await;
        }
        for job in done {
            job.answer(commit.clone());
        }
    }

    /// One transaction: the first job and those that queue up meanwhile. An error means that none of it is kept.
    async fn transact(&mut self, first: Box<dyn Job>, done: &mut Vec<Box<dyn Job>>) -> sqlx::Result<()> {
        let started = Instant::now();
        let tx = match begin(&self.source, &mut self.tx).await {
            Ok(tx) => tx,
            Err(error) => {
                done.push(first);
                return Err(error);
            }
        };
        let mut next = Some(first);
        while let Some(job) = next {
            let job = done.push_mut(job);
            let done_well = job.run(tx).await;
            if !done_well {
                // Its savepoint is as new, and serves the next.
                tx.run(UNDO).await?;
            }
            let room = done.len() < MOST && started.elapsed() < LONGEST;
            next = if room { self.queue.try_recv().ok() } else { None };
            if done_well && next.is_some() {
                tx.run(self.source.next_job()).await?;
            }
        }
        tx.run(COMMIT).await
    }

    /// Ends what is left of a failed transaction. SQLite may have ended it already, on a full disk for instance; then
    /// `ROLLBACK` fails, and a fresh connection is the one sure state.
    async fn recover(&mut self) {
        let sound = match &mut self.tx {
            Some(tx) => tx.run(ROLLBACK).await.is_ok(),
            None => false,
        };
        if !sound {
            self.tx = None;
        }
    }
}

/// Begins a transaction, on a fresh connection when the last one is gone.
async fn begin<'t>(source: &Source, tx: &'t mut Option<Tx>) -> sqlx::Result<&'t mut Tx> {
    let tx = match tx {
        Some(tx) => tx,
        None => tx.insert(source.connect().await?),
    };
    tx.run(source.begin()).await?;
    Ok(tx)
}

#[cfg(test)]
mod tests;
