//! What an instance uses: linear memory, and processor time in ticks.
//!
//! A call that has used a few ticks goes into the slow lane, where calls take turns tick by tick on half of the
//! processors: the other half stays with the calls of a few microseconds, however many plugins run in circles.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::{ResourceLimiter, UpdateDeadline};

use super::ticker::TICK;

/// Ticks after which a call is slow.
const SLOW: u32 = 3;

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
    ticks: u32,
    budget: u32,
    /// The tick after a wait in the host was not spent by the call.
    excused: bool,
    lane: Arc<Lane>,
    seat: Seat,
}

/// Where slow calls take turns.
pub(super) struct Lane(Arc<Semaphore>);

/// A slow call's turn, shared with the future that waits for the next.
pub(super) type Seat = Arc<Mutex<Option<OwnedSemaphorePermit>>>;

impl Lane {
    pub(super) fn new() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self(Arc::new(Semaphore::new((processors / 2).max(1))))
    }
}

impl Meter {
    pub(super) fn new(budget: u32, lane: Arc<Lane>) -> Self {
        Self { ticks: 0, budget, excused: false, lane, seat: Seat::default() }
    }

    /// Starts counting for a call.
    pub(super) fn rearm(&mut self) {
        (self.ticks, self.excused) = (0, false);
    }

    /// The budget in milliseconds, when the call has used it up.
    pub(super) fn exceeded(&self) -> Option<u32> {
        (self.ticks > self.budget).then_some(self.budget)
    }

    /// Where its call sits while it runs in the slow lane.
    pub(super) fn seat(&self) -> Seat {
        Arc::clone(&self.seat)
    }

    /// The call waits in the host from now on: another slow one may go.
    pub(super) fn pause(&mut self) -> Instant {
        if self.ticks >= SLOW {
            leave(&self.seat);
        }
        Instant::now()
    }

    /// The call goes on after a wait. The tick that fell meanwhile was not spent by it.
    pub(super) fn resume(&mut self, paused: Instant) {
        self.excused = paused.elapsed() >= TICK;
    }

    /// The call has ended.
    pub(super) fn rest(&mut self) {
        leave(&self.seat);
    }

    /// A tick fell while the call ran.
    pub(super) fn tick(&mut self) -> UpdateDeadline {
        if std::mem::take(&mut self.excused) {
            return UpdateDeadline::Continue(1);
        }
        self.ticks += 1;
        if self.ticks > self.budget {
            return UpdateDeadline::Interrupt;
        }
        if self.ticks < SLOW {
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
                *seat.lock().unwrap_or_else(PoisonError::into_inner) = turn;
            }),
        )
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        leave(&self.seat);
    }
}

/// The call, which keeps its seat only while it runs: whatever it waits for, WASI's clocks too, another may go.
pub(super) async fn seated<T>(seat: Seat, call: impl Future<Output = T>) -> T {
    let mut call = pin!(call);
    poll_fn(|context| {
        let polled = call.as_mut().poll(context);
        if polled.is_pending() {
            leave(&seat);
        }
        polled
    })
    .await
}

fn leave(seat: &Seat) {
    seat.lock().unwrap_or_else(PoisonError::into_inner).take();
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

    #[test]
    fn a_call_ends_with_its_budget() {
        let mut meter = Meter::new(2, Arc::new(Lane::new()));
        for _ in 0..2 {
            assert!(matches!(meter.tick(), UpdateDeadline::YieldCustom(1, _)));
        }
        assert!(meter.exceeded().is_none());
        assert!(matches!(meter.tick(), UpdateDeadline::Interrupt));
        assert_eq!(meter.exceeded(), Some(2));
        meter.rearm();
        assert!(matches!(meter.tick(), UpdateDeadline::YieldCustom(1, _)));
    }

    #[test]
    fn waiting_in_the_host_costs_nothing() {
        let mut meter = Meter::new(1, Arc::new(Lane::new()));
        for _ in 0..10 {
            let paused = meter.pause();
            meter.resume(paused.checked_sub(TICK).unwrap());
            assert!(matches!(meter.tick(), UpdateDeadline::Continue(1)));
        }
        let paused = meter.pause();
        meter.resume(paused + TICK);
        assert!(matches!(meter.tick(), UpdateDeadline::YieldCustom(1, _)), "it did not wait");
    }

    #[tokio::test]
    async fn slow_calls_take_turns() {
        let lane = Arc::new(Lane(Arc::new(Semaphore::new(1))));
        let mut meters = [Meter::new(100, Arc::clone(&lane)), Meter::new(100, Arc::clone(&lane))];
        for meter in &mut meters {
            meter.ticks = SLOW;
        }
        let UpdateDeadline::YieldCustom(_, first) = meters[0].tick() else { panic!("slow calls yield") };
        first.await;
        let UpdateDeadline::YieldCustom(_, mut second) = meters[1].tick() else { panic!("slow calls yield") };
        let soon = tokio::time::timeout(std::time::Duration::from_millis(20), &mut second);
        assert!(soon.await.is_err(), "the lane is taken");
        meters[0].rest();
        second.await;
    }

    #[tokio::test]
    async fn a_call_that_waits_has_no_seat() {
        let lane = Arc::new(Lane(Arc::new(Semaphore::new(1))));
        let mut meter = Meter::new(100, Arc::clone(&lane));
        meter.ticks = SLOW;
        let UpdateDeadline::YieldCustom(_, turn) = meter.tick() else { panic!("slow calls yield") };
        let call = seated(meter.seat(), async {
            turn.await;
            assert_eq!(lane.0.available_permits(), 0);
            std::future::pending::<()>().await;
        });
        let soon = tokio::time::timeout(std::time::Duration::from_millis(20), call);
        assert!(soon.await.is_err() && lane.0.available_permits() == 1);
    }
}
