//! Order: numbers for receivers that sort, lanes for those that want each chat in turn.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rand::RngExt as _;
use serde_json::json;
use wagate::model::{DeadWhy, DeliveryOrder, DeliveryState};
use wagate::store::deliveries::DeliveryRow;
use wagate::store::endpoints::EndpointChange;
use wagate_tests::post::{PATIENCE, Post, Running};
use wagate_tests::receiver::{Receiver, Recorded, Reply};

use super::{Desk, manual, states, texts, until};

/// The first pause after a failure, at its longest.
const RETRY: Duration = Duration::from_secs(6);

#[tokio::test]
async fn in_parallel_none_waits_for_another_and_all_are_numbered() -> Result<()> {
    let receiver = Receiver::start().await?;
    receiver.script([Reply::status(500)]);
    let mut post = Post::to(&receiver.url(), manual()).await?;
    post.receive(5).await?;
    let running = post.deliver()?;
    receiver.wait_for(5, PATIENCE).await?;
    post.until_all("four delivered", |rows| delivered(rows) == 4).await?;
    post.clock.advance(RETRY);
    running.wake(&post).await?;
    let requests = receiver.wait_for(6, PATIENCE).await?;
    running.stop().await?;

    let mut first = sequences(&requests[..5])?;
    first.sort_unstable();
    assert_eq!(first, [1, 2, 3, 4, 5]);
    assert_eq!((requests[5].id(), &requests[5].body), (requests[0].id(), &requests[0].body));
    for (request, number) in requests.iter().zip(sequences(&requests)?) {
        let text = format!("Hello {}! 👋", number - 1);
        assert_eq!(request.json()?["message"]["text"], text, "numbers follow the order of the messages");
    }
    Ok(())
}

#[tokio::test]
async fn a_strict_endpoint_holds_a_chat_behind_its_failing_delivery_and_lets_others_pass() -> Result<()> {
    let receiver = Receiver::start().await?;
    receiver.script([Reply::status(500)]);
    let mut post = Post::to(&receiver.url(), manual()).await?;
    post.chats = 2;
    order(&post, None, DeliveryOrder::Strict).await?;
    let running = post.deliver()?;
    post.receive(1).await?;
    running.wake(&post).await?;
    post.until("the failure", |row| row.attempts == 1).await?;

    post.receive(4).await?;
    running.wake(&post).await?;
    let rows = post.until_all("the other chat delivered", |rows| delivered(rows) == 2).await?;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(sequences(&receiver.requests())?, [1, 2, 4]);
    assert_eq!(waiting(&rows), [Some(true), None, Some(false), None, Some(false)]);

    post.clock.advance(RETRY);
    running.wake(&post).await?;
    post.until_all("all delivered", |rows| delivered(rows) == 5).await?;
    assert_eq!(sequences(&receiver.requests())?, [1, 2, 4, 1, 3, 5]);
    running.stop().await
}

#[tokio::test]
async fn whatever_fails_a_strict_endpoint_gets_each_chat_in_its_order() -> Result<()> {
    const CHATS: usize = 8;
    const MESSAGES: u32 = 120;
    let mut rng = rand::rng();
    let answers: Vec<u16> = (0..1_000).map(|_| if rng.random_ratio(1, 4) { 500 } else { 200 }).collect();
    let receiver = Receiver::start().await?;
    receiver.script(answers.iter().map(|status| Reply::status(*status)));
    let mut post = Post::to(&receiver.url(), manual()).await?;
    post.chats = u32::try_from(CHATS)?;
    order(&post, None, DeliveryOrder::Strict).await?;
    post.receive(MESSAGES).await?;
    let running = post.deliver()?;
    let begun = Instant::now();
    while post.rows().await?.iter().any(|row| row.state == DeliveryState::Waiting) {
        ensure!(begun.elapsed() < 3 * PATIENCE, "they do not come to an end");
        tokio::time::sleep(Duration::from_millis(20)).await;
        post.clock.advance(Duration::from_mins(10));
        running.wake(&post).await?;
    }
    running.stop().await?;

    let numbers = sequences(&receiver.requests())?;
    ensure!(numbers.len() > MESSAGES as usize && numbers.len() < answers.len(), "{} attempts", numbers.len());
    // The number of the next that may come of each chat.
    let mut next: Vec<usize> = (1..=CHATS).collect();
    for (number, answer) in numbers.into_iter().zip(answers) {
        let turn = &mut next[(number - 1) % CHATS];
        assert_eq!(number, *turn, "out of turn");
        if answer == 200 {
            *turn += CHATS;
        }
    }
    Ok(())
}

#[tokio::test]
async fn what_was_given_up_lets_its_chat_go_on() -> Result<()> {
    let receiver = Receiver::start().await?;
    receiver.script(vec![Reply::status(500); 11]);
    let mut post = Post::to(&receiver.url(), manual()).await?;
    order(&post, None, DeliveryOrder::Strict).await?;
    post.receive(2).await?;
    let running = post.deliver()?;
    for made in 1..=11 {
        running.wake(&post).await?;
        let rows = post.until_all("an attempt", |rows| rows[0].attempts == made).await?;
        post.clock.advance(rows[0].due_at.map_or(Duration::ZERO, |due| due.since(post.clock.now())));
    }
    // So many failures in a row have opened the breaker.
    post.clock.advance(Duration::from_mins(10));
    running.wake(&post).await?;
    let rows = post.until_all("the second delivered", |rows| delivered(rows) == 1).await?;
    running.stop().await?;
    assert_eq!((rows[0].state, rows[0].dead_why), (DeliveryState::Dead, Some(DeadWhy::Exhausted)));
    assert_eq!(sequences(&receiver.requests())?, [vec![1; 11], vec![2]].concat());
    Ok(())
}

#[tokio::test]
async fn an_order_that_is_changed_holds_for_what_waits() -> Result<()> {
    let receiver = Receiver::start().await?;
    receiver.script(vec![Reply::status(500); 3]);
    let mut post = Post::to(&receiver.url(), manual()).await?;
    let running = post.deliver()?;
    post.receive(3).await?;
    running.wake(&post).await?;
    post.until_all("three failures", |rows| rows.iter().all(|row| row.attempts == 1)).await?;
    for (order_now, due) in [
        (DeliveryOrder::Strict, [Some(true), Some(false), Some(false)]),
        (DeliveryOrder::Parallel, [Some(true); 3]),
        (DeliveryOrder::Strict, [Some(true), Some(false), Some(false)]),
    ] {
        // Not told, or what is due at once while it is parallel would go out at once.
        order(&post, None, order_now).await?;
        let rows = post.until_all("three waiting", |rows| rows.len() == 3).await?;
        assert_eq!(waiting(&rows), due, "{order_now:?}");
    }
    running.webhooks.changed(&post.endpoint().await?);
    post.clock.advance(RETRY);
    running.wake(&post).await?;
    post.until_all("all delivered", |rows| delivered(rows) == 3).await?;
    running.stop().await?;
    assert_eq!(sequences(&receiver.requests()[3..])?, [1, 2, 3]);
    Ok(())
}

#[tokio::test]
async fn a_skip_lets_a_chat_go_on() -> Result<()> {
    let desk = Desk::open().await?;
    let hook = Receiver::start().await?;
    hook.script([Reply::status(500)]);
    let endpoint = desk.add("crm", &hook, json!({ "order": "strict" })).await?;
    desk.write(&desk.friend, "one").await?;
    until(&desk.gateway, &endpoint, "a failure", |rows| rows.len() == 1 && rows[0]["attempts"] == 1).await?;
    desk.write(&desk.friend, "two").await?;
    let rows = until(&desk.gateway, &endpoint, "two deliveries", |rows| rows.len() == 2).await?;
    assert_eq!(states(&rows), ["waiting", "waiting"]);
    assert!(!rows[0]["due_at"].is_null() && rows[1]["due_at"].is_null(), "{rows:#?}");

    let first = format!("/api/deliveries/{}", rows[0]["id"].as_str().unwrap_or_default());
    let (status, answer) = desk.gateway.post(&format!("{first}/skip"), json!({})).await?;
    ensure!(status.is_success(), "not skipped: {status} {answer}");
    let rows =
        until(&desk.gateway, &endpoint, "the second delivered", |rows| states(rows) == ["dead", "delivered"]).await?;
    assert_eq!(rows[0]["dead_why"], "skipped");
    assert_eq!(texts(&hook.requests())?, ["one", "two"]);
    let (status, answer) = desk.gateway.post(&format!("{first}/skip"), json!({})).await?;
    ensure!(status.is_client_error(), "skipped twice: {status} {answer}");

    let (status, answer) = desk.gateway.post(&format!("{first}/replay"), json!({})).await?;
    ensure!(status.is_success(), "not replayed: {status} {answer}");
    until(&desk.gateway, &endpoint, "both delivered", |rows| states(rows) == ["delivered", "delivered"]).await?;
    assert_eq!(texts(&hook.requests())?, ["one", "two", "one"]);
    desk.close().await;
    Ok(())
}

async fn order(post: &Post, running: Option<&Running>, order: DeliveryOrder) -> Result<()> {
    post.change(running, EndpointChange { order: Some(order), ..EndpointChange::default() }).await
}

/// The numbers that requests carry.
fn sequences(requests: &[Recorded]) -> Result<Vec<usize>> {
    requests.iter().map(|request| Ok(request.header("wagate-sequence").parse()?)).collect()
}

fn delivered(rows: &[DeliveryRow]) -> usize {
    rows.iter().filter(|row| row.state == DeliveryState::Delivered).count()
}

/// Of each that waits whether it has its turn; `None` for those that do not wait.
fn waiting(rows: &[DeliveryRow]) -> Vec<Option<bool>> {
    let turn = |row: &DeliveryRow| (row.state == DeliveryState::Waiting).then_some(row.due_at.is_some());
    rows.iter().map(turn).collect()
}
