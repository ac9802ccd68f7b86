//! One client's connection: frames, handshake, login or linking, then stanzas until it ends.
//!
//! Framing: three bytes of length before each frame, many frames may share a WebSocket message; before the first stand
//! an optional `ED 00 01` with routing information and `57 41 06 03` (wacore-noise 0.7.0 `src/framing.rs`,
//! `src/edge_routing.rs`). Invariant: one task owns the socket and both ciphers, so counters never race, and a client's
//! stanzas are handled in the order it sent them.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;

use axum::extract::ws::{Message, WebSocket};
use bytes::BytesMut;
use futures_util::SinkExt as _;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use whatsapp_rust::wacore::framing::{FrameDecoder, encode_frame};
use whatsapp_rust::wacore::handshake::NoiseCipher;
use whatsapp_rust::wacore_binary::consts::WA_CONN_HEADER;
use whatsapp_rust::wacore_binary::{marshal, marshal::unmarshal_ref, util::unpack};

use super::stanza;
use crate::account::{Account, Companion, Family, lock};
use crate::faults;
use crate::linking::{Linking, NewDevice};
use crate::mailbox::{Out, Outlet, post};
use crate::network::Core;
use crate::wire::noise::{Channel, HandshakeError, Next, Pattern};
use crate::wire::{Node, NodeBuilder, SERVER, unix_seconds, wa};

/// What may stand before the header: `ED 00 01`, three bytes of length, routing information.
const ROUTING_MAGIC: [u8; 4] = [b'E', b'D', 0, 1];
/// How many stanzas are written before the socket is flushed.
const BURST: usize = 64;

/// Why a connection ended early.
#[derive(Debug, thiserror::Error)]
enum SocketError {
    #[error("the socket failed: {0}")]
    Io(#[from] axum::Error),
    #[error("the connection does not start with WhatsApp's header")]
    Header,
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    #[error("a frame cannot be read: {0}")]
    Frame(String),
    #[error("the login payload is malformed: {0}")]
    Payload(&'static str),
}

/// Who is at the other end.
pub(crate) enum Peer {
    /// A client that is not linked yet.
    Unlinked(Arc<Linking>),
    /// A linked device.
    Linked(Session),
}

/// A linked device's connection.
pub(crate) struct Session {
    pub(crate) account: Arc<Account>,
    pub(crate) companion: Arc<Companion>,
    pub(crate) outlet: Outlet,
    connection: u64,
}

impl Session {
    /// Answers the device on this connection.
    pub(crate) fn reply(&self, node: Node) {
        post(&self.outlet, node);
    }
}

/// Serves one connection to its end.
pub(crate) async fn serve(core: Arc<Core>, socket: WebSocket) {
    let cancel = core.cancel.clone();
    let mut wire = Wire { socket, frames: FrameDecoder::new(), opening: Some(Vec::new()) };
    let ended = tokio::select! {
        () = cancel.cancelled() => Ok(()),
        ended = converse(&core, &mut wire) => ended,
    };
    if let Err(error) = ended {
        tracing::info!(%error, "a connection was closed");
    }
    let _ = wire.socket.send(Message::Close(None)).await;
}

async fn converse(core: &Arc<Core>, wire: &mut Wire) -> Result<(), SocketError> {
    let Some(channel) = shake_hands(core, wire).await? else { return Ok(()) };
    core.count_handshake(match channel.pattern {
        Pattern::Xx => "XX",
        Pattern::Ik => "IK",
        Pattern::XxFallback => "XXfallback",
    });
    let (outlet, outbox) = unbounded_channel();
    let Channel { payload, reader, writer, .. } = channel;
    let mut line = Line { reader, writer, read: 0, written: 0, outbox, ready: VecDeque::new() };
    match admit(core, payload, outlet)? {
        Some(peer) => {
            let ended = line.run(core, wire, &peer).await;
            leave(core, &peer);
            ended
        }
        None => line.flush(wire).await,
    }
}

async fn shake_hands(core: &Core, wire: &mut Wire) -> Result<Option<Channel>, SocketError> {
    let Some(hello) = wire.frame().await? else { return Ok(None) };
    let reply = core.authority.answer(&hello)?;
    wire.send(&reply.hello).await?;
    match reply.next {
        Next::Established(channel) => Ok(Some(*channel)),
        Next::Finish(awaiting) => match wire.frame().await? {
            Some(finish) => Ok(Some(awaiting.finish(&finish)?)),
            None => Ok(None),
        },
    }
}

/// Decides who the client is; `None` if it was turned away.
fn admit(core: &Arc<Core>, payload: wa::ClientPayload, outlet: Outlet) -> Result<Option<Peer>, SocketError> {
    if let Some(registration) = payload.device_pairing_data.into_option() {
        let device = NewDevice::parse(registration).map_err(SocketError::Payload)?;
        let linking = Arc::new(Linking::new(device, payload.push_name, core.faults.takes_spent_refs(), outlet));
        core.directory.offer_linking(&linking);
        post(&linking.outlet, linking.invitation());
        if core.faults.takes_passkey() {
            post(&linking.outlet, passkey_request());
        }
        return Ok(Some(Peer::Unlinked(linking)));
    }
    let number = payload.username.ok_or(SocketError::Payload("no username"))?.to_string();
    let device = u16::try_from(payload.device.unwrap_or(0)).map_err(|_| SocketError::Payload("device"))?;
    Ok(log_in(core, &number, device, outlet).map(Peer::Linked))
}

fn log_in(core: &Core, number: &str, device: u16, outlet: Outlet) -> Option<Session> {
    let account = core.directory.by_number(number);
    let companion = account.as_ref().and_then(|account| account.companion(device));
    let refusal = core.faults.login_refusal(number, device);
    let (Some(account), Some(companion), None) = (account, companion, refusal) else {
        let reason = refusal.unwrap_or(401);
        tracing::info!(device, reason, "a login was refused");
        post(&outlet, failure(reason));
        return None;
    };
    let connection = core.next_connection();
    let success = NodeBuilder::new("success")
        .attr("t", unix_seconds())
        .attr("props", "1")
        .attr("companion_enc_static", "x")
        .attr("display_name", account.name.as_str())
        .attr("lid", account.device_jid(Family::Lid, device))
        .build();
    post(&outlet, success);
    if let Some(older) = companion.mailbox.attach(connection, outlet.clone()) {
        post(&older, faults::replaced());
        let _ = older.send(Out::Close);
    }
    account.count_login();
    tracing::info!(device, "a device logged in");
    Some(Session { account, companion, outlet, connection })
}

fn leave(core: &Core, peer: &Peer) {
    match peer {
        Peer::Unlinked(linking) => core.directory.withdraw_linking(linking),
        Peer::Linked(session) => {
            if session.companion.mailbox.detach(session.connection) {
                lock(&session.companion.presence).available = false;
                core.tell_presence(&session.account);
            }
        }
    }
}

/// `<failure>`; a temporary ban (402) says why and for how long.
fn failure(reason: u16) -> Node {
    let node = NodeBuilder::new("failure").attr("reason", u32::from(reason)).attr("location", "atn");
    if reason == 402 { node.attr("code", "101").attr("expire", "3600").build() } else { node.build() }
}

/// The server wants a passkey before it links this client (whatsapp-rust 0.7.0 `src/passkey/flow.rs`).
fn passkey_request() -> Node {
    let options = br#"{"challenge":"c2ltdWxhdGVk","rpId":"whatsapp.com","allowCredentials":[],"userVerification":"required","timeout":60000}"#;
    let node = crate::devices::server_notification(
        "passkey_prologue_request",
        [crate::wire::blob("passkey_request_options", options.to_vec())],
    );
    debug_assert!(node.attrs.get("from").is_some_and(|from| from.as_str() == SERVER));
    node
}

/// The raw socket: bytes to frames.
struct Wire {
    socket: WebSocket,
    frames: FrameDecoder,
    /// The first bytes, until the header is complete.
    opening: Option<Vec<u8>>,
}

impl Wire {
    /// The next frame; `None` at the end. Cancel-safe.
    async fn frame(&mut self) -> Result<Option<BytesMut>, SocketError> {
        loop {
            if self.opening.is_none()
                && let Some(frame) = self.frames.decode_frame()
            {
                return Ok(Some(frame));
            }
            match self.socket.recv().await {
                Some(Ok(Message::Binary(bytes))) => self.take(&bytes)?,
                Some(Ok(Message::Close(_))) | None => return Ok(None),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.into()),
            }
        }
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), SocketError> {
        let Some(opening) = &mut self.opening else {
            self.frames.feed(bytes);
            return Ok(());
        };
        opening.extend_from_slice(bytes);
        if let Some(start) = header_length(opening)? {
            self.frames.feed(&opening[start..]);
            self.opening = None;
        }
        Ok(())
    }

    async fn send(&mut self, payload: &[u8]) -> Result<(), SocketError> {
        self.feed(payload).await?;
        Ok(self.socket.flush().await?)
    }

    async fn feed(&mut self, payload: &[u8]) -> Result<(), SocketError> {
        let frame = encode_frame(payload, None).map_err(|error| SocketError::Frame(error.to_string()))?;
        Ok(self.socket.feed(Message::Binary(frame.into())).await?)
    }
}

/// How long the routing information and header at the start are; `None` while more bytes are needed.
fn header_length(bytes: &[u8]) -> Result<Option<usize>, SocketError> {
    let mut start = 0;
    if bytes.first() == Some(&ROUTING_MAGIC[0]) {
        let Some(prefix) = bytes.get(..7) else { return Ok(None) };
        if prefix[..4] != ROUTING_MAGIC {
            return Err(SocketError::Header);
        }
        start = 7 + usize::from(prefix[4]) * 65_536 + usize::from(prefix[5]) * 256 + usize::from(prefix[6]);
    }
    match bytes.get(start..start + WA_CONN_HEADER.len()) {
        None => Ok(None),
        Some(header) if header == WA_CONN_HEADER => Ok(Some(start + WA_CONN_HEADER.len())),
        Some(_) => Err(SocketError::Header),
    }
}

/// The established channel and what waits to go through it.
struct Line {
    reader: NoiseCipher,
    writer: NoiseCipher,
    read: u32,
    written: u32,
    outbox: UnboundedReceiver<Out>,
    ready: VecDeque<Out>,
}

impl Line {
    /// Handles what comes and writes what is posted, until the connection ends.
    async fn run(&mut self, core: &Arc<Core>, wire: &mut Wire, peer: &Peer) -> Result<(), SocketError> {
        let mut changes = core.faults.changes();
        loop {
            changes.mark_unchanged();
            if let Peer::Linked(session) = peer
                && core.faults.is_frozen(&session.account.number, session.companion.id)
            {
                let _ = changes.changed().await;
                continue;
            }
            tokio::select! {
                // In this order, so that what is posted after a freeze stays where it is.
                biased;
                _ = changes.changed() => {}
                frame = wire.frame() => match frame? {
                    Some(frame) => {
                        let node = self.open(frame)?;
                        stanza::handle(core, peer, node).await;
                    }
                    None => return Ok(()),
                },
                out = self.outbox.recv() => {
                    let Some(out) = out else { return Ok(()) };
                    if self.write(wire, out).await?.is_break() {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Writes what was posted before a client was turned away.
    async fn flush(&mut self, wire: &mut Wire) -> Result<(), SocketError> {
        while let Some(out) = self.outbox.recv().await {
            if self.write(wire, out).await?.is_break() {
                break;
            }
        }
        Ok(())
    }

    fn open(&mut self, mut frame: BytesMut) -> Result<Node, SocketError> {
        let broken = |error: &dyn std::fmt::Display| SocketError::Frame(error.to_string());
        self.reader.decrypt_in_place_with_counter(self.read, &mut frame).map_err(|error| broken(&error))?;
        self.read = self.read.checked_add(1).ok_or_else(|| broken(&"the counter is exhausted"))?;
        let plain = unpack(&frame).map_err(|error| broken(&error))?;
        let node = unmarshal_ref(&plain).map_err(|error| broken(&error))?.to_owned();
        tracing::trace!(tag = %node.tag, "received");
        Ok(node)
    }

    /// Writes `first` and what else waits, then flushes.
    async fn write(&mut self, wire: &mut Wire, first: Out) -> Result<ControlFlow<()>, SocketError> {
        self.ready.push_back(first);
        while self.ready.len() < BURST
            && let Ok(out) = self.outbox.try_recv()
        {
            self.ready.push_back(out);
        }
        while let Some(out) = self.ready.pop_front() {
            match out {
                Out::Stanza(node) => {
                    let sealed = self.seal(&node)?;
                    wire.feed(&sealed).await?;
                }
                Out::Close => {
                    wire.socket.flush().await?;
                    return Ok(ControlFlow::Break(()));
                }
                Out::Cut => return Ok(ControlFlow::Break(())),
            }
        }
        wire.socket.flush().await?;
        Ok(ControlFlow::Continue(()))
    }

    fn seal(&mut self, node: &Node) -> Result<Vec<u8>, SocketError> {
        let broken = |error: &dyn std::fmt::Display| SocketError::Frame(error.to_string());
        let mut bytes = marshal(node).map_err(|error| broken(&error))?;
        self.writer.encrypt_in_place_with_counter(self.written, &mut bytes).map_err(|error| broken(&error))?;
        self.written = self.written.checked_add(1).ok_or_else(|| broken(&"the counter is exhausted"))?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_header_with_and_without_routing_information() {
        assert_eq!(header_length(b"WA\x06\x03rest").unwrap(), Some(4));
        assert_eq!(header_length(b"WA").unwrap(), None);
        assert_eq!(header_length(b"ED\x00\x01\x00\x00\x02xxWA\x06\x03").unwrap(), Some(13));
        assert_eq!(header_length(b"ED\x00").unwrap(), None);
        assert!(header_length(b"GET / HTTP/1.1").is_err());
        assert!(header_length(b"EDxx000").is_err());
    }
}
