//! Values between the domain and a column: JSON, text of others, counts, names of a closed list.
//!
//! Invariant: a column that cannot be read is an error of its row, never a value made up instead.

use std::borrow::Cow;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::StoreError;

/// A value as its JSON column.
pub(in crate::store) fn json<T: Serialize + ?Sized>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| sqlx::Error::Encode(error.into()).into())
}

/// The value of a JSON column.
pub(in crate::store) fn parsed<T: DeserializeOwned>(column: &str) -> Result<T, StoreError> {
    serde_json::from_str(column).map_err(|error| sqlx::Error::Decode(error.into()).into())
}

/// Text that others chose, as a text column takes it on every engine: PostgreSQL refuses one that holds a NUL, so that
/// stands as U+FFFD, the character for what cannot be shown. What must come back byte for byte lies in a column of bytes.
pub(in crate::store) fn text(foreign: &str) -> Cow<'_, str> {
    if foreign.contains('\0') { Cow::Owned(foreign.replace('\0', "\u{FFFD}")) } else { Cow::Borrowed(foreign) }
}

/// A count; what does not fit stands at the end.
pub(in crate::store) fn count(stored: i64) -> u32 {
    u32::try_from(stored).unwrap_or(u32::MAX)
}

/// A column holds a name this wagate does not know.
pub(in crate::store) fn unknown(what: &str, name: &str) -> StoreError {
    sqlx::Error::Decode(format!("unknown {what} {name}").into()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nul_stands_as_a_character_every_engine_takes() {
        assert!(matches!(text("grüße 👋"), Cow::Borrowed("grüße 👋")));
        assert_eq!(text("a\0b\0"), "a\u{FFFD}b\u{FFFD}");
    }
}
