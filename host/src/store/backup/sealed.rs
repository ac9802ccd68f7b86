//! Whether the sealed values of a backup open.
//!
//! Which columns are sealed is said in one place, the vault's [`COLUMNS`]; here they are found among the columns of a row.
//! The check values among the settings are base64 in a text and are looked at, too.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::BackupError;
use super::rows::Value;
use super::schema::Table;
use crate::store::vault::sealed::{COLUMNS, Column};
use crate::store::vault::{Address, KeyId, Keyring, checks};

/// The sealed column of a table, and where it stands in a row.
pub(super) struct Sealed {
    column: &'static Column,
    value: usize,
    owner: usize,
    key: Vec<usize>,
}

impl Sealed {
    /// `None` where a table has none.
    pub(super) fn of(table: &Table) -> Option<Self> {
        let column = COLUMNS.iter().find(|column| column.table == table.name)?;
        let key = column.key.iter().map(|(name, _)| table.place(name)).collect::<Option<Vec<usize>>>()?;
        Some(Self { column, value: table.place(column.column)?, owner: table.place(column.owner)?, key })
    }

    /// The key a row's value says it is sealed under; `None` where the row has no value, or one that is not sealed.
    pub(super) fn key(&self, row: &[Value]) -> Option<KeyId> {
        KeyId::of_sealed(self.value(row)?)
    }

    /// Refuses a row whose value does not open. One that is null or empty was never sealed.
    pub(super) fn check(&self, ring: &Keyring, row: &[Value]) -> Result<(), BackupError> {
        let Some(sealed) = self.value(row) else { return Ok(()) };
        let owner = row.get(self.owner).map(|value| String::from_utf8_lossy(value.bytes())).unwrap_or_default();
        let key: Vec<&[u8]> = self.key.iter().filter_map(|at| row.get(*at)).map(Value::bytes).collect();
        if self.column.opens(ring, &owner, &key, sealed) {
            return Ok(());
        }
        Err(shut(ring, self.column.table, sealed))
    }

    fn value<'a>(&self, row: &'a [Value]) -> Option<&'a [u8]> {
        row.get(self.value).map(Value::bytes).filter(|sealed| !sealed.is_empty())
    }
}

/// Refuses a setting that is a check value and does not open.
pub(super) fn check_setting(ring: &Keyring, table: &Table, row: &[Value]) -> Result<(), BackupError> {
    let text = |column: &str| match table.place(column).and_then(|at| row.get(at)) {
        Some(Value::Text(text)) => text.as_str(),
        _ => "",
    };
    if table.name != "settings" || !text("name").starts_with(checks::FIRST) {
        return Ok(());
    }
    let at = Address { table: "settings", column: "value", owner: "", row: text("name").as_bytes() };
    let sealed = STANDARD.decode(text("value")).unwrap_or_default();
    if ring.unseal(at, &sealed).is_some() { Ok(()) } else { Err(shut(ring, "settings", &sealed)) }
}

/// Why a value does not open: its key is not there, or it is not what was sealed.
fn shut(ring: &Keyring, table: &'static str, sealed: &[u8]) -> BackupError {
    match KeyId::of_sealed(sealed) {
        Some(needed) if !ring.ids().contains(&needed) => {
            BackupError::KeyLost { table, needed, found: ring.described() }
        }
        _ => BackupError::Unreadable(table),
    }
}
