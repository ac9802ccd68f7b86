//! What plugins keep between calls, by key, within a quota.
//!
//! A value whose time is over counts as absent; it is deleted when the room is needed. Each plugin's row carries the number
//! and the size of its values, so that a write need not count them.
//!
//! Invariant: a write that relied on a value is made only while that value stands.

use std::collections::BTreeMap;

use sqlx::FromRow;

use super::Plugins;
use crate::model::{KeyWrite, Labels, LogLevel, LogLine, Millis, PluginId, SessionId};
use crate::store::StoreError;
use crate::store::pool::{Tx, on};
use crate::store::sql::statements;

statements! {
    GET = "SELECT v.value FROM plugin_values v JOIN plugins p ON p.id = v.plugin_id
        WHERE p.owner BETWEEN $1 AND $2 AND v.plugin_id = $3 AND v.name = $4 AND COALESCE(v.expires_at > $5, TRUE)";
    USAGE = "SELECT COUNT(*), COALESCE(SUM(OCTET_LENGTH(v.name) + OCTET_LENGTH(v.value)), 0)
        FROM plugin_values v JOIN plugins p ON p.id = v.plugin_id
        WHERE p.owner BETWEEN $1 AND $2 AND v.plugin_id = $3 AND COALESCE(v.expires_at > $4, TRUE)",
        mysql: "SELECT COUNT(*), CAST(COALESCE(SUM(OCTET_LENGTH(v.name) + OCTET_LENGTH(v.value)), 0) AS SIGNED)
        FROM plugin_values v JOIN plugins p ON p.id = v.plugin_id
        WHERE p.owner BETWEEN ? AND ? AND v.plugin_id = ? AND COALESCE(v.expires_at > ?, TRUE)";
    /// A plugin of the session's owner, and what it has under a key.
    LOOK = "SELECT p.value_count, p.value_bytes, v.value, v.expires_at FROM sessions s JOIN plugins p ON p.owner = s.owner
        LEFT JOIN plugin_values v ON v.plugin_id = p.id AND v.name = $1 WHERE s.id = $2 AND p.id = $3";
    PUT = "INSERT INTO plugin_values (plugin_id, name, value, expires_at) VALUES ($1, $2, $3, $4)
        ON CONFLICT (plugin_id, name) DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at",
        mysql: "INSERT INTO plugin_values (plugin_id, name, value, expires_at) VALUES (?, ?, ?, ?)
        ON DUPLICATE KEY UPDATE value = VALUES(value), expires_at = VALUES(expires_at)";
    TAKE = "DELETE FROM plugin_values WHERE plugin_id = $1 AND name = $2";
    SWEEP = "DELETE FROM plugin_values WHERE plugin_id = $1 AND expires_at <= $2";
    TOTAL = "SELECT COUNT(*), COALESCE(SUM(OCTET_LENGTH(name) + OCTET_LENGTH(value)), 0) FROM plugin_values
        WHERE plugin_id = $1",
        mysql: "SELECT COUNT(*), CAST(COALESCE(SUM(OCTET_LENGTH(name) + OCTET_LENGTH(value)), 0) AS SIGNED) FROM plugin_values
        WHERE plugin_id = ?";
    SET_TOTAL = "UPDATE plugins SET value_count = $1, value_bytes = $2 WHERE id = $3";
}

/// Keys a plugin may have.
pub const MOST_KEYS: u64 = 1_000;

/// Bytes a plugin's keys and values may have together.
pub const MOST_BYTES: u64 = 10 * 1024 * 1024;

impl Plugins<'_> {
    /// A value; `None` when there is none or its time is over.
    pub async fn value(&self, plugin: &PluginId, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let ((low, high), now) = (self.1.owners(), self.0.clock().now());
        let value = on!(self.0.readers(), |db, q| {
            let get = sqlx::query_scalar(q(GET)).bind(low).bind(high).bind(plugin).bind(key.as_bytes()).bind(now);
            get.fetch_optional(db).await?
        });
        Ok(value)
    }

    /// How many keys a plugin has, and the bytes of its keys and values together.
    pub async fn usage(&self, plugin: &PluginId) -> Result<(u64, u64), StoreError> {
        let ((low, high), now) = (self.1.owners(), self.0.clock().now());
        let total: (i64, i64) = on!(self.0.readers(), |db, q| {
            sqlx::query_as(q(USAGE)).bind(low).bind(high).bind(plugin).bind(now).fetch_one(db).await?
        });
        Ok((total.0.unsigned_abs(), total.1.unsigned_abs()))
    }
}

/// What stands where a write is to be made.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct Found {
    total: Total,
    /// The bytes of what the write replaces, whether or not its time is over.
    replaces: Option<u64>,
    expired: bool,
}

/// How much a plugin keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Total {
    keys: u64,
    bytes: u64,
}

impl Total {
    /// With one value in place of another.
    fn with(self, before: Option<u64>, after: Option<u64>) -> Self {
        let keys = self.keys.saturating_sub(u64::from(before.is_some())) + u64::from(after.is_some());
        let bytes = self.bytes.saturating_sub(before.unwrap_or(0)) + after.unwrap_or(0);
        Self { keys, bytes }
    }

    /// Whether this is above the quota, and more than before: a write that frees something is always made.
    fn exceeds(self, before: Self) -> bool {
        (self.keys > MOST_KEYS && self.keys > before.keys) || (self.bytes > MOST_BYTES && self.bytes > before.bytes)
    }
}

/// A plugin's totals while its writes are made.
#[derive(Clone, Copy, Debug)]
struct Account {
    /// As its row has them.
    stored: Total,
    /// As they are now.
    total: Total,
    /// Whether values whose time is over have been deleted.
    swept: bool,
}

impl Account {
    /// The total with a value in place of what was found.
    fn with(&self, found: Found, after: Option<u64>) -> Total {
        self.total.with(found.replaces.filter(|_| !(self.swept && found.expired)), after)
    }
}

/// Looks up what each write replaces; `None` when one relied on something else. A plugin that is gone has nothing.
pub(in crate::store) async fn look(
    tx: &mut Tx,
    session: &SessionId,
    writes: &[KeyWrite],
    now: Millis,
) -> Result<Option<Vec<Option<Found>>>, StoreError> {
    let mut found = Vec::with_capacity(writes.len());
    on!(tx, |db, q| {
        for write in writes {
            let look = sqlx::query_as(q(LOOK)).bind(write.key.as_bytes()).bind(session).bind(&write.plugin);
            let row: Option<LookRow> = look.fetch_optional(&mut *db).await?;
            let Some(row) = row else {
                found.push(None);
                continue;
            };
            let expired = row.expires_at.is_some_and(|at| at <= now);
            let stands = row.value.as_ref().filter(|_| !expired);
            if write.expected.as_ref().is_some_and(|expected| expected.as_ref() != stands) {
                return Ok(None);
            }
            let replaces = row.value.as_ref().map(|value| size(&write.key, value));
            let total = Total { keys: row.value_count.unsigned_abs(), bytes: row.value_bytes.unsigned_abs() };
            found.push(Some(Found { total, replaces, expired }));
        }
    });
    Ok(Some(found))
}

/// Makes the writes. Those that would exceed a plugin's quota are left out; answers a log line for each.
pub(in crate::store) async fn put(
    tx: &mut Tx,
    writes: &[KeyWrite],
    found: Vec<Option<Found>>,
    now: Millis,
) -> Result<Vec<LogLine>, StoreError> {
    let (mut accounts, mut lines) = (BTreeMap::<&PluginId, Account>::new(), Vec::new());
    for (write, found) in writes.iter().zip(found) {
        let Some(found) = found else { continue };
        let fresh = Account { stored: found.total, total: found.total, swept: false };
        let account = accounts.entry(&write.plugin).or_insert(fresh);
        let after = write.value.as_ref().map(|value| size(&write.key, value));
        if !account.swept && account.with(found, after).exceeds(account.total) {
            *account = Account { total: sweep(tx, &write.plugin, now).await?, swept: true, ..*account };
        }
        let next = account.with(found, after);
        if next.exceeds(account.total) {
            lines.push(over_quota(write, now));
            continue;
        }
        account.total = next;
        on!(&mut *tx, |db, q| {
            let query = match &write.value {
                Some(value) => {
                    let put = sqlx::query(q(PUT)).bind(&write.plugin).bind(write.key.as_bytes());
                    put.bind(value).bind(write.expires_at)
                }
                None => sqlx::query(q(TAKE)).bind(&write.plugin).bind(write.key.as_bytes()),
            };
            query.execute(db).await?;
        });
    }
    for (plugin, Account { stored, total, .. }) in accounts {
        if stored != total {
            on!(&mut *tx, |db, q| {
                let (keys, bytes) = (total.keys.cast_signed(), total.bytes.cast_signed());
                sqlx::query(q(SET_TOTAL)).bind(keys).bind(bytes).bind(plugin).execute(db).await?;
            });
        }
    }
    Ok(lines)
}

/// Deletes a plugin's values whose time is over and counts what is left.
async fn sweep(tx: &mut Tx, plugin: &PluginId, now: Millis) -> Result<Total, StoreError> {
    let (keys, bytes): (i64, i64) = on!(tx, |db, q| {
        sqlx::query(q(SWEEP)).bind(plugin).bind(now).execute(&mut *db).await?;
        sqlx::query_as(q(TOTAL)).bind(plugin).fetch_one(db).await?
    });
    Ok(Total { keys: keys.unsigned_abs(), bytes: bytes.unsigned_abs() })
}

fn size(key: &str, value: &[u8]) -> u64 {
    (key.len() + value.len()) as u64
}

fn over_quota(write: &KeyWrite, at: Millis) -> LogLine {
    LogLine {
        plugin: write.plugin.clone(),
        at,
        level: LogLevel::Error,
        message: "quota exceeded: a value was not kept".to_owned(),
        fields: Labels::from([("key".to_owned(), write.key.clone())]),
        call: String::new(),
    }
}

#[derive(FromRow)]
struct LookRow {
    value_count: i64,
    value_bytes: i64,
    value: Option<Vec<u8>>,
    expires_at: Option<Millis>,
}
