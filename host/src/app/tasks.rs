//! The only place that spawns. Every task is counted, named in the log when it panics, and waited for at stop.
//!
//! Rooms that run something of their own take a [`Tasks`] when they are built; this module knows no room.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;
use std::{io, thread};

use futures_util::FutureExt as _;
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tokio_util::task::TaskTracker;

/// The gateway's running tasks and the signal that tells them to stop. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Tasks {
    /// A fresh group with nothing in it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs `future` until it ends. It must watch [`Tasks::stopping`] itself when it would run for ever.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that spawns")]
    pub fn spawn<F>(&self, name: &'static str, future: F) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let work = tokio::spawn(self.tracker.track_future(future));
        self.tracker.spawn(async move {
            if let Err(error) = work.await
                && error.is_panic()
            {
                tracing::error!(task = name, %error, "a task panicked");
            }
        })
    }

    /// As [`Tasks::spawn`], on a thread of its own: for work of many short waits, each of which would queue up behind
    /// other tasks.
    pub fn spawn_thread<F>(&self, name: &'static str, future: F) -> io::Result<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let future = self.tracker.track_future(AssertUnwindSafe(future).catch_unwind());
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            if runtime.block_on(future).is_err() {
                tracing::error!(task = name, "a task panicked");
            }
        })?;
        Ok(())
    }

    /// Runs `future` to its end also when whoever waits for it here leaves; `None` when it panicked.
    pub async fn finish<F>(&self, name: &'static str, future: F) -> Option<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let (tell, told) = oneshot::channel();
        self.spawn(name, async move {
            let _nobody_waits = tell.send(future.await);
        });
        told.await.ok()
    }

    /// Resolves when the gateway begins to stop.
    pub fn stopping(&self) -> WaitForCancellationFutureOwned {
        self.stop.clone().cancelled_owned()
    }

    /// Whether the gateway has begun to stop.
    pub fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Tells every task to stop and waits for them, at most `patience`. Answers how many were left behind.
    pub async fn stop(&self, patience: Duration) -> usize {
        self.stop.cancel();
        self.tracker.close();
        if tokio::time::timeout(patience, self.tracker.wait()).await.is_err() {
            return self.tracker.len();
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn stop_waits_for_tasks_that_heed_it() {
        let tasks = Tasks::new();
        let stopping = tasks.stopping();
        tasks.spawn("heeds", stopping);
        assert_eq!(tasks.stop(Duration::from_secs(5)).await, 0);
    }

    #[tokio::test]
    async fn stop_names_what_it_left_behind() {
        let tasks = Tasks::new();
        tasks.spawn("deaf", std::future::pending());
        assert!(tasks.stop(Duration::from_millis(10)).await > 0);
    }
}
