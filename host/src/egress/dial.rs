//! Opening a connection: name, TCP, TLS, each timed, all within [`CONNECT`].
//!
//! Invariant: only addresses that the resolver gave are dialled.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::{timeout, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use url::Url;

use super::connection::Connection;
use super::error::EgressError;
use super::metered::Metered;
use super::resolver::VettedResolver;
use crate::model::Phases;

/// Time to open a connection, name lookup and TLS included.
pub(super) const CONNECT: Duration = Duration::from_secs(5);
/// How long one address is tried before the next is tried beside it (RFC 8305).
const HEAD_START: Duration = Duration::from_millis(250);
/// Addresses of one name that are tried.
const ADDRESSES: usize = 8;

type Stream = Metered<TcpStream>;

/// What is known of an exchange so far. It outlives an exchange that is broken off.
#[derive(Debug)]
pub(super) struct Trail {
    begun: Instant,
    pub(super) phases: Phases,
    /// The address that was dialled last, or that the connection in use leads to.
    pub(super) address: Option<SocketAddr>,
}

/// Opens connections. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Dialler {
    pub(super) resolver: VettedResolver,
    tls: Arc<ClientConfig>,
}

/// Writes down how long a phase took, when it is over: done, failed or broken off.
struct Watch<'a> {
    begun: Instant,
    phase: &'a mut Option<i64>,
}

impl Trail {
    pub(super) fn begin() -> Self {
        Self { begun: Instant::now(), phases: Phases::default(), address: None }
    }

    /// The head of an answer has come.
    pub(super) fn answered(&mut self) {
        self.phases.first_byte_us = Some(micros(self.begun));
    }
}

impl<'a> Watch<'a> {
    fn over(phase: &'a mut Option<i64>) -> Self {
        Self { begun: Instant::now(), phase }
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        *self.phase = Some(micros(self.begun));
    }
}

impl Dialler {
    pub(super) fn new(resolver: VettedResolver, tls: Arc<ClientConfig>) -> Self {
        Self { resolver, tls }
    }

    /// A connection of its own to where `url` leads.
    pub(super) async fn open(&self, url: &Url, trail: &mut Trail) -> Result<Connection, EgressError> {
        let until = tokio::time::Instant::now() + CONNECT;
        let addresses = if let Some(address) = self.resolver.literal(url)? {
            vec![address]
        } else {
            let _watch = Watch::over(&mut trail.phases.dns_us);
            let name = url.host_str().unwrap_or_default();
            let found = timeout_at(until, self.resolver.addresses(name)).await;
            found.unwrap_or_else(|_| Err(EgressError::Unresolved { host: name.to_owned(), reason: late() }))?
        };
        let port = url.port_or_known_default().unwrap_or_default();
        let addresses: Vec<_> = addresses.into_iter().map(|address| SocketAddr::new(address, port)).collect();
        let (stream, peer) = {
            let _watch = Watch::over(&mut trail.phases.connect_us);
            let connected = timeout_at(until, connect(&addresses, &mut trail.address)).await;
            connected.map_err(|_| unreached(trail.address, &late()))??
        };
        let stream = Metered::over(stream);
        let allowance = stream.allowance();
        if url.scheme() != "https" {
            return Connection::over(stream, allowance, peer).await;
        }
        let stream = {
            let _watch = Watch::over(&mut trail.phases.tls_us);
            let secured = timeout_at(until, self.secure(url, stream)).await;
            secured.unwrap_or_else(|_| Err(unsecured(&late())))?
        };
        Connection::over(stream, allowance, peer).await
    }

    async fn secure(&self, url: &Url, stream: Stream) -> Result<TlsStream<Stream>, EgressError> {
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let name = ServerName::try_from(host.to_owned()).map_err(|error| EgressError::Malformed(error.to_string()))?;
        let secured = TlsConnector::from(Arc::clone(&self.tls)).connect(name, stream).await;
        secured.map_err(|error| unsecured(&error.to_string()))
    }
}

/// Tries addresses until one takes a connection: the next when one refuses, or beside it when one is slow. `dialled`
/// holds the one that was tried last, in the end the one that took it.
async fn connect(
    addresses: &[SocketAddr],
    dialled: &mut Option<SocketAddr>,
) -> Result<(TcpStream, SocketAddr), EgressError> {
    let mut waiting = in_turn(addresses);
    let mut dialling = FuturesUnordered::new();
    let mut refusal = unreached(None, "it has no address");
    loop {
        if let Some(address) = waiting.pop_front() {
            *dialled = Some(address);
            dialling.push(async move { (address, dial(address).await) });
        }
        let patience = if waiting.is_empty() { CONNECT } else { HEAD_START };
        match timeout(patience, dialling.next()).await {
            Ok(Some((address, Ok(stream)))) => {
                *dialled = Some(address);
                return Ok((stream, address));
            }
            Ok(Some((address, Err(error)))) => refusal = unreached(Some(address), &error.to_string()),
            Ok(None) => return Err(refusal),
            Err(_slow) => {}
        }
    }
}

async fn dial(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The families in turn, beginning with the one that the system's resolver prefers: a host whose addresses of one family
/// lead nowhere is reached through the other soon.
fn in_turn(addresses: &[SocketAddr]) -> VecDeque<SocketAddr> {
    let preferred = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<SocketAddr>, Vec<SocketAddr>) =
        addresses.iter().copied().partition(|address| address.is_ipv6() == preferred);
    let mut second = second.into_iter();
    let mut turns = VecDeque::with_capacity(addresses.len());
    for address in first {
        turns.push_back(address);
        turns.extend(second.next());
    }
    turns.extend(second);
    turns.truncate(ADDRESSES);
    turns
}

fn micros(since: Instant) -> i64 {
    i64::try_from(since.elapsed().as_micros()).unwrap_or(i64::MAX)
}

fn late() -> String {
    format!("no answer within {CONNECT:?}")
}

fn unreached(address: Option<SocketAddr>, reason: &str) -> EgressError {
    let whom = address.map_or_else(String::new, |address| format!(" to {address}"));
    EgressError::Connect(format!("the connection{whom} failed: {reason}"))
}

fn unsecured(reason: &str) -> EgressError {
    EgressError::Tls(format!("TLS failed: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn families_are_tried_in_turn() {
        let turns = |texts: &[&str]| Vec::from(in_turn(&addresses(texts)));
        assert_eq!(
            turns(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1"]),
            addresses(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "[::3]:1"])
        );
        assert_eq!(
            turns(&["1.1.1.1:1", "[::1]:1", "[::2]:1", "[::3]:1"]),
            addresses(&["1.1.1.1:1", "[::1]:1", "[::2]:1", "[::3]:1"])
        );
        assert_eq!(turns(&["1.1.1.1:1"; 20]).len(), ADDRESSES);
        assert!(turns(&[]).is_empty());
    }

    #[tokio::test]
    async fn the_next_address_is_tried_when_one_refuses_and_when_one_is_slow() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open = listener.local_addr().unwrap();
        // Bound and not listened on, and listened on with a full backlog.
        let closed = tokio::net::TcpSocket::new_v4().unwrap();
        closed.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let full = tokio::net::TcpSocket::new_v4().unwrap();
        full.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let full = full.listen(0).unwrap();
        let _filling = TcpStream::connect(full.local_addr().unwrap()).await.unwrap();

        let (closed, full) = (closed.local_addr().unwrap(), full.local_addr().unwrap());
        let mut dialled = None;
        let begun = Instant::now();
        let (_stream, peer) = connect(&[closed, full, open], &mut dialled).await.unwrap();
        assert_eq!((peer, dialled), (open, Some(open)));
        assert!(begun.elapsed() >= HEAD_START && begun.elapsed() < 3 * HEAD_START, "{:?}", begun.elapsed());

        let error = connect(&[closed], &mut dialled).await.unwrap_err();
        assert!(matches!(&error, EgressError::Connect(words) if words.contains("refused")), "{error}");
        assert_eq!(dialled, Some(closed));
    }
}
