//! The engine's clock: a thread that raises the epoch every millisecond while a call is under way.
//!
//! At each tick a call reads the processor time it has used and yields, so that no loop keeps a thread. The thread
//! is of the system, not a task, because it must tick while every task's thread is kept busy. It sleeps soon after the
//! last call has ended: an idle gateway wakes for nothing.
//!
//! Invariant: while a [`Busy`] lives, the epoch rises.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Time between two ticks.
pub(super) const TICK: Duration = Duration::from_millis(1);
/// Ticks without a call before the thread sleeps; waking it costs a call some microseconds.
const LINGER: u32 = 200;

/// The clock. Ends with its last owner.
pub(super) struct Ticker {
    face: Arc<Face>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Face {
    busy: AtomicUsize,
    asleep: AtomicBool,
    ended: AtomicBool,
}

/// Keeps the clock ticking.
pub(super) struct Busy<'a>(&'a Ticker);

impl Ticker {
    pub(super) fn start(engine: wasmtime::Engine) -> std::io::Result<Self> {
        let face = Arc::new(Face::default());
        let ours = Arc::clone(&face);
        let thread = thread::Builder::new().name("plugin ticker".to_owned()).spawn(move || tick(&ours, &engine))?;
        Ok(Self { face, thread: Some(thread) })
    }

    /// A call begins.
    pub(super) fn busy(&self) -> Busy<'_> {
        // Invariant: the thread looks at `busy` after it says that it sleeps, this looks at `asleep` after it says that
        // it is busy; in one total order, one of the two sees the other.
        self.face.busy.fetch_add(1, Ordering::SeqCst);
        if self.face.asleep.load(Ordering::SeqCst) {
            self.wake();
        }
        Busy(self)
    }

    fn wake(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.face.busy.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.face.ended.store(true, Ordering::SeqCst);
        self.wake();
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

fn tick(face: &Face, engine: &wasmtime::Engine) {
    let mut quiet = 0;
    while !face.ended.load(Ordering::SeqCst) {
        quiet = if face.busy.load(Ordering::SeqCst) == 0 { quiet + 1 } else { 0 };
        if quiet > LINGER {
            face.asleep.store(true, Ordering::SeqCst);
            while face.busy.load(Ordering::SeqCst) == 0 && !face.ended.load(Ordering::SeqCst) {
                thread::park();
            }
            face.asleep.store(false, Ordering::SeqCst);
            quiet = 0;
        }
        thread::sleep(TICK);
        engine.increment_epoch();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleeps_when_nothing_runs_and_wakes_for_a_call() {
        let ticker = Ticker::start(wasmtime::Engine::default()).unwrap();
        let asleep = || ticker.face.asleep.load(Ordering::SeqCst);
        while !asleep() {
            thread::sleep(TICK);
        }
        let busy = ticker.busy();
        while asleep() {
            thread::sleep(TICK);
        }
        drop(busy);
    }
}
