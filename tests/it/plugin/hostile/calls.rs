//! Capabilities, asked for too much, too often, or without a grant.

use anyhow::Result;
use wagate::model::FailurePolicy;
use wagate_tests::component::{MessagePatch, Verdict, Wat};

use super::{Case, Scene, fails, tells};

/// Where the error of a result begins, by what its longest case is made of.
const NARROW: u32 = 4;
const WIDE: u32 = 8;

/// A capability called again and again, and the last result told: the message is dropped under `rNcM`, result N and
/// case M of its error, with the error's words when it has any.
struct Probe {
    wat: Wat,
    capability: &'static str,
    /// Done before each call, which has its number in `$a`.
    before: String,
    arguments: String,
    times: u32,
    error: u32,
    words: bool,
}

impl Probe {
    fn new(capability: &'static str, arguments: impl FnOnce(&mut Wat) -> String) -> Self {
        let mut wat = Wat::new("probe").capability(capability);
        let arguments = arguments(&mut wat);
        let error = if capability.starts_with("outbox") { NARROW } else { WIDE };
        Self { wat, capability, before: String::new(), arguments, times: 1, error, words: true }
    }

    /// So often.
    fn times(self, times: u32) -> Self {
        Self { times, ..self }
    }

    /// With an error that has no words.
    fn mute(self) -> Self {
        Self { words: false, ..self }
    }

    /// With this done before each call.
    fn before(self, before: String) -> Self {
        Self { before, ..self }
    }

    fn build(self) -> Wat {
        let Self { mut wat, capability, before, arguments, times, error, words } = self;
        let answer = wat.room(48);
        let verdict = wat.verdict(&Verdict::Drop("r0c0", words.then_some("")));
        let case = answer + error;
        let said = case + error;
        let said = if words {
            format!(
                "(i32.store (i32.const {}) (i32.load (i32.const {said})))
                 (i32.store (i32.const {}) (i32.load (i32.const {})))",
                verdict + 20,
                verdict + 24,
                said + 4,
            )
        } else {
            String::new()
        };
        let digit =
            |at: u32| format!("(i32.add (i32.const 48) (i32.and (i32.const 7) (i32.load8_u (i32.const {at}))))");
        wat.on_message(&format!(
            "(loop $again {before} (call ${capability} {arguments} (i32.const {answer}))
             (br_if $again (i32.lt_u (local.tee $a (i32.add (local.get $a) (i32.const 1))) (i32.const {times}))))
             (local.set $b (i32.load (i32.const {})))
             (i32.store8 offset=1 (local.get $b) {})
             (i32.store8 offset=3 (local.get $b) {})
             {said} (i32.const {verdict})",
            verdict + 8,
            digit(answer),
            digit(case),
        ))
    }
}

/// `kv.set` of a key and as many bytes.
fn set(key: &str, bytes: usize) -> Probe {
    Probe::new("kv.set", |wat| {
        let (key, value) = (wat.text(key), wat.room(bytes));
        format!("{} (i32.const {value}) (i32.const {bytes}) (i32.const 0) (i64.const 0)", key.args())
    })
}

/// The same of a key that is another each time.
fn set_many(bytes: usize, times: u32) -> Wat {
    let mut at = 0;
    let probe = Probe::new("kv.set", |wat| {
        let (key, value) = (wat.text("0000"), wat.room(bytes));
        at = key.at;
        format!("{} (i32.const {value}) (i32.const {bytes}) (i32.const 0) (i64.const 0)", key.args())
    });
    let digit = |n: u32| {
        let nibble = format!("(i32.and (i32.const 15) (i32.shr_u (local.get $a) (i32.const {})))", n * 4);
        format!("(i32.store8 (i32.const {}) (i32.add (i32.const 48) {nibble}))", at + n)
    };
    let before = (0..4).map(digit).collect();
    probe.times(times).mute().before(before).build()
}

fn get() -> Probe {
    Probe::new("kv.get", |wat| wat.text("n").args())
}

fn increment() -> Probe {
    Probe::new("kv.increment", |wat| format!("{} (i64.const 1) (i32.const 0) (i64.const 0)", wat.text("n").args()))
}

fn reply(text: &str) -> Probe {
    Probe::new("outbox.reply", |wat| wat.text(text).args())
}

fn send(chat: &str) -> Probe {
    Probe::new("outbox.send", |wat| [wat.text(chat).args(), wat.text("hi").args()].join(" "))
}

fn emit(kind: &str, payload: &str) -> Probe {
    Probe::new("outbox.emit-event", |wat| [wat.text(kind).args(), wat.text(payload).args()].join(" "))
}

fn fetch(url: &str, headers: &[(&str, &str)]) -> Probe {
    Probe::new("http.send", |wat| {
        let url = wat.text(url);
        // A patch with labels holds a list of pairs.
        let patch = wat.verdict(&Verdict::Modify(MessagePatch { labels: headers, ..MessagePatch::default() }));
        format!(
            "(i32.const 0) {} (i32.load (i32.const {})) (i32.const {}) \
             (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)",
            url.args(),
            patch + 32,
            headers.len(),
        )
    })
}

pub(super) fn cases() -> Vec<Case> {
    [keys(), effects(), requests()].into_iter().flatten().collect()
}

fn keys() -> Vec<Case> {
    let kv = &["kv"];
    vec![
        tells("kv-ungranted", set("a", 1).build(), &[], "r1c3: ask the operator for the grant kv"),
        tells("kv-get-ungranted", get().times(10_000).build(), &[], "r1c3: ask the operator for the grant kv"),
        tells("kv-long-key", set(&"k".repeat(300), 1).mute().build(), kv, "r1c0"),
        tells("kv-no-key", set("", 1).build(), kv, "r1c4: a key has at least 1 byte"),
        tells("kv-long-value", set("a", (64 << 10) + 1).mute().build(), kv, "r1c0"),
        tells("kv-many-keys", set_many(1, 2_000), kv, "r1c1").leaving(1_000),
        tells("kv-many-bytes", set_many(64 << 10, 200), kv, "r1c1").leaving(159),
        tells("kv-get-often", get().mute().times(10_000).build(), kv, "r0c0"),
        tells("kv-increment-often", increment().mute().times(10_000).build(), kv, "r0c0").leaving(1),
    ]
}

fn effects() -> Vec<Case> {
    const TEXT: &str = "r1c2: a text has 1 to 65536 characters";
    const KIND: &str = "r1c2: an event's type is 1 to 64 of a-z 0-9 . _ -";
    let (to, long, all) = ("6281381393739", "x".repeat(70_000), &["outbox.reply", "outbox.send", "outbox.emit"]);
    vec![
        tells("reply-ungranted", reply("hi").build(), &["kv"], "r1c0: ask the operator for the grant outbox.reply"),
        tells(
            "send-ungranted",
            send(to).build(),
            &["outbox.reply"],
            "r1c0: ask the operator for the grant outbox.send",
        ),
        tells("emit-ungranted", emit("a", "{}").build(), &["log"], "r1c0: ask the operator for the grant outbox.emit"),
        tells("reply-often", reply("hi").mute().times(10_000).build(), all, "r1c1").leaving(5),
        tells("send-often", send(to).mute().times(10_000).build(), all, "r1c1").leaving(5),
        tells("emit-often", emit("a", "{}").mute().times(10_000).build(), all, "r1c1").leaving(5),
        tells("send-bad-chat", send("nobody").build(), all, "r1c2: \"nobody\": "),
        tells("reply-empty", reply("").build(), all, TEXT),
        tells("reply-huge", reply(&long).build(), all, TEXT),
        tells("emit-bad-type", emit("Order Paid", "{}").build(), all, KIND),
        tells("emit-no-type", emit("", "{}").build(), all, KIND),
        tells("emit-bad-json", emit("a", "{\"a\":").build(), all, "r1c2: the payload: "),
        tells(
            "emit-huge",
            emit("a", &format!("\"{long}\"")).build(),
            all,
            "r1c2: an event's payload has at most 65536 bytes",
        ),
    ]
}

fn requests() -> Vec<Case> {
    const HERE: &str = "http://127.0.0.1:9/";
    let here = &["http:http://127.0.0.1:9"];
    let api = &["http:api.example.org"];
    let ask = "r1c0: ask the operator for a grant such as http:api.example.org";
    vec![
        tells("http-ungranted", fetch(HERE, &[]).times(10_000).build(), &[], ask),
        tells(
            "http-elsewhere",
            fetch("https://evil.example/", &[]).build(),
            api,
            "r1c0: ask the operator for the grant http:evil",
        ),
        tells(
            "http-metadata",
            fetch("http://169.254.169.254/", &[]).build(),
            api,
            "r1c0: ask the operator for the grant",
        ),
        tells("http-private", fetch(HERE, &[]).build(), here, "r1c0: "),
        tells("http-often", fetch(HERE, &[]).mute().times(10_000).build(), here, "r1c5"),
        tells("http-no-url", fetch("api.example.org", &[]).build(), api, "r1c1: the URL: "),
        tells("http-file", fetch("file:///etc/passwd", &[]).build(), api, "r1c1: file is not a scheme"),
        tells(
            "http-host",
            fetch(HERE, &[("Host", "evil")]).build(),
            here,
            "r1c1: the header Host is the gateway's own",
        ),
        tells(
            "http-length",
            fetch(HERE, &[("content-length", "9")]).build(),
            here,
            "r1c1: the header content-length is",
        ),
        tells(
            "http-secret",
            fetch(HERE, &[("a", "{{secret:x}}")]).build(),
            here,
            "r1c1: the configuration has no member",
        ),
        tells("http-newline", fetch(HERE, &[("a", "b\r\nc: d")]).build(), here, "r1c"),
    ]
}

/// A flood of lines costs the plugin its own lines; a flood of questions about its configuration costs nothing.
pub(super) async fn flood() -> Result<()> {
    let scene = Scene::open().await?;
    let mut wat = Wat::new("flood").capability("log").capability("config.get");
    let (line, answer, pass) = (wat.text(&"x".repeat(8 << 10)), wat.room(16), wat.verdict(&Verdict::Pass));
    let wat = wat.on_message(&format!(
        "(loop $again (call $log.log (i32.const 2) {line} (i32.const 0) (i32.const 0))
         (call $config.get {line} (i32.const {answer}))
         (br_if $again (i32.lt_u (local.tee $a (i32.add (local.get $a) (i32.const 1))) (i32.const 10000))))
         (i32.const {pass})",
        line = line.args(),
    ));
    let limits = wagate::model::Limits { cpu_ms: 1_000, wall_ms: 30_000, ..Default::default() };
    let case = Case { grants: &["log"], ..fails("flood", wat, "").within(limits) };
    let bound = scene.install(&case).await?;
    let (filtered, left) = scene.filter(scene.chain(&bound, FailurePolicy::Open).await?).await;
    assert!(filtered == super::ON && left.steps[0].verdict == "pass", "{:?}", left.steps);
    assert_eq!(left.logs.len(), 101);
    assert!(left.logs.iter().all(|line| line.message.len() <= 4 << 10));
    assert!(left.logs[100].message.starts_with("9900 more lines"), "{}", left.logs[100].message);
    scene.still_serves("a flood").await?;
    scene.close().await;
    Ok(())
}
