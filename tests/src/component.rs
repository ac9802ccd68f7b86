//! Plugins for tests, written in WebAssembly text: no toolchain, a few kilobytes, and free to misbehave.
//!
//! The core module is made here, the component half comes from `wit/v1`. A hook is either an answer, which is laid out
//! in the module's memory as the canonical ABI wants it, or a body of the test's own: it gets the address of its
//! arguments in `$args` and leaves the address of its answer (`result<verdict, plugin-error>`) on the stack.
//!
//! ```ignore
//! let mut wat = Wat::new("counter").wants(&["kv"]);
//! let key = wat.text("n");
//! let pass = wat.verdict(&Verdict::Pass);
//! let bytes = wat.kv_increment().on_message(&format!("{} (i32.const {pass})", key.args())).build()?;
//! ```

mod answer;

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

pub use answer::{Body, DeliveryPatch, Failure, Memory, MessagePatch, Outcome, Text, Verdict};

/// The contract, as the gateway has it.
const WIT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../wit/v1");
/// A page of linear memory.
const PAGE: usize = 64 << 10;

/// A plugin under construction.
#[derive(Clone, Debug)]
pub struct Wat {
    memory: Memory,
    info: [Text; 3],
    wants: (u32, u32),
    imports: String,
    functions: String,
    init: String,
    describe: Option<String>,
    on_message: Option<String>,
    transform: Option<String>,
    largest: Option<u32>,
}

impl Wat {
    /// A plugin of this name that has no hook yet.
    pub fn new(name: &str) -> Self {
        let mut memory = Memory::default();
        let info = [memory.text(name), memory.text("1.0.0"), memory.text("A plugin for tests")];
        let init = format!("(i32.const {})", memory.done());
        Self {
            memory,
            info,
            wants: (0, 0),
            imports: String::new(),
            functions: String::new(),
            init,
            describe: None,
            on_message: None,
            transform: None,
            largest: None,
        }
    }

    /// The grants it would like.
    #[must_use]
    pub fn wants(mut self, words: &[&str]) -> Self {
        self.wants = self.memory.texts(words);
        self
    }

    /// A text in its memory.
    pub fn text(&mut self, text: &str) -> Text {
        self.memory.text(text)
    }

    /// Room in its memory, at an address that 8 divides.
    pub fn room(&mut self, bytes: usize) -> u32 {
        self.memory.block(&vec![0; bytes], 8)
    }

    /// The address of an answer of `on-message`.
    pub fn verdict(&mut self, verdict: &Verdict<'_>) -> u32 {
        self.memory.verdict(verdict)
    }

    /// The address of an answer of `transform`.
    pub fn outcome(&mut self, outcome: &Outcome<'_>) -> u32 {
        self.memory.outcome(outcome)
    }

    /// Imports a function as `$interface.function`, with this core signature.
    #[must_use]
    pub fn import(mut self, interface: &str, function: &str, signature: &str) -> Self {
        let module = format!("wagate:plugin/{interface}@1.0.0");
        let _infallible =
            writeln!(self.imports, "(import \"{module}\" \"{function}\" (func ${interface}.{function} {signature}))");
        self
    }

    /// A capability by its name: `log`, `config.get`, `kv.get`, `kv.set`, `kv.increment`, `outbox.reply`, `outbox.send`,
    /// `outbox.emit-event`, `http.send`.
    #[must_use]
    pub fn capability(self, name: &str) -> Self {
        match name {
            "log" => self.import("log", "log", "(param i32 i32 i32 i32 i32)"),
            "config.get" => self.import("config", "get", "(param i32 i32 i32)"),
            "kv.get" => self.import("kv", "get", "(param i32 i32 i32)"),
            "kv.set" => self.import("kv", "set", "(param i32 i32 i32 i32 i32 i64 i32)"),
            "kv.increment" => self.import("kv", "increment", "(param i32 i32 i64 i32 i64 i32)"),
            "outbox.reply" => self.import("outbox", "reply", "(param i32 i32 i32)"),
            "outbox.send" => self.import("outbox", "send", "(param i32 i32 i32 i32 i32)"),
            "outbox.emit-event" => self.import("outbox", "emit-event", "(param i32 i32 i32 i32 i32)"),
            "http.send" => self.import("http", "send", "(param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)"),
            other => panic!("no capability {other}"),
        }
    }

    /// Functions and globals of its own.
    #[must_use]
    pub fn with(mut self, text: &str) -> Self {
        self.functions.push_str(text);
        self
    }

    /// The body of `init`.
    #[must_use]
    pub fn init(mut self, body: &str) -> Self {
        body.clone_into(&mut self.init);
        self
    }

    /// An `init` that fails.
    #[must_use]
    pub fn refusing(mut self, failure: &Failure<'_>) -> Self {
        let refusal = self.memory.failure(failure);
        self.init(&format!("(i32.const {refusal})"))
    }

    /// The body of `describe`, in place of a description.
    #[must_use]
    pub fn describe(mut self, body: &str) -> Self {
        self.describe = Some(body.to_owned());
        self
    }

    /// The body of `on-message`.
    #[must_use]
    pub fn on_message(mut self, body: &str) -> Self {
        self.on_message = Some(body.to_owned());
        self
    }

    /// An `on-message` that always answers this.
    #[must_use]
    pub fn answering(mut self, verdict: &Verdict<'_>) -> Self {
        let answer = self.verdict(verdict);
        self.on_message(&format!("(i32.const {answer})"))
    }

    /// The body of `transform`.
    #[must_use]
    pub fn transform(mut self, body: &str) -> Self {
        self.transform = Some(body.to_owned());
        self
    }

    /// A `transform` that always answers this.
    #[must_use]
    pub fn shaping(mut self, outcome: &Outcome<'_>) -> Self {
        let answer = self.outcome(outcome);
        self.transform(&format!("(i32.const {answer})"))
    }

    /// Pages its memory may grow to; else as many as 32 bits can name.
    #[must_use]
    pub fn largest(mut self, pages: u32) -> Self {
        self.largest = Some(pages);
        self
    }

    /// The component.
    pub fn build(self) -> Result<Vec<u8>> {
        let world = match (&self.on_message, &self.transform) {
            (Some(_), None) => "message-plugin",
            (None, Some(_)) => "webhook-plugin",
            _ => "full-plugin",
        };
        let core = wat::parse_str(self.core())?;
        component(core, world)
    }

    /// The core module as text.
    fn core(mut self) -> String {
        let description = match self.describe.take() {
            Some(body) => body,
            None => format!("(i32.const {})", self.memory.info(&self.info, self.wants)),
        };
        let hook = |name: &str, body: Option<String>| match body {
            Some(body) => format!(
                "(func (export \"wagate:plugin/{name}\") (param $args i32) (result i32) (local $a i32) (local $b i32)\n{body})\n"
            ),
            None => String::new(),
        };
        let filter = hook("message-filter@1.0.0#on-message", self.on_message.take());
        let transform = hook("webhook-transform@1.0.0#transform", self.transform.take());
        let data = self.memory.end();
        let pages = data.div_ceil(PAGE) + 1;
        let largest = self.largest.map(|pages| pages.to_string()).unwrap_or_default();
        let Self { imports, functions, init, memory, .. } = self;
        format!(
            "(module\n{imports}\
            (memory (export \"memory\") {pages} {largest})\n\
            (global $heap (mut i32) (i32.const {data}))\n\
            {allocator}{functions}\
            (func (export \"wagate:plugin/lifecycle@1.0.0#describe\") (result i32) {description})\n\
            (func (export \"wagate:plugin/lifecycle@1.0.0#init\") (result i32) {init})\n\
            {filter}{transform}\
            (data (i32.const {base}) \"{bytes}\"))",
            allocator = ALLOCATOR,
            base = Memory::BASE,
            bytes = memory.escaped(),
        )
    }
}

/// Hands out memory and never takes it back, growing it as needed: an instance of a test does not live long.
const ALLOCATOR: &str = r#"
(func $allocate (export "cabi_realloc") (param $old i32) (param $size i32) (param $align i32) (param $new i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and
        (i32.add (global.get $heap) (i32.sub (local.get $align) (i32.const 1)))
        (i32.sub (i32.const 0) (local.get $align))))
    (global.set $heap (i32.add (local.get $at) (local.get $new)))
    (block $fits
        (br_if $fits (i32.le_u (global.get $heap) (i32.mul (memory.size) (i32.const 65536))))
        (br_if $fits (i32.ne (i32.const -1) (memory.grow (i32.add (i32.const 1) (i32.shr_u
            (i32.sub (global.get $heap) (i32.mul (memory.size) (i32.const 65536))) (i32.const 16))))))
        unreachable)
    (if (local.get $size) (then (memory.copy (local.get $at) (local.get $old) (local.get $size))))
    (local.get $at))
"#;

/// Makes a component of a core module whose exports are those of a world of the contract.
pub fn component(core: Vec<u8>, world: &str) -> Result<Vec<u8>> {
    component_of(core, Path::new(WIT), world)
}

/// The same with a contract of the test's own, a folder or a file.
pub fn component_of(mut core: Vec<u8>, wit: &Path, world: &str) -> Result<Vec<u8>> {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_path(wit).map_err(|error| anyhow!("{error:#}"))?;
    let world = resolve.select_world(&[package], Some(world)).map_err(|error| anyhow!("{error:#}"))?;
    embed_component_metadata(&mut core, &resolve, world, StringEncoding::UTF8).map_err(|error| anyhow!("{error:#}"))?;
    let encoder = ComponentEncoder::default().validate(true).module(&core).map_err(|error| anyhow!("{error:#}"));
    encoder?.encode().map_err(|error| anyhow!("{error:#}")).context("the core module does not fit its world")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_of_every_world_is_a_component() {
        let table = [
            Wat::new("filter").answering(&Verdict::Pass),
            Wat::new("shaper").shaping(&Outcome::Pass),
            Wat::new("both").answering(&Verdict::Accept).shaping(&Outcome::Cancel("no")),
        ];
        for wat in table {
            let bytes = wat.wants(&["kv", "log"]).build().unwrap();
            assert!(bytes.starts_with(b"\0asm\x0d\0\x01\0") && bytes.len() < 16 << 10);
        }
    }

    #[test]
    fn imports_fit_the_contract() {
        for name in [
            "log",
            "config.get",
            "kv.get",
            "kv.set",
            "kv.increment",
            "outbox.reply",
            "outbox.send",
            "outbox.emit-event",
            "http.send",
        ] {
            Wat::new("x")
                .capability(name)
                .answering(&Verdict::Pass)
                .build()
                .unwrap_or_else(|why| panic!("{name}: {why:#}"));
        }
    }
}
