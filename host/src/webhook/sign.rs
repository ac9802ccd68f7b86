//! Standard Webhooks 1.0: the three headers that let a receiver check who wrote and when, and drop what it has seen.
//!
//! Pure. The signed text is `{webhook-id}.{webhook-timestamp}.{body}`, the signature HMAC-SHA256 under the endpoint's
//! secret. Source: the Standard Webhooks specification, "Signature scheme".
//!
//! Invariant: neither id nor timestamp holds a `.`, so that no two requests have the same signed text.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::model::{DeliveryId, Millis};

/// Why a request could not be signed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum SignError {
    /// The secret is not in the format.
    #[error("the endpoint's signing secret is not whsec_ followed by base64; give it a new one")]
    Secret,
    /// The id would make the signed text ambiguous.
    #[error("the delivery's id holds a dot, which a signature cannot cover")]
    Id,
}

/// The headers of one attempt, made at `now`: `webhook-id`, `webhook-timestamp` (seconds), `webhook-signature`.
pub(super) fn headers(
    secret: &SecretString,
    id: &DeliveryId,
    now: Millis,
    body: &[u8],
) -> Result<[(String, String); 3], SignError> {
    if id.as_str().contains('.') {
        return Err(SignError::Id);
    }
    let timestamp = now.seconds().to_string();
    let mut mac = keyed(secret)?;
    for part in [id.as_str().as_bytes(), b".", timestamp.as_bytes(), b".", body] {
        mac.update(part);
    }
    let signature = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
    let pairs = [("webhook-id", id.to_string()), ("webhook-timestamp", timestamp), ("webhook-signature", signature)];
    Ok(pairs.map(|(name, value)| (name.to_owned(), value)))
}

fn keyed(secret: &SecretString) -> Result<Hmac<Sha256>, SignError> {
    let encoded = secret.expose_secret().strip_prefix("whsec_").ok_or(SignError::Secret)?;
    let key = Zeroizing::new(STANDARD.decode(encoded).map_err(|_| SignError::Secret)?);
    if key.is_empty() {
        return Err(SignError::Secret);
    }
    Hmac::new_from_slice(&key).map_err(|_| SignError::Secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> SecretString {
        SecretString::from(text)
    }

    #[test]
    fn makes_the_signature_of_the_specification_s_example() {
        let id = "msg_p5jXN8AQM9LWM0D4loKWxJek".parse().unwrap();
        let key = secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let signed = headers(&key, &id, Millis::from_seconds(1_614_265_330), br#"{"test": 2432232314}"#).unwrap();
        let [id, timestamp, signature] = signed.map(|(name, value)| format!("{name}: {value}"));
        assert_eq!(id, "webhook-id: msg_p5jXN8AQM9LWM0D4loKWxJek");
        assert_eq!(timestamp, "webhook-timestamp: 1614265330");
        assert_eq!(signature, "webhook-signature: v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn refuses_secrets_that_are_not_in_the_format() {
        let id = DeliveryId::new();
        for bad in ["", "whsec_", "whsec_*", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whpk_AAAA"] {
            assert_eq!(headers(&secret(bad), &id, Millis(0), b"{}").unwrap_err(), SignError::Secret, "{bad}");
        }
    }

    #[test]
    fn refuses_an_id_that_would_blur_the_signed_text() {
        let id = "a.1".parse().unwrap();
        assert_eq!(headers(&secret("whsec_AAAA"), &id, Millis(0), b"{}").unwrap_err(), SignError::Id);
    }

    #[test]
    fn the_signature_changes_with_every_part() {
        let of = |key: &str, id: &str, seconds: i64, body: &str| {
            let signed =
                headers(&secret(key), &id.parse().unwrap(), Millis::from_seconds(seconds), body.as_bytes()).unwrap();
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
}
