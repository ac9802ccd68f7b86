//! Linking a device: what an unpaired client declares, and how a phone vouches for it by QR text or by code.
//!
//! QR: the phone signs the device's identity and proves it read the QR text by an HMAC under the secret in it
//! (whatsapp-rust 0.7.0 `src/pair.rs`). Code: both sides agree on that secret by keys wrapped under the eight
//! characters (`wacore/src/pair_code.rs`, whatsmeow `pair-code.go`). Either way the client answers `pair-success`
//! with its own signature, and only then the device exists. Invariant: one linking completes at most once.

use std::sync::{Arc, Mutex, Weak};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use tokio::sync::oneshot;
use whatsapp_rust::wacore::crypto::hkdf_sha256_into;
use whatsapp_rust::wacore::libsignal::crypto::{aes_256_gcm_decrypt, hmac_sha256};
use whatsapp_rust::wacore::libsignal::protocol::{KeyPair, PublicKey};

use crate::account::{Account, Companion, Family, Published, SignedPreKey, lock};
use crate::mailbox::{Mailbox, Outlet, post};
use crate::wire::{
    Node, NodeBuilder, Protobuf as _, SERVER, big_endian, blob, parent, random_hex, rng, unix_seconds, wa,
};

/// How many references a client is given: it shows one QR text per reference.
const REFS: usize = 6;

/// Why a device was not linked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// The text is not a WhatsApp QR text.
    #[error("this is not a WhatsApp QR text: {0}")]
    MalformedQr(&'static str),
    /// No open connection shows this QR text (any more).
    #[error("no client shows this QR text: it has expired, was already used, or belongs to another network")]
    UnknownQr,
    /// The QR text's identity key is not the one the client registered.
    #[error("the QR text names another identity key than the client that shows it")]
    ForeignQr,
    /// The code is not eight characters of WhatsApp's alphabet.
    #[error("a pairing code is eight letters and digits, like ABCD-1234")]
    MalformedCode,
    /// No client waits for a code on this number.
    #[error("no client asked to be linked to this number by a code")]
    UnknownCode,
    /// The code is another one than the client shows.
    #[error("the code is wrong")]
    WrongCode,
    /// Another phone is linking this client right now.
    #[error("this client is being linked already")]
    Busy,
    /// The client turned `pair-success` down or went away.
    #[error("the client refused to be linked or went away")]
    Refused,
    /// The client did not answer in time.
    #[error("the client did not answer in time")]
    TimedOut,
    /// A key could not be used.
    #[error("a key could not be used: {0}")]
    Key(String),
}

/// The keys an unpaired client declares in its login payload.
pub(crate) struct NewDevice {
    pub(crate) identity: [u8; 32],
    pub(crate) registration: u32,
    pub(crate) signed: SignedPreKey,
}

impl NewDevice {
    /// Reads the registration; the error says which part is missing or malformed.
    pub(crate) fn parse(data: wa::client_payload::DevicePairingRegistrationData) -> Result<Self, &'static str> {
        Ok(Self {
            identity: data.e_ident.and_then(|key| key.try_into().ok()).ok_or("identity key")?,
            registration: data.e_regid.as_deref().and_then(big_endian).ok_or("registration id")?,
            signed: SignedPreKey {
                id: data.e_skey_id.as_deref().and_then(big_endian).ok_or("signed pre-key id")?,
                public: data.e_skey_val.filter(|key| key.len() == 32).ok_or("signed pre-key")?,
                signature: data
                    .e_skey_sig
                    .filter(|signature| signature.len() == 64)
                    .ok_or("signed pre-key signature")?,
            },
        })
    }
}

/// One unpaired client's connection.
pub(crate) struct Linking {
    pub(crate) refs: Vec<String>,
    pub(crate) device: NewDevice,
    /// The push name in the login payload, by which admin scans choose the account.
    pub(crate) push_name: Option<String>,
    pub(crate) outlet: Outlet,
    stage: Mutex<Stage>,
}

type Done = oneshot::Sender<Result<u16, LinkError>>;

enum Stage {
    /// Nobody took it up yet.
    Open,
    /// A code was typed; the client's key bundle is awaited.
    Agreeing(Agreement),
    /// `pair-success` went out; the client's signature is awaited.
    Offered(Offer),
    /// It is linked.
    Done,
}

struct Agreement {
    account: Arc<Account>,
    ephemeral: KeyPair,
    companion_ephemeral: [u8; 32],
    done: Done,
}

struct Offer {
    account: Arc<Account>,
    device: u16,
    request: String,
    done: Done,
}

/// A client that waits for its code to be typed on a phone.
pub(crate) struct LinkCode {
    pub(crate) linking: Weak<Linking>,
    pub(crate) reference: Vec<u8>,
    /// The client's ephemeral key under the code: salt, counter, ciphertext; 80 bytes.
    pub(crate) wrapped: Vec<u8>,
}

/// What a phone reads in a QR text.
pub(crate) struct QrText {
    pub(crate) reference: String,
    identity: [u8; 32],
    secret: [u8; 32],
}

impl QrText {
    /// Reads `ref,noise key,identity key,secret[,client type]`. Baileys and phones' camera links put a URL and `#` in
    /// front of it.
    pub(crate) fn parse(text: &str) -> Result<Self, LinkError> {
        let text = text.trim();
        let text = if text.starts_with("https://") {
            text.split_once('#').map_or(text, |(_, fragment)| fragment)
        } else {
            text
        };
        let parts: Vec<&str> = text.split(',').collect();
        let [reference, _noise, identity, secret, ..] = parts.as_slice() else {
            return Err(LinkError::MalformedQr("it has fewer than four parts"));
        };
        let key = |part: &str| BASE64_STANDARD.decode(part).ok().and_then(|key| <[u8; 32]>::try_from(key).ok());
        Ok(Self {
            reference: (*reference).to_owned(),
            identity: key(identity).ok_or(LinkError::MalformedQr("the identity key is no 32 bytes in base64"))?,
            secret: key(secret).ok_or(LinkError::MalformedQr("the secret is no 32 bytes in base64"))?,
        })
    }
}

impl Linking {
    /// A new unpaired connection. `spent` gives it no references.
    pub(crate) fn new(device: NewDevice, push_name: Option<String>, spent: bool, outlet: Outlet) -> Self {
        let refs = (0..if spent { 0 } else { REFS }).map(|number| format!("2@{}{number}", random_hex(16))).collect();
        Self { refs, device, push_name, outlet, stage: Mutex::new(Stage::Open) }
    }

    /// The stanza that gives the client its references.
    pub(crate) fn invitation(&self) -> Node {
        let refs = self.refs.iter().map(|reference| blob("ref", reference.as_bytes().to_vec()));
        pairing_iq(&random_hex(8), parent("pair-device", refs))
    }

    /// A phone scanned the QR text: offers the link; the receiver resolves when the client has signed.
    pub(crate) fn scanned(
        &self,
        qr: &QrText,
        account: &Arc<Account>,
    ) -> Result<oneshot::Receiver<Result<u16, LinkError>>, LinkError> {
        if qr.identity != self.device.identity {
            return Err(LinkError::ForeignQr);
        }
        let (done, outcome) = oneshot::channel();
        let mut stage = lock(&self.stage);
        match &*stage {
            Stage::Offered(_) | Stage::Done => return Err(LinkError::Busy),
            Stage::Open | Stage::Agreeing(_) => {}
        }
        *stage = Stage::Offered(self.offer(account, &qr.secret, done)?);
        Ok(outcome)
    }

    /// A phone typed the code: sends the phone's half of the key agreement. The wrapping of keys under the code is
    /// slow on purpose (PBKDF2), so the caller does it off the async threads and hands in the results.
    pub(crate) fn typed(
        &self,
        account: &Arc<Account>,
        reference: Vec<u8>,
        typed: TypedCode,
    ) -> Result<oneshot::Receiver<Result<u16, LinkError>>, LinkError> {
        let (done, outcome) = oneshot::channel();
        let mut stage = lock(&self.stage);
        if !matches!(*stage, Stage::Open) {
            return Err(LinkError::Busy);
        }
        let hello = NodeBuilder::new("link_code_companion_reg").attr("stage", "primary_hello").children([
            blob("link_code_pairing_wrapped_primary_ephemeral_pub", typed.wrapped),
            blob("primary_identity_pub", account.identity_key()),
            blob("link_code_pairing_ref", reference),
        ]);
        let notification = NodeBuilder::new("notification")
            .attr("from", SERVER)
            .attr("type", "link_code_companion_reg")
            .attr("id", random_hex(8))
            .attr("t", unix_seconds())
            .children([hello.build()]);
        *stage = Stage::Agreeing(Agreement {
            account: Arc::clone(account),
            ephemeral: typed.ephemeral,
            companion_ephemeral: typed.companion_ephemeral,
            done,
        });
        post(&self.outlet, notification.build());
        Ok(outcome)
    }

    /// The client answered the typed code with its key bundle: offers the link if the code was right.
    pub(crate) fn agreed(&self, bundle: &[u8], companion_identity: &[u8]) -> Result<(), LinkError> {
        let mut stage = lock(&self.stage);
        let Stage::Agreeing(agreement) = std::mem::replace(&mut *stage, Stage::Open) else {
            return Err(LinkError::UnknownCode);
        };
        let Agreement { account, ephemeral, companion_ephemeral, done } = agreement;
        match agree_on_secret(&account, &ephemeral, &companion_ephemeral, bundle, companion_identity) {
            Ok(secret) => {
                *stage = Stage::Offered(self.offer(&account, &secret, done)?);
                Ok(())
            }
            Err(error) => {
                let _ = done.send(Err(error.clone()));
                Err(error)
            }
        }
    }

    /// The client signed: answers the account and its new device.
    pub(crate) fn signed(&self, request: &str, device_identity: Vec<u8>) -> Option<Linked> {
        let mut stage = lock(&self.stage);
        match std::mem::replace(&mut *stage, Stage::Done) {
            Stage::Offered(offer) if offer.request == request => {
                let companion = Companion {
                    id: offer.device,
                    identity: self.device.identity,
                    registration: self.device.registration,
                    device_identity,
                    keys: Mutex::new(Published { signed: self.device.signed.clone(), ..Published::default() }),
                    mailbox: Mailbox::default(),
                    presence: Mutex::default(),
                };
                Some(Linked { account: offer.account, companion: Arc::new(companion), done: offer.done })
            }
            other => {
                *stage = other;
                None
            }
        }
    }

    /// The client turned the offer down.
    pub(crate) fn refused(&self, request: &str) {
        let mut stage = lock(&self.stage);
        if let Stage::Offered(offer) = &*stage
            && offer.request == request
            && let Stage::Offered(offer) = std::mem::replace(&mut *stage, Stage::Open)
        {
            let _ = offer.done.send(Err(LinkError::Refused));
        }
    }

    fn offer(&self, account: &Arc<Account>, secret: &[u8; 32], done: Done) -> Result<Offer, LinkError> {
        let device = account.next_device();
        let request = random_hex(8);
        let identity = vouch(account, device, &self.device.identity, secret)?;
        let success = parent(
            "pair-success",
            [
                blob("device-identity", identity),
                NodeBuilder::new("biz").attr("name", account.business.as_deref().unwrap_or_default()).build(),
                NodeBuilder::new("device")
                    .attr("jid", account.device_jid(Family::Number, device))
                    .attr("lid", account.device_jid(Family::Lid, device))
                    .build(),
                NodeBuilder::new("platform").attr("name", "android").build(),
            ],
        );
        post(&self.outlet, pairing_iq(&request, success));
        Ok(Offer { account: Arc::clone(account), device, request, done })
    }
}

/// A device that was just linked.
pub(crate) struct Linked {
    pub(crate) account: Arc<Account>,
    pub(crate) companion: Arc<Companion>,
    /// Tells whoever scanned or typed.
    pub(crate) done: Done,
}

/// The phone's half of a key agreement under a typed code.
pub(crate) struct TypedCode {
    ephemeral: KeyPair,
    companion_ephemeral: [u8; 32],
    wrapped: Vec<u8>,
}

impl TypedCode {
    /// Unwraps the client's key and wraps a new one of the phone's under `code`. Slow on purpose (PBKDF2, twice).
    pub(crate) fn new(code: &str, wrapped: &[u8]) -> Result<Self, LinkError> {
        use whatsapp_rust::wacore::pair_code::PairCodeUtils;
        let companion_ephemeral = PairCodeUtils::decrypt_primary_ephemeral_pub(wrapped, code)
            .map_err(|error| LinkError::Key(error.to_string()))?;
        let ephemeral = KeyPair::generate(&mut rng());
        let mut public = [0; 32];
        public.copy_from_slice(ephemeral.public_key.public_key_bytes());
        let wrapped = PairCodeUtils::encrypt_ephemeral_pub(&public, code).to_vec();
        Ok(Self { ephemeral, companion_ephemeral, wrapped })
    }

    /// The code as the key derivation wants it: eight characters, upper case, no dash.
    pub(crate) fn normalise(code: &str) -> Result<String, LinkError> {
        use whatsapp_rust::wacore::pair_code::PairCodeUtils;
        let code: String = code.chars().filter(|c| !c.is_whitespace() && *c != '-').collect::<String>().to_uppercase();
        if PairCodeUtils::validate_code(&code) { Ok(code) } else { Err(LinkError::MalformedCode) }
    }
}

fn pairing_iq(id: &str, child: Node) -> Node {
    NodeBuilder::new("iq")
        .attr("from", SERVER)
        .attr("type", "set")
        .attr("xmlns", "md")
        .attr("id", id)
        .children([child])
        .build()
}

/// The phone's word for a new device: details and identity signed under `06 00`, the whole under an HMAC that proves
/// the phone knows the client's secret.
fn vouch(account: &Account, device: u16, identity: &[u8; 32], secret: &[u8; 32]) -> Result<Vec<u8>, LinkError> {
    let details = wa::ADVDeviceIdentity {
        raw_id: Some(account.raw_id),
        timestamp: Some(unix_seconds()),
        key_index: Some(u32::from(device)),
        ..Default::default()
    }
    .encode_to_vec();
    let signed = [&[6, 0], details.as_slice(), identity].concat();
    let signature = account.identity.private_key().calculate_signature(&signed, &mut rng()).map_err(key_error)?;
    let identity = wa::ADVSignedDeviceIdentity {
        details: Some(details),
        account_signature_key: Some(account.identity_key()),
        account_signature: Some(signature.to_vec()),
        ..Default::default()
    }
    .encode_to_vec();
    let hmac = hmac_sha256(secret, &identity).to_vec();
    let blob = wa::ADVSignedDeviceIdentityHMAC { details: Some(identity), hmac: Some(hmac), ..Default::default() };
    Ok(blob.encode_to_vec())
}

/// Opens the client's key bundle and derives the secret both sides then share. A bundle that does not open means the
/// code was wrong.
fn agree_on_secret(
    account: &Account,
    ephemeral: &KeyPair,
    companion_ephemeral: &[u8; 32],
    bundle: &[u8],
    companion_identity: &[u8],
) -> Result<[u8; 32], LinkError> {
    let public = |key: &[u8]| PublicKey::from_djb_public_key_bytes(key).map_err(key_error);
    let shared = ephemeral.private_key.calculate_agreement(&public(companion_ephemeral)?).map_err(key_error)?;
    let identities =
        account.identity.private_key().calculate_agreement(&public(companion_identity)?).map_err(key_error)?;
    let (Some(salt), Some(nonce), Some(sealed)) = (bundle.get(..32), bundle.get(32..44), bundle.get(44..)) else {
        return Err(LinkError::Key("the key bundle is too short".to_owned()));
    };
    let nonce: &[u8; 12] = nonce.try_into().map_err(key_error)?;
    let mut key = [0; 32];
    hkdf_sha256_into(&shared, Some(salt), b"link_code_pairing_key_bundle_encryption_key", &mut key)
        .map_err(key_error)?;
    let mut opened = Vec::new();
    aes_256_gcm_decrypt(&key, nonce, b"", sealed, &mut opened).map_err(|_| LinkError::WrongCode)?;
    let (Some(identity), Some(random)) = (opened.get(..32), opened.get(64..96)) else {
        return Err(LinkError::Key("the key bundle is too short".to_owned()));
    };
    if identity != companion_identity {
        return Err(LinkError::WrongCode);
    }
    let mut secret = [0; 32];
    hkdf_sha256_into(&[&shared, &identities, random].concat(), None, b"adv_secret", &mut secret).map_err(key_error)?;
    Ok(secret)
}

fn key_error(error: impl std::fmt::Display) -> LinkError {
    LinkError::Key(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_qr_text_with_or_without_a_link_in_front() {
        let key = BASE64_STANDARD.encode([7; 32]);
        let plain = format!("2@REF,{key},{key},{key},1");
        assert_eq!(QrText::parse(&plain).unwrap().reference, "2@REF");
        let linked = format!(" https://wa.me/settings/linked_devices#{plain}\n");
        assert_eq!(QrText::parse(&linked).unwrap().reference, "2@REF");
        assert!(matches!(QrText::parse("hello"), Err(LinkError::MalformedQr(_))));
        assert!(matches!(QrText::parse("2@REF,a,b,c"), Err(LinkError::MalformedQr(_))));
    }

    #[test]
    fn reads_codes_as_people_write_them() {
        assert_eq!(TypedCode::normalise(" abcd-1234 ").unwrap(), "ABCD1234");
        assert_eq!(TypedCode::normalise("ABCD123"), Err(LinkError::MalformedCode));
    }
}
