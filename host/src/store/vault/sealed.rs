//! Every sealed column of the database, and how its rows are read and sealed anew.
//!
//! The address of a value is made of its table, its column, its owner and the rest of its key, as the room that seals it
//! makes it. A room that seals something new adds a line to [`COLUMNS`] and its statements above it; a test that seals
//! something in every room finds what is missing here. The check values among the settings are not of them: they are
//! base64 in a text, and `checks` looks after them.
//!
//! Rows are walked owner by owner, each owner's in the order of the key, so that a page begins where the last one ended.
//!
//! Invariant: a value is replaced only while it still is what was read.

use std::borrow::Cow;

use sqlx::Row as _;

use super::keyring::HEAD;
use super::{Address, KeyId, Keyring, joined};
use crate::store::pool::{Pool, Tx, on};
use crate::store::sql::{Sql, statements};
use crate::store::{Store, StoreError};

/// Rows of a page.
pub(super) const PAGE: usize = 100;

/// The next owner of sealed values.
macro_rules! owner {
    ($table:literal, $owner:literal) => {
        concat!("SELECT MIN(", $owner, ") FROM ", $table, " WHERE ", $owner, " > $1")
    };
}

/// An owner's values that are not sealed as `$2` begins, with their keys, from a key on. `LIMIT` is [`PAGE`].
macro_rules! page {
    ($table:literal, $column:literal, $owner:literal, $key:literal, $from:literal) => {
        concat!(
            "SELECT ",
            $key,
            ", ",
            $column,
            " FROM ",
            $table,
            " WHERE ",
            $owner,
            " = $1 AND SUBSTR(",
            $column,
            ", 1, 5) <> $2 AND LENGTH(",
            $column,
            ") > 0 AND (",
            $key,
            ") >= (",
            $from,
            ") ORDER BY ",
            $key,
            " LIMIT 100"
        )
    };
}

/// Replaces a value that still is what was read.
macro_rules! swap {
    ($table:literal, $column:literal, $owner:literal, $key:literal) => {
        concat!("UPDATE ", $table, " SET ", $column, " = $1 WHERE ", $column, " = $2 AND ", $owner, " = $3 AND ", $key)
    };
}

/// How values begin, and how many begin so. Reads every row.
macro_rules! heads {
    ($table:literal, $column:literal) => {
        concat!(
            "SELECT SUBSTR(",
            $column,
            ", 1, 5), COUNT(*) FROM ",
            $table,
            " WHERE LENGTH(",
            $column,
            ") > 0 GROUP BY 1"
        )
    };
}

statements! {
    ENDPOINTS_OWNER = owner!("endpoints", "seal");
    SECRETS_PAGE = page!("endpoints", "secret", "seal", "id", "$3");
    SECRETS_SWAP = swap!("endpoints", "secret", "seal", "id = $4");
    SECRETS_HEADS = heads!("endpoints", "secret");
    HEADERS_PAGE = page!("endpoints", "headers", "seal", "id", "$3");
    HEADERS_SWAP = swap!("endpoints", "headers", "seal", "id = $4");
    HEADERS_HEADS = heads!("endpoints", "headers");
    BINDINGS_OWNER = owner!("plugin_bindings", "plugin_id");
    BINDINGS_PAGE = page!("plugin_bindings", "config", "plugin_id", "id", "$3");
    BINDINGS_SWAP = swap!("plugin_bindings", "config", "plugin_id", "id = $4");
    BINDINGS_HEADS = heads!("plugin_bindings", "config");
    KEYS_OWNER = owner!("whatsapp_keys", "session_id");
    KEYS_PAGE = page!("whatsapp_keys", "value", "session_id", "kind, scope, name", "$3, $4, $5");
    KEYS_SWAP = swap!("whatsapp_keys", "value", "session_id", "kind = $4 AND scope = $5 AND name = $6");
    KEYS_HEADS = heads!("whatsapp_keys", "value");
    TOKENS_OWNER = owner!("whatsapp_tokens", "session_id");
    TOKENS_PAGE = page!("whatsapp_tokens", "value", "session_id", "jid", "$3");
    TOKENS_SWAP = swap!("whatsapp_tokens", "value", "session_id", "jid = $4");
    TOKENS_HEADS = heads!("whatsapp_tokens", "value");
    MESSAGES_OWNER = owner!("whatsapp_messages", "session_id");
    MESSAGES_PAGE = page!("whatsapp_messages", "value", "session_id", "kind, chat, sender, message_id", "$3, $4, $5, $6");
    MESSAGES_SWAP = swap!("whatsapp_messages", "value", "session_id",
        "kind = $4 AND chat = $5 AND sender = $6 AND message_id = $7");
    MESSAGES_HEADS = heads!("whatsapp_messages", "value");
}

/// A column whose values are sealed.
#[derive(Debug)]
pub struct Column {
    /// The table.
    pub table: &'static str,
    /// The column.
    pub column: &'static str,
    /// The column that says to which session or plugin a value belongs.
    pub owner: &'static str,
    /// The columns that tell an owner's values apart, in the order in which they make the row of an address.
    pub key: &'static [(&'static str, Form)],
    /// Whether they are joined there, each with its length before it. A single one may stand as it is.
    joined: bool,
    next_owner: Sql,
    page: Sql,
    swap: Sql,
    heads: Sql,
}

/// What a column of a key holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Text.
    Text,
    /// Bytes.
    Bytes,
}

/// Every sealed column.
pub static COLUMNS: [Column; 6] = [
    Column {
        table: "endpoints",
        column: "secret",
        owner: "seal",
        key: &[("id", Form::Text)],
        joined: false,
        next_owner: ENDPOINTS_OWNER,
        page: SECRETS_PAGE,
        swap: SECRETS_SWAP,
        heads: SECRETS_HEADS,
    },
    Column {
        table: "endpoints",
        column: "headers",
        owner: "seal",
        key: &[("id", Form::Text)],
        joined: false,
        next_owner: ENDPOINTS_OWNER,
        page: HEADERS_PAGE,
        swap: HEADERS_SWAP,
        heads: HEADERS_HEADS,
    },
    Column {
        table: "plugin_bindings",
        column: "config",
        owner: "plugin_id",
        key: &[("id", Form::Text)],
        joined: false,
        next_owner: BINDINGS_OWNER,
        page: BINDINGS_PAGE,
        swap: BINDINGS_SWAP,
        heads: BINDINGS_HEADS,
    },
    Column {
        table: "whatsapp_keys",
        column: "value",
        owner: "session_id",
        key: &[("kind", Form::Text), ("scope", Form::Bytes), ("name", Form::Bytes)],
        joined: true,
        next_owner: KEYS_OWNER,
        page: KEYS_PAGE,
        swap: KEYS_SWAP,
        heads: KEYS_HEADS,
    },
    Column {
        table: "whatsapp_tokens",
        column: "value",
        owner: "session_id",
        key: &[("jid", Form::Bytes)],
        joined: true,
        next_owner: TOKENS_OWNER,
        page: TOKENS_PAGE,
        swap: TOKENS_SWAP,
        heads: TOKENS_HEADS,
    },
    Column {
        table: "whatsapp_messages",
        column: "value",
        owner: "session_id",
        key: &[("kind", Form::Text), ("chat", Form::Bytes), ("sender", Form::Bytes), ("message_id", Form::Bytes)],
        joined: true,
        next_owner: MESSAGES_OWNER,
        page: MESSAGES_PAGE,
        swap: MESSAGES_SWAP,
        heads: MESSAGES_HEADS,
    },
];

/// Whether a column is one of them.
pub(super) fn is_listed(table: &str, column: &str) -> bool {
    COLUMNS.iter().any(|known| known.table == table && known.column == column)
}

/// A part of a row's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Text(String),
    Bytes(Vec<u8>),
}

impl Part {
    /// What no other of this form goes before.
    fn least(form: Form) -> Self {
        match form {
            Form::Text => Self::Text(String::new()),
            Form::Bytes => Self::Bytes(Vec::new()),
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Bytes(bytes) => bytes,
        }
    }
}

/// Gives a statement the parts of a key.
macro_rules! bind_key {
    ($query:ident, $key:expr) => {
        for part in $key {
            $query = match part {
                Part::Text(text) => $query.bind(text),
                Part::Bytes(bytes) => $query.bind(bytes),
            };
        }
    };
}

/// A value as it was read, with its key.
pub(super) struct Found {
    pub(super) key: Vec<Part>,
    sealed: Vec<u8>,
}

/// A value to be replaced, and by what.
#[derive(Clone)]
pub(super) struct Swap {
    key: Vec<Part>,
    from: Vec<u8>,
    to: Vec<u8>,
}

impl Column {
    /// The first owner after this one.
    pub(super) async fn next_owner(&self, readers: &Pool, after: &str) -> Result<Option<String>, StoreError> {
        Ok(on!(readers, |db, q| { sqlx::query_scalar(q(self.next_owner)).bind(after).fetch_one(db).await? }))
    }

    /// An owner's next values that are not sealed under `current`, and whether more may follow. `from` is the last key of
    /// the page before.
    pub(super) async fn page(
        &self,
        readers: &Pool,
        owner: &str,
        current: KeyId,
        from: Option<&[Part]>,
    ) -> Result<(Vec<Found>, bool), StoreError> {
        let least: Vec<Part> = self.key.iter().map(|(_, form)| Part::least(*form)).collect();
        let mut page = on!(readers, |db, q| {
            let mut query = sqlx::query(q(self.page)).bind(owner).bind(current.head().to_vec());
            bind_key!(query, from.unwrap_or(&least));
            let rows = query.fetch_all(db).await?;
            let mut page = Vec::with_capacity(rows.len());
            for row in &rows {
                let mut key = Vec::with_capacity(self.key.len());
                for (at, (_, form)) in self.key.iter().enumerate() {
                    key.push(match form {
                        Form::Text => Part::Text(row.try_get(at)?),
                        Form::Bytes => Part::Bytes(row.try_get(at)?),
                    });
                }
                page.push(Found { key, sealed: row.try_get(self.key.len())? });
            }
            page
        });
        let more = page.len() == PAGE;
        page.retain(|found| from != Some(found.key.as_slice()));
        Ok((page, more))
    }

    /// How to seal a value anew; `None` when it does not open.
    pub(super) fn reseal(&self, ring: &Keyring, owner: &str, found: Found) -> Option<Swap> {
        let Found { key, sealed: from } = found;
        let parts: Vec<&[u8]> = key.iter().map(Part::bytes).collect();
        let row = self.row(&parts)?;
        let to = ring.reseal(Address { table: self.table, column: self.column, owner, row: &row }, &from)?;
        Some(Swap { key, from, to })
    }

    /// Whether a value opens that was read elsewhere. `key` holds the values of [`Column::key`], in that order.
    pub(in crate::store) fn opens(&self, ring: &Keyring, owner: &str, key: &[&[u8]], sealed: &[u8]) -> bool {
        let Some(row) = self.row(key) else { return false };
        ring.unseal(Address { table: self.table, column: self.column, owner, row: &row }, sealed).is_some()
    }

    /// The row of an address, made of the parts of a key.
    fn row<'k>(&self, parts: &[&'k [u8]]) -> Option<Cow<'k, [u8]>> {
        if self.joined { Some(Cow::Owned(joined(parts))) } else { parts.first().map(|part| Cow::Borrowed(*part)) }
    }

    /// Replaces a value; whether it still was what was read.
    pub(super) async fn swap(&self, tx: &mut Tx, owner: &str, swap: &Swap) -> Result<bool, StoreError> {
        let done = on!(tx, |db, q| {
            let mut query = sqlx::query(q(self.swap)).bind(&swap.to).bind(&swap.from).bind(owner);
            bind_key!(query, &swap.key);
            query.execute(db).await?.rows_affected()
        });
        Ok(done == 1)
    }

    /// How many values are sealed under each key; `None` stands for what does not look sealed at all. Reads every row.
    pub(super) async fn count(&self, store: &Store) -> Result<Vec<(Option<KeyId>, u64)>, StoreError> {
        let heads: Vec<(Vec<u8>, i64)> =
            on!(store.readers(), |db, q| { sqlx::query_as(q(self.heads)).fetch_all(db).await? });
        let key = |head: &[u8]| if head.len() == HEAD { KeyId::of_sealed(head) } else { None };
        let mut counts: Vec<_> = heads.into_iter().map(|(head, values)| (key(&head), values.unsigned_abs())).collect();
        counts.sort_unstable();
        Ok(counts)
    }
}

#[cfg(test)]
mod tests;
