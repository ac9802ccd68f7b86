//! How plugins fare: calls, failures and how long calls take, since the gateway was started.

use crate::model::Millis;

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
