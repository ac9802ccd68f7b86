//! Looking at a component's bytes: what it is, what it imports and exports. Nothing of it is run or compiled.
//!
//! Pure.

use wasmparser::{Encoding, Parser, Payload};

use super::api::{CAPABILITIES, KNOWN, NEWEST, PACKAGE, WASI};
use super::refusal::Refusal;
use crate::model::{Hook, Reuse};

/// Bytes from which a component is an interpreter with a script in it: compiled languages make 8 to 70 KB,
/// interpreters 1 MB and more (figures in `plugins/README.md`).
const INTERPRETER: usize = 512 << 10;

/// Imports and exports that are looked at; what plugins are made of has a few dozen.
const NAMES: usize = 1_000;
const LONGEST_NAME: usize = 256;

/// What a component is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Looks {
    pub(super) hooks: Vec<Hook>,
    pub(super) contract: String,
    pub(super) imports: Vec<String>,
    pub(super) exports: Vec<String>,
    pub(super) reuse: Reuse,
}

/// Reads the outermost layer of a component.
pub(super) fn look(bytes: &[u8], limit: usize) -> Result<Looks, Refusal> {
    if bytes.len() > limit {
        return Err(Refusal::TooLarge { size: bytes.len(), limit });
    }
    if !bytes.starts_with(b"\0asm") {
        return Err(Refusal::NotWasm);
    }
    let (imports, exports) = names(bytes)?;
    for import in &imports {
        admit(import)?;
    }
    let mut contract = None;
    let mut offers = |interface: &str| {
        let found = exports.iter().find_map(|name| split(name).filter(|part| part.0 == PACKAGE && part.1 == interface));
        contract = contract.or(found.map(|(_, _, version)| version));
        found.is_some()
    };
    let lifecycle = offers("lifecycle");
    let hooks = [Hook::MessageFilter, Hook::WebhookTransform].into_iter().filter(|hook| offers(hook.name())).collect();
    for (_, _, version) in exports.iter().filter_map(|name| split(name)).filter(|(package, ..)| *package == PACKAGE) {
        is_known(version)?;
    }
    match (lifecycle, &hooks) {
        (false, _) => Err(Refusal::NoLifecycle),
        (true, hooks) if Vec::is_empty(hooks) => Err(Refusal::NoHook),
        _ => {
            let contract = contract.unwrap_or(NEWEST).to_owned();
            let reuse = if bytes.len() >= INTERPRETER { Reuse::Warm } else { Reuse::Fresh };
            Ok(Looks { hooks, contract, imports, exports, reuse })
        }
    }
}

/// The names of what the outermost component imports and exports.
fn names(bytes: &[u8]) -> Result<(Vec<String>, Vec<String>), Refusal> {
    let invalid = |error: wasmparser::BinaryReaderError| Refusal::Invalid(error.message().to_owned());
    let (mut imports, mut exports, mut depth) = (Vec::new(), Vec::new(), 0_usize);
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(invalid)? {
            Payload::Version { encoding: Encoding::Module, .. } if depth == 0 => return Err(Refusal::CoreModule),
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    push(&mut imports, import.map_err(invalid)?.name.name)?;
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    push(&mut exports, export.map_err(invalid)?.name.name)?;
                }
            }
            _ => {}
        }
    }
    Ok((imports, exports))
}

fn push(names: &mut Vec<String>, name: &str) -> Result<(), Refusal> {
    if names.len() >= NAMES || name.len() > LONGEST_NAME {
        let why = format!("it has more than {NAMES} imports or exports, or a name of more than {LONGEST_NAME} bytes");
        return Err(Refusal::Invalid(why));
    }
    names.push(name.to_owned());
    Ok(())
}

/// Whether the gateway offers an import.
fn admit(import: &str) -> Result<(), Refusal> {
    let unknown = || Refusal::UnknownImport(import.to_owned());
    let (package, interface, version) = split(import).ok_or_else(unknown)?;
    if package == PACKAGE {
        is_known(version)?;
        return if CAPABILITIES.contains(&interface) { Ok(()) } else { Err(unknown()) };
    }
    let wasi = package.strip_prefix("wasi:").is_some_and(|package| WASI.contains(&package));
    if wasi && version.starts_with("0.2.") { Ok(()) } else { Err(unknown()) }
}

/// `package:name/interface@version` taken apart.
fn split(name: &str) -> Option<(&str, &str, &str)> {
    let (path, version) = name.rsplit_once('@')?;
    let (package, interface) = path.rsplit_once('/')?;
    Some((package, interface, version))
}

/// Whether a version of the contract is offered: the same major version, no newer than ours.
fn is_known(version: &str) -> Result<(), Refusal> {
    let parts = |version: &str| {
        let mut numbers = version.splitn(3, '.').map(str::parse::<u32>);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?))
    };
    let (ours, theirs) = (parts(NEWEST), parts(version));
    let known = matches!((ours, theirs), (Some((a, b, _)), Some((c, d, _))) if a == c && d <= b);
    if known { Ok(()) } else { Err(Refusal::Contract { found: format!("{PACKAGE}@{version}"), known: KNOWN }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFECYCLE: &str = "wagate:plugin/lifecycle@1.0.0";
    const FILTER: &str = "wagate:plugin/message-filter@1.0.0";
    const TRANSFORM: &str = "wagate:plugin/webhook-transform@1.0.0";

    /// A component of nothing but names: interfaces without functions.
    fn component(imports: &[&str], exports: &[&str]) -> Vec<u8> {
        let imports = imports.iter().map(|name| format!("(import \"{name}\" (instance))"));
        let exports = exports.iter().map(|name| format!("(export \"{name}\" (instance $empty))"));
        let parts: String = imports.chain(["(instance $empty)".to_owned()]).chain(exports).collect();
        wat::parse_str(format!("(component {parts})")).unwrap()
    }

    fn refusal(imports: &[&str], exports: &[&str]) -> Refusal {
        look(&component(imports, exports), 1 << 20).unwrap_err()
    }

    #[test]
    fn tells_what_a_component_is_made_of() {
        let imports = ["wagate:plugin/kv@1.0.0", "wasi:cli/stderr@0.2.3"];
        let looks = look(&component(&imports, &[LIFECYCLE, TRANSFORM]), 1 << 20).unwrap();
        assert_eq!(looks.hooks, [Hook::WebhookTransform]);
        assert_eq!((looks.contract.as_str(), looks.reuse), ("1.0.0", Reuse::Fresh));
        assert_eq!((looks.imports, looks.exports.len()), (imports.map(str::to_owned).to_vec(), 2));
    }

    #[test]
    fn names_inside_do_not_count() {
        let nested = r#"(component (component (import "evil:inner/x@1.0.0" (instance)))
            (core module (import "a" "b" (func))))"#;
        assert_eq!(look(&wat::parse_str(nested).unwrap(), 1 << 20), Err(Refusal::NoLifecycle));
    }

    #[test]
    fn a_large_one_is_an_interpreter() {
        let padding = format!("(@custom \"x\" \"{}\")", "x".repeat(INTERPRETER));
        let text = format!(
            "(component {padding} (instance $i) (export \"{LIFECYCLE}\" (instance $i)) (export \"{FILTER}\" (instance $i)))"
        );
        let looks = look(&wat::parse_str(text).unwrap(), 1 << 20).unwrap();
        assert_eq!((looks.reuse, looks.hooks), (Reuse::Warm, vec![Hook::MessageFilter]));
    }

    #[test]
    fn says_what_is_wrong_with_what_is_no_plugin() {
        let look = |bytes: &[u8]| look(bytes, 1 << 20).unwrap_err();
        for nothing in [&b""[..], b"#!/bin/sh", b"\0as", b"\x7fELF"] {
            assert_eq!(look(nothing), Refusal::NotWasm);
        }
        assert_eq!(look(&wat::parse_str("(module)").unwrap()), Refusal::CoreModule);
        assert!(matches!(look(b"\0asm\x0d\0\x01\0\xff\xff\xff"), Refusal::Invalid(_)));
        assert!(matches!(look(b"\0asm"), Refusal::Invalid(_)));
        assert_eq!(look(&vec![0; (1 << 20) + 1]), Refusal::TooLarge { size: (1 << 20) + 1, limit: 1 << 20 });
        assert_eq!(refusal(&[], &[FILTER]), Refusal::NoLifecycle);
        assert_eq!(refusal(&[], &[LIFECYCLE]), Refusal::NoHook);
    }

    #[test]
    fn refuses_floods_of_names() {
        let many: Vec<_> = (0..=NAMES).map(|n| format!("wagate:plugin/x{n}@1.0.0")).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        assert!(matches!(refusal(&[], &many), Refusal::Invalid(_)));
        assert!(matches!(refusal(&[&format!("a:b/{}@1.0.0", "c".repeat(300))], &[]), Refusal::Invalid(_)));
    }

    #[test]
    fn refuses_other_versions_of_the_contract() {
        let found = |version: &str| {
            let (lifecycle, filter) = (LIFECYCLE.replace("1.0.0", version), FILTER.replace("1.0.0", version));
            look(&component(&[], &[&lifecycle, &filter]), 1 << 20)
        };
        assert!(found("1.0.9").is_ok(), "a patch adds nothing");
        for other in ["0.9.0", "1.1.0", "2.0.0"] {
            assert_eq!(found(other), Err(Refusal::Contract { found: format!("wagate:plugin@{other}"), known: KNOWN }));
        }
        let import = refusal(&["wagate:plugin/kv@2.0.0"], &[LIFECYCLE, FILTER]);
        assert_eq!(import, Refusal::Contract { found: "wagate:plugin@2.0.0".to_owned(), known: KNOWN });
    }

    #[test]
    fn refuses_imports_the_gateway_does_not_offer() {
        for unknown in [
            "wagate:plugin/shell@1.0.0",
            "wasi:http/outgoing-handler@0.2.0",
            "wasi:cli/stdout@0.3.0",
            "a:b/c@1.0.0",
            "run",
        ] {
            assert_eq!(refusal(&[unknown], &[LIFECYCLE, FILTER]), Refusal::UnknownImport(unknown.to_owned()));
        }
    }
}
