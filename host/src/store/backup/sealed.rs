//! Which columns of a backup are sealed, and whether their values open.
//!
//! A value is bound to its row, so its address is made of the row's other columns, as the room that sealed it makes it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::BackupError;
use super::rows::Value;
#[cfg(test)]
use super::schema::Kind;
use super::schema::Table;
use crate::store::vault::{Address, Vault};

/// How the check values begin that tie a database to its master keys: settings, sealed and in base64.
const CHECK: &str = "vault.canary";

/// A sealed value begins with the version of its form, which is followed by the id of its key.
const KEY_ID: std::ops::Range<usize> = 1..5;

/// A sealed column and what its address is made of.
struct Rule {
    table: &'static str,
    column: &'static str,
    /// The column of the session or plugin a value belongs to.
    owner: &'static str,
    /// The columns that name the row.
    row: &'static [&'static str],
    /// Whether each of them stands with its length before it.
    joined: bool,
}

const RULES: &[Rule] = &[
    Rule { table: "endpoints", column: "secret", owner: "session_id", row: &["id"], joined: false },
    Rule { table: "plugin_bindings", column: "config", owner: "plugin_id", row: &["id"], joined: false },
    Rule { table: "whatsapp_keys", column: "value", owner: "session_id", row: &["kind", "scope", "name"], joined: true },
    Rule { table: "whatsapp_tokens", column: "value", owner: "session_id", row: &["jid"], joined: true },
    Rule {
        table: "whatsapp_messages",
        column: "value",
        owner: "session_id",
        row: &["kind", "chat", "sender", "message_id"],
        joined: true,
    },
];

/// The sealed column of a table.
pub(super) struct Sealed {
    rule: &'static Rule,
    value: usize,
    owner: usize,
    row: Vec<usize>,
}

impl Sealed {
    /// `None` where a table has none.
    pub(super) fn of(table: &Table) -> Option<Self> {
        let rule = RULES.iter().find(|rule| rule.table == table.name)?;
        let row = rule.row.iter().map(|column| table.place(column)).collect::<Option<Vec<usize>>>()?;
        Some(Self { rule, value: table.place(rule.column)?, owner: table.place(rule.owner)?, row })
    }

    /// The id of the key a row's value is sealed under; `None` where the row has no value.
    pub(super) fn key(&self, row: &[Value]) -> Option<String> {
        self.value(row).map(key_id)
    }

    /// Whether a row's value opens. One that is null or empty was never sealed.
    pub(super) fn check(&self, vault: &Vault, row: &[Value]) -> Result<(), BackupError> {
        let Some(sealed) = self.value(row) else { return Ok(()) };
        let owner = row.get(self.owner).map(|value| String::from_utf8_lossy(value.bytes())).unwrap_or_default();
        let parts: Vec<&[u8]> = self.row.iter().filter_map(|at| row.get(*at)).map(Value::bytes).collect();
        let name = if self.rule.joined { joined(&parts) } else { parts.concat() };
        let at = Address { table: self.rule.table, column: self.rule.column, owner: &owner, row: &name };
        opens(vault, at, sealed)
    }

    fn value<'a>(&self, row: &'a [Value]) -> Option<&'a [u8]> {
        row.get(self.value).map(Value::bytes).filter(|sealed| !sealed.is_empty())
    }
}

/// Whether a setting opens, when it is a check value.
pub(super) fn check_setting(vault: &Vault, table: &Table, row: &[Value]) -> Result<(), BackupError> {
    let text = |column: &str| match table.place(column).and_then(|at| row.get(at)) {
        Some(Value::Text(text)) => text.as_str(),
        _ => "",
    };
    if table.name != "settings" || !text("name").starts_with(CHECK) {
        return Ok(());
    }
    let at = Address { table: "settings", column: "value", owner: "", row: text("name").as_bytes() };
    opens(vault, at, &STANDARD.decode(text("value")).unwrap_or_default())
}

fn opens(vault: &Vault, at: Address<'_>, sealed: &[u8]) -> Result<(), BackupError> {
    match vault.unseal(at, sealed) {
        Some(_) => Ok(()),
        None => Err(BackupError::Sealed { table: at.table.to_owned(), key: key_id(sealed) }),
    }
}

fn key_id(sealed: &[u8]) -> String {
    super::dump::hex(sealed.get(KEY_ID).unwrap_or_default())
}

/// The parts of a row's key, each with its length before it.
fn joined(parts: &[&[u8]]) -> Vec<u8> {
    parts.iter().flat_map(|part| (part.len() as u64).to_le_bytes().into_iter().chain(part.iter().copied())).collect()
}

/// Columns of bytes that are not sealed: names, digests, and what was never secret.
#[cfg(test)]
const PLAIN: &[(&str, &[&str])] = &[
    ("components", &["bytes"]),
    ("deliveries", &["body_bytes"]),
    ("events", &["dedup"]),
    ("plugin_values", &["name", "value"]),
    ("sends", &["digest"]),
    ("whatsapp_keys", &["scope", "name"]),
    ("whatsapp_lids", &["lid", "phone"]),
    ("whatsapp_messages", &["chat", "sender", "message_id"]),
    ("whatsapp_sender_key_devices", &["chat", "device"]),
    ("whatsapp_tokens", &["jid"]),
];

/// Columns of bytes that are neither known as sealed nor as plain, and rules for columns that are not there.
#[cfg(test)]
pub(super) fn unknown(schema: &super::schema::Schema) -> Vec<String> {
    let plain = |table: &str, column: &str| PLAIN.iter().any(|known| known.0 == table && known.1.contains(&column));
    let mut unknown = Vec::new();
    for table in &schema.tables {
        let sealed = RULES.iter().find(|rule| rule.table == table.name);
        if sealed.is_some() && Sealed::of(table).is_none() {
            unknown.push(format!("{} lacks a column of its rule", table.name));
        }
        for column in table.columns.iter().filter(|column| column.kind == Kind::Bytes) {
            if sealed.is_none_or(|rule| rule.column != column.name) && !plain(&table.name, &column.name) {
                unknown.push(format!("{}.{}", table.name, column.name));
            }
        }
    }
    unknown
}
