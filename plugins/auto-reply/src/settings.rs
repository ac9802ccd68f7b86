//! The configuration, checked when it is saved.

use serde::Deserialize;

use crate::hours::Week;

const HOUR_MS: u64 = 60 * 60 * 1000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    pub(crate) text: String,
    office_hours: Week,
    #[serde(default)]
    utc_offset_minutes: i16,
    #[serde(default = "half_a_day")]
    quiet_hours: u16,
}

fn half_a_day() -> u16 {
    12
}

impl Settings {
    /// Reads the configuration; the error names the member and what it must be.
    pub(crate) fn read(json: &str) -> Result<Self, String> {
        let settings: Self = settings::read(json)?;
        if settings.text.trim().is_empty() {
            return Err("text: must be the words to answer with".to_owned());
        }
        if !(-720..=840).contains(&settings.utc_offset_minutes) {
            return Err("utc_offset_minutes: must be from -720 to 840, for example 60 for UTC+1".to_owned());
        }
        if !(1..=720).contains(&settings.quiet_hours) {
            return Err("quiet_hours: must be from 1 to 720".to_owned());
        }
        Ok(settings)
    }

    /// Whether the office is open at a moment, in Unix milliseconds.
    pub(crate) fn is_open(&self, now: u64) -> bool {
        self.office_hours.covers(now, self.utc_offset_minutes)
    }

    /// For how long a chat that got an answer gets no other.
    pub(crate) fn quiet_ms(&self) -> u64 {
        u64::from(self.quiet_hours) * HOUR_MS
    }
}
