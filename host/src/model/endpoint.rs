//! Webhook endpoints: where events are posted, which of them, how they are signed and in what order they come.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use url::Url;

use super::{EndpointId, Millis, SessionId, UserId};

/// An address webhooks are posted to: `http` or `https`, with a host, without user or password, at most 2,048 bytes; or a
/// subject they are published to on NATS JetStream, `nats:orders.new`.
///
/// Whether the address may be dialled is `egress`'s decision, taken at save and again at dial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WebhookUrl(Url);

/// Why a text cannot be a webhook address.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum WebhookUrlError {
    /// It is no URL.
    #[error("webhook_url is not a URL; write it in full, for example https://example.org/hook")]
    Malformed,
    /// Neither http nor https.
    #[error("webhook_url must start with http:// or https://, or be a subject on NATS such as nats:orders")]
    Scheme,
    /// No subject below which NATS could publish.
    #[error(
        "webhook_url is no subject on NATS; write words of letters, digits, - and _ with dots between: nats:orders.new"
    )]
    Subject,
    /// Carries a user or a password.
    #[error("webhook_url must not carry a user or password; check the signature instead")]
    Credentials,
    /// Too long.
    #[error("webhook_url has more than 2048 bytes")]
    TooLong,
}

impl WebhookUrl {
    /// The scheme of subjects on NATS.
    pub const NATS: &'static str = "nats";

    /// The address.
    pub fn url(&self) -> &Url {
        &self.0
    }

    /// The address as text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl FromStr for WebhookUrl {
    type Err = WebhookUrlError;
    fn from_str(text: &str) -> Result<Self, WebhookUrlError> {
        if text.len() > 2048 {
            return Err(WebhookUrlError::TooLong);
        }
        let url = Url::parse(text.trim()).map_err(|_| WebhookUrlError::Malformed)?;
        if url.scheme() == Self::NATS {
            return if is_subject(&url) { Ok(Self(url)) } else { Err(WebhookUrlError::Subject) };
        }
        if !matches!(url.scheme(), "http" | "https") {
            return Err(WebhookUrlError::Scheme);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(WebhookUrlError::Credentials);
        }
        if url.host().is_none() { Err(WebhookUrlError::Malformed) } else { Ok(Self(url)) }
    }
}

/// Whether the address is the scheme and words with dots between them, and nothing else.
fn is_subject(url: &Url) -> bool {
    let word =
        |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    let subject = url.path();
    subject.len() <= 128 && subject.split('.').all(word) && url[url::Position::AfterPath..].is_empty()
}

impl TryFrom<String> for WebhookUrl {
    type Error = WebhookUrlError;
    fn try_from(text: String) -> Result<Self, WebhookUrlError> {
        text.parse()
    }
}

impl From<WebhookUrl> for String {
    fn from(url: WebhookUrl) -> Self {
        url.0.into()
    }
}

impl fmt::Display for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Headers of a request, names in lower case. Values are secrets: they are often tokens.
pub type Headers = Vec<(String, SecretString)>;

/// Where events are posted: those of one session, or of all sessions of its owner.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Its id.
    pub id: EndpointId,
    /// Whose it is.
    pub owner: UserId,
    /// The session whose events it gets; `None` for every session of its owner, those to come included.
    pub session: Option<SessionId>,
    /// The name plugins route to, unique on its session or account; a session's founding one is called `default`.
    pub name: String,
    /// What it is for, in its owner's words; at most 500 characters.
    pub description: String,
    /// The address.
    pub url: WebhookUrl,
    /// The kinds of events it gets.
    pub events: EventFilter,
    /// Headers that go with every request.
    pub headers: Headers,
    /// What its requests are signed with.
    pub keys: SigningKeys,
    /// In what order its deliveries come.
    pub order: DeliveryOrder,
    /// How much may be asked of the receiver at once.
    pub limits: EndpointLimits,
    /// Why it gets nothing at present; `None` while it is in use.
    pub disabled: Option<Disabled>,
    /// When its receiver last took a delivery.
    pub succeeded_at: Option<Millis>,
    /// Since when every attempt has failed; `None` while it works, and while nothing was tried.
    pub failing_since: Option<Millis>,
    /// When it was created.
    pub created_at: Millis,
}

impl Endpoint {
    /// An endpoint with everything but this as the founding webhook has it, and no keys.
    pub fn plain(owner: UserId, session: Option<SessionId>, name: &str, url: WebhookUrl, created_at: Millis) -> Self {
        Self {
            id: EndpointId::new(),
            owner,
            session,
            name: name.to_owned(),
            description: String::new(),
            url,
            events: EventFilter::default(),
            headers: Headers::default(),
            keys: SigningKeys::default(),
            order: DeliveryOrder::default(),
            limits: EndpointLimits::default(),
            disabled: None,
            succeeded_at: None,
            failing_since: None,
            created_at,
        }
    }
}

/// Why and since when an endpoint gets nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disabled {
    /// Why.
    pub why: DisabledWhy,
    /// Since when.
    pub at: Millis,
}

/// Why an endpoint gets nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DisabledWhy {
    /// Its owner said so.
    ByUser,
    /// Its receiver answered 410 Gone.
    Gone,
    /// Five days passed without one success.
    Failing,
}

impl DisabledWhy {
    /// The reason's stored name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ByUser => "by_user",
            Self::Gone => "gone",
            Self::Failing => "failing",
        }
    }
}

/// In what order deliveries of one chat come to an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryOrder {
    /// As fast as they go; the header `wagate-sequence` lets a receiver sort.
    #[default]
    Parallel,
    /// Of one chat, none before the one before it was delivered, given up or skipped.
    Strict,
}

impl DeliveryOrder {
    /// The order's stored name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Parallel => "parallel",
            Self::Strict => "strict",
        }
    }
}

/// How much may be asked of a receiver at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndpointLimits {
    /// Attempts under way at once, 1 to 256.
    pub in_flight: u32,
    /// Attempts begun in a second, 1 to 10,000; `None` for no limit.
    pub per_second: Option<u32>,
    /// Time for an attempt, answer included, 1 to 60 s; `None` for the gateway's own (`WEBHOOK_TIMEOUT`).
    pub timeout: Option<Duration>,
}

impl Default for EndpointLimits {
    fn default() -> Self {
        Self { in_flight: 16, per_second: None, timeout: None }
    }
}

/// Which kinds of events an endpoint gets: kinds (`message.received`), families (`message.*`), or everything (`*`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct EventFilter(Vec<String>);

/// A text that is no pattern of event kinds.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "{0:?} is no event kind: write a kind such as message.received, a family such as message.*, or * for everything"
)]
pub struct EventFilterError(pub String);

impl EventFilter {
    /// Patterns in one filter at most.
    pub const MOST: usize = 64;

    /// A filter of these patterns; of none, it admits nothing.
    pub fn new(patterns: Vec<String>) -> Result<Self, EventFilterError> {
        let word = |word: &str| {
            let sound = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-');
            !word.is_empty() && word.bytes().all(sound)
        };
        let sound = |pattern: &str| {
            let body = pattern.strip_suffix(".*").unwrap_or(pattern);
            pattern == "*" || (pattern.len() <= 128 && body.split('.').all(word))
        };
        match patterns.iter().find(|pattern| !sound(pattern)) {
            Some(bad) => Err(EventFilterError(bad.clone())),
            None => Ok(Self(patterns)),
        }
    }

    /// The patterns.
    pub fn patterns(&self) -> &[String] {
        &self.0
    }

    /// Whether events of this kind come through.
    pub fn admits(&self, kind: &str) -> bool {
        self.0.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(family) => kind.starts_with(family),
            None => pattern == kind,
        })
    }
}

impl Default for EventFilter {
    /// What the founding webhook gets: what others write, their reactions, edits and revocations included, and what
    /// plugins raise.
    fn default() -> Self {
        let kinds = ["message.received", "message.reaction", "message.edited", "message.revoked", "plugin.*"];
        Self(kinds.map(str::to_owned).to_vec())
    }
}

/// The keys an endpoint's requests are signed with: at least one, and during a rotation the old beside the new.
#[derive(Clone, Debug, Default)]
pub struct SigningKeys(Vec<SigningKey>);

/// One key.
#[derive(Clone, Debug)]
pub struct SigningKey {
    /// `whsec_` and base64 for HMAC-SHA256, `whsk_` and base64 of the 32-byte seed for ed25519 (Standard Webhooks 1.0).
    pub secret: SecretString,
    /// Until when it signs; `None` for the current one of its algorithm.
    pub until: Option<Millis>,
}

impl SigningKey {
    /// Whether it is an ed25519 key.
    pub fn is_ed25519(&self) -> bool {
        self.secret.expose_secret().starts_with("whsk_")
    }
}

impl From<Vec<SigningKey>> for SigningKeys {
    fn from(keys: Vec<SigningKey>) -> Self {
        Self(keys)
    }
}

impl SigningKeys {
    /// Keys in use at once at most.
    pub const MOST: usize = 6;

    /// The keys, newest first.
    pub fn all(&self) -> &[SigningKey] {
        &self.0
    }

    /// The keys that sign at `now`, newest first.
    pub fn at(&self, now: Millis) -> impl Iterator<Item = &SigningKey> {
        self.0.iter().filter(move |key| key.until.is_none_or(|until| until > now))
    }

    /// The current HMAC secret, which the founding API shows.
    pub fn secret(&self) -> Option<&SecretString> {
        self.0.iter().find(|key| !key.is_ed25519() && key.until.is_none()).map(|key| &key.secret)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn webhook_addresses_are_http_without_credentials() {
        let table = [
            ("ftp://example.org/x", WebhookUrlError::Scheme),
            ("javascript:alert(1)", WebhookUrlError::Scheme),
            ("https://user:pass@example.org/x", WebhookUrlError::Credentials),
            ("example.org/hook", WebhookUrlError::Malformed),
            ("http://", WebhookUrlError::Malformed),
        ];
        for (given, error) in table {
            assert_eq!(given.parse::<WebhookUrl>(), Err(error), "{given}");
        }
        assert_eq!("https://example.org/hook".parse::<WebhookUrl>().unwrap().as_str(), "https://example.org/hook");
    }

    #[test]
    fn filters_name_kinds_families_or_everything() {
        let filter = |patterns: &[&str]| EventFilter::new(patterns.iter().map(|&p| p.to_owned()).collect());
        let some = filter(&["message.received", "plugin.*"]).unwrap();
        for (kind, comes) in [("message.received", true), ("message.sent", false), ("plugin.order.paid", true)] {
            assert_eq!(some.admits(kind), comes, "{kind}");
        }
        assert!(filter(&["*"]).unwrap().admits("anything.at_all"));
        assert!(!filter(&[]).unwrap().admits("message.received"));
        for bad in ["", "mess*", "*.received", "Message.received", "message..x", ".*", "a b"] {
            assert_eq!(filter(&[bad]), Err(EventFilterError(bad.to_owned())));
        }
    }

    #[test]
    fn an_old_key_signs_until_its_time_has_come() {
        let key = |secret: &str, until| SigningKey { secret: secret.into(), until };
        let keys = SigningKeys::from(vec![
            key("whsec_new", None),
            key("whsk_ed", None),
            key("whsec_old", Some(Millis(1_000))),
        ]);
        assert_eq!(keys.at(Millis(999)).count(), 3);
        assert_eq!(keys.at(Millis(1_000)).count(), 2);
        assert_eq!(keys.secret().map(ExposeSecret::expose_secret), Some("whsec_new"));
    }
}
