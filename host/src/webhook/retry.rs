//! When to try again, and when to give up: three days of patience, growing from seconds to a day.
//!
//! Pure: the moment, the answer and the dice are arguments.
//!
//! Invariant: a receiver can only ask for more time, never for an earlier or an endless attempt.

use std::time::{Duration, UNIX_EPOCH};

use crate::model::{AttemptOutcome, DeadWhy, Millis};
use crate::store::deliveries::Settlement;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;

/// The wait after each failed attempt, in seconds. After the last wait comes the last attempt.
const WAITS: [u64; 10] =
    [5, 30, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR];

/// The longest wait a receiver may ask for.
const LONGEST_ASKED: Duration = Duration::from_secs(24 * HOUR);

/// A wait grows by up to this share of itself, so that receivers coming back are not met by all at once.
pub(super) const JITTER: f64 = 0.2;

/// What becomes of a delivery after the attempt that ended like this at `now`.
///
/// `earlier` counts the attempts of its schedule before this one; `asked` is the receiver's `Retry-After`; `dice` lies in `0.0..1.0`.
pub(super) fn next(
    outcome: &AttemptOutcome,
    earlier: u32,
    asked: Option<Duration>,
    now: Millis,
    dice: f64,
) -> Settlement {
    match outcome {
        AttemptOutcome::Accepted { .. } => return Settlement::Delivered,
        // 410 Gone: the receiver says that nobody will ever listen here again.
        AttemptOutcome::Refused { status: 410 } => return Settlement::Dead(DeadWhy::Gone),
        AttemptOutcome::Refused { .. } | AttemptOutcome::Unanswered { .. } => {}
    }
    let wait = usize::try_from(earlier).ok().and_then(|index| WAITS.get(index));
    let Some(&seconds) = wait else { return Settlement::Dead(DeadWhy::Exhausted) };
    let wait = Duration::from_secs(seconds).mul_f64(1.0 + JITTER * dice.clamp(0.0, 1.0));
    let asked = asked.unwrap_or_default().min(LONGEST_ASKED);
    Settlement::Retry(now.after(wait.max(asked)))
}

/// The wait a `Retry-After` header asks for: seconds, or a date (RFC 9110 §10.2.3). `None` when it is neither.
pub(super) fn asked(header: &str, now: Millis) -> Option<Duration> {
    let header = header.trim();
    if !header.is_empty() && header.bytes().all(|b| b.is_ascii_digit()) {
        return Some(Duration::from_secs(header.parse().unwrap_or(u64::MAX)));
    }
    let date = httpdate::parse_http_date(header).ok()?.duration_since(UNIX_EPOCH).ok()?;
    let date = Millis(i64::try_from(date.as_millis()).unwrap_or(i64::MAX));
    Some(date.since(now))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ErrorClass;

    const NOW: Millis = Millis(1_700_000_000_000);

    fn failed() -> AttemptOutcome {
        AttemptOutcome::Refused { status: 500 }
    }

    fn wait_of(settlement: Settlement) -> Duration {
        match settlement {
            Settlement::Retry(at) => at.since(NOW),
            other => panic!("{other:?} is no retry"),
        }
    }

    #[test]
    fn waits_longer_after_each_failure_and_gives_up_after_three_days() {
        let mut total = Duration::ZERO;
        for (earlier, seconds) in [5, 30, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400].iter().enumerate()
        {
            let wait = wait_of(next(&failed(), u32::try_from(earlier).unwrap(), None, NOW, 0.0));
            assert_eq!(wait, Duration::from_secs(*seconds));
            total += wait;
        }
        assert!(total > Duration::from_hours(72), "{total:?}");
        assert_eq!(next(&failed(), 10, None, NOW, 0.0), Settlement::Dead(DeadWhy::Exhausted));
        assert_eq!(next(&failed(), u32::MAX, None, NOW, 0.0), Settlement::Dead(DeadWhy::Exhausted));
    }

    #[test]
    fn jitter_only_ever_delays_and_by_a_fifth_at_most() {
        for dice in [0.0, 0.1, 0.5, 0.999, 1.0, 7.0, -7.0] {
            let wait = wait_of(next(&failed(), 1, None, NOW, dice));
            assert!(wait >= Duration::from_secs(30) && wait <= Duration::from_secs(36), "{dice}: {wait:?}");
        }
    }

    #[test]
    fn success_is_any_2xx_and_gone_is_final() {
        assert_eq!(next(&AttemptOutcome::Accepted { status: 204 }, 3, None, NOW, 0.5), Settlement::Delivered);
        assert_eq!(next(&AttemptOutcome::Refused { status: 410 }, 0, None, NOW, 0.5), Settlement::Dead(DeadWhy::Gone));
        for status in [301, 400, 401, 404, 408, 425, 429, 500, 502, 503, 504] {
            assert!(matches!(next(&AttemptOutcome::Refused { status }, 0, None, NOW, 0.5), Settlement::Retry(_)));
        }
        let unanswered = AttemptOutcome::Unanswered { class: ErrorClass::Connect, error: "refused".to_owned() };
        assert!(matches!(next(&unanswered, 0, None, NOW, 0.5), Settlement::Retry(_)));
    }

    #[test]
    fn a_receiver_can_delay_by_a_day_at_most_and_hasten_nothing() {
        let wait = |asked: u64| wait_of(next(&failed(), 1, Some(Duration::from_secs(asked)), NOW, 0.0)).as_secs();
        assert_eq!(wait(0), 30);
        assert_eq!(wait(10), 30);
        assert_eq!(wait(120), 120);
        assert_eq!(wait(365 * 86_400), 86_400);
        assert_eq!(next(&failed(), 10, Some(Duration::from_mins(1)), NOW, 0.0), Settlement::Dead(DeadWhy::Exhausted));
    }

    #[test]
    fn reads_retry_after_as_seconds_or_as_a_date() {
        let table = [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("99999999999999999999999", Some(u64::MAX)),
            ("Tue, 14 Nov 2023 22:15:20 GMT", Some(120)),
            ("Tuesday, 14-Nov-23 22:15:20 GMT", Some(120)),
            ("Tue, 14 Nov 2023 22:00:00 GMT", Some(0)),
            ("Mon, 01 Jan 1900 00:00:00 GMT", None),
            ("", None),
            ("-5", None),
            ("1.5", None),
            ("soon", None),
        ];
        for (header, seconds) in table {
            assert_eq!(asked(header, NOW), seconds.map(Duration::from_secs), "{header:?}");
        }
    }
}
