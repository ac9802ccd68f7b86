//! Logs.

use super::value::words;
use super::{ConfigError, Setting, Values};

/// Logs.
#[derive(Clone, Debug)]
pub struct TelemetryConfig {
    /// Filter, as `info` or `wagate=debug,info`. `LOG`, default `info`.
    pub log: String,
    /// One JSON object a line instead of text. `LOG_FORMAT=json`.
    pub json: bool,
}

impl TelemetryConfig {
    pub(super) fn read(values: &Values) -> Result<Self, ConfigError> {
        let json = |text: &str| match text {
            "text" => Some(false),
            "json" => Some(true),
            _ => None,
        };
        Ok(Self { log: values.required(&LOG, words)?, json: values.required(&LOG_FORMAT, json)? })
    }
}

pub(super) const SETTINGS: &[&Setting] = &[&LOG, &LOG_FORMAT];

static LOG: Setting = Setting::new(
    "log.filter",
    "LOG",
    "a level (error, warn, info, debug, trace) or targets such as wagate::webhook=debug,info",
    "What is logged. A bare level speaks of wagate alone; the WhatsApp library, which writes phone numbers, is silent unless its targets are named.",
)
.default("info");

static LOG_FORMAT: Setting =
    Setting::new("log.format", "LOG_FORMAT", "text or json", "Form of a log line.").default("text");
