//! Names are compared byte for byte on every engine, whatever collation its server was set up with.

use wagate::model::{MessageId, Scope};
use wagate::store::sends::{Begun, NewSend};

use super::{Place, message, new_send, session, shop};

/// One name to a collation that folds case, ignores accents or knows the basic plane only. None ends in a blank, because
/// MySQL's bytewise collation pads: what may end in one, such as the id of a message, is kept as bytes.
const ALIKE: [&str; 7] =
    ["order", "ORDER", "örder", "o\u{308}rder", "order\u{1f980}", "order\u{1f981}", "order\u{200d}"];

#[tokio::test]
async fn idempotency_keys_are_told_apart() {
    let place = Place::new();
    let store = place.open().await;
    let (scope, id) = shop(&store).await;
    let to = "6281381393739".parse().unwrap();
    for again in [false, true] {
        for (n, key) in ALIKE.into_iter().enumerate() {
            let message = MessageId::from(format!("3EB0{n}{again}"));
            let send = NewSend { key: Some((key, &[1; 32])), ..new_send(&id, &message, &to) };
            let begun = store.sends(scope).begin(send).await.unwrap();
            let expected = if again { Begun::InFlight } else { Begun::Fresh { raised: Vec::new() } };
            assert_eq!(begun, expected, "{key:?}");
        }
    }
}

#[tokio::test]
async fn message_ids_are_told_apart() {
    let place = Place::new();
    let store = place.open().await;
    let (scope, id) = shop(&store).await;
    let long = "x".repeat(65_536);
    let more = ["order ".to_owned(), long.clone(), long.to_uppercase(), long.clone() + "y", long + " "];
    let batch: Vec<_> = ALIKE.into_iter().map(str::to_owned).chain(more).map(message).collect();
    let stored = store.events(scope).receive(&id, &batch).await.unwrap();
    assert_eq!(stored.len(), batch.len());
    assert!(store.events(scope).receive(&id, &batch).await.unwrap().is_empty());
}

#[tokio::test]
async fn settings_are_told_apart() {
    let place = Place::new();
    let store = place.open().await;
    for name in ALIKE {
        store.settings().set(name, name).await.unwrap();
    }
    for name in ALIKE {
        assert_eq!(store.settings().get(name).await.unwrap().as_deref(), Some(name));
    }
}

#[tokio::test]
async fn sessions_are_told_apart() {
    let place = Place::new();
    let store = place.open().await;
    let (scope, lower) = shop(&store).await;
    let upper = session(&store, scope.user().unwrap(), "ses_SHOP").await.id;
    assert_eq!(store.events(scope).receive(&upper, &[message("a")]).await.unwrap().len(), 1);
    assert!(store.sessions(Scope::gateway()).delete(&lower).await.unwrap());
    assert_eq!(store.sessions(scope).get(&upper).await.unwrap().map(|session| session.id), Some(upper));
    assert_eq!(store.events(scope).unrouted(None, 10).await.unwrap().len(), 1);
}
