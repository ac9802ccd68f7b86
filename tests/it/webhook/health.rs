//! Receivers that are ill: the breaker that spares them, what disables an endpoint, and how one comes back.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use wagate::model::{DeliveryState, DisabledWhy, Endpoint, Millis, Scope};
use wagate::store::deliveries::DeliveryRow;
use wagate_tests::post::{PATIENCE, Post};
use wagate_tests::receiver::{Receiver, Reply};

use super::{Desk, manual, states, texts, until, until_at};

/// Failures in a row that open a breaker.
const FAILURES: usize = 5;
/// Its first pause; the next is twice as long.
const PAUSE: Duration = Duration::from_secs(30);
/// After so long without a success an endpoint is disabled.
const FIVE_DAYS: Duration = Duration::from_hours(5 * 24);
/// Time in which an attempt that should not be made would have come.
const MOMENT: Duration = Duration::from_millis(200);

#[tokio::test]
async fn a_breaker_opens_lets_one_try_through_and_closes() -> Result<()> {
    let receiver = Receiver::start().await?;
    receiver.otherwise(Reply::status(503));
    let mut post = Post::to(&receiver.url(), manual()).await?;
    post.receive(12).await?;
    let running = post.deliver()?;
    let pulse = running.until_pulse(&post, "a pause", |pulse| pulse.paused_until.is_some()).await?;
    let pause = pulse.paused_until.context("no pause")?.since(post.clock.now());
    ensure!(pause >= PAUSE && pause <= PAUSE.mul_f64(1.2), "{pause:?}");
    running.until_pulse(&post, "silence", |pulse| pulse.in_flight == 0).await?;
    let tried = receiver.count();
    // Two begin together; what else was under way when the fifth failed has ended, too.
    ensure!((FAILURES..=FAILURES + 1).contains(&tried), "{tried} attempts");
    running.wake(&post).await?;
    tokio::time::sleep(MOMENT).await;
    assert_eq!(receiver.count(), tried, "an open breaker lets nothing through");
    let rows = post.until_all("attempts", |rows| made(rows) == tried).await?;
    assert!(rows.iter().all(|row| row.state == DeliveryState::Waiting));

    // Half open: one, and no more, though everything is due.
    post.clock.advance(pause);
    running.wake(&post).await?;
    receiver.wait_for(tried + 1, PATIENCE).await?;
    let now = post.clock.now();
    let longer = |until: Millis| until > now.after(PAUSE.mul_f64(1.2));
    let pulse = running.until_pulse(&post, "a longer pause", |pulse| pulse.paused_until.is_some_and(longer)).await?;
    let pause = pulse.paused_until.context("no pause")?.since(now);
    ensure!(pause >= 2 * PAUSE && pause <= PAUSE.mul_f64(2.4), "{pause:?}");
    tokio::time::sleep(MOMENT).await;
    assert_eq!(receiver.count(), tried + 1, "one try at a time");

    receiver.otherwise(Reply::status(200));
    post.clock.advance(pause);
    running.wake(&post).await?;
    post.until_all("all delivered", |rows| rows.iter().all(|row| row.state == DeliveryState::Delivered)).await?;
    let pulse = running.until_pulse(&post, "health", |pulse| pulse.paused_until.is_none()).await?;
    assert_eq!(pulse.failures, 0);
    assert_eq!(receiver.count(), tried + 1 + 12);
    running.stop().await
}

#[tokio::test]
async fn a_receiver_that_is_well_and_refuses_is_not_paused() -> Result<()> {
    let receiver = Receiver::start().await?;
    receiver.otherwise(Reply::status(404));
    let mut post = Post::to(&receiver.url(), manual()).await?;
    post.receive(12).await?;
    let running = post.deliver()?;
    post.until_all("an attempt each", |rows| rows.iter().all(|row| row.attempts == 1)).await?;
    let pulse = running.until_pulse(&post, "silence", |pulse| pulse.in_flight == 0).await?;
    assert_eq!(pulse.paused_until, None);
    running.stop().await
}

#[tokio::test]
async fn the_five_days_begin_anew_with_a_success() -> Result<()> {
    let receiver = Receiver::start().await?;
    receiver.script([Reply::status(503), Reply::status(200)]);
    receiver.otherwise(Reply::status(503));
    let mut post = Post::to(&receiver.url(), manual()).await?;
    let running = post.deliver()?;
    let four_days = Duration::from_hours(4 * 24);
    post.receive(1).await?;
    for (attempts, pause) in [(1, four_days), (2, four_days)] {
        running.wake(&post).await?;
        post.until("an attempt", |row| row.attempts == attempts).await?;
        post.clock.advance(pause);
    }
    // Eight days after the first failure, four after the success.
    post.receive(1).await?;
    for (attempts, pause) in [(1, four_days), (2, Duration::from_hours(25))] {
        running.wake(&post).await?;
        post.until("an attempt", |row| row.attempts == attempts).await?;
        running.until_pulse(&post, "silence", |pulse| pulse.in_flight == 0).await?;
        tokio::time::sleep(MOMENT).await;
        assert_eq!(endpoint(&post).await?.disabled, None, "after {attempts} attempts");
        post.clock.advance(pause);
    }
    running.wake(&post).await?;
    post.until("the last attempt", |row| row.attempts == 3).await?;
    for _ in 0..100 {
        if endpoint(&post).await?.disabled.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let found = endpoint(&post).await?;
    assert_eq!(found.disabled.map(|disabled| disabled.why), Some(DisabledWhy::Failing));
    running.stop().await
}

#[tokio::test]
async fn five_days_of_failures_disable_an_endpoint_which_others_are_told_and_its_owner_can_undo() -> Result<()> {
    let desk = Desk::open().await?;
    let (ill, watch) = (Receiver::start().await?, Receiver::start().await?);
    ill.otherwise(Reply::status(503));
    let endpoint = desk.add("crm", &ill, json!({})).await?;
    desk.add("watch", &watch, json!({ "events": ["endpoint.disabled"] })).await?;
    desk.write(&desk.friend, "one").await?;
    until(&desk.gateway, &endpoint, "a failure", |rows| rows.len() == 1 && rows[0]["attempts"] == 1).await?;
    let found = health(&desk, &endpoint, "failing").await?;
    assert!(!found["health"]["failing_since"].is_null(), "{found:#}");

    desk.pass(FIVE_DAYS);
    let found = disabled(&desk, &endpoint).await?;
    assert_eq!((&found["state"], &found["disabled"]["why"]), (&json!("disabled"), &json!("failing")));
    told(&watch, &endpoint, "failing").await?;

    ill.otherwise(Reply::status(200));
    enable(&desk, &endpoint).await?;
    until(&desk.gateway, &endpoint, "what waited delivered", |rows| states(rows) == ["delivered"]).await?;
    let found = health(&desk, &endpoint, "ok").await?;
    assert_eq!(found["health"]["failing_since"], Value::Null);
    desk.close().await;
    Ok(())
}

#[tokio::test]
async fn gone_disables_an_endpoint_which_others_are_told_and_its_owner_can_undo() -> Result<()> {
    let desk = Desk::open().await?;
    let (gone, watch) = (Receiver::start().await?, Receiver::start().await?);
    gone.script([Reply::status(410)]);
    let endpoint = desk.add("crm", &gone, json!({})).await?;
    desk.add("watch", &watch, json!({ "events": ["endpoint.*"] })).await?;
    desk.write(&desk.friend, "one").await?;
    let found = disabled(&desk, &endpoint).await?;
    assert_eq!((&found["state"], &found["disabled"]["why"]), (&json!("disabled"), &json!("gone")));
    told(&watch, &endpoint, "gone").await?;
    let rows = until(&desk.gateway, &endpoint, "it given up", |rows| states(rows) == ["dead"]).await?;
    assert_eq!(rows[0]["dead_why"], "gone");

    // What happens meanwhile is not for it.
    desk.mark("two").await?;
    enable(&desk, &endpoint).await?;
    desk.mark("three").await?;
    until(&desk.gateway, &endpoint, "the third delivered", |rows| states(rows) == ["dead", "delivered"]).await?;
    assert_eq!(texts(&gone.requests())?, ["one", "three"]);
    desk.close().await;
    Ok(())
}

#[tokio::test]
async fn a_disabled_endpoint_keeps_what_waits_until_it_is_enabled() -> Result<()> {
    let desk = Desk::open().await?;
    let hook = Receiver::start().await?;
    hook.script([Reply::status(500)]);
    let endpoint = desk.add("crm", &hook, json!({})).await?;
    desk.write(&desk.friend, "one").await?;
    until(&desk.gateway, &endpoint, "a failure", |rows| rows.len() == 1 && rows[0]["attempts"] == 1).await?;
    let (status, answer) = desk.gateway.post(&format!("/api/endpoints/{endpoint}/disable"), json!({})).await?;
    ensure!(status.is_success(), "not disabled: {status} {answer}");
    let found = disabled(&desk, &endpoint).await?;
    assert_eq!(found["disabled"]["why"], "by_user");
    desk.pass(Duration::from_mins(1));
    desk.mark("two").await?;
    // Longer than the deliverer ever goes without looking for what is due.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(hook.count(), 1);
    enable(&desk, &endpoint).await?;
    until(&desk.gateway, &endpoint, "the first delivered", |rows| states(rows) == ["delivered"]).await?;
    assert_eq!(texts(&hook.requests())?, ["one", "one"]);
    desk.close().await;
    Ok(())
}

#[tokio::test]
async fn a_paused_endpoint_says_so() -> Result<()> {
    let desk = Desk::open().await?;
    let hook = Receiver::start().await?;
    hook.otherwise(Reply::status(500));
    let endpoint = desk.add("crm", &hook, json!({})).await?;
    let found = health(&desk, &endpoint, "unknown").await?;
    assert_eq!(found["state"], "enabled", "{found:#}");
    for n in 0..FAILURES {
        desk.write(&desk.friend, &format!("message {n}")).await?;
    }
    let found = health(&desk, &endpoint, "paused").await?;
    let at = &found["health"];
    assert!(at["failures"].as_u64() >= Some(5) && !at["paused_until"].is_null(), "{found:#}");
    assert!(at["words"].as_str().is_some_and(|words| !words.is_empty()), "{found:#}");
    hook.otherwise(Reply::status(200));
    desk.pass(Duration::from_mins(1));
    let found = health(&desk, &endpoint, "ok").await?;
    assert!(!found["health"]["last_success_at"].is_null(), "{found:#}");
    desk.close().await;
    Ok(())
}

/// The post's endpoint.
async fn endpoint(post: &Post) -> Result<Endpoint> {
    let id = post.endpoint().await?;
    post.store.endpoints(Scope::gateway()).get(&id).await?.context("no endpoint")
}

/// Attempts made of all.
fn made(rows: &[DeliveryRow]) -> usize {
    rows.iter().filter_map(|row| usize::try_from(row.attempts).ok()).sum()
}

/// Waits until an endpoint's health has this name; the endpoint.
async fn health(desk: &Desk, endpoint: &str, state: &str) -> Result<Value> {
    let path = format!("/api/endpoints/{endpoint}");
    until_at(&desk.gateway, &path, state, |found| found["health"]["state"] == state).await
}

async fn disabled(desk: &Desk, endpoint: &str) -> Result<Value> {
    let path = format!("/api/endpoints/{endpoint}");
    until_at(&desk.gateway, &path, "it disabled", |found| !found["disabled"].is_null()).await
}

async fn enable(desk: &Desk, endpoint: &str) -> Result<()> {
    let (status, answer) = desk.gateway.post(&format!("/api/endpoints/{endpoint}/enable"), json!({})).await?;
    ensure!(status.is_success(), "not enabled: {status} {answer}");
    Ok(())
}

/// Waits until a receiver was told that an endpoint is disabled, and why.
async fn told(watch: &Receiver, endpoint: &str, why: &str) -> Result<()> {
    let request = watch.wait_for(1, PATIENCE).await?.remove(0);
    let text = String::from_utf8(request.body.to_vec())?;
    assert_eq!(request.json()?["event"], "endpoint.disabled", "{text}");
    assert!(text.contains(endpoint) && text.contains(&format!("\"{why}\"")), "{text}");
    assert_eq!(watch.count(), 1, "once");
    Ok(())
}
