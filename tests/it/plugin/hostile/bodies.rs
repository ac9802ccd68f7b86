//! Code that does not end, or not well.

use wagate::model::Limits;
use wagate_tests::component::Wat;

use super::{Case, fails};

/// A loop without an end.
pub(super) const SPIN: &str = "(loop $again (br $again)) unreachable";
const GROW: &str = "(loop $again (br_if $again (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable";
const DEEP: &str = "(func $deep (param i32) (result i32) (i32.add (call $deep (local.get 0)) (i32.const 1)))";

pub(super) fn cases() -> Vec<Case> {
    let short = Limits { cpu_ms: 20, memory_mib: 4, ..Limits::default() };
    let with = |name: &str, body: &str| Wat::new(name).on_message(body);
    vec![
        fails("panic", with("panic", "unreachable"), "it crashed: it panicked or aborted"),
        fails("spin", with("spin", SPIN), "it used more than 20 ms of processor time (limit cpu_ms)").within(short),
        fails("memory-bomb", with("x", GROW), "it wanted more than 4 MiB of memory (limit memory_mib)").within(short),
        fails("deep", with("x", "(call $deep (i32.const 1))").with(DEEP), "it crashed: its recursion is too deep"),
        fails("divide", with("x", "(i32.div_u (i32.const 1) (local.get $a))"), "it crashed: "),
        fails("wild-load", with("x", "(i32.load (i32.const -16))"), "it crashed: "),
        fails(
            "wild-call",
            with("x", "(call_indirect (result i32) (i32.const 7))").with("(table 1 funcref)"),
            "it crashed: ",
        ),
        fails("wild-answer", with("x", "(i32.const -8)"), "it crashed: "),
        fails("crooked-answer", with("x", "(i32.const 1027)"), "it crashed: "),
        fails("init-panic", Wat::new("x").init("unreachable").on_message("unreachable"), "it crashed: it panicked"),
        fails("init-spin", Wat::new("x").init(SPIN).on_message("unreachable"), "it used more than 20 ms").within(short),
    ]
}
