//! The master keys: one that seals, and older ones that only open.
//!
//! Invariant: whatever is sealed here opens here, and says in its head under which key it stands.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead, Generate, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::Address;
use super::source::VaultError;

const VERSION: u8 = 1;
const KEY_ID: usize = 4;
/// Version and key id.
pub(in crate::store) const HEAD: usize = 1 + KEY_ID;
pub(super) const NONCE: usize = 24;

/// A master key's name: four bytes of a digest of it. It tells nothing of the key, and may be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyId([u8; KEY_ID]);

impl KeyId {
    /// The key that this value, or the first bytes of one, says it is sealed under.
    pub(in crate::store) fn of_sealed(value: &[u8]) -> Option<Self> {
        let (&version, rest) = value.split_first()?;
        let (id, _) = rest.split_first_chunk()?;
        (version == VERSION).then_some(Self(*id))
    }

    /// How every value begins that is sealed under this key.
    pub(in crate::store) fn head(self) -> [u8; HEAD] {
        let Self([a, b, c, d]) = self;
        [VERSION, a, b, c, d]
    }
}

/// Eight hexadecimal digits.
impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", u32::from_be_bytes(self.0))
    }
}

/// A key, and where it was found.
pub(super) struct MasterKey {
    id: KeyId,
    cipher: XChaCha20Poly1305,
    origin: String,
}

impl MasterKey {
    /// A fresh key as text.
    pub(super) fn generate() -> Zeroizing<String> {
        Zeroizing::new(STANDARD.encode(Key::generate()))
    }

    /// The key that is written like this.
    pub(super) fn read(text: &str, origin: String) -> Result<Self, VaultError> {
        let Some(key) = bytes(text) else { return Err(VaultError::Malformed(origin)) };
        let digest: [u8; 32] = Sha256::new().chain_update(b"wagate master key id").chain_update(key).finalize().into();
        let [a, b, c, d, ..] = digest;
        Ok(Self { id: KeyId([a, b, c, d]), cipher: XChaCha20Poly1305::new(&key), origin })
    }

    /// Its name.
    pub(super) fn id(&self) -> KeyId {
        self.id
    }

    fn seal(&self, at: Address<'_>, value: &[u8]) -> Vec<u8> {
        let nonce = XNonce::generate();
        let payload = Payload { msg: value, aad: &self.associated(at) };
        let Ok(sealed) = self.cipher.encrypt(&nonce, payload) else {
            unreachable!("the cipher takes any value below 256 GiB");
        };
        [&self.id.head()[..], nonce.as_slice(), &sealed].concat()
    }

    fn unseal(&self, at: Address<'_>, sealed: &[u8]) -> Option<Vec<u8>> {
        let rest = sealed.strip_prefix(&self.id.head())?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE>()?;
        let payload = Payload { msg: sealed, aad: &self.associated(at) };
        self.cipher.decrypt(&XNonce::from(*nonce), payload).ok()
    }

    /// Each part with its length before it, so that no two addresses read the same.
    fn associated(&self, at: Address<'_>) -> Vec<u8> {
        let mut data = self.id.head().to_vec();
        for part in [at.table.as_bytes(), at.column.as_bytes(), at.owner.as_bytes(), at.row] {
            data.extend((part.len() as u64).to_le_bytes());
            data.extend(part);
        }
        data
    }
}

/// The keys in use.
pub(in crate::store) struct Keyring {
    current: MasterKey,
    old: Vec<MasterKey>,
}

impl Keyring {
    pub(super) fn new(current: MasterKey, old: Vec<MasterKey>) -> Self {
        Self { current, old }
    }

    /// The key that seals.
    pub(in crate::store) fn current(&self) -> KeyId {
        self.current.id
    }

    /// Every key that opens, the one that seals first.
    pub(in crate::store) fn ids(&self) -> Vec<KeyId> {
        let mut ids = vec![self.current.id];
        for old in self.old.iter().map(MasterKey::id) {
            if !ids.contains(&old) {
                ids.push(old);
            }
        }
        ids
    }

    /// The keys and where each was found, for a reader.
    pub(in crate::store) fn described(&self) -> String {
        let named = |key: &MasterKey| format!("{} from {}", key.id, key.origin);
        self.keys().map(named).collect::<Vec<_>>().join(", ")
    }

    /// Seals a value under the current key.
    pub(in crate::store) fn seal(&self, at: Address<'_>, value: &[u8]) -> Vec<u8> {
        self.current.seal(at, value)
    }

    /// Opens a value; `None` when none of the keys sealed it at this address.
    pub(in crate::store) fn unseal(&self, at: Address<'_>, sealed: &[u8]) -> Option<Vec<u8>> {
        self.keys().find_map(|key| key.unseal(at, sealed))
    }

    /// The same value sealed under the current key; `None` when it does not open.
    pub(in crate::store) fn reseal(&self, at: Address<'_>, sealed: &[u8]) -> Option<Vec<u8>> {
        let value = Zeroizing::new(self.unseal(at, sealed)?);
        Some(self.seal(at, &value))
    }

    fn keys(&self) -> impl Iterator<Item = &MasterKey> {
        std::iter::once(&self.current).chain(&self.old)
    }
}

/// Whether this could be a key.
pub(super) fn is_key(text: &str) -> bool {
    bytes(text).is_some()
}

fn bytes(text: &str) -> Option<Key> {
    let bytes = Zeroizing::new(STANDARD.decode(text.trim()).ok()?);
    Key::try_from(bytes.as_slice()).ok()
}
