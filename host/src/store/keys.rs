//! A session's WhatsApp keys: Signal state, app state, device identity. Sealed.
//!
//! Records are sealed before they reach the writer and opened after they leave the database; only names and the few
//! numbers that queries need stay readable. A batch is one transaction, and every call returns once it is durable.
//! Nothing is kept in memory: hundreds of sessions share one store, and each holds an id and a handle.
//!
//! Invariant: the session is part of every key, so no call can reach another session's rows.

mod lids;
mod messages;
mod prekeys;
mod records;
mod senders;
mod tokens;

use sha2::{Digest, Sha256};

use super::pool::{Pool, Tx, on};
use super::sql::{Sql, statements};
use super::vault::{Address, joined};
use super::{Store, StoreError};
use crate::model::SessionId;

pub use lids::Lid;
pub use messages::{MessageKey, Secret};
pub use tokens::Token;

/// Longest name stored as it is, bytes. See [`stored`].
const NAME: usize = 255;

statements! {
    WIPE_KEYS = "DELETE FROM whatsapp_keys WHERE session_id = $1";
    WIPE_SENDERS = "DELETE FROM whatsapp_sender_key_devices WHERE session_id = $1";
    WIPE_LIDS = "DELETE FROM whatsapp_lids WHERE session_id = $1";
    WIPE_TOKENS = "DELETE FROM whatsapp_tokens WHERE session_id = $1";
    WIPE_MESSAGES = "DELETE FROM whatsapp_messages WHERE session_id = $1";
}

/// Calls on one session's keys. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Keys(pub(super) Store, pub(super) SessionId);

/// What a sealed record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Who we are: the linked device. One record.
    Device,
    /// A remote address' identity key.
    Identity,
    /// The Signal session with a remote address.
    Session,
    /// A one-time pre-key, by number.
    PreKey,
    /// A signed pre-key, by number.
    SignedPreKey,
    /// A group's sender key, ours or a member's.
    SenderKey,
    /// An app-state sync key.
    SyncKey,
    /// The id of the sync key stored last. One record.
    LatestSyncKey,
    /// How far an app-state collection is.
    SyncVersion,
    /// The MAC of an app-state entry, within its collection.
    MutationMac,
    /// The base key a retried message was sent under, within its address.
    BaseKey,
    /// A user's devices.
    DeviceList,
    /// A group's cached metadata.
    Group,
}

/// A record's name within the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key<'a> {
    kind: Kind,
    scope: &'a [u8],
    name: &'a [u8],
}

impl Kind {
    /// The record of this kind and name.
    pub const fn key(self, name: &[u8]) -> Key<'_> {
        Key { kind: self, scope: b"", name }
    }

    /// The record of this kind and name within a scope.
    pub const fn within<'a>(self, scope: &'a [u8], name: &'a [u8]) -> Key<'a> {
        Key { kind: self, scope, name }
    }

    /// The stored name of the kind. Never changes: rows are sealed under it.
    const fn name(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Identity => "identity",
            Self::Session => "session",
            Self::PreKey => "prekey",
            Self::SignedPreKey => "signed-prekey",
            Self::SenderKey => "sender-key",
            Self::SyncKey => "sync-key",
            Self::LatestSyncKey => "latest-sync-key",
            Self::SyncVersion => "sync-version",
            Self::MutationMac => "mutation-mac",
            Self::BaseKey => "base-key",
            Self::DeviceList => "device-list",
            Self::Group => "group",
        }
    }
}

impl Keys {
    /// Deletes every row of the session: its account is unlinked. The client must have stopped, or it may flush
    /// state of the old link behind the wipe.
    pub async fn wipe(&self) -> Result<(), StoreError> {
        let session = self.1.clone();
        self.0.write(move |tx| Box::pin(async move { forget(tx, &session).await })).await
    }

    fn readers(&self) -> &Pool {
        self.0.readers()
    }

    /// Runs a deletion of one name for every name, in one transaction.
    async fn strike(&self, statement: Sql, names: Vec<Vec<u8>>) -> Result<(), StoreError> {
        if names.is_empty() {
            return Ok(());
        }
        let session = self.1.clone();
        let work = self.0.write(move |tx| {
            Box::pin(async move {
                on!(tx, |db, q| {
                    for name in names {
                        sqlx::query(q(statement)).bind(session.as_str()).bind(name).execute(&mut *db).await?;
                    }
                });
                Ok(())
            })
        });
        work.await
    }

    /// Seals the value of the row of `table` whose key is `parts`.
    fn seal(&self, table: &'static str, parts: &[&[u8]], value: &[u8]) -> Vec<u8> {
        self.0.vault().seal(Address { table, column: "value", owner: self.1.as_str(), row: &joined(parts) }, value)
    }

    /// Opens what [`Keys::seal`] made.
    fn open(&self, table: &'static str, parts: &[&[u8]], sealed: &[u8]) -> Result<Vec<u8>, StoreError> {
        let at = Address { table, column: "value", owner: self.1.as_str(), row: &joined(parts) };
        self.0.vault().unseal(at, sealed).ok_or(StoreError::Sealed("a WhatsApp key"))
    }
}

/// Forgets every key of a session, within the transaction that forgets its link.
pub(super) async fn forget(tx: &mut Tx, session: &SessionId) -> Result<(), StoreError> {
    on!(tx, |db, q| {
        for statement in [WIPE_KEYS, WIPE_SENDERS, WIPE_LIDS, WIPE_TOKENS, WIPE_MESSAGES] {
            sqlx::query(q(statement)).bind(session.as_str()).execute(&mut *db).await?;
        }
    });
    Ok(())
}

/// A name as it is stored. Peers choose message ids, and an engine's index takes only so much: a name over [`NAME`]
/// bytes becomes its first 224 and its SHA-256, which no short name equals because it is longer.
fn stored(name: &[u8]) -> Vec<u8> {
    if name.len() <= NAME {
        return name.to_vec();
    }
    [&name[..NAME + 1 - 32], &Sha256::digest(name)].concat()
}

/// A name read back as the text it was.
fn text(name: Vec<u8>) -> Result<String, StoreError> {
    String::from_utf8(name).map_err(|error| sqlx::Error::Decode(error.into()).into())
}

/// Rows affected, as the callers count them.
fn count(rows: u64) -> u32 {
    u32::try_from(rows).unwrap_or(u32::MAX)
}

/// Every statement of this room and its parts.
#[cfg(test)]
pub(in crate::store) fn statements() -> Vec<(&'static str, Sql)> {
    [
        STATEMENTS,
        lids::STATEMENTS,
        messages::STATEMENTS,
        prekeys::STATEMENTS,
        records::STATEMENTS,
        senders::STATEMENTS,
        tokens::STATEMENTS,
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_is_stored_short_and_like_no_other() {
        let (long, other) = ([b'a'; 256], [&[b'a'; 256][..], b"b"].concat());
        assert_eq!(stored(&long[..255]), &long[..255]);
        assert_eq!(stored(&long).len(), 256);
        assert_eq!(&stored(&long)[..224], &long[..224]);
        assert_ne!(stored(&long), stored(&other));
        let stored_once = stored(&long);
        assert_ne!(stored(&stored_once), stored_once, "a name that looks like a stored one is another name");
    }
}
