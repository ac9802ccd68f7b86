//! What is refused before anything depends on it.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::Result;
use tempfile::TempDir;
use wagate::plugin::Refusal;
use wagate_tests::component::{Failure, Verdict, Wat, component, component_of};

use super::bodies::SPIN;
use super::{Scene, fails};

const LIFECYCLE: &str = "wagate:plugin/lifecycle@1.0.0";
const FILTER: &str = "wagate:plugin/message-filter@1.0.0";

/// A component of names: interfaces without functions, and some text of its own.
fn named(imports: &[&str], exports: &[&str], text: &str) -> Result<Vec<u8>> {
    let imports = imports.iter().map(|name| format!("(import \"{name}\" (instance))"));
    let exports = exports.iter().map(|name| format!("(export \"{name}\" (instance $empty))"));
    let parts: String = imports.chain([format!("{text} (instance $empty)")]).chain(exports).collect();
    Ok(wat::parse_str(format!("(component {parts})"))?)
}

/// A filter that would do nothing, with as many pages of memory and something more in its module.
fn core(pages: u32, text: &str) -> Result<Vec<u8>> {
    let module = wat::parse_str(format!(
        "(module (memory (export \"memory\") {pages}) {text}
         (func (export \"cabi_realloc\") (param i32 i32 i32 i32) (result i32) unreachable)
         (func (export \"{LIFECYCLE}#describe\") (result i32) unreachable)
         (func (export \"{LIFECYCLE}#init\") (result i32) unreachable)
         (func (export \"{FILTER}#on-message\") (param i32) (result i32) unreachable))"
    ))?;
    component(module, "message-plugin")
}

/// A filter whose hook has the right name and another function.
fn hollow() -> Result<Vec<u8>> {
    let dir = TempDir::new()?;
    let wit = dir.path().join("hollow.wit");
    std::fs::write(
        &wit,
        "package wagate:plugin@1.0.0;
         interface lifecycle { describe: func(); init: func(); }
         interface message-filter { judge: func(); }
         world hollow { export lifecycle; export message-filter; }",
    )?;
    let module = wat::parse_str(format!(
        "(module (func (export \"{LIFECYCLE}#describe\")) (func (export \"{LIFECYCLE}#init\"))
         (func (export \"{FILTER}#judge\")))"
    ))?;
    component_of(module, &wit, "hollow")
}

/// Bytes, and the code and words of their refusal.
type Row = (&'static str, Vec<u8>, &'static str, &'static str);

fn strangers() -> Result<Vec<Row>> {
    let good = Wat::new("good").answering(&Verdict::Pass).build()?;
    let random: Vec<u8> = (0_u32..4_096).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    let damaged = [&b"\0asm\x0d\0\x01\0"[..], &random].concat();
    let huge = [&good[..], &vec![0; 32 << 20]].concat();
    let (lifecycle, filter) = (LIFECYCLE.replace("1.0", "2.0"), FILTER.replace("1.0", "2.0"));
    let (foreign, also) = (LIFECYCLE.replace("wagate", "evil"), FILTER.replace("wagate", "evil"));
    let hooks = &[LIFECYCLE, FILTER];
    let wrong = "(import \"wagate:plugin/log@1.0.0\" (instance (export \"log\" (func (param \"x\" u32)))))";
    Ok(vec![
        ("nothing", Vec::new(), "not_wasm", "this is not WebAssembly; upload the .wasm file"),
        ("noise", random, "not_wasm", "this is not WebAssembly"),
        ("text", b"#!/bin/sh\nrm -rf /".to_vec(), "not_wasm", "this is not WebAssembly"),
        ("noise-inside", damaged, "invalid_component", "the component is damaged or not valid: "),
        ("cut-off", good[..good.len() / 2].to_vec(), "invalid_component", "the component is damaged or not valid: "),
        ("cut-short", good[..good.len() - 1].to_vec(), "invalid_component", "the component is damaged or not valid: "),
        ("module", wat::parse_str("(module)")?, "core_module", "this is a core WebAssembly module, not a component"),
        ("huge", huge, "component_too_large", "the component has "),
        (
            "other-version",
            named(&[], &[&lifecycle, &filter], "")?,
            "wrong_contract",
            "the component was built for wagate:plugin@2.0.0; this gateway runs wagate:plugin@1.0.0",
        ),
        (
            "other-name",
            named(&[], &[&foreign, &also], "")?,
            "no_lifecycle",
            "the component does not export wagate:plugin",
        ),
        ("no-lifecycle", named(&[], &[FILTER], "")?, "no_lifecycle", "the component does not export wagate:plugin"),
        ("no-hook", named(&[], &[LIFECYCLE], "")?, "no_hook", "the component exports neither message-filter nor"),
        ("shell", named(&["wagate:plugin/shell@1.0.0"], hooks, "")?, "unknown_import", "the component imports wagate:"),
        (
            "wasi-http",
            named(&["wasi:http/types@0.2.0"], hooks, "")?,
            "unknown_import",
            "the component imports wasi:http",
        ),
        ("newer-kv", named(&["wagate:plugin/kv@1.9.0"], hooks, "")?, "wrong_contract", "the component was built for"),
        ("wrong-import", named(&[], hooks, wrong)?, "contract_mismatch", "the component does not fit the contract: "),
        ("empty-exports", named(&[], hooks, "")?, "contract_mismatch", "the component does not fit the contract: "),
        (
            "hollow",
            hollow()?,
            "contract_mismatch",
            "the component does not fit the contract: message-filter lacks its function",
        ),
    ])
}

fn speakers() -> Result<Vec<Row>> {
    let answering = |wat: Wat| wat.answering(&Verdict::Pass).build();
    let wide = format!("{} {}", "(core module $m)", "(core instance (instantiate $m))".repeat(500));
    Ok(vec![
        (
            "crash",
            answering(Wat::new("x").describe("unreachable"))?,
            "describe_failed",
            "the plugin does not describe itself: it crashed",
        ),
        (
            "spin",
            answering(Wat::new("x").describe(SPIN))?,
            "describe_failed",
            "the plugin does not describe itself: it used more",
        ),
        (
            "wild",
            answering(Wat::new("x").describe("(i32.const -8)"))?,
            "describe_failed",
            "the plugin does not describe itself: it",
        ),
        (
            "nameless",
            answering(Wat::new(""))?,
            "describe_failed",
            "the plugin does not describe itself: its name is 1 to 64",
        ),
        (
            "escaping",
            answering(Wat::new("../x"))?,
            "describe_failed",
            "the plugin does not describe itself: its name is",
        ),
        (
            "greedy",
            answering(Wat::new("x").wants(&["root"]))?,
            "describe_failed",
            "the plugin does not describe itself: ",
        ),
        (
            "wishful",
            answering(Wat::new("x").wants(&["kv"; 65]))?,
            "describe_failed",
            "the plugin does not describe itself: it wants",
        ),
        (
            "memory",
            core(2_000, "")?,
            "instance_too_large",
            "an instance of the component needs more than it may have: ",
        ),
        (
            "table",
            core(1, "(table 10000000 funcref)")?,
            "instance_too_large",
            "an instance of the component needs more than it may have: ",
        ),
        (
            "instances",
            named(&[], &[LIFECYCLE, FILTER], &wide)?,
            "instance_too_large",
            "an instance of the component needs more than it may have: ",
        ),
    ])
}

/// A plugin that describes itself in 10,000 characters.
fn talkative() -> Result<Vec<u8>> {
    let mut wat = Wat::new("x");
    let texts = [wat.text("x"), wat.text("1.0.0"), wat.text(&"x".repeat(10_000))];
    let info = wat.room(32);
    let words = (info..).step_by(4).zip(texts.iter().flat_map(|text| [text.at, text.len]));
    let stores: Vec<String> =
        words.map(|(at, word)| format!("(i32.store (i32.const {at}) (i32.const {word}))")).collect();
    wat.describe(&format!("{} (i32.const {info})", stores.concat())).answering(&Verdict::Pass).build()
}

pub(super) async fn refused() -> Result<()> {
    let scene = Scene::open().await?;
    for (name, bytes, code, words) in strangers()?.into_iter().chain(speakers()?) {
        let refusal = scene.stage.plugins.inspect(&bytes, None).await.expect_err(name);
        let said = refusal.to_string();
        assert!(refusal.code().starts_with(code) && said.starts_with(words), "{name}: {} {said}", refusal.code());
        assert!(!refusal.is_ours(), "{name}: {said}");
        scene.still_serves(name).await?;
    }
    let kept = scene.stage.plugins.inspect(&talkative()?, None).await?.description;
    assert!((900..=1_000).contains(&kept.len()), "{} bytes of a long description are kept", kept.len());
    scene.close().await;
    Ok(())
}

/// What `init` can do to whoever saves a binding.
pub(super) async fn not_started() -> Result<()> {
    let scene = Scene::open().await?;
    let table = [
        (
            "refuses",
            Wat::new("x").refusing(&Failure::Config("key: is missing")),
            "the plugin refuses this configuration: key",
        ),
        (
            "gives-up",
            Wat::new("x").refusing(&Failure::Fatal("no")),
            "the plugin does not start with this configuration: it",
        ),
        ("crashes", Wat::new("x").init("unreachable"), "the plugin does not start with this configuration: it crashed"),
        (
            "spins",
            Wat::new("x").init(SPIN),
            "the plugin does not start with this configuration: it used more than 50 ms",
        ),
    ];
    for (name, wat, words) in table {
        let bound = scene.install(&fails(name, wat.answering(&Verdict::Pass), "")).await?;
        let said = scene.stage.plugins.try_init(&bound).await.unwrap_err().to_string();
        assert!(said.starts_with(words), "{name}: {said}");
        scene.still_serves(name).await?;
    }
    scene.close().await;
    Ok(())
}

/// Components that are small to send and long to compile: installed or refused, but in time, while others are served.
pub(super) async fn bombs() -> Result<()> {
    let scene = Scene::open().await?;
    let mut many = String::new();
    for n in 0..5_000 {
        write!(many, "(func (param i32) (result i32) (i32.mul (local.get 0) (i32.const {n})))")?;
    }
    let huge = "(local.set 0 (i32.rotl (i32.mul (local.get 0) (local.get 0)) (local.get 1)))".repeat(20_000);
    let huge = format!("(func (param i32 i32) (result i32) {huge} (local.get 0))");
    for (name, text) in [("many-functions", many), ("huge-function", huge)] {
        let bytes = Wat::new("bomb").with(&text).answering(&Verdict::Pass).build()?;
        let started = Instant::now();
        let (seen, served) = tokio::join!(scene.stage.plugins.inspect(&bytes, None), scene.still_serves(name));
        served?;
        assert!(matches!(seen, Ok(_) | Err(Refusal::TooCostly(_))), "{name}: {seen:?}");
        assert!(started.elapsed() < Duration::from_secs(125), "{name}");
        scene.still_serves(name).await?;
    }
    scene.close().await;
    Ok(())
}
