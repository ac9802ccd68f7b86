//! Tokens: JSON Web Tokens (RFC 7519), HS256 and nothing else.
//!
//! A token names its user, the user's token version (raised to revoke every token) and its reach. The key is
//! `JWT_SECRET`, or `jwt.key` in the data directory, made at first start.
//!
//! Invariant: time comes from the gateway's clock, so expiry is checked here and not by the library.

use std::io::{ErrorKind, Write};
use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use super::AuthError;
use crate::model::{Millis, User, UserId};

const ISSUER: &str = "wagate";
const AUDIENCE: &str = "wagate-api";
/// Least length of a signing key, bytes (RFC 7518 §3.2 for HS256).
const KEY_BYTES: usize = 32;
/// A token that may only change the password lives no longer than this.
const PASSWORD_CHANGE_LIFETIME: Duration = Duration::from_mins(15);

/// What a token is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reach {
    /// Everything its user may do.
    #[serde(rename = "access")]
    Everything,
    /// Changing the password, after a login with a one-time password.
    PasswordChange,
}

/// What a good token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Passport {
    pub(super) user: UserId,
    pub(super) version: i64,
    pub(super) reach: Reach,
}

/// Issues and reads tokens.
pub(super) struct Tokens {
    signing: EncodingKey,
    checking: DecodingKey,
    validation: Validation,
    lifetime: Duration,
}

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    typ: Reach,
    sub: String,
    ver: i64,
    jti: String,
    iat: i64,
    exp: i64,
}

impl Tokens {
    pub(super) fn new(key: &[u8], lifetime: Duration) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["iss", "aud", "sub"]);
        validation.validate_exp = false;
        Self { signing: EncodingKey::from_secret(key), checking: DecodingKey::from_secret(key), validation, lifetime }
    }

    /// A token for this user, and when it expires.
    pub(super) fn issue(&self, user: &User, now: Millis) -> Result<(String, Millis), AuthError> {
        let (reach, lifetime) = if user.must_change_password {
            (Reach::PasswordChange, self.lifetime.min(PASSWORD_CHANGE_LIFETIME))
        } else {
            (Reach::Everything, self.lifetime)
        };
        let expires = now.after(lifetime);
        let claims = Claims {
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            typ: reach,
            sub: user.id.to_string(),
            ver: user.token_version,
            jti: uuid::Uuid::new_v4().simple().to_string(),
            iat: now.seconds(),
            exp: expires.seconds(),
        };
        let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.signing);
        Ok((token.map_err(|error| AuthError::Token(error.to_string()))?, Millis::from_seconds(expires.seconds())))
    }

    /// What the token says; `None` when it is not ours, was changed, or has expired.
    pub(super) fn read(&self, token: &str, now: Millis) -> Option<Passport> {
        let claims = jsonwebtoken::decode::<Claims>(token, &self.checking, &self.validation).ok()?.claims;
        if claims.exp <= now.seconds() {
            return None;
        }
        let user = UserId(claims.sub.parse().ok()?);
        Some(Passport { user, version: claims.ver, reach: claims.typ })
    }
}

/// The signing key: the configured one when it is strong, else the one in `file`, made when missing.
pub(super) fn key(configured: Option<&SecretString>, file: &Path) -> Result<Vec<u8>, AuthError> {
    let Some(secret) = configured else {
        return load_or_make(file);
    };
    let secret = secret.expose_secret();
    check(secret)?;
    Ok(secret.as_bytes().to_vec())
}

fn check(secret: &str) -> Result<(), AuthError> {
    let folded = secret.trim().to_lowercase();
    let known = ["your-secret-key", "secret", "changeme", "jwt-secret", "example"];
    if known.iter().any(|word| folded.starts_with(word)) {
        return Err(AuthError::KnownSecret);
    }
    let distinct = secret.bytes().collect::<std::collections::BTreeSet<_>>().len();
    if secret.len() < KEY_BYTES || distinct < 8 { Err(AuthError::WeakSecret) } else { Ok(()) }
}

fn load_or_make(file: &Path) -> Result<Vec<u8>, AuthError> {
    let fault = |reason: String| AuthError::KeyFile { path: file.display().to_string(), reason };
    match std::fs::read_to_string(file) {
        Ok(text) => {
            let key = BASE64.decode(text.trim()).unwrap_or_default();
            if key.len() >= KEY_BYTES { Ok(key) } else { Err(fault("it is not 32 bytes of base64".to_owned())) }
        }
        Err(error) if error.kind() == ErrorKind::NotFound => make(file).map_err(|error| fault(error.to_string())),
        Err(error) => Err(fault(error.to_string())),
    }
}

/// Writes beside and renames, so that a crash leaves either no key or a whole one.
fn make(file: &Path) -> std::io::Result<Vec<u8>> {
    let mut key = [0_u8; KEY_BYTES];
    rand::fill(&mut key);
    let beside = file.with_extension("key.new");
    write_private(&beside, &BASE64.encode(key))?;
    std::fs::rename(&beside, file)?;
    Ok(key.to_vec())
}

/// Writes a file that only its owner may read, replacing an older one.
pub(super) fn write_private(file: &Path, text: &str) -> std::io::Result<()> {
    match std::fs::remove_file(file) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut written = options.open(file)?;
    written.write_all(text.as_bytes())?;
    written.write_all(b"\n")?;
    written.sync_all()
}

#[cfg(test)]
#[path = "token/tests.rs"]
mod tests;
