//! The smallest plugins there are: message filters in WAT that always say the same.

use std::path::Path;

use anyhow::Result;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// What the filter answers; the bytes of `result<verdict, plugin-error>` from its first on.
pub(super) const PASS: &str = "";
/// Dropped with the code `spam`.
pub(super) const DROP: &str = r"\00\00\00\00\03\00\00\00\80\01\00\00\04\00\00\00";

/// What `init` answers.
pub(super) const READY: &str = "";
/// The configuration is refused with `no good`.
pub(super) const REFUSES: &str = r"\01\00\00\00\00\00\00\00\90\01\00\00\07\00\00\00";

/// A component that calls itself `small` and would like to log.
pub(super) fn component(verdict: &str, init: &str) -> Result<Vec<u8>> {
    let text = format!(
        r#"(module
            (memory (export "memory") 1)
            (global $top (mut i32) (i32.const 4096))
            (func (export "cabi_realloc") (param $old i32) (param $had i32) (param $align i32) (param $size i32)
                    (result i32) (local $at i32)
                (local.set $at (i32.and (i32.add (global.get $top) (i32.const 7)) (i32.const -8)))
                (global.set $top (i32.add (local.get $at) (local.get $size)))
                (block $fits
                    (br_if $fits (i32.le_u (global.get $top) (i32.mul (memory.size) (i32.const 65536))))
                    (drop (memory.grow (i32.add (i32.shr_u (local.get $size) (i32.const 16)) (i32.const 1)))))
                (local.get $at))
            (func (export "wagate:plugin/lifecycle@1.0.0#describe") (result i32) (i32.const 16))
            (func (export "wagate:plugin/lifecycle@1.0.0#init") (result i32) (i32.const 64))
            (func (export "wagate:plugin/message-filter@1.0.0#on-message") (param i32) (result i32) (i32.const 256))
            (data (i32.const 16) "\b0\01\00\00\05\00\00\00\c0\01\00\00\05\00\00\00\d0\01\00\00\0c\00\00\00\a0\01\00\00\01\00\00\00")
            (data (i32.const 64) "{init}")
            (data (i32.const 256) "{verdict}")
            (data (i32.const 384) "spam")
            (data (i32.const 400) "no good")
            (data (i32.const 416) "\e0\01\00\00\03\00\00\00")
            (data (i32.const 432) "small")
            (data (i32.const 448) "1.0.0")
            (data (i32.const 464) "does nothing")
            (data (i32.const 480) "log"))"#
    );
    let mut core = wat::parse_str(text)?;
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_path(Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit/v1"))?;
    let world = resolve.select_world(&[package], Some("message-plugin"))?;
    embed_component_metadata(&mut core, &resolve, world, StringEncoding::UTF8)?;
    ComponentEncoder::default().module(&core)?.validate(true).encode()
}
