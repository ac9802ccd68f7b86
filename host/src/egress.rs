//! The only outgoing HTTP client: it dials vetted addresses only, keeps one deadline over the whole exchange,
//! reads a bounded answer, follows no redirect and takes no proxy from the environment.
//!
//! Webhooks, media and plugins all leave through here, so that one place decides where the gateway may connect to.
//! [`address`] is the rule, [`resolver`] applies it inside the connector.
//!
//! Invariant: no connection is opened to an address that the rule refused, at the moment it is opened.

mod address;
mod resolver;

use std::error::Error as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING};
use reqwest::{Client, Method, Response};
use url::Url;

use crate::config::WebhookConfig;
use address::AddressRule;
use resolver::VettedResolver;

/// Time to open a connection, name lookup and TLS included.
const CONNECT: Duration = Duration::from_secs(5);
/// Connections kept open per receiver for the next request, and for how long. An idle TLS connection holds some
/// 40 KiB, so a quiet gateway keeps none.
const IDLE_CONNECTIONS: usize = 32;
const IDLE: Duration = Duration::from_secs(20);
const USER_AGENT: &str = concat!("wagate/", env!("CARGO_PKG_VERSION"));

/// The client. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Egress {
    client: Client,
    resolver: VettedResolver,
}

/// One request.
#[derive(Clone, Debug)]
pub struct Request {
    /// `GET`, `POST`, …
    pub method: String,
    /// Where to: `http` or `https`, without user and password.
    pub url: Url,
    /// Header names and values. Those that frame the message (`host`, `content-length`, `transfer-encoding`,
    /// `connection`) are the client's own and left out.
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

impl Answer {
    /// The first header of this name, given in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Why nothing came back.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EgressError {
    /// The address is private or otherwise forbidden.
    #[error(
        "{host} resolves to {address}, which is not a public address; to allow it set WEBHOOK_ALLOW to a network that holds it"
    )]
    Forbidden {
        /// The host as written.
        host: String,
        /// What it resolved to.
        address: IpAddr,
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
    /// The request cannot be put on the wire as it is.
    #[error("the request cannot be sent: {0}")]
    Malformed(String),
    /// An entry of the allow-list is no network.
    #[error("WEBHOOK_ALLOW holds {0:?}, which is no network; write 10.0.0.0/8, fd00::/8 or a single address")]
    AllowList(String),
    /// Anything else between dialling and the last byte.
    #[error("{0}")]
    Exchange(String),
}

impl Egress {
    /// A client under these rules. `loopback` lets it dial this machine (demo and tests only).
    pub fn new(config: &WebhookConfig, loopback: bool) -> Result<Self, EgressError> {
        let rule = AddressRule::parse(&config.allow, loopback).map_err(EgressError::AllowList)?;
        let resolver = VettedResolver::new(rule);
        let client = Client::builder()
            .user_agent(USER_AGENT)
            .tls_backend_preconfigured(tls()?)
            .dns_resolver(resolver.clone())
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .referer(false)
            .tcp_nodelay(true)
            .connect_timeout(CONNECT)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .pool_idle_timeout(IDLE)
            .build()
            .map_err(|error| EgressError::Exchange(format!("the HTTP client could not be built: {error}")))?;
        Ok(Self { client, resolver })
    }

    /// Whether the address may be dialled, as far as can be said now; dialling decides again.
    pub async fn check(&self, url: &Url) -> Result<(), EgressError> {
        self.admit(url)?;
        match url.domain() {
            Some(name) if self.resolver.judge_literal(url).is_none() => {
                let resolved = tokio::time::timeout(CONNECT, self.resolver.addresses(name)).await;
                resolved.map_err(|_| EgressError::Deadline(CONNECT))?.map(|_| ())
            }
            _ => Ok(()),
        }
    }

    /// One exchange.
    pub async fn exchange(&self, request: Request) -> Result<Answer, EgressError> {
        self.admit(&request.url)?;
        let deadline = request.deadline;
        let exchange = tokio::time::timeout(deadline, self.send(request));
        exchange.await.map_err(|_| EgressError::Deadline(deadline))?
    }

    /// What can be judged without a lookup: the form of the URL, and a host that is written as an address.
    fn admit(&self, url: &Url) -> Result<(), EgressError> {
        let refused = |reason: &str| Err(EgressError::Malformed(reason.to_owned()));
        if !matches!(url.scheme(), "http" | "https") {
            return refused("its address must start with http:// or https://");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return refused("its address must not carry a user or password");
        }
        self.resolver.judge_literal(url).unwrap_or(Ok(()))
    }

    async fn send(&self, request: Request) -> Result<Answer, EgressError> {
        let malformed = |what: &str| EgressError::Malformed(format!("{what} is not valid in HTTP"));
        let method = Method::from_bytes(request.method.as_bytes()).map_err(|_| malformed("its method"))?;
        let mut headers = HeaderMap::with_capacity(request.headers.len());
        for (name, value) in &request.headers {
            let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| malformed("a header name"))?;
            let value = HeaderValue::from_str(value).map_err(|_| malformed(&format!("the value of {header}")))?;
            if ![HOST, CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION].contains(&header) {
                headers.append(header, value);
            }
        }
        let mut outgoing = self.client.request(method, request.url).headers(headers);
        if !request.body.is_empty() {
            outgoing = outgoing.body(request.body);
        }
        let response = outgoing.send().await.map_err(failure)?;
        answer(response, request.answer_limit).await
    }
}

/// TLS 1.2 and 1.3 with Mozilla's roots, the same on every machine; the system's own store is not asked.
fn tls() -> Result<rustls::ClientConfig, EgressError> {
    let roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| EgressError::Exchange(format!("TLS could not be set up: {error}")))?;
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

async fn answer(mut response: Response, limit: usize) -> Result<Answer, EgressError> {
    let status = response.status().as_u16();
    let headers = response.headers().iter();
    let headers = headers
        .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    let mut body = Vec::new();
    let mut cut = false;
    while !cut && let Some(chunk) = response.chunk().await.map_err(failure)? {
        let room = limit - body.len();
        cut = chunk.len() > room;
        body.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
    }
    // A cut answer is dropped here with its connection: the rest is never read.
    Ok(Answer { status, headers, body: body.into(), cut })
}

/// What went wrong, in words for whoever configured the address. The URL is left out, since its query may be secret.
fn failure(error: reqwest::Error) -> EgressError {
    let error = error.without_url();
    let mut cause: &(dyn std::error::Error + 'static) = &error;
    while let Some(source) = cause.source() {
        if let Some(own) = source.downcast_ref::<EgressError>() {
            return own.clone();
        }
        cause = source;
    }
    let stage = match (error.is_connect(), error.is_timeout()) {
        (true, true) => return EgressError::Exchange(format!("no connection within {CONNECT:?}")),
        (true, false) => "the connection failed",
        _ if error.is_body() || error.is_decode() => "the answer broke off",
        _ => "the exchange failed",
    };
    EgressError::Exchange(if error.source().is_some() {
        format!("{stage}: {cause}")
    } else {
        format!("{stage}: {error}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn egress(allow: &[&str], loopback: bool) -> Result<Egress, EgressError> {
        let allow = allow.iter().map(|&entry| entry.to_owned()).collect();
        Egress::new(&WebhookConfig { timeout: Duration::from_secs(5), concurrency: 4, allow }, loopback)
    }

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn refuses_to_start_on_an_entry_that_is_no_network() {
        let error = egress(&["10.0.0.0/8", "intranet"], false).unwrap_err();
        assert_eq!(
            error.to_string(),
            "WEBHOOK_ALLOW holds \"intranet\", which is no network; write 10.0.0.0/8, fd00::/8 or a single address"
        );
    }

    #[tokio::test]
    async fn a_check_refuses_what_dialling_would_refuse() {
        let egress = egress(&[], false).unwrap();
        for forbidden in ["http://127.0.0.1/", "http://localhost:9/", "http://[::1]/", "http://0xa9fea9fe/latest"] {
            let error = egress.check(&url(forbidden)).await.unwrap_err();
            assert!(matches!(error, EgressError::Forbidden { .. }), "{forbidden}: {error}");
        }
        assert!(egress.check(&url("https://8.8.8.8/hook")).await.is_ok());
    }

    #[tokio::test]
    async fn refuses_other_schemes_and_credentials() {
        let egress = egress(&[], true).unwrap();
        for bad in ["ftp://127.0.0.1/", "file:///etc/passwd", "http://user@127.0.0.1/", "http://:secret@127.0.0.1/"] {
            let error = egress.check(&url(bad)).await.unwrap_err();
            assert!(matches!(error, EgressError::Malformed(_)), "{bad}: {error}");
        }
    }
}
