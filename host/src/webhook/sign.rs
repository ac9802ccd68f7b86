//! Standard Webhooks 1.0: the three headers that let a receiver check who wrote and when, and drop what it has seen.
//!
//! Pure. The signed text is `{webhook-id}.{webhook-timestamp}.{body}`. Each of the endpoint's keys signs it: `v1` is an
//! HMAC-SHA256, `v1a` an ed25519 signature. During a rotation there are several, separated by blanks; a receiver takes the
//! request when it can check one. Source: the Standard Webhooks specification, "Signature scheme".
//!
//! Invariant: neither id nor timestamp holds a `.`, so that no two requests have the same signed text.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::model::{DeliveryId, Millis, SigningKey};

/// Why a request could not be signed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum SignError {
    /// The secret is not in the format.
    #[error("the endpoint's signing secret is not whsec_ followed by base64, nor whsk_ and 32 bytes; rotate it")]
    Secret,
    /// No key signs at the moment.
    #[error("the endpoint has no signing secret; rotate it")]
    NoKey,
    /// The id would make the signed text ambiguous.
    #[error("the delivery's id holds a dot, which a signature cannot cover")]
    Id,
}

/// The headers of one attempt, made at `now`: `webhook-id`, `webhook-timestamp` (seconds), `webhook-signature`.
pub(super) fn headers<'k>(
    keys: impl Iterator<Item = &'k SigningKey>,
    id: &DeliveryId,
    now: Millis,
    body: &[u8],
) -> Result<[(String, String); 3], SignError> {
    if id.as_str().contains('.') {
        return Err(SignError::Id);
    }
    let timestamp = now.seconds().to_string();
    let parts = [id.as_str().as_bytes(), b".", timestamp.as_bytes(), b".", body];
    let mut signatures = String::new();
    for key in keys {
        let (version, signature) = signature(&key.secret, &parts)?;
        let blank = if signatures.is_empty() { "" } else { " " };
        signatures.extend([blank, version, ",", &signature]);
    }
    if signatures.is_empty() {
        return Err(SignError::NoKey);
    }
    let pairs = [("webhook-id", id.to_string()), ("webhook-timestamp", timestamp), ("webhook-signature", signatures)];
    Ok(pairs.map(|(name, value)| (name.to_owned(), value)))
}

/// The key that receivers check ed25519 signatures with, as `whpk_` and base64; `None` for a secret of another kind.
pub fn public_key(secret: &SecretString) -> Option<String> {
    let pair = pair(secret.expose_secret().strip_prefix("whsk_")?).ok()?;
    Some(format!("whpk_{}", STANDARD.encode(pair.public_key())))
}

/// The signature's version, and itself.
fn signature(secret: &SecretString, parts: &[&[u8]]) -> Result<(&'static str, String), SignError> {
    let secret = secret.expose_secret();
    if let Some(seed) = secret.strip_prefix("whsk_") {
        return Ok(("v1a", STANDARD.encode(pair(seed)?.sign(&parts.concat()))));
    }
    let mut mac = keyed(secret.strip_prefix("whsec_").ok_or(SignError::Secret)?)?;
    for part in parts {
        mac.update(part);
    }
    Ok(("v1", STANDARD.encode(mac.finalize().into_bytes())))
}

fn pair(seed: &str) -> Result<Ed25519KeyPair, SignError> {
    let seed = Zeroizing::new(STANDARD.decode(seed).map_err(|_| SignError::Secret)?);
    Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| SignError::Secret)
}

fn keyed(encoded: &str) -> Result<Hmac<Sha256>, SignError> {
    let key = Zeroizing::new(STANDARD.decode(encoded).map_err(|_| SignError::Secret)?);
    if key.is_empty() {
        return Err(SignError::Secret);
    }
    Hmac::new_from_slice(&key).map_err(|_| SignError::Secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Vec<SigningKey> {
        vec![SigningKey { secret: SecretString::from(text), until: None }]
    }

    #[test]
    fn makes_the_signature_of_the_specification_s_example() {
        let id = "msg_p5jXN8AQM9LWM0D4loKWxJek".parse().unwrap();
        let key = secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let signed = headers(key.iter(), &id, Millis::from_seconds(1_614_265_330), br#"{"test": 2432232314}"#).unwrap();
        let [id, timestamp, signature] = signed.map(|(name, value)| format!("{name}: {value}"));
        assert_eq!(id, "webhook-id: msg_p5jXN8AQM9LWM0D4loKWxJek");
        assert_eq!(timestamp, "webhook-timestamp: 1614265330");
        assert_eq!(signature, "webhook-signature: v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn refuses_secrets_that_are_not_in_the_format() {
        let id = DeliveryId::new();
        for bad in ["", "whsec_", "whsec_*", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whpk_AAAA"] {
            assert_eq!(headers(secret(bad).iter(), &id, Millis(0), b"{}").unwrap_err(), SignError::Secret, "{bad}");
        }
    }

    #[test]
    fn refuses_an_id_that_would_blur_the_signed_text() {
        let id = "a.1".parse().unwrap();
        assert_eq!(headers(secret("whsec_AAAA").iter(), &id, Millis(0), b"{}").unwrap_err(), SignError::Id);
    }

    #[test]
    fn the_signature_changes_with_every_part() {
        let of = |key: &str, id: &str, seconds: i64, body: &str| {
            let signed =
                headers(secret(key).iter(), &id.parse().unwrap(), Millis::from_seconds(seconds), body.as_bytes())
                    .unwrap();
            signed[2].1.clone()
        };
        let base = of("whsec_AAAA", "dlv_1", 1, "{}");
        assert_eq!(base, of("whsec_AAAA", "dlv_1", 1, "{}"));
        for other in [
            of("whsec_AAAB", "dlv_1", 1, "{}"),
            of("whsec_AAAA", "dlv_2", 1, "{}"),
            of("whsec_AAAA", "dlv_1", 2, "{}"),
            of("whsec_AAAA", "dlv_1", 1, "{ }"),
        ] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn each_key_signs_and_ed25519_verifies_under_the_public_key() {
        let seed = format!("whsk_{}", STANDARD.encode([7_u8; 32]));
        let keys = ["whsec_AAAA", &seed].map(|text| SigningKey { secret: text.into(), until: None });
        let [_, _, (_, signatures)] = headers(keys.iter(), &"dlv_1".parse().unwrap(), Millis(0), b"{}").unwrap();
        let (hmac, ed25519) = signatures.split_once(' ').unwrap();
        assert!(hmac.starts_with("v1,"));
        let signature = STANDARD.decode(ed25519.strip_prefix("v1a,").unwrap()).unwrap();
        let public = public_key(&keys[1].secret).unwrap();
        let public = STANDARD.decode(public.strip_prefix("whpk_").unwrap()).unwrap();
        let public = ring::signature::UnparsedPublicKey::new(&ring::signature::ED25519, public);
        public.verify(b"dlv_1.0.{}", &signature).unwrap();
        assert!(public.verify(b"dlv_1.0.{ }", &signature).is_err());
        assert_eq!(public_key(&keys[0].secret), None);
    }

    #[test]
    fn nothing_goes_out_unsigned() {
        assert_eq!(headers([].iter(), &DeliveryId::new(), Millis(0), b"{}").unwrap_err(), SignError::NoKey);
    }
}
