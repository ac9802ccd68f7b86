//! The only outgoing HTTP client: it dials vetted addresses only, keeps one deadline over the whole exchange,
//! reads a bounded answer, follows no redirect and takes no proxy from the environment.

use std::time::Duration;

use bytes::Bytes;
use url::Url;

use crate::config::WebhookConfig;

/// The client. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Egress;

/// One request.
#[derive(Clone, Debug)]
pub struct Request {
    /// `GET`, `POST`, …
    pub method: String,
    /// Where to.
    pub url: Url,
    /// Header names and values.
    pub headers: Vec<(String, String)>,
    /// The body, empty for none.
    pub body: Bytes,
    /// Time for the whole exchange, answer included.
    pub deadline: Duration,
    /// Bytes of the answer that are kept; reading stops there.
    pub answer_limit: usize,
}

/// What came back. Any status is an answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The answer's headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The first bytes of the body, at most [`Request::answer_limit`].
    pub body: Bytes,
    /// Whether the body was longer than that.
    pub cut: bool,
}

/// Why nothing came back.
#[derive(Debug, thiserror::Error)]
pub enum EgressError {
    /// The address is private or otherwise forbidden.
    #[error(
        "{host} resolves to {address}, which is not a public address; to allow it set WEBHOOK_ALLOW to a network that holds it"
    )]
    Forbidden {
        /// The host as written.
        host: String,
        /// What it resolved to.
        address: std::net::IpAddr,
    },
    /// The name did not resolve.
    #[error("{host} does not resolve: {reason}")]
    Unresolved {
        /// The host as written.
        host: String,
        /// What the resolver said.
        reason: String,
    },
    /// The deadline passed.
    #[error("no complete answer within {0:?}")]
    Deadline(Duration),
    /// Anything else between dialling and the last byte.
    #[error("{0}")]
    Exchange(String),
}

impl Egress {
    /// A client under these rules. `loopback` lets it dial this machine (demo and tests only).
    pub fn new(_config: &WebhookConfig, _loopback: bool) -> Result<Self, EgressError> {
        unimplemented!()
    }

    /// Whether the address may be dialled, as far as can be said now; dialling decides again.
    pub async fn check(&self, _url: &Url) -> Result<(), EgressError> {
        unimplemented!()
    }

    /// One exchange.
    pub async fn exchange(&self, _request: Request) -> Result<Answer, EgressError> {
        unimplemented!()
    }
}
