//! How many attempts run at once, all in all and at one endpoint, and what becomes of them at a stop.

use std::collections::BTreeSet;
use std::slice;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use wagate::config::WebhookConfig;
use wagate::model::{
    AttemptOutcome, Clock, DeliveryState, EndpointLimits, ErrorClass, Role, Scope, SessionId, WebhookUrl,
};
use wagate::store::endpoints::EndpointChange;
use wagate_tests::faults::{Fault, Faulty};
use wagate_tests::post::{PATIENCE, Post, TIMEOUT, founding};
use wagate_tests::receiver::{Receiver, Recorded, Reply};

#[tokio::test]
async fn a_receiver_that_trickles_floods_or_hangs_frees_its_slot_in_time() {
    let receiver = Receiver::start().await.unwrap();
    let hanging = Reply::status(200).after(Duration::from_hours(1));
    receiver.script([Reply::trickle(Duration::from_millis(10)), Reply::flood(10_000_000_000), hanging]);
    let mut post = Post::to(&receiver.url(), Clock::System).await.unwrap();
    let timeout = Duration::from_millis(500);
    // One slot, so that the fourth delivery shows that the three before it have ended.
    let running = post.deliver_under(&WebhookConfig { timeout, concurrency: 1, allow: Vec::new() }, true).unwrap();
    let begun = Instant::now();
    post.receive(4).await.unwrap();
    running.wake(&post).await.unwrap();
    receiver.wait_for(4, PATIENCE).await.unwrap();
    assert!(begun.elapsed() < 3 * timeout + Duration::from_secs(1), "{:?}", begun.elapsed());
    running.stop().await.unwrap();
    let (mut accepted, mut late) = (0, 0);
    for row in post.rows().await.unwrap() {
        let attempt = post.store.deliveries(Scope::gateway()).attempts(&row.id).await.unwrap().remove(0);
        match attempt.outcome {
            AttemptOutcome::Accepted { status: 200 } => accepted += 1,
            AttemptOutcome::Unanswered { class: ErrorClass::Timeout, .. } => late += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((accepted, late), (2, 2));
}

#[tokio::test]
async fn delivers_to_two_hundred_at_once() {
    let receiver = Receiver::start().await.unwrap();
    // A receiver that has taken a few at once is given as many as its endpoint is allowed.
    receiver.script(vec![Reply::status(204).text(""); 20]);
    receiver.otherwise(Reply::status(204).text("").after(Duration::from_millis(900)));
    let mut post = Post::to(&receiver.url(), Clock::System).await.unwrap();
    allow(&post, 256).await;
    post.receive(220).await.unwrap();
    let config = WebhookConfig { timeout: Duration::from_secs(10), concurrency: 256, allow: Vec::new() };
    let running = post.deliver_under(&config, true).unwrap();
    let requests = receiver.wait_for(220, PATIENCE).await.unwrap();
    let ids: BTreeSet<&str> = requests.iter().map(Recorded::id).collect();
    assert_eq!(ids.len(), 220);
    running.stop().await.unwrap();
    assert_eq!((receiver.count(), receiver.busiest()), (220, 200));
    assert!(post.rows().await.unwrap().iter().all(|row| row.state == DeliveryState::Delivered && row.attempts == 1));
}

#[tokio::test]
async fn an_endpoint_is_asked_no_more_at_once_than_its_limit() {
    for limit in [1, 5, 16] {
        let receiver = Receiver::start().await.unwrap();
        receiver.otherwise(Reply::status(200).after(Duration::from_millis(60)));
        let mut post = Post::to(&receiver.url(), Clock::System).await.unwrap();
        allow(&post, limit).await;
        post.receive(60).await.unwrap();
        let running = post.deliver().unwrap();
        receiver.wait_for(60, PATIENCE).await.unwrap();
        running.stop().await.unwrap();
        assert_eq!(receiver.busiest(), usize::try_from(limit).unwrap());
    }
}

#[tokio::test]
async fn a_receiver_is_tried_with_two_before_it_gets_more() {
    let receiver = Receiver::start().await.unwrap();
    receiver.otherwise(Reply::status(200).after(Duration::from_hours(1)));
    let mut post = Post::to(&receiver.url(), Clock::System).await.unwrap();
    post.receive(40).await.unwrap();
    let running = post.deliver().unwrap();
    receiver.wait_for(2, PATIENCE).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(receiver.count(), 2);
    drop(running);
}

#[tokio::test]
async fn an_endpoint_gets_no_more_in_a_second_than_its_limit() {
    let receiver = Receiver::start().await.unwrap();
    let mut post = Post::to(&receiver.url(), Clock::System).await.unwrap();
    limit(&post, EndpointLimits { per_second: Some(10), ..EndpointLimits::default() }).await;
    post.receive(30).await.unwrap();
    let running = post.deliver().unwrap();
    let requests = receiver.wait_for(30, PATIENCE).await.unwrap();
    running.stop().await.unwrap();
    let took = requests[29].at.duration_since(requests[0].at);
    // Ten may come at once in the first second, and as many in each second after it.
    assert!(took >= Duration::from_millis(1_800), "thirty in {took:?}");
    for (early, late) in requests.iter().zip(&requests[20..]) {
        let apart = late.at.duration_since(early.at);
        assert!(apart >= Duration::from_millis(900), "twenty-one within {apart:?}");
    }
}

#[tokio::test]
async fn receivers_that_hang_do_not_use_the_slots_up() -> Result<()> {
    let (silent, receiver) = (Faulty::start(Fault::Silent).await?, Receiver::start().await?);
    let mut post = Post::to(&receiver.url(), Clock::System).await?;
    let mut hanging = Vec::new();
    for n in 0..20 {
        hanging.push(post.add_endpoint(&format!("silent-{n}"), &silent.url()).await?);
    }
    post.receive_for(20, &hanging, founding).await?;
    let config = WebhookConfig { timeout: Duration::from_mins(1), concurrency: 8, allow: Vec::new() };
    let running = post.deliver_under(&config, true)?;
    // More of them hang than there are slots.
    let begun = Instant::now();
    while silent.connections() <= 8 {
        ensure!(begun.elapsed() < PATIENCE, "{} attempts hang, and no more are made", silent.connections());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    post.receive(1).await?;
    running.wake(&post).await?;
    receiver.wait_for(1, Duration::from_secs(5)).await?;
    drop(running);
    Ok(())
}

#[tokio::test]
async fn a_user_with_much_to_deliver_does_not_keep_another_waiting() -> Result<()> {
    let (busy, quick) = (Receiver::start().await?, Receiver::start().await?);
    busy.otherwise(Reply::status(200).after(Duration::from_millis(200)));
    let mut post = Post::to(&busy.url(), Clock::System).await?;
    let mut endpoints = Vec::new();
    for n in 0..8 {
        endpoints.push(post.add_endpoint(&format!("busy-{n}"), &busy.url()).await?);
    }
    post.receive_for(100, &endpoints, founding).await?;
    let other = post.store.users().add("eve", Role::User, "no hash", false).await?;
    let (session, url): (SessionId, WebhookUrl) = ("ses_other".parse()?, quick.url().parse()?);
    let scope = Scope::of(other.id);
    post.store.sessions(scope).create(other.id, session.clone(), "Other", Some(&url)).await?;
    let endpoint = post.store.endpoints(scope).list(Some(&session)).await?.remove(0).id;

    let running = post.deliver_under(&WebhookConfig { timeout: TIMEOUT, concurrency: 4, allow: Vec::new() }, true)?;
    busy.wait_for(8, PATIENCE).await?;
    let message = post.messages(1)?;
    let event = post.store.events(Scope::gateway()).receive(&session, &message).await?.remove(0);
    post.route(&event, &endpoint, founding(&event)).await?;
    running.webhooks.wake(slice::from_ref(&endpoint));
    quick.wait_for(1, PATIENCE).await?;
    ensure!(busy.count() < 60, "it came after {} of the other's", busy.count());
    drop(running);
    Ok(())
}

#[tokio::test]
async fn a_stop_settles_what_is_under_way_and_leaves_the_rest_due() {
    let receiver = Receiver::start().await.unwrap();
    receiver.otherwise(Reply::status(200).after(Duration::from_millis(300)));
    let mut post = Post::to(&receiver.url(), Clock::System).await.unwrap();
    post.receive(8).await.unwrap();
    let running =
        post.deliver_under(&WebhookConfig { timeout: TIMEOUT, concurrency: 4, allow: Vec::new() }, true).unwrap();
    receiver.wait_for(2, PATIENCE).await.unwrap();
    running.stop().await.unwrap();
    assert_eq!(receiver.count(), 2, "a new attempt began while stopping");
    let delivered = post.rows().await.unwrap().iter().filter(|row| row.state == DeliveryState::Delivered).count();
    assert_eq!(delivered, 2);

    let running = post.deliver().unwrap();
    let requests = receiver.wait_for(8, PATIENCE).await.unwrap();
    let ids: BTreeSet<&str> = requests.iter().map(Recorded::id).collect();
    assert_eq!((requests.len(), ids.len()), (8, 8), "a clean stop makes no duplicates");
    running.stop().await.unwrap();
}

/// So many at once.
async fn allow(post: &Post, in_flight: u32) {
    limit(post, EndpointLimits { in_flight, ..EndpointLimits::default() }).await;
}

async fn limit(post: &Post, limits: EndpointLimits) {
    let change = EndpointChange { limits: Some(limits), ..EndpointChange::default() };
    post.change(None, change).await.unwrap();
}
