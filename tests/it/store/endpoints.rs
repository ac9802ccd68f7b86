//! Endpoints by name: added, listed, removed, and the founding one among them.

use std::time::Duration;

use secrecy::ExposeSecret;
use wagate::model::{Attempt, AttemptOutcome, Scope};
use wagate::store::deliveries::Settlement;
use wagate::store::{StoreError, endpoints};

use super::{Place, START, delivery, forward, hook, message, session, shop, user};

const LEASE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn endpoints_stand_in_the_order_they_were_added_each_with_its_own_secret() {
    let place = Place::new();
    let store = place.open().await;
    let (scope, id) = shop(&store).await;
    let calls = store.endpoints(scope);
    let billing = calls.add(&id, "billing", &hook("https://example.org/billing")).await.unwrap().unwrap();
    calls.add(&id, "archive", &hook("http://example.org/hook")).await.unwrap().unwrap();

    let listed = calls.list(&id).await.unwrap();
    assert_eq!(listed.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["default", "billing", "archive"]);
    assert_eq!((&listed[1].id, &listed[1].session, &listed[1].url), (&billing.id, &id, &billing.url));
    assert_eq!(listed[1].secret.expose_secret(), billing.secret.expose_secret());
    assert_ne!(listed[1].secret.expose_secret(), listed[0].secret.expose_secret());
    assert_eq!(store.sessions(scope).get(&id).await.unwrap().unwrap().webhook_url, Some(listed[0].url.clone()));

    let other = session(&store, scope.user().unwrap(), "ses_other").await.id;
    assert!(
        calls.add(&other, "billing", &hook("https://example.org/x")).await.unwrap().is_some(),
        "names are a session's"
    );
}

#[tokio::test]
async fn a_name_is_taken_once_and_free_again_when_its_endpoint_is_gone() {
    let place = Place::new();
    let store = place.open().await;
    let (scope, id) = shop(&store).await;
    let (calls, url) = (store.endpoints(scope), hook("https://example.org/billing"));
    let first = calls.add(&id, "billing", &url).await.unwrap().unwrap();
    for name in ["billing", "default"] {
        let refused = calls.add(&id, name, &url).await;
        assert!(matches!(refused, Err(StoreError::Taken("the endpoint name"))), "{name}: {refused:?}");
    }
    assert!(calls.remove(&id, &first.id).await.unwrap());
    assert!(!calls.remove(&id, &first.id).await.unwrap());
    let again = calls.add(&id, "billing", &url).await.unwrap().unwrap();
    assert_ne!((again.id, again.secret.expose_secret()), (first.id, first.secret.expose_secret()));

    assert!(store.sessions(scope).set_webhook(&id, None).await.unwrap());
    let refused = calls.add(&id, "default", &url).await;
    assert!(matches!(refused, Err(StoreError::Taken(_))), "kept for the founding one: {refused:?}");
    assert!(store.sessions(scope).set_webhook(&id, Some(&url)).await.unwrap());
    assert_eq!(calls.list(&id).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_removed_endpoint_drops_what_waits_and_keeps_what_was_delivered() {
    let place = Place::new();
    let store = place.open().await;
    let (scope, id) = shop(&store).await;
    let (calls, deliveries) = (store.endpoints(scope), store.deliveries(scope));
    let endpoint = calls.add(&id, "billing", &hook("https://example.org/billing")).await.unwrap().unwrap().id;
    let events = store.events(scope).receive(&id, &[message("a"), message("b")]).await.unwrap();
    for event in &events {
        assert!(forward(&store, scope, &event.id, vec![delivery(endpoint.clone(), "{}")]).await);
    }
    let claimed = deliveries.claim(1, LEASE).await.unwrap().remove(0);
    assert_eq!((&claimed.endpoint.id, claimed.endpoint.name.as_str()), (&endpoint, "billing"));
    let attempt = Attempt { started_at: START, took_ms: 1, outcome: AttemptOutcome::Accepted { status: 200 } };
    assert!(deliveries.settle(&claimed.id, claimed.epoch, &attempt, Settlement::Delivered).await.unwrap());

    assert!(calls.remove(&id, &endpoint).await.unwrap());
    let left = deliveries.list(&id, 10).await.unwrap();
    assert_eq!(left.iter().map(|one| (&one.id, &one.endpoint)).collect::<Vec<_>>(), [(&claimed.id, &endpoint)]);
    assert_eq!(calls.list(&id).await.unwrap().len(), 1);
    assert!(calls.add(&id, "billing", &hook("https://example.org/new")).await.unwrap().is_some());
}

#[tokio::test]
async fn a_session_has_64_endpoints_and_no_more() {
    let place = Place::new();
    let store = place.open().await;
    let (scope, id) = shop(&store).await;
    let (calls, url) = (store.endpoints(scope), hook("https://example.org/hook"));
    for n in 1..endpoints::MOST {
        assert!(calls.add(&id, &format!("e{n}"), &url).await.unwrap().is_some(), "{n}");
    }
    let refused = calls.add(&id, "one-more", &url).await;
    assert!(matches!(refused, Err(StoreError::Taken(what)) if what.contains("64")));
    let first = calls.list(&id).await.unwrap().remove(1).id;
    assert!(calls.remove(&id, &first).await.unwrap());
    assert!(calls.add(&id, "one-more", &url).await.unwrap().is_some());
}

#[tokio::test]
async fn another_users_endpoints_are_not_there() {
    let place = Place::new();
    let store = place.open().await;
    let (scope, id) = shop(&store).await;
    let bob = store.endpoints(Scope::of(user(&store, "bob").await));
    let first = store.endpoints(scope).list(&id).await.unwrap().remove(0).id;
    assert!(bob.list(&id).await.unwrap().is_empty());
    assert!(bob.add(&id, "mine", &hook("https://evil.example/hook")).await.unwrap().is_none());
    assert!(!bob.remove(&id, &first).await.unwrap());
    let other = session(&store, scope.user().unwrap(), "ses_other").await.id;
    assert!(!store.endpoints(scope).remove(&other, &first).await.unwrap(), "an endpoint of another session");
    assert_eq!(store.endpoints(scope).list(&id).await.unwrap().len(), 1);
}
