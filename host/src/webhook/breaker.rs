//! When a receiver is left alone because it is ill, and when it is asked again.
//!
//! Five failures in a row open the breaker for half a minute; then one attempt goes out to see. If that fails too, it is
//! open for twice as long, ten minutes at most. While it is open no delivery is attempted, so none uses up its retries.
//!
//! Pure: the moment is an argument.
//!
//! Invariant: one success closes it.

use std::time::Duration;

use crate::model::Millis;

/// Failures in a row that open it.
const LIMIT: u32 = 5;
/// How long it is open the first time, and at most.
const FIRST: Duration = Duration::from_secs(30);
const LONGEST: Duration = Duration::from_mins(10);

/// The state of one endpoint's breaker. New ones are closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Breaker {
    /// In a row.
    failures: u32,
    /// How often it has been opened since the last success.
    opened: u32,
    until: Option<Millis>,
}

/// Whether an attempt may go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leave {
    /// As many as wanted.
    Granted,
    /// One, while no other is under way.
    Probe,
    /// None before then.
    From(Millis),
}

impl Breaker {
    /// The receiver has answered as one that is well.
    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// It has not. What was under way when the breaker opened does not open it for longer.
    pub(super) fn failed(&mut self, now: Millis) {
        self.failures = self.failures.saturating_add(1);
        let open = self.until.is_some_and(|until| now < until);
        if self.failures >= LIMIT && !open {
            let span = FIRST.saturating_mul(1 << self.opened.min(10)).min(LONGEST);
            self.until = Some(now.after(span));
            self.opened = self.opened.saturating_add(1);
        }
    }

    /// Whether an attempt may go out at `now`.
    pub(super) fn leave(&self, now: Millis) -> Leave {
        match self.until {
            None => Leave::Granted,
            Some(until) if now < until => Leave::From(until),
            Some(_) => Leave::Probe,
        }
    }

    /// Failures in a row.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = Millis(1_700_000_000_000);

    fn ill() -> Breaker {
        let mut breaker = Breaker::default();
        (0..LIMIT).for_each(|_| breaker.failed(NOW));
        breaker
    }

    #[test]
    fn opens_after_five_failures_in_a_row() {
        let mut breaker = Breaker::default();
        for _ in 0..4 {
            breaker.failed(NOW);
        }
        assert_eq!(breaker.leave(NOW), Leave::Granted);
        breaker.succeeded();
        for _ in 0..4 {
            breaker.failed(NOW);
        }
        assert_eq!(breaker.leave(NOW), Leave::Granted);
        breaker.failed(NOW);
        assert_eq!(breaker.leave(NOW), Leave::From(NOW.after(FIRST)));
    }

    #[test]
    fn what_was_under_way_when_it_opened_does_not_open_it_for_longer() {
        let mut breaker = ill();
        (0..20).for_each(|_| breaker.failed(NOW.after(Duration::from_secs(1))));
        assert_eq!(breaker.leave(NOW), Leave::From(NOW.after(FIRST)));
    }

    #[test]
    fn lets_one_probe_through_and_waits_twice_as_long_when_it_fails() {
        let (mut breaker, mut now, mut spans) = (ill(), NOW, Vec::new());
        for _ in 0..7 {
            let Leave::From(until) = breaker.leave(now) else { panic!("{breaker:?} is not open") };
            spans.push(until.since(now).as_secs());
            now = until;
            assert_eq!(breaker.leave(now), Leave::Probe);
            breaker.failed(now);
        }
        assert_eq!(spans, [30, 60, 120, 240, 480, 600, 600]);
        breaker.succeeded();
        assert_eq!((breaker.leave(now), breaker.failures()), (Leave::Granted, 0));
    }
}
