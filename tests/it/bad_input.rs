//! What is wrong with a request is said in the founding error object, every time; and it reaches nothing.

use std::time::Duration;

use anyhow::Result;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use wagate::model::Scope;
use wagate::store::deliveries::{DeliveryFilter, Page};
use wagate_simulator::{Network, NetworkConfig};
use wagate_tests::api::{Answer, Api, http_client};
use wagate_tests::gateway::Gateway;
use wagate_tests::scene::Scene;

/// A request with a body of the test's own making.
async fn raw(api: &Api, token: &str, method: Method, path: &str, body: impl Into<reqwest::Body>) -> Result<Answer> {
    let request = http_client()?
        .request(method, format!("{}{path}", api.base()))
        .bearer_auth(token)
        .header("content-type", "application/json")
        .body(body);
    let answer = request.send().await?;
    Ok((answer.status(), answer.json().await?))
}

/// The founding error object, with what was added to it.
fn assert_error((status, body): &Answer, expected: u16, code: &str, what: &str) {
    assert_eq!((status.as_u16(), body["code"].as_str()), (expected, Some(code)), "{what}: {body}");
    assert_eq!(body["error"].as_str(), status.canonical_reason(), "{what}: {body}");
    for field in ["message", "request_id"] {
        assert!(body[field].as_str().is_some_and(|text| !text.is_empty()), "{what}: {body}");
    }
}

#[tokio::test]
async fn every_fault_of_a_request_is_named() -> Result<()> {
    let network = Network::start(NetworkConfig::default()).await?;
    let gateway = Gateway::start(&network).await?;
    let id = gateway.create_session("Support", None).await?;
    let own = format!("/api/sessions/{id}");
    let send = format!("{own}/send");
    let table: Vec<(Method, String, String, u16, &str)> = vec![
        (Method::POST, send.clone(), r#"{"recipient": "nobody", "message": "x"}"#.into(), 400, "invalid_recipient"),
        (
            Method::POST,
            send.clone(),
            r#"{"recipient": "6281381393739", "message": " "}"#.into(),
            400,
            "invalid_message",
        ),
        (Method::POST, send.clone(), r#"{"recipient": "6281381393739", "message": 7}"#.into(), 400, "invalid_field"),
        (Method::POST, send.clone(), r#"{"recipient": "6281381393739"}"#.into(), 400, "invalid_field"),
        (
            Method::POST,
            send.clone(),
            r#"{"recipient": "6281381393739", "message": "x", "y": 1}"#.into(),
            400,
            "invalid_field",
        ),
        (Method::POST, send.clone(), r#"{"recipient": "#.into(), 400, "invalid_json"),
        (Method::POST, send.clone(), String::new(), 400, "invalid_body"),
        (Method::POST, send.clone(), r#"{"recipient": "6281381393739", "message": "x"}"#.into(), 404, "not_connected"),
        (
            Method::POST,
            "/api/sessions/none/send".into(),
            r#"{"recipient": "6281381393739", "message": "x"}"#.into(),
            404,
            "not_found",
        ),
        (Method::POST, format!("{own}/check-number"), r#"{"number": "12"}"#.into(), 400, "invalid_number"),
        (Method::POST, format!("{own}/check-number"), r#"{"number": "6281381393739"}"#.into(), 404, "not_connected"),
        (Method::POST, format!("{own}/follow-presence"), r#"{"contact": "1-2@g.us"}"#.into(), 400, "invalid_contact"),
        (
            Method::POST,
            format!("{own}/follow-presence"),
            r#"{"contact": "6281381393739"}"#.into(),
            404,
            "not_connected",
        ),
        (Method::POST, format!("{own}/pair-code"), r#"{"phone": "abc"}"#.into(), 400, "invalid_phone"),
        (Method::GET, format!("{own}/groups"), String::new(), 404, "not_connected"),
        (Method::GET, format!("{own}/qr"), String::new(), 409, "not_started"),
        (Method::GET, format!("{own}/qr?format=gif"), String::new(), 400, "invalid_format"),
        (Method::GET, "/api/sessions/none".into(), String::new(), 404, "not_found"),
        (Method::POST, "/api/sessions/none/connect".into(), "{}".into(), 404, "not_found"),
        (Method::DELETE, "/api/sessions/none".into(), String::new(), 404, "not_found"),
        (
            Method::POST,
            "/api/send".into(),
            r#"{"phone": "1555", "recipient": "6281381393739", "message": "x"}"#.into(),
            404,
            "not_found",
        ),
        (Method::PUT, format!("{own}/name"), r#"{"name": ""}"#.into(), 400, "invalid_name"),
        (Method::PUT, format!("{own}/webhook"), "{}".into(), 400, "invalid_field"),
        (
            Method::PUT,
            format!("{own}/webhook"),
            r#"{"webhook_url": "ftp://example.org"}"#.into(),
            400,
            "invalid_webhook_url",
        ),
        (Method::PATCH, own.clone(), "{}".into(), 405, "method_not_allowed"),
        (Method::GET, send, String::new(), 405, "method_not_allowed"),
        (Method::GET, "/api/nothing".into(), String::new(), 404, "no_such_route"),
    ];
    for (method, path, body, status, code) in table {
        let what = format!("{method} {path} {body}");
        assert_error(&raw(&gateway, gateway.token(), method, &path, body).await?, status, code, &what);
    }
    gateway.stop().await;
    Ok(())
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_with_413() -> Result<()> {
    let network = Network::start(NetworkConfig::default()).await?;
    let gateway = Gateway::start(&network).await?;
    let body = json!({ "name": "x".repeat(20 * 1024 * 1024) }).to_string();
    let answer = raw(&gateway, gateway.token(), Method::POST, "/api/sessions", body).await?;
    assert_error(&answer, 413, "body_too_large", "twenty megabytes");
    gateway.stop().await;
    Ok(())
}

#[tokio::test]
async fn a_token_that_is_not_ours_opens_nothing() -> Result<()> {
    let network = Network::start(NetworkConfig::default()).await?;
    let gateway = Gateway::start(&network).await?;
    let token = gateway.token();
    let mut parts: Vec<String> = token.split('.').map(str::to_owned).collect();
    assert_eq!(parts.len(), 3);
    parts[2] = parts[2].chars().rev().collect();
    let other = Gateway::start(&network).await?;
    let tampered = parts.join(".");
    for (what, token) in [
        ("tampered", tampered.as_str()),
        ("of another gateway", other.token()),
        ("nonsense", "x"),
        ("cut", &token[..token.len() - 1]),
    ] {
        let answer = raw(&gateway, token, Method::GET, "/api/sessions", "").await?;
        assert_error(&answer, 401, "invalid_token", what);
    }
    let none = http_client()?.get(format!("{}/api/sessions", gateway.base())).send().await?;
    let answer = (none.status(), none.json::<Value>().await?);
    assert_error(&answer, 401, "invalid_token", "no token at all");
    other.stop().await;
    gateway.stop().await;
    Ok(())
}

#[tokio::test]
async fn a_private_webhook_address_is_refused_when_it_is_saved() -> Result<()> {
    let network = Network::start(NetworkConfig::default()).await?;
    let gateway = Gateway::start_with(&network, |config| config.webhook.allow = Vec::new()).await?;
    let id = gateway.create_session("Support", None).await?;
    let private = [
        "http://127.0.0.1/",
        "http://10.1.2.3/hook",
        "http://169.254.169.254/latest/meta-data",
        "http://[::1]:8080/",
        "http://[::ffff:192.168.0.1]/",
        "http://0x7f000001/",
        "http://localhost/",
    ];
    for url in private {
        let answer = gateway.put(&format!("/api/sessions/{id}/webhook"), json!({ "webhook_url": url })).await?;
        assert_error(&answer, 400, "webhook_forbidden", url);
        let answer = gateway.post("/api/sessions", json!({ "name": "x", "webhook_url": url })).await?;
        assert_error(&answer, 400, "webhook_forbidden", url);
    }
    assert_eq!(gateway.get("/api/sessions").await?.1.as_array().map(Vec::len), Some(1));
    gateway.stop().await;
    Ok(())
}

#[tokio::test]
async fn a_private_webhook_address_is_refused_again_when_it_is_dialled() -> Result<()> {
    let interval = Scene::set().await?.interval().await;
    let connections = interval.hook.connections();
    let scene = interval.resume_with(|config| config.webhook.allow = Vec::new()).await?;
    scene.gateway.wait_connected(&scene.id).await?;
    scene.friend.send_text(scene.account.number(), "for nobody").await?;
    let (deliveries, session) = (scene.gateway.app().store().deliveries(Scope::gateway()), scene.id.parse()?);
    let filter = DeliveryFilter { session: Some(session), ..DeliveryFilter::default() };
    loop {
        let rows = deliveries.list(&filter, Page { before: None, limit: 10 }).await?;
        if rows.first().is_some_and(|row| row.attempts > 0) {
            let attempts = format!("{:?}", deliveries.attempts(&rows[0].id).await?);
            assert!(attempts.contains("127.0.0.1") && attempts.contains("WEBHOOK_ALLOW"), "{attempts}");
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(scene.hook.connections(), connections);
    scene.end().await;
    Ok(())
}

#[tokio::test]
async fn a_session_id_cannot_be_taken_twice() -> Result<()> {
    let network = Network::start(NetworkConfig::default()).await?;
    let gateway = Gateway::start(&network).await?;
    let body = json!({ "id": "session_sales", "name": "Sales" });
    assert_eq!(gateway.post("/api/sessions", body.clone()).await?.0, StatusCode::CREATED);
    assert_error(&gateway.post("/api/sessions", body).await?, 409, "id_taken", "the same id");
    gateway.stop().await;
    Ok(())
}
