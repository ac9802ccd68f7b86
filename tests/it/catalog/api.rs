//! The catalog over REST: what is taken, what is refused and why, and what of it others can see.

use anyhow::{Context as _, Result, ensure};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use wagate_tests::component::Verdict;

use super::{DROP, filter, keeper, picky};
use crate::api::{Answer, Site};

/// Sends a component.
async fn upload(site: &Site, token: &str, path: &str, component: Vec<u8>) -> Result<Answer> {
    let request = site.http.post(format!("{}{path}", site.base)).bearer_auth(token);
    Answer::of(request.header("content-type", "application/wasm").body(component)).await
}

/// Installs the filter that always says `verdict`; answers the plugin.
async fn install(site: &Site, token: &str, name: &str, verdict: &Verdict<'_>) -> Result<Value> {
    let path = format!("/api/plugins?name={name}&grant=log");
    let installed = upload(site, token, &path, filter(verdict)?).await?;
    ensure!(installed.status == StatusCode::CREATED, "{} {}", installed.status, installed.body);
    Ok(installed.body)
}

fn id(body: &Value) -> Result<String> {
    Ok(body["id"].as_str().context("no id")?.to_owned())
}

#[tokio::test]
async fn refuses_what_cannot_be_installed_and_says_what_to_do() -> Result<()> {
    let site = Site::start().await?;
    let token = site.admin().await?;
    let component = |text: &str| wat::parse_str(text);
    let table = [
        (b"not wasm at all".to_vec(), "not_wasm"),
        (Vec::new(), "not_wasm"),
        (component("(module)")?, "core_module"),
        (component("(component)")?, "no_lifecycle"),
        (component(r#"(component (import "evil:host/files" (instance)))"#)?, "unknown_import"),
        (
            component(r#"(component (instance $none) (export "wagate:plugin/lifecycle@2.0.0" (instance $none)))"#)?,
            "wrong_contract",
        ),
    ];
    for (bytes, code) in table {
        for path in ["/api/plugins/check", "/api/plugins?name=x"] {
            upload(&site, &token, path, bytes.clone()).await?.refuses(400, code);
        }
    }
    let whole = filter(&Verdict::Pass)?;
    let cut = whole[..whole.len() - 40].to_vec();
    upload(&site, &token, "/api/plugins/check", cut).await?.refuses(400, "invalid_component");
    let large = vec![0; (32 << 20) + 1];
    upload(&site, &token, "/api/plugins/check", large).await?.refuses(413, "component_too_large");
    site.post("/api/plugins/check", &token, json!({ "script": 7 })).await?.refuses(400, "invalid_field");
    let named = site.get("/api/plugins", &token).await?.body.to_string();
    assert!(!named.contains("\"x\""), "nothing was installed: {named}");
    site.stop().await
}

#[tokio::test]
async fn refuses_grants_and_names_that_cannot_be() -> Result<()> {
    let site = Site::start().await?;
    let token = site.admin().await?;
    let whole = filter(&Verdict::Pass)?;
    let table = [
        ("?grant=everything", 400, "unknown_grant"),
        ("?grant=http:", 400, "unknown_grant"),
        ("?name=a%20b", 400, "invalid_name"),
        ("?nonsense=1", 400, "invalid_query"),
        ("?accept_ungranted=1", 400, "invalid_query"),
    ];
    for (query, status, code) in table {
        upload(&site, &token, &format!("/api/plugins{query}"), whole.clone()).await?.refuses(status, code);
    }
    install(&site, &token, "mine", &Verdict::Pass).await?;
    upload(&site, &token, "/api/plugins?name=mine", whole).await?.refuses(409, "name_taken");
    site.stop().await
}

#[tokio::test]
async fn what_a_component_imports_is_granted_or_knowingly_denied() -> Result<()> {
    let site = Site::start().await?;
    let token = site.admin().await?;
    for query in ["", "&grant=kv", "&grant=log&grant=outbox.send"] {
        let refused = upload(&site, &token, &format!("/api/plugins?name=keeper{query}"), keeper()?).await?;
        refused.refuses(400, "ungranted_import");
        let said = refused.body["message"].as_str().unwrap_or_default();
        assert!(said.contains("which needs the grant"), "{said}");
    }
    let path = "/api/plugins?name=granted&grant=kv&grant=outbox.send";
    assert_eq!(upload(&site, &token, path, keeper()?).await?.status, StatusCode::CREATED);
    let accepted = upload(&site, &token, "/api/plugins?name=accepted&accept_ungranted=true", keeper()?).await?;
    assert_eq!(accepted.status, StatusCode::CREATED, "{}", accepted.body);
    let path = format!("/api/plugins/{}/versions", id(&accepted.body)?);
    upload(&site, &token, &path, keeper()?).await?.refuses(400, "ungranted_import");
    let again = upload(&site, &token, &format!("{path}?accept_ungranted=true"), keeper()?).await?;
    assert_eq!(again.status, StatusCode::CREATED, "{}", again.body);
    site.stop().await
}

#[tokio::test]
async fn installs_versions_rolls_back_and_removes() -> Result<()> {
    let site = Site::start().await?;
    let token = site.admin().await?;
    let checked = upload(&site, &token, "/api/plugins/check", filter(&Verdict::Pass)?).await?;
    assert_eq!((checked.status, &checked.body["name"]), (StatusCode::OK, &json!("small")), "{}", checked.body);
    assert_eq!((&checked.body["hooks"], &checked.body["wants"]), (&json!(["message-filter"]), &json!(["log"])));
    let unnamed = upload(&site, &token, "/api/plugins", filter(&Verdict::Pass)?).await?;
    assert_eq!((unnamed.status, &unnamed.body["name"]), (StatusCode::CREATED, &json!("small")), "{}", unnamed.body);
    assert_eq!((&unnamed.body["grants"], &unnamed.body["ungranted"]), (&json!([]), &json!(["log"])));
    let plugin = format!("/api/plugins/{}", id(&unnamed.body)?);
    assert_eq!(unnamed.header("location"), plugin);
    let path = format!("{plugin}/versions?grant=log&activate=false");
    let second = upload(&site, &token, &path, filter(&DROP)?).await?;
    assert_eq!((second.status, &second.body["number"]), (StatusCode::CREATED, &json!(2)), "{}", second.body);
    assert_eq!((&second.body["current"], &second.body["grants"]), (&json!(false), &json!(["log"])));
    let patch = |body| site.call(Method::PATCH, &plugin, &token, Some(body));
    assert_eq!(patch(json!({ "current": 2 })).await?.body["current"], json!(2));
    assert_eq!(patch(json!({ "current": 1, "enabled": false })).await?.body["enabled"], json!(false));
    patch(json!({ "current": 7 })).await?.refuses(404, "no_such_version");
    let versions = site.get(&format!("{plugin}/versions"), &token).await?.body;
    let current: Vec<_> = versions.as_array().context("no list")?.iter().map(|version| &version["current"]).collect();
    assert_eq!(current, [&json!(true), &json!(false)]);
    assert_eq!(site.delete(&plugin, &token).await?.status, StatusCode::OK);
    site.get(&plugin, &token).await?.refuses(404, "not_found");
    site.stop().await
}

#[tokio::test]
async fn a_binding_is_checked_by_the_plugin_and_hides_its_secrets() -> Result<()> {
    let site = Site::start().await?;
    let token = site.admin().await?;
    site.session(&token, "s").await?;
    let plugin = id(&install(&site, &token, "mine", &Verdict::Pass).await?)?;
    let path = format!("/api/plugins/{plugin}/bindings");
    let config = json!({ "text": "hello", "api_key": "k-123" });
    let bound = site.post(&path, &token, json!({ "session_id": "s", "config": config, "policy": "park" })).await?;
    assert_eq!(bound.status, StatusCode::CREATED, "{}", bound.body);
    assert_eq!(bound.body["config"], json!({ "text": "hello", "api_key": "***" }));
    assert_eq!((&bound.body["position"], &bound.body["limits"]["cpu_ms"]), (&json!(100), &json!(50)));
    let binding = format!("{path}/{}", id(&bound.body)?);
    let patch = |body| site.call(Method::PATCH, &binding, &token, Some(body));
    let changed = patch(json!({ "config": { "text": "bye", "api_key": "***" }, "enabled": false })).await?;
    assert_eq!(
        (changed.status, &changed.body["config"]["api_key"]),
        (StatusCode::OK, &json!("***")),
        "{}",
        changed.body
    );
    assert_eq!((&changed.body["session_id"], &changed.body["policy"]), (&json!("s"), &json!("park")), "the rest stays");
    patch(json!({ "config": { "token": "***" } })).await?.refuses(400, "invalid_config");
    patch(json!({ "config": [] })).await?.refuses(400, "invalid_config");
    patch(json!({ "limits": { "memory_mib": 65 } })).await?.refuses(400, "invalid_limits");
    patch(json!({ "policy": "maybe" })).await?.refuses(400, "invalid_field");
    patch(json!({ "session_id": "other" })).await?.refuses(404, "not_found");
    let shown = site.get(&path, &token).await?.body.to_string();
    assert!(shown.contains("bye") && !shown.contains("k-123"), "{shown}");
    assert_eq!(site.delete(&binding, &token).await?.status, StatusCode::OK);
    site.delete(&binding, &token).await?.refuses(404, "not_found");
    site.stop().await
}

#[tokio::test]
async fn a_chain_has_an_end() -> Result<()> {
    let site = Site::start().await?;
    let token = site.admin().await?;
    let plugin = id(&install(&site, &token, "mine", &Verdict::Pass).await?)?;
    let path = format!("/api/plugins/{plugin}/bindings");
    let mut bound = 0;
    let refused = loop {
        let answer = site.post(&path, &token, json!({})).await?;
        if answer.status != StatusCode::CREATED {
            break answer;
        }
        bound += 1;
    };
    refused.refuses(409, "too_many");
    assert!((31..=32).contains(&bound), "{bound}, perhaps beside forward");
    let off = site.post(&path, &token, json!({ "enabled": false })).await?;
    assert_eq!(off.status, StatusCode::CREATED, "what is switched off is in nobody's way: {}", off.body);
    let binding = format!("{path}/{}", id(&off.body)?);
    site.call(Method::PATCH, &binding, &token, Some(json!({ "enabled": true }))).await?.refuses(409, "too_many");
    site.stop().await
}

#[tokio::test]
async fn a_version_that_does_not_start_is_not_put_in_force() -> Result<()> {
    let site = Site::start().await?;
    let token = site.admin().await?;
    let refusing = upload(&site, &token, "/api/plugins?name=picky", picky()?).await?;
    let path = format!("/api/plugins/{}/bindings", id(&refusing.body)?);
    let refused = site.post(&path, &token, json!({})).await?;
    refused.refuses(400, "config_refused");
    assert!(refused.body["message"].as_str().is_some_and(|said| said.contains("no good")), "{}", refused.body);
    let plugin = id(&install(&site, &token, "mine", &Verdict::Pass).await?)?;
    site.post(&format!("/api/plugins/{plugin}/bindings"), &token, json!({})).await?;
    let path = format!("/api/plugins/{plugin}/versions");
    let worse = upload(&site, &token, &path, picky()?).await?;
    worse.refuses(400, "config_refused");
    assert_eq!(site.get(&format!("/api/plugins/{plugin}"), &token).await?.body["current"], json!(1));
    site.stop().await
}

#[tokio::test]
async fn a_dry_run_shows_what_would_happen_and_does_nothing() -> Result<()> {
    let site = Site::start().await?;
    let token = site.admin().await?;
    site.session(&token, "s").await?;
    let plugin = id(&install(&site, &token, "mine", &Verdict::Pass).await?)?;
    let path = format!("/api/plugins/{plugin}/versions?activate=false");
    upload(&site, &token, &path, filter(&DROP)?).await?;
    let path = format!("/api/plugins/{plugin}/dry-run");
    let tried = site.post(&path, &token, json!({ "message": { "text": "hello" } })).await?;
    assert_eq!((tried.status, &tried.body["verdict"]), (StatusCode::OK, &json!("pass")), "{}", tried.body);
    assert_eq!((&tried.body["outcome"], &tried.body["patch"]), (&json!("forwarded"), &json!([])));
    let shaped = tried.body["deliveries"][0]["body"].as_str().context("no webhook is shown")?;
    assert!(shaped.contains("hello"), "{shaped}");
    let other = site.post(&path, &token, json!({ "message": { "text": "hello" }, "version": 2 })).await?;
    assert_eq!((&other.body["verdict"], &other.body["outcome"]), (&json!("drop"), &json!("dropped")), "{}", other.body);
    assert_eq!((&other.body["detail"], &other.body["deliveries"]), (&json!("spam"), &json!([])));
    site.post(&path, &token, json!({})).await?.refuses(400, "invalid_field");
    site.post(&path, &token, json!({ "message": { "txet": "" } })).await?.refuses(400, "invalid_field");
    site.post(&path, &token, json!({ "message": { "from_me": true } })).await?.refuses(400, "own_message");
    site.post(&path, &token, json!({ "event_id": "evt_none" })).await?.refuses(404, "not_found");
    let health = &site.get(&format!("/api/plugins/{plugin}"), &token).await?.body["health"];
    assert_eq!(health["calls"], json!(0), "a rehearsal is not counted");
    site.stop().await
}

#[tokio::test]
async fn a_replay_shows_where_another_version_would_decide_otherwise() -> Result<()> {
    let site = Site::start().await?;
    let token = site.admin().await?;
    site.session(&token, "s").await?;
    let plugin = id(&install(&site, &token, "mine", &Verdict::Pass).await?)?;
    site.post(&format!("/api/plugins/{plugin}/bindings"), &token, json!({})).await?;
    let path = format!("/api/plugins/{plugin}/versions?activate=false");
    upload(&site, &token, &path, filter(&DROP)?).await?;
    let messages: Vec<_> = ["one", "two", "three"].map(message).into();
    let events = site.store.events(wagate::model::Scope::gateway());
    let stored = events.receive(&"s".parse()?, &messages).await?;
    let path = format!("/api/plugins/{plugin}/replay");
    let same = site.post(&path, &token, json!({ "version": 1 })).await?;
    assert_eq!((&same.body["events"], &same.body["same"]), (&json!(3), &json!(3)), "{}", same.body);
    let differs = site.post(&path, &token, json!({ "version": 2, "last": 2, "session_id": "s" })).await?;
    assert_eq!((&differs.body["events"], &differs.body["same"]), (&json!(2), &json!(0)), "{}", differs.body);
    let newest = &differs.body["differing"][0];
    assert_eq!(newest["event_id"], json!(stored[2].id));
    let changes = newest["changes"].as_array().context("no changes")?;
    let outcome = json!({ "path": "outcome", "from": "forwarded", "to": "dropped" });
    assert!(changes.contains(&outcome), "{newest}");
    site.post(&path, &token, json!({ "version": 9 })).await?.refuses(404, "no_such_version");
    site.post(&path, &token, json!({ "last": 1_001 })).await?.refuses(400, "invalid_field");
    let trace = site.get(&format!("/api/events/{}/trace", stored[0].id), &token).await?;
    assert_eq!((&trace.body["event"]["message"]["text"], &trace.body["routing"]), (&json!("one"), &json!(null)));
    site.session(&token, "elsewhere").await?;
    let bindings = format!("/api/plugins/{plugin}/bindings");
    let bound = id(&site.get(&bindings, &token).await?.body[0])?;
    let to_s = json!({ "session_id": "s" });
    site.call(Method::PATCH, &format!("{bindings}/{bound}"), &token, Some(to_s)).await?;
    events.receive(&"elsewhere".parse()?, &[message("four")]).await?;
    let bound = site.post(&path, &token, json!({ "version": 2 })).await?;
    assert_eq!(bound.body["events"], json!(3), "it is not bound elsewhere: {}", bound.body);
    let asked = site.post(&path, &token, json!({ "version": 2, "session_id": "elsewhere" })).await?;
    assert_eq!(asked.body["events"], json!(1), "{}", asked.body);
    site.stop().await
}

#[tokio::test]
async fn endpoints_are_named_listed_and_removed() -> Result<()> {
    let site = Site::start().await?;
    let token = site.admin().await?;
    site.session(&token, "s").await?;
    let path = "/api/sessions/s/endpoints";
    assert_eq!(site.get(path, &token).await?.body, json!([]));
    let billing = json!({ "name": "billing", "url": "https://myapp.com/billing" });
    let added = site.post(path, &token, billing.clone()).await?;
    assert_eq!(added.status, StatusCode::CREATED, "{}", added.body);
    assert!(added.body["secret"].as_str().is_some_and(|secret| secret.starts_with("whsec_")), "{}", added.body);
    site.post(path, &token, billing).await?.refuses(409, "name_taken");
    let table = [
        ("default", "https://myapp.com/x", 409, "name_taken"),
        ("a b", "https://myapp.com/x", 400, "invalid_name"),
        ("x", "", 400, "invalid_webhook_url"),
        ("x", "http://127.0.0.1/x", 400, "webhook_forbidden"),
    ];
    for (name, url, status, code) in table {
        site.post(path, &token, json!({ "name": name, "url": url })).await?.refuses(status, code);
    }
    site.put("/api/sessions/s/webhook", &token, json!({ "webhook_url": "https://myapp.com/hook" })).await?;
    let listed = site.get(path, &token).await?.body;
    let names: Vec<_> = listed.as_array().context("no list")?.iter().map(|endpoint| &endpoint["name"]).collect();
    assert_eq!(names, [&json!("default"), &json!("billing")]);
    let one = format!("{path}/{}", id(&added.body)?);
    assert_eq!(site.delete(&one, &token).await?.status, StatusCode::OK);
    site.delete(&one, &token).await?.refuses(404, "not_found");
    site.stop().await
}

#[tokio::test]
async fn another_users_plugins_are_not_found() -> Result<()> {
    let site = Site::start().await?;
    let admin = site.admin().await?;
    let (ana, ben) = (site.user(&admin, "ana").await?, site.user(&admin, "benjamin").await?);
    site.session(&ana, "hers").await?;
    site.session(&ben, "his").await?;
    let plugin = format!("/api/plugins/{}", id(&install(&site, &ana, "mine", &Verdict::Pass).await?)?);
    let bound = site.post(&format!("{plugin}/bindings"), &ana, json!({ "session_id": "hers" })).await?;
    let binding = format!("{plugin}/bindings/{}", id(&bound.body)?);
    let stored = site.store.events(wagate::model::Scope::gateway()).receive(&"hers".parse()?, &[message("x")]).await?;
    let requests = [
        (Method::GET, plugin.clone(), None),
        (Method::PATCH, plugin.clone(), Some(json!({ "enabled": false }))),
        (Method::GET, format!("{plugin}/versions"), None),
        (Method::POST, format!("{plugin}/versions"), Some(json!({ "script": "function onMessage() {}" }))),
        (Method::GET, format!("{plugin}/logs"), None),
        (Method::POST, format!("{plugin}/release"), None),
        (Method::GET, format!("{plugin}/bindings"), None),
        (Method::POST, format!("{plugin}/bindings"), Some(json!({}))),
        (Method::PATCH, binding.clone(), Some(json!({ "enabled": false }))),
        (Method::DELETE, binding, None),
        (Method::POST, format!("{plugin}/dry-run"), Some(json!({ "message": {} }))),
        (Method::POST, format!("{plugin}/replay"), Some(json!({}))),
        (Method::DELETE, plugin.clone(), None),
        (Method::GET, format!("/api/events/{}/trace", stored[0].id), None),
        (Method::GET, "/api/sessions/hers/endpoints".to_owned(), None),
        (
            Method::POST,
            "/api/sessions/hers/endpoints".to_owned(),
            Some(json!({ "name": "x", "url": "https://myapp.com/x" })),
        ),
        (Method::DELETE, "/api/sessions/hers/endpoints/end_1".to_owned(), None),
    ];
    for (method, path, body) in requests {
        for stranger in [&ben, &admin] {
            site.call(method.clone(), &path, stranger, body.clone()).await?.refuses(404, "not_found");
        }
    }
    let stray = site.post(&format!("{plugin}/bindings"), &ana, json!({ "session_id": "his" })).await?;
    stray.refuses(404, "not_found");
    let hers = site.get(&plugin, &ana).await?.body;
    assert_eq!((&hers["enabled"], hers["bindings"].as_array().map(Vec::len)), (&json!(true), Some(1)), "untouched");
    site.stop().await
}

fn message(text: &str) -> wagate::model::Incoming {
    use wagate::model::{Chat, Incoming, MessageKind, Millis};
    let person = |number: &str| number.parse::<Chat>().unwrap();
    Incoming {
        id: text.to_owned().into(),
        kind: MessageKind::Text,
        chat: person("6281381393739"),
        sender: person("6281381393739"),
        sender_alt: None,
        to: person("6282260790996"),
        from_me: false,
        text: Some(text.to_owned()),
        push_name: None,
        sent_at: Millis(1_700_000_000_000),
        backfill: false,
        chat_alt: None,
        target: None,
    }
}
