//! An event as one JSON object: `id`, `type`, `session_id`, `occurred_at`, and one more that is named after what happened.

use std::borrow::Cow;

use serde::Serialize;

use super::{Event, Happening};
use crate::model::{
    Ack, Call, Chat, EndpointDisabled, EventId, GroupUpdate, Incoming, Labels, MessageId, MessageKind, Millis, Phone,
    PluginId, Presence, SessionId, StatusChange, Target, Typing, WebhookTest,
};

#[derive(Serialize)]
pub(super) struct Document<'a> {
    id: &'a EventId,
    #[serde(rename = "type")]
    kind: Cow<'static, str>,
    session_id: &'a SessionId,
    occurred_at: Millis,
    #[serde(flatten)]
    what: What<'a>,
}

/// The last member, under its name. What a plugin raised has two.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum What<'a> {
    Message(Message<'a>),
    Ack(&'a Ack),
    Presence(&'a Presence),
    Typing(&'a Typing),
    Group(&'a GroupUpdate),
    Call(&'a Call),
    Status(&'a StatusChange),
    Endpoint(&'a EndpointDisabled),
    Test(&'a WebhookTest),
    #[serde(untagged)]
    Plugin {
        plugin: &'a PluginId,
        payload: &'a serde_json::Value,
    },
}

#[derive(Serialize)]
struct Message<'a> {
    id: &'a MessageId,
    kind: MessageKind,
    chat: &'a Chat,
    sender: &'a Chat,
    sender_alt: Option<&'a Chat>,
    to: &'a Chat,
    from_me: bool,
    is_group: bool,
    text: Option<&'a str>,
    push_name: Option<&'a str>,
    sent_at: Millis,
    backfill: bool,
    phone: Option<Phone>,
    lid: Option<&'a Chat>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<&'a Target>,
    labels: &'a Labels,
}

impl<'a> Document<'a> {
    pub(super) fn of(event: &'a Event, labels: &'a Labels) -> Self {
        let what = match &event.what {
            Happening::Message(message) => What::Message(Message::of(message, labels)),
            Happening::Ack(ack) => What::Ack(ack),
            Happening::Presence(presence) => What::Presence(presence),
            Happening::Typing(typing) => What::Typing(typing),
            Happening::Group(update) => What::Group(update),
            Happening::Call(call) => What::Call(call),
            Happening::Status(change) => What::Status(change),
            Happening::EndpointDisabled(disabled) => What::Endpoint(disabled),
            Happening::Test(test) => What::Test(test),
            Happening::Plugin(raised) => What::Plugin { plugin: &raised.plugin, payload: &raised.payload },
        };
        let Event { id, session, stored_at, .. } = event;
        Self { id, kind: event.what.kind(), session_id: session, occurred_at: *stored_at, what }
    }
}

impl<'a> Message<'a> {
    /// `phone` and `lid` are those of the other side: of whoever wrote it or, when the account itself did, of the person it
    /// was written to.
    fn of(message: &'a Incoming, labels: &'a Labels) -> Self {
        let (address, other) = if message.from_me {
            (&message.chat, message.chat_alt.as_ref())
        } else {
            (&message.sender, message.sender_alt.as_ref())
        };
        let addresses = || [Some(address), other].into_iter().flatten();
        Self {
            id: &message.id,
            kind: message.kind,
            chat: &message.chat,
            sender: &message.sender,
            sender_alt: message.sender_alt.as_ref(),
            to: if message.from_me { &message.chat } else { &message.to },
            from_me: message.from_me,
            is_group: message.chat.is_group(),
            text: message.text.as_deref(),
            push_name: message.push_name.as_deref(),
            sent_at: message.sent_at,
            backfill: message.backfill,
            phone: addresses().find_map(Chat::phone),
            lid: addresses().find(|address| address.is_lid()),
            target: message.target.as_ref(),
            labels,
        }
    }
}
