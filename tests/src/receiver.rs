//! A webhook receiver on loopback that keeps every request and answers as it is told, badly if need be.
//!
//! It speaks real HTTP on a real socket. A request is kept once its body has been read and before anything is answered,
//! so what was kept is exactly what the sender may believe to have delivered.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use std::time::Duration;
//! use wagate_tests::receiver::{Receiver, Reply};
//!
//! let receiver = Receiver::start().await?;
//! receiver.script([Reply::status(500), Reply::drop_connection()]);
//! // … a gateway posts to receiver.url() …
//! let requests = receiver.wait_for(3, Duration::from_secs(5)).await?;
//! requests[2].verify("whsec_…")?;
//! # Ok(()) }
//! ```

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use axum::body::{Body, to_bytes};
use bytes::Bytes;
use futures_util::stream;
use hyper::body::Incoming;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use standardwebhooks::Webhook;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Builder;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;

/// A running receiver. Dropping it closes the port and every connection.
#[derive(Debug)]
pub struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
    _accepting: JoinSet<()>,
    /// What keeps its own thread going, when it has one.
    _thread: Option<oneshot::Sender<()>>,
}

/// One request as it came.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// The method.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, byte for byte.
    pub body: Bytes,
    /// When the body had been read.
    pub at: Instant,
}

/// What to answer.
#[derive(Clone, Debug)]
pub struct Reply {
    status: u16,
    headers: Vec<(HeaderName, String)>,
    delay: Duration,
    body: ReplyBody,
}

#[derive(Clone, Debug)]
enum ReplyBody {
    Text(String),
    /// So many bytes, as fast as they are taken.
    Flood(u64),
    /// One byte at a time, for ever.
    Trickle(Duration),
    /// No answer at all: the connection is closed.
    Closed,
}

#[derive(Debug)]
struct Shared {
    recorded: watch::Sender<Vec<Recorded>>,
    script: Mutex<VecDeque<Reply>>,
    otherwise: Mutex<Reply>,
    connections: AtomicUsize,
    answering: AtomicUsize,
    busiest: AtomicUsize,
    flooded: AtomicU64,
}

impl Receiver {
    /// Listens on a free port of 127.0.0.1 and answers 200 until told otherwise.
    pub async fn start() -> io::Result<Self> {
        Self::start_at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await
    }

    /// Listens on this address, for instance the one of a receiver that was dropped.
    #[expect(clippy::unused_async, reason = "it needs a runtime, and an async call shows so")]
    pub async fn start_at(address: SocketAddr) -> io::Result<Self> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        // The usual backlog of 128 would make a burst of connections wait a second for the kernel's second try.
        let listener = socket.listen(4096)?;
        let shared = Arc::new(Shared {
            recorded: watch::Sender::new(Vec::new()),
            script: Mutex::default(),
            otherwise: Mutex::new(Reply::status(200)),
            connections: AtomicUsize::new(0),
            answering: AtomicUsize::new(0),
            busiest: AtomicUsize::new(0),
            flooded: AtomicU64::new(0),
        });
        let address = listener.local_addr()?;
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { address, shared, _accepting: accepting, _thread: None })
    }

    /// The same on a thread of its own, so that it answers at once however busy the caller's runtime is.
    pub async fn start_apart() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (tell, told) = oneshot::channel();
        let (keep, kept) = oneshot::channel();
        thread::Builder::new().name("receiver".to_owned()).spawn(move || {
            runtime.block_on(async {
                let _nobody_waits = tell.send(Self::start().await);
                // Until the receiver is dropped.
                let _dropped = kept.await;
            });
        })?;
        let started = told.await.map_err(io::Error::other)??;
        Ok(Self { _thread: Some(keep), ..started })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// An address to give as `webhook_url`.
    pub fn url(&self) -> String {
        self.url_of("/hook")
    }

    /// The same with a path of your own, starting with `/`.
    pub fn url_of(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Answers the next requests like this, one each, before falling back to [`Receiver::otherwise`].
    pub fn script(&self, replies: impl IntoIterator<Item = Reply>) {
        let mut script = self.shared.script.lock().unwrap_or_else(PoisonError::into_inner);
        script.extend(replies);
    }

    /// Answers everything the script does not cover like this.
    pub fn otherwise(&self, reply: Reply) {
        *self.shared.otherwise.lock().unwrap_or_else(PoisonError::into_inner) = reply;
    }

    /// Every request so far, in the order their bodies were complete.
    pub fn requests(&self) -> Vec<Recorded> {
        self.shared.recorded.borrow().clone()
    }

    /// How many requests came.
    pub fn count(&self) -> usize {
        self.shared.recorded.borrow().len()
    }

    /// How many connections were opened, also those that never sent a request.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// The most requests that were being answered at the same time.
    pub fn busiest(&self) -> usize {
        self.shared.busiest.load(Ordering::SeqCst)
    }

    /// Bytes taken from [`Reply::flood`] answers, socket buffers included.
    pub fn flooded(&self) -> u64 {
        self.shared.flooded.load(Ordering::SeqCst)
    }

    /// Waits until `n` requests have come and gives all there are; an error when `patience` runs out first.
    pub async fn wait_for(&self, n: usize, patience: Duration) -> anyhow::Result<Vec<Recorded>> {
        let mut watching = self.shared.recorded.subscribe();
        let waiting = watching.wait_for(|recorded| recorded.len() >= n);
        match tokio::time::timeout(patience, waiting).await {
            Ok(Ok(recorded)) => return Ok(recorded.clone()),
            Ok(Err(closed)) => return Err(closed.into()),
            Err(_) => {}
        }
        anyhow::bail!("{} of {n} requests came within {patience:?}", self.count())
    }

    /// Waits for a request that `wanted` accepts, past or future; the first one.
    pub async fn wait_until(&self, patience: Duration, wanted: impl Fn(&Recorded) -> bool) -> anyhow::Result<Recorded> {
        let mut watching = self.shared.recorded.subscribe();
        let waiting = watching.wait_for(|recorded| recorded.iter().any(&wanted));
        match tokio::time::timeout(patience, waiting).await {
            Ok(recorded) => recorded?.iter().find(|one| wanted(one)).cloned().context("the request is gone"),
            Err(_) => anyhow::bail!("no such request among {} within {patience:?}", self.count()),
        }
    }
}

impl Recorded {
    /// A header as text, empty when absent or not text.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The delivery's id, `webhook-id`.
    pub fn id(&self) -> &str {
        self.header("webhook-id")
    }

    /// The body as JSON.
    pub fn json(&self) -> anyhow::Result<serde_json::Value> {
        serde_json::from_slice(&self.body).context("the body is not JSON")
    }

    /// Whether the request was signed with `secret` for the moment it names, whenever that is. The judge is the
    /// `standardwebhooks` crate.
    pub fn verify(&self, secret: &str) -> anyhow::Result<()> {
        let timestamp: i64 = self.header("webhook-timestamp").parse().context("webhook-timestamp is not a number")?;
        let expected = Webhook::new(secret)?.sign(self.id(), timestamp, &self.body)?;
        let given = self.header("webhook-signature");
        ensure!(given.split(' ').any(|one| one == expected), "the signature does not hold: {given}");
        Ok(())
    }

    /// The same, and that the moment is now, give or take five minutes: what a receiver in the field would do.
    pub fn verify_now(&self, secret: &str) -> anyhow::Result<()> {
        Ok(Webhook::new(secret)?.verify(&self.body, &self.headers)?)
    }
}

impl Reply {
    /// This status with a short body.
    pub fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), delay: Duration::ZERO, body: ReplyBody::Text(format!("{status}\n")) }
    }

    /// A redirect.
    pub fn redirect(to: &str) -> Self {
        Self::status(302).header(hyper::header::LOCATION, to)
    }

    /// 200 and then this many bytes, with no length announced.
    pub fn flood(bytes: u64) -> Self {
        Self { body: ReplyBody::Flood(bytes), ..Self::status(200) }
    }

    /// 200 and then one byte each `every`, without end.
    pub fn trickle(every: Duration) -> Self {
        Self { body: ReplyBody::Trickle(every), ..Self::status(200) }
    }

    /// Reads the request, then closes the connection without a word.
    pub fn drop_connection() -> Self {
        Self { body: ReplyBody::Closed, ..Self::status(200) }
    }

    /// With this body.
    #[must_use]
    pub fn text(self, text: &str) -> Self {
        Self { body: ReplyBody::Text(text.to_owned()), ..self }
    }

    /// With this header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    /// With this `Retry-After`.
    #[must_use]
    pub fn retry_after(self, value: &str) -> Self {
        self.header(hyper::header::RETRY_AFTER, value)
    }

    /// After this time.
    #[must_use]
    pub fn after(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }

    /// The response; `None` closes the connection.
    fn response(self, shared: &Arc<Shared>) -> Option<Response<Body>> {
        let body = match self.body {
            ReplyBody::Text(text) => Body::from(text),
            ReplyBody::Flood(bytes) => flood(bytes, Arc::clone(shared)),
            ReplyBody::Trickle(every) => trickle(every),
            ReplyBody::Closed => return None,
        };
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::from_u16(self.status).ok()?;
        for (name, value) in self.headers {
            response.headers_mut().append(name, HeaderValue::try_from(value).ok()?);
        }
        Some(response)
    }
}

impl Shared {
    fn next_reply(&self) -> Reply {
        let scripted = self.script.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        scripted.unwrap_or_else(|| self.otherwise.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut serving = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => if let Ok((socket, _)) = accepted {
                shared.connections.fetch_add(1, Ordering::SeqCst);
                serving.spawn(serve(socket, Arc::clone(&shared)));
            },
            Some(_) = serving.join_next() => {}
        }
    }
}

/// Serves one connection until either side closes it. How it ended is of no interest: senders break off on purpose.
async fn serve(socket: TcpStream, shared: Arc<Shared>) {
    let _ = socket.set_nodelay(true);
    let service = hyper::service::service_fn(|request| respond(request, Arc::clone(&shared)));
    let mut http = hyper::server::conn::http1::Builder::new();
    let _ = http.timer(TokioTimer::new()).serve_connection(TokioIo::new(socket), service).await;
}

/// Counts a request as being answered until dropped, also when the sender breaks off.
struct Answering<'a>(&'a Shared);

impl<'a> Answering<'a> {
    fn begin(shared: &'a Shared) -> Self {
        let now = shared.answering.fetch_add(1, Ordering::SeqCst) + 1;
        shared.busiest.fetch_max(now, Ordering::SeqCst);
        Self(shared)
    }
}

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        self.0.answering.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Why a connection is closed without an answer: on purpose, or because the sender broke off.
#[derive(Debug)]
struct HangUp;

impl std::fmt::Display for HangUp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("hung up")
    }
}

impl std::error::Error for HangUp {}

async fn respond(request: Request<Incoming>, shared: Arc<Shared>) -> Result<Response<Body>, HangUp> {
    let (head, body) = request.into_parts();
    let body = to_bytes(Body::new(body), usize::MAX).await.map_err(|_| HangUp)?;
    let _answering = Answering::begin(&shared);
    let path = head.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    let recorded = Recorded { method: head.method, path, headers: head.headers, body, at: Instant::now() };
    // The reply is chosen together with the record, so that the n-th record got the n-th reply of the script.
    let mut reply = None;
    shared.recorded.send_modify(|all| {
        all.push(recorded);
        reply = Some(shared.next_reply());
    });
    let reply = reply.ok_or(HangUp)?;
    if reply.delay > Duration::ZERO {
        sleep(reply.delay).await;
    }
    reply.response(&shared).ok_or(HangUp)
}

fn flood(bytes: u64, shared: Arc<Shared>) -> Body {
    const CHUNK: &[u8] = &[b'x'; 64 * 1024];
    Body::from_stream(stream::unfold((bytes, shared), async |(left, shared)| {
        let take = CHUNK.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let chunk = CHUNK.get(..take).filter(|chunk| !chunk.is_empty())?;
        let taken = u64::try_from(take).unwrap_or(0);
        shared.flooded.fetch_add(taken, Ordering::SeqCst);
        Some((Ok::<_, Infallible>(Bytes::from_static(chunk)), (left - taken, shared)))
    }))
}

fn trickle(every: Duration) -> Body {
    Body::from_stream(stream::unfold(every, async |every| {
        sleep(every).await;
        Some((Ok::<_, Infallible>(Bytes::from_static(b".")), every))
    }))
}
