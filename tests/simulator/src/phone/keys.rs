//! The Signal state of one simulated phone: identity, pre-keys, sessions, sender keys, all in memory.
//!
//! Only companions talk Signal with a phone; two simulated phones hand each other the plaintext. A remote device is
//! named `number.device`, whatever form (phone number or LID) its JID had on the wire, so that both forms share one
//! session. Invariant: whoever uses [`Keys`] holds the phone's lock, so a ratchet never advances twice at once.

use std::collections::HashMap;

use async_trait::async_trait;
use whatsapp_rust::wacore::libsignal::protocol::{
    CiphertextMessage, CiphertextMessageType, DeviceId, Direction, GenericSignedPreKey as _, IdentityChange,
    IdentityKey, IdentityKeyPair, IdentityKeyStore, KeyPair, PreKeyBundle, PreKeyId, PreKeyRecord, PreKeySignalMessage,
    PreKeyStore, ProtocolAddress, SenderKeyDistributionMessage, SenderKeyName, SenderKeyRecord, SenderKeyStore,
    SessionRecord, SessionStore, SignalMessage, SignalProtocolError, SignedPreKeyId, SignedPreKeyRecord,
    SignedPreKeyStore, Timestamp, UsePQRatchet, create_sender_key_distribution_message, group_decrypt, group_encrypt,
    message_decrypt, message_encrypt, process_prekey_bundle, process_sender_key_distribution_message,
};

use crate::wire::rng;

type Signal<T> = Result<T, SignalProtocolError>;

/// The id of a phone's only signed pre-key.
const SIGNED_PRE_KEY: u32 = 1;

/// How an `<enc>` element is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seal {
    /// Starts a session.
    PreKey,
    /// Continues one.
    Session,
    /// By a group's sender key.
    SenderKey,
}

impl Seal {
    /// The `type` attribute of `<enc>`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::PreKey => "pkmsg",
            Self::Session => "msg",
            Self::SenderKey => "skmsg",
        }
    }

    /// Reads the `type` attribute of `<enc>`.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        match name {
            "pkmsg" => Some(Self::PreKey),
            "msg" => Some(Self::Session),
            "skmsg" => Some(Self::SenderKey),
            _ => None,
        }
    }
}

/// A ciphertext and how it was made.
#[derive(Debug, Clone)]
pub(crate) struct Sealed {
    pub(crate) seal: Seal,
    pub(crate) bytes: Vec<u8>,
}

/// All Signal state of one phone.
pub(crate) struct Keys {
    identity: Identity,
    sessions: Sessions,
    one_time: OneTime,
    signed: Signed,
    senders: Senders,
    signed_pair: KeyPair,
    signature: Vec<u8>,
    next_one_time: u32,
}

/// The name of a remote device in a phone's stores.
pub(crate) fn address(number: &str, device: u16) -> ProtocolAddress {
    ProtocolAddress::new(&format!("{number}.{device}"), DeviceId::from(0))
}

impl Keys {
    /// Keys for a new phone with this identity.
    pub(crate) fn new(identity: IdentityKeyPair, registration: u32) -> Signal<Self> {
        let signed_pair = KeyPair::generate(&mut rng());
        let signature =
            identity.private_key().calculate_signature(&signed_pair.public_key.serialize(), &mut rng())?.to_vec();
        let record =
            SignedPreKeyRecord::new(SIGNED_PRE_KEY.into(), Timestamp::from_epoch_millis(1), &signed_pair, &signature);
        Ok(Self {
            identity: Identity { pair: identity, registration, known: HashMap::new() },
            sessions: Sessions::default(),
            one_time: OneTime::default(),
            signed: Signed(record),
            senders: Senders::default(),
            signed_pair,
            signature,
            next_one_time: 1,
        })
    }

    /// A bundle for someone who wants to start a session, with a fresh one-time pre-key.
    pub(crate) fn bundle(&mut self) -> Signal<PreKeyBundle> {
        let id = self.next_one_time;
        self.next_one_time = if id >= 0x00FF_FFFF { 1 } else { id + 1 };
        let pair = KeyPair::generate(&mut rng());
        self.one_time.0.insert(id, PreKeyRecord::new(id.into(), &pair));
        PreKeyBundle::new(
            self.identity.registration,
            DeviceId::from(0),
            Some((id.into(), pair.public_key)),
            SIGNED_PRE_KEY.into(),
            self.signed_pair.public_key,
            self.signature.clone(),
            *self.identity.pair.identity_key(),
        )
    }

    /// Whether a session with that device exists.
    pub(crate) fn knows(&self, remote: &ProtocolAddress) -> bool {
        self.sessions.0.contains_key(remote.as_str())
    }

    /// Starts a session from a device's bundle, replacing an older one.
    pub(crate) async fn establish(&mut self, remote: &ProtocolAddress, bundle: &PreKeyBundle) -> Signal<()> {
        process_prekey_bundle(remote, &mut self.sessions, &mut self.identity, bundle, &mut rng(), UsePQRatchet::No)
            .await
            .map(drop)
    }

    /// Drops the session with a device.
    pub(crate) fn forget(&mut self, remote: &ProtocolAddress) {
        self.sessions.0.remove(remote.as_str());
    }

    /// Drops all sessions and sender keys.
    pub(crate) fn lose_sessions(&mut self) {
        self.sessions.0.clear();
        self.senders.0.clear();
    }

    /// Encrypts for a device with which a session exists.
    pub(crate) async fn seal(&mut self, remote: &ProtocolAddress, plaintext: &[u8]) -> Signal<Sealed> {
        let message = message_encrypt(plaintext, remote, &mut self.sessions, &mut self.identity).await?;
        let seal = match message.message_type() {
            CiphertextMessageType::PreKey => Seal::PreKey,
            _ => Seal::Session,
        };
        Ok(Sealed { seal, bytes: message.serialize().to_vec() })
    }

    /// Decrypts what a device sent to this phone alone.
    pub(crate) async fn open(&mut self, remote: &ProtocolAddress, seal: Seal, bytes: &[u8]) -> Signal<Vec<u8>> {
        let message = match seal {
            Seal::PreKey => CiphertextMessage::PreKeySignalMessage(PreKeySignalMessage::try_from(bytes)?),
            _ => CiphertextMessage::SignalMessage(SignalMessage::try_from(bytes)?),
        };
        let opened = message_decrypt(
            &message,
            remote,
            &mut self.sessions,
            &mut self.identity,
            &mut self.one_time,
            &self.signed,
            &mut rng(),
            UsePQRatchet::No,
        )
        .await?;
        Ok(opened.plaintext)
    }

    /// The distribution message of this phone's own sender key for `group`, made on first use.
    pub(crate) async fn distribute(&mut self, group: &str, own: &ProtocolAddress) -> Signal<Vec<u8>> {
        let name = SenderKeyName::from_parts(group, own.as_str());
        let message = create_sender_key_distribution_message(&name, &mut self.senders, &mut rng()).await?;
        Ok(message.serialized().to_vec())
    }

    /// Encrypts for a group by this phone's own sender key.
    pub(crate) async fn seal_group(&mut self, group: &str, own: &ProtocolAddress, plaintext: &[u8]) -> Signal<Sealed> {
        let name = SenderKeyName::from_parts(group, own.as_str());
        let message = group_encrypt(&mut self.senders, &name, plaintext, &mut rng()).await?;
        Ok(Sealed { seal: Seal::SenderKey, bytes: message.serialized().to_vec() })
    }

    /// Learns the sender key of a member.
    pub(crate) async fn learn(&mut self, group: &str, sender: &ProtocolAddress, message: &[u8]) -> Signal<()> {
        let name = SenderKeyName::from_parts(group, sender.as_str());
        let message = SenderKeyDistributionMessage::try_from(message)?;
        process_sender_key_distribution_message(&name, &message, &mut self.senders).await
    }

    /// Decrypts what a member sent to the group.
    pub(crate) async fn open_group(&mut self, group: &str, sender: &ProtocolAddress, bytes: &[u8]) -> Signal<Vec<u8>> {
        let name = SenderKeyName::from_parts(group, sender.as_str());
        group_decrypt(bytes, &mut self.senders, &name).await
    }

    /// Throws away this phone's sender key for `group`; the next message makes another.
    pub(crate) fn rotate(&mut self, group: &str, own: &ProtocolAddress) {
        self.senders.0.remove(SenderKeyName::from_parts(group, own.as_str()).cache_key());
    }
}

struct Identity {
    pair: IdentityKeyPair,
    registration: u32,
    known: HashMap<String, IdentityKey>,
}

#[async_trait]
impl IdentityKeyStore for Identity {
    async fn get_identity_key_pair(&self) -> Signal<IdentityKeyPair> {
        Ok(self.pair.clone())
    }

    async fn get_local_registration_id(&self) -> Signal<u32> {
        Ok(self.registration)
    }

    async fn save_identity(&mut self, address: &ProtocolAddress, identity: &IdentityKey) -> Signal<IdentityChange> {
        let older = self.known.insert(address.as_str().to_owned(), *identity);
        Ok(IdentityChange::from_changed(older.is_some_and(|older| older != *identity)))
    }

    /// A phone trusts whoever the server names, as WhatsApp does until the user verifies.
    async fn is_trusted_identity(&self, _: &ProtocolAddress, _: &IdentityKey, _: Direction) -> Signal<bool> {
        Ok(true)
    }

    async fn get_identity(&self, address: &ProtocolAddress) -> Signal<Option<IdentityKey>> {
        Ok(self.known.get(address.as_str()).copied())
    }
}

#[derive(Default)]
struct Sessions(HashMap<String, SessionRecord>);

#[async_trait]
impl SessionStore for Sessions {
    async fn load_session(&self, address: &ProtocolAddress) -> Signal<Option<SessionRecord>> {
        Ok(self.0.get(address.as_str()).cloned())
    }

    async fn has_session(&self, address: &ProtocolAddress) -> Signal<bool> {
        Ok(self.0.contains_key(address.as_str()))
    }

    async fn store_session(&mut self, address: &ProtocolAddress, record: SessionRecord) -> Signal<()> {
        self.0.insert(address.as_str().to_owned(), record);
        Ok(())
    }
}

#[derive(Default)]
struct OneTime(HashMap<u32, PreKeyRecord>);

#[async_trait]
impl PreKeyStore for OneTime {
    async fn get_pre_key(&self, id: PreKeyId) -> Signal<PreKeyRecord> {
        self.0.get(&id.into()).cloned().ok_or(SignalProtocolError::InvalidPreKeyId)
    }

    async fn save_pre_key(&mut self, id: PreKeyId, record: &PreKeyRecord) -> Signal<()> {
        self.0.insert(id.into(), record.clone());
        Ok(())
    }

    async fn remove_pre_key(&mut self, id: PreKeyId) -> Signal<()> {
        self.0.remove(&id.into());
        Ok(())
    }
}

struct Signed(SignedPreKeyRecord);

#[async_trait]
impl SignedPreKeyStore for Signed {
    async fn get_signed_pre_key(&self, id: SignedPreKeyId) -> Signal<SignedPreKeyRecord> {
        if u32::from(id) == SIGNED_PRE_KEY {
            Ok(self.0.clone())
        } else {
            Err(SignalProtocolError::InvalidSignedPreKeyId)
        }
    }

    async fn save_signed_pre_key(&mut self, _: SignedPreKeyId, record: &SignedPreKeyRecord) -> Signal<()> {
        self.0 = record.clone();
        Ok(())
    }
}

#[derive(Default)]
struct Senders(HashMap<String, SenderKeyRecord>);

#[async_trait]
impl SenderKeyStore for Senders {
    async fn store_sender_key(&mut self, name: &SenderKeyName, record: SenderKeyRecord) -> Signal<()> {
        self.0.insert(name.cache_key().to_owned(), record);
        Ok(())
    }

    async fn load_sender_key(&self, name: &SenderKeyName) -> Signal<Option<SenderKeyRecord>> {
        Ok(self.0.get(name.cache_key()).cloned())
    }
}
