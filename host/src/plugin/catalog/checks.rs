//! What the catalog takes: names, limits, configurations. Pure.

use serde_json::Value;

use super::CatalogError;
use crate::model::{Grants, Limits, Report};
use crate::plugin::Refusal;
use crate::plugin::api::PACKAGE;

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

/// Refuses a component that imports capabilities without a grant for them.
pub(super) fn imports(report: &Report, grants: &Grants) -> Result<(), Refusal> {
    let lacking = |import: &String| {
        let (package, interface) = import.split('@').next()?.split_once('/')?;
        let (granted, grant) = match interface {
            "log" => (grants.log, "log"),
            "kv" => (grants.kv, "kv"),
            "http" => (!grants.http.is_empty(), "http:HOST"),
            "outbox" => (grants.reply || grants.send || grants.emit, "outbox.reply, outbox.send or outbox.emit"),
            _ => return None,
        };
        (package == PACKAGE && !granted).then(|| format!("{import}, which needs the grant {grant}"))
    };
    let lacking: Vec<_> = report.imports.iter().filter_map(lacking).collect();
    if lacking.is_empty() { Ok(()) } else { Err(Refusal::Ungranted(lacking.join("; and "))) }
}

/// The grants a plugin asks for and does not have.
pub fn ungranted(report: &Report, grants: &Grants) -> Vec<String> {
    let has = grants.words();
    // Both as they are written when they are read: hosts in lower case.
    let given =
        |word: &String| Grants::parse(&[word]).is_ok_and(|one| one.words().iter().all(|word| has.contains(word)));
    report.wants.iter().filter(|word| !given(word)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::Reuse;

    fn report(wants: &[&str], imports: &[&str]) -> Report {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Report {
            name: "x".to_owned(),
            version: "1.0.0".to_owned(),
            description: String::new(),
            wants: texts(wants),
            hooks: Vec::new(),
            contract: "1.0.0".to_owned(),
            imports: texts(imports),
            exports: Vec::new(),
            size: 1,
            sha256: String::new(),
            reuse: Reuse::Fresh,
            compile_ms: 0,
        }
    }

    #[test]
    fn an_import_needs_a_grant() {
        let table: [(&[&str], &str, bool); 8] = [
            (&["wagate:plugin/kv@1.0.0"], "log", false),
            (&["wagate:plugin/kv@1.0.0"], "kv", true),
            (&["wagate:plugin/log@1.0.0"], "kv", false),
            (&["wagate:plugin/http@1.0.0"], "kv", false),
            (&["wagate:plugin/http@1.0.0"], "http:a.example", true),
            (&["wagate:plugin/outbox@1.0.0"], "outgoing", false),
            (&["wagate:plugin/outbox@1.0.0"], "outbox.emit", true),
            (&["wagate:plugin/types@1.0.0", "wagate:plugin/config@1.0.0", "wasi:io/streams@0.2.3"], "kv", true),
        ];
        for (given, grant, admitted) in table {
            let seen = imports(&report(&[], given), &Grants::parse(&[grant]).unwrap());
            assert_eq!(seen.is_ok(), admitted, "{given:?} {grant}");
        }
        let said = imports(&report(&[], &["wagate:plugin/kv@1.0.0"]), &Grants::default()).unwrap_err().to_string();
        assert!(said.contains("wagate:plugin/kv@1.0.0, which needs the grant kv"), "{said}");
    }

    #[test]
    fn hosts_are_the_same_in_any_case() {
        let grants = Grants::parse(&["http:api.example.org"]).unwrap();
        let lacks = ungranted(&report(&["http:API.example.org", "http:other.example", "log"], &[]), &grants);
        assert_eq!(lacks, ["http:other.example", "log"]);
    }

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
