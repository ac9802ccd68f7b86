//! How much is asked of one receiver: attempts under way, which begin with two and double with each success, and attempts
//! begun in a second, where the endpoint names a limit.
//!
//! Pure: the moment is an argument.
//!
//! Invariant: at least one attempt may be under way, and never more than the endpoint's limit.

use std::time::{Duration, Instant};

use crate::model::EndpointLimits;

/// Attempts under way before the first success.
const START: u32 = 2;
/// The part of a second whose attempts may be begun at once.
const BURST: f64 = 0.05;

/// The pace of one endpoint.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    window: u32,
    /// Attempts that may be begun now, where there is a limit.
    tokens: f64,
    at: Instant,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self { window: START, tokens: 1.0, at: now }
    }

    /// An attempt has succeeded.
    pub(super) fn succeeded(&mut self, limits: EndpointLimits) {
        self.window = self.window.saturating_mul(2).min(limits.in_flight.max(1));
    }

    /// An attempt has failed.
    pub(super) fn failed(&mut self) {
        self.window = (self.window / 2).max(1);
    }

    /// How many attempts may be under way.
    pub(super) fn window(&self, limits: EndpointLimits) -> u32 {
        self.window.min(limits.in_flight).max(1)
    }

    /// How long the next attempt has to wait for the limit a second; zero for not at all.
    pub(super) fn wait(&mut self, limits: EndpointLimits, now: Instant) -> Duration {
        let Some(rate) = limits.per_second.map(|rate| f64::from(rate.max(1))) else { return Duration::ZERO };
        let gained = now.saturating_duration_since(self.at).as_secs_f64() * rate;
        self.tokens = (self.tokens + gained).min((rate * BURST).max(1.0));
        self.at = now;
        Duration::from_secs_f64(((1.0 - self.tokens) / rate).max(0.0))
    }

    /// An attempt was begun.
    pub(super) fn begun(&mut self) {
        self.tokens -= 1.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn begins_with_two_and_doubles_up_to_the_limit() {
        let (limits, mut pace) = (EndpointLimits::default(), Pace::new(Instant::now()));
        let mut windows = vec![pace.window(limits)];
        for _ in 0..4 {
            pace.succeeded(limits);
            windows.push(pace.window(limits));
        }
        assert_eq!(windows, [2, 4, 8, 16, 16]);
        (0..9).for_each(|_| pace.failed());
        assert_eq!(pace.window(limits), 1);
        assert_eq!(pace.window(EndpointLimits { in_flight: 0, ..limits }), 1);
    }

    #[test]
    fn begins_no_more_in_a_second_than_the_limit() {
        let begun = Instant::now();
        for (rate, expected) in [(1, 11), (10, 101), (1_000, 10_001)] {
            let limits = EndpointLimits { per_second: Some(rate), ..EndpointLimits::default() };
            let (mut pace, mut now, mut count) = (Pace::new(begun), begun, 0);
            while now.duration_since(begun) <= Duration::from_secs(10) {
                match pace.wait(limits, now) {
                    Duration::ZERO => {
                        pace.begun();
                        count += 1;
                    }
                    wait => now += wait.max(Duration::from_micros(1)),
                }
            }
            assert!(count >= expected - 1 && count <= expected + 1, "{rate} a second: {count} in ten");
        }
        assert_eq!(Pace::new(begun).wait(EndpointLimits::default(), begun), Duration::ZERO);
    }
}
