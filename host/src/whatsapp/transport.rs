//! The byte pipe to WhatsApp's server: a WebSocket, over TLS or, on loopback, in clear text.
//!
//! One TLS configuration serves all sessions, and buffers are small, because an idle session should cost little.
//! The library reports no failed attempt by itself, so every dial is told to whoever watches the session.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Message, http::HeaderValue};
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream};
use tokio_util::sync::{CancellationToken, DropGuard};
use url::Url;
use whatsapp_rust::async_channel;
use whatsapp_rust::wacore::net::{DisconnectReason, Transport, TransportEvent, TransportFactory, WHATSAPP_WEB_ORIGIN};

use super::news::{News, NewsSender};
use crate::app::tasks::Tasks;

type Stream = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Bytes read from a socket at once. The default of 128 KiB a socket would be most of an idle session.
const READ_BUFFER: usize = 4 * 1024;
/// Frames that may wait for the library before reading pauses.
const PENDING_FRAMES: usize = 16;

/// Time the closing frame has to leave. A peer that stopped reading gets none.
const FAREWELL: Duration = Duration::from_secs(1);

/// Dials the server for one session, again and again as the library asks.
pub(super) struct Dialer {
    pub(super) url: Url,
    pub(super) tls: Arc<rustls::ClientConfig>,
    pub(super) tasks: Tasks,
    pub(super) news: NewsSender,
}

#[async_trait]
impl TransportFactory for Dialer {
    async fn create_transport(
        &self,
    ) -> Result<(Arc<dyn Transport>, async_channel::Receiver<TransportEvent>), anyhow::Error> {
        self.news.tell(News::Dialing);
        match self.dial().await {
            Ok(stream) => Ok(self.pump(stream).await),
            Err(error) => {
                self.news.tell(News::DialFailed(format!("{error:#}")));
                Err(error)
            }
        }
    }
}

impl Dialer {
    async fn dial(&self) -> Result<Stream, anyhow::Error> {
        let mut request =
            self.url.as_str().into_client_request().context("the WhatsApp address is no WebSocket URL")?;
        request.headers_mut().insert("origin", HeaderValue::from_static(WHATSAPP_WEB_ORIGIN));
        let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER).write_buffer_size(0);
        let connector = match self.url.scheme() {
            "wss" => Connector::Rustls(Arc::clone(&self.tls)),
            _ => Connector::Plain,
        };
        let (stream, _) =
            tokio_tungstenite::connect_async_tls_with_config(request, Some(config), true, Some(connector))
                .await
                .with_context(|| format!("cannot reach {}", self.url.host_str().unwrap_or_default()))?;
        Ok(stream)
    }

    async fn pump(&self, stream: Stream) -> (Arc<dyn Transport>, async_channel::Receiver<TransportEvent>) {
        let (write, read) = stream.split();
        let (events, receiver) = async_channel::bounded(PENDING_FRAMES);
        // The channel is empty, so this cannot wait.
        let _ = events.send(TransportEvent::Connected).await;
        let closed = CancellationToken::new();
        let (end, guard) = (closed.clone(), closed.clone().drop_guard());
        self.tasks.spawn("whatsapp socket", async move {
            // The peer may be silent for ever; the socket ends when we say so or nobody holds it any more.
            tokio::select! {
                () = forward(read, events) => {}
                () = end.cancelled() => {}
            }
        });
        (Arc::new(Socket { write: Mutex::new(write), closed, _guard: guard }), receiver)
    }
}

/// Reads the socket until it ends or nobody listens any more.
async fn forward(mut read: SplitStream<Stream>, events: async_channel::Sender<TransportEvent>) {
    let reason = loop {
        match read.next().await {
            Some(Ok(Message::Binary(data))) => {
                if events.send(TransportEvent::DataReceived(data)).await.is_err() {
                    return;
                }
            }
            Some(Ok(Message::Close(frame))) => {
                let (code, reason) =
                    frame.map_or((None, String::new()), |f| (Some(f.code.into()), f.reason.to_string()));
                break DisconnectReason::ServerClose { code, reason };
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => break DisconnectReason::ReadError(error.to_string()),
            None => break DisconnectReason::StreamEnded,
        }
    };
    let _ = events.send(TransportEvent::Disconnected(reason)).await;
}

struct Socket {
    write: Mutex<SplitSink<Stream, Message>>,
    closed: CancellationToken,
    _guard: DropGuard,
}

#[async_trait]
impl Transport for Socket {
    async fn send(&self, data: Bytes) -> Result<(), anyhow::Error> {
        let sending = async { Ok(self.write.lock().await.send(Message::Binary(data)).await?) };
        tokio::select! {
            sent = sending => sent,
            () = self.closed.cancelled() => Err(anyhow::anyhow!("the connection was closed")),
        }
    }

    async fn disconnect(&self) {
        let farewell = async { self.write.lock().await.close().await };
        // The peer may be gone already, or deaf; then there is nobody to tell.
        let _ = tokio::time::timeout(FAREWELL, farewell).await;
        self.closed.cancel();
    }
}
