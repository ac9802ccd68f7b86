//! Endpoints on NATS: a real server with JetStream, killed and started again.

use anyhow::{Context as _, Result, ensure};
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, HeaderName};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use standardwebhooks::Webhook;
use tempfile::TempDir;
use wagate::config::{Config, NatsConfig, Sources};
use wagate_tests::api::{Api, PATIENCE};
use wagate_tests::nats::{Nats, Stored};
use wagate_tests::scene::Scene;

use super::{Desk, add, states, until};

/// What a gateway reads from this `NATS_URL`.
fn settings(url: &str) -> Result<NatsConfig> {
    let mut sources = Sources::default();
    let folder = TempDir::new()?;
    sources.set("data_dir", folder.path().to_string_lossy());
    sources.set("whatsapp.url", "ws://127.0.0.1:9/ws/chat");
    sources.set("nats.url", url);
    sources.set("nats.subject", "crm.in");
    Ok(Config::load(&sources)?.nats)
}

/// A scene with this server beside it.
async fn scene(nats: &Nats) -> Result<Scene> {
    let settings = settings(&nats.url())?;
    Scene::set_with(|config| config.nats = settings).await
}

/// Adds an endpoint for messages of the session that publishes to `nats:orders`; its id.
async fn endpoint(scene: &Scene) -> Result<String> {
    let path = format!("/api/sessions/{}/endpoints", scene.id);
    add(&scene.gateway, &path, "bus", "nats:orders", json!({ "headers": { "X-Team": "a", "Nats-Rollup": "all" } }))
        .await
}

async fn first_attempt(api: &Api, endpoint: &str) -> Result<Value> {
    let rows =
        until(api, endpoint, "it was attempted", |rows| rows.first().is_some_and(|row| row["attempts"] != 0)).await?;
    let id = rows[0]["id"].as_str().context("no id")?;
    Ok(api.get(&format!("/api/deliveries/{id}")).await?.1["attempts"][0].clone())
}

fn verify(message: &Stored, secret: &str) -> Result<()> {
    let mut headers = HeaderMap::new();
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        headers.insert(HeaderName::from_static(name), message.header(name).parse()?);
    }
    Ok(Webhook::new(secret)?.verify(&message.data, &headers)?)
}

#[tokio::test]
async fn what_a_webhook_gets_is_published_signed_and_kept_once() -> Result<()> {
    let nats = Nats::start().await?;
    nats.keep(&["crm.in.>"]).await?;
    let scene = scene(&nats).await?;
    let endpoint = endpoint(&scene).await?;
    scene.mark("one").await?;
    let stored = nats.wait_for(1, PATIENCE).await?.remove(0);
    assert_eq!(stored.subject, format!("crm.in.{}.orders", scene.id));
    assert_eq!(stored.data, scene.hook.requests()[0].body, "as the webhook has it, but for the id of the delivery");
    assert_eq!((stored.header("content-type"), stored.header("x-team")), ("application/json", "a"));
    assert_eq!((stored.header("Nats-Msg-Id"), stored.header("nats-rollup")), (stored.header("webhook-id"), ""));
    let (_, secret) = scene.gateway.get(&format!("/api/endpoints/{endpoint}/secret")).await?;
    let secret = secret["keys"][0]["secret"].as_str().or(secret["secret"].as_str()).context("no secret")?.to_owned();
    verify(&stored, &secret)?;

    let rows = until(&scene.gateway, &endpoint, "it delivered", |rows| states(rows) == ["delivered"]).await?;
    assert_eq!(rows[0]["id"], stored.header("webhook-id"));
    let attempt = first_attempt(&scene.gateway, &endpoint).await?;
    assert!(attempt["answer"].as_str().is_some_and(|answer| answer.contains("\"seq\":1")), "{attempt:#}");

    // The stream knows it by its id, and keeps it once.
    let replay = format!("/api/deliveries/{}/replay", stored.header("webhook-id"));
    let (status, answer) = scene.gateway.post(&replay, json!({})).await?;
    ensure!(status.is_success(), "not replayed: {status} {answer}");
    until(&scene.gateway, &endpoint, "two attempts", |rows| rows[0]["attempts"] == 2).await?;
    scene.mark("two").await?;
    let stored = nats.wait_for(2, PATIENCE).await?;
    assert_eq!(stored.len(), 2);
    scene.end().await;
    Ok(())
}

#[tokio::test]
async fn what_jetstream_does_not_store_is_tried_again_with_the_reason() -> Result<()> {
    let nats = Nats::start().await?;
    let settings = settings(&nats.url())?;
    let desk = Desk::open_with(move |config| config.nats = settings).await?;
    let endpoint = endpoint(&desk).await?;
    desk.mark("one").await?;
    let attempt = first_attempt(&desk.gateway, &endpoint).await?;
    assert_eq!(attempt["status"], 503, "{attempt:#}");
    assert!(attempt["answer"].as_str().is_some_and(|answer| answer.starts_with("no JetStream stream")), "{attempt:#}");

    nats.keep(&["crm.in.>"]).await?;
    desk.pass(std::time::Duration::from_secs(10));
    nats.wait_for(1, PATIENCE).await?;
    until(&desk.gateway, &endpoint, "it delivered", |rows| states(rows) == ["delivered"]).await?;

    nats.close(&["crm.in.>"]).await?;
    desk.mark("two").await?;
    let rows =
        until(&desk.gateway, &endpoint, "it was refused", |rows| rows.len() == 2 && rows[1]["attempts"] == 1).await?;
    assert_eq!(rows[1]["state"], "waiting");
    let id = rows[1]["id"].as_str().context("no id")?;
    let (_, shown) = desk.gateway.get(&format!("/api/deliveries/{id}")).await?;
    let attempt = &shown["attempts"][0];
    assert!(attempt["answer"].as_str().is_some_and(|answer| answer.contains("maximum messages")), "{attempt:#}");
    desk.close().await;
    Ok(())
}

#[tokio::test]
async fn nothing_is_lost_when_the_server_is_killed() -> Result<()> {
    let mut nats = Nats::start().await?;
    nats.keep(&["crm.in.>"]).await?;
    let settings = settings(&nats.url())?;
    let desk = Desk::open_with(move |config| config.nats = settings).await?;
    let endpoint = endpoint(&desk).await?;
    desk.mark("before").await?;
    nats.wait_for(1, PATIENCE).await?;
    nats.kill()?;
    for n in 0..5 {
        desk.mark(&format!("while it is gone {n}")).await?;
    }
    let tried = |rows: &[Value]| rows.len() == 6 && rows[1..].iter().any(|row| row["attempts"] != 0);
    until(&desk.gateway, &endpoint, "they were tried", tried).await?;
    nats.run().await?;
    // The client comes back by itself; until then attempts fail and wait again.
    let begun = tokio::time::Instant::now();
    while nats.stored().await?.len() < 6 {
        desk.pass(std::time::Duration::from_mins(10));
        ensure!(begun.elapsed() < PATIENCE, "not all came: {:#?}", super::deliveries(&desk.gateway, &endpoint).await?);
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    }
    until(&desk.gateway, &endpoint, "all delivered", |rows| states(rows) == ["delivered"; 6]).await?;
    assert_eq!(nats.stored().await?.len(), 6);
    desk.close().await;
    Ok(())
}

#[tokio::test]
async fn a_subject_that_is_none_and_a_gateway_without_nats_are_refused() -> Result<()> {
    let nats = Nats::start().await?;
    let scene = scene(&nats).await?;
    let path = format!("/api/sessions/{}/endpoints", scene.id);
    for url in
        ["nats:", "nats:a..b", "nats:a.*", "nats:>", "nats:a b", "nats://127.0.0.1:4222/x", "nats:a?b", "nats:a%2Eb"]
    {
        let (status, answer) = scene.gateway.post(&path, json!({ "name": "bus", "url": url })).await?;
        assert_eq!(
            (status, &answer["code"]),
            (StatusCode::BAD_REQUEST, &json!("invalid_webhook_url")),
            "{url}: {answer}"
        );
    }
    scene.end().await;

    let scene = Scene::set().await?;
    let body = json!({ "name": "bus", "url": "nats:orders" });
    let (status, answer) = scene.gateway.post(&format!("/api/sessions/{}/endpoints", scene.id), body).await?;
    assert_eq!((status, &answer["code"]), (StatusCode::BAD_REQUEST, &json!("no_nats")), "{answer}");
    assert!(answer["message"].as_str().is_some_and(|message| message.contains("NATS_URL")), "{answer}");
    scene.end().await;
    Ok(())
}

#[test]
fn the_password_is_not_shown() -> Result<()> {
    let settings = settings("nats://ann:s3cret@one:4222")?;
    assert!(!format!("{settings:?}").contains("s3cret"));
    assert_eq!(settings.login.context("no login")?.1.expose_secret(), "s3cret");
    Ok(())
}
