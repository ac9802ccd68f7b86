//! The accept loop: hyper on tokio with the limits that a router cannot set.
//!
//! The address is bound before the gateway has a store, so that whoever looks after it sees it live. Each request is
//! answered by the routes that are open at that moment.
//!
//! Invariant: every connection is counted, has a timer on its request head, and ends when the gateway stops: idle
//! connections at once, busy ones after the answer they owe.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::ServiceExt;

use super::peer::Peer;
use super::waiting::{self, Waiting, WaitsFor};
use super::{Parts, Site, live, router};
use crate::app::tasks::Tasks;
use crate::config::HttpConfig;

/// Connections the system keeps waiting for us.
const BACKLOG: u32 = 1024;
/// Most headers in a request head.
const MAX_HEADERS: usize = 64;
/// Longest request head, bytes.
const HEAD_BYTES: usize = 32 * 1024;
/// How long a connection that owes no answer may take to end at a stop: a browser opens some and says nothing on them.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How long to wait after accept failed, which it does when the process is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The listening HTTP side. It serves until its tasks stop.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    door: Arc<Door>,
}

/// The routes.
#[derive(Debug)]
struct Door {
    waiting: Waiting,
    before: Router,
    open: OnceLock<Router>,
}

impl Door {
    /// Those that answer now.
    fn routes(&self) -> Router {
        self.open.get().unwrap_or(&self.before).clone()
    }
}

impl Server {
    /// Binds and starts to serve what can be said without a store. Fails when the address cannot be had. Needs a running
    /// tokio runtime.
    pub fn bind(config: HttpConfig, tasks: &Tasks) -> io::Result<Self> {
        let listener = listen(config.listen())?;
        let address = listener.local_addr()?;
        let waiting = Waiting::default();
        let before = waiting::build(waiting.clone(), &config);
        let door = Arc::new(Door { waiting, before, open: OnceLock::new() });
        tasks.spawn("http accept", accept(listener, Arc::clone(&door), config, tasks.clone()));
        tracing::info!(%address, "listening");
        Ok(Self { address, door })
    }

    /// What callers are told until [`Server::open`].
    pub fn waits_for(&self, what: WaitsFor) {
        self.door.waiting.set(what);
    }

    /// Serves everything from now on. `tasks` are those it was bound with.
    pub fn open(&self, parts: Parts, tasks: &Tasks) {
        let site = Arc::new(Site { parts, tasks: tasks.clone(), sockets: live::Seats::default() });
        let _opened_before = self.door.open.set(router::build(site));
    }

    /// The address it listens on, with the port the system chose when 0 was configured.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restart must not wait for the old connections' TIME_WAIT.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

async fn accept(listener: TcpListener, door: Arc<Door>, config: HttpConfig, tasks: Tasks) {
    let places = Arc::new(Semaphore::new(config.connections));
    let mut stopping = pin!(tasks.stopping());
    loop {
        let next = async {
            // The place first: beyond the cap, connections wait in the system's queue.
            let place = Arc::clone(&places).acquire_owned().await;
            (listener.accept().await, place)
        };
        let (accepted, place) = tokio::select! {
            next = next => next,
            () = &mut stopping => return,
        };
        match (accepted, place) {
            (Ok((stream, from)), Ok(place)) => {
                let connection = serve(stream, from, Arc::clone(&door), config.clone(), tasks.clone(), place);
                tasks.spawn("http connection", connection);
            }
            (Err(error), _) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
            (_, Err(_)) => return,
        }
    }
}

async fn serve(
    stream: TcpStream,
    from: SocketAddr,
    door: Arc<Door>,
    config: HttpConfig,
    tasks: Tasks,
    place: OwnedSemaphorePermit,
) {
    // Small answers must not wait for an acknowledgement (Nagle); failing to ask is harmless.
    let _ = stream.set_nodelay(true);
    let owed = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&owed);
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(Peer(from));
        answer(door.routes(), request, Arc::clone(&counted))
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(config.header_timeout)
        .max_headers(MAX_HEADERS)
        .max_header_size(HEAD_BYTES)
        .max_buf_size(HEAD_BYTES + 8 * 1024)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = tasks.stopping() => {
            connection.as_mut().graceful_shutdown();
            let patience = if owed.load(Ordering::SeqCst) == 0 { LAST_WORDS } else { config.request_timeout };
            tokio::time::timeout(patience, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
    drop(place);
}

async fn answer(
    router: Router,
    request: hyper::Request<Incoming>,
    owed: Arc<AtomicUsize>,
) -> Result<axum::response::Response, Infallible> {
    owed.fetch_add(1, Ordering::SeqCst);
    let request: Request = request.map(axum::body::Body::new);
    let response = router.oneshot(request).await;
    owed.fetch_sub(1, Ordering::SeqCst);
    response
}
