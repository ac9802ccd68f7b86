//! Patches of messages, and the verdicts beside them.

use std::time::Duration;

use serde_json::{Map, Value};

use super::{PatchError, check};
use crate::model::{Chat, Incoming, Labels, MessageKind};
use crate::plugin::api::v1::message_filter::DropReason;
use crate::plugin::api::v1::types::MessagePatch;
use crate::plugin::capability::log::cut;
use crate::plugin::capability::outbox::{LONGEST_TEXT, is_name};

/// Labels of a message.
const LABELS: usize = 32;
const LONGEST_LABEL_NAME: usize = 64;
const LONGEST_LABEL: usize = 1_024;
/// Endpoints a message can be routed to: all that a session can have.
const ROUTES: usize = 64;
const LONGEST_ROUTE: usize = 64;
/// Longest reason that is kept.
const LONGEST_DETAIL: usize = 1_000;

/// Which way the message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::plugin) enum Direction {
    Incoming,
    Outgoing,
}

/// Endpoints named by the last plugin that routed.
pub(in crate::plugin) type Routing = Option<Vec<String>>;

/// Puts a patch in place: all of it, or nothing.
pub(in crate::plugin) fn apply(
    patch: MessagePatch,
    direction: Direction,
    message: &mut Incoming,
    labels: &mut Labels,
    routing: &mut Routing,
) -> Result<(), PatchError> {
    let MessagePatch { text, chat, set_labels, remove_labels, route_to } = patch;
    if let Some(text) = &text {
        check(carries_text(message), "text: a message of this kind has none")?;
        check(text.chars().nth(LONGEST_TEXT).is_none(), "text: it has more than 65536 characters")?;
        let empty = text.is_empty() && direction == Direction::Outgoing;
        check(!empty, "text: a message that is sent has at least 1 character; drop it instead")?;
    }
    let chat = chat.map(|chat| chat.parse::<Chat>().map_err(|error| PatchError::new(format!("chat: {error}"))));
    let chat = chat.transpose()?;
    if let Some(names) = &route_to {
        check(direction == Direction::Incoming, "route-to: a message that is sent goes to no endpoint")?;
        check(names.len() <= ROUTES, "route-to: more than 64 endpoints")?;
        let sound = names.iter().all(|name| (1..=LONGEST_ROUTE).contains(&name.len()));
        check(sound, "route-to: an endpoint's name or id has 1 to 64 bytes")?;
    }
    check(set_labels.len() <= LABELS, "set-labels: more than 32")?;
    check(remove_labels.len() <= LABELS, "remove-labels: more than 32")?;
    let sound = remove_labels.iter().all(|name| name.len() <= LONGEST_LABEL_NAME);
    check(sound, "remove-labels: a name has at most 64 bytes")?;
    let mut changed = labels.clone();
    for name in &remove_labels {
        changed.remove(name);
    }
    for label in set_labels {
        check((1..=LONGEST_LABEL_NAME).contains(&label.name.len()), "set-labels: a name has 1 to 64 bytes")?;
        check(!label.name.chars().any(char::is_control), "set-labels: a name holds a control character")?;
        check(label.value.len() <= LONGEST_LABEL, "set-labels: a value has more than 1024 bytes")?;
        changed.insert(label.name, label.value);
    }
    check(changed.len() <= LABELS, "set-labels: the message would have more than 32 labels")?;
    *labels = changed;
    message.text = text.or_else(|| message.text.take());
    if let Some(chat) = chat {
        message.chat = chat;
    }
    *routing = route_to.or_else(|| routing.take());
    Ok(())
}

/// Whether the kind has a text or caption that can be changed.
fn carries_text(message: &Incoming) -> bool {
    use MessageKind as Kind;
    match message.kind {
        Kind::Text | Kind::Image | Kind::Video | Kind::Document | Kind::Poll | Kind::Edit => true,
        Kind::Audio | Kind::Sticker | Kind::Location | Kind::Contact | Kind::Reaction | Kind::Revoke => false,
        Kind::Other => message.text.is_some(),
    }
}

/// The patch as the trace shows it: what is new, by field.
pub(in crate::plugin) fn shown(patch: &MessagePatch) -> Value {
    let MessagePatch { text, chat, set_labels, remove_labels, route_to } = patch;
    let mut fields = Map::new();
    let mut show = |name: &str, value| fields.insert(name.to_owned(), value);
    if let Some(text) = text {
        show("text", Value::from(text.as_str()));
    }
    if let Some(chat) = chat {
        show("chat", Value::from(chat.as_str()));
    }
    if !set_labels.is_empty() {
        let mut labels = Map::new();
        for label in set_labels {
            labels.insert(label.name.clone(), Value::from(label.value.as_str()));
        }
        show("set_labels", Value::Object(labels));
    }
    if !remove_labels.is_empty() {
        show("remove_labels", Value::from(remove_labels.as_slice()));
    }
    if let Some(names) = route_to {
        show("route_to", Value::from(names.as_slice()));
    }
    Value::Object(fields)
}

/// The reason of a drop.
pub(in crate::plugin) fn dropped(reason: DropReason) -> Result<(String, Option<String>), PatchError> {
    let DropReason { code, detail } = reason;
    check(is_name(&code), "drop: its code is 1 to 64 of a-z 0-9 . _ -")?;
    Ok((code, detail.map(|detail| cut(detail, LONGEST_DETAIL))))
}

/// How long a deferral lasts: at least a second, so that it is no loop, and at most an hour.
pub(in crate::plugin) fn deferred(ms: u32) -> Duration {
    Duration::from_millis(ms.into()).clamp(Duration::from_secs(1), Duration::from_hours(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Millis;
    use crate::plugin::api::v1::types::Pair;

    fn message(kind: MessageKind) -> Incoming {
        Incoming {
            id: "3EB0".to_owned().into(),
            kind,
            chat: "6281381393739".parse().unwrap(),
            sender: "6281381393739".parse().unwrap(),
            sender_alt: None,
            to: "6282260790996".parse().unwrap(),
            from_me: false,
            text: Some("Hello!".to_owned()),
            push_name: None,
            sent_at: Millis(0),
            backfill: false,
            chat_alt: None,
            target: None,
        }
    }

    fn patch() -> MessagePatch {
        MessagePatch { text: None, chat: None, set_labels: vec![], remove_labels: vec![], route_to: None }
    }

    fn pair(name: &str, value: &str) -> Pair {
        Pair { name: name.to_owned(), value: value.to_owned() }
    }

    fn refusal(patch: MessagePatch, direction: Direction) -> String {
        let (mut after, mut labels, mut routing) = (message(MessageKind::Text), Labels::new(), None);
        let error = apply(patch, direction, &mut after, &mut labels, &mut routing).unwrap_err();
        assert!((after, labels.len(), routing) == (message(MessageKind::Text), 0, None), "nothing of it is kept");
        error.0
    }

    #[test]
    fn changes_what_it_names_and_keeps_the_rest() {
        let mut after = message(MessageKind::Text);
        let mut labels = Labels::from([("old".to_owned(), "1".to_owned()), ("kept".to_owned(), "2".to_owned())]);
        let mut routing = Some(vec!["sales".to_owned()]);
        let change = MessagePatch {
            text: Some("Bye".to_owned()),
            set_labels: vec![pair("new", "3"), pair("kept", "4")],
            remove_labels: vec!["old".to_owned()],
            ..patch()
        };
        assert_eq!(
            shown(&change).to_string(),
            r#"{"remove_labels":["old"],"set_labels":{"kept":"4","new":"3"},"text":"Bye"}"#
        );
        apply(change, Direction::Incoming, &mut after, &mut labels, &mut routing).unwrap();
        assert_eq!(after, Incoming { text: Some("Bye".to_owned()), ..message(MessageKind::Text) });
        assert_eq!(labels, Labels::from([("kept".to_owned(), "4".to_owned()), ("new".to_owned(), "3".to_owned())]));
        assert_eq!(routing, Some(vec!["sales".to_owned()]), "an earlier routing stays");
        let elsewhere = MessagePatch { route_to: Some(vec![]), chat: Some("62813@g.us".to_owned()), ..patch() };
        apply(elsewhere, Direction::Incoming, &mut after, &mut labels, &mut routing).unwrap();
        assert_eq!((routing, after.chat.jid()), (Some(vec![]), "62813@g.us"), "the last routing decides");
    }

    #[test]
    fn refuses_what_the_contract_forbids() {
        let many = |count: usize| (0..count).map(|n| pair(&n.to_string(), "")).collect::<Vec<_>>();
        let table = [
            (MessagePatch { text: Some("x".repeat(65_537)), ..patch() }, "text:"),
            (MessagePatch { chat: Some("nobody".to_owned()), ..patch() }, "chat:"),
            (MessagePatch { set_labels: many(33), ..patch() }, "set-labels:"),
            (MessagePatch { set_labels: vec![pair("", "")], ..patch() }, "set-labels:"),
            (MessagePatch { set_labels: vec![pair(&"x".repeat(65), "")], ..patch() }, "set-labels:"),
            (MessagePatch { set_labels: vec![pair("a\n", "")], ..patch() }, "set-labels:"),
            (MessagePatch { set_labels: vec![pair("a", &"x".repeat(1_025))], ..patch() }, "set-labels:"),
            (MessagePatch { remove_labels: vec![String::new(); 33], ..patch() }, "remove-labels:"),
            (MessagePatch { remove_labels: vec!["x".repeat(65)], ..patch() }, "remove-labels:"),
            (MessagePatch { route_to: Some(vec![String::new()]), ..patch() }, "route-to:"),
            (MessagePatch { route_to: Some(vec!["x".to_owned(); 65]), ..patch() }, "route-to:"),
        ];
        for (bad, field) in table {
            let why = refusal(bad, Direction::Incoming);
            assert!(why.starts_with(field), "{why}");
        }
        for bad in
            [MessagePatch { route_to: Some(vec![]), ..patch() }, MessagePatch { text: Some(String::new()), ..patch() }]
        {
            refusal(bad, Direction::Outgoing);
        }
    }

    #[test]
    fn only_kinds_with_a_text_take_one() {
        use MessageKind as Kind;
        for (kind, takes) in [(Kind::Image, true), (Kind::Poll, true), (Kind::Sticker, false), (Kind::Reaction, false)]
        {
            let change = MessagePatch { text: Some("x".to_owned()), ..patch() };
            let done = apply(change, Direction::Incoming, &mut message(kind), &mut Labels::new(), &mut None);
            assert_eq!(done.is_ok(), takes, "{kind:?}");
        }
    }

    #[test]
    fn labels_do_not_pile_up() {
        let mut labels: Labels = (0..32).map(|n| (n.to_string(), String::new())).collect();
        let change = |name: &str| MessagePatch { set_labels: vec![pair(name, "")], ..patch() };
        let mut try_one = |name| {
            apply(change(name), Direction::Incoming, &mut message(MessageKind::Text), &mut labels, &mut None).is_ok()
        };
        assert!(try_one("7") && !try_one("33rd"));
    }

    #[test]
    fn a_drop_needs_a_name_to_count_by() {
        let reason = |code: &str| DropReason { code: code.to_owned(), detail: Some("x".repeat(5_000)) };
        let (code, detail) = dropped(reason("spam")).unwrap();
        assert!(code == "spam" && detail.unwrap().len() <= LONGEST_DETAIL);
        assert!(dropped(reason("Spam!")).is_err());
    }

    #[test]
    fn a_deferral_is_no_loop_and_ends() {
        assert_eq!(deferred(0), Duration::from_secs(1));
        assert_eq!(deferred(5_000), Duration::from_secs(5));
        assert_eq!(deferred(u32::MAX), Duration::from_hours(1));
    }
}
