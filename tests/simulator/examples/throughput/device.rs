//! The smallest linked device: it links, logs in, goes active, and settles every stanza without reading it.

use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use futures_util::{SinkExt as _, StreamExt as _};
use rand::rngs::StdRng;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use whatsapp_rust::NodeBuilder;
use whatsapp_rust::buffa::{Message as _, MessageField};
use whatsapp_rust::wacore::framing::{FrameDecoder, encode_frame};
use whatsapp_rust::wacore::handshake::{NoiseCipher, NoiseHandshake};
use whatsapp_rust::wacore::libsignal::protocol::KeyPair;
use whatsapp_rust::wacore_binary::consts::{NOISE_PATTERN_XX, WA_CONN_HEADER};
use whatsapp_rust::wacore_binary::{Node, marshal, marshal::unmarshal_ref, util::unpack};
use whatsapp_rust::waproto::whatsapp as wa;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// The keys of one device.
pub(crate) struct Device {
    identity: KeyPair,
    signed: KeyPair,
    signature: [u8; 64],
}

/// An established connection.
pub(crate) struct Line {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    frames: FrameDecoder,
    reader: NoiseCipher,
    writer: NoiseCipher,
    read: u32,
    written: u32,
}

fn rng() -> StdRng {
    rand::make_rng()
}

impl Device {
    /// Fresh keys.
    pub(crate) fn generate() -> Self {
        let identity = KeyPair::generate(&mut rng());
        let signed = KeyPair::generate(&mut rng());
        let signature =
            identity.calculate_signature(&signed.public_key.serialize(), &mut rng()).expect("a fresh key signs");
        Self { identity, signed, signature: *signature.as_array().expect("64 bytes") }
    }

    /// Connects as an unlinked client.
    pub(crate) async fn connect_unlinked(&self, url: &str) -> Outcome<Line> {
        let data = wa::client_payload::DevicePairingRegistrationData {
            e_regid: Some(1234_u32.to_be_bytes().to_vec()),
            e_keytype: Some(vec![5]),
            e_ident: Some(self.identity.public_key.public_key_bytes().to_vec()),
            e_skey_id: Some(vec![0, 0, 1]),
            e_skey_val: Some(self.signed.public_key.public_key_bytes().to_vec()),
            e_skey_sig: Some(self.signature.to_vec()),
            ..Default::default()
        };
        let payload = wa::ClientPayload { device_pairing_data: MessageField::some(data), ..Default::default() };
        Line::connect(url, &payload).await
    }

    /// Reads the first reference and makes the QR text of it.
    pub(crate) async fn qr(&self, line: &mut Line) -> Outcome<String> {
        let invitation = line.expect("iq").await?;
        let reference = invitation
            .get_optional_child_by_tag(&["pair-device", "ref"])
            .and_then(Node::content_as_string)
            .ok_or("no reference")?;
        let identity = BASE64_STANDARD.encode(self.identity.public_key.public_key_bytes());
        let secret = BASE64_STANDARD.encode([7_u8; 32]);
        Ok(format!("{reference},{identity},{identity},{secret}"))
    }

    /// Accepts the link that is offered.
    pub(crate) async fn sign(&self, line: &mut Line) -> Outcome<()> {
        let offer = line.expect("iq").await?;
        let sign = NodeBuilder::new("pair-device-sign")
            .children([NodeBuilder::new("device-identity").attr("key-index", 1_u32).bytes(vec![0; 64]).build()])
            .build();
        let id = offer.attrs.get("id").ok_or("no id")?.clone();
        let answer = NodeBuilder::new("iq").attr("to", "s.whatsapp.net").attr("type", "result").attr("id", id);
        line.send(&answer.children([sign]).build()).await
    }

    /// Logs in, goes active, counts and settles messages until the connection ends.
    pub(crate) async fn stay(url: &str, number: &str, device: u16, received: &AtomicU64) -> Outcome<()> {
        let payload = wa::ClientPayload {
            username: Some(number.parse()?),
            device: Some(u32::from(device)),
            ..Default::default()
        };
        let mut line = Line::connect(url, &payload).await?;
        line.expect("success").await?;
        let active = NodeBuilder::new("iq").attr("xmlns", "passive").attr("type", "set").attr("id", "1");
        line.send(&active.children([NodeBuilder::new("active").build()]).build()).await?;
        while let Some(stanza) = line.next().await? {
            let (Some(id), Some(from)) = (stanza.attrs.get("id"), stanza.attrs.get("from")) else { continue };
            let answer = match stanza.tag.as_ref() {
                "message" => {
                    if stanza.attrs.get("category").is_none() {
                        received.fetch_add(1, Ordering::Relaxed);
                    }
                    NodeBuilder::new("receipt").attr("type", "inactive")
                }
                "notification" => NodeBuilder::new("ack").attr("class", "notification"),
                "receipt" => NodeBuilder::new("ack").attr("class", "receipt"),
                _ => continue,
            };
            line.send(&answer.attr("id", id.clone()).attr("to", from.clone()).build()).await?;
        }
        Ok(())
    }
}

impl Line {
    /// Connects and shakes hands by Noise XX. The certificate is not checked.
    async fn connect(url: &str, payload: &wa::ClientPayload) -> Outcome<Self> {
        let (mut socket, _) = connect_async(url).await?;
        let mut frames = FrameDecoder::new();
        let ephemeral = KeyPair::generate(&mut rng());
        let own = KeyPair::generate(&mut rng());
        let public = ephemeral.public_key.public_key_bytes().to_vec();
        let mut noise = NoiseHandshake::new(NOISE_PATTERN_XX, &WA_CONN_HEADER)?;
        noise.authenticate(&public);
        let hello = wa::handshake_message::ClientHello { ephemeral: Some(public), ..Default::default() };
        let hello = wa::HandshakeMessage { client_hello: MessageField::some(hello), ..Default::default() };
        let hello = encode_frame(&hello.encode_to_vec(), Some(&WA_CONN_HEADER))?;
        socket.send(Message::Binary(hello.into())).await?;

        let answer = next_frame(&mut socket, &mut frames).await?.ok_or("the server hung up")?;
        let answer = wa::HandshakeMessage::decode_from_slice(&answer)?.server_hello.into_option().ok_or("no hello")?;
        let server = answer.ephemeral.ok_or("no ephemeral key")?;
        noise.authenticate(&server);
        noise.mix_shared_secret(ephemeral.private_key.serialize(), &server)?;
        let identity = noise.decrypt(&answer.r#static.ok_or("no static key")?)?;
        noise.mix_shared_secret(ephemeral.private_key.serialize(), &identity)?;
        noise.decrypt(&answer.payload.ok_or("no certificate")?)?;

        let sealed = noise.encrypt(own.public_key.public_key_bytes())?;
        noise.mix_shared_secret(own.private_key.serialize(), &server)?;
        let payload = noise.encrypt(&payload.encode_to_vec())?;
        let finish = wa::handshake_message::ClientFinish {
            r#static: Some(sealed),
            payload: Some(payload),
            ..Default::default()
        };
        let finish = wa::HandshakeMessage { client_finish: MessageField::some(finish), ..Default::default() };
        socket.send(Message::Binary(encode_frame(&finish.encode_to_vec(), None)?.into())).await?;
        let (writer, reader) = noise.finish()?;
        Ok(Self { socket, frames, reader, writer, read: 0, written: 0 })
    }

    async fn next(&mut self) -> Outcome<Option<Node>> {
        let Some(mut frame) = next_frame(&mut self.socket, &mut self.frames).await? else { return Ok(None) };
        self.reader.decrypt_in_place_with_counter(self.read, &mut frame)?;
        self.read += 1;
        let plain = unpack(&frame)?;
        Ok(Some(unmarshal_ref(&plain)?.to_owned()))
    }

    /// The next stanza of that tag.
    async fn expect(&mut self, tag: &str) -> Outcome<Node> {
        while let Some(node) = self.next().await? {
            if node.tag == tag {
                return Ok(node);
            }
        }
        Err(format!("the server hung up before <{tag}>").into())
    }

    async fn send(&mut self, node: &Node) -> Outcome<()> {
        let mut bytes = marshal(node)?;
        self.writer.encrypt_in_place_with_counter(self.written, &mut bytes)?;
        self.written += 1;
        Ok(self.socket.send(Message::Binary(encode_frame(&bytes, None)?.into())).await?)
    }
}

async fn next_frame(
    socket: &mut WebSocketStream<MaybeTlsStream<TcpStream>>,
    frames: &mut FrameDecoder,
) -> Outcome<Option<bytes::BytesMut>> {
    loop {
        if let Some(frame) = frames.decode_frame() {
            return Ok(Some(frame));
        }
        match socket.next().await {
            Some(Ok(Message::Binary(data))) => frames.feed(&data),
            Some(Ok(Message::Close(_))) | None => return Ok(None),
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(error.into()),
        }
    }
}
