//! When a binding that keeps failing is called again: five failures in a row suspend it, for longer each time.
//!
//! Pure. After its time one call is let through as a probe; if that goes well all is forgotten, else it waits again.

use std::time::Duration;

use crate::model::Millis;

/// Failures in a row that suspend.
const PATIENCE: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(5);

/// The state of one binding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Breaker {
    in_a_row: u32,
    suspensions: u32,
    until: Option<Millis>,
    /// Whether a probe is under way.
    probing: bool,
}

impl Breaker {
    /// Whether a call may be made now; else when the next may.
    pub(super) fn admit(&mut self, now: Millis) -> Result<(), Millis> {
        match self.until {
            Some(until) if now < until => Err(until),
            Some(_) => {
                // The probe. Others wait for what becomes of it, at most one pause.
                self.until = Some(now.after(pause(self.suspensions)));
                self.probing = true;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// A call went well.
    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// A call failed. While suspended only the probe counts: the others were let through before.
    pub(super) fn failed(&mut self, now: Millis) {
        if self.until.is_some() && !self.probing {
            return;
        }
        self.probing = false;
        self.in_a_row = self.in_a_row.saturating_add(1);
        if self.in_a_row >= PATIENCE {
            self.suspensions = self.suspensions.saturating_add(1);
            self.until = Some(now.after(pause(self.suspensions)));
        }
    }

    /// Failures since the last call that went well.
    pub(super) fn in_a_row(&self) -> u32 {
        self.in_a_row
    }

    /// Until when it is suspended.
    pub(super) fn until(&self) -> Option<Millis> {
        self.until
    }
}

/// 1 s at first, doubled each time, at most 5 min.
pub(super) fn pause(times: u32) -> Duration {
    let doubled = FIRST_PAUSE.saturating_mul(1 << times.saturating_sub(1).min(16));
    doubled.min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(seconds: i64) -> Millis {
        Millis(seconds * 1_000)
    }

    #[test]
    fn five_failures_in_a_row_suspend() {
        let mut breaker = Breaker::default();
        for _ in 0..4 {
            breaker.failed(after(0));
            assert_eq!(breaker.admit(after(0)), Ok(()));
        }
        breaker.succeeded();
        for _ in 0..5 {
            assert_eq!(breaker.admit(after(0)), Ok(()));
            breaker.failed(after(0));
        }
        assert_eq!(breaker.admit(after(0)), Err(after(1)));
        assert_eq!((breaker.in_a_row(), breaker.until()), (5, Some(after(1))));
    }

    #[test]
    fn one_probe_goes_through_and_decides() {
        let mut breaker = Breaker::default();
        (0..5).for_each(|_| breaker.failed(after(0)));
        assert_eq!(breaker.admit(after(1)), Ok(()));
        assert_eq!(breaker.admit(after(1)), Err(after(2)), "the others wait for the probe");
        breaker.failed(after(1));
        assert_eq!(breaker.admit(after(2)), Err(after(3)), "twice as long");
        assert_eq!(breaker.admit(after(3)), Ok(()));
        breaker.succeeded();
        assert_eq!((breaker.admit(after(3)), breaker.in_a_row()), (Ok(()), 0));
    }

    #[test]
    fn calls_that_were_under_way_suspend_once() {
        let mut breaker = Breaker::default();
        (0..64).for_each(|_| assert_eq!(breaker.admit(after(0)), Ok(())));
        (0..64).for_each(|_| breaker.failed(after(0)));
        assert_eq!((breaker.in_a_row(), breaker.until()), (5, Some(after(1))));
        assert_eq!(breaker.admit(after(1)), Ok(()));
        (0..2).for_each(|_| breaker.failed(after(1)));
        assert_eq!(breaker.until(), Some(after(3)), "the probe counts once");
    }

    #[test]
    fn a_probe_that_never_answers_does_not_suspend_for_ever() {
        let mut breaker = Breaker::default();
        (0..5).for_each(|_| breaker.failed(after(0)));
        assert_eq!(breaker.admit(after(1)), Ok(()));
        assert_eq!(breaker.admit(after(2)), Ok(()));
    }

    #[test]
    fn pauses_double_up_to_five_minutes() {
        assert_eq!([1, 2, 3, 9, 10, u32::MAX].map(|times| pause(times).as_secs()), [1, 2, 4, 256, 300, 300]);
    }
}
