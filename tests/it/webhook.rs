//! Deliveries end to end: a real store, the real client, a receiver on loopback that misbehaves on request.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use wagate::config::WebhookConfig;
use wagate::model::{Attempt, AttemptOutcome, Clock, DeliveryState, Scope};
use wagate::store::deliveries::Settlement;
use wagate_tests::post::{PATIENCE, Post, TIMEOUT};
use wagate_tests::receiver::{Receiver, Recorded, Reply};

/// A clock for tests that move time: it starts at the machine's present, so that receivers find signatures fresh.
fn manual() -> Clock {
    Clock::manual(Clock::System.now())
}

#[tokio::test]
async fn delivers_the_founding_body_signed() {
    let receiver = Receiver::start().await.unwrap();
    let mut post = Post::to(&receiver.url(), Clock::System).await.unwrap();
    let running = post.deliver().unwrap();
    let events = post.receive(1).await.unwrap();
    running.webhooks.wake();

    let request = receiver.wait_for(1, PATIENCE).await.unwrap().remove(0);
    assert_eq!(request.method, "POST");
    assert_eq!(request.header("content-type"), "application/json");
    let body = request.json().unwrap();
    assert_eq!(body["session_id"], "ses_sales");
    assert_eq!(body["message"]["sender"], "6281381393739@s.whatsapp.net");
    assert_eq!(body["message"]["text"], "Hello 0! 👋");
    assert_eq!(body["id"], events[0]);
    request.verify_now(&post.secret).unwrap();
    assert!(request.verify_now("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").is_err());

    let row = post.until("delivered", |row| row.state == DeliveryState::Delivered).await.unwrap();
    assert_eq!((row.id.as_str(), row.attempts), (request.id(), 1));
    assert_eq!(post.attempts().await.unwrap()[0].outcome, AttemptOutcome::Accepted { status: 200 });
    running.stop().await.unwrap();
    assert_eq!(receiver.count(), 1);
}

#[tokio::test]
async fn retries_after_a_failure_with_the_same_id_and_bytes() {
    let receiver = Receiver::start().await.unwrap();
    receiver.script([Reply::status(500), Reply::drop_connection(), Reply::redirect("http://127.0.0.1:1/")]);
    let mut post = Post::to(&receiver.url(), manual()).await.unwrap();
    let running = post.deliver().unwrap();
    post.receive(1).await.unwrap();
    running.webhooks.wake();

    for (made, wait) in [(1, 5), (2, 30), (3, 300)] {
        let row = post.until("an attempt", |row| row.attempts == made).await.unwrap();
        let due = row.due_at.unwrap().since(post.clock.now());
        let (least, most) = (Duration::from_secs(wait), Duration::from_secs(wait).mul_f64(1.2));
        assert!(due >= least && due <= most, "after {made} attempts due in {due:?}");
        post.clock.advance(least.saturating_sub(Duration::from_millis(1)));
        running.webhooks.wake();
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(receiver.count(), usize::try_from(made).unwrap(), "too early");
        post.clock.advance(due.saturating_sub(least) + Duration::from_millis(1));
    }
    let requests = receiver.wait_for(4, PATIENCE).await.unwrap();
    for request in &requests {
        assert_eq!((request.id(), &request.body), (requests[0].id(), &requests[0].body));
        request.verify(&post.secret).unwrap();
    }
    let stamps: BTreeSet<&str> = requests.iter().map(|request| request.header("webhook-timestamp")).collect();
    assert_eq!(stamps.len(), 4, "each attempt is signed for its own moment");

    post.until("delivered", |row| row.state == DeliveryState::Delivered).await.unwrap();
    let outcomes: Vec<_> = post.attempts().await.unwrap().into_iter().map(|attempt| attempt.outcome).collect();
    assert_eq!(outcomes[0], AttemptOutcome::Refused { status: 500 });
    assert!(matches!(&outcomes[1], AttemptOutcome::Unanswered { error } if error.contains("exchange failed")));
    assert_eq!(outcomes[2..], [AttemptOutcome::Refused { status: 302 }, AttemptOutcome::Accepted { status: 200 }]);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn waits_as_long_as_the_receiver_asks() {
    let receiver = Receiver::start().await.unwrap();
    receiver.script([Reply::status(503).retry_after("120"), Reply::status(429).retry_after("31536000")]);
    let mut post = Post::to(&receiver.url(), manual()).await.unwrap();
    let running = post.deliver().unwrap();
    post.receive(1).await.unwrap();
    running.webhooks.wake();

    let row = post.until("the first attempt", |row| row.attempts == 1).await.unwrap();
    assert_eq!(row.due_at.unwrap().since(post.clock.now()), Duration::from_mins(2));
    post.clock.advance(Duration::from_mins(2));
    let row = post.until("the second attempt", |row| row.attempts == 2).await.unwrap();
    assert_eq!(row.due_at.unwrap().since(post.clock.now()), Duration::from_hours(24));
    running.stop().await.unwrap();
}

#[tokio::test]
async fn gone_is_final() {
    let receiver = Receiver::start().await.unwrap();
    receiver.otherwise(Reply::status(410));
    let mut post = Post::to(&receiver.url(), manual()).await.unwrap();
    let running = post.deliver().unwrap();
    post.receive(1).await.unwrap();
    running.webhooks.wake();
    let row = post.until("dead", |row| row.state == DeliveryState::Dead).await.unwrap();
    assert_eq!((row.attempts, row.due_at), (1, None));
    post.clock.advance(Duration::from_hours(240));
    running.webhooks.wake();
    running.stop().await.unwrap();
    assert_eq!(receiver.count(), 1);
}

#[tokio::test]
async fn gives_up_after_three_days_and_eleven_attempts() {
    let receiver = Receiver::start().await.unwrap();
    receiver.otherwise(Reply::status(500));
    let mut post = Post::to(&receiver.url(), manual()).await.unwrap();
    let begun = post.clock.now();
    let running = post.deliver().unwrap();
    post.receive(1).await.unwrap();
    for made in 1..=10 {
        running.webhooks.wake();
        let row = post.until("an attempt", |row| row.attempts == made).await.unwrap();
        assert_eq!(row.state, DeliveryState::Waiting);
        post.clock.advance(row.due_at.unwrap().since(post.clock.now()));
    }
    running.webhooks.wake();
    let row = post.until("dead", |row| row.state == DeliveryState::Dead).await.unwrap();
    assert_eq!(row.attempts, 11);
    assert!(post.clock.now().since(begun) >= Duration::from_hours(72));
    running.stop().await.unwrap();
    assert_eq!(receiver.count(), 11);
}

#[tokio::test]
async fn a_private_address_is_refused_at_dial_and_the_attempt_says_why() {
    let canary = Receiver::start().await.unwrap();
    let mut post = Post::to(&canary.url(), Clock::System).await.unwrap();
    let config = WebhookConfig { timeout: TIMEOUT, concurrency: 4, allow: Vec::new() };
    let running = post.deliver_under(&config, false).unwrap();
    post.receive(1).await.unwrap();
    running.webhooks.wake();
    let row = post.until("an attempt", |row| row.attempts == 1).await.unwrap();
    assert_eq!(row.state, DeliveryState::Waiting);
    let AttemptOutcome::Unanswered { error } = post.attempts().await.unwrap().remove(0).outcome else {
        panic!("it was sent")
    };
    assert!(error.contains("127.0.0.1") && error.contains("WEBHOOK_ALLOW"), "{error}");
    running.stop().await.unwrap();
    assert_eq!(canary.connections(), 0);
}

#[tokio::test]
async fn a_restart_continues_a_pending_retry() {
    let receiver = Receiver::start().await.unwrap();
    receiver.script([Reply::status(500)]);
    let mut post = Post::to(&receiver.url(), manual()).await.unwrap();
    let running = post.deliver().unwrap();
    post.receive(1).await.unwrap();
    running.webhooks.wake();
    post.until("an attempt", |row| row.attempts == 1).await.unwrap();
    running.stop().await.unwrap();

    let post = post.reopen().await.unwrap();
    let running = post.deliver().unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(receiver.count(), 1, "the retry is not due yet");
    post.clock.advance(Duration::from_secs(6));
    let requests = receiver.wait_for(2, PATIENCE).await.unwrap();
    assert_eq!((requests[0].id(), &requests[0].body), (requests[1].id(), &requests[1].body));
    post.until("delivered", |row| row.state == DeliveryState::Delivered && row.attempts == 2).await.unwrap();
    running.stop().await.unwrap();
}

#[tokio::test]
async fn claims_of_a_process_that_died_do_not_delay_the_next() {
    let receiver = Receiver::start().await.unwrap();
    let mut post = Post::to(&receiver.url(), Clock::System).await.unwrap();
    post.receive(3).await.unwrap();
    let claimed = post.store.deliveries(Scope::gateway()).claim(10, Duration::from_hours(1)).await.unwrap();
    assert_eq!(claimed.len(), 3);
    let post = post.reopen().await.unwrap();
    let running = post.deliver().unwrap();
    let requests = receiver.wait_for(3, Duration::from_secs(2)).await.unwrap();
    let ids: BTreeSet<&str> = requests.iter().map(Recorded::id).collect();
    assert_eq!(ids, claimed.iter().map(|delivery| delivery.id.as_str()).collect());
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_stale_claim_settles_nothing() {
    let mut post = Post::to("http://127.0.0.1:9/", manual()).await.unwrap();
    post.receive(1).await.unwrap();
    let deliveries = post.store.deliveries(Scope::gateway());
    let lease = Duration::from_secs(25);
    let stale = deliveries.claim(1, lease).await.unwrap().remove(0);
    assert!(deliveries.claim(1, lease).await.unwrap().is_empty(), "claimed twice within one lease");
    post.clock.advance(lease);
    let newest = deliveries.claim(1, lease).await.unwrap().remove(0);
    assert!(newest.epoch > stale.epoch && newest.shape == stale.shape);

    let outcome = AttemptOutcome::Accepted { status: 200 };
    let attempt = Attempt { started_at: post.clock.now(), took_ms: 1, outcome };
    assert!(!deliveries.settle(&stale.id, stale.epoch, &attempt, Settlement::Delivered).await.unwrap());
    let row = post.rows().await.unwrap().remove(0);
    assert_eq!((row.state, row.attempts), (DeliveryState::Waiting, 0));
    assert_eq!(post.attempts().await.unwrap(), []);
    assert!(deliveries.settle(&newest.id, newest.epoch, &attempt, Settlement::Delivered).await.unwrap());
    assert_eq!(post.rows().await.unwrap().remove(0).state, DeliveryState::Delivered);
}

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
    running.webhooks.wake();
    receiver.wait_for(4, PATIENCE).await.unwrap();
    assert!(begun.elapsed() < 3 * timeout + Duration::from_secs(1), "{:?}", begun.elapsed());
    running.stop().await.unwrap();
    let mut outcomes = BTreeMap::new();
    for row in post.rows().await.unwrap() {
        let attempt = post.store.deliveries(Scope::gateway()).attempts(&row.id).await.unwrap().remove(0);
        *outcomes.entry(format!("{:?}", attempt.outcome)).or_insert(0) += 1;
    }
    let deadline = "Unanswered { error: \"no complete answer within 500ms\" }".to_owned();
    assert_eq!(outcomes, BTreeMap::from([(deadline, 2), ("Accepted { status: 200 }".to_owned(), 2)]));
}

#[tokio::test]
async fn delivers_to_two_hundred_at_once() {
    let receiver = Receiver::start().await.unwrap();
    receiver.otherwise(Reply::status(204).text("").after(Duration::from_millis(500)));
    let mut post = Post::to(&receiver.url(), Clock::System).await.unwrap();
    post.receive(200).await.unwrap();
    let config = WebhookConfig { timeout: Duration::from_secs(10), concurrency: 200, allow: Vec::new() };
    let running = post.deliver_under(&config, true).unwrap();
    let requests = receiver.wait_for(200, PATIENCE).await.unwrap();
    let ids: BTreeSet<&str> = requests.iter().map(Recorded::id).collect();
    assert_eq!(ids.len(), 200);
    running.stop().await.unwrap();
    assert_eq!((receiver.count(), receiver.busiest()), (200, 200));
    assert!(post.rows().await.unwrap().iter().all(|row| row.state == DeliveryState::Delivered && row.attempts == 1));
}

#[tokio::test]
async fn a_stop_settles_what_is_under_way_and_leaves_the_rest_due() {
    let receiver = Receiver::start().await.unwrap();
    receiver.otherwise(Reply::status(200).after(Duration::from_millis(300)));
    let mut post = Post::to(&receiver.url(), Clock::System).await.unwrap();
    post.receive(8).await.unwrap();
    let running =
        post.deliver_under(&WebhookConfig { timeout: TIMEOUT, concurrency: 4, allow: Vec::new() }, true).unwrap();
    receiver.wait_for(4, PATIENCE).await.unwrap();
    running.stop().await.unwrap();
    assert_eq!(receiver.count(), 4, "a new attempt began while stopping");
    let delivered = post.rows().await.unwrap().iter().filter(|row| row.state == DeliveryState::Delivered).count();
    assert_eq!(delivered, 4);

    let running = post.deliver().unwrap();
    let requests = receiver.wait_for(8, PATIENCE).await.unwrap();
    let ids: BTreeSet<&str> = requests.iter().map(Recorded::id).collect();
    assert_eq!((requests.len(), ids.len()), (8, 8), "a clean stop makes no duplicates");
    running.stop().await.unwrap();
}
