//! Station three: claims, leases, epochs and attempts.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::future::join_all;
use secrecy::ExposeSecret;
use wagate::model::{Attempt, AttemptOutcome, DeliveryState, Millis, Scope, SessionId};
use wagate::store::Store;
use wagate::store::deliveries::Settlement;

use super::{Place, START, delivery, endpoint, forward, hook, message, shop};

const LEASE: Duration = Duration::from_secs(30);

/// Receives `count` messages and routes each to the session's endpoint.
async fn routed(store: &Store, scope: Scope, id: &SessionId, count: usize) {
    let endpoint = endpoint(store, id).await;
    let batch: Vec<_> = (0..count).map(|_| message(wagate::model::RequestId::new().to_string())).collect();
    let stored = store.events(scope).receive(id, &batch).await.unwrap();
    let work = stored.iter().map(|event| {
        let plan = vec![delivery(endpoint.clone(), format!("{{\"event\":\"{}\"}}", event.id))];
        forward(store, scope, &event.id, plan)
    });
    assert!(join_all(work).await.into_iter().all(|fresh| fresh));
}

fn attempt(outcome: AttemptOutcome) -> Attempt {
    Attempt { started_at: START, took_ms: 12, outcome }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_competing_claimers_exactly_one_gets_each_delivery() {
    let place = Place::new();
    let store = place.open().await;
    let (scope, id) = shop(&store).await;
    routed(&store, scope, &id, 200).await;
    let claimers = (0..8).map(|_| async {
        let mut won = Vec::new();
        loop {
            let claimed = store.deliveries(scope).claim(7, LEASE).await.unwrap();
            if claimed.is_empty() {
                return won;
            }
            assert!(claimed.len() <= 7 && claimed.iter().all(|delivery| delivery.epoch == 1));
            won.extend(claimed.into_iter().map(|delivery| delivery.id));
        }
    });
    let won: Vec<_> = join_all(claimers).await.into_iter().flatten().collect();
    assert_eq!(won.len(), 200);
    assert_eq!(won.iter().collect::<HashSet<_>>().len(), 200);
}

#[tokio::test]
async fn a_claim_carries_everything_a_delivery_needs_oldest_first() {
    let place = Place::new();
    let store = place.open().await;
    let (scope, id) = shop(&store).await;
    let endpoint = store.endpoints(scope).list(&id).await.unwrap().remove(0);
    routed(&store, scope, &id, 1).await;
    place.clock.advance(Duration::from_secs(1));
    routed(&store, scope, &id, 1).await;

    let claimed = store.deliveries(scope).claim(10, LEASE).await.unwrap();
    assert_eq!(claimed.iter().map(|delivery| delivery.created_at).collect::<Vec<_>>(), [START, Millis(START.0 + 1000)]);
    for delivery in &claimed {
        assert_eq!((delivery.attempts, delivery.epoch), (0, 1));
        assert_eq!(delivery.shape.body, format!("{{\"event\":\"{}\"}}", delivery.event));
        assert_eq!((&delivery.endpoint.id, &delivery.endpoint.session), (&endpoint.id, &id));
        assert_eq!(delivery.endpoint.url, hook("https://example.org/hook"));
        assert_eq!(delivery.endpoint.secret.expose_secret(), endpoint.secret.expose_secret());
    }
}

#[tokio::test]
async fn a_claim_that_was_overtaken_settles_nothing() {
    let place = Place::new();
    let store = place.open().await;
    let (scope, id) = shop(&store).await;
    routed(&store, scope, &id, 1).await;
    let deliveries = store.deliveries(scope);
    let slow = deliveries.claim(10, LEASE).await.unwrap().remove(0);
    assert!(deliveries.claim(10, LEASE).await.unwrap().is_empty(), "leased");
    place.clock.advance(LEASE.checked_sub(Duration::from_millis(1)).unwrap());
    assert!(deliveries.claim(10, LEASE).await.unwrap().is_empty(), "leased to the last millisecond");
    place.clock.advance(Duration::from_millis(1));
    let quick = deliveries.claim(10, LEASE).await.unwrap().remove(0);
    assert_eq!((quick.epoch, &quick.shape), (slow.epoch + 1, &slow.shape));

    let accepted = attempt(AttemptOutcome::Accepted { status: 200 });
    assert!(!deliveries.settle(&slow.id, slow.epoch, &accepted, Settlement::Delivered).await.unwrap());
    assert!(deliveries.attempts(&slow.id).await.unwrap().is_empty());
    assert!(deliveries.settle(&quick.id, quick.epoch, &accepted, Settlement::Delivered).await.unwrap());
    assert!(!deliveries.settle(&quick.id, quick.epoch, &accepted, Settlement::Delivered).await.unwrap(), "once");
    assert_eq!(deliveries.attempts(&quick.id).await.unwrap(), [accepted]);
}

#[tokio::test]
async fn settling_delivers_retries_or_gives_up_and_logs_each_attempt() {
    let place = Place::new();
    let store = place.open().await;
    let (scope, id) = shop(&store).await;
    routed(&store, scope, &id, 1).await;
    let deliveries = store.deliveries(scope);
    let outcomes = [
        AttemptOutcome::Unanswered { error: "connection refused".to_owned() },
        AttemptOutcome::Refused { status: 503 },
        AttemptOutcome::Refused { status: 410 },
    ];
    for (made, outcome) in (0..).zip(&outcomes) {
        let claimed = deliveries.claim(10, LEASE).await.unwrap().remove(0);
        assert_eq!((claimed.attempts, claimed.epoch), (made, i64::from(made) + 1));
        let later = place.clock.now().after(Duration::from_secs(5));
        let then = if made < 2 { Settlement::Retry(later) } else { Settlement::Dead };
        assert!(deliveries.settle(&claimed.id, claimed.epoch, &attempt(outcome.clone()), then).await.unwrap());
        let row = deliveries.list(&id, 10).await.unwrap().remove(0);
        let (state, due) = if made < 2 { (DeliveryState::Waiting, Some(later)) } else { (DeliveryState::Dead, None) };
        assert_eq!((row.id.clone(), row.state, row.attempts, row.due_at), (claimed.id, state, made + 1, due));
        assert_eq!(deliveries.next_due().await.unwrap(), due);
        assert!(deliveries.claim(10, LEASE).await.unwrap().is_empty(), "not due yet, or dead");
        place.clock.advance(Duration::from_secs(5));
    }
    let id = deliveries.list(&id, 1).await.unwrap().remove(0).id;
    let logged: Vec<_> = deliveries.attempts(&id).await.unwrap().into_iter().map(|attempt| attempt.outcome).collect();
    assert_eq!(logged, outcomes);
    assert!(deliveries.claim(10, LEASE).await.unwrap().is_empty());
}

#[tokio::test]
async fn next_due_is_the_end_of_a_lease_while_all_is_claimed() {
    let place = Place::new();
    let store = place.open().await;
    let (scope, id) = shop(&store).await;
    let deliveries = store.deliveries(scope);
    assert_eq!(deliveries.next_due().await.unwrap(), None);
    routed(&store, scope, &id, 2).await;
    assert_eq!(deliveries.next_due().await.unwrap(), Some(START));
    assert_eq!(deliveries.claim(1, LEASE).await.unwrap().len(), 1);
    assert_eq!(deliveries.next_due().await.unwrap(), Some(START), "the other one");
    assert_eq!(deliveries.claim(1, LEASE).await.unwrap().len(), 1);
    assert_eq!(deliveries.next_due().await.unwrap(), Some(START.after(LEASE)));
    let shown: Vec<_> = deliveries.list(&id, 10).await.unwrap().into_iter().map(|row| row.due_at).collect();
    assert_eq!(shown, [Some(START), Some(START)], "a list shows since when");

    assert_eq!(deliveries.release_leases().await.unwrap(), 2);
    assert_eq!(deliveries.release_leases().await.unwrap(), 0);
    assert_eq!(deliveries.claim(10, LEASE).await.unwrap().len(), 2, "due again at once");
}

#[tokio::test]
async fn a_moved_webhook_takes_its_deliveries_along_and_a_removed_one_drops_those_that_wait() {
    let place = Place::new();
    let store = place.open().await;
    let (scope, id) = shop(&store).await;
    let (sessions, deliveries) = (store.sessions(scope), store.deliveries(scope));
    routed(&store, scope, &id, 3).await;
    let first = deliveries.claim(1, LEASE).await.unwrap().remove(0);
    let accepted = attempt(AttemptOutcome::Accepted { status: 204 });
    assert!(deliveries.settle(&first.id, first.epoch, &accepted, Settlement::Delivered).await.unwrap());

    sessions.set_webhook(&id, Some(&hook("https://example.org/moved"))).await.unwrap();
    let second = deliveries.claim(1, LEASE).await.unwrap().remove(0);
    assert_eq!(second.endpoint.url, hook("https://example.org/moved"));

    sessions.set_webhook(&id, None).await.unwrap();
    let left = deliveries.list(&id, 10).await.unwrap();
    assert_eq!(
        left.iter().map(|row| (&row.id, row.state)).collect::<Vec<_>>(),
        [(&first.id, DeliveryState::Delivered)]
    );
    assert!(!deliveries.settle(&second.id, second.epoch, &accepted, Settlement::Delivered).await.unwrap());
    assert_eq!(deliveries.next_due().await.unwrap(), None);
}
