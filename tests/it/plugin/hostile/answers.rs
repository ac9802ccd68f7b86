//! Answers that are no answers, and patches nobody should ask for.

use std::time::Duration;

use anyhow::Result;
use wagate::model::FailurePolicy;
use wagate::plugin::Filtered;
use wagate_tests::component::{MessagePatch, Verdict, Wat};

use super::{Case, Scene, fails, tells};

/// A verdict in memory with some of its words overwritten, each at its offset.
fn bent(verdict: &Verdict<'_>, words: &[(u32, u32)]) -> Wat {
    let mut wat = Wat::new("bent");
    let answer = wat.verdict(verdict);
    let stores: Vec<String> = words
        .iter()
        .map(|(offset, word)| format!("(i32.store (i32.const {}) (i32.const {word}))\n", answer + offset))
        .collect();
    wat.on_message(&format!("{}(i32.const {answer})", stores.concat()))
}

fn patched(patch: MessagePatch<'_>) -> Wat {
    Wat::new("patched").answering(&Verdict::Modify(patch))
}

/// A text of 50 MB that is really there.
fn bulk() -> Wat {
    let mut wat = Wat::new("bulk");
    let answer = wat.verdict(&Verdict::Drop("bulk", Some("")));
    wat.on_message(&format!(
        "(i32.store (i32.const {}) (call $allocate (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 50000000)))
         (i32.store (i32.const {}) (i32.const 50000000)) (i32.const {answer})",
        answer + 20,
        answer + 24,
    ))
}

/// A code that begins with a byte no text begins with.
fn garbled() -> Wat {
    let mut wat = Wat::new("garbled");
    let answer = wat.verdict(&Verdict::Drop("garbled", None));
    let code = answer + 8;
    wat.on_message(&format!("(i32.store8 (i32.load (i32.const {code})) (i32.const 255)) (i32.const {answer})"))
}

pub(super) fn cases() -> Vec<Case> {
    let (drop, modify) = (Verdict::Drop("x", Some("x")), Verdict::Modify(MessagePatch::default()));
    let (long, name) = ("x".repeat(70_000), "n".repeat(10 << 10));
    let names: Vec<String> = (0..10_000).map(|n| format!("label-{n}")).collect();
    let labels: Vec<_> = names.iter().take(1_000).map(|name| (name.as_str(), "1")).collect();
    let routes: Vec<_> = names.iter().map(String::as_str).collect();
    let text = MessagePatch { text: Some(&long), ..MessagePatch::default() };
    let chat = MessagePatch { chat: Some("nobody at all"), ..MessagePatch::default() };
    let many = MessagePatch { labels: &labels, ..MessagePatch::default() };
    let named = [(name.as_str(), "1")];
    let named = MessagePatch { labels: &named, ..MessagePatch::default() };
    let routed = MessagePatch { route_to: Some(&routes), ..MessagePatch::default() };
    let mut cases = vec![
        fails("bulk", bulk(), "it handed over more than 2 MiB in one piece"),
        fails("garbled-text", garbled(), "it crashed: "),
        fails("wild-text", bent(&drop, &[(8, u32::MAX - 15)]), "it crashed: "),
        fails("endless-text", bent(&drop, &[(12, u32::MAX)]), "it "),
        fails("endless-list", bent(&modify, &[(36, u32::MAX)]), "it "),
        fails("wild-list", bent(&modify, &[(32, u32::MAX - 15), (36, 4)]), "it crashed: "),
        fails("no-such-verdict", bent(&drop, &[(4, 9)]), "it crashed: "),
        fails("no-such-result", bent(&drop, &[(0, 7)]), "it crashed: "),
        fails("no-such-option", bent(&drop, &[(16, 5)]), "it crashed: "),
        fails("long-text", patched(text), "its answer is not valid: text: it has more than 65536 characters"),
        fails("bad-chat", patched(chat), "its answer is not valid: chat: "),
        fails("many-labels", patched(many), "its answer is not valid: set-labels: more than 32"),
        fails("long-label", patched(named), "its answer is not valid: set-labels: a name has 1 to 64 bytes"),
        fails("many-routes", patched(routed), "its answer is not valid: route-to: more than 64 endpoints"),
    ];
    for (name, code) in [("shouted", "SPAM!"), ("newline", "a\nb"), ("umlaut", "späm"), ("nameless", "")] {
        let wat = Wat::new("drop").answering(&Verdict::Drop(code, None));
        cases.push(fails(name, wat, "its answer is not valid: drop: its code is 1 to 64 of a-z 0-9 . _ -"));
    }
    let chatty = Wat::new("chatty").answering(&Verdict::Drop("spam", Some(&long)));
    cases.push(tells("chatty-drop", chatty, &[], "spam: xxx"));
    cases
}

/// A deferral for seven weeks lasts an hour, and has done nothing.
pub(super) async fn deferral() -> Result<()> {
    let scene = Scene::open().await?;
    let case = fails("patient", Wat::new("patient").answering(&Verdict::Defer(u32::MAX)), "");
    let bound = scene.install(&case).await?;
    let (filtered, left) = scene.filter(scene.chain(&bound, FailurePolicy::Open).await?).await;
    let hour = Duration::from_hours(1);
    assert!(matches!(&filtered, Filtered::Defer { after, .. } if *after == hour), "{filtered:?}");
    assert_eq!(super::asked(&left.effects), 0);
    scene.still_serves("a deferral").await?;
    scene.close().await;
    Ok(())
}
