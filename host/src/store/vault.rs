//! Seals secrets at rest: XChaCha20-Poly1305 with a key id and the row's address as associated data.

use crate::config::VaultConfig;

/// Seals and opens values. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Vault;

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
    pub fn open(_config: &VaultConfig) -> Result<Self, VaultError> {
        unimplemented!()
    }
    /// Seals a value.
    pub fn seal(&self, _at: Address<'_>, _value: &[u8]) -> Vec<u8> {
        unimplemented!()
    }
    /// Opens a value; `None` when it was not sealed here, by this key, at this address.
    pub fn unseal(&self, _at: Address<'_>, _sealed: &[u8]) -> Option<Vec<u8>> {
        unimplemented!()
    }
}
