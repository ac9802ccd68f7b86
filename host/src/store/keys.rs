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
mod senders;
mod tokens;

use std::collections::HashMap;

use sha2::{Digest, Sha256};

use super::pool::{Pool, Tx, on};
use super::sql::{Sql, statements};
use super::vault::Address;
use super::{Store, StoreError};
use crate::model::SessionId;

pub use lids::Lid;
pub use messages::{MessageKey, Secret};
pub use tokens::Token;

/// Longest name stored as it is, bytes. See [`stored`].
const NAME: usize = 255;

/// Names in one `IN (…)`; see `SOME`.
const WIDTH: usize = 32;

statements! {
    GET = "SELECT value FROM whatsapp_keys WHERE session_id = $1 AND kind = $2 AND scope = $3 AND name = $4";
    SOME = "SELECT name, value FROM whatsapp_keys WHERE session_id = $1 AND kind = $2 AND scope = $3
            AND name IN ($4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19,
                         $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35)";
    ALL = "SELECT name, value FROM whatsapp_keys WHERE session_id = $1 AND kind = $2 AND scope = $3 ORDER BY name";
    BETWEEN = "SELECT COUNT(*) FROM (SELECT 1 AS found FROM whatsapp_keys
               WHERE session_id = $1 AND kind = $2 AND scope = $3 AND name >= $4 AND name < $5 LIMIT 1) hit";
    PUT = "INSERT INTO whatsapp_keys (session_id, kind, scope, name, value, uploaded) VALUES ($1, $2, $3, $4, $5, $6)
           ON CONFLICT (session_id, kind, scope, name)
           DO UPDATE SET value = excluded.value, uploaded = excluded.uploaded",
        mysql: "INSERT INTO whatsapp_keys (session_id, kind, scope, name, value, uploaded) VALUES (?, ?, ?, ?, ?, ?)
           ON DUPLICATE KEY UPDATE value = VALUES(value), uploaded = VALUES(uploaded)";
    ADD = "INSERT INTO whatsapp_keys (session_id, kind, scope, name, value, uploaded) VALUES ($1, $2, $3, $4, $5, $6)
           ON CONFLICT (session_id, kind, scope, name) DO NOTHING",
        mysql: "INSERT INTO whatsapp_keys (session_id, kind, scope, name, value, uploaded) VALUES (?, ?, ?, ?, ?, ?)
           ON DUPLICATE KEY UPDATE name = name";
    DELETE = "DELETE FROM whatsapp_keys WHERE session_id = $1 AND kind = $2 AND scope = $3 AND name = $4";
    CLEAR = "DELETE FROM whatsapp_keys WHERE session_id = $1 AND kind = $2 AND scope = $3";
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
    /// A record's value.
    pub async fn get(&self, key: Key<'_>) -> Result<Option<Vec<u8>>, StoreError> {
        let row = Row::of(key);
        let sealed: Option<Vec<u8>> = on!(self.readers(), |db, q| {
            let query = sqlx::query_scalar(q(GET)).bind(self.1.as_str()).bind(row.kind);
            query.bind(&row.scope).bind(&row.name).fetch_optional(db).await?
        });
        sealed.map(|sealed| self.open_row(&row, &sealed)).transpose()
    }

    /// The values of many records of one kind and scope, in the order of `names`.
    pub async fn get_many(
        &self,
        kind: Kind,
        scope: &[u8],
        names: &[&[u8]],
    ) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        let rows: Vec<Row> = names.iter().map(|name| Row::of(kind.within(scope, name))).collect();
        let mut found: HashMap<Vec<u8>, Vec<u8>> = HashMap::with_capacity(rows.len());
        for some in rows.chunks(WIDTH) {
            let first = &some[0];
            let sealed: Vec<(Vec<u8>, Vec<u8>)> = on!(self.readers(), |db, q| {
                let mut query = sqlx::query_as(q(SOME)).bind(self.1.as_str()).bind(first.kind).bind(&first.scope);
                // A last chunk that is not full repeats its first name.
                for at in 0..WIDTH {
                    query = query.bind(&some.get(at).unwrap_or(first).name);
                }
                query.fetch_all(db).await?
            });
            found.extend(sealed);
        }
        rows.iter().map(|row| found.get(&row.name).map(|sealed| self.open_row(row, sealed)).transpose()).collect()
    }

    /// Every record of a kind, by name.
    pub async fn all(&self, kind: Kind) -> Result<Vec<(Vec<u8>, Vec<u8>)>, StoreError> {
        let sealed: Vec<(Vec<u8>, Vec<u8>)> = on!(self.readers(), |db, q| {
            sqlx::query_as(q(ALL)).bind(self.1.as_str()).bind(kind.name()).bind(&b""[..]).fetch_all(db).await?
        });
        let open = |(name, sealed): (Vec<u8>, Vec<u8>)| {
            let value = self.open_row(&Row::of(kind.key(&name)), &sealed)?;
            Ok((name, value))
        };
        sealed.into_iter().map(open).collect()
    }

    /// Whether a record exists; nothing is opened.
    pub async fn has(&self, key: Key<'_>) -> Result<bool, StoreError> {
        let row = Row::of(key);
        // No name lies between a name and itself with a zero behind it.
        let after = [&row.name[..], &[0]].concat();
        self.between(&row, &row.name, &after).await
    }

    /// Whether any record of a kind has a name that begins with `prefix`, which ends in a character below 0xFF.
    pub async fn begins(&self, kind: Kind, prefix: &[u8]) -> Result<bool, StoreError> {
        let Some((last, head)) = prefix.split_last() else { return Ok(!self.all(kind).await?.is_empty()) };
        let after = [head, &[last.saturating_add(1)]].concat();
        self.between(&Row::of(kind.key(b"")), prefix, &after).await
    }

    /// Stores records, new or not: all of them or none.
    pub async fn put(&self, records: &[(Key<'_>, &[u8])]) -> Result<(), StoreError> {
        let rows = records.iter().map(|(key, value)| self.seal_row(Row::of(*key), value)).collect();
        self.insert(PUT, rows).await
    }

    /// Stores a record unless there is one.
    pub async fn put_new(&self, key: Key<'_>, value: &[u8]) -> Result<(), StoreError> {
        self.insert(ADD, vec![self.seal_row(Row::of(key), value)]).await
    }

    /// Deletes records: all of them or none.
    pub async fn delete(&self, keys: &[Key<'_>]) -> Result<(), StoreError> {
        let rows: Vec<Row> = keys.iter().copied().map(Row::of).collect();
        if rows.is_empty() {
            return Ok(());
        }
        let session = self.1.clone();
        let work = self.0.write(move |tx| {
            Box::pin(async move {
                on!(tx, |db, q| {
                    for row in &rows {
                        let query = sqlx::query(q(DELETE)).bind(session.as_str()).bind(row.kind);
                        query.bind(&row.scope).bind(&row.name).execute(&mut *db).await?;
                    }
                });
                Ok(())
            })
        });
        work.await
    }

    /// Deletes every record of a kind within a scope.
    pub async fn clear(&self, kind: Kind, scope: &[u8]) -> Result<(), StoreError> {
        let (session, scope) = (self.1.clone(), stored(scope));
        let work = self.0.write(move |tx| {
            Box::pin(async move {
                on!(tx, |db, q| {
                    sqlx::query(q(CLEAR)).bind(session.as_str()).bind(kind.name()).bind(scope).execute(db).await?;
                });
                Ok(())
            })
        });
        work.await
    }

    /// Deletes every row of the session: its account is unlinked. The client must have stopped, or it may flush
    /// state of the old link behind the wipe.
    pub async fn wipe(&self) -> Result<(), StoreError> {
        let session = self.1.clone();
        self.0.write(move |tx| Box::pin(async move { forget(tx, &session).await })).await
    }

    fn readers(&self) -> &Pool {
        self.0.readers()
    }

    async fn between(&self, row: &Row, from: &[u8], to: &[u8]) -> Result<bool, StoreError> {
        let found: i64 = on!(self.readers(), |db, q| {
            let query = sqlx::query_scalar(q(BETWEEN)).bind(self.1.as_str()).bind(row.kind).bind(&row.scope);
            query.bind(from).bind(to).fetch_one(db).await?
        });
        Ok(found > 0)
    }

    /// Runs `PUT` or `ADD` for every row, in one transaction.
    async fn insert(&self, statement: Sql, rows: Vec<Row>) -> Result<(), StoreError> {
        if rows.is_empty() {
            return Ok(());
        }
        let session = self.1.clone();
        let work = self.0.write(move |tx| {
            Box::pin(async move {
                on!(tx, |db, q| {
                    for row in rows {
                        let query = sqlx::query(q(statement)).bind(session.as_str()).bind(row.kind).bind(row.scope);
                        query.bind(row.name).bind(row.value).bind(row.uploaded).execute(&mut *db).await?;
                    }
                });
                Ok(())
            })
        });
        work.await
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

    fn seal_row(&self, row: Row, value: &[u8]) -> Row {
        let value = self.seal("whatsapp_keys", &[row.kind.as_bytes(), &row.scope, &row.name], value);
        Row { value, ..row }
    }

    fn open_row(&self, row: &Row, sealed: &[u8]) -> Result<Vec<u8>, StoreError> {
        self.open("whatsapp_keys", &[row.kind.as_bytes(), &row.scope, &row.name], sealed)
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

impl StoreError {
    /// Whether the database was only too busy, so that the same call may succeed a moment later.
    ///
    /// Codes: SQLite's `BUSY` and `LOCKED` with their extensions (<https://www.sqlite.org/rescode.html>), PostgreSQL's
    /// serialization failure, deadlock and lock timeout, MySQL's deadlock (the same SQLSTATE) and lock wait timeout.
    pub fn is_busy(&self) -> bool {
        let error = match self {
            Self::Database(error) => error,
            Self::Commit(error) => error,
            _ => return false,
        };
        let Some(error) = error.as_database_error() else { return matches!(error, sqlx::Error::PoolTimedOut) };
        match error.code().as_deref() {
            Some("5" | "6" | "261" | "262" | "517" | "518" | "40001" | "40P01" | "55P03") => true,
            _ => error.message().starts_with("Lock wait timeout"),
        }
    }
}

/// A row of `whatsapp_keys` without its session.
struct Row {
    kind: &'static str,
    scope: Vec<u8>,
    name: Vec<u8>,
    /// Sealed; empty where only the row is named.
    value: Vec<u8>,
    uploaded: bool,
}

impl Row {
    fn of(key: Key<'_>) -> Self {
        Self {
            kind: key.kind.name(),
            scope: stored(key.scope),
            name: stored(key.name),
            value: Vec::new(),
            uploaded: false,
        }
    }
}

/// A name as it is stored. Peers choose message ids, and an engine's index takes only so much: a name over [`NAME`]
/// bytes becomes its first 224 and its SHA-256, which no short name equals because it is longer.
fn stored(name: &[u8]) -> Vec<u8> {
    if name.len() <= NAME {
        return name.to_vec();
    }
    [&name[..NAME + 1 - 32], &Sha256::digest(name)].concat()
}

/// The parts of a row's key, each with its length before it.
fn joined(parts: &[&[u8]]) -> Vec<u8> {
    let mut row = Vec::with_capacity(parts.iter().map(|part| part.len() + 8).sum());
    for part in parts {
        row.extend((part.len() as u64).to_le_bytes());
        row.extend(*part);
    }
    row
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
    [STATEMENTS, lids::STATEMENTS, messages::STATEMENTS, prekeys::STATEMENTS, senders::STATEMENTS, tokens::STATEMENTS]
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

    #[test]
    fn parts_of_a_row_are_told_apart() {
        assert_ne!(joined(&[b"ab", b"c"]), joined(&[b"a", b"bc"]));
    }

    #[test]
    fn tells_a_busy_database_from_a_broken_one() {
        assert!(StoreError::from(sqlx::Error::PoolTimedOut).is_busy());
        assert!(!StoreError::from(sqlx::Error::RowNotFound).is_busy());
        assert!(!StoreError::Closed.is_busy());
    }
}
