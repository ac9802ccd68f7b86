//! Replays: one delivery again, or all that a filter chooses; at a pace, through restarts, until somebody stops it.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use reqwest::StatusCode;
use serde_json::{Value, json};
use wagate_tests::api::{Api, PATIENCE};
use wagate_tests::receiver::{Receiver, Recorded, Reply};
use wagate_tests::scene::Scene;

use super::{add, states, until, until_at};

#[tokio::test]
async fn a_delivery_is_made_again_by_its_id() -> Result<()> {
    let scene = Scene::set().await?;
    let hook = Receiver::start().await?;
    let endpoint = endpoint(&scene, "crm", &hook).await?;
    scene.mark("one").await?;
    let rows = until(&scene.gateway, &endpoint, "it delivered", |rows| states(rows) == ["delivered"]).await?;
    let path = format!("/api/deliveries/{}", rows[0]["id"].as_str().context("no id")?);
    let (status, answer) = scene.gateway.post(&format!("{path}/replay"), json!({})).await?;
    ensure!(status.is_success(), "not replayed: {status} {answer}");
    let requests = hook.wait_for(2, PATIENCE).await?;
    assert_eq!((requests[1].id(), &requests[1].body), (requests[0].id(), &requests[0].body));
    assert_eq!(requests[1].header("wagate-sequence"), requests[0].header("wagate-sequence"));
    let rows = until(&scene.gateway, &endpoint, "two attempts", |rows| rows[0]["attempts"] == 2).await?;
    assert_eq!(states(&rows), ["delivered"]);
    let (_, shown) = scene.gateway.get(&path).await?;
    assert_eq!(shown["attempts"].as_array().map(Vec::len), Some(2), "{shown:#}");
    assert_eq!(scene.hook.count(), 1, "the other endpoint's stays as it is");

    let (status, _) = scene.gateway.post("/api/deliveries/dlv_none/replay", json!({})).await?;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let other = scene.gateway.user("other").await?;
    let (status, _) = other.post(&format!("{path}/replay"), json!({})).await?;
    assert_eq!(status, StatusCode::NOT_FOUND, "another's delivery is not there");
    scene.end().await;
    Ok(())
}

#[tokio::test]
async fn a_filter_is_counted_first_and_chooses_what_is_made_again() -> Result<()> {
    let scene = Scene::set().await?;
    let hook = Receiver::start().await?;
    // The fourth says that it is gone, and disables what it belongs to.
    hook.script([200, 200, 200, 410].map(Reply::status));
    let endpoint = endpoint(&scene, "crm", &hook).await?;
    for n in 0..4 {
        scene.mark(&format!("message {n}")).await?;
        until(&scene.gateway, &endpoint, "it settled", |rows| {
            rows.len() == n + 1 && states(rows).iter().all(|state| *state != "waiting")
        })
        .await?;
    }
    let count = async |filter: Value| {
        let (status, answer) = replay(&scene.gateway, filter).await?;
        ensure!(status == StatusCode::OK, "not counted: {status} {answer}");
        answer["count"].as_u64().context("no count")
    };
    assert_eq!(count(json!({ "endpoint": endpoint, "dry_run": true })).await?, 4);
    assert_eq!(count(json!({ "session": scene.id, "dry_run": true })).await?, 8);
    assert_eq!(count(json!({ "endpoint": endpoint, "state": "dead", "dry_run": true })).await?, 1);
    assert_eq!(count(json!({ "endpoint": endpoint, "until": 1_000, "dry_run": true })).await?, 0);
    assert_eq!(count(json!({ "endpoint": endpoint, "from": 1_000, "dry_run": true })).await?, 4);
    assert_eq!((hook.count(), scene.hook.count()), (4, 4), "counting makes nothing again");

    let (status, answer) = scene.gateway.post(&format!("/api/endpoints/{endpoint}/enable"), json!({})).await?;
    ensure!(status.is_success(), "not enabled: {status} {answer}");
    let started = start(&scene.gateway, json!({ "endpoint": endpoint, "state": "dead" })).await?;
    let ended = until_done(&scene.gateway, &started).await?;
    assert_eq!((&ended["total"], &ended["done"]), (&json!(1), &json!(1)));
    hook.wait_for(5, PATIENCE).await?;
    let started = start(&scene.gateway, json!({ "endpoint": endpoint })).await?;
    let ended = until_done(&scene.gateway, &started).await?;
    assert_eq!((&ended["total"], &ended["done"]), (&json!(4), &json!(4)));
    hook.wait_for(9, PATIENCE).await?;
    until(&scene.gateway, &endpoint, "all delivered", |rows| states(rows) == ["delivered"; 4]).await?;
    assert_eq!(times(&hook.requests())?, [2, 2, 2, 3]);
    assert_eq!((hook.count(), scene.hook.count()), (9, 4));
    let (_, listed) = scene.gateway.get("/api/replays").await?;
    assert!(listed.to_string().contains(&started), "{listed:#}");
    scene.end().await;
    Ok(())
}

#[tokio::test]
async fn a_replay_keeps_its_pace() -> Result<()> {
    let scene = Scene::set().await?;
    let hook = Receiver::start().await?;
    let endpoint = endpoint(&scene, "crm", &hook).await?;
    write(&scene, &endpoint, 30).await?;
    let started = start(&scene.gateway, json!({ "endpoint": endpoint, "per_second": 10 })).await?;
    let requests = hook.wait_for(60, PATIENCE).await?;
    until_done(&scene.gateway, &started).await?;
    let again = &requests[30..];
    let took = again[29].at.duration_since(again[0].at);
    // Ten at once in the first second, and as many in each after it.
    ensure!(took >= Duration::from_millis(1_700) && took <= Duration::from_secs(15), "thirty in {took:?}");
    assert_eq!(times(&requests)?, [2; 30]);
    scene.end().await;
    Ok(())
}

#[tokio::test]
async fn a_replay_goes_on_after_a_restart_where_it_was() -> Result<()> {
    let scene = Scene::set().await?;
    let hook = Receiver::start().await?;
    let endpoint = endpoint(&scene, "crm", &hook).await?;
    write(&scene, &endpoint, 20).await?;
    let started = start(&scene.gateway, json!({ "endpoint": endpoint, "per_second": 5 })).await?;
    hook.wait_for(23, PATIENCE).await?;
    let interval = scene.interval().await;
    let before = hook.count();
    ensure!(before < 40, "it had ended before the restart");
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(hook.count(), before, "nothing runs");
    let scene = interval.resume().await?;
    hook.wait_for(40, PATIENCE).await?;
    let ended = until_done(&scene.gateway, &started).await?;
    assert_eq!((&ended["total"], &ended["done"]), (&json!(20), &json!(20)));
    until(&scene.gateway, &endpoint, "all delivered", |rows| {
        states(rows) == ["delivered"; 20] && rows.iter().all(|row| row["attempts"] == 2)
    })
    .await?;
    assert_eq!(times(&hook.requests())?, [2; 20], "none is left out, and none comes three times");
    scene.end().await;
    Ok(())
}

#[tokio::test]
async fn a_replay_that_is_cancelled_stops() -> Result<()> {
    let scene = Scene::set().await?;
    let hook = Receiver::start().await?;
    let endpoint = endpoint(&scene, "crm", &hook).await?;
    write(&scene, &endpoint, 20).await?;
    let started = start(&scene.gateway, json!({ "endpoint": endpoint, "per_second": 2 })).await?;
    hook.wait_for(21, PATIENCE).await?;
    let other = scene.gateway.user("other").await?;
    let path = format!("/api/replays/{started}");
    assert_eq!(other.delete(&path).await?.0, StatusCode::NOT_FOUND, "another's replay is not there");
    let (status, answer) = scene.gateway.delete(&path).await?;
    ensure!(status.is_success(), "not cancelled: {status} {answer}");
    let ended = until_at(&scene.gateway, &path, "it cancelled", |found| found["state"] == "cancelled").await?;
    until(&scene.gateway, &endpoint, "nothing waiting", |rows| states(rows).iter().all(|state| *state == "delivered"))
        .await?;
    let count = hook.count();
    assert_eq!(ended["done"].as_u64(), u64::try_from(count - 20).ok());
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    assert_eq!(hook.count(), count);
    ensure!(count < 40, "it had ended before");
    scene.end().await;
    Ok(())
}

async fn endpoint(scene: &Scene, name: &str, hook: &Receiver) -> Result<String> {
    add(&scene.gateway, &format!("/api/sessions/{}/endpoints", scene.id), name, &hook.url(), json!({})).await
}

/// Has so many messages delivered.
async fn write(scene: &Scene, endpoint: &str, messages: usize) -> Result<()> {
    for n in 0..messages {
        scene.friend.send_text(scene.account.number(), &format!("message {n}")).await?;
    }
    until(&scene.gateway, endpoint, "all delivered", |rows| {
        rows.len() == messages && states(rows).iter().all(|state| *state == "delivered")
    })
    .await?;
    Ok(())
}

async fn replay(api: &Api, body: Value) -> Result<(StatusCode, Value)> {
    api.post("/api/replays", body).await
}

/// Starts a replay; its id.
async fn start(api: &Api, body: Value) -> Result<String> {
    let (status, answer) = replay(api, body).await?;
    ensure!(status == StatusCode::ACCEPTED, "not started: {status} {answer}");
    Ok(answer["id"].as_str().context("no id")?.to_owned())
}

async fn until_done(api: &Api, replay: &str) -> Result<Value> {
    until_at(api, &format!("/api/replays/{replay}"), "it done", |found| found["state"] == "done").await
}

/// How often each delivery came, in the order of the messages. What comes again is the same to the byte.
fn times(requests: &[Recorded]) -> Result<Vec<usize>> {
    let mut bodies: BTreeMap<(u64, String), (Bytes, usize)> = BTreeMap::new();
    for request in requests {
        let key = (request.header("wagate-sequence").parse()?, request.id().to_owned());
        let (body, times) = bodies.entry(key).or_insert_with(|| (request.body.clone(), 0));
        assert_eq!(*body, request.body);
        *times += 1;
    }
    Ok(bodies.into_values().map(|(_, times)| times).collect())
}
