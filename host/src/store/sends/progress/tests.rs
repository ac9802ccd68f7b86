use super::*;
use crate::model::{Effects, Link, Role};
use crate::store::Store;
use crate::store::sends::{Begun, NewSend};
use crate::store::tests::{Fixture, every_engine};

const NUMBER: &str = "6281381393739@s.whatsapp.net";
const LID: &str = "100000000000001@lid";
const GROUP: &str = "120363302171476233@g.us";
const READ_AT: Millis = Millis(1_700_000_009_000);

fn chat(text: &str) -> Chat {
    text.parse().unwrap()
}

fn friend() -> Person {
    Person::of(chat(NUMBER), Some(chat(LID)))
}

fn id() -> MessageId {
    MessageId::from("3EB0".to_owned())
}

/// A linked session, and a text of it to this chat that is on its way.
async fn sending(at: &Fixture, to: &str) -> (Scope, SessionId) {
    let owner = at.store.users().add("ann", Role::User, "x", false).await.unwrap().id;
    let (scope, session) = (Scope::of(owner), "ses_a".parse::<SessionId>().unwrap());
    let sessions = at.store.sessions(scope);
    sessions.create(owner, session.clone(), "Sales", None).await.unwrap();
    let link = Link {
        phone: "6282260790996".parse().unwrap(),
        device_jid: "6282260790996:3@s.whatsapp.net".to_owned(),
        lid: Some(chat("100000000000009@lid")),
        linked_at: Millis(0),
    };
    sessions.set_link(&session, Some(&link)).await.unwrap();
    assert!(matches!(begin(&at.store, scope, &session, to, "Hello!").await, Begun::Fresh { .. }));
    (scope, session)
}

/// Sends a text under one key, whatever came of it before.
async fn begin(store: &Store, scope: Scope, session: &SessionId, to: &str, text: &str) -> Begun {
    let (to, message, what) = (chat(to), id(), Outgoing::Text(text.to_owned()));
    let (key, effects) = (Some(("order-1", &[7; 32])), Effects::default());
    let send = NewSend { session, message: &message, to: &to, what: &what, key, effects, logs: Vec::new() };
    store.sends(scope).begin(send).await.unwrap()
}

/// What is told of the message when it comes so far.
async fn told(at: &Fixture, scope: Scope, session: &SessionId, progress: Progress) -> Vec<Happening> {
    let events = at.store.sends(scope).confirm(session, &[id()], progress).await.unwrap();
    events.into_iter().map(|event| event.what).collect()
}

/// The kinds of these, an acknowledgement with its state.
fn words(news: &[Happening]) -> Vec<String> {
    let word = |what: &Happening| match what {
        Happening::Ack(ack) => format!("{} {:?}", what.kind(), ack.state),
        _ => what.kind().into_owned(),
    };
    news.iter().map(word).collect()
}

every_engine! {
    async fn each_step_of_a_message_is_told_once(at) {
        let (scope, session) = sending(&at, NUMBER).await;
        let receipt = |to| Progress { by: Some(friend()), at: Some(READ_AT), ..Progress::to(to) };
        let steps: [(Progress, &[&str]); 7] = [
            (Progress::to(MessageState::Sent), &["message.sent"]),
            (Progress::to(MessageState::Sent), &[]),
            (receipt(MessageState::Delivered), &["message.ack Delivered"]),
            (receipt(MessageState::Delivered), &[]),
            (receipt(MessageState::Played), &["message.ack Played"]),
            (receipt(MessageState::Read), &[]),
            (Progress { code: Some(463), ..Progress::to(MessageState::Refused) }, &[]),
        ];
        for (progress, expected) in steps {
            let what = format!("{progress:?}");
            assert_eq!(words(&told(&at, scope, &session, progress).await), expected, "{what}");
        }
        let stored = at.store.events(scope).unrouted(None, 10).await.unwrap();
        let stored: Vec<_> = stored.into_iter().map(|event| event.what).collect();
        assert_eq!(words(&stored), ["message.sent", "message.ack Delivered", "message.ack Played"]);
        let Happening::Ack(ack) = &stored[2] else { panic!("{stored:?}") };
        assert_eq!((&ack.to, ack.from.as_ref(), ack.at, ack.code), (&friend(), Some(&friend()), READ_AT, None));
    }

    async fn what_was_sent_is_told_with_its_text_and_both_addresses_of_both_sides(at) {
        let (scope, session) = sending(&at, NUMBER).await;
        let progress = Progress { recipient: Some(friend()), ..Progress::to(MessageState::Sent) };
        let news = told(&at, scope, &session, progress).await;
        let [Happening::Message(message)] = &news[..] else { panic!("{news:?}") };
        assert_eq!((&message.id, message.kind, message.text.as_deref()), (&id(), MessageKind::Text, Some("Hello!")));
        assert_eq!((message.chat.jid(), message.chat_alt.as_ref().map(Chat::jid)), (NUMBER, Some(LID)));
        assert_eq!((message.sender.jid(), message.from_me), ("6282260790996@s.whatsapp.net", true));
        assert_eq!(message.sender_alt.as_ref().map(Chat::jid), Some("100000000000009@lid"));
    }

    async fn a_receipt_that_comes_before_the_server_s_word_tells_both(at) {
        let (scope, session) = sending(&at, GROUP).await;
        let progress = Progress { by: Some(friend()), ..Progress::to(MessageState::Read) };
        let news = told(&at, scope, &session, progress).await;
        assert_eq!(words(&news), ["message.sent", "message.ack Read"]);
        let Happening::Ack(ack) = &news[1] else { panic!("{news:?}") };
        assert_eq!(ack.to, Person::of(chat(GROUP), None), "a group is not its reader");
        assert!(told(&at, scope, &session, Progress::to(MessageState::Sent)).await.is_empty());
    }

    async fn a_refusal_is_told_each_time_and_what_is_sent_after_it_as_it_is_then(at) {
        let (scope, session) = sending(&at, NUMBER).await;
        let refused = || Progress { code: Some(463), ..Progress::to(MessageState::Refused) };
        for _ in 0..2 {
            let news = told(&at, scope, &session, refused()).await;
            let [Happening::Ack(ack)] = &news[..] else { panic!("{news:?}") };
            assert_eq!((ack.state, ack.code, &ack.from), (MessageState::Refused, Some(463), &None));
            let again = begin(&at.store, scope, &session, NUMBER, "Hello again!").await;
            assert_eq!(again, Begun::Again(id()));
        }
        let news = told(&at, scope, &session, Progress::to(MessageState::Sent)).await;
        let [Happening::Message(message)] = &news[..] else { panic!("{news:?}") };
        assert_eq!(message.text.as_deref(), Some("Hello again!"));
    }

    async fn nothing_is_told_of_what_others_sent(at) {
        let (_, session) = sending(&at, NUMBER).await;
        let bob = at.store.users().add("bob", Role::User, "x", false).await.unwrap().id;
        assert!(told(&at, Scope::of(bob), &session, Progress::to(MessageState::Read)).await.is_empty());
        assert_eq!(words(&told(&at, Scope::gateway(), &session, Progress::to(MessageState::Sent)).await).len(), 1);
    }
}
