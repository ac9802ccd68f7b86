//! Endpoints by name: added, listed, removed, and the founding one among them.

use std::time::Duration;

use secrecy::ExposeSecret;
use wagate::model::{AttemptOutcome, DeliveryOrder, EndpointLimits, EventFilter, Millis, Scope, SigningKey};
use wagate::store::deliveries::{Settled, Settlement};
use wagate::store::endpoints::{EndpointChange, Health, NewEndpoint, Rotation};
use wagate::store::{StoreError, endpoints};

use super::{Place, attempt, delivery, forward, hook, listed, message, session, shop, user};

#[tokio::test]
async fn endpoints_stand_in_the_order_they_were_added_each_with_its_own_secret() {
    let place = Place::new();
    let store = place.open().await;
    let (scope, id) = shop(&store).await;
    let calls = store.endpoints(scope);
    let billing = calls
        .add(NewEndpoint::plain(id.clone(), "billing", hook("https://example.org/billing")))
        .await
        .unwrap()
        .unwrap();
    calls.add(NewEndpoint::plain(id.clone(), "archive", hook("http://example.org/hook"))).await.unwrap().unwrap();

    let listed = calls.list(Some(&id)).await.unwrap();
    assert_eq!(listed.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["default", "billing", "archive"]);
    assert_eq!((&listed[1].id, &listed[1].session, &listed[1].url), (&billing.id, &Some(id.clone()), &billing.url));
    assert_eq!(listed[1].keys.secret().unwrap().expose_secret(), billing.keys.secret().unwrap().expose_secret());
    assert_ne!(listed[1].keys.secret().unwrap().expose_secret(), listed[0].keys.secret().unwrap().expose_secret());
    assert_eq!(store.sessions(scope).get(&id).await.unwrap().unwrap().webhook_url, Some(listed[0].url.clone()));

    let other = session(&store, scope.user().unwrap(), "ses_other").await.id;
    assert!(
        calls.add(NewEndpoint::plain(other.clone(), "billing", hook("https://example.org/x"))).await.unwrap().is_some(),
        "names are a session's"
    );
}

#[tokio::test]
async fn a_name_is_taken_once_and_free_again_when_its_endpoint_is_gone() {
    let place = Place::new();
    let store = place.open().await;
    let (scope, id) = shop(&store).await;
    let (calls, url) = (store.endpoints(scope), hook("https://example.org/billing"));
    let first = calls.add(NewEndpoint::plain(id.clone(), "billing", url.clone())).await.unwrap().unwrap();
    for name in ["billing", "default"] {
        let refused = calls.add(NewEndpoint::plain(id.clone(), name, url.clone())).await;
        assert!(matches!(refused, Err(StoreError::Taken("the endpoint name"))), "{name}: {refused:?}");
    }
    assert!(calls.remove(&first.id).await.unwrap());
    assert!(!calls.remove(&first.id).await.unwrap());
    let again = calls.add(NewEndpoint::plain(id.clone(), "billing", url.clone())).await.unwrap().unwrap();
    assert_ne!(
        (again.id, again.keys.secret().unwrap().expose_secret()),
        (first.id, first.keys.secret().unwrap().expose_secret())
    );

    assert!(store.sessions(scope).set_webhook(&id, None).await.unwrap());
    let refused = calls.add(NewEndpoint::plain(id.clone(), "default", url.clone())).await;
    assert!(matches!(refused, Err(StoreError::Taken(_))), "kept for the founding one: {refused:?}");
    assert!(store.sessions(scope).set_webhook(&id, Some(&url)).await.unwrap());
    assert_eq!(calls.list(Some(&id)).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_removed_endpoint_drops_what_waits_and_keeps_what_was_delivered() {
    let place = Place::new();
    let store = place.open().await;
    let (scope, id) = shop(&store).await;
    let (calls, deliveries) = (store.endpoints(scope), store.deliveries(scope));
    let endpoint = calls
        .add(NewEndpoint::plain(id.clone(), "billing", hook("https://example.org/billing")))
        .await
        .unwrap()
        .unwrap()
        .id;
    let events = store.events(scope).receive(&id, &[message("a"), message("b")]).await.unwrap();
    for event in &events {
        assert!(forward(&store, scope, &event.id, vec![delivery(endpoint.clone(), "{}")]).await);
    }
    let due = deliveries.due(&endpoint, 1).await.unwrap().remove(0);
    let accepted = attempt(AttemptOutcome::Accepted { status: 200 });
    let settled = Settled { delivery: due.id.clone(), attempts: 0, attempt: accepted, then: Settlement::Delivered };
    assert!(deliveries.settle(settled).await.unwrap());

    assert!(calls.remove(&endpoint).await.unwrap());
    let left = listed(&deliveries, &id).await;
    assert_eq!(left.iter().map(|one| (&one.id, &one.endpoint)).collect::<Vec<_>>(), [(&due.id, &endpoint)]);
    assert_eq!(calls.list(Some(&id)).await.unwrap().len(), 1);
    assert!(
        calls.add(NewEndpoint::plain(id.clone(), "billing", hook("https://example.org/new"))).await.unwrap().is_some()
    );
}

#[tokio::test]
async fn a_session_has_64_endpoints_and_no_more() {
    let place = Place::new();
    let store = place.open().await;
    let (scope, id) = shop(&store).await;
    let (calls, url) = (store.endpoints(scope), hook("https://example.org/hook"));
    for n in 1..endpoints::MOST {
        assert!(
            calls.add(NewEndpoint::plain(id.clone(), &format!("e{n}"), url.clone())).await.unwrap().is_some(),
            "{n}"
        );
    }
    let refused = calls.add(NewEndpoint::plain(id.clone(), "one-more", url.clone())).await;
    assert!(matches!(refused, Err(StoreError::Taken(what)) if what.contains("64")));
    let first = calls.list(Some(&id)).await.unwrap().remove(1).id;
    assert!(calls.remove(&first).await.unwrap());
    assert!(calls.add(NewEndpoint::plain(id.clone(), "one-more", url.clone())).await.unwrap().is_some());
}

#[tokio::test]
async fn another_users_endpoints_are_not_there() {
    let place = Place::new();
    let store = place.open().await;
    let (scope, id) = shop(&store).await;
    let bob = store.endpoints(Scope::of(user(&store, "bob").await));
    let first = store.endpoints(scope).list(Some(&id)).await.unwrap().remove(0).id;
    assert!(bob.list(Some(&id)).await.unwrap().is_empty());
    assert!(
        bob.add(NewEndpoint::plain(id.clone(), "mine", hook("https://evil.example/hook"))).await.unwrap().is_none()
    );
    assert!(!bob.remove(&first).await.unwrap());
    assert!(bob.get(&first).await.unwrap().is_none());
    assert!(bob.change(&first, EndpointChange::default()).await.unwrap().is_none());
    assert!(bob.rotate(&first, Rotation { ed25519: false, keep: Duration::ZERO }).await.unwrap().is_none());
    assert_eq!(store.endpoints(scope).list(Some(&id)).await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_is_chosen_about_an_endpoint_is_what_is_read() {
    let place = Place::new();
    let store = place.open().await;
    let (scope, id) = shop(&store).await;
    let calls = store.endpoints(scope);
    let new = NewEndpoint {
        session: None,
        owner: scope.user().unwrap(),
        description: "Für alles 👋".to_owned(),
        events: EventFilter::new(vec!["*".to_owned()]).unwrap(),
        headers: vec![("x-token".to_owned(), "geheim".into())],
        order: DeliveryOrder::Strict,
        limits: EndpointLimits { in_flight: 3, per_second: Some(7), timeout: Some(Duration::from_secs(9)) },
        ed25519: true,
        ..NewEndpoint::plain(id.clone(), "all", hook("https://example.org/all"))
    };
    let wide = calls.add(new).await.unwrap().unwrap();
    let read = calls.get(&wide.id).await.unwrap().unwrap();
    assert_eq!((&read.session, &read.description, &read.events), (&None, &wide.description, &wide.events));
    assert_eq!((read.order, read.limits, read.headers[0].1.expose_secret()), (wide.order, wide.limits, "geheim"));
    assert_eq!(read.keys.all().iter().map(SigningKey::is_ed25519).collect::<Vec<_>>(), [false, true]);
    let names = async || -> Vec<String> {
        calls.of_session(&id).await.unwrap().into_iter().map(|endpoint| endpoint.name).collect()
    };
    assert_eq!(names().await, ["default", "all"]);

    let off = EndpointChange { enabled: Some(false), name: Some("wide".to_owned()), ..EndpointChange::default() };
    let changed = calls.change(&wide.id, off).await.unwrap().unwrap();
    assert_eq!((changed.name.as_str(), changed.description), ("wide", wide.description));
    assert_eq!(names().await, ["default"], "out of use");
    let on = EndpointChange { enabled: Some(true), ..EndpointChange::default() };
    assert!(calls.change(&wide.id, on).await.unwrap().unwrap().disabled.is_none());
    let founding = calls.list(Some(&id)).await.unwrap().remove(0).id;
    for (id, name) in [(&founding, "other"), (&wide.id, "default")] {
        let renamed = EndpointChange { name: Some(name.to_owned()), ..EndpointChange::default() };
        assert!(matches!(calls.change(id, renamed).await, Err(StoreError::Taken(_))), "{name}");
    }
}

#[tokio::test]
async fn a_rotated_key_signs_beside_the_new_one_for_its_time() {
    let place = Place::new();
    let store = place.open().await;
    let (scope, id) = shop(&store).await;
    let calls = store.endpoints(scope);
    let first = calls.list(Some(&id)).await.unwrap().remove(0);
    let keep = Rotation { ed25519: false, keep: Duration::from_hours(1) };
    let rotated = calls.rotate(&first.id, keep).await.unwrap().unwrap();
    let now = place.clock.now();
    let secret =
        |at: Millis| -> Vec<String> { rotated.keys.at(at).map(|key| key.secret.expose_secret().to_owned()).collect() };
    let [new, old] = &secret(now)[..] else { panic!("{:?}", rotated.keys) };
    assert_eq!(old, first.keys.secret().unwrap().expose_secret());
    assert_eq!(rotated.keys.secret().unwrap().expose_secret(), new);
    assert_eq!(secret(now.after(Duration::from_hours(1))).len(), 1);
    let at_once = Rotation { ed25519: false, keep: Duration::ZERO };
    assert_eq!(calls.rotate(&first.id, at_once).await.unwrap().unwrap().keys.all().len(), 1);
    let both = calls.rotate(&first.id, Rotation { ed25519: true, ..at_once }).await.unwrap().unwrap();
    assert_eq!(both.keys.all().len(), 2, "the keys of the other algorithm stay");
}

#[tokio::test]
async fn an_endpoint_that_is_put_out_of_use_says_so_once() {
    let place = Place::new();
    let store = place.open().await;
    let (scope, id) = shop(&store).await;
    let calls = store.endpoints(scope);
    let first = calls.list(Some(&id)).await.unwrap().remove(0).id;
    let gone = Health::Disabled(wagate::model::DisabledWhy::Gone);
    let event = calls.note(&first, gone).await.unwrap().unwrap();
    assert_eq!((event.kind().as_str(), &event.session), ("endpoint.disabled", &id));
    assert_eq!(store.events(scope).unrouted(None, 10).await.unwrap(), [event]);
    assert!(calls.note(&first, gone).await.unwrap().is_none());
    let since = place.clock.now();
    assert!(calls.note(&first, Health::Failing { since }).await.unwrap().is_none());
    assert_eq!(calls.get(&first).await.unwrap().unwrap().failing_since, Some(since));
    calls.note(&first, Health::Succeeded).await.unwrap();
    let well = calls.get(&first).await.unwrap().unwrap();
    assert_eq!((well.failing_since, well.succeeded_at), (None, Some(since)));
}
