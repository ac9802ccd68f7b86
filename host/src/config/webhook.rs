//! Posting webhooks.

use std::net::IpAddr;
use std::time::Duration;

use super::value::{count, duration, list};
use super::{ConfigError, Setting, Values};

/// Posting webhooks.
#[derive(Clone, Debug)]
pub struct WebhookConfig {
    /// Time an attempt may take in all. Default 15 s.
    pub timeout: Duration,
    /// Attempts less than a second old at once; four times as many in all. Default 256.
    pub concurrency: usize,
    /// Private networks webhooks may go to, as `10.0.0.0/8`. `WEBHOOK_ALLOW`, default none.
    pub allow: Vec<String>,
}

impl WebhookConfig {
    pub(super) fn read(values: &Values) -> Result<Self, ConfigError> {
        Ok(Self {
            timeout: values.required(&TIMEOUT, duration)?,
            concurrency: values.required(&CONCURRENCY, count)?,
            allow: values.optional(&ALLOW, |text| list(text, network))?.unwrap_or_default(),
        })
    }
}

/// An address, or a network as address and prefix length.
fn network(text: &str) -> Option<String> {
    let (address, length) = text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
    let longest = if address.parse::<IpAddr>().ok()?.is_ipv4() { 32 } else { 128 };
    let length = length.map_or(Some(longest), |length| length.parse::<u8>().ok())?;
    (length <= longest).then(|| text.to_owned())
}

pub(super) const SETTINGS: &[&Setting] = &[&TIMEOUT, &CONCURRENCY, &ALLOW];

static TIMEOUT: Setting = Setting::new(
    "webhook.timeout",
    "WEBHOOK_TIMEOUT",
    "a time such as 15s",
    "Time an attempt may take in all, from the name lookup to the last byte of the answer.",
)
.default("15s");

static CONCURRENCY: Setting = Setting::new(
    "webhook.concurrency",
    "WEBHOOK_CONCURRENCY",
    "a number from 1",
    "Attempts less than a second old at once; four times as many may be under way in all.",
)
.default("256");

static ALLOW: Setting = Setting::new(
    "webhook.allow",
    "WEBHOOK_ALLOW",
    "networks such as 10.0.0.0/8 or addresses, separated by commas",
    "Private networks that webhooks may go to. None unless set: only public addresses are dialled.",
)
.sample("10.0.0.0/8");
