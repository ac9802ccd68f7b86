//! What becomes of an event: verdicts, effects and holds, committed together.

use std::time::Duration;

use bytes::Bytes;
use wagate::model::{
    Effects, EndpointId, Event, Happening, Hook, KeyWrite, Labels, LogLevel, LogLine, Millis, PluginEvent, PluginId,
    QueuedSend, Scope, SessionId, Shape, Step,
};
use wagate::store::Store;
use wagate::store::events::{NewDelivery, Outcome, Past, Routed, Routing};
use wagate::store::plugins::values;
use wagate::store::sends::{Begun, NewSend};

use super::plugins::installed;
use super::{Place, START, delivery, endpoint, listed, message, new_send, session, shop, user};

/// A shop with a plugin and a message.
struct Arrived {
    place: Place,
    store: Store,
    scope: Scope,
    session: SessionId,
    plugin: PluginId,
    event: Event,
}

impl Arrived {
    async fn new() -> Self {
        let place = Place::new();
        let store = place.open().await;
        let (scope, session) = shop(&store).await;
        let plugin = installed(&store, scope.user().unwrap(), "router").await.id;
        let event = store.events(scope).receive(&session, &[message("m")]).await.unwrap().remove(0);
        Self { place, store, scope, session, plugin, event }
    }

    async fn route(&self, routing: Routing) -> Routed {
        self.store.events(self.scope).route(&self.event.id, routing).await.unwrap()
    }

    /// Receives another message and routes it with these writes.
    async fn written(&self, writes: Vec<KeyWrite>) -> Routed {
        let batch = [message(wagate::model::RequestId::new().to_string())];
        let event = self.store.events(self.scope).receive(&self.session, &batch).await.unwrap().remove(0).id;
        let effects = Effects { writes, ..Effects::default() };
        self.store.events(self.scope).route(&event, Routing { effects, ..Routing::default() }).await.unwrap()
    }

    async fn value(&self, key: &str) -> Option<Vec<u8>> {
        self.store.plugins(self.scope).value(&self.plugin, key).await.unwrap()
    }

    async fn usage(&self) -> (u64, u64) {
        self.store.plugins(self.scope).usage(&self.plugin).await.unwrap()
    }

    fn step(&self) -> Step {
        Step {
            plugin: self.plugin.clone(),
            name: "router".to_owned(),
            version: 1,
            binding: "bnd_1".parse().unwrap(),
            hook: Hook::MessageFilter,
            endpoint: None,
            verdict: "modify".to_owned(),
            detail: None,
            patch: Some(serde_json::json!({"text": "hello"})),
            took_us: 12,
            memory_kib: 1024,
        }
    }

    fn line(&self) -> LogLine {
        let (plugin, message, call) = (self.plugin.clone(), "routed".to_owned(), "call_1".to_owned());
        LogLine { plugin, at: START, level: LogLevel::Info, message, fields: Labels::new(), call }
    }

    /// A write that relied on nothing.
    fn write(&self, key: &str, value: impl Into<Vec<u8>>) -> KeyWrite {
        let (plugin, key, value) = (self.plugin.clone(), key.to_owned(), Some(value.into()));
        KeyWrite { plugin, key, value, expires_at: None, expected: None }
    }

    /// One of every effect.
    fn effects(&self) -> Effects {
        let send = QueuedSend {
            plugin: self.plugin.clone(),
            message: "3EB0".to_owned().into(),
            to: "6281381393739".parse().unwrap(),
            text: "we are closed".to_owned(),
        };
        let raised = PluginEvent {
            plugin: self.plugin.clone(),
            kind: "ticket".to_owned(),
            payload: serde_json::json!({"number": 4}),
        };
        Effects { writes: vec![self.write("seen", "1")], sends: vec![send], events: vec![raised] }
    }
}

fn past(tries: u32, failures: u32) -> Past {
    Past { tries, failures }
}

fn labels() -> Labels {
    Labels::from([("route".to_owned(), "billing".to_owned())])
}

/// What a routing did that raised nothing.
fn done(endpoints: &[EndpointId]) -> Routed {
    Routed::Done { raised: Vec::new(), endpoints: endpoints.to_vec() }
}

#[tokio::test]
async fn a_verdict_and_all_that_belongs_to_it_are_one_commit() {
    let at = Arrived::new().await;
    let to = endpoint(&at.store, &at.session).await;
    let routing = Routing {
        steps: vec![at.step()],
        labels: labels(),
        effects: at.effects(),
        logs: vec![at.line()],
        deliveries: vec![delivery(to.clone(), "{}")],
        ..Routing::default()
    };
    let Routed::Done { raised, .. } = at.route(routing.clone()).await else { panic!("committed") };
    assert_eq!((raised.len(), raised[0].kind().as_str(), &raised[0].session), (1, "plugin.ticket", &at.session));
    assert!(matches!(&raised[0].what, Happening::Plugin(event) if *event == routing.effects.events[0]));
    assert_eq!(at.store.events(at.scope).get(&raised[0].id).await.unwrap().as_ref(), Some(&raised[0]));
    assert_eq!(at.store.events(at.scope).unrouted(None, 10).await.unwrap(), raised, "it is routed in turn");
    assert_eq!(
        at.store.events(at.scope).recent(None, 10).await.unwrap(),
        std::slice::from_ref(&at.event),
        "and is no message"
    );

    let record = at.store.events(at.scope).routing(&at.event.id).await.unwrap().unwrap();
    assert_eq!((record.outcome.as_str(), record.tries, record.due_at, record.at), ("forwarded", 1, None, START));
    assert_eq!((record.steps, record.labels), (vec![at.step()], labels()));
    let deliveries = at.store.deliveries(at.scope).of_event(&at.event.id).await.unwrap();
    assert_eq!(deliveries.iter().map(|one| &one.endpoint).collect::<Vec<_>>(), [&to]);
    assert_eq!(at.value("seen").await.as_deref(), Some(&b"1"[..]));
    assert_eq!(at.store.plugin_sends(at.scope).of_event(&at.event.id).await.unwrap().len(), 1);
    assert_eq!(at.store.plugins(at.scope).logs(&at.plugin, 10).await.unwrap(), [at.line()]);

    assert_eq!(at.route(routing).await, Routed::Already);
    assert_eq!(at.store.plugins(at.scope).logs(&at.plugin, 10).await.unwrap().len(), 1);
    assert_eq!(listed(&at.store.deliveries(at.scope), &at.session).await.len(), 1);
}

#[tokio::test]
async fn a_message_that_met_no_plugin_leaves_no_record() {
    let at = Arrived::new().await;
    assert_eq!(at.route(Routing::default()).await, done(&[]));
    assert_eq!(at.store.events(at.scope).routing(&at.event.id).await.unwrap(), None);
    assert!(at.store.events(at.scope).unrouted(None, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_dropped_event_is_routed_and_says_why() {
    let at = Arrived::new().await;
    let outcome = Outcome::Dropped { code: "spam".to_owned(), detail: Some("a known sender".to_owned()) };
    assert_eq!(at.route(Routing { outcome, ..Routing::default() }).await, done(&[]));
    let record = at.store.events(at.scope).routing(&at.event.id).await.unwrap().unwrap();
    assert_eq!((record.outcome.as_str(), record.code.as_deref()), ("dropped", Some("spam")));
    assert_eq!(record.detail.as_deref(), Some("a known sender"));
    assert!(at.store.events(at.scope).unrouted(None, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_deferred_event_is_held_until_its_time_and_then_routed() {
    let at = Arrived::new().await;
    let events = at.store.events(at.scope);
    let until = START.after(Duration::from_secs(30));
    let outcome = Outcome::Deferred { until, plugin: at.plugin.clone() };
    let deferred = Routing { outcome, steps: vec![at.step()], ..Routing::default() };
    assert_eq!(at.route(deferred.clone()).await, done(&[]));
    assert_eq!(at.route(deferred.clone()).await, Routed::Already, "another passage of the same number");
    assert!(events.unrouted(None, 10).await.unwrap().is_empty(), "its time comes");
    assert_eq!(events.next_held().await.unwrap(), Some(until));
    assert!(events.held(START, 10).await.unwrap().is_empty());
    assert_eq!(events.held(until, 10).await.unwrap(), [(at.event.clone(), past(1, 0))]);

    let later = until.after(Duration::from_secs(30));
    let outcome = Outcome::Deferred { until: later, plugin: at.plugin.clone() };
    let again = Routing { past: past(1, 0), outcome, ..deferred };
    assert_eq!(at.route(again).await, done(&[]));
    assert!(events.held(until, 10).await.unwrap().is_empty());
    assert_eq!(events.held(later, 10).await.unwrap(), [(at.event.clone(), past(2, 0))]);

    assert_eq!(at.route(Routing { past: past(2, 0), ..Routing::default() }).await, done(&[]));
    let record = events.routing(&at.event.id).await.unwrap().unwrap();
    assert_eq!((record.outcome.as_str(), record.tries, record.due_at), ("forwarded", 3, None));
    assert_eq!(events.next_held().await.unwrap(), None);
    assert!(events.held(Millis(i64::MAX), 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn held_events_come_back_when_their_plugin_is_released_or_removed() {
    let at = Arrived::new().await;
    let other = installed(&at.store, at.scope.user().unwrap(), "other").await.id;
    let events = at.store.events(at.scope);
    let [second, third]: [Event; 2] =
        events.receive(&at.session, &[message("n"), message("o")]).await.unwrap().try_into().unwrap();
    let until = START.after(Duration::from_mins(5));
    let parked = |plugin: &PluginId| Routing {
        outcome: Outcome::Parked { until, plugin: plugin.clone(), why: "ran out of time".to_owned() },
        ..Routing::default()
    };
    at.route(parked(&at.plugin)).await;
    events.route(&second.id, parked(&other)).await.unwrap();
    let outcome = Outcome::Deferred { until, plugin: other.clone() };
    events.route(&third.id, Routing { outcome, ..Routing::default() }).await.unwrap();
    let record = events.routing(&at.event.id).await.unwrap().unwrap();
    assert_eq!((record.outcome.as_str(), record.detail.as_deref()), ("parked", Some("ran out of time")));
    assert_eq!((record.plugin.as_ref(), record.due_at), (Some(&at.plugin), Some(until)));

    at.place.clock.advance(Duration::from_secs(1));
    let now = at.place.clock.now();
    assert_eq!(events.release_held(&at.plugin).await.unwrap(), 1);
    assert_eq!(events.release_held(&at.plugin).await.unwrap(), 0);
    assert_eq!(events.held(now, 10).await.unwrap(), [(at.event.clone(), past(1, 1))]);
    assert!(at.store.plugins(at.scope).remove(&other).await.unwrap());
    let due = [(at.event.clone(), past(1, 1)), (second, past(1, 1)), (third, past(1, 0))];
    assert_eq!(events.held(now, 10).await.unwrap(), due);
}

#[tokio::test]
async fn a_write_is_made_only_while_what_it_relied_on_stands() {
    let at = Arrived::new().await;
    let relying = |expected: Option<&str>, value: &str| KeyWrite {
        expected: Some(expected.map(|text| text.as_bytes().to_vec())),
        ..at.write("count", value)
    };
    let done = done(&[]);
    assert_eq!(at.written(vec![relying(None, "1")]).await, done);
    assert_eq!(at.written(vec![relying(None, "1")]).await, Routed::Conflict);
    assert_eq!(at.written(vec![relying(Some("0"), "1")]).await, Routed::Conflict);
    assert_eq!(at.value("count").await.as_deref(), Some(&b"1"[..]));

    // One mismatch undoes the whole passage, and the event can be routed again.
    let to = endpoint(&at.store, &at.session).await;
    let writes = vec![at.write("other", "x"), relying(Some("0"), "2")];
    let effects = Effects { writes, ..at.effects() };
    let (logs, deliveries) = (vec![at.line()], vec![delivery(to, "{}")]);
    let routing = Routing { steps: vec![at.step()], effects, logs, deliveries, ..Routing::default() };
    assert_eq!(at.route(routing.clone()).await, Routed::Conflict);
    assert_eq!(at.value("other").await, None);
    assert!(at.store.plugin_sends(at.scope).of_event(&at.event.id).await.unwrap().is_empty());
    assert!(listed(&at.store.deliveries(at.scope), &at.session).await.is_empty());
    assert_eq!(at.store.events(at.scope).routing(&at.event.id).await.unwrap(), None);

    let effects = Effects { writes: vec![relying(Some("1"), "2")], ..at.effects() };
    assert!(
        matches!(at.route(Routing { effects, ..routing.clone() }).await, Routed::Done { raised, .. } if raised.len() == 1)
    );
    assert_eq!(at.value("count").await.as_deref(), Some(&b"2"[..]));
    assert_eq!(at.route(routing).await, Routed::Already, "an event that is routed conflicts with nothing");
}

#[tokio::test]
async fn a_value_whose_time_is_over_is_not_there() {
    let at = Arrived::new().await;
    let expires_at = Some(START.after(Duration::from_secs(10)));
    let brief = KeyWrite { expires_at, ..at.write("brief", "x") };
    at.written(vec![brief.clone(), at.write("gone", "y"), at.write("stays", "zz")]).await;
    assert_eq!(at.usage().await, (3, 18));
    at.written(vec![KeyWrite { value: None, ..at.write("gone", "") }]).await;
    assert_eq!((at.value("gone").await, at.usage().await), (None, (2, 13)));

    at.place.clock.advance(Duration::from_secs(10));
    assert_eq!((at.value("brief").await, at.usage().await), (None, (1, 7)));
    let relied = KeyWrite { expected: Some(Some(b"x".to_vec())), ..brief.clone() };
    assert_eq!(at.written(vec![relied]).await, Routed::Conflict);
    let absent = KeyWrite { expected: Some(None), expires_at: None, ..brief };
    assert_eq!(at.written(vec![absent]).await, done(&[]));
    assert_eq!((at.value("brief").await.as_deref(), at.usage().await), (Some(&b"x"[..]), (2, 13)));
}

#[tokio::test]
async fn a_value_above_the_quota_is_left_out_and_the_log_says_so() {
    let at = Arrived::new().await;
    let expires_at = Some(START.after(Duration::from_secs(10)));
    let most = usize::try_from(values::MOST_KEYS).unwrap();
    let full =
        (0..most).map(|n| KeyWrite { expires_at: expires_at.filter(|_| n < 5), ..at.write(&format!("k{n}"), "v") });
    at.written(full.collect()).await;
    let done = done(&[]);
    assert_eq!(at.written(vec![at.write("one more", "v"), at.write("k7", "w")]).await, done);
    assert_eq!((at.value("one more").await, at.value("k7").await), (None, Some(b"w".to_vec())));
    let logs = at.store.plugins(at.scope).logs(&at.plugin, 10).await.unwrap();
    assert_eq!((logs.len(), logs[0].level, logs[0].fields["key"].as_str()), (1, LogLevel::Error, "one more"));
    assert!(logs[0].message.contains("quota exceeded"));

    // What is over makes room when room is needed.
    at.place.clock.advance(Duration::from_secs(10));
    at.written((0..6).map(|n| at.write(&format!("new{n}"), "v")).collect()).await;
    assert_eq!(at.usage().await.0, values::MOST_KEYS);
    assert_eq!((at.value("new4").await, at.value("new5").await), (Some(b"v".to_vec()), None));

    // Bytes count as keys do; what makes it smaller is always taken.
    let large = vec![0; usize::try_from(values::MOST_BYTES).unwrap()];
    at.written(vec![at.write("k9", large.clone())]).await;
    assert_eq!(at.value("k9").await.as_deref(), Some(&b"v"[..]));
    at.written(vec![at.write("k9", large[..large.len() - 20_000].to_vec()), at.write("k10", "")]).await;
    assert_eq!(at.value("k9").await.map(|value| value.len()), Some(large.len() - 20_000));
}

#[tokio::test]
async fn what_belongs_to_a_plugin_that_is_gone_or_anothers_is_left_out() {
    let at = Arrived::new().await;
    let bob = user(&at.store, "bob").await;
    let theirs = installed(&at.store, bob, "theirs").await.id;
    let mut effects = at.effects();
    let mut logs = Vec::new();
    for plugin in [theirs.clone(), "plg_gone".parse().unwrap()] {
        let mut more = at.effects();
        more.writes[0].plugin = plugin.clone();
        more.sends[0].plugin = plugin.clone();
        more.sends[0].message = format!("of {plugin}").into();
        more.events[0].plugin = plugin.clone();
        logs.push(LogLine { plugin, ..at.line() });
        effects.writes.extend(more.writes);
        effects.sends.extend(more.sends);
        effects.events.extend(more.events);
    }
    logs.push(at.line());
    let routed = at.route(Routing { effects, logs, ..Routing::default() }).await;
    assert!(matches!(routed, Routed::Done { raised, .. } if raised.len() == 1), "its own alone");
    assert_eq!(at.store.plugin_sends(at.scope).of_event(&at.event.id).await.unwrap().len(), 1);
    assert_eq!(at.store.plugins(Scope::of(bob)).value(&theirs, "seen").await.unwrap(), None);
    assert!(at.store.plugins(Scope::of(bob)).logs(&theirs, 10).await.unwrap().is_empty());
    assert_eq!(at.store.plugins(at.scope).logs(&at.plugin, 10).await.unwrap(), [at.line()]);
}

#[tokio::test]
async fn any_shape_survives_until_it_is_due() {
    let at = Arrived::new().await;
    let to = endpoint(&at.store, &at.session).await;
    let pairs = vec![("x-kind".to_owned(), "Rechnung: ä".to_owned()), ("x-two".to_owned(), String::new())];
    let bodies: [&[u8]; 5] = [b"{}", b"", b"\xff\xfe\x00\x80", b"with\0nul", "grüße 👋".as_bytes()];
    let shapes = bodies.map(|body| Shape {
        body: Bytes::from_static(body),
        content_type: "application/octet-stream".to_owned(),
        headers: pairs.clone(),
        path_suffix: "tickets/42".to_owned(),
    });
    let plain = Shape::json("{}");
    let all: Vec<Shape> = shapes.into_iter().chain([plain]).collect();
    let deliveries =
        all.iter().map(|shape| NewDelivery { endpoint: to.clone(), chat: None, shape: shape.clone() }).collect();
    at.route(Routing { deliveries, ..Routing::default() }).await;
    let due = at.store.deliveries(at.scope).due(&to, 10).await.unwrap();
    assert_eq!(due.into_iter().map(|delivery| delivery.shape).collect::<Vec<_>>(), all);
}

#[tokio::test]
async fn the_newest_messages_come_first_and_only_ones_own() {
    let at = Arrived::new().await;
    let other = session(&at.store, at.scope.user().unwrap(), "ses_other").await.id;
    let bob = Scope::of(user(&at.store, "bob").await);
    let events = at.store.events(at.scope);
    let mut all = vec![at.event.clone()];
    for n in 0..6 {
        let to = if n % 2 == 0 { &other } else { &at.session };
        all.extend(events.receive(to, &[message(format!("m{n}"))]).await.unwrap());
    }
    all.reverse();
    assert_eq!(events.recent(None, 3).await.unwrap(), all[..3]);
    assert_eq!(events.recent(None, 100).await.unwrap(), all);
    let mine: Vec<Event> = all.iter().filter(|event| event.session == other).cloned().collect();
    assert_eq!(events.recent(Some(&other), 2).await.unwrap(), mine[..2]);
    assert!(events.recent(None, 0).await.unwrap().is_empty());
    assert!(at.store.events(bob).recent(None, 10).await.unwrap().is_empty());
    assert!(at.store.events(bob).recent(Some(&other), 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn another_users_routings_are_not_there() {
    let at = Arrived::new().await;
    let bob = at.store.events(Scope::of(user(&at.store, "bob").await));
    let parked = Outcome::Parked { until: START, plugin: at.plugin.clone(), why: "x".to_owned() };
    let routing = Routing { outcome: parked, ..Routing::default() };
    assert_eq!(bob.route(&at.event.id, routing.clone()).await.unwrap(), Routed::Already);
    let effects = Routing { effects: at.effects(), ..routing.clone() };
    assert_eq!(bob.route(&at.event.id, effects).await.unwrap(), Routed::Already);
    at.route(routing).await;
    assert_eq!(bob.routing(&at.event.id).await.unwrap(), None);
    assert_eq!((bob.next_held().await.unwrap(), bob.held(START, 10).await.unwrap().len()), (None, 0));
    at.place.clock.advance(Duration::from_secs(1));
    assert_eq!(bob.release_held(&at.plugin).await.unwrap(), 0);
}

#[tokio::test]
async fn effects_of_what_goes_out_are_committed_with_the_send_or_not_at_all() {
    let at = Arrived::new().await;
    let (sends, chat, id) = (at.store.sends(at.scope), "6281381393739".parse().unwrap(), "out".to_owned().into());
    let digest = [7; 32];
    let new = |effects: Effects| NewSend {
        key: Some(("order-1", &digest)),
        effects,
        logs: vec![at.line()],
        ..new_send(&at.session, &id, &chat)
    };
    let relying = KeyWrite { expected: Some(Some(b"0".to_vec())), ..at.write("seen", "1") };
    let wrong = Effects { writes: vec![relying], ..at.effects() };
    assert_eq!(sends.begin(new(wrong.clone())).await.unwrap(), Begun::Conflict);
    assert_eq!(sends.state(&at.session, &id).await.unwrap(), None);
    let begun = sends.begin(new(at.effects())).await.unwrap();
    assert!(matches!(&begun, Begun::Fresh { raised } if raised.len() == 1 && raised[0].kind() == "plugin.ticket"));
    assert_eq!(at.value("seen").await.as_deref(), Some(&b"1"[..]));
    assert_eq!(at.store.plugins(at.scope).logs(&at.plugin, 10).await.unwrap().len(), 1);
    assert_eq!(sends.begin(new(wrong.clone())).await.unwrap(), Begun::InFlight, "and nothing is done");
    let earlier = async |key: &str, digest: [u8; 32]| sends.earlier(&at.session, key, &digest).await.unwrap();
    assert_eq!(earlier("order-1", digest).await, Some(Begun::InFlight));
    assert_eq!(earlier("order-1", [8; 32]).await, Some(Begun::Mismatch));
    assert_eq!(earlier("order-2", digest).await, None);

    // Sent again: what the plugins wanted was done the first time, and is not relied on again.
    sends.release(&at.session, &id).await.unwrap();
    assert_eq!(sends.begin(new(wrong.clone())).await.unwrap(), Begun::Again(id.clone()));
    sends.release(&at.session, &id).await.unwrap();
    assert_eq!(sends.begin(new(at.effects())).await.unwrap(), Begun::Again(id.clone()));
    assert_eq!(
        at.store.events(at.scope).unrouted(None, 10).await.unwrap().len(),
        2,
        "the message, and what was raised once"
    );
    assert_eq!(at.store.plugins(at.scope).logs(&at.plugin, 10).await.unwrap().len(), 3, "what they said is kept");
    sends.advance(&at.session, std::slice::from_ref(&id), wagate::model::MessageState::Sent, None).await.unwrap();
    assert!(matches!(earlier("order-1", digest).await, Some(Begun::Replay(_))));

    let plugins = at.store.plugins(at.scope);
    assert_eq!(plugins.commit(&at.session, wrong, vec![at.line()]).await.unwrap(), None);
    let effects = Effects { sends: Vec::new(), ..at.effects() };
    assert_eq!(
        plugins.commit(&at.session, effects, vec![at.line()]).await.unwrap().map(|raised| raised.len()),
        Some(1)
    );
    assert_eq!(plugins.logs(&at.plugin, 10).await.unwrap().len(), 4);
    let raised = at.store.events(at.scope).unrouted(None, 10).await.unwrap();
    assert_eq!(raised.iter().filter(|event| event.kind() == "plugin.ticket").count(), 2);
}

#[tokio::test]
async fn what_was_routed_goes_with_its_session() {
    let at = Arrived::new().await;
    at.route(Routing { steps: vec![at.step()], effects: at.effects(), ..Routing::default() }).await;
    assert!(at.store.sessions(at.scope).delete(&at.session).await.unwrap());
    at.store.close().await;
    let raw = at.place.raw().await;
    for (table, expected) in [("events", 0), ("routings", 0), ("plugin_sends", 0), ("plugin_values", 1)] {
        assert_eq!(raw.count(table, "1 = 1").await.unwrap(), expected, "{table}");
    }
}
