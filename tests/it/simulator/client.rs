//! A real client for tests: whatsapp-rust with a plain WebSocket transport and a plain HTTP client.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _, stream::SplitSink};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use wagate_simulator::{Network, NetworkConfig, Phone};
use whatsapp_rust::async_channel::{Receiver, Sender, unbounded};
use whatsapp_rust::bot::{Bot, BotHandle};
use whatsapp_rust::wacore::net::{
    DisconnectReason, HttpClient, HttpRequest, HttpResponse, Transport, TransportEvent, TransportFactory,
};
use whatsapp_rust::wacore::store::InMemoryBackend;
use whatsapp_rust::wacore::types::events::{ChannelEventHandler, Event, InboundMessage};
use whatsapp_rust::{Client, InboundDurabilityHook, Jid, TokioRuntime};

/// How long a test waits for what must come.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A network of nobody.
pub async fn network() -> Network {
    Network::start(NetworkConfig::default()).await.unwrap()
}

/// The JID of a phone, for client calls.
pub fn jid(phone: &Phone) -> Jid {
    Jid::pn(phone.number())
}

/// A real client with its store; dropping it ends the connection as a kill would.
pub struct Device {
    pub client: Arc<Client>,
    pub backend: Arc<InMemoryBackend>,
    events: Receiver<Arc<Event>>,
    handle: BotHandle,
}

impl Device {
    /// An unlinked client that connects.
    pub async fn start(network: &Network) -> Self {
        Self::start_on(network, Arc::new(InMemoryBackend::new()), None).await
    }

    /// A client on an existing store, perhaps with a hook that gates acknowledgements.
    pub async fn start_on(network: &Network, backend: Arc<InMemoryBackend>, gate: Option<Gate>) -> Self {
        let builder = Bot::builder()
            .with_backend_arc(Arc::clone(&backend) as _)
            .with_transport_factory(PlainWebSocket(network.ws_url()))
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
        Self { client, backend, events, handle: bot.spawn() }
    }

    /// A client linked to `phone` by QR, connected.
    pub async fn linked(network: &Network, phone: &Phone) -> Self {
        let device = Self::start(network).await;
        device.link(phone).await;
        device
    }

    /// Shows its QR text to `phone` and waits until it is connected.
    pub async fn link(&self, phone: &Phone) -> u16 {
        let qr = self.qr().await;
        let id = phone.scan(&qr).await.unwrap();
        self.connected().await;
        id
    }

    /// The QR text it shows.
    pub async fn qr(&self) -> String {
        self.wait("a QR text", |event| match event {
            Event::PairingQrCode(qr) => Some(qr.code.clone()),
            _ => None,
        })
        .await
    }

    /// Waits until it is connected.
    pub async fn connected(&self) {
        self.wait("a connection", |event| matches!(event, Event::Connected(_)).then_some(())).await;
    }

    /// Waits for an event `pick` finds something in.
    pub async fn wait<T>(&self, what: &str, mut pick: impl FnMut(&Event) -> Option<T>) -> T {
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
    pub async fn message(&self, text: &str) -> InboundMessage {
        self.wait(text, |event| event.messages().find(|message| text_of(message) == Some(text)).cloned()).await
    }

    /// Waits for the server's answer to a sent message: its error code, if it was refused.
    pub async fn server_ack(&self, id: &str) -> Option<String> {
        self.wait("a server ack", |event| match event {
            Event::ServerAck(ack) if ack.id == id => Some(ack.error.clone()),
            _ => None,
        })
        .await
    }

    /// Sends a text and waits until the server took it.
    pub async fn send(&self, to: Jid, text: &str) -> String {
        let id = self.client.send_text(to, text).await.unwrap().message_id;
        assert_eq!(self.server_ack(&id).await, None, "the server takes {text:?}");
        id
    }

    /// Ends it without a goodbye, as a kill would; the store survives.
    pub async fn kill(self) -> Arc<InMemoryBackend> {
        self.handle.abort();
        let _ = tokio::time::timeout(PATIENCE, self.handle).await;
        self.backend
    }
}

/// The text of a received message.
pub fn text_of(message: &InboundMessage) -> Option<&str> {
    use whatsapp_rust::wacore::proto_helpers::MessageExt as _;
    message.message.text_content()
}

/// A durability hook that commits only while it is open.
#[derive(Clone, Default)]
pub struct Gate(Arc<AtomicBool>);

impl Gate {
    pub fn open(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[async_trait]
impl InboundDurabilityHook for Gate {
    async fn on_messages(&self, _: Arc<Client>, _: &[InboundMessage]) -> Result<()> {
        if self.0.load(Ordering::SeqCst) { Ok(()) } else { bail!("the gate is shut") }
    }
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Connects by WebSocket in clear text.
struct PlainWebSocket(String);

struct PlainTransport(Mutex<SplitSink<Socket, Message>>);

#[async_trait]
impl Transport for PlainTransport {
    async fn send(&self, data: Bytes) -> Result<()> {
        Ok(self.0.lock().await.send(Message::Binary(data)).await?)
    }

    async fn disconnect(&self) {
        let _ = self.0.lock().await.close().await;
    }
}

#[async_trait]
impl TransportFactory for PlainWebSocket {
    async fn create_transport(&self) -> Result<(Arc<dyn Transport>, Receiver<TransportEvent>)> {
        let (socket, _) = connect_async(&self.0).await?;
        let (sink, mut stream) = socket.split();
        let (events, receiver): (Sender<TransportEvent>, _) = unbounded();
        events.send(TransportEvent::Connected).await?;
        tokio::spawn(async move {
            while let Some(Ok(message)) = stream.next().await {
                match message {
                    Message::Binary(bytes) => {
                        if events.send(TransportEvent::DataReceived(bytes)).await.is_err() {
                            return;
                        }
                    }
                    Message::Close(_) => break,
                    _ => {}
                }
            }
            let _ = events.send(TransportEvent::Disconnected(DisconnectReason::StreamEnded)).await;
        });
        Ok((Arc::new(PlainTransport(Mutex::new(sink))), receiver))
    }
}

/// Speaks plain HTTP where a client says `https`, as media hosts of the simulator do.
struct PlainHttp;

#[async_trait]
impl HttpClient for PlainHttp {
    async fn execute(&self, request: HttpRequest) -> Result<HttpResponse> {
        let (status_code, body) = http(&request.method, &request.url, request.body.as_deref().unwrap_or_default()).await?;
        Ok(HttpResponse { status_code, body })
    }
}

/// One HTTP exchange in clear text; the scheme of `url` is ignored.
pub async fn http(method: &str, url: &str, body: &[u8]) -> Result<(u16, Vec<u8>)> {
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
