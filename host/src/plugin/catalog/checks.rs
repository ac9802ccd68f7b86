//! What the catalog takes: names, limits, configurations. Pure.

use serde_json::Value;

use super::CatalogError;
use crate::model::{Grants, Limits, Report};

/// Longest configuration, bytes of JSON.
const CONFIG_BYTES: usize = 65_536;

/// A plugin's name in the catalog.
pub(super) fn name(given: &str) -> Result<String, CatalogError> {
    let name = given.trim();
    let sound = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if (1..=64).contains(&name.len()) && name.bytes().all(sound) {
        Ok(name.to_owned())
    } else {
        Err(CatalogError::Name)
    }
}

/// A configuration as it is stored.
pub(super) fn config(given: &Value) -> Result<String, CatalogError> {
    if !given.is_object() {
        return Err(CatalogError::Config("config must be a JSON object, {} for none".to_owned()));
    }
    let text = given.to_string();
    if text.len() > CONFIG_BYTES {
        let message = format!("config has {} bytes, the limit is {CONFIG_BYTES}; keep large data in kv", text.len());
        return Err(CatalogError::Config(message));
    }
    Ok(text)
}

/// Limits within what the gateway allows; names the first one that is not.
pub(super) fn limits(given: Limits) -> Result<Limits, CatalogError> {
    let table = [
        ("cpu_ms", given.cpu_ms, 1..=1_000),
        ("wall_ms", given.wall_ms, 1..=30_000),
        ("memory_mib", given.memory_mib, 1..=64),
        ("http_requests", given.http_requests, 0..=16),
        ("effects", given.effects, 0..=32),
        ("log_lines", given.log_lines, 0..=1_000),
    ];
    match table.into_iter().find(|(_, value, range)| !range.contains(value)) {
        Some((name, value, range)) => {
            Err(CatalogError::Limits { name, value, lowest: *range.start(), highest: *range.end() })
        }
        None => Ok(given),
    }
}

/// The grants a plugin asks for, or cannot do its work without by its imports, and does not have.
pub fn ungranted(report: &Report, grants: &Grants) -> Vec<String> {
    let has = grants.words();
    report.wants.iter().filter(|word| !has.contains(word)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_are_short_and_plain() {
        assert_eq!(name(" keyword-router.2 ").ok().as_deref(), Some("keyword-router.2"));
        for bad in ["", " ", "a b", "é", "a/b", &"x".repeat(65)] {
            assert!(matches!(name(bad), Err(CatalogError::Name)), "{bad}");
        }
    }

    #[test]
    fn a_configuration_is_an_object_of_some_size() {
        assert_eq!(config(&json!({ "a": 1 })).ok().as_deref(), Some(r#"{"a":1}"#));
        for bad in [json!(null), json!([]), json!("{}"), json!({ "a": "x".repeat(CONFIG_BYTES) })] {
            assert!(matches!(config(&bad), Err(CatalogError::Config(_))));
        }
    }

    #[test]
    fn the_limit_that_does_not_fit_is_named() {
        assert!(limits(Limits::default()).is_ok());
        let said = limits(Limits { memory_mib: 65, ..Limits::default() }).unwrap_err().to_string();
        assert_eq!(said, "limits.memory_mib is 65; it can be 1 to 64");
        assert!(limits(Limits { cpu_ms: 0, ..Limits::default() }).is_err());
    }
}
