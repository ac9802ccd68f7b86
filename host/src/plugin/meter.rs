//! What an instance uses: linear memory, and processor time.
//!
//! Processor time is looked at whenever a tick falls while a call runs. A call that has used a few milliseconds of it goes
//! on in the slow lane ([`Lane`]), out of the way of the calls of a few microseconds.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use rustix::time::{ClockId, clock_gettime};
use wasmtime::{ResourceLimiter, UpdateDeadline};

use super::lane::Lane;
use super::ticker::TICK;

/// Processor time after which a call is slow.
const SLOW: Duration = Duration::from_millis(2);

/// Linear memory of one store, all memories together.
#[derive(Debug)]
pub(super) struct Memory {
    used: usize,
    limit: usize,
    /// Whether the instance wanted more than the limit.
    refused: bool,
}

impl Memory {
    pub(super) fn new(mib: u32) -> Self {
        Self { used: 0, limit: mib as usize * (1 << 20), refused: false }
    }

    /// A call begins: what an earlier one was refused is forgotten.
    pub(super) fn rearm(&mut self) {
        self.refused = false;
    }

    /// KiB in use.
    pub(super) fn kib(&self) -> u64 {
        (self.used as u64).div_ceil(1024)
    }

    /// The limit in MiB, when the instance ran into it.
    pub(super) fn exceeded(&self) -> Option<usize> {
        self.refused.then_some(self.limit >> 20)
    }

    /// Whether more than half of the limit is in use.
    pub(super) fn is_half_full(&self) -> bool {
        self.used > self.limit / 2
    }
}

impl ResourceLimiter for Memory {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let used = self.used.saturating_add(desired.saturating_sub(current));
        let within = used <= self.limit;
        if within && maximum.is_none_or(|maximum| desired <= maximum) {
            self.used = used;
        }
        self.refused |= !within;
        Ok(within)
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= 20_000)
    }

    fn instances(&self) -> usize {
        super::engine::MODULES as usize
    }

    fn tables(&self) -> usize {
        64
    }

    fn memories(&self) -> usize {
        4
    }
}

/// Processor time of one call.
pub(super) struct Meter {
    used: Duration,
    /// In milliseconds.
    budget: u32,
    pace: Pace,
}

/// What a call shares with the future that runs it.
pub(super) type Pace = Arc<Mutex<Paced>>;

/// A call while it runs.
#[derive(Debug, Default)]
pub(super) struct Paced {
    /// It belongs into the slow lane.
    slow: bool,
    /// What its thread's clock said when it went on; `None` until it has waited for the first time.
    since: Option<Duration>,
}

impl Meter {
    pub(super) fn new(budget: u32) -> Self {
        Self { used: Duration::ZERO, budget, pace: Pace::default() }
    }

    /// Starts counting for a call.
    pub(super) fn rearm(&mut self) {
        self.used = Duration::ZERO;
        *paced(&self.pace) = Paced::default();
    }

    /// The budget in milliseconds, when the call has used it up.
    pub(super) fn exceeded(&self) -> Option<u32> {
        (self.used > Duration::from_millis(self.budget.into())).then_some(self.budget)
    }

    /// What its call is to be run with.
    pub(super) fn pace(&self) -> Pace {
        Arc::clone(&self.pace)
    }

    /// A tick fell while the call ran.
    pub(super) fn tick(&mut self) -> UpdateDeadline {
        let since = paced(&self.pace).since;
        self.used += since.map_or(TICK, |since| processor_time().saturating_sub(since));
        if self.exceeded().is_some() {
            return UpdateDeadline::Interrupt;
        }
        if self.used >= SLOW {
            paced(&self.pace).slow = true;
        }
        UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now()))
    }
}

/// Runs a call: here while it is quick, and from then on in the slow lane. `None` when it panicked there.
///
/// Its processor time is read from its thread's clock, whichever thread it goes on: neither what it waits for nor what
/// other programs take from the machine is its own. The first stretch, which is nearly always the only one, is not timed.
pub(super) async fn run<T: Send + 'static>(lane: &Lane, pace: Pace, call: BoxFuture<'static, T>) -> Option<T> {
    let mut call = timed(Arc::clone(&pace), call);
    let quick = poll_fn(|context| match call.poll_unpin(context) {
        Poll::Ready(ended) => Poll::Ready(Some(ended)),
        Poll::Pending if paced(&pace).slow => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    });
    match quick.await {
        Some(ended) => Some(ended),
        None => lane.finish(call).await,
    }
}

fn timed<T: 'static>(pace: Pace, mut call: BoxFuture<'static, T>) -> impl Future<Output = T> + Send + Unpin + 'static {
    let mut waited = false;
    poll_fn(move |context| {
        if waited {
            paced(&pace).since = Some(processor_time());
        }
        waited = true;
        call.as_mut().poll(context)
    })
}

/// Processor time of this thread.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

fn paced(pace: &Pace) -> MutexGuard<'_, Paced> {
    pace.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memories_share_one_limit() {
        let mut memory = Memory::new(2);
        assert!(memory.memory_growing(0, 1 << 20, None).unwrap());
        assert!(memory.memory_growing(0, 1 << 20, None).unwrap());
        assert!(memory.exceeded().is_none() && memory.is_half_full());
        assert!(!memory.memory_growing(1 << 20, (1 << 20) + 1, None).unwrap());
        assert_eq!((memory.exceeded(), memory.kib()), (Some(2), 2048));
    }

    /// Keeps the processor busy as a call does.
    fn run_for(span: Duration) {
        let begun = processor_time();
        while processor_time().saturating_sub(begun) < span {
            std::hint::spin_loop();
        }
    }

    /// The meter of a call with 5 ms.
    fn meter() -> Meter {
        Meter::new(5)
    }

    #[tokio::test]
    async fn a_call_ends_with_its_budget() {
        let mut meter = meter();
        let pace = meter.pace();
        let call = async move {
            let mut ticks = 0;
            loop {
                ticks += 1;
                match meter.tick() {
                    UpdateDeadline::YieldCustom(1, turn) => turn.await,
                    UpdateDeadline::Interrupt => return (ticks, meter),
                    _ => panic!("a tick lets others go on, or ends the call"),
                }
                run_for(TICK * 3 / 2);
            }
        };
        let (ticks, mut meter) = run(&Lane::start().unwrap(), pace, call.boxed()).await.unwrap();
        assert_eq!(ticks, 4, "one for the first stretch, then one and a half each");
        assert_eq!(meter.exceeded(), Some(5));
        meter.rearm();
        assert_eq!(meter.exceeded(), None);
        assert!(matches!(meter.tick(), UpdateDeadline::YieldCustom(1, _)));
    }

    #[tokio::test]
    async fn only_its_own_processor_time_counts() {
        let mut meter = meter();
        let pace = meter.pace();
        let call = async move {
            for _ in 0..20 {
                tokio::time::sleep(TICK).await;
                // It is there, and does not get the processor.
                std::thread::sleep(TICK * 2);
                assert!(!matches!(meter.tick(), UpdateDeadline::Interrupt));
            }
            meter.used
        };
        let used = run(&Lane::start().unwrap(), pace, call.boxed()).await.unwrap();
        assert!(used < TICK * 5, "{used:?}");
    }

    #[tokio::test]
    async fn a_slow_call_goes_on_elsewhere_and_the_next_begins_here() {
        let lane = Lane::start().unwrap();
        let here = std::thread::current().id();
        let mut meter = Meter::new(1_000);
        for ticks in [1, 5, 1] {
            meter.rearm();
            let pace = meter.pace();
            let call = async move {
                for _ in 0..ticks {
                    run_for(TICK);
                    let UpdateDeadline::YieldCustom(_, turn) = meter.tick() else { panic!("it has time") };
                    turn.await;
                }
                (std::thread::current().id(), meter)
            };
            let (thread, back) = run(&lane, pace, call.boxed()).await.unwrap();
            assert_eq!(thread != here, ticks > 1, "{ticks} ticks");
            meter = back;
        }
    }
}
