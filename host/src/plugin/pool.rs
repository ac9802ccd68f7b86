//! Warm instances of one binding.
//!
//! A pool belongs to one binding of one version in one revision of its configuration, and so to one user: an instance
//! never serves anybody else.
//!
//! Invariant: only an instance whose last call ended well comes back here.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::call::Running;

/// Calls an instance serves, and how long it lives.
const CALLS: u32 = 1_000;
const LIFE: Duration = Duration::from_mins(10);
/// How long it is kept without a call.
const IDLE: Duration = Duration::from_secs(30);

/// The instances that wait for a call.
#[derive(Default)]
pub(super) struct Pool(Mutex<Vec<Idle>>);

struct Idle {
    running: Running,
    since: Instant,
    _place: OwnedSemaphorePermit,
}

impl Pool {
    /// The instance used last, whose memory is most likely still near.
    pub(super) fn take(&self) -> Option<Running> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().map(|idle| idle.running)
    }

    /// Keeps the instance for the next call, when it is sound and one of `places` is free.
    pub(super) fn keep(&self, running: Running, places: &Arc<Semaphore>, now: Instant) {
        let old = now.saturating_duration_since(running.born) >= LIFE;
        let worn = old || running.calls >= CALLS || running.state().memory.is_half_full();
        if worn {
            return;
        }
        if let Ok(place) = Arc::clone(places).try_acquire_owned() {
            let idle = Idle { running, since: now, _place: place };
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(idle);
        }
    }

    /// Ends instances that nobody has called for a while.
    pub(super) fn sweep(&self) {
        let ended: Vec<Idle> = {
            let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            idle.extract_if(.., |idle| idle.since.elapsed() >= IDLE || idle.running.born.elapsed() >= LIFE).collect()
        };
        drop(ended);
    }
}
