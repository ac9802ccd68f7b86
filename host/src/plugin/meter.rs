//! What an instance uses: linear memory, and processor time.
//!
//! Processor time is looked at whenever a tick falls while a call runs. A call that has used a few milliseconds goes into the slow lane, where calls take turns tick by tick on half of the
//! processors: the other half stays with the calls of a few microseconds, however many plugins run in circles.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::{ResourceLimiter, UpdateDeadline};

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
    lane: Arc<Lane>,
    seat: Seat,
}

/// Where slow calls take turns.
pub(super) struct Lane(Arc<Semaphore>);

/// What a call shares with the future that runs it.
pub(super) type Seat = Arc<Mutex<Sitting>>;

/// A call while it runs.
#[derive(Debug, Default)]
pub(super) struct Sitting {
    /// Its turn in the slow lane.
    turn: Option<OwnedSemaphorePermit>,
    /// What its thread's clock said when it went on; `None` until it has waited for the first time.
    since: Option<Duration>,
}

impl Lane {
    pub(super) fn new() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self(Arc::new(Semaphore::new((processors / 2).max(1))))
    }
}

impl Meter {
    pub(super) fn new(budget: u32, lane: Arc<Lane>) -> Self {
        Self { used: Duration::ZERO, budget, lane, seat: Seat::default() }
    }

    /// Starts counting for a call.
    pub(super) fn rearm(&mut self) {
        self.used = Duration::ZERO;
        sitting(&self.seat).since = None;
    }

    /// The budget in milliseconds, when the call has used it up.
    pub(super) fn exceeded(&self) -> Option<u32> {
        (self.used > Duration::from_millis(self.budget.into())).then_some(self.budget)
    }

    /// Where its call sits while it runs.
    pub(super) fn seat(&self) -> Seat {
        Arc::clone(&self.seat)
    }

    /// A tick fell while the call ran.
    pub(super) fn tick(&mut self) -> UpdateDeadline {
        let since = sitting(&self.seat).since;
        self.used += since.map_or(TICK, |since| processor_time().saturating_sub(since));
        if self.exceeded().is_some() {
            return UpdateDeadline::Interrupt;
        }
        if self.used < SLOW {
            return UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now()));
        }
        let (lane, seat) = (Arc::clone(&self.lane.0), Arc::clone(&self.seat));
        UpdateDeadline::YieldCustom(
            1,
            Box::pin(async move {
                leave(&seat);
                tokio::task::yield_now().await;
                // The lane is never closed; without a turn the call would go on all the same.
                let turn = lane.acquire_owned().await.ok();
                sitting(&seat).turn = turn;
            }),
        )
    }
}

/// The call, which keeps its turn only while it runs: whatever it waits for, WASI's clocks too, or once it has ended,
/// another may go. Its
/// processor time is read from its thread's clock, whichever thread it goes on: neither what it waits for nor what other
/// programs take from the machine is its own. The first stretch, which is nearly always the only one, is not timed.
pub(super) async fn seated<T>(seat: Seat, call: impl Future<Output = T>) -> T {
    let mut call = pin!(call);
    let mut waited = false;
    poll_fn(|context| {
        if waited {
            sitting(&seat).since = Some(processor_time());
        }
        let polled = call.as_mut().poll(context);
        waited = true;
        leave(&seat);
        polled
    })
    .await
}

/// Processor time of this thread.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

fn leave(seat: &Seat) {
    sitting(seat).turn = None;
}

fn sitting(seat: &Seat) -> MutexGuard<'_, Sitting> {
    seat.lock().unwrap_or_else(PoisonError::into_inner)
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

    #[tokio::test]
    async fn a_call_ends_with_its_budget() {
        let mut meter = Meter::new(5, Arc::new(Lane::new()));
        let seat = meter.seat();
        let call = async {
            let mut ticks = 0;
            loop {
                ticks += 1;
                match meter.tick() {
                    UpdateDeadline::YieldCustom(1, turn) => turn.await,
                    UpdateDeadline::Interrupt => return ticks,
                    _ => panic!("a tick lets others go on, or ends the call"),
                }
                run_for(TICK * 3 / 2);
            }
        };
        let ticks = seated(seat, call).await;
        assert_eq!(ticks, 4, "one for the first stretch, then one and a half each");
        assert_eq!(meter.exceeded(), Some(5));
        meter.rearm();
        assert_eq!(meter.exceeded(), None);
        assert!(matches!(meter.tick(), UpdateDeadline::YieldCustom(1, _)));
    }

    #[tokio::test]
    async fn only_its_own_processor_time_counts() {
        let mut meter = Meter::new(5, Arc::new(Lane::new()));
        let seat = meter.seat();
        let call = async {
            for _ in 0..20 {
                tokio::time::sleep(TICK).await;
                // It is there, and does not get the processor.
                std::thread::sleep(TICK * 2);
                assert!(!matches!(meter.tick(), UpdateDeadline::Interrupt));
            }
        };
        seated(seat, call).await;
        assert!(meter.used < TICK * 5, "{:?}", meter.used);
    }

    /// A call that has become slow and stays in its first turn until `end`.
    async fn slow_call(lane: &Arc<Lane>, end: impl Future<Output = ()>) {
        let mut meter = Meter::new(100, Arc::clone(lane));
        meter.used = SLOW;
        let UpdateDeadline::YieldCustom(_, turn) = meter.tick() else { panic!("slow calls yield") };
        seated(meter.seat(), async {
            turn.await;
            assert_eq!(lane.0.available_permits(), 0);
            end.await;
        })
        .await;
    }

    fn lane_of_one() -> Arc<Lane> {
        Arc::new(Lane(Arc::new(Semaphore::new(1))))
    }

    #[tokio::test]
    async fn slow_calls_take_turns() {
        let lane = lane_of_one();
        let turn = Arc::clone(&lane.0).acquire_owned().await.unwrap();
        let mut waits = pin!(slow_call(&lane, std::future::ready(())));
        let soon = tokio::time::timeout(Duration::from_millis(20), &mut waits);
        assert!(soon.await.is_err(), "the lane is taken");
        drop(turn);
        waits.await;
    }

    #[tokio::test]
    async fn a_call_that_waits_or_has_ended_has_no_turn() {
        let lane = lane_of_one();
        let soon = tokio::time::timeout(Duration::from_millis(20), slow_call(&lane, std::future::pending()));
        assert!(soon.await.is_err() && lane.0.available_permits() == 1);
        let mut meter = Meter::new(100, Arc::clone(&lane));
        meter.used = SLOW;
        let UpdateDeadline::YieldCustom(_, turn) = meter.tick() else { panic!("slow calls yield") };
        seated(meter.seat(), turn).await;
        assert_eq!(lane.0.available_permits(), 1, "its instance is still there, and it keeps others waiting");
        drop(meter);
    }
}
