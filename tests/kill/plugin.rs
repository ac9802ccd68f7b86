//! The plugin on the path: it labels each message, routes it to one of two endpoints, and answers it with its own words.

use anyhow::Result;
use wagate_tests::component::{MessagePatch, Verdict, Wat};

/// What it needs.
pub(crate) const GRANTS: &[&str] = &["outbox.reply"];
/// The label it sets, with its value.
pub(crate) const LABEL: (&str, &str) = ("answered", "yes");
/// What an answer begins with; the message's text follows.
pub(crate) const ANSWER: &str = "re: ";

/// Longest text it can answer.
const LONGEST: usize = 64;
/// Where the text of a message lies behind the arguments of `on-message`: its address, and behind that its length.
const TEXT: u32 = 128;

/// The component. It traps when its answer is refused, and the message goes on without label and answer.
pub(crate) fn component() -> Result<Vec<u8>> {
    let mut wat = Wat::new("answers").wants(GRANTS).capability("outbox.reply");
    let draft = wat.text(&format!("{ANSWER}{:LONGEST$}", ""));
    let answered = wat.room(16);
    let routed = MessagePatch { labels: &[LABEL], route_to: Some(&["default"]), ..MessagePatch::default() };
    let verdict = wat.verdict(&Verdict::Modify(routed));
    let (at, start, len) = (draft.at, draft.at as usize + ANSWER.len(), TEXT + 4);
    wat.on_message(&format!(
        "(local.set $a (i32.load offset={len} (local.get $args)))
         (if (i32.gt_u (local.get $a) (i32.const {LONGEST})) (then unreachable))
         (memory.copy (i32.const {start}) (i32.load offset={TEXT} (local.get $args)) (local.get $a))
         (call $outbox.reply (i32.const {at}) (i32.add (local.get $a) (i32.const {})) (i32.const {answered}))
         (if (i32.load8_u (i32.const {answered})) (then unreachable))
         (i32.const {verdict})",
        ANSWER.len(),
    ))
    .build()
}
