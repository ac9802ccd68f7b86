//! Where slow calls go on: threads of low priority, half as many as there are processors.
//!
//! Nearly every call ends within microseconds and never comes here. One that has used a few milliseconds of a processor is
//! handed over, half-way as it is, to a thread that yields to whoever else wants the processor. So plugins that run in
//! circles take what others leave, however many they are. On their thread calls take turns, tick by tick.
//!
//! Sockets and timers stay with the gateway's own runtime, whichever thread a call goes on.
//!
//! Invariant: whoever waits for a call here and leaves takes the call with him.

use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

/// What a thread of the lane yields by, on the system's scale from 0 to 19. At 10 it has a tenth of the weight of others:
/// next to nothing of a busy processor, and still enough to end.
const NICE: i32 = 10;

/// A call on its way to its end.
type Job = BoxFuture<'static, ()>;

/// The lane. Its threads end with it.
pub(super) struct Lane {
    threads: Vec<mpsc::UnboundedSender<Job>>,
    next: AtomicUsize,
}

impl Lane {
    /// Starts the threads. Needs a running tokio runtime.
    pub(super) fn start() -> io::Result<Self> {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let threads = (0..(processors / 2).max(1)).map(|_| open(Handle::current()));
        Ok(Self { threads: threads.collect::<Result<_, _>>()?, next: AtomicUsize::new(0) })
    }

    /// Runs a call to its end; `None` when it panicked.
    pub(super) async fn finish<T: Send + 'static>(&self, call: impl Future<Output = T> + Send + 'static) -> Option<T> {
        let (mut tell, told) = oneshot::channel();
        let job = async move {
            let call = AssertUnwindSafe(call).catch_unwind();
            tokio::select! {
                biased;
                () = tell.closed() => {}
                ended = call => if let Ok(ended) = ended {
                    let _nobody_waits = tell.send(ended);
                }
            }
        };
        let at = self.next.fetch_add(1, Ordering::Relaxed) % self.threads.len().max(1);
        self.threads.get(at)?.send(job.boxed()).ok()?;
        told.await.ok()
    }
}

fn open(runtime: Handle) -> io::Result<mpsc::UnboundedSender<Job>> {
    let (jobs, queue) = mpsc::unbounded_channel();
    thread::Builder::new().name("slow plugins".to_owned()).spawn(move || {
        #[cfg(target_os = "linux")]
        if let Err(error) = rustix::process::setpriority_process(None, NICE) {
            tracing::debug!(%error, "slow plugins run at the gateway's own priority");
        }
        runtime.block_on(drive(queue));
    })?;
    Ok(jobs)
}

/// Runs jobs side by side until no more can come.
async fn drive(mut queue: mpsc::UnboundedReceiver<Job>) {
    let mut calls = FuturesUnordered::new();
    loop {
        tokio::select! {
            job = queue.recv() => match job {
                Some(job) => calls.push(job),
                None => return,
            },
            Some(()) = calls.next() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn calls_take_turns_and_end_elsewhere() {
        let lane = Lane::start().unwrap();
        let here = thread::current().id();
        let call = || async move {
            for _ in 0..3 {
                tokio::task::yield_now().await;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
            thread::current().id()
        };
        let (one, other) = tokio::join!(lane.finish(call()), lane.finish(call()));
        assert!(one.unwrap() != here && other.unwrap() != here);
    }

    #[tokio::test]
    async fn a_call_that_panics_ends_alone() {
        let lane = Lane::start().unwrap();
        let panics = async { std::panic::panic_any("as it must") };
        assert!(lane.finish::<()>(panics).await.is_none());
        assert_eq!(lane.finish(async { 7 }).await, Some(7));
    }

    #[tokio::test]
    async fn a_call_nobody_waits_for_is_let_go() {
        let lane = Lane::start().unwrap();
        let (alive, gone) = oneshot::channel::<()>();
        let waits = lane.finish(async move {
            let _alive = alive;
            std::future::pending::<()>().await;
        });
        assert!(tokio::time::timeout(Duration::from_millis(20), waits).await.is_err());
        assert!(tokio::time::timeout(Duration::from_secs(10), gone).await.unwrap().is_err());
    }
}
