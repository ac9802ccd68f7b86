use super::*;
use crate::model::{
    Availability, Call, Chat, GroupChange, GroupUpdate, Incoming, MessageId, MessageKind, Person, Presence, Role,
    SessionState, StatusChange,
};
use crate::store::tests::{Fixture, every_engine};

fn friend() -> Person {
    Person::of(chat("6281381393739"), Some(chat("100000000000001@lid")))
}

fn chat(text: &str) -> Chat {
    text.parse().unwrap()
}

fn renamed(id: Option<&str>, place: u32) -> Happening {
    Happening::Group(GroupUpdate {
        id: id.map(str::to_owned),
        place,
        chat: chat("120363302171476233@g.us"),
        from: Some(friend()),
        at: Millis(1),
        change: GroupChange::Subject { subject: "Team".to_owned() },
    })
}

fn call(id: &str, missed: bool) -> Happening {
    let (from, chat) = (friend(), chat("6281381393739"));
    Happening::Call(Call { id: id.to_owned(), from, chat, is_group: false, video: None, missed, at: Millis(1) })
}

fn here(state: Availability) -> Happening {
    Happening::Presence(Presence { from: friend(), state, last_seen: None })
}

fn own_message() -> Incoming {
    Incoming {
        id: MessageId::from("3EB0".to_owned()),
        kind: MessageKind::Text,
        chat: chat("6281381393739"),
        sender: chat("6282260790996"),
        sender_alt: None,
        to: chat("6282260790996"),
        from_me: true,
        text: Some("Hello!".to_owned()),
        push_name: None,
        sent_at: Millis(1),
        backfill: false,
        chat_alt: None,
        target: None,
    }
}

/// A session of a user, and everything within the user's scope.
async fn session(at: &Fixture, name: &str) -> (Scope, SessionId) {
    let owner = at.store.users().add(name, Role::User, "x", false).await.unwrap().id;
    let id: SessionId = format!("ses_{name}").parse().unwrap();
    at.store.sessions(Scope::of(owner)).create(owner, id.clone(), name, None).await.unwrap();
    (Scope::of(owner), id)
}

/// Stores these on the session one after the other; how many were new.
async fn record(at: &Fixture, scope: Scope, session: &SessionId, news: Vec<Happening>) -> usize {
    let news: Vec<_> = news.into_iter().map(|what| (session.clone(), what)).collect();
    at.store.events(scope).record(&news).await.unwrap().len()
}

every_engine! {
    async fn what_whatsapp_tells_twice_is_stored_once(at) {
        let (scope, session) = session(&at, "ann").await;
        let twice = || vec![renamed(Some("N1"), 0), renamed(Some("N1"), 1), call("C1", false)];
        assert_eq!(record(&at, scope, &session, twice()).await, 3);
        assert_eq!(record(&at, scope, &session, twice()).await, 0);
        assert_eq!(record(&at, scope, &session, vec![call("C1", true), call("C2", true)]).await, 1, "it rang already");
        assert_eq!(record(&at, scope, &session, vec![renamed(None, 0), renamed(None, 0)]).await, 2, "nothing names them");
        let away = || here(Availability::Unavailable);
        assert_eq!(record(&at, scope, &session, vec![away(), here(Availability::Available), away()]).await, 3);
    }

    async fn a_message_that_was_sent_from_here_is_known_when_it_is_received(at) {
        let (scope, session) = session(&at, "ann").await;
        assert_eq!(record(&at, scope, &session, vec![Happening::Message(own_message())]).await, 1);
        let received = at.store.events(scope).receive(&session, &[own_message()]).await.unwrap();
        assert!(received.is_empty(), "{received:?}");
        let other = Incoming { id: MessageId::from("3EB1".to_owned()), ..own_message() };
        let received = at.store.events(scope).receive(&session, std::slice::from_ref(&other)).await.unwrap();
        assert_eq!(received.len(), 1);
        assert_eq!(record(&at, scope, &session, vec![Happening::Message(other)]).await, 0);
    }

    async fn events_are_read_as_they_were_stored_and_wait_to_be_routed(at) {
        let (scope, session) = session(&at, "ann").await;
        let status = StatusChange { state: SessionState::Failed, reason: Some("banned\0".to_owned()), account: None };
        let news = [renamed(Some("N1"), 0), call("C1", false), here(Availability::Available), Happening::Status(status)];
        let told: Vec<_> = news.iter().map(|what| (session.clone(), what.clone())).collect();
        let stored = at.store.events(scope).record(&told).await.unwrap();
        assert_eq!(stored.iter().map(|event| event.what.clone()).collect::<Vec<_>>(), news);
        assert_eq!(at.store.events(scope).unrouted(None, 10).await.unwrap(), stored);
    }

    async fn nothing_is_stored_for_others_or_for_a_session_that_is_gone(at) {
        let (ann, (bob, _)) = (session(&at, "ann").await, session(&at, "bob").await);
        assert_eq!(record(&at, bob, &ann.1, vec![call("C1", false)]).await, 0);
        assert_eq!(record(&at, ann.0, &"ses_gone".parse().unwrap(), vec![call("C1", false)]).await, 0);
        assert_eq!(record(&at, Scope::gateway(), &ann.1, vec![call("C1", false)]).await, 1);
    }
}
