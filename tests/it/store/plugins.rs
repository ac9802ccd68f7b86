//! The catalog of plugins: versions, bindings and chains, what plugins keep and what they said.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use wagate::model::{
    Binding, FailurePolicy, Grants, Hook, Limits, LogLevel, LogLine, Plugin, PluginId, Report, Reuse, Scope, SessionId,
    UserId,
};
use wagate::store::plugins::{MOST_VERSIONS, NewBinding, NewVersion};
use wagate::store::{Store, StoreError};
use wagate_tests::haystack;

use super::{Place, START, session, shop, user};

/// A version of this component.
pub(super) fn version(component: &str) -> NewVersion {
    let report = Report {
        name: "router".to_owned(),
        version: "1.2.3".to_owned(),
        description: "Routes by keyword.".to_owned(),
        wants: vec!["kv".to_owned()],
        hooks: vec![Hook::MessageFilter, Hook::WebhookTransform],
        contract: "1.0.0".to_owned(),
        imports: vec!["wagate:plugin/kv@1.0.0".to_owned()],
        exports: Vec::new(),
        size: 4,
        sha256: component.to_owned(),
        reuse: Reuse::Fresh,
        compile_ms: 12,
    };
    let grants = Grants::parse(&["log", "kv", "http:*.example.org"]).unwrap();
    NewVersion { component: component.to_owned(), script: None, grants, report }
}

/// A plugin of this name, installed with a component of its own.
pub(super) async fn installed(store: &Store, owner: UserId, name: &str) -> Plugin {
    let calls = store.plugins(Scope::of(owner));
    let component = calls.add_component(name.as_bytes()).await.unwrap();
    calls.install(owner, name, version(&component)).await.unwrap().0
}

/// A binding of a plugin to a session, or to all.
fn binding(plugin: &PluginId, session: Option<&SessionId>, position: i64) -> NewBinding {
    NewBinding {
        plugin: plugin.clone(),
        session: session.cloned(),
        position,
        config: SecretString::from(format!("{{\"place\":{position},\"token\":\"geheim\"}}")),
        limits: Limits { cpu_ms: 20, ..Limits::default() },
        policy: FailurePolicy::Park,
        enabled: true,
    }
}

fn line(plugin: &PluginId, message: impl Into<String>) -> LogLine {
    let fields = [("chat".to_owned(), "support".to_owned())].into();
    let (plugin, message, call) = (plugin.clone(), message.into(), "call_1".to_owned());
    LogLine { plugin, at: START, level: LogLevel::Warn, message, fields, call }
}

#[tokio::test]
async fn versions_are_numbered_never_change_and_one_is_current() {
    let place = Place::new();
    let store = place.open().await;
    let ann = user(&store, "ann").await;
    let calls = store.plugins(Scope::of(ann));
    let component = calls.add_component(b"\0asm").await.unwrap();
    assert_eq!(component, "cd5d4935a48c0672cb06407bb443bc0087aff947c6b864bac886982c73b3027f");
    assert_eq!(calls.add_component(b"\0asm").await.unwrap(), component);
    assert_eq!(calls.component(&component).await.unwrap().as_deref(), Some(&b"\0asm"[..]));
    assert_eq!(calls.component("none").await.unwrap(), None);

    let (plugin, first) = calls.install(ann, "router", version(&component)).await.unwrap();
    assert_eq!((plugin.current, plugin.enabled, first.number), (1, true, 1));
    assert_eq!((&first.grants, &first.report), (&version(&component).grants, &version(&component).report));
    let scripted = NewVersion { script: Some("function onMessage() {}".to_owned()), ..version(&component) };
    let second = calls.add_version(&plugin.id, scripted).await.unwrap().unwrap();
    assert_eq!((second.number, second.script.as_deref()), (2, Some("function onMessage() {}")));
    assert_eq!(calls.versions(&plugin.id).await.unwrap(), [first, second]);
    assert_eq!(calls.get(&plugin.id).await.unwrap().unwrap().current, 1, "a new version does not run by itself");

    assert!(calls.set_current(&plugin.id, 2).await.unwrap());
    assert!(!calls.set_current(&plugin.id, 3).await.unwrap(), "no such version");
    assert!(calls.set_enabled(&plugin.id, false).await.unwrap());
    let changed = Plugin { current: 2, enabled: false, ..plugin };
    assert_eq!(calls.list().await.unwrap(), std::slice::from_ref(&changed));
    assert_eq!(calls.by_name("router").await.unwrap(), Some(changed));
    assert_eq!(calls.by_name("Router").await.unwrap(), None);
    assert!(calls.add_version(&"plg_none".parse().unwrap(), version(&component)).await.unwrap().is_none());
}

#[tokio::test]
async fn of_very_many_versions_the_oldest_that_does_not_run_makes_way() {
    let place = Place::new();
    let store = place.open().await;
    let ann = user(&store, "ann").await;
    let (calls, plugin) = (store.plugins(Scope::of(ann)), installed(&store, ann, "router").await);
    let component = calls.add_component(b"router").await.unwrap();
    let numbers = async || calls.versions(&plugin.id).await.unwrap().iter().map(|one| one.number).collect::<Vec<_>>();
    for _ in 1..MOST_VERSIONS {
        calls.add_version(&plugin.id, version(&component)).await.unwrap().unwrap();
    }
    assert_eq!(numbers().await, (1..=100).collect::<Vec<_>>());
    for _ in 0..2 {
        calls.add_version(&plugin.id, version(&component)).await.unwrap().unwrap();
    }
    assert_eq!(numbers().await, [1].into_iter().chain(4..=102).collect::<Vec<_>>(), "the first one runs");
    assert!(calls.set_current(&plugin.id, 50).await.unwrap());
    calls.add_version(&plugin.id, version(&component)).await.unwrap().unwrap();
    assert_eq!(numbers().await, (4..=103).collect::<Vec<_>>());
}

#[tokio::test]
async fn bindings_that_meet_on_a_session_are_counted() {
    let place = Place::new();
    let store = place.open().await;
    let (scope, shop) = shop(&store).await;
    let ann = scope.user().unwrap();
    let other = session(&store, ann, "ses_other").await.id;
    let (calls, plugin) = (store.plugins(scope), installed(&store, ann, "router").await.id);
    let everywhere = calls.bind(binding(&plugin, None, 1)).await.unwrap().unwrap();
    for (session, place) in [(&shop, 2), (&shop, 3), (&other, 4)] {
        calls.bind(binding(&plugin, Some(session), place)).await.unwrap().unwrap();
    }
    calls.bind(NewBinding { enabled: false, ..binding(&plugin, None, 5) }).await.unwrap().unwrap();
    let another = "bnd_new".parse().unwrap();
    assert_eq!(calls.crowd(Some(&shop), &another).await.unwrap(), 3);
    assert_eq!(calls.crowd(Some(&other), &another).await.unwrap(), 2);
    assert_eq!(calls.crowd(None, &another).await.unwrap(), 3, "the fullest");
    assert_eq!(calls.crowd(None, &everywhere.id).await.unwrap(), 2, "itself is left out");
    let bob = store.plugins(Scope::of(user(&store, "bob").await));
    assert_eq!(bob.crowd(None, &another).await.unwrap(), 0);
}

#[tokio::test]
async fn a_name_is_taken_once_for_each_user() {
    let place = Place::new();
    let store = place.open().await;
    let (ann, bob) = (user(&store, "ann").await, user(&store, "bob").await);
    let first = installed(&store, ann, "router").await;
    let again = store.plugins(Scope::of(ann)).install(ann, "router", version("x")).await;
    assert!(matches!(again, Err(StoreError::Taken("the plugin name"))), "{again:?}");
    installed(&store, bob, "router").await;
    assert!(store.plugins(Scope::of(bob)).install(ann, "theirs", version("x")).await.is_err());
    let unknown = store.plugins(Scope::of(ann)).install(ann, "nothing", version("x")).await;
    assert!(unknown.is_err(), "a component that is not stored");
    assert_eq!(store.plugins(Scope::of(ann)).list().await.unwrap(), [first], "and nothing of it is kept");
}

#[tokio::test]
async fn a_component_nobody_uses_goes_after_a_while() {
    let place = Place::new();
    let store = place.open().await;
    let (ann, bob) = (user(&store, "ann").await, user(&store, "bob").await);
    let (mine, theirs) = (installed(&store, ann, "shared").await, installed(&store, bob, "shared").await);
    let calls = store.plugins(Scope::gateway());
    let component = calls.versions(&mine.id).await.unwrap().remove(0).component;
    assert_eq!(calls.versions(&theirs.id).await.unwrap()[0].component, component, "stored once for both");

    place.clock.advance(Duration::from_hours(1));
    assert!(calls.remove(&mine.id).await.unwrap());
    assert!(calls.component(&component).await.unwrap().is_some(), "somebody still uses it");
    assert!(calls.remove(&theirs.id).await.unwrap());
    assert_eq!(calls.component(&component).await.unwrap(), None);

    let orphan = calls.add_component(b"looked at").await.unwrap();
    let fresh = calls.add_component(b"and another").await.unwrap();
    assert!(calls.component(&orphan).await.unwrap().is_some(), "its version may be about to follow");
    place.clock.advance(Duration::from_mins(11));
    assert_eq!(calls.add_component(b"and another").await.unwrap(), fresh);
    assert_eq!(calls.component(&orphan).await.unwrap(), None);
    assert!(calls.component(&fresh).await.unwrap().is_some(), "handed over again just now");
}

#[tokio::test]
async fn bindings_keep_their_configuration_sealed_and_count_their_changes() {
    let place = Place::apart().await;
    let store = place.open().await;
    let (scope, id) = shop(&store).await;
    let plugin = installed(&store, scope.user().unwrap(), "router").await;
    let calls = store.plugins(scope);
    let made = calls.bind(binding(&plugin.id, Some(&id), 5)).await.unwrap().unwrap();
    let read = calls.binding(&made.id).await.unwrap().unwrap();
    assert_eq!(read.config.expose_secret(), r#"{"place":5,"token":"geheim"}"#);
    assert_eq!((read.plugin, read.session, read.position), (plugin.id.clone(), Some(id.clone()), 5));
    assert_eq!((read.limits.cpu_ms, read.policy, read.enabled, read.revision), (20, FailurePolicy::Park, true, 1));

    let config = SecretString::from("{}");
    let wanted = Binding { session: None, position: -1, config, policy: FailurePolicy::Closed, enabled: false, ..made };
    let changed = calls.rebind(&wanted).await.unwrap().unwrap();
    assert_eq!(changed.revision, 2);
    let read = calls.bindings(&plugin.id).await.unwrap().remove(0);
    assert_eq!((read.config.expose_secret(), read.session, read.position, read.revision), ("{}", None, -1, 2));
    assert_eq!((read.policy, read.enabled), (FailurePolicy::Closed, false));
    assert!(calls.unbind(&read.id).await.unwrap());
    assert!(!calls.unbind(&read.id).await.unwrap());
    assert!(calls.rebind(&wanted).await.unwrap().is_none());

    store.close().await;
    let (path, secret) = (place.path(), &b"geheim"[..]);
    let folder = place.database.folder(&path).unwrap();
    let (found, looked_at) = haystack::find(folder, &[("the configuration", secret)]).unwrap();
    assert!(looked_at > 20_000 && found.is_empty(), "{found:?} in {looked_at} bytes");
}

#[tokio::test]
async fn a_chain_holds_what_runs_on_a_session_in_order() {
    let place = Place::new();
    let store = place.open().await;
    let (scope, id) = shop(&store).await;
    let ann = scope.user().unwrap();
    let other = session(&store, ann, "ses_other").await.id;
    let bob = user(&store, "bob").await;
    session(&store, bob, "ses_bob").await;
    let calls = store.plugins(scope);
    let (first, second, off) =
        (installed(&store, ann, "a").await, installed(&store, ann, "b").await, installed(&store, ann, "off").await);
    let theirs = installed(&store, bob, "theirs").await;
    let mut ids = Vec::new();
    for new in [
        binding(&second.id, None, 10),
        binding(&first.id, Some(&id), 10),
        binding(&second.id, Some(&id), 0),
        binding(&first.id, Some(&other), 0),
        binding(&off.id, None, 0),
        NewBinding { enabled: false, ..binding(&first.id, None, 0) },
    ] {
        ids.push(calls.bind(new).await.unwrap().unwrap().id);
    }
    assert!(store.plugins(Scope::of(bob)).bind(binding(&theirs.id, None, 0)).await.unwrap().is_some());
    assert!(calls.set_enabled(&off.id, false).await.unwrap());
    calls.add_version(&first.id, version(&calls.add_component(b"a2").await.unwrap())).await.unwrap().unwrap();
    assert!(calls.set_current(&first.id, 2).await.unwrap());

    let chain = store.plugins(Scope::gateway()).chain(&id).await.unwrap();
    let order: Vec<_> = chain.iter().map(|bound| &bound.binding.id).collect();
    assert_eq!(order, [&ids[2], &ids[0], &ids[1]], "by place, equal ones as they were made");
    assert_eq!((chain[2].plugin.name.as_str(), chain[2].version.number), ("a", 2));
    assert_eq!((chain[2].plugin.current, chain[2].plugin.enabled), (2, true));
    assert_eq!(chain[2].version.plugin, first.id);
    assert!(chain[0].binding.config.expose_secret().contains("geheim"));
    assert_eq!(calls.chain(&other).await.unwrap().len(), 2);
    assert!(store.plugins(Scope::of(bob)).chain(&id).await.unwrap().is_empty());
}

#[tokio::test]
async fn another_users_plugins_are_not_there_and_nobody_binds_across() {
    let place = Place::new();
    let store = place.open().await;
    let (scope, id) = shop(&store).await;
    let (ann, bob) = (scope.user().unwrap(), user(&store, "bob").await);
    let bobs = session(&store, bob, "ses_bob").await.id;
    let plugin = installed(&store, ann, "router").await;
    let mine = store.plugins(scope).bind(binding(&plugin.id, Some(&id), 0)).await.unwrap().unwrap();
    store.plugins(scope).log(&[line(&plugin.id, "mine")]).await.unwrap();

    let calls = store.plugins(Scope::of(bob));
    assert_eq!(calls.get(&plugin.id).await.unwrap(), None);
    assert_eq!(calls.by_name("router").await.unwrap(), None);
    assert!(calls.list().await.unwrap().is_empty() && calls.versions(&plugin.id).await.unwrap().is_empty());
    assert!(calls.bindings(&plugin.id).await.unwrap().is_empty());
    assert!(calls.binding(&mine.id).await.unwrap().is_none());
    assert!(calls.bind(binding(&plugin.id, Some(&bobs), 0)).await.unwrap().is_none());
    assert!(calls.rebind(&mine).await.unwrap().is_none() && !calls.unbind(&mine.id).await.unwrap());
    assert!(!calls.set_current(&plugin.id, 1).await.unwrap() && !calls.set_enabled(&plugin.id, false).await.unwrap());
    assert!(calls.add_version(&plugin.id, version("x")).await.unwrap().is_none());
    assert!(!calls.remove(&plugin.id).await.unwrap());
    calls.log(&[line(&plugin.id, "forged")]).await.unwrap();
    assert!(calls.logs(&plugin.id, 10).await.unwrap().is_empty());
    assert!(calls.give(ann, "forward", "x").await.is_err() && calls.gifts(ann).await.unwrap().is_empty());
    assert_eq!(store.plugins(scope).logs(&plugin.id, 10).await.unwrap(), [line(&plugin.id, "mine")]);

    // Not even the gateway's own scope binds a plugin to somebody else's session.
    let gateway = store.plugins(Scope::gateway());
    assert!(gateway.bind(binding(&plugin.id, Some(&bobs), 0)).await.unwrap().is_none());
    assert!(gateway.rebind(&Binding { session: Some(bobs), ..mine }).await.unwrap().is_none());
}

#[tokio::test]
async fn a_log_keeps_its_newest_thousand_lines() {
    let place = Place::new();
    let store = place.open().await;
    let ann = user(&store, "ann").await;
    let (plugin, other) = (installed(&store, ann, "a").await, installed(&store, ann, "b").await);
    let calls = store.plugins(Scope::of(ann));
    calls.log(&[line(&other.id, "alone"), line(&"plg_gone".parse().unwrap(), "left out")]).await.unwrap();
    for part in 0..12 {
        let lines: Vec<_> = (0..100).map(|n| line(&plugin.id, format!("{}", part * 100 + n))).collect();
        calls.log(&lines).await.unwrap();
    }
    let kept = calls.logs(&plugin.id, 5_000).await.unwrap();
    assert_eq!((kept.len(), kept[0].message.as_str(), kept[999].message.as_str()), (1000, "1199", "200"));
    assert_eq!(calls.logs(&plugin.id, 2).await.unwrap(), kept[..2]);
    assert_eq!(calls.logs(&other.id, 10).await.unwrap(), [line(&other.id, "alone")]);

    store.close().await;
    let rows = place.raw().await.count("plugin_logs", "1 = 1").await.unwrap();
    assert_eq!(rows, 1001, "the others are gone from the file");
}

#[tokio::test]
async fn gifts_are_remembered_with_what_was_given_last() {
    let place = Place::new();
    let store = place.open().await;
    let ann = user(&store, "ann").await;
    let calls = store.plugins(Scope::of(ann));
    assert!(calls.gifts(ann).await.unwrap().is_empty());
    for (name, component) in [("script", "1"), ("forward", "1"), ("forward", "2")] {
        calls.give(ann, name, component).await.unwrap();
    }
    let expected = [("forward", "2"), ("script", "1")].map(|(name, given)| (name.to_owned(), given.to_owned()));
    assert_eq!(calls.gifts(ann).await.unwrap(), expected);
}

#[tokio::test]
async fn plugins_go_with_their_user_and_leave_nothing() {
    let place = Place::new();
    let store = place.open().await;
    let (scope, id) = shop(&store).await;
    let ann = scope.user().unwrap();
    let plugin = installed(&store, ann, "a").await;
    let calls = store.plugins(scope);
    calls.bind(binding(&plugin.id, Some(&id), 0)).await.unwrap().unwrap();
    calls.bind(binding(&plugin.id, None, 0)).await.unwrap().unwrap();
    calls.log(&[line(&plugin.id, "x")]).await.unwrap();
    calls.give(ann, "a", "x").await.unwrap();
    assert!(store.sessions(scope).delete(&id).await.unwrap());
    assert_eq!(calls.bindings(&plugin.id).await.unwrap().len(), 1, "the session's binding went with it");
    assert!(store.users().remove(ann).await.unwrap());
    place.clock.advance(Duration::from_hours(1));
    store.plugins(Scope::gateway()).add_component(b"sweeps").await.unwrap();
    store.close().await;
    let raw = place.raw().await;
    for (table, expected) in [
        ("plugins", 0),
        ("plugin_versions", 0),
        ("plugin_bindings", 0),
        ("plugin_logs", 0),
        ("plugin_gifts", 0),
        ("components", 1),
    ] {
        assert_eq!(raw.count(table, "1 = 1").await.unwrap(), expected, "{table}");
    }
}
