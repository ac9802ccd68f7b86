//! Tenants apart: whatever one user asks about another's rows, nothing is there.

use wagate::model::{AttemptOutcome, Link, MessageId, MessageState, Millis, Scope};
use wagate::store::deliveries::{DeliveryFilter, Settled, Settlement};

use super::{Place, attempt, delivery, endpoint, forward, hook, listed, message, new_send, session, user};

#[tokio::test]
async fn another_users_sessions_are_not_there() {
    let place = Place::new();
    let store = place.open().await;
    let ann = Scope::of(user(&store, "ann").await);
    let id = session(&store, ann.user().unwrap(), "ses_ann").await.id;
    let link = Link {
        phone: "6282260790996".parse().unwrap(),
        device_jid: "6282260790996:3@s.whatsapp.net".to_owned(),
        lid: None,
        linked_at: place.clock.now(),
    };
    assert!(store.sessions(ann).set_link(&id, Some(&link)).await.unwrap());
    let before = store.sessions(ann).get(&id).await.unwrap();

    let bob = store.sessions(Scope::of(user(&store, "bob").await));
    assert_eq!(bob.get(&id).await.unwrap(), None);
    assert!(bob.list().await.unwrap().is_empty());
    assert!(bob.by_phone(&link.phone).await.unwrap().is_empty());
    assert!(bob.webhook_secret(&id).await.unwrap().is_none());
    assert!(!bob.rename(&id, "mine").await.unwrap());
    assert!(!bob.set_webhook(&id, Some(&hook("https://evil.example/hook"))).await.unwrap());
    assert!(!bob.set_webhook(&id, None).await.unwrap());
    assert!(!bob.set_wanted(&id, true).await.unwrap());
    assert!(!bob.set_link(&id, None).await.unwrap());
    assert!(!bob.delete(&id).await.unwrap());

    assert_eq!(store.sessions(ann).get(&id).await.unwrap(), before, "nothing has changed");
    assert_eq!(store.sessions(Scope::gateway()).list().await.unwrap().len(), 1);
}

#[tokio::test]
async fn another_users_events_deliveries_and_sends_are_not_there() {
    let place = Place::new();
    let store = place.open().await;
    let ann = Scope::of(user(&store, "ann").await);
    let bob = Scope::of(user(&store, "bob").await);
    let id = session(&store, ann.user().unwrap(), "ses_ann").await.id;
    let event = store.events(ann).receive(&id, &[message("m")]).await.unwrap().remove(0).id;
    let plan = vec![delivery(endpoint(&store, &id).await, "{}")];

    let events = store.events(bob);
    assert!(events.receive(&id, &[message("forged")]).await.is_err());
    assert_eq!(events.get(&event).await.unwrap(), None);
    assert!(events.unrouted(None, 10).await.unwrap().is_empty());
    assert!(!forward(&store, bob, &event, plan.clone()).await);
    assert!(forward(&store, ann, &event, plan).await);

    let deliveries = store.deliveries(bob);
    let endpoint = endpoint(&store, &id).await;
    assert!(store.endpoints(bob).list(Some(&id)).await.unwrap().is_empty());
    assert!(store.endpoints(bob).get(&endpoint).await.unwrap().is_none());
    assert!(deliveries.waiting_endpoints().await.unwrap().is_empty());
    assert!(deliveries.due(&endpoint, 10).await.unwrap().is_empty());
    assert_eq!(deliveries.next_due(&endpoint, Millis(0)).await.unwrap(), None);
    let due = store.deliveries(ann).due(&endpoint, 10).await.unwrap().remove(0);
    let attempt = attempt(AttemptOutcome::Accepted { status: 200 });
    let settled = Settled { delivery: due.id.clone(), attempts: 0, attempt, then: Settlement::Delivered };
    assert!(!deliveries.settle(settled.clone()).await.unwrap());
    assert_eq!(deliveries.skip(&due.id).await.unwrap(), None);
    assert!(store.deliveries(ann).settle(settled).await.unwrap());
    assert_eq!(deliveries.replay(&due.id).await.unwrap(), None);
    assert!(deliveries.get(&due.id).await.unwrap().is_none() && deliveries.shape(&due.id).await.unwrap().is_none());
    assert_eq!(deliveries.count(&DeliveryFilter::default()).await.unwrap(), 0);
    assert!(listed(&deliveries, &id).await.is_empty());
    assert!(deliveries.attempts(&due.id).await.unwrap().is_empty());
    assert_eq!(store.deliveries(ann).attempts(&due.id).await.unwrap().len(), 1);
    let (mine, bobs) = (store.replays(ann), store.replays(bob));
    let replay = mine.start(ann.user().unwrap(), DeliveryFilter::default(), 1).await.unwrap();
    assert_eq!(replay.total, 1);
    assert!(bobs.list().await.unwrap().is_empty() && bobs.get(&replay.id).await.unwrap().is_none());
    assert!(!bobs.cancel(&replay.id).await.unwrap() && mine.cancel(&replay.id).await.unwrap());
    let theirs = bobs.start(bob.user().unwrap(), DeliveryFilter::default(), 1).await.unwrap();
    assert_eq!(theirs.total, 0);

    let (first, to) = (MessageId::from("3EB0".to_owned()), "6281381393739".parse().unwrap());
    let send = new_send(&id, &first, &to);
    assert!(store.sends(bob).begin(send.clone()).await.is_err());
    store.sends(ann).begin(send).await.unwrap();
    store.sends(bob).advance(&id, std::slice::from_ref(&first), MessageState::Read, None).await.unwrap();
    assert_eq!(store.sends(bob).state(&id, &first).await.unwrap(), None);
    assert_eq!(store.sends(ann).state(&id, &first).await.unwrap(), Some((MessageState::Pending, None)));
}
