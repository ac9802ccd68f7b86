//! Station three: what is due, what came of attempts, lanes, and having it posted again.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::future::join_all;
use wagate::model::{
    AttemptOutcome, Chat, DeadWhy, Delivery, DeliveryOrder, DeliveryState, EndpointId, ErrorClass, Millis, Scope,
    SessionId,
};
use wagate::store::Store;
use wagate::store::deliveries::{DeliveryFilter, Page, Settled, Settlement};
use wagate::store::endpoints::EndpointChange;
use wagate::store::events::NewDelivery;

use super::{Place, START, attempt, delivery, endpoint, forward, hook, listed, message, shop};

/// Receives `count` messages and routes each to the session's endpoint, all of one chat.
pub(super) async fn routed(store: &Store, scope: Scope, id: &SessionId, count: usize) -> EndpointId {
    let endpoint = endpoint(store, id).await;
    let chat: Chat = "6281381393739".parse().unwrap();
    let batch: Vec<_> = (0..count).map(|_| message(wagate::model::RequestId::new().to_string())).collect();
    let stored = store.events(scope).receive(id, &batch).await.unwrap();
    for event in &stored {
        let plan = delivery(endpoint.clone(), format!("{{\"event\":\"{}\"}}", event.id));
        assert!(forward(store, scope, &event.id, vec![NewDelivery { chat: Some(chat.clone()), ..plan }]).await);
    }
    endpoint
}

pub(super) fn settled(delivery: &Delivery, outcome: AttemptOutcome, then: Settlement) -> Settled {
    Settled { delivery: delivery.id.clone(), attempts: delivery.attempts, attempt: attempt(outcome), then }
}

pub(super) fn accepted(delivery: &Delivery) -> Settled {
    settled(delivery, AttemptOutcome::Accepted { status: 200 }, Settlement::Delivered)
}

#[tokio::test]
async fn what_is_due_carries_everything_oldest_first() {
    let place = Place::new();
    let store = place.open().await;
    let (scope, id) = shop(&store).await;
    let deliveries = store.deliveries(scope);
    assert!(deliveries.waiting_endpoints().await.unwrap().is_empty());
    routed(&store, scope, &id, 1).await;
    place.clock.advance(Duration::from_secs(1));
    let endpoint = routed(&store, scope, &id, 1).await;

    let due = deliveries.due(&endpoint, 10).await.unwrap();
    assert_eq!(due.iter().map(|delivery| delivery.created_at).collect::<Vec<_>>(), [START, Millis(START.0 + 1000)]);
    for (delivery, sequence) in due.iter().zip(1..) {
        assert_eq!((delivery.attempts, delivery.replayed_from, delivery.sequence), (0, 0, sequence));
        assert_eq!(delivery.shape.body, format!("{{\"event\":\"{}\"}}", delivery.event));
        assert_eq!((&delivery.endpoint, &delivery.session), (&endpoint, &id));
    }
    assert_eq!(deliveries.due(&endpoint, 1).await.unwrap().len(), 1);
    assert_eq!(deliveries.due(&endpoint, 10).await.unwrap().len(), 2, "reading takes nothing away");
    assert_eq!(deliveries.waiting_endpoints().await.unwrap(), [(endpoint.clone(), START)]);
    let strangers = store.deliveries(Scope::of(wagate::model::UserId(4_711)));
    assert!(strangers.due(&endpoint, 10).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_attempts_with_one_number_one_is_settled() {
    let place = Place::new();
    let store = place.open().await;
    let (scope, id) = shop(&store).await;
    let endpoint = routed(&store, scope, &id, 60).await;
    let deliveries = store.deliveries(scope);
    let due = deliveries.due(&endpoint, 100).await.unwrap();
    let twice = due.iter().chain(&due);
    let won = join_all(twice.map(async |delivery| (delivery.id.clone(), deliveries.settle(accepted(delivery)).await)));
    let won: Vec<_> = won.await.into_iter().filter(|(_, won)| *won.as_ref().unwrap()).map(|(id, _)| id).collect();
    assert_eq!((won.len(), won.iter().collect::<HashSet<_>>().len()), (60, 60));
    for delivery in &due {
        assert_eq!(deliveries.attempts(&delivery.id).await.unwrap().len(), 1);
    }
    assert!(deliveries.due(&endpoint, 100).await.unwrap().is_empty());
    let gone = Settled { delivery: "dlv_none".parse().unwrap(), ..accepted(&due[0]) };
    assert!(!deliveries.settle(gone).await.unwrap());
}

#[tokio::test]
async fn settling_delivers_retries_or_gives_up_and_logs_each_attempt() {
    let place = Place::new();
    let store = place.open().await;
    let (scope, id) = shop(&store).await;
    let endpoint = routed(&store, scope, &id, 1).await;
    let deliveries = store.deliveries(scope);
    let outcomes = [
        AttemptOutcome::Unanswered { class: ErrorClass::Connect, error: "connection refused".to_owned() },
        AttemptOutcome::Refused { status: 503 },
        AttemptOutcome::Refused { status: 410 },
    ];
    for (made, outcome) in (0..).zip(&outcomes) {
        let due = deliveries.due(&endpoint, 10).await.unwrap().remove(0);
        assert_eq!(due.attempts, made);
        let later = place.clock.now().after(Duration::from_secs(5));
        let then = if made < 2 { Settlement::Retry(later) } else { Settlement::Dead(DeadWhy::Gone) };
        assert!(deliveries.settle(settled(&due, outcome.clone(), then)).await.unwrap());
        let row = listed(&deliveries, &id).await.remove(0);
        let (state, due_at) =
            if made < 2 { (DeliveryState::Waiting, Some(later)) } else { (DeliveryState::Dead, None) };
        assert_eq!((row.id.clone(), row.state, row.attempts, row.due_at), (due.id, state, made + 1, due_at));
        assert_eq!(deliveries.next_due(&endpoint, place.clock.now()).await.unwrap(), due_at);
        assert!(deliveries.due(&endpoint, 10).await.unwrap().is_empty(), "not due yet, or dead");
        place.clock.advance(Duration::from_secs(5));
    }
    let row = listed(&deliveries, &id).await.remove(0);
    assert_eq!((row.dead_why, row.settled_at.is_some()), (Some(DeadWhy::Gone), true));
    let logged = deliveries.attempts(&row.id).await.unwrap();
    assert_eq!(logged, outcomes.map(attempt));
}

#[tokio::test]
async fn at_a_strict_endpoint_a_chat_waits_for_the_one_before() {
    let place = Place::new();
    let store = place.open().await;
    let (scope, id) = shop(&store).await;
    let endpoint = endpoint(&store, &id).await;
    let order = async |order| {
        let change = EndpointChange { order: Some(order), ..EndpointChange::default() };
        store.endpoints(scope).change(&endpoint, change).await.unwrap().unwrap();
    };
    order(DeliveryOrder::Strict).await;
    routed(&store, scope, &id, 4).await;
    let deliveries = store.deliveries(scope);
    let due = async || deliveries.due(&endpoint, 10).await.unwrap();
    let sequences = |due: &[Delivery]| due.iter().map(|delivery| delivery.sequence).collect::<Vec<_>>();
    let first = due().await;
    assert_eq!(sequences(&first), [1]);
    let later = place.clock.now().after(Duration::from_secs(5));
    let refused = settled(&first[0], AttemptOutcome::Refused { status: 500 }, Settlement::Retry(later));
    assert!(deliveries.settle(refused).await.unwrap());
    assert!(due().await.is_empty(), "the next waits for the retry");
    place.clock.advance(Duration::from_secs(5));
    assert!(deliveries.settle(accepted(&due().await[0])).await.unwrap());
    let second = due().await;
    assert_eq!(sequences(&second), [2]);
    assert_eq!(deliveries.skip(&second[0].id).await.unwrap(), Some(endpoint.clone()));
    assert_eq!(deliveries.skip(&second[0].id).await.unwrap(), None, "it is given up already");
    assert_eq!(sequences(&due().await), [3]);
    order(DeliveryOrder::Parallel).await;
    assert_eq!(sequences(&due().await), [3, 4]);
    order(DeliveryOrder::Strict).await;
    assert_eq!(sequences(&due().await), [3]);
}

#[tokio::test]
async fn a_delivery_is_posted_again_as_it_was() {
    let place = Place::new();
    let store = place.open().await;
    let (scope, id) = shop(&store).await;
    let endpoint = routed(&store, scope, &id, 3).await;
    let deliveries = store.deliveries(scope);
    let due = deliveries.due(&endpoint, 10).await.unwrap();
    for delivery in &due {
        assert!(deliveries.settle(accepted(delivery)).await.unwrap());
    }
    assert_eq!(deliveries.replay(&due[1].id).await.unwrap(), Some(endpoint.clone()));
    let again = deliveries.due(&endpoint, 10).await.unwrap().remove(0);
    assert_eq!((&again.id, &again.shape, again.attempts, again.replayed_from), (&due[1].id, &due[1].shape, 1, 1));
    let dead = settled(&again, AttemptOutcome::Refused { status: 500 }, Settlement::Dead(DeadWhy::Exhausted));
    assert!(deliveries.settle(dead).await.unwrap());

    let filter = DeliveryFilter { states: vec![DeliveryState::Delivered], ..DeliveryFilter::default() };
    assert_eq!(deliveries.count(&filter).await.unwrap(), 2);
    let replays = store.replays(scope);
    let replay = replays.start(scope.user().unwrap(), filter, 10).await.unwrap();
    assert_eq!((replay.total, replays.running().await.unwrap().len()), (2, 1));
    routed(&store, scope, &id, 1).await;
    let step = replays.advance(&replay.id, 1).await.unwrap();
    assert_eq!((step.endpoints, step.ended), (vec![endpoint.clone()], false));
    let step = replays.advance(&replay.id, 5).await.unwrap();
    assert_eq!((step.endpoints, step.ended), (vec![endpoint.clone()], false));
    assert!(replays.advance(&replay.id, 5).await.unwrap().ended);
    assert_eq!(deliveries.due(&endpoint, 10).await.unwrap().len(), 3, "two of them again, and the new one");
    let done = replays.get(&replay.id).await.unwrap().unwrap();
    assert_eq!((done.done, done.ended_at.is_some()), (2, true));
    assert!(!replays.cancel(&replay.id).await.unwrap());

    let page = Page { before: None, limit: 2 };
    let first = deliveries.list(&DeliveryFilter::default(), page).await.unwrap();
    let page = Page { before: first.last().map(|row| row.id.clone()), limit: 2 };
    let second = deliveries.list(&DeliveryFilter::default(), page).await.unwrap();
    let sequences: Vec<_> = first.iter().chain(&second).map(|row| row.sequence).collect();
    assert_eq!(sequences, [4, 3, 2, 1]);
}

#[tokio::test]
async fn a_removed_webhook_drops_what_waits_and_keeps_what_was_delivered() {
    let place = Place::new();
    let store = place.open().await;
    let (scope, id) = shop(&store).await;
    let (sessions, deliveries) = (store.sessions(scope), store.deliveries(scope));
    let endpoint = routed(&store, scope, &id, 3).await;
    let due = deliveries.due(&endpoint, 2).await.unwrap();
    assert!(deliveries.settle(accepted(&due[0])).await.unwrap());
    sessions.set_webhook(&id, Some(&hook("https://example.org/moved"))).await.unwrap();
    assert_eq!(deliveries.due(&endpoint, 2).await.unwrap().len(), 2, "they go to the new address");

    sessions.set_webhook(&id, None).await.unwrap();
    let left = listed(&deliveries, &id).await;
    let left: Vec<_> = left.iter().map(|row| (&row.id, row.state)).collect();
    assert_eq!(left, [(&due[0].id, DeliveryState::Delivered)]);
    assert!(!deliveries.settle(accepted(&due[1])).await.unwrap());
    assert_eq!(deliveries.replay(&due[0].id).await.unwrap(), None, "nobody is there to take it");
}
