//! Why an exchange failed: what its owner is told, and the class it is counted under.

use std::error::Error as StdError;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use super::address::is_metadata;
use super::connection::LONGEST_HEAD;
use crate::model::ErrorClass;

/// Why nothing came back.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EgressError {
    /// The address is private or otherwise forbidden.
    #[error("{}", refusal(.host, .address))]
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
    /// No connection was opened.
    #[error("{0}")]
    Connect(String),
    /// The connection was opened, but not secured.
    #[error("{0}")]
    Tls(String),
    /// The deadline passed.
    #[error("no complete answer within {0:?}")]
    Deadline(Duration),
    /// The connection ended before the answer did.
    #[error("{0}")]
    Broken(String),
    /// What came is no answer in HTTP, or more of a head than is read.
    #[error("{0}")]
    Protocol(String),
    /// The request cannot be put on the wire as it is.
    #[error("the request cannot be sent: {0}")]
    Malformed(String),
    /// There is nowhere to publish to.
    #[error("nats: addresses need NATS servers, and this gateway has none; its operator sets NATS_URL")]
    NoNats,
    /// An entry of the allow-list is no network.
    #[error("WEBHOOK_ALLOW holds {0:?}, which is no network; write 10.0.0.0/8, fd00::/8 or a single address")]
    AllowList(String),
}

impl EgressError {
    /// What kind of failure it is.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Forbidden { .. } => ErrorClass::Forbidden,
            Self::Unresolved { .. } => ErrorClass::Dns,
            Self::Connect(_) | Self::NoNats => ErrorClass::Connect,
            Self::Tls(_) => ErrorClass::Tls,
            Self::Deadline(_) => ErrorClass::Timeout,
            Self::Broken(_) => ErrorClass::Broken,
            Self::Protocol(_) => ErrorClass::Protocol,
            Self::Malformed(_) | Self::AllowList(_) => ErrorClass::Malformed,
        }
    }

    /// What HTTP says of a connection in use. The words begin with `what` happened where no better ones are known.
    pub(super) fn of_http(what: &str, error: &hyper::Error) -> Self {
        let cause = root(error);
        let io = cause.downcast_ref::<io::Error>();
        if error.is_parse_too_large() {
            let most = LONGEST_HEAD / 1024;
            return Self::Protocol(format!("the head of the answer has more than {most} KiB or a hundred headers"));
        }
        // The library for TLS speaks through errors of reading and writing.
        if io.and_then(io::Error::get_ref).is_some_and(<dyn StdError + Send + Sync>::is::<rustls::Error>) {
            return Self::Tls(format!("TLS failed: {cause}"));
        }
        let garbled =
            |error: &io::Error| matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput);
        if error.is_parse() || io.is_some_and(garbled) {
            return Self::Protocol(format!("the answer is not HTTP: {cause}"));
        }
        Self::Broken(format!("{what}: {cause}"))
    }
}

/// What an error comes from.
fn root<'a>(error: &'a (dyn StdError + 'static)) -> &'a (dyn StdError + 'static) {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause
}

fn refusal(host: &str, address: &IpAddr) -> String {
    let written = host.trim_matches(['[', ']']).parse::<IpAddr>() == Ok(*address);
    let whom = if written { address.to_string() } else { format!("{host} resolves to {address}, which") };
    if is_metadata(*address) {
        return format!("{whom} is where a cloud hands out its credentials; no setting allows that");
    }
    format!("{whom} is not a public address; to allow it, add {address} or its network to WEBHOOK_ALLOW")
}
