//! Endpoints as requests and answers have them.
//!
//! Invariant: signing secrets and values of headers are in no answer but those that are asked for them.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::super::error::ApiError;
use super::super::webhook;
use crate::model::{
    DeliveryOrder, DisabledWhy, Endpoint, EndpointLimits, EventFilter, Headers, Millis, SessionId, SigningKey, UserId,
    WebhookUrl,
};
use crate::store::endpoints::{EndpointChange, NewEndpoint};
use crate::webhook::{Pulse, public_key};

/// Headers of one endpoint at most, and bytes of one with its name.
const MOST_HEADERS: usize = 16;
const LONGEST_HEADER: usize = 4 * 1024;
/// Characters of a description at most.
const LONGEST_DESCRIPTION: usize = 500;

/// An endpoint to be added.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct EndpointRequest {
    /// The name plugins route to: 1 to 64 of `A-Z a-z 0-9 . _ -`, unique on its session or account; not `default`.
    #[schema(example = "billing")]
    name: String,
    /// An `http` or `https` address, or a subject on NATS such as `nats:orders`, where the gateway has NATS.
    #[schema(example = "https://myapp.com/webhook/billing")]
    url: String,
    /// What it is for; at most 500 characters.
    #[serde(default)]
    #[schema(example = "Invoices go to the accounting system")]
    description: Option<String>,
    /// The kinds of events it gets: kinds, families such as `message.*`, or `*`. Received messages and what plugins raise
    /// when left out.
    #[serde(default)]
    #[schema(example = json!(["message.received", "plugin.*"]))]
    events: Option<Vec<String>>,
    /// Headers for every request, by name; at most 16 of 4 KiB. Values are sealed and never shown.
    #[serde(default)]
    #[schema(value_type = Option<Object>, example = json!({"authorization": "Bearer secret"}))]
    headers: Option<BTreeMap<String, String>>,
    /// In what order deliveries of one chat come: `parallel`, or `strict`.
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "parallel")]
    order: Option<DeliveryOrder>,
    /// How much may be asked of the receiver at once.
    #[serde(default)]
    limits: Option<LimitsRequest>,
    /// Whether requests carry an ed25519 signature (`v1a`) besides the HMAC (`v1`).
    #[serde(default)]
    ed25519: Option<bool>,
}

/// What is to be changed about an endpoint; what is left out stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = EndpointChange)]
pub(in crate::http) struct EndpointChanges {
    /// The name plugins route to.
    #[serde(default)]
    name: Option<String>,
    /// The address. Deliveries that wait go there.
    #[serde(default)]
    url: Option<String>,
    /// What it is for.
    #[serde(default)]
    description: Option<String>,
    /// The kinds of events it gets from now on.
    #[serde(default)]
    events: Option<Vec<String>>,
    /// Headers, in place of all there were.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    headers: Option<BTreeMap<String, String>>,
    /// In what order deliveries of one chat come: `parallel`, or `strict`.
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "parallel")]
    order: Option<DeliveryOrder>,
    /// How much may be asked of the receiver at once.
    #[serde(default)]
    limits: Option<LimitsRequest>,
}

/// Limits to be set; what is left out stays.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = EndpointLimitsChange)]
struct LimitsRequest {
    /// Attempts under way at once, 1 to 256; 16 unless set.
    #[serde(default)]
    #[schema(example = 16)]
    in_flight: Option<u32>,
    /// Attempts begun in a second, 1 to 10,000; 0 for no limit, as unless set.
    #[serde(default)]
    per_second: Option<u32>,
    /// Seconds an attempt may take, 1 to 60; 0 for the gateway's own, as unless set.
    #[serde(default)]
    timeout_seconds: Option<u64>,
}

/// Where events are posted.
#[derive(Serialize, ToSchema)]
#[schema(as = Endpoint)]
pub(in crate::http) struct EndpointBody {
    /// Its id.
    #[schema(example = "end_0198c0ffee007000800000000000c0de")]
    id: String,
    /// The session whose events it gets; null for those of all sessions of the account.
    #[schema(example = "1234567890")]
    session_id: Option<String>,
    /// The name plugins route to; a session's `webhook_url` is called `default`.
    #[schema(example = "billing")]
    name: String,
    /// What it is for.
    description: String,
    /// The address.
    #[schema(example = "https://myapp.com/webhook/billing")]
    url: String,
    /// The kinds of events it gets.
    events: Vec<String>,
    /// The names of its headers.
    header_names: Vec<String>,
    /// In what order deliveries of one chat come: `parallel`, or `strict`: none before the one before it is done with.
    #[schema(value_type = String, example = "parallel")]
    order: DeliveryOrder,
    /// How much may be asked of the receiver at once.
    limits: LimitsBody,
    /// `enabled` or `disabled`.
    #[schema(example = "enabled")]
    state: &'static str,
    /// Why and since when it is out of use.
    disabled: Option<DisabledBody>,
    /// How its receiver fares.
    health: HealthBody,
    /// When it was added, milliseconds since 1970.
    created_at: i64,
    /// The current HMAC secret (Standard Webhooks 1.0), where secrets are shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")]
    secret: Option<String>,
    /// All keys that requests are signed with, newest first, where secrets are shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    keys: Option<Vec<KeyBody>>,
}

/// How much may be asked of a receiver at once.
#[derive(Serialize, ToSchema)]
#[schema(as = EndpointLimits)]
struct LimitsBody {
    /// Attempts under way at once.
    in_flight: u32,
    /// Attempts begun in a second; null for no limit.
    per_second: Option<u32>,
    /// Seconds an attempt may take; null for the gateway's own.
    timeout_seconds: Option<u64>,
}

/// Why an endpoint is out of use.
#[derive(Serialize, ToSchema)]
#[schema(as = EndpointDisabled)]
struct DisabledBody {
    /// `by_user`; `gone`, its receiver answered 410; or `failing`, it failed for five days.
    #[schema(value_type = String, example = "gone")]
    why: DisabledWhy,
    /// Since when, milliseconds since 1970.
    at: i64,
}

/// How an endpoint's receiver fares.
#[derive(Serialize, ToSchema)]
#[schema(as = EndpointHealth)]
struct HealthBody {
    /// `ok`, `failing`, `paused`, `disabled`, or `unknown` before the first attempt.
    #[schema(example = "ok")]
    state: &'static str,
    /// The same in a sentence.
    #[schema(example = "Takes what is posted.")]
    words: String,
    /// Attempts under way.
    in_flight: u32,
    /// Failures in a row that say that the receiver is ill.
    failures: u32,
    /// Nothing is attempted until then, milliseconds since 1970.
    paused_until: Option<i64>,
    /// Since when every attempt has failed, milliseconds since 1970.
    failing_since: Option<i64>,
    /// When it last took a delivery, milliseconds since 1970; to about ten seconds.
    last_success_at: Option<i64>,
}

/// A key that requests are signed with.
#[derive(Serialize, ToSchema)]
#[schema(as = SigningKey)]
pub(in crate::http) struct KeyBody {
    /// `hmac` or `ed25519`.
    #[schema(example = "hmac")]
    algorithm: &'static str,
    /// What a receiver checks an HMAC with.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")]
    secret: Option<String>,
    /// What a receiver checks an ed25519 signature with.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "whpk_O2onvM62pC1io6jQKm8Nc2UyFXcd4kOmOsBIoYtZ2ik=")]
    public_key: Option<String>,
    /// Until when an old key signs beside the new one, milliseconds since 1970; null for a current one.
    until: Option<i64>,
}

impl EndpointRequest {
    /// The endpoint it asks for.
    pub(super) fn checked(self, owner: UserId, session: Option<SessionId>) -> Result<NewEndpoint, ApiError> {
        Ok(NewEndpoint {
            owner,
            session,
            name: checked_name(&self.name)?,
            description: self.description.map(checked_description).transpose()?.unwrap_or_default(),
            url: checked_url(&self.url)?,
            events: self.events.map(checked_events).transpose()?.unwrap_or_default(),
            headers: self.headers.map(checked_headers).transpose()?.unwrap_or_default(),
            order: self.order.unwrap_or_default(),
            limits: self
                .limits
                .map_or(Ok(EndpointLimits::default()), |limits| limits.over(EndpointLimits::default()))?,
            ed25519: self.ed25519.unwrap_or_default(),
        })
    }
}

impl EndpointChanges {
    /// The change it asks for, of an endpoint with these limits.
    pub(super) fn checked(self, before: EndpointLimits) -> Result<EndpointChange, ApiError> {
        Ok(EndpointChange {
            name: self.name.as_deref().map(checked_name).transpose()?,
            description: self.description.map(checked_description).transpose()?,
            url: self.url.as_deref().map(checked_url).transpose()?,
            events: self.events.map(checked_events).transpose()?,
            headers: self.headers.map(checked_headers).transpose()?,
            order: self.order,
            limits: self.limits.map(|limits| limits.over(before)).transpose()?,
            enabled: None,
        })
    }
}

impl LimitsRequest {
    fn over(self, before: EndpointLimits) -> Result<EndpointLimits, ApiError> {
        let refused = |field: &str, range: &str| {
            Err(ApiError::bad_request("invalid_limits", format!("limits.{field}: must be {range}")))
        };
        let mut limits = before;
        match self.in_flight {
            Some(in_flight @ 1..=256) => limits.in_flight = in_flight,
            Some(_) => return refused("in_flight", "1 to 256"),
            None => {}
        }
        match self.per_second {
            Some(0) => limits.per_second = None,
            Some(rate @ 1..=10_000) => limits.per_second = Some(rate),
            Some(_) => return refused("per_second", "1 to 10000, or 0 for no limit"),
            None => {}
        }
        match self.timeout_seconds {
            Some(0) => limits.timeout = None,
            Some(seconds @ 1..=60) => limits.timeout = Some(Duration::from_secs(seconds)),
            Some(_) => return refused("timeout_seconds", "1 to 60, or 0 for the gateway's own"),
            None => {}
        }
        Ok(limits)
    }
}

fn checked_name(name: &str) -> Result<String, ApiError> {
    let sound = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    let name = name.trim();
    if (1..=64).contains(&name.len()) && name.bytes().all(sound) {
        return Ok(name.to_owned());
    }
    let message = "name: an endpoint's name has 1 to 64 characters from A-Z a-z 0-9 . _ -";
    Err(ApiError::bad_request("invalid_name", message))
}

fn checked_description(description: String) -> Result<String, ApiError> {
    if description.chars().count() <= LONGEST_DESCRIPTION {
        return Ok(description);
    }
    Err(ApiError::bad_request("invalid_description", "description: has more than 500 characters"))
}

fn checked_url(url: &str) -> Result<WebhookUrl, ApiError> {
    let url = webhook::parse(Some(url))?;
    url.ok_or_else(|| ApiError::bad_request("invalid_webhook_url", "url: an endpoint needs an address"))
}

pub(in crate::http) fn checked_events(patterns: Vec<String>) -> Result<EventFilter, ApiError> {
    if patterns.len() > EventFilter::MOST {
        return Err(ApiError::bad_request("invalid_events", "events: has more than 64 patterns"));
    }
    EventFilter::new(patterns).map_err(|error| ApiError::bad_request("invalid_events", format!("events: {error}")))
}

fn checked_headers(headers: BTreeMap<String, String>) -> Result<Headers, ApiError> {
    let refused = |message: String| Err(ApiError::bad_request("invalid_headers", message));
    if headers.len() > MOST_HEADERS {
        return refused("headers: has more than 16".to_owned());
    }
    let mut checked = Headers::new();
    for (name, value) in headers {
        let name = name.to_ascii_lowercase();
        let Ok(header) = HeaderName::from_bytes(name.as_bytes()) else {
            return refused(format!("headers: {name:?} is no name of a header"));
        };
        if is_ours(header.as_str()) {
            return refused(format!("headers: {name} is the gateway's own; leave it out"));
        }
        if HeaderValue::from_str(&value).is_err() || name.len() + value.len() > LONGEST_HEADER {
            return refused(format!(
                "headers.{name}: a value has no line breaks or control characters, and at most 4 KiB"
            ));
        }
        if checked.iter().any(|(known, _)| *known == name) {
            return refused(format!("headers: {name} stands there twice"));
        }
        checked.push((name, SecretString::from(value)));
    }
    Ok(checked)
}

/// Headers that frame a request, or say what a delivery is.
fn is_ours(name: &str) -> bool {
    const OURS: [&str; 9] = [
        "connection",
        "content-length",
        "content-type",
        "expect",
        "host",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    OURS.contains(&name) || name.starts_with("webhook-") || name.starts_with("wagate-")
}

impl EndpointBody {
    /// As everybody who may see it sees it.
    pub(super) fn new(endpoint: &Endpoint, pulse: Pulse, now: Millis) -> Self {
        let mut header_names: Vec<String> = endpoint.headers.iter().map(|(name, _)| name.clone()).collect();
        header_names.sort();
        let EndpointLimits { in_flight, per_second, timeout } = endpoint.limits;
        Self {
            id: endpoint.id.to_string(),
            session_id: endpoint.session.as_ref().map(ToString::to_string),
            name: endpoint.name.clone(),
            description: endpoint.description.clone(),
            url: endpoint.url.to_string(),
            events: endpoint.events.patterns().to_vec(),
            header_names,
            order: endpoint.order,
            limits: LimitsBody { in_flight, per_second, timeout_seconds: timeout.map(|timeout| timeout.as_secs()) },
            state: if endpoint.disabled.is_none() { "enabled" } else { "disabled" },
            disabled: endpoint.disabled.map(|disabled| DisabledBody { why: disabled.why, at: disabled.at.0 }),
            health: HealthBody::new(endpoint, pulse, now),
            created_at: endpoint.created_at.0,
            secret: None,
            keys: None,
        }
    }

    /// With its secrets.
    pub(super) fn with_keys(self, endpoint: &Endpoint) -> Self {
        let secret = endpoint.keys.secret().map(|secret| secret.expose_secret().to_owned());
        Self { secret, keys: Some(keys(endpoint)), ..self }
    }
}

/// All keys of an endpoint.
pub(super) fn keys(endpoint: &Endpoint) -> Vec<KeyBody> {
    endpoint.keys.all().iter().map(KeyBody::new).collect()
}

impl KeyBody {
    fn new(key: &SigningKey) -> Self {
        let secret = (!key.is_ed25519()).then(|| key.secret.expose_secret().to_owned());
        let algorithm = if key.is_ed25519() { "ed25519" } else { "hmac" };
        Self { algorithm, secret, public_key: public_key(&key.secret), until: key.until.map(|until| until.0) }
    }
}

impl HealthBody {
    fn new(endpoint: &Endpoint, pulse: Pulse, now: Millis) -> Self {
        let Pulse { in_flight, failures, paused_until } = pulse;
        let (state, words) = health(endpoint, pulse, now);
        Self {
            state,
            words,
            in_flight,
            failures,
            paused_until: paused_until.map(|until| until.0),
            failing_since: endpoint.failing_since.map(|since| since.0),
            last_success_at: endpoint.succeeded_at.map(|at| at.0),
        }
    }
}

/// How a receiver fares, as a word and as a sentence.
fn health(endpoint: &Endpoint, pulse: Pulse, now: Millis) -> (&'static str, String) {
    if let Some(disabled) = endpoint.disabled {
        let since = span(now.since(disabled.at));
        let words = match disabled.why {
            DisabledWhy::ByUser => format!("Put out of use {since} ago by its owner; enable it to go on."),
            DisabledWhy::Gone => {
                format!("Put out of use {since} ago: its receiver answered 410 Gone. Enable it when it is back.")
            }
            DisabledWhy::Failing => {
                format!("Put out of use {since} ago after five days without a success. Enable it when it is back.")
            }
        };
        return ("disabled", words);
    }
    if let Some(until) = pulse.paused_until.filter(|until| *until > now) {
        let (left, failures) = (span(until.since(now)), pulse.failures);
        return (
            "paused",
            format!("Paused for {left} more after {failures} failures in a row; then one attempt tries."),
        );
    }
    if let Some(since) = endpoint.failing_since {
        return ("failing", format!("Every attempt has failed for {}.", span(now.since(since))));
    }
    match endpoint.succeeded_at {
        Some(_) => ("ok", "Takes what is posted.".to_owned()),
        None => ("unknown", "Nothing was posted yet.".to_owned()),
    }
}

/// A span of time for people.
fn span(span: Duration) -> String {
    match span.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3_600 => format!("{} min", seconds / 60),
        seconds @ 3_600..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_plain() {
        assert_eq!(checked_name(" billing.eu ").ok().as_deref(), Some("billing.eu"));
        for bad in ["", "a b", "a/b", &"x".repeat(65)] {
            assert!(checked_name(bad).is_err(), "{bad}");
        }
    }
}
