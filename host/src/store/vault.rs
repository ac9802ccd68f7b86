//! Seals secrets at rest: XChaCha20-Poly1305 with a key id and the row's address as associated data.
//!
//! A sealed value is `version (1 byte) | key id (4) | nonce (24, random) | ciphertext and tag`. Version, key id and
//! address are authenticated, so a value that was moved to another row, or whose head was changed, does not open.
//! 24 random bytes never repeat in practice, so one key may seal any number of values
//! (<https://datatracker.ietf.org/doc/html/draft-irtf-cfrg-xchacha>).
//!
//! One master key seals; older ones still open, so that a key can be changed while the gateway runs. [`source`] is where
//! they come from, [`checks`] ties a database to the keys it needs, [`sealed`] lists every sealed column, and
//! [`rotation`] seals what lies under an old key anew.
//!
//! Invariant: no master key is in the database, and none is ever printed.

pub(in crate::store) mod checks;
mod command;
mod keyring;
pub mod rotation;
pub mod sealed;
mod source;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::config::VaultConfig;

pub use keyring::KeyId;
pub(in crate::store) use keyring::Keyring;
pub use source::{Changed, VaultError, new_key};
use source::{Found, Unwritten};

/// Seals and opens values. Cheap to clone.
#[derive(Clone)]
pub struct Vault(Arc<Inner>);

struct Inner {
    config: VaultConfig,
    ring: RwLock<Arc<Keyring>>,
    /// A key that was made because none was there. It gets its file once a database takes it.
    unwritten: Mutex<Option<Unwritten>>,
}

/// Where a sealed value stands. A value moved elsewhere does not open.
#[derive(Clone, Copy, Debug)]
pub struct Address<'a> {
    /// The table.
    pub table: &'static str,
    /// The column.
    pub column: &'static str,
    /// The session or plugin it belongs to.
    pub owner: &'a str,
    /// The row.
    pub row: &'a [u8],
}

impl Vault {
    /// The vault under the configured master keys. Where none is and none was ever needed, one is made, and gets its
    /// file when [`Store::open`](super::Store::open) finds a new database.
    pub async fn open(config: &VaultConfig) -> Result<Self, VaultError> {
        let Found { ring, unwritten } = source::read(config).await?;
        let (ring, unwritten) = (RwLock::new(Arc::new(ring)), Mutex::new(unwritten));
        Ok(Self(Arc::new(Inner { config: config.clone(), ring, unwritten })))
    }

    /// Seals a value.
    pub fn seal(&self, at: Address<'_>, value: &[u8]) -> Vec<u8> {
        debug_assert!(sealed::is_listed(at.table, at.column), "{}.{} is no column of sealed.rs", at.table, at.column);
        self.ring().seal(at, value)
    }

    /// Opens a value; `None` when it was not sealed here, by one of these keys, at this address.
    pub fn unseal(&self, at: Address<'_>, sealed: &[u8]) -> Option<Vec<u8>> {
        self.ring().unseal(at, sealed)
    }

    /// The keys in use.
    pub(in crate::store) fn ring(&self) -> Arc<Keyring> {
        Arc::clone(&self.0.ring.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The keys as they are now where they come from. A key that is missing is not made.
    async fn look_again(&self) -> Result<Keyring, VaultError> {
        let Found { ring, unwritten } = source::read(&self.0.config).await?;
        match unwritten {
            Some(unwritten) => Err(unwritten.missing()),
            None => Ok(ring),
        }
    }

    /// Seals and opens with these from now on.
    fn change(&self, ring: Arc<Keyring>) {
        *self.0.ring.write().unwrap_or_else(PoisonError::into_inner) = ring;
    }

    /// Writes a key that was made into its file. Before anything is sealed under it: losing it would lose everything.
    fn keep_key(&self) -> Result<(), VaultError> {
        let mut unwritten = self.0.unwritten.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = &*unwritten {
            key.write()?;
        }
        *unwritten = None;
        Ok(())
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").finish_non_exhaustive()
    }
}

/// The parts of a row's key as one, each with its length before it.
pub(in crate::store) fn joined(parts: &[&[u8]]) -> Vec<u8> {
    let mut row = Vec::with_capacity(parts.iter().map(|part| part.len() + 8).sum());
    for part in parts {
        row.extend((part.len() as u64).to_le_bytes());
        row.extend(*part);
    }
    row
}

#[cfg(test)]
mod tests;
