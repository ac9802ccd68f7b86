use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;
use crate::model::{
    Availability, DisabledWhy, GroupChange, GroupSetting, MessageState, PluginId, SessionState, Target, TypingState,
};

fn chat(text: &str) -> Chat {
    text.parse().unwrap()
}

fn friend() -> Person {
    Person::of(chat("6281381393739"), Some(chat("100000000000001@lid")))
}

fn message(kind: MessageKind) -> Incoming {
    Incoming {
        id: MessageId::from("3EB0".to_owned()),
        kind,
        chat: chat("6281381393739"),
        sender: chat("6281381393739"),
        sender_alt: Some(chat("100000000000001@lid")),
        to: chat("6282260790996"),
        from_me: false,
        text: Some("Hello!".to_owned()),
        push_name: None,
        sent_at: Millis(1_643_723_400_000),
        backfill: false,
        chat_alt: None,
        target: None,
    }
}

fn event(what: Happening) -> Event {
    Event { id: "evt_1".parse().unwrap(), session: "ses_1".parse().unwrap(), what, stored_at: Millis(7) }
}

/// One of each, with the name of its last member.
fn each() -> Vec<(&'static str, Happening)> {
    let at = Millis(1_643_723_400_000);
    let group = |change| GroupUpdate {
        id: Some("N1".to_owned()),
        place: 0,
        chat: chat("120363302171476233@g.us"),
        from: Some(friend()),
        at,
        change,
    };
    let own = Incoming { from_me: true, chat_alt: Some(chat("100000000000001@lid")), ..message(MessageKind::Text) };
    let to = Person::of(chat("120363302171476233@g.us"), None);
    vec![
        ("message", Happening::Message(message(MessageKind::Text))),
        ("message", Happening::Message(message(MessageKind::Reaction))),
        ("message", Happening::Message(message(MessageKind::Edit))),
        ("message", Happening::Message(message(MessageKind::Revoke))),
        ("message", Happening::Message(own)),
        (
            "ack",
            Happening::Ack(Ack {
                id: MessageId::from("3EB0".to_owned()),
                to,
                state: MessageState::Read,
                code: None,
                from: Some(friend()),
                at,
            }),
        ),
        (
            "presence",
            Happening::Presence(Presence { from: friend(), state: Availability::Unavailable, last_seen: Some(at) }),
        ),
        (
            "typing",
            Happening::Typing(Typing {
                chat: chat("6281381393739"),
                from: friend(),
                is_group: false,
                state: TypingState::Recording,
            }),
        ),
        ("group", Happening::Group(group(GroupChange::Added { participants: vec![friend()] }))),
        ("group", Happening::Group(group(GroupChange::Setting { setting: GroupSetting::Announcement, on: true }))),
        ("group", Happening::Group(group(GroupChange::InviteRevoked))),
        (
            "call",
            Happening::Call(Call {
                id: "C1".to_owned(),
                from: friend(),
                chat: chat("6281381393739"),
                is_group: false,
                video: Some(true),
                missed: false,
                at,
            }),
        ),
        (
            "status",
            Happening::Status(StatusChange {
                state: SessionState::LoggedOut,
                reason: Some("bye".to_owned()),
                account: Some(friend()),
            }),
        ),
        (
            "endpoint",
            Happening::EndpointDisabled(EndpointDisabled {
                id: "end_1".parse().unwrap(),
                name: "billing".to_owned(),
                url: "https://crm.example/hook".parse().unwrap(),
                why: DisabledWhy::Gone,
                at,
            }),
        ),
        ("test", Happening::Test(WebhookTest { endpoint_id: "end_1".parse().unwrap(), text: "it works".to_owned() })),
    ]
}

fn shown(what: Happening) -> Value {
    serde_json::from_str(&event(what).document(&Labels::new())).unwrap()
}

#[test]
fn everything_is_read_as_it_was_stored() {
    for (_, what) in each() {
        let (kind, payload) = (what.kind(), what.payload().unwrap());
        assert_eq!(Happening::read(&kind, &payload).unwrap(), what, "{kind}: {payload}");
    }
    let raised = PluginEvent { plugin: PluginId::new(), kind: "order".to_owned(), payload: json!({ "n": 1.5 }) };
    let raised = Happening::Plugin(raised);
    assert_eq!(Happening::read(&raised.kind(), &raised.payload().unwrap()).unwrap(), raised);
    assert!(Happening::read("message.received", "{}").is_err() && Happening::read("of.tomorrow", "{}").is_err());
}

#[test]
fn every_kind_is_there_and_told_in_a_member_of_its_own() {
    let mut kinds: Vec<String> = each().iter().map(|(_, what)| what.kind().into_owned()).collect();
    kinds.dedup();
    assert_eq!(kinds, EVENT_KINDS);
    for (member, what) in each() {
        let document = shown(what.clone());
        let names: BTreeSet<&str> = document.as_object().unwrap().keys().map(String::as_str).collect();
        let expected = BTreeSet::from(["id", "type", "session_id", "occurred_at", member]);
        assert_eq!(names, expected, "{document}");
        assert_eq!((&document["id"], &document["type"]), (&json!("evt_1"), &json!(what.kind())));
        assert_eq!((&document["session_id"], &document["occurred_at"]), (&json!("ses_1"), &json!(7)));
    }
}

/// Byte for byte what it was before there were other kinds; plugins in the field read it.
#[test]
fn a_received_message_is_told_as_ever() {
    let labels = Labels::from([("route".to_owned(), "billing".to_owned())]);
    assert_eq!(
        event(Happening::Message(message(MessageKind::Text))).document(&labels),
        concat!(
            r#"{"id":"evt_1","type":"message.received","session_id":"ses_1","occurred_at":7,"message":{"id":"3EB0","#,
            r#""kind":"text","chat":"6281381393739@s.whatsapp.net","sender":"6281381393739@s.whatsapp.net","#,
            r#""sender_alt":"100000000000001@lid","to":"6282260790996@s.whatsapp.net","from_me":false,"is_group":false,"#,
            r#""text":"Hello!","push_name":null,"sent_at":1643723400000,"backfill":false,"phone":"6281381393739","#,
            r#""lid":"100000000000001@lid","labels":{"route":"billing"}}}"#,
        )
    );
    let raised = PluginEvent { plugin: "plg_1".parse().unwrap(), kind: "order".to_owned(), payload: json!([1.5]) };
    assert_eq!(
        event(Happening::Plugin(raised)).document(&labels),
        r#"{"id":"evt_1","type":"plugin.order","session_id":"ses_1","occurred_at":7,"plugin":"plg_1","payload":[1.5]}"#
    );
}

#[test]
fn a_message_of_the_accounts_own_is_told_with_whom_it_went_to() {
    let own = Incoming {
        from_me: true,
        sender: chat("6282260790996"),
        sender_alt: None,
        chat_alt: Some(chat("100000000000001@lid")),
        ..message(MessageKind::Text)
    };
    let message = &shown(Happening::Message(own))["message"];
    assert_eq!((&message["to"], &message["sender"]), (&json!(chat("6281381393739")), &json!(chat("6282260790996"))));
    assert_eq!((&message["phone"], &message["lid"]), (&json!("6281381393739"), &json!("100000000000001@lid")));
}

#[test]
fn a_reaction_names_what_it_is_about() {
    let target = Target { id: MessageId::from("3EB1".to_owned()), sender: Some(friend()), from_me: false };
    let reaction = Incoming { target: Some(target), ..message(MessageKind::Reaction) };
    let stored = Happening::Message(reaction.clone());
    assert_eq!(Happening::read(MESSAGE_REACTION, &stored.payload().unwrap()).unwrap(), stored);
    let sender = json!({ "chat": chat("6281381393739"), "phone": "6281381393739", "lid": "100000000000001@lid" });
    assert_eq!(shown(stored)["message"]["target"], json!({ "id": "3EB1", "sender": sender, "from_me": false }));
}

/// Rows of a wagate that knew neither targets nor the other address of a chat.
#[test]
fn messages_stored_before_are_still_read() {
    let stored = r#"{"id":"3EB0","kind":"text","chat":"6281381393739@s.whatsapp.net","sender":"6281381393739@s.whatsapp.net",
        "sender_alt":null,"to":"6282260790996@s.whatsapp.net","from_me":false,"text":"Hello!","push_name":null,
        "sent_at":1643723400000,"backfill":false}"#;
    let expected = Incoming { sender_alt: None, ..message(MessageKind::Text) };
    assert_eq!(Happening::read(MESSAGE_RECEIVED, stored).unwrap(), Happening::Message(expected));
}

#[test]
fn a_group_s_change_stands_beside_the_group() {
    let (_, what) = each().remove(8);
    let group = &shown(what)["group"];
    assert_eq!((&group["action"], &group["chat"]), (&json!("added"), &json!("120363302171476233@g.us")));
    assert_eq!(group["participants"][0]["lid"], "100000000000001@lid");
}
