//! The certificate chain a client checks inside the Noise handshake: root → intermediate → leaf.
//!
//! The rules are those of `HandshakeUtils::verify_server_cert` (wacore-noise 0.7.0): the intermediate names issuer
//! serial 0 and is signed by the root key, the leaf names the intermediate's serial and carries the server's static
//! key. Invariant: a client that trusts [`Authority::root_key`] instead of WhatsApp's accepts this server unmodified.

use whatsapp_rust::wacore::libsignal::protocol::{KeyPair, SignalProtocolError};

use super::{MessageField, Protobuf as _, rng, wa};
use wa::cert_chain::NoiseCertificate;
use wa::cert_chain::noise_certificate::Details;

/// The intermediate's issuer serial that stands for the root.
const ROOT_SERIAL: u32 = 0;
const INTERMEDIATE_SERIAL: u32 = 1;
const LEAF_SERIAL: u32 = 2;
/// Both certificates are valid from 2023-11-14 to 2033-05-18.
const NOT_BEFORE: u64 = 1_700_000_000;
const NOT_AFTER: u64 = 2_000_000_000;

/// The server's identity towards clients: its static Noise key and the chain that vouches for it.
pub(crate) struct Authority {
    root: [u8; 32],
    pub(super) server: KeyPair,
    pub(super) chain: Vec<u8>,
}

impl Authority {
    /// Makes a fresh root, intermediate and leaf.
    pub(crate) fn generate() -> Result<Self, SignalProtocolError> {
        let root = KeyPair::generate(&mut rng());
        let intermediate = KeyPair::generate(&mut rng());
        let server = KeyPair::generate(&mut rng());
        let chain = wa::CertChain {
            leaf: MessageField::some(certify(LEAF_SERIAL, INTERMEDIATE_SERIAL, &server, &intermediate)?),
            intermediate: MessageField::some(certify(INTERMEDIATE_SERIAL, ROOT_SERIAL, &intermediate, &root)?),
        };
        Ok(Self { root: raw_public(&root), server, chain: chain.encode_to_vec() })
    }

    /// The public root key, for a client that checks the chain.
    pub(crate) fn root_key(&self) -> [u8; 32] {
        self.root
    }
}

fn certify(
    serial: u32,
    issuer_serial: u32,
    subject: &KeyPair,
    issuer: &KeyPair,
) -> Result<NoiseCertificate, SignalProtocolError> {
    let details = Details {
        serial: Some(serial),
        issuer_serial: Some(issuer_serial),
        key: Some(subject.public_key.public_key_bytes().to_vec()),
        not_before: Some(NOT_BEFORE),
        not_after: Some(NOT_AFTER),
    }
    .encode_to_vec();
    let signature = issuer.calculate_signature(&details, &mut rng())?;
    Ok(NoiseCertificate { details: Some(details), signature: Some(signature.to_vec()) })
}

fn raw_public(pair: &KeyPair) -> [u8; 32] {
    let mut raw = [0; 32];
    raw.copy_from_slice(pair.public_key.public_key_bytes());
    raw
}

#[cfg(test)]
mod tests {
    use super::*;
    use whatsapp_rust::wacore::libsignal::protocol::PublicKey;

    #[test]
    fn the_chain_is_signed_from_the_root_down() {
        let authority = Authority::generate().unwrap();
        let chain = wa::CertChain::decode_from_slice(&authority.chain).unwrap();
        let (leaf, intermediate) = (chain.leaf.into_option().unwrap(), chain.intermediate.into_option().unwrap());
        let root = PublicKey::from_djb_public_key_bytes(&authority.root_key()).unwrap();
        assert!(
            root.verify_signature(intermediate.details.as_ref().unwrap(), intermediate.signature.as_ref().unwrap())
        );

        let details = Details::decode_from_slice(intermediate.details.as_ref().unwrap()).unwrap();
        let issuer = PublicKey::from_djb_public_key_bytes(&details.key.unwrap()).unwrap();
        assert!(issuer.verify_signature(leaf.details.as_ref().unwrap(), leaf.signature.as_ref().unwrap()));
    }
}
