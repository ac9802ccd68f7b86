//! Having deliveries made again: in the order of their chat where it is kept, only those a replay found when it began, and
//! what their owner chooses them by.

use std::time::Duration;

use wagate::model::{
    AttemptOutcome, DeadWhy, Delivery, DeliveryOrder, DeliveryState, EndpointId, Event, EventId, Happening, Scope,
    SessionId, Shape, WebhookTest,
};
use wagate::store::Store;
use wagate::store::deliveries::{Deliveries, DeliveryFilter, Page, Settled, Settlement};
use wagate::store::endpoints::EndpointChange;

use super::deliveries::{accepted, routed, settled};
use super::{Place, endpoint, listed, session, shop, user};

/// The session's founding endpoint, strict from now on.
async fn strict(store: &Store, scope: Scope, id: &SessionId) -> EndpointId {
    let endpoint = endpoint(store, id).await;
    let change = EndpointChange { order: Some(DeliveryOrder::Strict), ..EndpointChange::default() };
    store.endpoints(scope).change(&endpoint, change).await.unwrap().unwrap();
    endpoint
}

/// What is due, by the numbers at its endpoint.
async fn due(deliveries: &Deliveries<'_>, endpoint: &EndpointId) -> Vec<(i64, Delivery)> {
    let due = deliveries.due(endpoint, 100).await.unwrap();
    due.into_iter().map(|delivery| (delivery.sequence, delivery)).collect()
}

fn numbers(due: &[(i64, Delivery)]) -> Vec<i64> {
    due.iter().map(|(number, _)| *number).collect()
}

fn dead(delivery: &Delivery) -> Settled {
    settled(delivery, AttemptOutcome::Refused { status: 500 }, Settlement::Dead(DeadWhy::Exhausted))
}

fn in_state(state: DeliveryState) -> DeliveryFilter {
    DeliveryFilter { states: vec![state], ..DeliveryFilter::default() }
}

#[tokio::test]
async fn what_a_strict_endpoint_missed_comes_again_in_the_order_of_its_chat() {
    let place = Place::new();
    let store = place.open().await;
    let (scope, id) = shop(&store).await;
    let endpoint = strict(&store, scope, &id).await;
    routed(&store, scope, &id, 5).await;
    let deliveries = store.deliveries(scope);
    for number in 1..=3 {
        let due = due(&deliveries, &endpoint).await;
        assert_eq!(numbers(&due), [number]);
        assert!(deliveries.settle(dead(&due[0].1)).await.unwrap());
    }

    let replays = store.replays(scope);
    let replay = replays.start(scope.user().unwrap(), in_state(DeliveryState::Dead), 10).await.unwrap();
    assert_eq!(replays.advance(&replay.id, 10).await.unwrap().endpoints, std::slice::from_ref(&endpoint));
    // The fourth was due before; whoever attempts it may have begun.
    for (numbered, settle) in [(vec![1, 4], 0), (vec![2, 4], 1), (vec![2], 0), (vec![3], 0), (vec![5], 0)] {
        let due = due(&deliveries, &endpoint).await;
        assert_eq!(numbers(&due), numbered);
        assert!(deliveries.settle(accepted(&due[settle].1)).await.unwrap());
    }
    let rows = listed(&deliveries, &id).await;
    assert!(rows.iter().all(|row| row.state == DeliveryState::Delivered && row.dead_why.is_none()), "{rows:#?}");
    assert_eq!(rows.iter().map(|row| row.attempts).collect::<Vec<_>>(), [1, 1, 2, 2, 2]);
}

#[tokio::test]
async fn one_that_waits_is_due_now_unless_another_of_its_chat_stands_before_it() {
    let place = Place::new();
    let store = place.open().await;
    let (scope, id) = shop(&store).await;
    let endpoint = strict(&store, scope, &id).await;
    routed(&store, scope, &id, 2).await;
    let deliveries = store.deliveries(scope);
    let first = due(&deliveries, &endpoint).await.remove(0).1;
    let later = place.clock.now().after(Duration::from_hours(1));
    let refused = settled(&first, AttemptOutcome::Refused { status: 503 }, Settlement::Retry(later));
    assert!(deliveries.settle(refused).await.unwrap());
    assert!(due(&deliveries, &endpoint).await.is_empty());

    let second = listed(&deliveries, &id).await.remove(0).id;
    assert_eq!(deliveries.replay(&second).await.unwrap(), Some(endpoint.clone()));
    assert!(due(&deliveries, &endpoint).await.is_empty(), "it stays behind the first");
    assert_eq!(deliveries.replay(&first.id).await.unwrap(), Some(endpoint.clone()));
    let again = due(&deliveries, &endpoint).await;
    assert_eq!(numbers(&again), [1]);
    assert_eq!((again[0].1.attempts, again[0].1.replayed_from), (1, 0), "its schedule goes on");
    assert!(deliveries.settle(accepted(&again[0].1)).await.unwrap());
    assert_eq!(numbers(&due(&deliveries, &endpoint).await), [2]);
}

#[tokio::test]
async fn a_replay_leaves_out_what_was_settled_after_it_began() {
    let place = Place::new();
    let store = place.open().await;
    let (scope, id) = shop(&store).await;
    let endpoint = routed(&store, scope, &id, 3).await;
    let (deliveries, replays) = (store.deliveries(scope), store.replays(scope));
    let all = due(&deliveries, &endpoint).await;
    assert!(deliveries.settle(accepted(&all[0].1)).await.unwrap());
    let replay = replays.start(scope.user().unwrap(), in_state(DeliveryState::Delivered), 10).await.unwrap();
    assert_eq!(replay.total, 1);
    place.clock.advance(Duration::from_secs(1));
    assert!(deliveries.settle(accepted(&all[1].1)).await.unwrap());
    while !replays.advance(&replay.id, 10).await.unwrap().ended {}
    assert_eq!(replays.get(&replay.id).await.unwrap().unwrap().done, 1);
    assert_eq!(numbers(&due(&deliveries, &endpoint).await), [3, 1]);
}

#[tokio::test]
async fn a_page_holds_the_newest_of_all_sessions_and_of_nobody_else() {
    let place = Place::new();
    let store = place.open().await;
    let (ann, id) = shop(&store).await;
    let other = session(&store, ann.user().unwrap(), "ses_other").await.id;
    let bob = Scope::of(user(&store, "bob").await);
    let theirs = session(&store, bob.user().unwrap(), "ses_theirs").await.id;
    for count in [1, 3, 2] {
        routed(&store, ann, &id, count).await;
        routed(&store, bob, &theirs, 4).await;
        routed(&store, ann, &other, 1).await;
    }
    let any = DeliveryFilter::default();
    let everybody = store.deliveries(Scope::gateway());
    let all = everybody.list(&any, Page { before: None, limit: 100 }).await.unwrap();
    assert_eq!(all.len(), 21);
    let mine: Vec<_> = all.into_iter().filter(|row| row.session != theirs).map(|row| row.id).collect();

    let (deliveries, mut found, mut before) = (store.deliveries(ann), Vec::new(), None);
    loop {
        let page = deliveries.list(&any, Page { before: before.clone(), limit: 2 }).await.unwrap();
        let Some(last) = page.last() else { break };
        before = Some(last.id.clone());
        found.extend(page.into_iter().map(|row| row.id));
    }
    assert_eq!(found, mine);
    assert_eq!(deliveries.count(&any).await.unwrap(), 9);
    let page = Page { before: None, limit: 100 };
    assert_eq!(deliveries.list(&in_state(DeliveryState::Waiting), page.clone()).await.unwrap().len(), 9);
    assert!(deliveries.list(&in_state(DeliveryState::Dead), page.clone()).await.unwrap().is_empty());
    let named = DeliveryFilter { ids: mine[..3].to_vec(), session: Some(id), ..DeliveryFilter::default() };
    let named = deliveries.list(&named, page).await.unwrap();
    assert_eq!(named.into_iter().map(|row| row.id).collect::<Vec<_>>(), mine[1..3]);
}

#[tokio::test]
async fn a_test_goes_to_an_endpoint_of_the_sessions_owner_or_nowhere() {
    let place = Place::new();
    let store = place.open().await;
    let (ann, id) = shop(&store).await;
    let bob = Scope::of(user(&store, "bob").await);
    let theirs = session(&store, bob.user().unwrap(), "ses_theirs").await.id;
    let endpoint = endpoint(&store, &id).await;
    let of = |session: &SessionId| Event {
        id: EventId::new(),
        session: session.clone(),
        what: Happening::Test(WebhookTest { endpoint_id: endpoint.clone(), text: "a test".to_owned() }),
        stored_at: place.clock.now(),
    };
    for (scope, session) in [(bob, &theirs), (bob, &id), (ann, &theirs)] {
        let event = of(session);
        let added = store.deliveries(scope).add_test(&endpoint, &event, Shape::json("{}")).await.unwrap();
        assert_eq!(added, None);
        assert_eq!(store.events(Scope::gateway()).get(&event.id).await.unwrap(), None, "nothing is left of it");
    }
    let event = of(&id);
    let added = store.deliveries(ann).add_test(&endpoint, &event, Shape::json("{}")).await.unwrap();
    let due = due(&store.deliveries(ann), &endpoint).await;
    assert_eq!((numbers(&due), Some(&due[0].1.id)), (vec![1], added.as_ref()));
    assert_eq!(store.events(ann).get(&event.id).await.unwrap(), Some(event));
    assert!(store.events(ann).unrouted(None, 10).await.unwrap().is_empty());
}
