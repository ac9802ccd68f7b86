//! Seals secrets at rest: XChaCha20-Poly1305 with a key id and the row's address as associated data.
//!
//! A sealed value is `version (1 byte) | key id (4) | nonce (24, random) | ciphertext and tag`. Version, key id and
//! address are authenticated, so a value that was moved to another row, or whose head was changed, does not open.
//! 24 random bytes never repeat in practice, so one key may seal any number of values
//! (<https://datatracker.ietf.org/doc/html/draft-irtf-cfrg-xchacha>).
//!
//! Invariant: the master key is nowhere in the database.

use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead, Generate, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::config::VaultConfig;

const VERSION: u8 = 1;
const KEY_ID: usize = 4;
const HEAD: usize = 1 + KEY_ID;
const NONCE: usize = 24;

/// Seals and opens values. Cheap to clone.
#[derive(Clone)]
pub struct Vault(Arc<Lock>);

struct Lock {
    cipher: XChaCha20Poly1305,
    /// The start of every value sealed here: version and key id.
    head: [u8; HEAD],
}

/// Why there is no vault.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The key is not 32 bytes of base64.
    #[error("the master key in {0} is not 32 bytes of base64")]
    Malformed(String),
    /// The key file could not be read or written.
    #[error("the master key file {path}: {reason}")]
    File {
        /// The file.
        path: String,
        /// What the system said.
        reason: String,
    },
}

/// Where a sealed value stands. A value moved elsewhere does not open.
#[derive(Clone, Copy, Debug)]
pub struct Address<'a> {
    /// The table.
    pub table: &'static str,
    /// The column.
    pub column: &'static str,
    /// The session or user it belongs to.
    pub owner: &'a str,
    /// The row.
    pub row: &'a [u8],
}

impl Vault {
    /// The vault under the configured master key; makes the key file at first start, mode 0600.
    pub fn open(config: &VaultConfig) -> Result<Self, VaultError> {
        if let Some(given) = &config.master_key {
            return Self::under(given.expose_secret(), "MASTER_KEY");
        }
        let path = &config.key_file;
        let failed =
            |error: io::Error| VaultError::File { path: path.display().to_string(), reason: error.to_string() };
        let text = match std::fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => write_new_key(path).map_err(failed)?,
            other => other.map_err(failed)?,
        };
        Self::under(&Zeroizing::new(text), &path.display().to_string())
    }

    /// Seals a value.
    pub fn seal(&self, at: Address<'_>, value: &[u8]) -> Vec<u8> {
        let nonce = XNonce::generate();
        let payload = Payload { msg: value, aad: &self.associated(at) };
        let Ok(sealed) = self.0.cipher.encrypt(&nonce, payload) else {
            unreachable!("the cipher takes any value below 256 GiB");
        };
        [&self.0.head[..], nonce.as_slice(), &sealed].concat()
    }

    /// Opens a value; `None` when it was not sealed here, by this key, at this address.
    pub fn unseal(&self, at: Address<'_>, sealed: &[u8]) -> Option<Vec<u8>> {
        let rest = sealed.strip_prefix(&self.0.head)?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE>()?;
        let payload = Payload { msg: sealed, aad: &self.associated(at) };
        self.0.cipher.decrypt(&XNonce::from(*nonce), payload).ok()
    }

    fn under(text: &str, origin: &str) -> Result<Self, VaultError> {
        let malformed = || VaultError::Malformed(origin.to_owned());
        let bytes = Zeroizing::new(STANDARD.decode(text.trim()).map_err(|_| malformed())?);
        let key = Key::try_from(bytes.as_slice()).map_err(|_| malformed())?;
        let digest = Sha256::new().chain_update(b"wagate master key id").chain_update(key).finalize();
        let mut head = [VERSION; HEAD];
        head[1..].copy_from_slice(&digest[..KEY_ID]);
        Ok(Self(Arc::new(Lock { cipher: XChaCha20Poly1305::new(&key), head })))
    }

    /// Each part with its length before it, so that no two addresses read the same.
    fn associated(&self, at: Address<'_>) -> Vec<u8> {
        let mut data = self.0.head.to_vec();
        for part in [at.table.as_bytes(), at.column.as_bytes(), at.owner.as_bytes(), at.row] {
            data.extend((part.len() as u64).to_le_bytes());
            data.extend(part);
        }
        data
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").finish_non_exhaustive()
    }
}

/// Writes a fresh key where none is, and makes sure that it stays: losing it would lose every sealed value.
fn write_new_key(path: &Path) -> io::Result<String> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let text = STANDARD.encode(Key::generate());
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    writeln!(file, "{text}")?;
    file.sync_all()?;
    File::open(directory)?.sync_all()?;
    tracing::info!(path = %path.display(), "made the master key; keep a copy apart from the database");
    Ok(text)
}

#[cfg(test)]
mod tests;
