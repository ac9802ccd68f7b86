//! Webhooks: an endpoint, a delivery to it, and the attempts a delivery takes.

use std::fmt;
use std::str::FromStr;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use url::Url;

use super::{DeliveryId, EndpointId, EventId, Millis, SessionId, Shape};

/// An address webhooks are posted to: `http` or `https`, with a host, without user or password, at most 2,048 bytes.
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
    #[error("webhook_url must start with http:// or https://")]
    Scheme,
    /// Carries a user or a password.
    #[error("webhook_url must not carry a user or password; check the signature instead")]
    Credentials,
    /// Too long.
    #[error("webhook_url has more than 2048 bytes")]
    TooLong,
}

impl WebhookUrl {
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
        if !matches!(url.scheme(), "http" | "https") {
            return Err(WebhookUrlError::Scheme);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(WebhookUrlError::Credentials);
        }
        if url.host().is_none() { Err(WebhookUrlError::Malformed) } else { Ok(Self(url)) }
    }
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

/// Where a session's events are posted.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Its id.
    pub id: EndpointId,
    /// The session it belongs to.
    pub session: SessionId,
    /// The name plugins route to, unique on its session; the founding one is called `default`.
    pub name: String,
    /// The address.
    pub url: WebhookUrl,
    /// The signing secret, `whsec_` and base64 (Standard Webhooks 1.0).
    pub secret: SecretString,
}

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// Due now or later.
    Waiting,
    /// The receiver answered 2xx.
    Delivered,
    /// Given up; kept to be looked at and replayed.
    Dead,
}

impl DeliveryState {
    /// The state's stored name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
        }
    }
}

/// A claimed delivery: one event for one endpoint, its shape fixed once and for all.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Its id, the `webhook-id` of every attempt.
    pub id: DeliveryId,
    /// The event it carries.
    pub event: EventId,
    /// Where it goes.
    pub endpoint: Endpoint,
    /// What is posted, byte for byte the same on every attempt.
    pub shape: Shape,
    /// Attempts made before this claim.
    pub attempts: u32,
    /// The claim's number: a claim that is not the newest may not settle the delivery.
    pub epoch: i64,
    /// When the delivery was created.
    pub created_at: Millis,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// The receiver answered 2xx.
    Accepted {
        /// The HTTP status.
        status: u16,
    },
    /// The receiver answered something else.
    Refused {
        /// The HTTP status.
        status: u16,
    },
    /// No answer: refused address, no connection, a deadline.
    Unanswered {
        /// What went wrong, in words.
        error: String,
    },
}

/// One attempt, as the log keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// When it started.
    pub started_at: Millis,
    /// How long it took, in milliseconds.
    pub took_ms: i64,
    /// How it ended.
    pub outcome: AttemptOutcome,
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
}
