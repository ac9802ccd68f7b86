//! Station one and two: what is received, what is new, what is routed.

use futures_util::future::join_all;
use wagate::model::{Incoming, MessageId, MessageKind, Scope, SessionId};

use super::{Place, delivery, endpoint, forward, listed, message, session, shop, user};

#[tokio::test]
async fn a_message_is_new_once_for_each_of_its_five_parts() {
    let place = Place::new();
    let store = place.open().await;
    let (scope, id) = shop(&store).await;
    let other = session(&store, scope.user().unwrap(), "ses_other").await.id;
    let first = message("3EB0AA");
    let variants = [
        first.clone(),
        Incoming { id: MessageId::from("3EB0AB".to_owned()), ..first.clone() },
        Incoming { chat: "120363302171476233@g.us".parse().unwrap(), ..first.clone() },
        Incoming { sender: "6281381393740".parse().unwrap(), ..first.clone() },
        Incoming { kind: MessageKind::Edit, ..first.clone() },
    ];
    let events = store.events(scope);
    let stored = events.receive(&id, &variants).await.unwrap();
    assert_eq!(
        stored.iter().map(|event| event.message().unwrap()).collect::<Vec<_>>(),
        variants.iter().collect::<Vec<_>>()
    );
    assert!(stored.is_sorted_by(|a, b| a.id < b.id));

    let changed = Incoming { text: Some("redelivered differently".to_owned()), backfill: true, ..first.clone() };
    assert!(events.receive(&id, &[changed]).await.unwrap().is_empty());
    let mixed = [first.clone(), message("3EB0FF"), message("3EB0FF")];
    assert_eq!(events.receive(&id, &mixed).await.unwrap().len(), 1, "only the one new message, once");
    assert_eq!(events.receive(&other, &[first]).await.unwrap().len(), 1, "another session has its own");
    assert!(events.receive(&id, &[]).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn receives_from_many_sessions_at_once() {
    let place = Place::new();
    let store = place.open().await;
    let (scope, _) = shop(&store).await;
    let owner = scope.user().unwrap();
    let names: Vec<String> = (0..20).map(|n| format!("ses_{n}")).collect();
    let sessions = join_all(names.iter().map(|name| session(&store, owner, name))).await;
    let receiving = sessions.iter().map(async |session| {
        for n in 0..10 {
            let fresh = store.events(scope).receive(&session.id, &[message(format!("m{n}"))]).await.unwrap();
            assert_eq!(fresh.len(), 1);
        }
    });
    join_all(receiving).await;
    assert_eq!(store.events(scope).unrouted(None, u32::MAX).await.unwrap().len(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_receivers_at_once_exactly_one_finds_a_message_new() {
    let place = Place::new();
    let store = place.open().await;
    let (scope, id) = shop(&store).await;
    let batch: Vec<_> = (0..20).map(|n| message(format!("m{n}"))).collect();
    let events = store.events(scope);
    let answers = join_all((0..50).map(|_| events.receive(&id, &batch))).await;
    let found: usize = answers.into_iter().map(|answer| answer.unwrap().len()).sum();
    assert_eq!(found, batch.len());
    assert_eq!(events.unrouted(None, 1000).await.unwrap().len(), batch.len());
}

#[tokio::test]
async fn nothing_is_received_for_a_session_that_is_not_there() {
    let place = Place::new();
    let store = place.open().await;
    let gone: SessionId = "gone".parse().unwrap();
    assert!(store.events(Scope::gateway()).receive(&gone, &[message("x")]).await.is_err());
}

#[tokio::test]
async fn text_of_any_kind_survives() {
    let place = Place::new();
    let store = place.open().await;
    let (scope, id) = shop(&store).await;
    let texts =
        ["", "\0", "a\0b", "👩‍👩‍👧‍👦 ﷽ \u{202e}", "'; DROP TABLE events; --", "\u{10ffff}\u{fffd}\r\n\t", "$1 ? :x @y"];
    let mut batch: Vec<Incoming> = Vec::new();
    for text in texts.into_iter().map(ToOwned::to_owned).chain(["é".repeat(32 * 1024)]) {
        batch.push(Incoming { text: Some(text.clone()), push_name: Some(text.clone()), ..message(text) });
    }
    batch.push(Incoming { text: None, push_name: None, sender_alt: None, ..message("none") });
    let stored = store.events(scope).receive(&id, &batch).await.unwrap();
    assert_eq!(stored.len(), batch.len());
    assert!(store.events(scope).receive(&id, &batch).await.unwrap().is_empty());
    let read = store.events(scope).unrouted(None, 100).await.unwrap();
    assert_eq!(read, stored);
    assert_eq!(read.into_iter().map(|event| event.message().unwrap().clone()).collect::<Vec<_>>(), batch);
}

#[tokio::test]
async fn unrouted_events_come_in_order_page_by_page() {
    let place = Place::new();
    let store = place.open().await;
    let (scope, id) = shop(&store).await;
    let events = store.events(scope);
    let batch: Vec<_> = (0..10).map(|n| message(format!("m{n}"))).collect();
    let stored = events.receive(&id, &batch).await.unwrap();
    assert!(forward(&store, scope, &stored[1].id, Vec::new()).await);

    let page = events.unrouted(None, 3).await.unwrap();
    assert_eq!(page, [stored[0].clone(), stored[2].clone(), stored[3].clone()]);
    let rest = events.unrouted(Some(&page[2].id), 100).await.unwrap();
    assert_eq!(rest, stored[4..]);
    assert_eq!(events.get(&stored[1].id).await.unwrap().as_ref(), Some(&stored[1]));
    assert_eq!(events.get(&"evt_none".parse().unwrap()).await.unwrap(), None);
}

#[tokio::test]
async fn an_event_is_routed_once_and_only_to_its_own_sessions_endpoints() {
    let place = Place::new();
    let store = place.open().await;
    let (scope, id) = shop(&store).await;
    let other = session(&store, scope.user().unwrap(), "ses_other").await.id;
    let (events, deliveries) = (store.events(scope), store.deliveries(scope));
    let (mine, theirs) = (endpoint(&store, &id).await, endpoint(&store, &other).await);
    let event = events.receive(&id, &[message("m")]).await.unwrap().remove(0).id;
    let plan = [mine, theirs, "end_gone".parse().unwrap()].map(|endpoint| delivery(endpoint, "{}")).to_vec();
    let (first, second) =
        tokio::join!(forward(&store, scope, &event, plan.clone()), forward(&store, scope, &event, plan));
    assert!(first != second, "one of them routed it");
    assert_eq!(listed(&deliveries, &id).await.len(), 1);
    assert!(listed(&deliveries, &other).await.is_empty());
    assert!(events.unrouted(None, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn calls_that_are_stored_together_answer_for_themselves() {
    let place = Place::new();
    let store = place.open().await;
    let (scope, id) = shop(&store).await;
    let theirs = Scope::of(user(&store, "bea").await);
    let gone: SessionId = "gone".parse().unwrap();
    // The digest of a message is the same wherever it is stored: found out once, and the message then refused.
    let poison = [message("poison")];
    store.events(scope).receive(&id, &poison).await.unwrap();
    store.close().await;
    let raw = place.raw().await;
    let dedup = raw.bytes("SELECT dedup FROM events").await.unwrap().remove(0);
    raw.run("DELETE FROM events").await.unwrap();
    raw.refuse("events", Some(("dedup", &dedup))).await.unwrap();
    raw.close().await;

    let store = place.open().await;
    let (events, strange) = (store.events(scope), store.events(theirs));
    let batches: Vec<_> = (0..40).map(|n| [message(format!("a{n}")), message(format!("b{n}"))]).collect();
    let good = join_all(batches.iter().map(|batch| events.receive(&id, batch)));
    let (unknown, hidden, refused, good) = tokio::join!(
        events.receive(&gone, &batches[0]),
        strange.receive(&id, &batches[0]),
        events.receive(&id, &poison),
        good
    );
    let unknown = unknown.unwrap_err().to_string();
    assert!(unknown.contains("no rows"), "{unknown}");
    assert!(hidden.unwrap_err().to_string().contains("no rows"));
    assert!(refused.unwrap_err().to_string().contains("refused"));
    assert!(good.into_iter().all(|stored| stored.unwrap().len() == 2));
    assert_eq!(events.unrouted(None, 1000).await.unwrap().len(), 80);
}

#[tokio::test]
async fn a_call_takes_more_than_a_statement_does() {
    let place = Place::new();
    let store = place.open().await;
    let (scope, id) = shop(&store).await;
    let long = "long ".repeat(100_000);
    let batch: Vec<_> =
        (0..600).map(|n| Incoming { text: (n % 100 == 0).then(|| long.clone()), ..message(format!("m{n}")) }).collect();
    let events = store.events(scope);
    let stored = events.receive(&id, &batch).await.unwrap();
    let ids: Vec<_> = stored.iter().map(|event| event.message().unwrap().id.clone()).collect();
    assert_eq!(ids, batch.iter().map(|message| message.id.clone()).collect::<Vec<_>>());
    assert_eq!(events.unrouted(None, 1000).await.unwrap(), stored, "in the order they came");
    assert!(events.receive(&id, &batch).await.unwrap().is_empty());
}

#[tokio::test]
async fn whoever_gives_up_leaves_nobody_waiting() {
    let place = Place::new();
    let store = place.open().await;
    let (scope, id) = shop(&store).await;
    let events = store.events(scope);
    for n in 0..50 {
        let (first, second) = ([message(format!("a{n}"))], [message(format!("b{n}"))]);
        let mut given_up = Box::pin(events.receive(&id, &first));
        assert!(futures_util::poll!(given_up.as_mut()).is_pending());
        drop(given_up);
        assert_eq!(events.receive(&id, &second).await.unwrap().len(), 1);
    }
    assert_eq!(events.unrouted(None, 1000).await.unwrap().len(), 100, "what was handed over is stored all the same");
}
