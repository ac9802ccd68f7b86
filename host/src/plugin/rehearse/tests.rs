//! What a rehearsal is compared by, and how a plugin is put on the stage.

use secrecy::SecretString;
use serde_json::json;

use super::*;
use crate::model::{
    BindingId, FailurePolicy, Grants, Hook, Labels, Limits, Millis, PluginId, QueuedSend, Report, Reuse, Step, UserId,
};

fn endpoint(name: &str) -> Endpoint {
    let url = "https://example.org/hook".parse().unwrap();
    Endpoint::plain(UserId(1), Some("s".parse().unwrap()), name, url, Millis(0))
}

fn posted_as(body: &str) -> Shaped {
    Shaped::Send(Shape::json(body.to_owned()))
}

fn rehearsal(filtered: Filtered) -> Rehearsal {
    Rehearsal { filtered, deliveries: Vec::new(), patch: Vec::new(), left: Left::default() }
}

fn forward() -> Rehearsal {
    rehearsal(Filtered::Forward { route_to: None })
}

fn bound(plugin: &PluginId, number: u32, position: i64) -> Bound {
    let report = Report {
        name: "x".to_owned(),
        version: "1.0.0".to_owned(),
        description: String::new(),
        wants: Vec::new(),
        hooks: vec![Hook::MessageFilter],
        contract: "1.0.0".to_owned(),
        imports: Vec::new(),
        exports: Vec::new(),
        size: 1,
        sha256: String::new(),
        reuse: Reuse::Fresh,
        compile_ms: 0,
    };
    Bound {
        binding: Binding {
            id: BindingId::new(),
            plugin: plugin.clone(),
            session: None,
            position,
            config: SecretString::from("{}"),
            limits: Limits::default(),
            policy: FailurePolicy::Open,
            enabled: true,
            revision: 1,
        },
        plugin: Plugin {
            id: plugin.clone(),
            owner: UserId(1),
            name: plugin.to_string(),
            current: number,
            enabled: true,
            created_at: Millis(0),
        },
        version: PluginVersion {
            plugin: plugin.clone(),
            number,
            component: String::new(),
            script: None,
            grants: Grants::default(),
            report,
            created_at: Millis(0),
        },
    }
}

#[test]
fn the_plugin_on_trial_takes_its_own_place_in_the_chain() {
    let (ours, first, last) = (PluginId::new(), PluginId::new(), PluginId::new());
    let chain = [bound(&first, 1, 0), bound(&ours, 1, 5), bound(&last, 1, 10)];
    let candidate = bound(&ours, 2, 7);
    let trial =
        Trial { plugin: candidate.plugin.clone(), version: candidate.version, bindings: vec![candidate.binding] };
    let staged: Vec<_> =
        staged(&chain, &trial).iter().map(|bound| (bound.plugin.id.clone(), bound.version.number)).collect();
    assert_eq!(staged, [(first, 1), (ours, 2), (last, 1)]);
}

#[test]
fn names_and_ids_route() {
    let endpoint = endpoint("billing");
    let to = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert!(admits(None, &endpoint));
    assert!(admits(Some(&to(&["support", "billing"])), &endpoint));
    assert!(admits(Some(&to(&[endpoint.id.as_str()])), &endpoint));
    assert!(!admits(Some(&to(&["bill"])), &endpoint) && !admits(Some(&[]), &endpoint));
}

#[test]
fn differences_of_webhooks_are_found_in_their_members() {
    let with = |body: &str| Rehearsal { deliveries: vec![(endpoint("default"), posted_as(body))], ..forward() };
    let before = with(r#"{"message": {"text": "4111 1111 1111 1111", "id": "x"}}"#);
    let after = with(r#"{"message": {"text": "****", "id": "x"}}"#);
    let found = differences(&before.summary(), &after.summary());
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].path.as_str(), &found[0].to), ("deliveries.default.body.message.text", &Some(json!("****"))));
}

#[test]
fn ids_and_times_that_are_new_each_time_make_no_difference() {
    let sent = |id: &str, took_us| {
        let send = QueuedSend {
            plugin: "plg_1".parse().unwrap(),
            message: id.to_owned().into(),
            to: "6281381393739".parse().unwrap(),
            text: "hello".to_owned(),
        };
        let step = Step {
            plugin: "plg_1".parse().unwrap(),
            name: "x".to_owned(),
            version: 1,
            binding: "bnd_1".parse().unwrap(),
            hook: Hook::MessageFilter,
            endpoint: None,
            verdict: "pass".to_owned(),
            detail: None,
            patch: None,
            took_us,
            memory_kib: took_us,
        };
        let mut rehearsal = forward();
        rehearsal.left.effects.sends.push(send);
        rehearsal.left.steps.push(step);
        rehearsal
    };
    assert!(differences(&sent("A", 1).summary(), &sent("B", 2).summary()).is_empty());
}

#[test]
fn the_outcome_is_one_word_with_a_reason() {
    let dropped = rehearsal(Filtered::Drop { code: "spam".to_owned(), detail: Some("a link".to_owned()) });
    assert_eq!((dropped.outcome(), dropped.detail().as_deref()), ("dropped", Some("spam: a link")));
    let deferred = rehearsal(Filtered::Defer { plugin: PluginId::new(), after: Duration::from_secs(2) });
    assert_eq!((deferred.outcome(), deferred.detail().as_deref()), ("deferred", Some("for 2000 ms")));
    let park = Shaped::Park { plugin: PluginId::new(), why: "failed".to_owned(), after: Duration::ZERO };
    let parked = Rehearsal { deliveries: vec![(endpoint("default"), park)], ..forward() };
    assert_eq!((parked.outcome(), parked.detail().as_deref()), ("parked", Some("failed")));
    assert_eq!((forward().outcome(), forward().detail()), ("forwarded", None));
    assert!(forward().left.labels == Labels::new());
}
