//! A real client for tests: whatsapp-rust with a plain WebSocket transport and a plain HTTP client.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;
use wagate_simulator::{Network, NetworkConfig, Phone};
use whatsapp_rust::async_channel::{Receiver, Sender, bounded, unbounded};
use whatsapp_rust::bot::{Bot, BotHandle};
use whatsapp_rust::wacore::net::{
    DisconnectReason, HttpClient, HttpRequest, HttpResponse, Transport, TransportEvent, TransportFactory,
};
use whatsapp_rust::wacore::store::InMemoryBackend;
use whatsapp_rust::wacore::types::events::{ChannelEventHandler, Event, InboundMessage};
use whatsapp_rust::{Client, InboundDurabilityHook, Jid, TokioRuntime};

/// How long a test waits for what must come.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// A network of nobody.
pub(super) async fn network() -> Network {
    Network::start(NetworkConfig::default()).await.unwrap()
}

/// The JID of a phone, for client calls.
pub(super) fn jid(phone: &Phone) -> Jid {
    Jid::pn(phone.number())
}

/// A real client with its store; dropping it ends the connection as a kill would.
pub(super) struct Device {
    pub(super) client: Arc<Client>,
    pub(super) backend: Arc<InMemoryBackend>,
    events: Receiver<Arc<Event>>,
    handle: BotHandle,
    cut: CancellationToken,
}

impl Device {
    /// An unlinked client that connects.
    pub(super) async fn start(network: &Network) -> Self {
        Self::start_on(network, Arc::new(InMemoryBackend::new()), None).await
    }

    /// A client on an existing store, perhaps with a hook that gates acknowledgements.
    pub(super) async fn start_on(network: &Network, backend: Arc<InMemoryBackend>, gate: Option<Gate>) -> Self {
        let cut = CancellationToken::new();
        let builder = Bot::builder()
            .with_backend_arc(Arc::clone(&backend) as _)
            .with_transport_factory(PlainWebSocket { url: network.ws_url(), cut: cut.clone() })
            .with_http_client(PlainHttp)
            .with_runtime(TokioRuntime)
            .with_version((2, 3000, 1_000_000_000))
            .skip_history_sync();
        let bot = match gate {
            Some(gate) => builder.with_inbound_durability_hook(gate).build().await.unwrap(),
            None => builder.build().await.unwrap(),
        };
        let client = bot.client();
        let (handler, events) = ChannelEventHandler::new();
        client.subscribe_handler(handler).detach();
        Self { client, backend, events, handle: bot.spawn(), cut }
    }

    /// A client linked to `phone` by QR, connected.
    pub(super) async fn linked(network: &Network, phone: &Phone) -> Self {
        let device = Self::start(network).await;
        device.link(phone).await;
        device
    }

    /// Shows its QR text to `phone` and waits until it is connected.
    pub(super) async fn link(&self, phone: &Phone) -> u16 {
        let qr = self.qr().await;
        let id = phone.scan(&qr).await.unwrap();
        self.connected().await;
        id
    }

    /// The QR text it shows.
    pub(super) async fn qr(&self) -> String {
        self.wait("a QR text", |event| match event {
            Event::PairingQrCode(qr) => Some(qr.code.clone()),
            _ => None,
        })
        .await
    }

    /// Waits until it is connected.
    pub(super) async fn connected(&self) {
        self.wait("a connection", |event| matches!(event, Event::Connected(_)).then_some(())).await;
    }

    /// Waits for an event `pick` finds something in.
    pub(super) async fn wait<T>(&self, what: &str, mut pick: impl FnMut(&Event) -> Option<T>) -> T {
        let wait = async {
            loop {
                let event = self.events.recv().await.expect("the client is alive");
                if let Some(found) = pick(&event) {
                    return found;
                }
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{what} did not come"))
    }

    /// Waits for the message with this text.
    pub(super) async fn message(&self, text: &str) -> InboundMessage {
        self.wait(text, |event| event.messages().find(|message| text_of(message) == Some(text)).cloned()).await
    }

    /// Waits for the server's answer to a sent message: its error code, if it was refused.
    pub(super) async fn server_ack(&self, id: &str) -> Option<String> {
        self.wait("a server ack", |event| match event {
            Event::ServerAck(ack) if ack.id == id => Some(ack.error.clone()),
            _ => None,
        })
        .await
    }

    /// Sends a text and waits until the server took it.
    pub(super) async fn send(&self, to: Jid, text: &str) -> String {
        let id = self.client.send_text(to, text).await.unwrap().message_id;
        assert_eq!(self.server_ack(&id).await, None, "the server takes {text:?}");
        id
    }

    /// Ends it in good order; the store survives.
    pub(super) async fn stop(self) -> Arc<InMemoryBackend> {
        self.handle.shutdown().await;
        self.backend
    }

    /// Ends it without a goodbye, as a kill would; the store survives.
    pub(super) async fn kill(self) -> Arc<InMemoryBackend> {
        self.cut.cancel();
        self.handle.abort();
        let _ = tokio::time::timeout(PATIENCE, self.handle).await;
        self.backend
    }
}

/// The text of a received message.
pub(super) fn text_of(message: &InboundMessage) -> Option<&str> {
    use whatsapp_rust::wacore::proto_helpers::MessageExt as _;
    message.message.text_content()
}

/// A durability hook that commits only while it is open.
#[derive(Clone, Default)]
pub(super) struct Gate(Arc<AtomicBool>);

impl Gate {
    pub(super) fn open(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[async_trait]
impl InboundDurabilityHook for Gate {
    async fn on_messages(&self, _: Arc<Client>, _: &[InboundMessage]) -> Result<()> {
        if self.0.load(Ordering::SeqCst) { Ok(()) } else { bail!("the gate is shut") }
    }
}

/// Connects by WebSocket in clear text; the token cuts the connection without a goodbye.
struct PlainWebSocket {
    url: String,
    cut: CancellationToken,
}

struct PlainTransport {
    outgoing: Sender<Bytes>,
    closed: CancellationToken,
}

#[async_trait]
impl Transport for PlainTransport {
    async fn send(&self, data: Bytes) -> Result<()> {
        Ok(self.outgoing.send(data).await?)
    }

    async fn disconnect(&self) {
        self.closed.cancel();
    }
}

#[async_trait]
impl TransportFactory for PlainWebSocket {
    async fn create_transport(&self) -> Result<(Arc<dyn Transport>, Receiver<TransportEvent>)> {
        let (mut socket, _) = connect_async(&self.url).await?;
        let (outgoing, to_send) = bounded::<Bytes>(64);
        let (events, receiver) = unbounded();
        let closed = self.cut.child_token();
        let transport = PlainTransport { outgoing, closed: closed.clone() };
        events.send(TransportEvent::Connected).await?;
        tokio::spawn(async move {
            loop {
                let data = tokio::select! {
                    () = closed.cancelled() => break,
                    data = to_send.recv() => {
                        let Ok(data) = data else { break };
                        if socket.send(Message::Binary(data)).await.is_err() {
                            break;
                        }
                        continue;
                    }
                    message = socket.next() => match message {
                        Some(Ok(Message::Binary(data))) => data,
                        Some(Ok(Message::Close(_)) | Err(_)) | None => break,
                        Some(Ok(_)) => continue,
                    },
                };
                let _ = events.send(TransportEvent::DataReceived(data)).await;
            }
            let _ = events.send(TransportEvent::Disconnected(DisconnectReason::StreamEnded)).await;
        });
        Ok((Arc::new(transport), receiver))
    }
}

/// Speaks plain HTTP where a client says `https`, as media hosts of the simulator do.
struct PlainHttp;

#[async_trait]
impl HttpClient for PlainHttp {
    async fn execute(&self, request: HttpRequest) -> Result<HttpResponse> {
        let (status_code, body) =
            http(&request.method, &request.url, request.body.as_deref().unwrap_or_default()).await?;
        Ok(HttpResponse { status_code, body })
    }
}

/// One HTTP exchange in clear text; the scheme of `url` is ignored.
pub(super) async fn http(method: &str, url: &str, body: &[u8]) -> Result<(u16, Vec<u8>)> {
    let rest = url.split_once("://").context("a URL")?.1;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let mut socket = TcpStream::connect(host).await?;
    let head = format!(
        "{method} /{path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    socket.write_all(head.as_bytes()).await?;
    socket.write_all(body).await?;
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await?;
    let split = answer.windows(4).position(|window| window == b"\r\n\r\n").context("a response head")?;
    let head = std::str::from_utf8(&answer[..split])?;
    let status = head.split(' ').nth(1).context("a status")?.parse()?;
    Ok((status, answer.split_off(split + 4)))
}
