//! Plugins on the two journeys: what they decide happens, what they ask for happens once, and nothing is lost when they
//! fail. Every plugin here is a pasted script, installed over REST.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use wagate_tests::api::{Api, PATIENCE};
use wagate_tests::scene::Scene;

const GRANTS: [&str; 6] = ["log", "kv", "outbox.reply", "outbox.send", "outbox.emit", "outgoing"];

/// Installs a script and binds it; answers the plugin's id.
async fn install(api: &Api, name: &str, script: &str, binding: Value) -> Result<String> {
    let body = json!({ "name": name, "script": script, "grants": GRANTS });
    let (status, plugin) = api.post("/api/plugins", body).await?;
    ensure!(status == StatusCode::CREATED, "install failed: {status} {plugin}");
    let id = plugin["id"].as_str().context("no id")?.to_owned();
    let (status, bound) = api.post(&format!("/api/plugins/{id}/bindings"), binding).await?;
    ensure!(status == StatusCode::CREATED, "bind failed: {status} {bound}");
    Ok(id)
}

/// The trace of the newest event that was routed with this outcome.
async fn trace(scene: &Scene, event: &str) -> Result<Value> {
    let (status, trace) = scene.gateway.get(&format!("/api/events/{event}/trace")).await?;
    ensure!(status == StatusCode::OK, "no trace: {status} {trace}");
    Ok(trace)
}

/// Waits until a question has the wanted answer.
async fn until(api: &Api, path: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
    let asking = async {
        loop {
            let (_, answer) = api.get(path).await?;
            if wanted(&answer) {
                return Ok(answer);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.with_context(|| format!("{path} did not get there"))?
}

/// The fields that the API's description gives an object.
fn described(schema: &str) -> BTreeSet<String> {
    let text = wagate::http::openapi();
    let (_, schema) = text.split_once(&format!("\n    {schema}:\n")).unwrap_or_default();
    let properties =
        schema.lines().take_while(|line| line.starts_with("      ")).skip_while(|line| *line != "      properties:");
    let names = properties.filter_map(|line| line.strip_prefix("        ")?.strip_suffix(':'));
    names.filter(|name| !name.starts_with(' ')).map(str::to_owned).collect()
}

async fn write(scene: &Scene, text: &str) -> Result<String> {
    Ok(scene.friend.send_text(scene.account.number(), text).await?)
}

#[tokio::test]
async fn a_filter_changes_drops_and_labels_and_the_trace_tells() -> Result<()> {
    let scene = Scene::set().await?;
    let script = r"
        function onMessage(message) {
            if (message.text === 'spam') return { drop: 'spam', detail: 'told by its word' };
            return { text: message.text.toUpperCase(), labels: { tone: 'loud' } };
        }";
    install(&scene.gateway, "loud", script, json!({})).await?;
    write(&scene, "spam").await?;
    write(&scene, "hello").await?;
    let body = scene.hook.wait_for(1, PATIENCE).await?.remove(0).json()?;
    assert_eq!((&body["message"]["message"], &body["message"]["labels"]["tone"]), (&json!("HELLO"), &json!("loud")));
    for (object, schema) in [(&body, "WebhookMessage"), (&body["message"], "WebhookMessageContent")] {
        let fields: BTreeSet<_> = object.as_object().context("no object")?.keys().cloned().collect();
        assert_eq!(fields, described(schema), "api-docs.yaml tells other fields of {schema} than arrived");
    }
    let trace = trace(&scene, body["event_id"].as_str().context("no event")?).await?;
    assert_eq!(trace["routing"]["outcome"], "forwarded", "{trace}");
    let steps = trace["routing"]["steps"].as_array().context("no steps")?;
    let verdicts: Vec<_> = steps.iter().map(|step| (step["name"].as_str(), step["verdict"].as_str())).collect();
    let expected = [("loud", "modify"), ("forward", "modify"), ("loud", "pass")];
    assert_eq!(verdicts, expected.map(|(name, verdict)| (Some(name), Some(verdict))), "{trace}");
    assert_eq!(steps[0]["patch"]["text"], "HELLO", "{trace}");
    assert_eq!(scene.hook.count(), 1, "the dropped message went out");
    scene.acknowledged().await?;
    scene.end().await;
    Ok(())
}

#[tokio::test]
async fn a_filter_routes_to_named_endpoints() -> Result<()> {
    let scene = Scene::set().await?;
    let path = format!("/api/sessions/{}/endpoints", scene.id);
    let endpoint = json!({ "name": "billing", "url": scene.hook.url_of("/billing") });
    let (status, answer) = scene.gateway.post(&path, endpoint).await?;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
    let script = "function onMessage(m) { return { routeTo: m.text === 'invoice' ? ['billing'] : ['default'] } }";
    install(&scene.gateway, "router", script, json!({ "session_id": scene.id })).await?;
    write(&scene, "invoice").await?;
    write(&scene, "anything else").await?;
    let requests = scene.hook.wait_for(2, PATIENCE).await?;
    let mut ways: Vec<_> = requests
        .iter()
        .map(|request| Ok((request.path.clone(), request.json()?["message"]["message"].clone())))
        .collect::<Result<_>>()?;
    ways.sort_by_key(|(path, _)| path.clone());
    assert_eq!(ways, [("/billing".to_owned(), json!("invoice")), ("/hook".to_owned(), json!("anything else"))]);
    scene.end().await;
    Ok(())
}

#[tokio::test]
async fn a_transform_reshapes_and_cancels_webhooks() -> Result<()> {
    let scene = Scene::set().await?;
    let script = r"
        function transform(delivery) {
            if (delivery.event.message.text === 'secret') return { cancel: 'not for outside' };
            return { body: 'text=' + delivery.event.message.text, contentType: 'text/plain',
                     headers: { 'x-shaped-by': 'script' }, pathSuffix: '/in/shape' };
        }";
    install(&scene.gateway, "shaper", script, json!({ "position": 10 })).await?;
    write(&scene, "secret").await?;
    write(&scene, "open").await?;
    let request = scene.hook.wait_for(1, PATIENCE).await?.remove(0);
    assert_eq!(
        (String::from_utf8_lossy(&request.body).as_ref(), request.path.as_str()),
        ("text=open", "/hook/in/shape")
    );
    assert_eq!((request.header("content-type"), request.header("x-shaped-by")), ("text/plain", "script"));
    let (_, webhook) = scene.gateway.get(&format!("/api/sessions/{}/webhook", scene.id)).await?;
    request.verify(webhook["secret"].as_str().context("no secret")?)?;
    assert_eq!(scene.hook.count(), 1, "the cancelled webhook went out");
    scene.end().await;
    Ok(())
}

#[tokio::test]
async fn replies_and_counters_happen_once_for_each_committed_verdict() -> Result<()> {
    let scene = Scene::set().await?;
    let script = r"
        function onMessage(message, api) {
            const n = api.kv.increment('seen', 1);
            api.outbox.reply('answer ' + n);
            api.outbox.emit('counted', { n: n });
        }";
    install(&scene.gateway, "answers", script, json!({})).await?;
    for n in 1..=5 {
        write(&scene, &format!("question {n}")).await?;
        let answer = format!("answer {n}");
        let seen = scene.friend.wait_for(PATIENCE, |received| received.text.as_deref() == Some(&answer)).await;
        assert!(seen.is_some(), "{answer} did not come");
    }
    let events = scene.hook.wait_for(10, PATIENCE).await?;
    let counted: Vec<_> = events
        .iter()
        .filter_map(|request| request.json().ok())
        .filter(|body| body["event"] == "plugin.counted")
        .filter_map(|body| body["payload"]["n"].as_i64())
        .collect();
    assert_eq!(counted, [1, 2, 3, 4, 5]);
    let answers = scene
        .friend
        .inbox()
        .iter()
        .filter(|message| message.text.as_deref().is_some_and(|text| text.starts_with("answer")))
        .count();
    assert_eq!(answers, 5, "an answer came twice");
    scene.end().await;
    Ok(())
}

#[tokio::test]
async fn a_call_that_fails_asks_for_nothing_and_the_policy_decides() -> Result<()> {
    for (policy, forwarded) in [("open", true), ("closed", false)] {
        let scene = Scene::set().await?;
        let script = r"
            function onMessage(message, api) {
                if (message.text === 'mark') return;
                api.outbox.reply('this must not be sent');
                api.kv.set('left', 'over');
                throw new Error('broken on purpose');
            }";
        let plugin = install(&scene.gateway, "broken", script, json!({ "policy": policy })).await?;
        write(&scene, "hello").await?;
        scene.mark("mark").await?;
        let came = texts(&scene)?.contains(&"hello".to_owned());
        assert_eq!(came, forwarded, "{policy}");
        let path = format!("/api/plugins/{plugin}/logs");
        until(&scene.gateway, &path, |logs| logs.to_string().contains("broken on purpose")).await?;
        assert!(scene.friend.inbox().iter().all(|m| m.text.as_deref() != Some("this must not be sent")));
        scene.end().await;
    }
    Ok(())
}

#[tokio::test]
async fn a_parked_message_waits_for_a_better_version() -> Result<()> {
    let scene = Scene::set().await?;
    let broken = "function onMessage(m) { if (m.text !== 'mark') throw new Error('not yet'); }";
    let plugin = install(&scene.gateway, "parks", broken, json!({ "policy": "park" })).await?;
    write(&scene, "patience").await?;
    scene.mark("mark").await?;
    assert!(!texts(&scene)?.contains(&"patience".to_owned()), "a parked message went out");
    let body = json!({ "script": "function onMessage(m) { return { labels: { late: 'yes' } }; }", "grants": GRANTS });
    let (status, answer) = scene.gateway.post(&format!("/api/plugins/{plugin}/versions"), body).await?;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
    let request =
        scene.hook.wait_until(PATIENCE, |request| String::from_utf8_lossy(&request.body).contains("patience"));
    assert_eq!(request.await?.json()?["message"]["labels"]["late"], "yes");
    scene.end().await;
    Ok(())
}

#[tokio::test]
async fn a_deferred_message_comes_again_also_after_a_restart() -> Result<()> {
    let scene = Scene::set().await?;
    let script = "function onMessage(m, api) { if (api.attempt < 3) return { defer: 700 }; return { labels: { tries: '' + api.attempt } }; }";
    install(&scene.gateway, "later", script, json!({})).await?;
    write(&scene, "slowly").await?;
    scene.acknowledged().await?;
    let scene = scene.interval().await.resume().await?;
    let body = scene.hook.wait_for(1, PATIENCE).await?.remove(0).json()?;
    assert_eq!((&body["message"]["message"], &body["message"]["labels"]["tries"]), (&json!("slowly"), &json!("3")));
    scene.end().await;
    Ok(())
}

#[tokio::test]
async fn a_filter_with_the_grant_judges_what_the_api_sends() -> Result<()> {
    let scene = Scene::set().await?;
    let script = r"
        function onMessage(message) {
            if (message.direction !== 'outgoing') return;
            if (/forbidden/.test(message.text)) return { drop: 'policy', detail: 'a word we do not use' };
            return { text: message.text + ' -- sent by wagate' };
        }";
    install(&scene.gateway, "outgoing", script, json!({})).await?;
    scene.gateway.send_text(&scene.id, scene.friend.number(), "hello").await?;
    let seen = scene.friend.wait_for(PATIENCE, |m| m.text.as_deref() == Some("hello -- sent by wagate")).await;
    assert!(seen.is_some(), "the changed text did not come");
    let body = json!({ "recipient": scene.friend.number(), "message": "forbidden" });
    let (status, answer) = scene.gateway.post(&format!("/api/sessions/{}/send", scene.id), body).await?;
    assert_eq!((status, &answer["code"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("dropped_by_plugin")), "{answer}");
    scene.end().await;
    Ok(())
}

#[tokio::test]
async fn what_a_filter_asks_for_on_a_message_going_out_is_done_at_once() -> Result<()> {
    let scene = Scene::set().await?;
    let script = r"
        function onMessage(message, api) {
            if (message.direction !== 'outgoing') return;
            api.outbox.emit('seen', { text: message.text });
            if (message.text === 'forbidden') return { drop: 'policy' };
        }";
    install(&scene.gateway, "watcher", script, json!({})).await?;
    scene.gateway.send_text(&scene.id, scene.friend.number(), "hello").await?;
    let body = json!({ "recipient": scene.friend.number(), "message": "forbidden" });
    let (status, answer) = scene.gateway.post(&format!("/api/sessions/{}/send", scene.id), body).await?;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{answer}");
    // Sooner than what was left behind is looked for.
    let requests = scene.hook.wait_for(2, Duration::from_secs(20)).await?;
    let mut seen =
        requests.iter().map(|request| Ok(request.json()?["payload"]["text"].clone())).collect::<Result<Vec<_>>>()?;
    seen.sort_by_key(Value::to_string);
    assert_eq!(seen, [json!("forbidden"), json!("hello")]);
    scene.end().await;
    Ok(())
}

#[tokio::test]
async fn values_that_change_under_a_call_make_it_run_again() -> Result<()> {
    let scene = Scene::set().await?;
    let script = "function onMessage(m, api) { api.kv.increment('all', 1); }";
    let plugin = install(&scene.gateway, "counter", script, json!({})).await?;
    let friends: Vec<_> = (0..8).map(|n| scene.network.add_phone(&format!("Friend {n}"))).collect();
    for round in 0..5 {
        for friend in &friends {
            friend.send_text(scene.account.number(), &format!("{round}")).await?;
        }
    }
    scene.hook.wait_for(40, PATIENCE).await?;
    let report = "function onMessage(m, api) { api.outbox.reply('all: ' + api.kv.get('all')); }";
    let body = json!({ "script": report, "grants": GRANTS });
    scene.gateway.post(&format!("/api/plugins/{plugin}/versions"), body).await?;
    write(&scene, "how many?").await?;
    let seen = scene.friend.wait_for(PATIENCE, |m| m.text.as_deref() == Some("all: 40")).await;
    assert!(seen.is_some(), "{:?}", scene.friend.inbox().iter().map(|m| m.text.clone()).collect::<Vec<_>>());
    scene.end().await;
    Ok(())
}

#[tokio::test]
async fn forwarding_is_a_plugin_that_can_be_switched_off() -> Result<()> {
    let scene = Scene::set().await?;
    let (_, plugins) = scene.gateway.get("/api/plugins").await?;
    let forward = plugins.as_array().and_then(|all| all.iter().find(|plugin| plugin["name"] == "forward"));
    let id = forward.context("forward is not listed")?["id"].as_str().context("no id")?.to_owned();
    let off = json!({ "enabled": false });
    let (status, answer) = scene.gateway.call(Method::PATCH, &format!("/api/plugins/{id}"), Some(off)).await?;
    assert_eq!(status, StatusCode::OK, "{answer}");
    write(&scene, "as it is").await?;
    let body = scene.hook.wait_for(1, PATIENCE).await?.remove(0).json()?;
    assert_eq!((&body["type"], &body["message"]["text"]), (&json!("message.received"), &json!("as it is")));
    scene.end().await;
    Ok(())
}

/// The texts of the founding bodies that came.
fn texts(scene: &Scene) -> Result<Vec<String>> {
    let text = |request: &wagate_tests::receiver::Recorded| {
        Ok(request.json()?["message"]["message"].as_str().unwrap_or_default().to_owned())
    };
    scene.hook.requests().iter().map(text).collect()
}
