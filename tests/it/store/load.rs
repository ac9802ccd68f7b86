//! What the store carries: run by hand, with `--ignored --nocapture`, in release for figures worth telling.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use wagate::model::{Attempt, AttemptOutcome, Clock};
use wagate::store::deliveries::Settlement;

use super::{Place, delivery, endpoint, forward, message, session, shop};

const CALLERS: usize = 200;

/// How many a second.
fn rate(count: usize, took: Duration) -> f64 {
    f64::from(u32::try_from(count).unwrap()) / took.as_secs_f64()
}

fn report(name: &str, took: Duration, mut each: Vec<Duration>) {
    each.sort_unstable();
    let at = |share: usize| each[(each.len() - 1) * share / 1000];
    let (p50, p99, p999) = (at(500), at(990), at(999));
    eprintln!(
        "{name}: {} in {took:.2?}, {:.0}/s, p50 {p50:.2?}, p99 {p99:.2?}, p99.9 {p999:.2?}",
        each.len(),
        rate(each.len(), took)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn receives_from_many_sessions_at_once() {
    receive(20, 10).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement: takes some seconds and prints"]
async fn measures_receive_throughput_and_commit_latency() {
    receive(1, 300).await;
    receive(20, 300).await;
    receive(CALLERS, 100).await;
}

/// `callers` sessions, each receiving `each` messages one after the other, waiting for every commit.
async fn receive(callers: usize, each: usize) {
    let place = Place { clock: Clock::System, ..Place::new() };
    let store = place.open().await;
    let (scope, _) = shop(&store).await;
    let owner = scope.user().unwrap();
    let names: Vec<String> = (0..callers).map(|n| format!("ses_{n}")).collect();
    let sessions = join_all(names.iter().map(|name| session(&store, owner, name))).await;
    let started = Instant::now();
    let work = sessions.iter().map(|session| async {
        let mut took = Vec::with_capacity(each);
        for n in 0..each {
            let started = Instant::now();
            let fresh = store.events(scope).receive(&session.id, &[message(format!("m{n}"))]).await.unwrap();
            assert_eq!(fresh.len(), 1);
            took.push(started.elapsed());
        }
        took
    });
    let took = join_all(work).await.concat();
    report(&format!("receive, {callers} callers"), started.elapsed(), took);
    let stored = store.events(scope).unrouted(None, u32::MAX).await.unwrap().len();
    assert_eq!(stored, callers * each);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement: takes some seconds and prints"]
async fn measures_the_way_of_a_delivery() {
    let place = Place { clock: Clock::System, ..Place::new() };
    let store = place.open().await;
    let (scope, id) = shop(&store).await;
    let (events, deliveries) = (store.events(scope), store.deliveries(scope));
    let endpoint = endpoint(&store, &id).await;
    let batch: Vec<_> = (0..10_000).map(|n| message(format!("m{n}"))).collect();

    let started = Instant::now();
    let mut stored = Vec::new();
    for part in batch.chunks(100) {
        stored.extend(events.receive(&id, part).await.unwrap());
    }
    eprintln!("receive in batches of 100: {:.0}/s", rate(stored.len(), started.elapsed()));

    let plan = vec![delivery(endpoint, "x".repeat(300))];
    let started = Instant::now();
    for part in stored.chunks(CALLERS) {
        join_all(part.iter().map(|event| forward(&store, scope, &event.id, plan.clone()))).await;
    }
    eprintln!("route, {CALLERS} at once: {:.0}/s", rate(stored.len(), started.elapsed()));

    let (started, mut settled) = (Instant::now(), 0);
    let attempt =
        Attempt { started_at: place.clock.now(), took_ms: 5, outcome: AttemptOutcome::Accepted { status: 200 } };
    loop {
        let claimed = deliveries.claim(64, Duration::from_secs(30)).await.unwrap();
        if claimed.is_empty() {
            break;
        }
        let settle = claimed.iter().map(|one| deliveries.settle(&one.id, one.epoch, &attempt, Settlement::Delivered));
        settled += join_all(settle).await.into_iter().filter(|answer| matches!(answer, Ok(true))).count();
    }
    eprintln!("claim 64 and settle: {:.0}/s", rate(settled, started.elapsed()));
    assert_eq!(settled, stored.len());
}
