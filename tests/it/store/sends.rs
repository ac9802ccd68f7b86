//! Sends: idempotency keys and the states a message goes through.

use std::time::Duration;

use wagate::model::{MessageId, MessageState, Scope, Sent, SessionId};
use wagate::store::sends::{Begun, NewSend};
use wagate::store::{Store, StoreError};

use super::{Place, new_send, shop};

const DIGEST: [u8; 32] = [1; 32];
/// Stored, and no plugin asked for anything.
const FRESH: Begun = Begun::Fresh { raised: Vec::new() };

fn id(text: &str) -> MessageId {
    MessageId::from(text.to_owned())
}

/// Begins a send of `message` under a key.
async fn begin(
    store: &Store,
    at: (Scope, &SessionId),
    message: &str,
    key: Option<(&str, &[u8; 32])>,
) -> Result<Begun, StoreError> {
    let (message, to) = (id(message), "6281381393739".parse().unwrap());
    store.sends(at.0).begin(NewSend { key, ..new_send(at.1, &message, &to) }).await
}

#[tokio::test]
async fn a_key_is_answered_by_what_became_of_its_first_request() {
    let place = Place::new();
    let store = place.open().await;
    let (scope, session) = shop(&store).await;
    let at = (scope, &session);
    let key = Some(("order-42", &DIGEST));
    assert_eq!(begin(&store, at, "first", key).await.unwrap(), FRESH);
    assert_eq!(begin(&store, at, "second", key).await.unwrap(), Begun::InFlight);
    assert_eq!(begin(&store, at, "second", Some(("order-42", &[2; 32]))).await.unwrap(), Begun::Mismatch);
    place.clock.advance(Duration::from_mins(1));
    assert_eq!(begin(&store, at, "third", key).await.unwrap(), Begun::Again(id("first")));
    assert_eq!(begin(&store, at, "third", key).await.unwrap(), Begun::InFlight, "it is being sent again");

    let sends = store.sends(scope);
    sends.advance(&session, &[id("first")], MessageState::Refused, Some(463)).await.unwrap();
    assert_eq!(sends.state(&session, &id("first")).await.unwrap(), Some((MessageState::Refused, Some(463))));
    assert_eq!(begin(&store, at, "third", key).await.unwrap(), Begun::Again(id("first")));
    assert_eq!(sends.state(&session, &id("first")).await.unwrap(), Some((MessageState::Pending, None)));

    let accepted = place.clock.now();
    sends.advance(&session, &[id("first")], MessageState::Sent, None).await.unwrap();
    place.clock.advance(Duration::from_secs(9));
    sends.advance(&session, &[id("first")], MessageState::Read, None).await.unwrap();
    let sent = Sent { id: id("first"), to: "6281381393739".parse().unwrap(), at: accepted };
    assert_eq!(begin(&store, at, "third", key).await.unwrap(), Begun::Replay(sent));
    assert_eq!(sends.state(&session, &id("third")).await.unwrap(), None);
}

#[tokio::test]
async fn a_key_is_free_again_after_a_day() {
    let place = Place::new();
    let store = place.open().await;
    let (scope, session) = shop(&store).await;
    let key = Some(("daily", &DIGEST));
    assert_eq!(begin(&store, (scope, &session), "monday", key).await.unwrap(), FRESH);
    place.clock.advance(Duration::from_hours(24));
    assert_eq!(begin(&store, (scope, &session), "tuesday", Some(("daily", &[2; 32]))).await.unwrap(), FRESH);
    assert_eq!(begin(&store, (scope, &session), "wednesday", key).await.unwrap(), Begun::Mismatch);
    let monday = store.sends(scope).state(&session, &id("monday")).await.unwrap();
    assert_eq!(monday, Some((MessageState::Pending, None)), "the message itself is kept");
}

#[tokio::test]
async fn a_message_under_its_own_id_keeps_its_key_for_as_long_as_it_takes() {
    let place = Place::new();
    let store = place.open().await;
    let (scope, session) = shop(&store).await;
    let (at, key) = ((scope, &session), Some(("plugin:m", &DIGEST)));
    assert_eq!(begin(&store, at, "m", key).await.unwrap(), FRESH);
    store.sends(scope).release(&session, &id("m")).await.unwrap();
    for _ in 0..3 {
        place.clock.advance(Duration::from_hours(25));
        assert_eq!(begin(&store, at, "m", key).await.unwrap(), Begun::Again(id("m")));
    }
    store.sends(scope).advance(&session, &[id("m")], MessageState::Sent, None).await.unwrap();
    let sent = Sent { id: id("m"), to: "6281381393739".parse().unwrap(), at: place.clock.now() };
    place.clock.advance(Duration::from_hours(25));
    assert_eq!(begin(&store, at, "m", key).await.unwrap(), Begun::Replay(sent), "nothing goes out twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_requests_with_one_key_at_once_exactly_one_is_fresh() {
    let place = Place::new();
    let store = place.open().await;
    let (scope, session) = shop(&store).await;
    let names: Vec<String> = (0..40).map(|n| format!("m{n}")).collect();
    let tries = names.iter().map(|name| begin(&store, (scope, &session), name, Some(("once", &DIGEST))));
    let answers: Vec<_> = futures_util::future::join_all(tries).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(answers.iter().filter(|answer| **answer == FRESH).count(), 1);
    assert_eq!(answers.iter().filter(|answer| **answer == Begun::InFlight).count(), 39);
}

#[tokio::test]
async fn sends_without_a_key_never_meet_but_a_message_id_is_used_once() {
    let place = Place::new();
    let store = place.open().await;
    let (scope, session) = shop(&store).await;
    let at = (scope, &session);
    assert_eq!(begin(&store, at, "a", None).await.unwrap(), FRESH);
    assert_eq!(begin(&store, at, "b", None).await.unwrap(), FRESH);
    assert!(matches!(begin(&store, at, "a", None).await, Err(StoreError::Taken(_))));
    assert!(begin(&store, (scope, &"gone".parse().unwrap()), "c", None).await.is_err());
}

#[tokio::test]
async fn a_message_never_moves_backwards() {
    let place = Place::new();
    let store = place.open().await;
    let (scope, session) = shop(&store).await;
    let sends = store.sends(scope);
    begin(&store, (scope, &session), "m", None).await.unwrap();
    let steps = [
        (MessageState::Delivered, None, MessageState::Delivered),
        (MessageState::Sent, None, MessageState::Delivered),
        (MessageState::Refused, Some(400), MessageState::Delivered),
        (MessageState::Read, None, MessageState::Read),
        (MessageState::Delivered, None, MessageState::Read),
    ];
    for (to, code, stands) in steps {
        sends.advance(&session, &[id("unknown"), id("m")], to, code).await.unwrap();
        assert_eq!(sends.state(&session, &id("m")).await.unwrap(), Some((stands, None)), "after {to:?}");
    }
    assert_eq!(sends.state(&session, &id("unknown")).await.unwrap(), None);
}
