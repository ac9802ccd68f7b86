//! The responder side of WhatsApp's Noise handshake: XX, IK, and XXfallback when an IK hello cannot be read.
//!
//! Pure: bytes in, bytes out; the socket is the caller's. The shapes are those of the published client
//! (wacore-noise 0.7.0 `src/handshake.rs`) and whatsmeow's `handshake.go`. Invariant: a malformed hello is an
//! error, never a panic.

use whatsapp_rust::wacore::handshake::{HandshakeError as NoiseFailure, NoiseCipher, NoiseError, NoiseHandshake};
use whatsapp_rust::wacore::libsignal::protocol::KeyPair;
use whatsapp_rust::wacore_binary::consts::{
    NOISE_PATTERN_IK, NOISE_PATTERN_XX, NOISE_PATTERN_XXFALLBACK, WA_CONN_HEADER,
};

use super::certificate::Authority;
use super::{MessageField, Protobuf as _, rng, wa};

/// Why a handshake ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    /// The bytes are not the expected handshake message.
    #[error("handshake message is malformed: {0}")]
    Malformed(&'static str),
    /// The protobuf cannot be read.
    #[error("handshake message cannot be decoded")]
    Undecodable(#[from] whatsapp_rust::buffa::DecodeError),
    /// A key or a tag does not fit.
    #[error("handshake failed: {0}")]
    Failed(#[from] NoiseFailure),
    /// The transport ciphers cannot be derived.
    #[error("noise failed: {0}")]
    Noise(#[from] NoiseError),
}

/// Which handshake a connection used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pattern {
    /// The client knew nothing of the server.
    Xx,
    /// The client sent its payload at once, with a cached server key.
    Ik,
    /// The client's cached server key was stale.
    XxFallback,
}

/// An established channel and what the client said of itself.
pub(crate) struct Channel {
    pub(crate) pattern: Pattern,
    pub(crate) payload: wa::ClientPayload,
    pub(crate) reader: NoiseCipher,
    pub(crate) writer: NoiseCipher,
}

/// The server's answer to the first frame.
pub(crate) struct Reply {
    /// The `ServerHello` frame to send.
    pub(crate) hello: Vec<u8>,
    /// What comes after it.
    pub(crate) next: Next,
}

/// What the handshake waits for after the `ServerHello`.
pub(crate) enum Next {
    /// Nothing: IK is complete.
    Established(Box<Channel>),
    /// The client's `ClientFinish`.
    Finish(Box<AwaitingFinish>),
}

/// An XX or `XXfallback` handshake between the `ServerHello` and the `ClientFinish`.
pub(crate) struct AwaitingFinish {
    noise: NoiseHandshake,
    ephemeral: KeyPair,
    pattern: Pattern,
}

impl Authority {
    /// Answers the first frame of a connection.
    pub(crate) fn answer(&self, frame: &[u8]) -> Result<Reply, HandshakeError> {
        let hello = wa::HandshakeMessage::decode_from_slice(frame)?
            .client_hello
            .into_option()
            .ok_or(HandshakeError::Malformed("no client hello"))?;
        let client = hello.ephemeral.ok_or(HandshakeError::Malformed("no ephemeral key"))?;
        match (hello.r#static, hello.payload) {
            (Some(identity), Some(payload)) => match self.read_ik(&client, &identity, &payload) {
                Ok(read) => self.accept_ik(&client, read),
                Err(HandshakeError::Failed(_) | HandshakeError::Noise(_)) => {
                    self.offer_xx(&client, Pattern::XxFallback)
                }
                Err(other) => Err(other),
            },
            _ => self.offer_xx(&client, Pattern::Xx),
        }
    }

    fn offer_xx(&self, client: &[u8], pattern: Pattern) -> Result<Reply, HandshakeError> {
        let name = if pattern == Pattern::Xx { NOISE_PATTERN_XX } else { NOISE_PATTERN_XXFALLBACK };
        let ephemeral = KeyPair::generate(&mut rng());
        let public = ephemeral.public_key.public_key_bytes().to_vec();
        let mut noise = NoiseHandshake::new(name, &WA_CONN_HEADER)?;
        noise.authenticate(client);
        noise.authenticate(&public);
        noise.mix_shared_secret(ephemeral.private_key.serialize(), client)?;
        let identity = noise.encrypt(self.server.public_key.public_key_bytes())?;
        noise.mix_shared_secret(self.server.private_key.serialize(), client)?;
        let chain = noise.encrypt(&self.chain)?;
        let hello = server_hello(public, Some(identity), chain);
        Ok(Reply { hello, next: Next::Finish(Box::new(AwaitingFinish { noise, ephemeral, pattern })) })
    }

    fn read_ik(&self, client: &[u8], identity: &[u8], payload: &[u8]) -> Result<IkHello, HandshakeError> {
        let mut noise = NoiseHandshake::new(NOISE_PATTERN_IK, &WA_CONN_HEADER)?;
        noise.authenticate(self.server.public_key.public_key_bytes());
        noise.authenticate(client);
        noise.mix_shared_secret(self.server.private_key.serialize(), client)?;
        let identity = noise.decrypt(identity)?;
        noise.mix_shared_secret(self.server.private_key.serialize(), &identity)?;
        let payload = noise.decrypt(payload)?;
        Ok(IkHello { noise, identity, payload: wa::ClientPayload::decode_from_slice(&payload)? })
    }

    fn accept_ik(&self, client: &[u8], read: IkHello) -> Result<Reply, HandshakeError> {
        let IkHello { mut noise, identity, payload } = read;
        let ephemeral = KeyPair::generate(&mut rng());
        let public = ephemeral.public_key.public_key_bytes().to_vec();
        noise.authenticate(&public);
        noise.mix_shared_secret(ephemeral.private_key.serialize(), client)?;
        noise.mix_shared_secret(ephemeral.private_key.serialize(), &identity)?;
        let chain = noise.encrypt(&self.chain)?;
        let channel = channel(noise, Pattern::Ik, payload)?;
        Ok(Reply { hello: server_hello(public, None, chain), next: Next::Established(Box::new(channel)) })
    }
}

struct IkHello {
    noise: NoiseHandshake,
    identity: Vec<u8>,
    payload: wa::ClientPayload,
}

impl AwaitingFinish {
    /// Reads the client's last handshake frame.
    pub(crate) fn finish(mut self, frame: &[u8]) -> Result<Channel, HandshakeError> {
        let finish = wa::HandshakeMessage::decode_from_slice(frame)?
            .client_finish
            .into_option()
            .ok_or(HandshakeError::Malformed("no client finish"))?;
        let identity = finish.r#static.ok_or(HandshakeError::Malformed("no static key"))?;
        let payload = finish.payload.ok_or(HandshakeError::Malformed("no payload"))?;
        let identity = self.noise.decrypt(&identity)?;
        self.noise.mix_shared_secret(self.ephemeral.private_key.serialize(), &identity)?;
        let payload = wa::ClientPayload::decode_from_slice(&self.noise.decrypt(&payload)?)?;
        channel(self.noise, self.pattern, payload)
    }
}

/// The initiator's write key is the responder's read key, so the pair is swapped.
fn channel(noise: NoiseHandshake, pattern: Pattern, payload: wa::ClientPayload) -> Result<Channel, HandshakeError> {
    let (reader, writer) = noise.finish()?;
    Ok(Channel { pattern, payload, reader, writer })
}

fn server_hello(ephemeral: Vec<u8>, identity: Option<Vec<u8>>, chain: Vec<u8>) -> Vec<u8> {
    wa::HandshakeMessage {
        server_hello: MessageField::some(wa::handshake_message::ServerHello {
            ephemeral: Some(ephemeral),
            r#static: identity,
            payload: Some(chain),
            ..Default::default()
        }),
        ..Default::default()
    }
    .encode_to_vec()
}
