//! One delivery and its attempts, on a store without WhatsApp: signed, retried, given up, taken up again after a stop.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use wagate::config::WebhookConfig;
use wagate::model::{Attempt, AttemptOutcome, Clock, DeadWhy, DeliveryState, DisabledWhy, ErrorClass, Phases, Scope};
use wagate::store::deliveries::{Settled, Settlement};
use wagate_tests::post::{PATIENCE, Post, TIMEOUT};
use wagate_tests::receiver::{Receiver, Recorded, Reply};

use super::manual;

#[tokio::test]
async fn delivers_the_founding_body_signed() {
    let receiver = Receiver::start().await.unwrap();
    let mut post = Post::to(&receiver.url(), Clock::System).await.unwrap();
    let running = post.deliver().unwrap();
    let events = post.receive(1).await.unwrap();
    running.wake(&post).await.unwrap();

    let request = receiver.wait_for(1, PATIENCE).await.unwrap().remove(0);
    assert_eq!(request.method, "POST");
    assert_eq!(request.header("content-type"), "application/json");
    assert_eq!(request.header("wagate-sequence"), "1");
    let body = request.json().unwrap();
    assert_eq!(body["session_id"], "ses_sales");
    assert_eq!(body["message"]["sender"], "6281381393739@s.whatsapp.net");
    assert_eq!(body["message"]["text"], "Hello 0! 👋");
    assert_eq!(body["id"], events[0]);
    request.verify_now(&post.secret).unwrap();
    assert!(request.verify_now("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").is_err());

    let row = post.until("delivered", |row| row.state == DeliveryState::Delivered).await.unwrap();
    assert_eq!((row.id.as_str(), row.attempts), (request.id(), 1));
    assert!(row.settled_at >= Some(row.created_at), "{row:?}");
    let attempt = post.attempts().await.unwrap().remove(0);
    assert_eq!(attempt.outcome, AttemptOutcome::Accepted { status: 200 });
    assert_eq!((attempt.address, attempt.answer.as_ref()), (Some(receiver.address()), b"200\n".as_slice()));
    let Phases { connect_us, tls_us, first_byte_us, .. } = attempt.phases;
    assert!(connect_us.is_some() && tls_us.is_none() && first_byte_us >= connect_us, "{:?}", attempt.phases);
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
    running.wake(&post).await.unwrap();

    for (made, wait) in [(1, 5), (2, 30), (3, 300)] {
        let row = post.until("an attempt", |row| row.attempts == made).await.unwrap();
        let due = row.due_at.unwrap().since(post.clock.now());
        let (least, most) = (Duration::from_secs(wait), Duration::from_secs(wait).mul_f64(1.2));
        assert!(due >= least && due <= most, "after {made} attempts due in {due:?}");
        post.clock.advance(least.saturating_sub(Duration::from_millis(1)));
        running.wake(&post).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(receiver.count(), usize::try_from(made).unwrap(), "too early");
        post.clock.advance(due.saturating_sub(least) + Duration::from_millis(1));
    }
    let requests = receiver.wait_for(4, PATIENCE).await.unwrap();
    for request in &requests {
        assert_eq!((request.id(), &request.body), (requests[0].id(), &requests[0].body));
        assert_eq!(request.header("wagate-sequence"), "1");
        request.verify(&post.secret).unwrap();
    }
    let stamps: BTreeSet<&str> = requests.iter().map(|request| request.header("webhook-timestamp")).collect();
    assert_eq!(stamps.len(), 4, "each attempt is signed for its own moment");

    post.until("delivered", |row| row.state == DeliveryState::Delivered).await.unwrap();
    let outcomes: Vec<_> = post.attempts().await.unwrap().into_iter().map(|attempt| attempt.outcome).collect();
    assert_eq!(outcomes[0], AttemptOutcome::Refused { status: 500 });
    assert!(matches!(&outcomes[1], AttemptOutcome::Unanswered { class: ErrorClass::Broken, .. }), "{outcomes:?}");
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
    running.wake(&post).await.unwrap();

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
    running.wake(&post).await.unwrap();
    let row = post.until("dead", |row| row.state == DeliveryState::Dead).await.unwrap();
    assert_eq!((row.attempts, row.due_at, row.dead_why), (1, None, Some(DeadWhy::Gone)));
    post.clock.advance(Duration::from_hours(240));
    running.wake(&post).await.unwrap();
    running.stop().await.unwrap();
    assert_eq!(receiver.count(), 1);
    let id = post.endpoint().await.unwrap();
    let endpoint = post.store.endpoints(Scope::gateway()).get(&id).await.unwrap().unwrap();
    assert_eq!(endpoint.disabled.map(|disabled| disabled.why), Some(DisabledWhy::Gone));
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
        running.wake(&post).await.unwrap();
        let row = post.until("an attempt", |row| row.attempts == made).await.unwrap();
        assert_eq!(row.state, DeliveryState::Waiting);
        post.clock.advance(row.due_at.unwrap().since(post.clock.now()));
    }
    running.wake(&post).await.unwrap();
    let row = post.until("dead", |row| row.state == DeliveryState::Dead).await.unwrap();
    assert_eq!((row.attempts, row.dead_why), (11, Some(DeadWhy::Exhausted)));
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
    running.wake(&post).await.unwrap();
    let row = post.until("an attempt", |row| row.attempts == 1).await.unwrap();
    assert_eq!(row.state, DeliveryState::Waiting);
    let AttemptOutcome::Unanswered { class, error } = post.attempts().await.unwrap().remove(0).outcome else {
        panic!("it was sent")
    };
    assert_eq!(class, ErrorClass::Forbidden);
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
    running.wake(&post).await.unwrap();
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
async fn what_was_in_flight_when_a_process_ended_is_attempted_at_once_by_the_next() {
    let receiver = Receiver::start().await.unwrap();
    receiver.otherwise(Reply::status(200).after(Duration::from_hours(1)));
    let mut post = Post::to(&receiver.url(), Clock::System).await.unwrap();
    post.receive(3).await.unwrap();
    let config = WebhookConfig { timeout: Duration::from_mins(1), concurrency: 256, allow: Vec::new() };
    let running = post.deliver_under(&config, true).unwrap();
    let begun = receiver.wait_for(2, PATIENCE).await.unwrap();
    running.stop().await.unwrap();
    assert!(post.rows().await.unwrap().iter().all(|row| row.attempts == 0), "nothing was answered");

    receiver.otherwise(Reply::status(200));
    let before = receiver.count();
    let post = post.reopen().await.unwrap();
    let running = post.deliver().unwrap();
    let requests = receiver.wait_for(before + 3, Duration::from_secs(2)).await.unwrap();
    for early in &begun {
        let again: Vec<&Recorded> = requests[before..].iter().filter(|request| request.id() == early.id()).collect();
        assert_eq!(again.iter().map(|request| &request.body).collect::<Vec<_>>(), [&early.body]);
    }
    running.stop().await.unwrap();
    assert!(post.rows().await.unwrap().iter().all(|row| row.state == DeliveryState::Delivered && row.attempts == 1));
}

#[tokio::test]
async fn of_two_settlements_of_one_attempt_only_one_counts() {
    let mut post = Post::to("http://127.0.0.1:9/", manual()).await.unwrap();
    post.receive(1).await.unwrap();
    let deliveries = post.store.deliveries(Scope::gateway());
    let endpoint = post.endpoint().await.unwrap();
    let due = deliveries.due(&endpoint, 10).await.unwrap();
    assert_eq!(due.len(), 1);
    let attempt = Attempt {
        started_at: post.clock.now(),
        took_ms: 1,
        phases: Phases::default(),
        address: None,
        outcome: AttemptOutcome::Accepted { status: 200 },
        answer: Bytes::new(),
    };
    let settled = |then| Settled { delivery: due[0].id.clone(), attempts: 0, attempt: attempt.clone(), then };
    let later = post.clock.now().after(Duration::from_mins(1));
    assert!(deliveries.settle(settled(Settlement::Retry(later))).await.unwrap());
    assert!(!deliveries.settle(settled(Settlement::Delivered)).await.unwrap());
    let row = post.rows().await.unwrap().remove(0);
    assert_eq!((row.state, row.attempts, row.due_at), (DeliveryState::Waiting, 1, Some(later)));
    assert_eq!(post.attempts().await.unwrap().len(), 1);
}
