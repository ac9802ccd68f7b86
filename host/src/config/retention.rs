//! How long what is finished is kept.

use std::time::Duration;

use super::value::duration;
use super::{ConfigError, Setting, Values};

/// How long what is finished is kept. `None` is for ever; what is not finished is kept whatever is set here.
#[derive(Clone, Copy, Debug)]
pub struct RetentionConfig {
    /// Events, with their deliveries and the record of their way. Default 30 days.
    pub events: Option<Duration>,
    /// Attempts of deliveries, where the delivery itself is kept longer. Default 14 days.
    pub attempts: Option<Duration>,
    /// Sends, and what plugins asked to be sent. Default 90 days, at least one: so long an idempotency key is remembered.
    pub sends: Option<Duration>,
    /// Bytes of the database above which the oldest events go sooner. Default `None`.
    pub size: Option<u64>,
}

impl RetentionConfig {
    pub(super) fn read(values: &Values) -> Result<Self, ConfigError> {
        let sends = unless_off(values, &SENDS, duration)?;
        if sends.is_some_and(|age| age < KEYS) {
            let reason =
                "an idempotency key is remembered for a day by the send it belongs to; give at least 1d, or off";
            return Err(values.refuse(&SENDS, reason));
        }
        Ok(Self {
            events: unless_off(values, &EVENTS, duration)?,
            attempts: unless_off(values, &ATTEMPTS, duration)?,
            sends,
            size: unless_off(values, &SIZE, mebibytes)?,
        })
    }
}

/// How long idempotency keys live.
const KEYS: Duration = Duration::from_hours(24);

/// What `read` makes of the value; `None` where it is `off`.
fn unless_off<T>(
    values: &Values,
    setting: &'static Setting,
    read: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, ConfigError> {
    values.required(setting, |text| if text == "off" { Some(None) } else { read(text).map(Some) })
}

/// A number of MiB from 1, in bytes.
fn mebibytes(text: &str) -> Option<u64> {
    text.parse::<u64>().ok().filter(|count| *count > 0)?.checked_mul(1024 * 1024)
}

pub(super) const SETTINGS: &[&Setting] = &[&EVENTS, &ATTEMPTS, &SENDS, &SIZE];

static EVENTS: Setting = Setting::new(
    "retention.events",
    "RETENTION_EVENTS",
    "a time such as 30d, or off",
    "How long events are kept, with their deliveries. What is not delivered yet stays until it is.",
)
.default("30d");

static ATTEMPTS: Setting = Setting::new(
    "retention.attempts",
    "RETENTION_ATTEMPTS",
    "a time such as 14d, or off",
    "How long attempts of finished deliveries are kept.",
)
.default("14d");

static SENDS: Setting = Setting::new(
    "retention.sends",
    "RETENTION_SENDS",
    "a time from 1d, or off",
    "How long it is remembered what was sent and what became of it.",
)
.default("90d");

static SIZE: Setting = Setting::new(
    "retention.size",
    "RETENTION_SIZE",
    "a number of MiB from 1, or off",
    "Size of the database, about, above which the oldest finished events go before their time.",
)
.default("off");
