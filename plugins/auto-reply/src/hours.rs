//! Office hours: a week of days, each with the times it is open.

use serde::Deserialize;

const MINUTE_MS: u64 = 60 * 1000;
const DAY_MINUTES: i64 = 24 * 60;

/// When the office is open. A day that is not named is closed.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Week {
    monday: Day,
    tuesday: Day,
    wednesday: Day,
    thursday: Day,
    friday: Day,
    saturday: Day,
    sunday: Day,
}

/// Spans of minutes since midnight, the end not included: `09:00-12:30, 13:30-17:00`.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(try_from = "String")]
struct Day(Vec<(i64, i64)>);

impl Week {
    /// Whether it is open at a moment (Unix milliseconds) where clocks are this many minutes ahead of UTC.
    pub(crate) fn covers(&self, now: u64, ahead: i16) -> bool {
        let minutes = i64::try_from(now / MINUTE_MS).unwrap_or_default() + i64::from(ahead);
        // 1970 began on a Thursday.
        let day = match minutes.div_euclid(DAY_MINUTES).rem_euclid(7) {
            0 => &self.thursday,
            1 => &self.friday,
            2 => &self.saturday,
            3 => &self.sunday,
            4 => &self.monday,
            5 => &self.tuesday,
            _ => &self.wednesday,
        };
        let minute = minutes.rem_euclid(DAY_MINUTES);
        day.0.iter().any(|(from, to)| (*from..*to).contains(&minute))
    }
}

impl TryFrom<String> for Day {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let spans = text.split(',').map(str::trim).filter(|span| !span.is_empty()).map(span);
        let wrong = || format!("{text:?} must be times such as \"09:00-12:30, 13:30-17:00\", or \"\" for closed");
        spans.collect::<Option<_>>().map(Self).ok_or_else(wrong)
    }
}

fn span(text: &str) -> Option<(i64, i64)> {
    let (from, to) = text.split_once('-')?;
    let (from, to) = (minute(from.trim())?, minute(to.trim())?);
    (from < to).then_some((from, to))
}

/// Minutes since midnight; `24:00` is the day's end.
fn minute(text: &str) -> Option<i64> {
    let (hours, minutes) = text.split_once(':')?;
    let number = |text: &str| text.parse::<u8>().ok().filter(|_| text.len() == 2).map(i64::from);
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    (minutes < 60 && hours * 60 + minutes <= DAY_MINUTES).then_some(hours * 60 + minutes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tuesday, 1 February 2022, 13:50 UTC.
    const TUESDAY: u64 = 1_643_723_400_000;
    const HOUR: u64 = 60 * MINUTE_MS;

    fn week(day: &str, hours: &str) -> Week {
        serde_json::from_str(&format!("{{{day:?}:{hours:?}}}")).unwrap()
    }

    #[test]
    fn is_open_between_the_times_of_the_day() {
        let week = week("tuesday", "09:00-12:30, 13:30-17:00");
        assert!(week.covers(TUESDAY, 0));
        assert!(!week.covers(TUESDAY - HOUR, 0));
        assert!(week.covers(TUESDAY - 2 * HOUR, 0));
        assert!(week.covers(TUESDAY + 3 * HOUR + 9 * MINUTE_MS, 0));
        assert!(!week.covers(TUESDAY + 3 * HOUR + 10 * MINUTE_MS, 0));
        assert!(!week.covers(TUESDAY + 24 * HOUR, 0));
    }

    #[test]
    fn the_day_is_the_one_at_the_office() {
        assert!(week("wednesday", "00:00-24:00").covers(TUESDAY, 11 * 60));
        assert!(week("monday", "00:00-24:00").covers(TUESDAY - 13 * HOUR, -60));
        for (nth, day) in
            ["tuesday", "wednesday", "thursday", "friday", "saturday", "sunday", "monday"].iter().enumerate()
        {
            assert!(week(day, "13:00-14:00").covers(TUESDAY + nth as u64 * 24 * HOUR, 0), "{day}");
        }
    }

    #[test]
    fn no_hours_are_closed() {
        assert!(!week("tuesday", "").covers(TUESDAY, 0));
        assert!(!Week::default().covers(TUESDAY, 0));
    }

    #[test]
    fn refuses_what_are_no_times() {
        for hours in ["9-17", "9:00-17:00", "17:00-09:00", "09:00", "09:60-10:00", "00:00-24:01", "always"] {
            assert!(Day::try_from(hours.to_owned()).unwrap_err().contains("must be times"), "{hours}");
        }
    }
}
