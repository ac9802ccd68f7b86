//! Tenants apart: whatever one user asks about another's rows, nothing is there.

use std::time::Duration;

use wagate::model::{Attempt, AttemptOutcome, Link, MessageId, MessageState, Millis, Scope};
use wagate::store::deliveries::Settlement;

use super::{Place, delivery, endpoint, forward, hook, message, new_send, session, user};

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

    let lease = Duration::from_secs(30);
    let deliveries = store.deliveries(bob);
    assert!(store.endpoints(bob).list(&id).await.unwrap().is_empty());
    assert_eq!(deliveries.next_due().await.unwrap(), None);
    assert!(deliveries.claim(10, lease).await.unwrap().is_empty());
    let claimed = store.deliveries(ann).claim(10, lease).await.unwrap().remove(0);
    assert_eq!(deliveries.release_leases().await.unwrap(), 0);
    let attempt = Attempt { started_at: Millis(1), took_ms: 1, outcome: AttemptOutcome::Accepted { status: 200 } };
    assert!(!deliveries.settle(&claimed.id, claimed.epoch, &attempt, Settlement::Dead).await.unwrap());
    assert!(store.deliveries(ann).settle(&claimed.id, claimed.epoch, &attempt, Settlement::Delivered).await.unwrap());
    assert!(deliveries.list(&id, 10).await.unwrap().is_empty());
    assert!(deliveries.attempts(&claimed.id).await.unwrap().is_empty());
    assert_eq!(store.deliveries(ann).attempts(&claimed.id).await.unwrap().len(), 1);

    let (first, to) = (MessageId::from("3EB0".to_owned()), "6281381393739".parse().unwrap());
    let send = new_send(&id, &first, &to);
    assert!(store.sends(bob).begin(send.clone()).await.is_err());
    store.sends(ann).begin(send).await.unwrap();
    store.sends(bob).advance(&id, std::slice::from_ref(&first), MessageState::Read, None).await.unwrap();
    assert_eq!(store.sends(bob).state(&id, &first).await.unwrap(), None);
    assert_eq!(store.sends(ann).state(&id, &first).await.unwrap(), Some((MessageState::Pending, None)));
}
