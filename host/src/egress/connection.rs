//! HTTP/1.1 on one connection: a request goes out, one answer is read, so much of it and no more.
//!
//! The connection has no task of its own. Whoever waits for it also does its work, so that an exchange that ends, at its
//! deadline for instance, takes its connection with it: nothing goes on reading from or writing to a receiver that has
//! been given up.
//!
//! Invariant: whatever a receiver sends, at most two buffers of [`LONGEST_HEAD`] and the bytes to be kept are held.

use std::fmt;
use std::future::{poll_fn, ready};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::Context;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper::header::HeaderMap;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::Answer;
use super::error::EgressError;
use super::metered::Allowance;

/// Longest head of an answer, as Node's client has it. As much is read at once.
pub(super) const LONGEST_HEAD: usize = 16 * 1024;
/// Bytes of an answer that are read even if fewer are to be kept: read to its end, it leaves a connection to be used again.
const READ: usize = 64 * 1024;
/// Bytes that may come beside a body and what frames it: the head, and others before it ("100 Continue", "103 Early
/// Hints").
const BESIDE: usize = 4 * LONGEST_HEAD;
/// Bytes that may come for each of a body's: one that comes in pieces has the length of each piece before it.
const FRAMED: usize = 8;
/// How long a connection is kept for the next request, when the receiver does not ask for less. An idle TLS connection
/// holds some 40 KiB, so a quiet gateway keeps none.
const KEPT: Duration = Duration::from_secs(20);
/// What a receiver that closes idle connections is given to change its mind in: a request must not meet its farewell.
const MARGIN: Duration = Duration::from_secs(1);
/// How long a connection may take to be done with a request that has been answered.
const SETTLING: Duration = Duration::from_millis(20);

/// A request in the library's terms.
pub(super) type Message = Request<Full<Bytes>>;

/// What a connection has to do; ends when it is closed.
type Wire = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

/// An open connection. Dropping it closes it.
pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    wire: Option<Wire>,
    allowance: Allowance,
    peer: SocketAddr,
}

/// A request that was not answered.
#[derive(Debug)]
pub(super) struct Unanswered {
    /// Why.
    pub(super) error: EgressError,
    /// The request, when nothing of it has left.
    pub(super) unsent: Option<Box<Message>>,
}

impl Connection {
    /// HTTP over a stream to `peer`, of which no more comes than `allowance` says.
    pub(super) async fn over<S>(stream: S, allowance: Allowance, peer: SocketAddr) -> Result<Self, EgressError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let opened = Builder::new().max_buf_size(LONGEST_HEAD).handshake(TokioIo::new(stream)).await;
        let (sender, wire) = opened.map_err(|error| EgressError::of_http("the exchange failed", &error))?;
        Ok(Self { sender, wire: Some(Box::pin(wire)), allowance, peer })
    }

    /// Whom it leads to.
    pub(super) fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Whether it takes a request now, as far as can be seen from here.
    pub(super) async fn is_open(&mut self) -> bool {
        during(&mut self.wire, ready(())).await;
        self.wire.is_some() && self.sender.is_ready()
    }

    /// Sends a request and waits for the head of its answer, of whose body `limit` bytes are to be kept.
    pub(super) async fn send(&mut self, message: Message, limit: usize) -> Result<Response<Incoming>, Unanswered> {
        self.allowance.renew(limit.max(READ).saturating_mul(FRAMED).saturating_add(BESIDE));
        let sent = self.sender.try_send_request(message);
        during(&mut self.wire, sent).await.map_err(Unanswered::from)
    }

    /// Reads an answer and keeps the first `limit` bytes of its body. Also answers how long the connection may be kept,
    /// once it [is settled](Self::is_settled); `None` where it has to be closed.
    pub(super) async fn read(
        &mut self,
        answer: Response<Incoming>,
        limit: usize,
    ) -> Result<(Answer, Option<Duration>), EgressError> {
        let (head, mut body) = answer.into_parts();
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        let headers = head.headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value.as_bytes())));
        let (headers, kept) = (headers.collect(), kept_for(&head.headers));
        // It shares the buffer it was read into.
        drop(head.headers);
        let (mut first, mut length) = (Vec::new(), 0);
        let whole = loop {
            let Some(frame) = during(&mut self.wire, body.frame()).await else { break true };
            let frame = frame.map_err(|error| EgressError::of_http("the answer broke off", &error))?;
            // What is no data are trailers, and nobody asks for those.
            let data = frame.into_data().unwrap_or_default();
            length += data.len();
            first.extend_from_slice(data.get(..limit - first.len()).unwrap_or(&data));
            if length > limit.max(READ) {
                break false;
            }
        };
        let answer = Answer { status: head.status.as_u16(), headers, body: first.into(), cut: length > limit };
        Ok((answer, kept.filter(|_| whole)))
    }

    /// Whether it is done with its last request, and open.
    pub(super) async fn is_settled(&mut self) -> bool {
        if !self.sender.is_ready() {
            let settled = during(&mut self.wire, self.sender.ready());
            if !matches!(tokio::time::timeout(SETTLING, settled).await, Ok(Ok(()))) {
                return false;
            }
        }
        self.wire.is_some()
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("peer", &self.peer).finish_non_exhaustive()
    }
}

impl From<TrySendError<Message>> for Unanswered {
    fn from(mut error: TrySendError<Message>) -> Self {
        let unsent = error.take_message().map(Box::new);
        Self { error: EgressError::of_http("the exchange failed", &error.into_error()), unsent }
    }
}

/// Waits for `outcome` and does the connection's work meanwhile.
async fn during<T>(wire: &mut Option<Wire>, outcome: impl Future<Output = T>) -> T {
    let mut outcome = pin!(outcome);
    poll_fn(|cx| {
        work(wire, cx);
        outcome.as_mut().poll(cx)
    })
    .await
}

/// How a connection ended need not be looked at: whoever waits for an answer on it is told.
fn work(wire: &mut Option<Wire>, cx: &mut Context<'_>) {
    if wire.as_mut().is_some_and(|running| running.as_mut().poll(cx).is_ready()) {
        *wire = None;
    }
}

/// How long a connection may be kept after an answer with these headers: `keep-alive: timeout=5` says that the receiver
/// closes it after five seconds. `None` for not at all.
fn kept_for(headers: &HeaderMap) -> Option<Duration> {
    let asked = headers.get("keep-alive").and_then(|value| value.to_str().ok());
    let seconds = asked.and_then(|asked| asked.split(',').find_map(|part| part.trim().strip_prefix("timeout=")));
    let theirs = seconds.and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs);
    theirs.map_or(Some(KEPT), |theirs| theirs.checked_sub(MARGIN).filter(|time| !time.is_zero()).map(|t| t.min(KEPT)))
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    #[test]
    fn a_connection_is_kept_no_longer_than_its_receiver_keeps_it() {
        let table = [
            (None, Some(20)),
            (Some("timeout=5"), Some(4)),
            (Some("max=100, timeout=10"), Some(9)),
            (Some("timeout=3600"), Some(20)),
            (Some("timeout=1"), None),
            (Some("timeout=0"), None),
            (Some("timeout=soon"), Some(20)),
        ];
        for (header, seconds) in table {
            let headers = header.map(|value| ("keep-alive".parse().unwrap(), HeaderValue::from_static(value)));
            let headers = HeaderMap::from_iter(headers);
            assert_eq!(kept_for(&headers), seconds.map(Duration::from_secs), "{header:?}");
        }
    }
}
