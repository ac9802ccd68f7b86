//! The only outgoing HTTP client: it dials vetted addresses only, keeps one deadline over the whole exchange,
//! reads a bounded answer, follows no redirect, unpacks nothing and takes no proxy from the environment.
//!
//! Webhooks, media and plugins all leave through here, so that one place decides where the gateway may connect to.
//!
//! ```text
//! exchange ── pool: a connection that was kept, or
//!          └─ dial: resolver (name → addresses, judged by the address rule) → TCP → metered → TLS
//!             connection: request out, answer in; back to the pool when both are whole
//! ```
//!
//! Beside HTTP there is [`nats`], which publishes to the operator's servers and to no others.
//!
//! HTTP/1.1 is spoken by hyper's own connections, not by a pooling client such as reqwest's: that one opens connections
//! in the background, so that neither the time a phase took nor the address is known of one request, and lets one that
//! has been given up live in a task of its own.
//!
//! Invariant: no connection is opened to an address that the rule refused, at the moment it is opened.

mod address;
mod connection;
mod dial;
mod error;
mod metered;
#[cfg(feature = "nats")]
mod nats;
#[cfg(not(feature = "nats"))]
mod no_nats;
mod pool;
mod resolver;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    ACCEPT, CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE, USER_AGENT,
};
use hyper::{Method, Uri};
use url::{Position, Url};

use crate::config::{NatsConfig, WebhookConfig};
use crate::model::{Phases, WebhookUrl};
use address::AddressRule;
use connection::{Connection, Message};
use dial::{CONNECT, Dialler, Trail};
pub use error::EgressError;
#[cfg(feature = "nats")]
use nats::Broker;
#[cfg(not(feature = "nats"))]
use no_nats::Broker;
use pool::{Origin, Pool};
use resolver::VettedResolver;

/// How the gateway calls itself.
const AGENT: &str = concat!("wagate/", env!("CARGO_PKG_VERSION"));
/// Headers that frame a message or ask for more than one answer: the client's own.
static OURS: [HeaderName; 8] = [CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE];

/// The client. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Egress {
    dialler: Dialler,
    pool: Pool,
    broker: Option<Arc<Broker>>,
}

/// One request.
#[derive(Clone, Debug)]
pub struct Request {
    /// `GET`, `POST`, …
    pub method: String,
    /// Where to: `http` or `https`, without user and password.
    pub url: Url,
    /// Header names and values. Those that frame the message (`host`, `content-length`, `transfer-encoding`,
    /// `connection` and such) are the client's own and left out.
    pub headers: Vec<(String, String)>,
    /// The body, empty for none.
    pub body: Bytes,
    /// Time for the whole exchange, answer included.
    pub deadline: Duration,
    /// Bytes of the answer that are kept. One of up to 64 KiB is read to its end all the same, so that the connection can
    /// be used again; of a longer one nothing is read beyond that.
    pub answer_limit: usize,
}

/// What became of a request.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// What came back.
    pub result: Result<Answer, EgressError>,
    /// How long its phases took, also those it failed in.
    pub phases: Phases,
    /// The address that was dialled, or that the connection it went over leads to; `None` when it came to neither.
    pub address: Option<SocketAddr>,
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

impl Answer {
    /// The first header of this name, given in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

impl Egress {
    /// A client under these rules. `loopback` lets it dial this machine (demo and tests only).
    pub fn new(config: &WebhookConfig, loopback: bool) -> Result<Self, EgressError> {
        let roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        Self::trusting(roots, config, loopback)
    }

    /// TLS 1.2 and 1.3 with these roots, the same on every machine; the system's own store is not asked.
    fn trusting(roots: rustls::RootCertStore, config: &WebhookConfig, loopback: bool) -> Result<Self, EgressError> {
        let rule = AddressRule::parse(&config.allow, loopback).map_err(EgressError::AllowList)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| EgressError::Tls(format!("TLS could not be set up: {error}")))?;
        let mut tls = tls.with_root_certificates(roots).with_no_client_auth();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            dialler: Dialler::new(VettedResolver::new(rule), Arc::new(tls)),
            pool: Pool::default(),
            broker: None,
        })
    }

    /// The same, and these NATS servers for [`Egress::publish`]; none when there are none.
    #[must_use]
    pub fn with_nats(mut self, config: NatsConfig) -> Self {
        self.broker = Broker::open(config).map(Arc::new);
        self
    }

    /// Whether the address may be dialled, as far as can be said now; dialling decides again.
    pub async fn check(&self, url: &Url) -> Result<(), EgressError> {
        if url.scheme() == WebhookUrl::NATS {
            return self.broker().map(drop);
        }
        admit(url)?;
        let resolver = &self.dialler.resolver;
        if let (None, Some(name)) = (resolver.literal(url)?, url.host_str()) {
            let resolved = tokio::time::timeout(CONNECT, resolver.addresses(name)).await;
            resolved.map_err(|_| EgressError::Deadline(CONNECT))??;
        }
        Ok(())
    }

    /// One exchange.
    pub async fn exchange(&self, request: Request) -> Exchange {
        let mut trail = Trail::begin();
        let sent = tokio::time::timeout(request.deadline, self.send(&request, &mut trail)).await;
        let result = match sent {
            Ok(Ok((answer, connection, time))) => {
                self.put_back(&request.url, connection, time).await;
                Ok(answer)
            }
            Ok(Err(error)) => Err(error),
            Err(_passed) => Err(EgressError::Deadline(request.deadline)),
        };
        Exchange { result, phases: trail.phases, address: trail.address }
    }

    /// Publishes what a request holds to the subject that its `nats:` address names, below `place`, and waits until
    /// JetStream has stored it. The answer's status is 200 then, and JetStream's own code when it stores nothing.
    pub async fn publish(&self, place: &str, request: Request) -> Exchange {
        match self.broker() {
            Ok(broker) => broker.publish(place, request).await,
            Err(error) => Exchange { result: Err(error), phases: Phases::default(), address: None },
        }
    }

    fn broker(&self) -> Result<&Broker, EgressError> {
        self.broker.as_deref().ok_or(EgressError::NoNats)
    }

    /// The answer, the connection it came on and how long that may be kept.
    async fn send(
        &self,
        request: &Request,
        trail: &mut Trail,
    ) -> Result<(Answer, Connection, Option<Duration>), EgressError> {
        admit(&request.url)?;
        self.dialler.resolver.literal(&request.url)?;
        let mut message = message(request)?;
        let origin = Origin::of(&request.url);
        loop {
            let kept = self.kept(&origin).await;
            let reused = kept.is_some();
            let mut connection = match kept {
                Some(kept) => kept,
                None => self.dialler.open(&request.url, trail).await?,
            };
            trail.address = Some(connection.peer());
            message = match connection.send(message, request.answer_limit).await {
                Ok(head) => {
                    trail.answered();
                    let (answer, time) = connection.read(head, request.answer_limit).await?;
                    return Ok((answer, connection, time));
                }
                // Its receiver closed a kept connection at that moment. Nothing has left, so it goes over another.
                Err(unanswered) => match unanswered.unsent {
                    Some(unsent) if reused => *unsent,
                    _ => return Err(unanswered.error),
                },
            };
        }
    }

    async fn put_back(&self, url: &Url, mut connection: Connection, time: Option<Duration>) {
        if let Some(time) = time
            && connection.is_settled().await
        {
            self.pool.keep(Origin::of(url), connection, time);
        }
    }

    /// A kept connection that is still open.
    async fn kept(&self, origin: &Origin) -> Option<Connection> {
        while let Some(mut connection) = self.pool.take(origin) {
            if connection.is_open().await {
                return Some(connection);
            }
        }
        None
    }
}

/// What the form of an address says.
fn admit(url: &Url) -> Result<(), EgressError> {
    let refused = |reason: &str| Err(EgressError::Malformed(reason.to_owned()));
    if !matches!(url.scheme(), "http" | "https") {
        return refused("its address must start with http:// or https://");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return refused("its address must not carry a user or password");
    }
    Ok(())
}

/// The request as it goes on the wire.
fn message(request: &Request) -> Result<Message, EgressError> {
    let malformed = |what: &str| EgressError::Malformed(format!("{what} is not valid in HTTP"));
    let crowded = |_| malformed("the number of its headers");
    let method = Method::from_bytes(request.method.as_bytes()).ok().filter(|method| *method != Method::CONNECT);
    let method = method.ok_or_else(|| malformed("its method"))?;
    let url = &request.url;
    let uri = Uri::try_from(&url[Position::BeforePath..Position::AfterQuery]);
    let host = url.host_str().unwrap_or_default();
    let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    let mut headers = HeaderMap::new();
    headers.insert(HOST, HeaderValue::try_from(host).map_err(|_| malformed("its host"))?);
    if request.body.is_empty() && [Method::POST, Method::PUT, Method::PATCH].contains(&method) {
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    for (name, value) in &request.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| malformed("a header name"))?;
        let value = HeaderValue::from_str(value).map_err(|_| malformed(&format!("the value of {name}")))?;
        if !OURS.contains(&name) {
            headers.try_append(name, value).map_err(crowded)?;
        }
    }
    for (name, usual) in [(USER_AGENT, AGENT), (ACCEPT, "*/*")] {
        if !headers.contains_key(&name) {
            headers.try_append(name, HeaderValue::from_static(usual)).map_err(crowded)?;
        }
    }
    let mut message = Message::new(Full::new(request.body.clone()));
    *message.method_mut() = method;
    *message.uri_mut() = uri.map_err(|_| malformed("its address"))?;
    *message.headers_mut() = headers;
    Ok(message)
}

#[cfg(test)]
mod tests;
