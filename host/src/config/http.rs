//! The HTTP listener and its limits.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::value::{count, duration, list, parsed};
use super::{ConfigError, Setting, Values};

/// The HTTP listener and its limits.
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// Address to listen on. `HOST`, default 127.0.0.1.
    pub host: IpAddr,
    /// Port to listen on; 0 lets the system choose. `PORT`, default 8080.
    pub port: u16,
    /// Longest request body, bytes. Default 262,144.
    pub body_limit: usize,
    /// Time a client has to send its request head. Default 10 s.
    pub header_timeout: Duration,
    /// Time a request may take in all. Default 60 s.
    pub request_timeout: Duration,
    /// Connections open at once. Default 4,096.
    pub connections: usize,
    /// Proxies whose `X-Forwarded-For` is believed. Default none.
    pub trusted_proxies: Vec<IpAddr>,
}

impl HttpConfig {
    /// The address to listen on.
    pub fn listen(&self) -> SocketAddr {
        SocketAddr::new(self.host, self.port)
    }

    pub(super) fn read(values: &Values) -> Result<Self, ConfigError> {
        Ok(Self {
            host: values.required(&HOST, parsed)?,
            port: values.required(&PORT, parsed)?,
            body_limit: values.required(&BODY_LIMIT, count)?,
            header_timeout: values.required(&HEADER_TIMEOUT, duration)?,
            request_timeout: values.required(&REQUEST_TIMEOUT, duration)?,
            connections: values.required(&CONNECTIONS, count)?,
            trusted_proxies: values.optional(&TRUSTED_PROXIES, |text| list(text, parsed))?.unwrap_or_default(),
        })
    }
}

pub(super) const SETTINGS: &[&Setting] =
    &[&HOST, &PORT, &BODY_LIMIT, &HEADER_TIMEOUT, &REQUEST_TIMEOUT, &CONNECTIONS, &TRUSTED_PROXIES];

static HOST: Setting = Setting::new(
    "http.host",
    "HOST",
    "an IP address such as 127.0.0.1 or 0.0.0.0",
    "Address to listen on. Put a TLS proxy in front before you listen beyond this machine.",
)
.default("127.0.0.1");

static PORT: Setting =
    Setting::new("http.port", "PORT", "a number from 0 to 65535", "Port to listen on; 0 lets the system choose one.")
        .default("8080");

static BODY_LIMIT: Setting =
    Setting::new("http.body_limit", "HTTP_BODY_LIMIT", "a number of bytes from 1", "Longest request body, in bytes.")
        .default("262144");

static HEADER_TIMEOUT: Setting = Setting::new(
    "http.header_timeout",
    "HTTP_HEADER_TIMEOUT",
    "a time such as 10s",
    "Time a client has to send the head of its request.",
)
.default("10s");

static REQUEST_TIMEOUT: Setting = Setting::new(
    "http.request_timeout",
    "HTTP_REQUEST_TIMEOUT",
    "a time such as 60s",
    "Time a request may take in all.",
)
.default("60s");

static CONNECTIONS: Setting =
    Setting::new("http.connections", "HTTP_CONNECTIONS", "a number from 1", "Connections open at once.")
        .default("4096");

static TRUSTED_PROXIES: Setting = Setting::new(
    "http.trusted_proxies",
    "HTTP_TRUSTED_PROXIES",
    "IP addresses separated by commas",
    "Proxies whose X-Forwarded-For header is believed. None unless set.",
)
.sample("127.0.0.1");
