//! Receivers that break the rules below the level at which a library for servers would let them: raw TCP on loopback.
//!
//! One receiver has one [`Fault`], for every connection. To heal it, drop it and start a
//! [`Receiver`](crate::receiver::Receiver) at its [`address`](Faulty::address).
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use wagate_tests::faults::{Fault, Faulty};
//!
//! for fault in Fault::ALL {
//!     let faulty = Faulty::start(fault).await?;
//!     // … a gateway posts to faulty.url() …
//!     assert!(faulty.connections() <= 1, "{fault:?}");
//! }
//! # Ok(()) }
//! ```

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

/// A year in seconds, for [`Fault::Busy`].
pub const YEAR: u64 = 365 * 24 * 60 * 60;
/// Bytes of the answer of [`Fault::Floods`].
pub const FLOOD: u64 = 10_000_000_000;
/// Bytes of the answer of [`Fault::GzipBomb`] on the wire; unpacked it would be 1.6 GB.
pub const BOMB: u64 = 10_000_000;

const INTERIM: &[u8] = b"HTTP/1.1 102 Processing\r\n\r\n";

/// What is wrong with a receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing, for comparison: 200 with an empty body, and the connection stays open.
    Sound,
    /// The port is closed: every connection is refused.
    Refuses,
    /// Packets vanish: a connection is neither opened nor refused.
    Vanishes,
    /// Takes the connection, reads nothing and says nothing.
    Silent,
    /// Reads the request and resets the connection.
    Resets,
    /// Announces a long body, sends the beginning and closes the connection.
    BreaksOff,
    /// Answers 200 one byte each so often, from the first byte of the head on.
    TricklesHead(Duration),
    /// Answers 200 and then an endless body, one byte each so often.
    TricklesBody(Duration),
    /// Answers 200 and [`FLOOD`] bytes, as fast as they are taken.
    Floods,
    /// Answers 200 and [`BOMB`] bytes of gzip that unpack to a hundred and sixty times as many.
    GzipBomb,
    /// Speaks TLS with a certificate that nobody vouches for; [`Faulty::url`] is `https`.
    SelfSigned,
    /// Speaks plain HTTP where TLS is asked for; [`Faulty::url`] is `https`.
    PlainText,
    /// Speaks, but not HTTP.
    NotHttp,
    /// Answers 302 to where the request came to.
    RedirectsToItself,
    /// Answers 429 with a `Retry-After` of so many seconds.
    Busy(u64),
    /// Answers 102 again and again with so long a pause between, and never in earnest.
    Interim(Duration),
    /// Answers 200 and one header after the other, without end.
    EndlessHead,
    /// Answers 200 and one header whose value has no end.
    EndlessHeader,
    /// Answers 200 in chunks, the first of which never gets beyond the line that says how long it is.
    EndlessChunkLine,
    /// Answers 200 in chunks and, after the last, one trailer after the other, without end.
    EndlessTrailers,
}

impl Fault {
    /// One of each, with one byte a second, a year of waiting, and 102 both as fast as it is taken and once a second.
    pub const ALL: [Self; 21] = [
        Self::Sound,
        Self::Refuses,
        Self::Vanishes,
        Self::Silent,
        Self::Resets,
        Self::BreaksOff,
        Self::TricklesHead(Duration::from_secs(1)),
        Self::TricklesBody(Duration::from_secs(1)),
        Self::Floods,
        Self::GzipBomb,
        Self::SelfSigned,
        Self::PlainText,
        Self::NotHttp,
        Self::RedirectsToItself,
        Self::Busy(YEAR),
        Self::Interim(Duration::ZERO),
        Self::Interim(Duration::from_secs(1)),
        Self::EndlessHead,
        Self::EndlessHeader,
        Self::EndlessChunkLine,
        Self::EndlessTrailers,
    ];
}

/// A running faulty receiver. Dropping it closes the port and every connection.
#[derive(Debug)]
pub struct Faulty {
    fault: Fault,
    address: SocketAddr,
    counts: Arc<Counts>,
    /// What holds the port: a socket, a full backlog, or the task that serves it.
    _port: Box<dyn fmt::Debug + Send + Sync>,
}

#[derive(Debug, Default)]
struct Counts {
    connections: AtomicUsize,
    requests: AtomicUsize,
    sent: AtomicU64,
}

impl Faulty {
    /// Takes a free port of 127.0.0.1.
    pub async fn start(fault: Fault) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        // Otherwise megabytes of an endless answer would lie in the kernel.
        socket.set_send_buffer_size(64 * 1024)?;
        socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let address = socket.local_addr()?;
        let counts = Arc::<Counts>::default();
        let port: Box<dyn fmt::Debug + Send + Sync> = match fault {
            Fault::Refuses => Box::new(socket),
            // Nothing is accepted and one connection fills the backlog: the kernel drops what asks for another.
            Fault::Vanishes => Box::new((socket.listen(0)?, TcpStream::connect(address).await?)),
            _ => {
                let tls = if fault == Fault::SelfSigned { Some(tls()?) } else { None };
                let mut accepting = JoinSet::new();
                accepting.spawn(accept(socket.listen(4096)?, fault, tls, Arc::clone(&counts)));
                Box::new(accepting)
            }
        };
        Ok(Self { fault, address, counts, _port: port })
    }

    /// What is wrong with it.
    pub fn fault(&self) -> Fault {
        self.fault
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// An address to give as `webhook_url`.
    pub fn url(&self) -> String {
        let tls = matches!(self.fault, Fault::SelfSigned | Fault::PlainText);
        format!("{}://{}/hook", if tls { "https" } else { "http" }, self.address)
    }

    /// Connections taken. [`Fault::Refuses`] and [`Fault::Vanishes`] take none.
    pub fn connections(&self) -> usize {
        self.counts.connections.load(Ordering::SeqCst)
    }

    /// Requests read to their end.
    pub fn requests(&self) -> usize {
        self.counts.requests.load(Ordering::SeqCst)
    }

    /// Bytes of answers sent, those in the kernel's buffers included.
    pub fn sent(&self) -> u64 {
        self.counts.sent.load(Ordering::SeqCst)
    }
}

async fn accept(listener: TcpListener, fault: Fault, tls: Option<Arc<ServerConfig>>, counts: Arc<Counts>) {
    let mut serving = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => if let Ok((socket, _)) = accepted {
                counts.connections.fetch_add(1, Ordering::SeqCst);
                let (tls, counts) = (tls.clone(), Arc::clone(&counts));
                // How a connection ended is of no interest: senders break off on purpose.
                serving.spawn(async move { drop(serve(socket, fault, tls, counts).await) });
            },
            Some(_) = serving.join_next() => {}
        }
    }
}

async fn serve(socket: TcpStream, fault: Fault, tls: Option<Arc<ServerConfig>>, counts: Arc<Counts>) -> io::Result<()> {
    socket.set_nodelay(true)?;
    if fault == Fault::Silent {
        return std::future::pending().await;
    }
    if let Some(tls) = tls {
        return unvouched(socket, tls, &counts).await;
    }
    let mut answering = Answering { socket: BufReader::new(socket), counts };
    if fault == Fault::PlainText {
        // Closing with something unread would reset the connection, and the answer might not arrive.
        answering.socket.fill_buf().await?;
        return answering.put(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n").await;
    }
    while answering.request().await? {
        answering.answer(fault).await?;
    }
    Ok(())
}

/// One connection.
struct Answering {
    socket: BufReader<TcpStream>,
    counts: Arc<Counts>,
}

impl Answering {
    /// Reads a request to its end. `false`: the sender closed the connection instead.
    async fn request(&mut self) -> io::Result<bool> {
        let (mut line, mut length) = (String::new(), 0_u64);
        loop {
            line.clear();
            if self.socket.read_line(&mut line).await? == 0 {
                return Ok(false);
            }
            let header = line.trim().to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse().map_err(io::Error::other)?;
            }
        }
        tokio::io::copy(&mut (&mut self.socket).take(length), &mut tokio::io::sink()).await?;
        self.counts.requests.fetch_add(1, Ordering::SeqCst);
        Ok(true)
    }

    /// Answers it. Where the answer is whole, another request may follow.
    async fn answer(&mut self, fault: Fault) -> io::Result<()> {
        match fault {
            Fault::Resets => {
                self.socket.get_ref().set_zero_linger()?;
                Err(io::ErrorKind::ConnectionReset.into())
            }
            Fault::BreaksOff => {
                self.put(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nbeginning").await?;
                Err(io::ErrorKind::ConnectionAborted.into())
            }
            Fault::TricklesHead(every) => {
                let head = b"HTTP/1.1 200 OK\r\nx-filler: ".iter().chain(std::iter::repeat(&b'x'));
                for byte in head {
                    self.put(&[*byte]).await?;
                    sleep(every).await;
                }
                Ok(())
            }
            Fault::TricklesBody(every) => {
                self.put(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await?;
                loop {
                    sleep(every).await;
                    self.put(b"1\r\n.\r\n").await?;
                }
            }
            Fault::Floods => {
                self.put(format!("HTTP/1.1 200 OK\r\ncontent-length: {FLOOD}\r\n\r\n").as_bytes()).await?;
                self.repeat(b"x", FLOOD).await
            }
            Fault::GzipBomb => self.bomb().await,
            Fault::NotHttp => {
                self.put(b"220 mail.example.org ESMTP ready\r\n").await?;
                Err(io::ErrorKind::ConnectionAborted.into())
            }
            Fault::RedirectsToItself => {
                let here = self.socket.get_ref().local_addr()?;
                let head = format!("HTTP/1.1 302 Found\r\nlocation: http://{here}/hook\r\ncontent-length: 0\r\n\r\n");
                self.put(head.as_bytes()).await
            }
            Fault::Busy(seconds) => {
                let head = "HTTP/1.1 429 Too Many Requests\r\ncontent-length: 0";
                self.put(format!("{head}\r\nretry-after: {seconds}\r\n\r\n").as_bytes()).await
            }
            Fault::Interim(pause) if pause.is_zero() => self.repeat(INTERIM, u64::MAX).await,
            Fault::Interim(pause) => loop {
                self.put(INTERIM).await?;
                sleep(pause).await;
            },
            Fault::EndlessHead => self.endless(b"", b"x-filler: 0123456789\r\n").await,
            Fault::EndlessHeader => self.endless(b"x-filler: ", b"x").await,
            Fault::EndlessChunkLine => self.endless(b"transfer-encoding: chunked\r\n\r\n1;", b"x").await,
            Fault::EndlessTrailers => {
                self.endless(b"transfer-encoding: chunked\r\n\r\n1\r\n.\r\n0\r\n", b"x-filler: 0123456789\r\n").await
            }
            _ => self.put(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await,
        }
    }

    async fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.get_mut().write_all(bytes).await?;
        self.counts.sent.fetch_add(u64::try_from(bytes.len()).unwrap_or(0), Ordering::SeqCst);
        Ok(())
    }

    /// 200, the beginning of what has no end, and the rest of it.
    async fn endless(&mut self, beginning: &[u8], piece: &[u8]) -> io::Result<()> {
        self.put(b"HTTP/1.1 200 OK\r\n").await?;
        self.put(beginning).await?;
        self.repeat(piece, u64::MAX).await
    }

    /// So many bytes of a piece after the other, as fast as they are taken.
    async fn repeat(&mut self, piece: &[u8], bytes: u64) -> io::Result<()> {
        let block = piece.repeat(16 * 1024 / piece.len());
        let mut left = bytes;
        while left > 0 {
            let take = block.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            self.put(block.get(..take).unwrap_or(&block)).await?;
            left -= u64::try_from(take).unwrap_or(left);
        }
        Ok(())
    }

    /// A block of deflate with fixed codes: a zero, and then again and again "the 258 bytes from one byte ago on", which
    /// takes 13 bits, so that eight of them take 13 bytes.
    async fn bomb(&mut self) -> io::Result<()> {
        const BEGINNING: &[u8] = &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255, 0x62, 0x18, 0x05];
        const EIGHT: &[u8] = &[0xa3, 0x60, 0x14, 0x8c, 0x82, 0x51, 0x30, 0x0a, 0x46, 0xc1, 0x28, 0x18, 0x05];
        let head = format!("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {BOMB}\r\n\r\n");
        self.put(head.as_bytes()).await?;
        self.put(BEGINNING).await?;
        self.repeat(EIGHT, BOMB - 13).await
    }
}

fn tls() -> io::Result<Arc<ServerConfig>> {
    let certificate = CertificateDer::from_slice(include_bytes!("../fixtures/tls/certificate.der"));
    let key = PrivatePkcs8KeyDer::from(include_bytes!("../fixtures/tls/key.der").as_slice());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(io::Error::other)?.with_no_client_auth();
    let config = config.with_single_cert(vec![certificate], PrivateKeyDer::from(key)).map_err(io::Error::other)?;
    Ok(Arc::new(config))
}

/// Shakes hands and waits for a request, which counts as one as soon as a byte of it has come.
async fn unvouched(mut socket: TcpStream, tls: Arc<ServerConfig>, counts: &Counts) -> io::Result<()> {
    let mut tls = ServerConnection::new(tls).map_err(io::Error::other)?;
    let mut buffer = [0; 4096];
    loop {
        let mut ours = Vec::new();
        while tls.wants_write() {
            tls.write_tls(&mut ours)?;
        }
        socket.write_all(&ours).await?;
        let read = socket.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        let mut theirs = buffer.get(..read).unwrap_or_default();
        while !theirs.is_empty() {
            tls.read_tls(&mut theirs)?;
            if tls.process_new_packets().map_err(io::Error::other)?.plaintext_bytes_to_read() > 0 {
                counts.requests.fetch_add(1, Ordering::SeqCst);
                return Ok(());
            }
        }
    }
}
