//! The cryptography of linking: the phone's word for a device, and the key agreement under a typed code.
//!
//! Invariant: nothing here keeps state; a failure is an error that says what was wrong.

use whatsapp_rust::wacore::crypto::hkdf_sha256_into;
use whatsapp_rust::wacore::libsignal::crypto::{aes_256_gcm_decrypt, hmac_sha256};
use whatsapp_rust::wacore::libsignal::protocol::{KeyPair, PublicKey};
use whatsapp_rust::wacore::pair_code::PairCodeUtils;

use super::LinkError;
use crate::account::Account;
use crate::wire::{Protobuf as _, rng, unix_seconds, wa};

/// The phone's half of a key agreement under a typed code.
pub(crate) struct TypedCode {
    pub(super) ephemeral: KeyPair,
    pub(super) companion_ephemeral: [u8; 32],
    pub(super) wrapped: Vec<u8>,
}

impl TypedCode {
    /// Unwraps the client's key and wraps a new one of the phone's under `code`. Slow on purpose (PBKDF2, twice).
    pub(crate) fn new(code: &str, wrapped: &[u8]) -> Result<Self, LinkError> {
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
        let code: String = code.chars().filter(|c| !c.is_whitespace() && *c != '-').collect::<String>().to_uppercase();
        if PairCodeUtils::validate_code(&code) { Ok(code) } else { Err(LinkError::MalformedCode) }
    }
}

/// The phone's word for a new device: details and identity signed under `06 00`, the whole under an HMAC that proves
/// the phone knows the client's secret.
pub(super) fn vouch(
    account: &Account,
    device: u16,
    identity: &[u8; 32],
    secret: &[u8; 32],
) -> Result<Vec<u8>, LinkError> {
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
pub(super) fn agree_on_secret(
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
