//! What a passage does with the answers of well-behaved plugins, and with those of others.

use std::time::Duration;

use anyhow::{Context as _, Result};
use wagate::model::{Event, FailurePolicy, Happening, KeyWrite, Labels, Limits, LogLevel, Scope, Shape};
use wagate::plugin::{Filtered, OutgoingVerdict, Refusal, Shaped};
use wagate::store::events::Routing;
use wagate_tests::component::{Body, DeliveryPatch, Failure, MessagePatch, Outcome, Verdict, Wat};

use super::{Stage, Terms};

const ON: Filtered = Filtered::Forward { route_to: None };
/// A loop without an end.
const SPIN: &str = "(loop $again (br $again)) unreachable";

fn shape(shaped: Shaped) -> Shape {
    let Shaped::Send(shape) = shaped else { panic!("{shaped:?}") };
    shape
}

/// A plugin that counts under `n` and labels the message with the count, one digit.
fn counter() -> Wat {
    let mut wat = Wat::new("counter").capability("kv.increment").wants(&["kv"]);
    let (key, answer) = (wat.text("n"), wat.room(16));
    let patch = MessagePatch { labels: &[("count", "0")], ..MessagePatch::default() };
    let verdict = wat.verdict(&Verdict::Modify(patch));
    // The digit lies behind label list → first pair → value.
    let digit = format!("(i32.load (i32.add (i32.load (i32.const {})) (i32.const 8)))", verdict + 32);
    wat.on_message(&format!(
        "(call $kv.increment {} (i64.const 1) (i32.const 0) (i64.const 0) (i32.const {answer}))
         (i32.store8 {digit} (i32.add (i32.wrap_i64 (i64.load (i32.const {}))) (i32.const 48)))
         (i32.const {verdict})",
        key.args(),
        answer + 8,
    ))
}

fn kv() -> Terms {
    Terms { grants: vec!["kv"], ..Terms::default() }
}

#[tokio::test]
async fn a_chain_without_plugins_forwards_the_event_as_it_is() -> Result<()> {
    let stage = Stage::open().await?;
    let event = stage.message("Hello!").await?;
    let mut passage = stage.plugins.passage(&event, 1).await?;
    assert_eq!(passage.filter().await, ON);
    let shape = shape(passage.shape(&stage.endpoint().await?).await);
    assert_eq!(shape.body, event.document(&Labels::new()));
    assert_eq!(shape.content_type, "application/json");
    assert!(passage.finish().steps.is_empty());
    stage.close().await;
    Ok(())
}

#[tokio::test]
async fn each_plugin_sees_what_the_one_before_changed() -> Result<()> {
    let stage = Stage::open().await?;
    let first = MessagePatch { text: Some("Changed"), labels: &[("a", "1"), ("b", "1")], ..MessagePatch::default() };
    let routes = ["billing"];
    let second = MessagePatch { unlabel: &["a"], labels: &[("b", "2")], route_to: Some(&routes), ..first };
    let second = MessagePatch { text: None, ..second };
    stage.install_wat("pass", Wat::new("pass").answering(&Verdict::Pass), Terms::default()).await?;
    stage.install_wat("first", Wat::new("first").answering(&Verdict::Modify(first)), Terms::default()).await?;
    stage.install_wat("second", Wat::new("second").answering(&Verdict::Modify(second)), Terms::default()).await?;
    stage.install_wat("last", Wat::new("last").answering(&Verdict::Accept), Terms::default()).await?;
    stage.install_wat("never", Wat::new("never").answering(&Verdict::Drop("never", None)), Terms::default()).await?;
    let event = stage.message("Hello!").await?;
    let mut passage = stage.plugins.passage(&event, 1).await?;
    assert_eq!(passage.filter().await, Filtered::Forward { route_to: Some(vec!["billing".to_owned()]) });
    assert_eq!(passage.message().unwrap().text.as_deref(), Some("Changed"));
    let body = shape(passage.shape(&stage.endpoint().await?).await).body;
    let body: serde_json::Value = serde_json::from_slice(&body)?;
    assert_eq!((&body["message"]["text"], &body["message"]["labels"]["b"]), (&"Changed".into(), &"2".into()));
    let left = passage.finish();
    let verdicts: Vec<_> = left.steps.iter().map(|step| step.verdict.as_str()).collect();
    assert_eq!(verdicts, ["pass", "modify", "modify", "accept"]);
    assert_eq!(left.labels, Labels::from([("b".to_owned(), "2".to_owned())]));
    assert_eq!(left.steps[1].patch.as_ref().unwrap()["text"], "Changed");
    stage.close().await;
    Ok(())
}

#[tokio::test]
async fn a_drop_says_why_and_a_deferral_when() -> Result<()> {
    for verdict in [Verdict::Drop("spam", Some("three links")), Verdict::Defer(5_000)] {
        let stage = Stage::open().await?;
        let plugin = stage.install_wat("judge", Wat::new("judge").answering(&verdict), Terms::default()).await?;
        let mut passage = stage.plugins.passage(&stage.message("Hello!").await?, 1).await?;
        let expected = match verdict {
            Verdict::Defer(_) => Filtered::Defer { plugin, after: Duration::from_secs(5) },
            _ => Filtered::Drop { code: "spam".to_owned(), detail: Some("three links".to_owned()) },
        };
        assert_eq!(passage.filter().await, expected);
        stage.close().await;
    }
    Ok(())
}

#[tokio::test]
async fn values_are_seen_by_later_calls_and_by_later_passages() -> Result<()> {
    let stage = Stage::open().await?;
    let plugin = stage.install_wat("counter", counter(), kv()).await?;
    stage.bind(&plugin, kv()).await?;
    let event = stage.message("one").await?;
    let mut passage = stage.plugins.passage(&event, 1).await?;
    assert_eq!(passage.filter().await, ON);
    let left = passage.finish();
    assert_eq!(left.labels["count"], "2", "the second call saw what the first wrote");
    let written = KeyWrite {
        plugin: plugin.clone(),
        key: "n".to_owned(),
        value: Some(b"2".to_vec()),
        expires_at: None,
        expected: Some(None),
    };
    assert_eq!(left.effects.writes, [written]);
    let routing = Routing { effects: left.effects, ..Routing::default() };
    stage.store.events(Scope::gateway()).route(&event.id, routing).await?;
    let mut passage = stage.plugins.passage(&stage.message("two").await?, 1).await?;
    passage.filter().await;
    assert_eq!(passage.finish().labels["count"], "4");
    stage.close().await;
    Ok(())
}

#[tokio::test]
async fn what_is_not_granted_is_denied() -> Result<()> {
    let stage = Stage::open().await?;
    stage.install_wat("counter", counter(), Terms::default()).await?;
    let mut passage = stage.plugins.passage(&stage.message("one").await?, 1).await?;
    passage.filter().await;
    let left = passage.finish();
    assert!(left.effects.writes.is_empty(), "{left:?}");
    stage.close().await;
    Ok(())
}

/// A plugin that replies, raises an event, logs, and then answers this.
fn talker(verdict: &Verdict<'_>) -> Wat {
    let wat = Wat::new("talker").capability("outbox.reply").capability("outbox.emit-event").capability("log");
    let mut wat = wat.wants(&["log", "outbox.reply", "outbox.emit"]);
    let (text, kind, payload) = (wat.text("pong"), wat.text("ping"), wat.text("{\"n\":1}"));
    let (room, verdict) = (wat.room(32), wat.verdict(verdict));
    wat.on_message(&format!(
        "(call $outbox.reply {} (i32.const {room}))
         (call $outbox.emit-event {} {} (i32.const {room}))
         (call $log.log (i32.const 2) {} (i32.const 0) (i32.const 0))
         (i32.const {verdict})",
        text.args(),
        kind.args(),
        payload.args(),
        text.args(),
    ))
}

fn talking() -> Terms {
    Terms { grants: vec!["log", "outbox.reply", "outbox.emit"], ..Terms::default() }
}

#[tokio::test]
async fn effects_follow_the_verdict() -> Result<()> {
    let stage = Stage::open().await?;
    let plugin = stage.install_wat("talker", talker(&Verdict::Pass), talking()).await?;
    let mut passage = stage.plugins.passage(&stage.message("ping").await?, 1).await?;
    assert_eq!(passage.filter().await, ON);
    let left = passage.finish();
    assert_eq!((left.effects.sends.len(), left.effects.events.len(), left.logs.len()), (1, 1, 1));
    let send = &left.effects.sends[0];
    assert_eq!((send.text.as_str(), send.to.jid(), &send.plugin), ("pong", "6281381393739@s.whatsapp.net", &plugin));
    assert!(send.message.as_str().starts_with("3EB0"));
    assert_eq!((left.effects.events[0].kind.as_str(), &left.effects.events[0].payload["n"]), ("ping", &1.into()));
    assert_eq!((left.logs[0].level, left.logs[0].message.as_str()), (LogLevel::Info, "pong"));
    stage.close().await;
    Ok(())
}

#[tokio::test]
async fn an_event_of_a_plugin_raises_no_further_one() -> Result<()> {
    let stage = Stage::open().await?;
    let mut wat = Wat::new("loops").capability("outbox.emit-event");
    let (kind, payload, room) = (wat.text("loop"), wat.text("{}"), wat.room(32));
    let outcome = wat.outcome(&Outcome::Pass);
    let wat = wat.transform(&format!(
        "(call $outbox.emit-event {} {} (i32.const {room})) (i32.const {outcome})",
        kind.args(),
        payload.args(),
    ));
    stage.install_wat("loops", wat, talking()).await?;
    let (message, endpoint) = (stage.message("ping").await?, stage.endpoint().await?);
    let mut passage = stage.plugins.passage(&message, 1).await?;
    passage.shape(&endpoint).await;
    let mut raised = passage.finish().effects.events;
    let what = Happening::Plugin(raised.pop().context("a message raises one")?);
    let mut passage = stage.plugins.passage(&Event { what, ..message }, 1).await?;
    passage.shape(&endpoint).await;
    let left = passage.finish();
    assert_eq!((left.steps[0].verdict.as_str(), left.effects.events.len()), ("pass", 0));
    stage.close().await;
    Ok(())
}

#[tokio::test]
async fn a_failed_call_has_asked_for_nothing() -> Result<()> {
    let stage = Stage::open().await?;
    stage.install_wat("first", talker(&Verdict::Pass), talking()).await?;
    stage.install_wat("broken", talker(&Verdict::Fail(Failure::Fatal("no"))), talking()).await?;
    let mut passage = stage.plugins.passage(&stage.message("ping").await?, 1).await?;
    assert_eq!(passage.filter().await, ON, "the policy is open");
    let left = passage.finish();
    assert_eq!((left.effects.sends.len(), left.effects.events.len()), (1, 1), "only of the call that went well");
    assert_eq!((left.steps[1].verdict.as_str(), left.steps[1].detail.as_deref()), ("failed", Some("it failed: no")));
    let levels: Vec<_> = left.logs.iter().map(|line| line.level).collect();
    assert_eq!(levels, [LogLevel::Info, LogLevel::Info, LogLevel::Error], "what it said is kept, and how it failed");
    stage.close().await;
    Ok(())
}

#[tokio::test]
async fn what_waits_has_done_nothing() -> Result<()> {
    for second in [Verdict::Defer(1_000), Verdict::Fail(Failure::Retryable("busy"))] {
        let stage = Stage::open().await?;
        stage.install_wat("first", talker(&Verdict::Pass), talking()).await?;
        stage.install_wat("second", Wat::new("second").answering(&second), Terms::default()).await?;
        let mut passage = stage.plugins.passage(&stage.message("ping").await?, 1).await?;
        assert!(matches!(passage.filter().await, Filtered::Defer { .. } | Filtered::Park { .. }));
        let left = passage.finish();
        assert!(left.effects.sends.is_empty() && left.effects.events.is_empty());
        assert_eq!(left.steps.len(), 2);
        stage.close().await;
    }
    Ok(())
}

#[tokio::test]
async fn the_policy_decides_about_a_message_whose_plugin_fails() -> Result<()> {
    for policy in [FailurePolicy::Open, FailurePolicy::Closed, FailurePolicy::Park] {
        let stage = Stage::open().await?;
        let wat = Wat::new("crash").on_message("unreachable").transform("unreachable");
        let plugin = stage.install_wat("crash", wat, Terms { policy, ..Terms::default() }).await?;
        let mut passage = stage.plugins.passage(&stage.message("ping").await?, 3).await?;
        let (filtered, shaped) = (passage.filter().await, passage.shape(&stage.endpoint().await?).await);
        let why = "crash: it crashed: it panicked or aborted".to_owned();
        match policy {
            FailurePolicy::Open => assert!(filtered == ON && matches!(shaped, Shaped::Send(_)), "{shaped:?}"),
            FailurePolicy::Closed => {
                assert_eq!(filtered, Filtered::Drop { code: "plugin-failed".to_owned(), detail: Some(why.clone()) });
                assert_eq!(shaped, Shaped::Cancel(why));
            }
            FailurePolicy::Park => {
                let after = Duration::from_secs(4);
                assert_eq!(filtered, Filtered::Park { plugin, why, after });
            }
        }
        stage.close().await;
    }
    Ok(())
}

#[tokio::test]
async fn deferring_uses_up_no_tries_of_those_who_fail() -> Result<()> {
    let stage = Stage::open().await?;
    let busy = Wat::new("busy").answering(&Verdict::Fail(Failure::Retryable("later")));
    let plugin = stage.install_wat("busy", busy, Terms::default()).await?;
    let event = stage.message("ping").await?;
    let mut failed = stage.plugins.passage(&event, 50).await?;
    assert_eq!(failed.filter().await, ON, "the policy is open");
    let mut deferred = stage.plugins.passage(&event, 50).await?.having_failed(1);
    let (why, after) = ("busy: it asks to be tried again: later".to_owned(), Duration::from_secs(2));
    assert_eq!(deferred.filter().await, Filtered::Park { plugin, why, after });
    stage.close().await;
    Ok(())
}

#[tokio::test]
async fn a_call_ends_within_its_limits() -> Result<()> {
    let limits = Limits { cpu_ms: 20, wall_ms: 1_000, memory_mib: 4, ..Limits::default() };
    let grow = "(loop $again (br_if $again (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable";
    let recurse = "(func $deep (param i32) (result i32) (i32.add (call $deep (local.get 0)) (i32.const 1)))";
    let mut bulky = Wat::new("bulky");
    let huge = bulky.room(72);
    let bulky = bulky.on_message(&format!(
        "(i32.store8 (i32.const {huge}) (i32.const 0)) (i32.store8 (i32.const {}) (i32.const 3))
         (i32.store (i32.const {}) (call $allocate (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 3145728)))
         (i32.store (i32.const {}) (i32.const 3145728)) (i32.const {huge})",
        huge + 4,
        huge + 8,
        huge + 12,
    ));
    let table = [
        (Wat::new("spin").on_message(SPIN), "it used more than 20 ms of processor time (limit cpu_ms)"),
        (Wat::new("grow").on_message(grow), "it wanted more than 4 MiB of memory (limit memory_mib)"),
        (
            Wat::new("deep").with(recurse).on_message("(call $deep (i32.const 1))"),
            "it crashed: its recursion is too deep",
        ),
        (bulky, "it handed over more than 2 MiB in one piece"),
        (Wat::new("panic").on_message("unreachable"), "it crashed: it panicked or aborted"),
        (
            Wat::new("invalid")
                .answering(&Verdict::Modify(MessagePatch { chat: Some("x"), ..MessagePatch::default() })),
            "its answer is not valid: chat: ",
        ),
        (Wat::new("wild").on_message("(i32.const 2147483644)"), "it crashed: "),
    ];
    let stage = Stage::open().await?;
    for (at, (wat, _)) in table.iter().enumerate() {
        stage.install_wat(&format!("p{at}"), wat.clone(), Terms { limits, ..Terms::default() }).await?;
    }
    let mut passage = stage.plugins.passage(&stage.message("ping").await?, 1).await?;
    assert_eq!(passage.filter().await, ON);
    let left = passage.finish();
    for (step, (_, expected)) in left.steps.iter().zip(&table) {
        let detail = step.detail.as_deref().unwrap_or_default();
        assert!(step.verdict == "failed" && detail.starts_with(expected), "{}: {detail}", step.name);
    }
    assert_eq!(left.steps.len(), table.len());
    stage.close().await;
    Ok(())
}

#[tokio::test]
async fn a_plugin_that_keeps_failing_is_left_alone_for_a_while() -> Result<()> {
    let stage = Stage::open().await?;
    let plugin = stage.install_wat("crash", Wat::new("crash").on_message("unreachable"), Terms::default()).await?;
    let event = stage.message("ping").await?;
    let mut details = Vec::new();
    for _ in 0..6 {
        let mut passage = stage.plugins.passage(&event, 1).await?;
        passage.filter().await;
        details.extend(passage.finish().steps.into_iter().filter_map(|step| step.detail));
    }
    assert!(details[4].starts_with("it crashed") && details[5].starts_with("it is suspended"), "{details:?}");
    let health = stage.plugins.health(&plugin);
    assert_eq!((health.calls, health.failures, health.in_a_row), (5, 5, 5));
    assert!(health.suspended_until.is_some_and(|until| until > stage.clock.now()));
    assert_eq!(health.last_failures.len(), 5);
    stage.close().await;
    Ok(())
}

#[tokio::test]
async fn webhooks_are_shaped_in_order_or_cancelled() -> Result<()> {
    let stage = Stage::open().await?;
    let headers = [("X-Shop", "1")];
    let first = DeliveryPatch {
        body: Some(Body::Text("<a/>")),
        content_type: Some("text/xml"),
        headers: &headers,
        path_suffix: Some("orders"),
        ..DeliveryPatch::default()
    };
    let second = DeliveryPatch { body: Some(Body::Binary(&[0, 255])), ..DeliveryPatch::default() };
    stage.install_wat("first", Wat::new("first").shaping(&Outcome::Modify(first)), Terms::default()).await?;
    stage.install_wat("second", Wat::new("second").shaping(&Outcome::Modify(second)), Terms::default()).await?;
    let endpoint = stage.endpoint().await?;
    let event = stage.message("ping").await?;
    let mut passage = stage.plugins.passage(&event, 1).await?;
    passage.filter().await;
    let shape = shape(passage.shape(&endpoint).await);
    assert_eq!((&shape.body[..], shape.content_type.as_str()), (&[0, 255][..], "text/xml"));
    assert_eq!(shape.headers, [("x-shop".to_owned(), "1".to_owned())]);
    assert_eq!(shape.path_suffix, "/orders");
    let left = passage.finish();
    assert_eq!(left.steps.len(), 2);
    assert_eq!((left.steps[0].endpoint.as_ref(), left.steps[1].verdict.as_str()), (Some(&endpoint.id), "modify"));
    stage.install_wat("third", Wat::new("third").shaping(&Outcome::Cancel("enough")), Terms::default()).await?;
    let mut passage = stage.plugins.passage(&event, 1).await?;
    assert_eq!(passage.shape(&endpoint).await, Shaped::Cancel("enough".to_owned()));
    stage.close().await;
    Ok(())
}

#[tokio::test]
async fn outgoing_messages_are_filtered_where_that_is_granted() -> Result<()> {
    let stage = Stage::open().await?;
    let to = "6281381393739".parse()?;
    let unchanged = OutgoingVerdict::Send { to, text: "Hello!".to_owned() };
    let OutgoingVerdict::Send { to, .. } = &unchanged else { unreachable!() };
    let shout = MessagePatch { text: Some("HELLO!"), ..MessagePatch::default() };
    let outgoing = || Terms { grants: vec!["outgoing"], ..Terms::default() };
    stage.install_wat("deaf", Wat::new("deaf").answering(&Verdict::Drop("no", None)), Terms::default()).await?;
    let (verdict, left) = stage.plugins.outgoing(&stage.session.id, to, "Hello!").await?;
    assert_eq!((verdict, left.steps.len()), (unchanged.clone(), 0), "not granted, not asked");
    stage.install_wat("shout", Wat::new("shout").answering(&Verdict::Modify(shout)), outgoing()).await?;
    stage.install_wat("late", Wat::new("late").answering(&Verdict::Defer(1_000)), outgoing()).await?;
    let (verdict, left) = stage.plugins.outgoing(&stage.session.id, to, "Hello!").await?;
    assert_eq!(verdict, OutgoingVerdict::Send { to: to.clone(), text: "HELLO!".to_owned() });
    assert_eq!(left.steps[1].verdict, "failed", "what somebody waits for is not deferred");
    stage.install_wat("stop", Wat::new("stop").answering(&Verdict::Drop("quiet", Some("night"))), outgoing()).await?;
    let (verdict, _) = stage.plugins.outgoing(&stage.session.id, to, "Hello!").await?;
    assert_eq!(verdict, OutgoingVerdict::Drop { code: "quiet".to_owned(), detail: Some("night".to_owned()) });
    stage.close().await;
    Ok(())
}

#[tokio::test]
async fn who_sends_is_told_to_ask_again_unless_the_policy_is_open() -> Result<()> {
    for policy in [FailurePolicy::Open, FailurePolicy::Closed, FailurePolicy::Park] {
        let stage = Stage::open().await?;
        let busy = Wat::new("busy").answering(&Verdict::Fail(Failure::Retryable("later")));
        stage.install_wat("busy", busy, Terms { grants: vec!["outgoing"], policy, ..Terms::default() }).await?;
        let to = "6281381393739".parse()?;
        let (verdict, left) = stage.plugins.outgoing(&stage.session.id, &to, "Hello!").await?;
        let expected = match policy {
            FailurePolicy::Open => OutgoingVerdict::Send { to, text: "Hello!".to_owned() },
            FailurePolicy::Closed | FailurePolicy::Park => OutgoingVerdict::Wait {
                why: "busy: it asks to be tried again: later".to_owned(),
                after: Duration::from_secs(1),
            },
        };
        assert_eq!((verdict, left.logs.len()), (expected, 1), "{policy:?}");
        stage.close().await;
    }
    Ok(())
}

#[tokio::test]
async fn a_rehearsal_leaves_no_trace() -> Result<()> {
    let stage = Stage::open().await?;
    let plugin = stage.install_wat("crash", Wat::new("crash").on_message("unreachable"), Terms::default()).await?;
    let event = stage.message("ping").await?;
    for _ in 0..7 {
        let mut passage = stage.plugins.passage_through(&stage.chain().await?, &event, 1, true);
        assert_eq!(passage.filter().await, ON);
        assert!(passage.finish().steps[0].detail.as_ref().is_some_and(|detail| detail.starts_with("it crashed")));
    }
    assert_eq!(stage.plugins.health(&plugin).calls, 0);
    stage.close().await;
    Ok(())
}

#[tokio::test]
async fn says_why_a_component_is_refused() -> Result<()> {
    let stage = Stage::open().await?;
    let inspect = async |bytes: &[u8]| stage.plugins.inspect(bytes, None).await.unwrap_err();
    assert_eq!(inspect(b"hello").await, Refusal::NotWasm);
    let mut damaged = Wat::new("x").answering(&Verdict::Pass).build()?;
    let middle = damaged.len() / 2;
    damaged.truncate(middle);
    assert!(matches!(inspect(&damaged).await, Refusal::Invalid(_)));
    let nameless = Wat::new("Not A Name").answering(&Verdict::Pass).build()?;
    assert!(matches!(inspect(&nameless).await, Refusal::Describe(_)));
    let crashing = Wat::new("x").describe("unreachable").answering(&Verdict::Pass).build()?;
    assert!(matches!(inspect(&crashing).await, Refusal::Describe(_)));
    let wat = Wat::new("picky").refusing(&Failure::Config("key: is missing")).answering(&Verdict::Pass);
    let plugin = stage.install_wat("picky", wat, Terms::default()).await?;
    let bound = stage.chain().await?.into_iter().find(|bound| bound.plugin.id == plugin).unwrap();
    assert_eq!(stage.plugins.try_init(&bound).await, Err(Refusal::Config("key: is missing".to_owned())));
    stage.close().await;
    Ok(())
}

#[tokio::test]
async fn the_gateways_own_plugins_run() -> Result<()> {
    use wagate::plugin::builtin::{FORWARD, SCRIPT};
    let stage = Stage::open().await?;
    let script = "function onMessage(m, api) { return { text: m.text.toUpperCase(), labels: { by: 'script' } }; }";
    let terms = Terms { script: Some(script), ..Terms::default() };
    stage.install("script", SCRIPT, terms).await?;
    stage.install("forward", FORWARD, Terms::default()).await?;
    for _ in 0..3 {
        let mut passage = stage.plugins.passage(&stage.message("Hello!").await?, 1).await?;
        assert_eq!(passage.filter().await, ON);
        let body = shape(passage.shape(&stage.endpoint().await?).await).body;
        let left = passage.finish();
        assert!(left.steps.iter().all(|step| step.verdict != "failed"), "{:?}", left.steps);
        let body: serde_json::Value = serde_json::from_slice(&body)?;
        assert_eq!((&body["message"]["message"], &body["event"]), (&"HELLO!".into(), &"message.received".into()));
        assert_eq!(body["message"]["labels"]["by"], "script");
    }
    let broken = stage.plugins.inspect(SCRIPT, Some("function onMessage( {")).await;
    assert!(matches!(broken, Err(Refusal::Config(_))), "{broken:?}");
    stage.close().await;
    Ok(())
}
