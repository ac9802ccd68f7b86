//! Messages plugins asked to be sent: in order a chat, settled under the epoch they were claimed with.

use std::time::Duration;

use wagate::model::{Chat, Effects, EventId, MessageId, Millis, PluginId, QueuedSend, Scope, SessionId};
use wagate::store::Store;
use wagate::store::events::{Routed, Routing};
use wagate::store::plugin_sends::{Queued, SendState, Settlement};

use super::plugins::installed;
use super::{Place, START, message, session, shop, user};

const LEASE: Duration = Duration::from_mins(1);

/// A shop with a plugin.
struct Asking {
    place: Place,
    store: Store,
    scope: Scope,
    session: SessionId,
    plugin: PluginId,
}

impl Asking {
    async fn new() -> Self {
        let place = Place::new();
        let store = place.open().await;
        let (scope, session) = shop(&store).await;
        let plugin = installed(&store, scope.user().unwrap(), "reply").await.id;
        Self { place, store, scope, session, plugin }
    }

    /// Routes a message on which the plugin asked for these, by id and chat.
    async fn asked(&self, plugin: &PluginId, sends: &[(&str, &str)]) -> EventId {
        let batch = [message(wagate::model::RequestId::new().to_string())];
        let event = self.store.events(self.scope).receive(&self.session, &batch).await.unwrap().remove(0).id;
        let sends = sends.iter().map(|(id, chat)| QueuedSend {
            plugin: plugin.clone(),
            message: MessageId::from((*id).to_owned()),
            to: chat.parse::<Chat>().unwrap(),
            text: format!("text of {id}"),
        });
        let effects = Effects { sends: sends.collect(), ..Effects::default() };
        let routed = self.store.events(self.scope).route(&event, Routing { effects, ..Routing::default() }).await;
        assert!(matches!(routed.unwrap(), Routed::Done { raised, .. } if raised.is_empty()));
        event
    }

    async fn claim(&self) -> Vec<Queued> {
        self.store.plugin_sends(self.scope).claim(10, LEASE).await.unwrap()
    }

    async fn settle(&self, queued: &Queued, then: Settlement) -> bool {
        self.store.plugin_sends(self.scope).settle(queued, then).await.unwrap()
    }
}

fn ids(claimed: &[Queued]) -> Vec<&str> {
    claimed.iter().map(|queued| queued.send.message.as_str()).collect()
}

#[tokio::test]
async fn a_chat_gets_its_messages_one_after_the_other() {
    let at = Asking::new().await;
    let (ana, budi) = ("6281381393739", "6281381393740");
    let event = at.asked(&at.plugin, &[("a1", ana), ("b1", budi), ("a2", ana)]).await;
    at.asked(&at.plugin, &[("a3", ana)]).await;

    let first = at.claim().await;
    assert_eq!(ids(&first), ["a1", "b1"]);
    assert_eq!((&first[0].session, first[0].tries, first[0].epoch), (&at.session, 0, 1));
    assert_eq!((first[0].send.text.as_str(), &first[0].send.plugin), ("text of a1", &at.plugin));
    assert!(at.claim().await.is_empty(), "what stands behind waits");
    assert!(at.settle(&first[0], Settlement::Sent).await);
    let second = at.claim().await;
    assert_eq!(ids(&second), ["a2"]);

    let later = START.after(Duration::from_secs(5));
    assert!(at.settle(&second[0], Settlement::Retry(later)).await);
    assert!(at.claim().await.is_empty(), "a3 does not overtake");
    at.place.clock.advance(Duration::from_secs(5));
    let again = at.claim().await;
    assert_eq!((ids(&again), again[0].tries, again[0].epoch), (vec!["a2"], 1, 2));
    assert!(at.settle(&again[0], Settlement::Failed("no such number".to_owned())).await);
    assert_eq!(ids(&at.claim().await), ["a3"]);

    let rows = at.store.plugin_sends(at.scope).of_event(&event).await.unwrap();
    let states: Vec<_> = rows.iter().map(|row| (row.send.message.as_str(), row.state, row.tries)).collect();
    let expected = [("a1", SendState::Sent, 1), ("b1", SendState::Waiting, 0), ("a2", SendState::Failed, 2)];
    assert_eq!(states, expected);
    assert_eq!((rows[2].error.as_deref(), rows[2].due_at), (Some("no such number"), None));
}

#[tokio::test]
async fn a_claim_that_was_overtaken_settles_nothing() {
    let at = Asking::new().await;
    at.asked(&at.plugin, &[("a1", "6281381393739"), ("a2", "6281381393739")]).await;
    let calls = at.store.plugin_sends(at.scope);
    let slow = at.claim().await.remove(0);
    assert_eq!(calls.next_due().await.unwrap(), Some(START.after(LEASE)));
    at.place.clock.advance(LEASE);
    let quick = at.claim().await.remove(0);
    assert_eq!((&quick.send, quick.epoch), (&slow.send, slow.epoch + 1));
    assert!(!at.settle(&slow, Settlement::Sent).await);
    assert!(at.claim().await.is_empty(), "and brings nothing up");
    assert!(at.settle(&quick, Settlement::Sent).await);
    assert!(!at.settle(&quick, Settlement::Sent).await, "settled once");
    assert_eq!(ids(&at.claim().await), ["a2"]);
}

#[tokio::test]
async fn a_start_takes_up_what_an_earlier_process_had_claimed() {
    let at = Asking::new().await;
    at.asked(&at.plugin, &[("a1", "6281381393739"), ("b1", "6281381393740")]).await;
    let claimed = at.claim().await;
    assert!(at.settle(&claimed[1], Settlement::Retry(Millis(START.0 + 1))).await);
    let calls = at.store.plugin_sends(at.scope);
    assert_eq!(calls.release_leases().await.unwrap(), 1, "what waits for its next try is left alone");
    assert_eq!(ids(&at.claim().await), ["a1"]);
}

#[tokio::test]
async fn a_removed_plugin_s_messages_are_given_up_and_make_way() {
    let at = Asking::new().await;
    let other = installed(&at.store, at.scope.user().unwrap(), "other").await.id;
    let chat = "6281381393739";
    let event = at.asked(&at.plugin, &[("a1", chat), ("a2", chat), ("b1", "6281381393740")]).await;
    at.asked(&other, &[("a3", chat)]).await;
    let under_way = at.claim().await;
    assert_eq!(ids(&under_way), ["a1", "b1"]);
    assert!(at.settle(&under_way[0], Settlement::Retry(Millis(START.0 + 60_000))).await);

    assert!(at.store.plugins(at.scope).remove(&at.plugin).await.unwrap());
    assert_eq!(ids(&at.claim().await), ["a3"]);
    assert!(at.settle(&under_way[1], Settlement::Sent).await, "what was being sent is settled by its sender");
    let rows = at.store.plugin_sends(at.scope).of_event(&event).await.unwrap();
    let states: Vec<_> = rows.iter().map(|row| row.state).collect();
    assert_eq!(states, [SendState::Failed, SendState::Failed, SendState::Sent]);
    assert_eq!(rows[0].error.as_deref(), Some("the plugin was removed"));
}

#[tokio::test]
async fn another_users_messages_are_not_there() {
    let at = Asking::new().await;
    let bob = user(&at.store, "bob").await;
    session(&at.store, bob, "ses_bob").await;
    let event = at.asked(&at.plugin, &[("a1", "6281381393739")]).await;
    let calls = at.store.plugin_sends(Scope::of(bob));
    assert!(calls.of_event(&event).await.unwrap().is_empty());
    assert_eq!(calls.next_due().await.unwrap(), None);
    assert!(calls.claim(10, LEASE).await.unwrap().is_empty());
    let claimed = at.claim().await.remove(0);
    assert_eq!(calls.release_leases().await.unwrap(), 0);
    assert!(!calls.settle(&claimed, Settlement::Sent).await.unwrap());
    assert!(at.settle(&claimed, Settlement::Sent).await);

    let theirs = installed(&at.store, bob, "theirs").await.id;
    at.asked(&theirs, &[("forged", "6281381393739")]).await;
    assert!(at.claim().await.is_empty(), "a plugin sends through its owner's sessions alone");
}
