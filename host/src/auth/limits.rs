//! How often somebody may try to log in: per account and per network, without ever locking an account for good.
//!
//! Two cores hash about sixty passwords a second in total, so the network limit protects the machine and the account
//! limit protects the password. Both refill steadily (GCRA, crate `governor`).
//!
//! Invariant: keys are hashes of fixed size, so that a flood of made-up names costs a few bytes each and is forgotten.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

/// Tries an account has at once, and how many come back a minute.
const ACCOUNT: (u32, u32) = (10, 20);
/// Tries a network has at once, and how many come back a minute.
const NETWORK: (u32, u32) = (30, 60);
/// After this many checks, keys whose quota is full again are forgotten.
const SWEEP_EVERY: u32 = 4096;

/// The limits on logging in.
pub(super) struct LoginLimits {
    accounts: DefaultKeyedRateLimiter<u64>,
    networks: DefaultKeyedRateLimiter<u64>,
    hasher: RandomState,
    checks: AtomicU32,
}

impl LoginLimits {
    pub(super) fn new() -> Self {
        Self {
            accounts: RateLimiter::keyed(quota(ACCOUNT)),
            networks: RateLimiter::keyed(quota(NETWORK)),
            hasher: RandomState::new(),
            checks: AtomicU32::new(0),
        }
    }

    /// Counts one try; `Err` tells how long to wait when there are too many.
    pub(super) fn check(&self, username: &str, from: IpAddr) -> Result<(), Duration> {
        self.sweep();
        let network = self.hasher.hash_one(network(from));
        let account = self.hasher.hash_one(username.trim().to_lowercase());
        let now = DefaultClock::default().now();
        self.networks.check_key(&network).map_err(|until| until.wait_time_from(now))?;
        self.accounts.check_key(&account).map_err(|until| until.wait_time_from(now))
    }

    fn sweep(&self) {
        if self.checks.fetch_add(1, Ordering::Relaxed) % SWEEP_EVERY == SWEEP_EVERY - 1 {
            self.accounts.retain_recent();
            self.networks.retain_recent();
        }
    }
}

fn quota((burst, per_minute): (u32, u32)) -> Quota {
    let at_least_one = |n: u32| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
    Quota::per_minute(at_least_one(per_minute)).allow_burst(at_least_one(burst))
}

/// Whom an address stands for: itself in IPv4, its /64 in IPv6, where one customer holds that many addresses.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_account_is_slowed_down_from_any_network() {
        let limits = LoginLimits::new();
        let mut refused = None;
        for n in 0..=u8::try_from(ACCOUNT.0).unwrap() {
            let name = if n % 2 == 0 { "ana" } else { "ANA " };
            refused = limits.check(name, IpAddr::from([198, 51, 100, n])).err();
        }
        let wait = refused.expect("one try more than the burst");
        assert!(wait > Duration::ZERO && wait <= Duration::from_secs(3), "{wait:?}");
        assert!(limits.check("ben", IpAddr::from([198, 51, 100, 1])).is_ok(), "another account is not concerned");
    }

    #[test]
    fn one_network_is_slowed_down_for_any_account() {
        let limits = LoginLimits::new();
        let address = |n: u32| -> IpAddr { format!("2001:db8::{n:x}").parse().unwrap() };
        let refused = (0..=NETWORK.0).map(|n| limits.check(&n.to_string(), address(n))).filter(Result::is_err).count();
        assert_eq!(refused, 1);
    }

    #[test]
    fn an_ipv6_customer_is_one_network() {
        let table =
            [("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"), ("192.0.2.7", "192.0.2.7"), ("::ffff:192.0.2.7", "192.0.2.7")];
        for (given, expected) in table {
            assert_eq!(network(given.parse().unwrap()), expected.parse::<IpAddr>().unwrap());
        }
    }
}
