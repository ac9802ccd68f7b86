//! How plugins fare: calls, failures and how long calls take, since the gateway was started.
//!
//! Invariant: a call that goes well takes no lock here.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::model::Millis;

/// Failures remembered.
const REMEMBERED: usize = 10;
/// Steps from one power of two to the next: a time is known to a quarter.
const STEPS: usize = 4;
/// From 1 µs to about 2 minutes.
const BUCKETS: usize = 27 * STEPS;

/// How one plugin has fared since the gateway was started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Calls of its hooks.
    pub calls: u64,
    /// Calls that failed.
    pub failures: u64,
    /// Failures since the last call that went well.
    pub in_a_row: u32,
    /// Until when it is not called, because it kept failing.
    pub suspended_until: Option<Millis>,
    /// The time half of its calls stayed below, in microseconds; 0 before the first.
    pub p50_us: u64,
    /// The time 99 of 100 calls stayed below, in microseconds; 0 before the first.
    pub p99_us: u64,
    /// The last failures, newest first; at most 10.
    pub last_failures: Vec<Failure>,
}

/// A call that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// When.
    pub at: Millis,
    /// The call, as in the log.
    pub call: String,
    /// What happened.
    pub detail: String,
}

/// One plugin's record.
#[derive(Debug)]
pub(super) struct Record {
    calls: AtomicU64,
    failures: AtomicU64,
    times: [AtomicU64; BUCKETS],
    last: Mutex<VecDeque<Failure>>,
}

impl Default for Record {
    fn default() -> Self {
        Self {
            calls: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            times: [const { AtomicU64::new(0) }; BUCKETS],
            last: Mutex::default(),
        }
    }
}

impl Record {
    /// A call took this long.
    pub(super) fn took(&self, time: Duration) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.times[bucket(time)].fetch_add(1, Ordering::Relaxed);
    }

    /// A call failed.
    pub(super) fn failed(&self, failure: Failure) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.truncate(REMEMBERED - 1);
        last.push_front(failure);
    }

    /// What is known, but for the breaker's part.
    pub(super) fn health(&self) -> Health {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        Health {
            calls: self.calls.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
            in_a_row: 0,
            suspended_until: None,
            p50_us: self.quantile(50),
            p99_us: self.quantile(99),
            last_failures: last.iter().cloned().collect(),
        }
    }

    /// The time that so many of 100 calls stayed below.
    fn quantile(&self, percent: u64) -> u64 {
        let counts: Vec<u64> = self.times.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        let wanted = counts.iter().sum::<u64>() * percent;
        let mut seen = 0;
        let reached = |count: &u64| {
            seen += count * 100;
            seen >= wanted && seen > 0
        };
        counts.iter().position(reached).map_or(0, upper)
    }
}

/// Where a time is counted.
fn bucket(time: Duration) -> usize {
    let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1);
    let power = us.ilog2() as usize;
    let step = match power {
        0 => 0,
        1 => (us & 1) as usize * 2,
        _ => usize::try_from(us >> (power - 2)).unwrap_or_default() & (STEPS - 1),
    };
    (power * STEPS + step).min(BUCKETS - 1)
}

/// The first time above a bucket, in microseconds.
fn upper(bucket: usize) -> u64 {
    let (power, step) = (bucket / STEPS, (bucket % STEPS) as u64 + 1);
    (1 << power) + (step << power).div_ceil(STEPS as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_known_to_a_quarter() {
        for us in [1, 2, 3, 4, 5, 7, 18, 100, 999, 50_000, 30_000_000] {
            let above = upper(bucket(Duration::from_micros(us)));
            assert!(above > us && above <= us + us.div_ceil(4), "{us}: {above}");
        }
        assert_eq!(bucket(Duration::from_secs(1_000_000)), BUCKETS - 1);
    }

    #[test]
    fn tells_the_middle_from_the_tail() {
        let record = Record::default();
        assert_eq!((record.health().p50_us, record.health().p99_us), (0, 0));
        (0..98).for_each(|_| record.took(Duration::from_micros(20)));
        (0..2).for_each(|_| record.took(Duration::from_millis(10)));
        let health = record.health();
        assert_eq!(health.calls, 100);
        assert!((20..=25).contains(&health.p50_us) && health.p99_us >= 10_000, "{health:?}");
    }

    #[test]
    fn remembers_the_last_failures() {
        let record = Record::default();
        for n in 0..15 {
            record.failed(Failure { at: Millis(n), call: String::new(), detail: String::new() });
        }
        let health = record.health();
        assert_eq!((health.failures, health.last_failures.len()), (15, REMEMBERED));
        assert_eq!(health.last_failures[0].at, Millis(14));
    }
}
