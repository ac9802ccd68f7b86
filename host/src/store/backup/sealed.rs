//! Whether the sealed values of a backup open.
//!
//! A value is bound to its row, so its address is made of the row's other columns. Which columns those are says
//! [`vault::sealed`](crate::store::vault::sealed), as for a change of the master key.

use super::BackupError;
use super::rows::Value;
use super::schema::Table;
use crate::store::vault::sealed::{COLUMNS, Column};
use crate::store::vault::{Address, KeyId, Keyring, checks};

/// A sealed column of a table, and where its values and what they are bound to stand in a row.
pub(super) struct Sealed {
    column: &'static Column,
    value: usize,
    owner: usize,
    key: Vec<usize>,
}

impl Sealed {
    /// Those of a table.
    pub(super) fn of(table: &Table) -> Vec<Self> {
        let placed = |column: &'static Column| {
            let key = column.key.iter().map(|(name, _)| table.place(name)).collect::<Option<Vec<usize>>>()?;
            Some(Self { column, value: table.place(column.column)?, owner: table.place(column.owner)?, key })
        };
        COLUMNS.iter().filter(|column| column.table == table.name).filter_map(placed).collect()
    }

    /// The key a row's value is sealed under; `None` where the row has no value.
    pub(super) fn key(&self, row: &[Value]) -> Option<KeyId> {
        self.value(row).and_then(KeyId::of_sealed)
    }

    /// Whether a row's value opens. One that is null or empty was never sealed.
    pub(super) fn check(&self, ring: &Keyring, row: &[Value]) -> Result<(), BackupError> {
        let Some(sealed) = self.value(row) else { return Ok(()) };
        let owner = row.get(self.owner).map(|value| String::from_utf8_lossy(value.bytes())).unwrap_or_default();
        let key: Vec<&[u8]> = self.key.iter().filter_map(|at| row.get(*at)).map(Value::bytes).collect();
        let (table, column) = (self.column.table, self.column.column);
        opens(ring, Address { table, column, owner: &owner, row: &self.column.row(&key) }, sealed)
    }

    fn value<'a>(&self, row: &'a [Value]) -> Option<&'a [u8]> {
        row.get(self.value).map(Value::bytes).filter(|sealed| !sealed.is_empty())
    }
}

/// Whether a setting opens, when it is a check value.
pub(super) fn check_setting(ring: &Keyring, table: &Table, row: &[Value]) -> Result<(), BackupError> {
    let text = |column: &str| match table.place(column).and_then(|at| row.get(at)) {
        Some(Value::Text(text)) => text.as_str(),
        _ => "",
    };
    if table.name != "settings" {
        return Ok(());
    }
    match checks::check_value(text("name"), text("value")) {
        Some((at, sealed)) => opens(ring, at, &sealed),
        None => Ok(()),
    }
}

fn opens(ring: &Keyring, at: Address<'_>, sealed: &[u8]) -> Result<(), BackupError> {
    if ring.unseal(at, sealed).is_some() {
        return Ok(());
    }
    Err(match KeyId::of_sealed(sealed) {
        Some(needed) if !ring.ids().contains(&needed) => BackupError::KeyLost { needed, found: ring.described() },
        _ => BackupError::Unopened { table: at.table },
    })
}
