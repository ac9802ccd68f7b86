//! Events: what happened on a session, as webhooks, live streams and plugins see it.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{
    Chat, DisabledWhy, EndpointId, EventId, Incoming, Labels, MessageId, MessageKind, Millis, PluginEvent, PluginId,
    SessionId, WebhookUrl,
};

/// The kind of an event that is a received message, as it is stored and shown.
pub const MESSAGE_RECEIVED: &str = "message.received";

/// The kind of an event that only tries an endpoint out.
pub const WEBHOOK_TEST: &str = "webhook.test";

/// The kind of an event that an endpoint was put out of use, and not by its owner.
pub const ENDPOINT_DISABLED: &str = "endpoint.disabled";

/// One thing that happened. Immutable once stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its id; sorts by the moment it was stored.
    pub id: EventId,
    /// Where it happened.
    pub session: SessionId,
    /// What it was.
    pub what: Happening,
    /// When it was stored, which for a message is when WhatsApp was acknowledged.
    pub stored_at: Millis,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happening {
    /// A message reached the account.
    Message(Incoming),
    /// A plugin raised an event of its own.
    Plugin(PluginEvent),
    /// An endpoint was put out of use.
    Disabled(EndpointDisabled),
    /// Nothing: somebody tries an endpoint out.
    Test,
}

/// An endpoint that was put out of use, as it is stored and told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointDisabled {
    /// The endpoint.
    pub endpoint: EndpointId,
    /// Its name.
    pub name: String,
    /// Its address.
    pub url: WebhookUrl,
    /// Why: `gone`, its receiver answered 410; `failing`, it failed for five days.
    pub why: DisabledWhy,
}

impl Event {
    /// Its public kind: `message.received`, `plugin.` and the type its plugin gave it, `endpoint.disabled`, or
    /// `webhook.test`.
    pub fn kind(&self) -> String {
        match &self.what {
            Happening::Message(_) => MESSAGE_RECEIVED.to_owned(),
            Happening::Plugin(event) => format!("plugin.{}", event.kind),
            Happening::Disabled(_) => ENDPOINT_DISABLED.to_owned(),
            Happening::Test => WEBHOOK_TEST.to_owned(),
        }
    }

    /// The message, when it is one.
    pub fn message(&self) -> Option<&Incoming> {
        match &self.what {
            Happening::Message(message) => Some(message),
            Happening::Plugin(_) | Happening::Disabled(_) | Happening::Test => None,
        }
    }

    /// The chat it is about, when it is about one. Strict endpoints keep order within it.
    pub fn chat(&self) -> Option<&Chat> {
        self.message().map(|message| &message.chat)
    }

    /// The event as one JSON object, which plugins read and webhooks carry where no plugin shapes them. A message
    /// carries its labels. Members never change their name or type, and none is ever taken away.
    pub fn document(&self, labels: &Labels) -> String {
        let (message, plugin, payload) = match &self.what {
            Happening::Message(message) => (Some(Message::of(message, labels)), None, None),
            Happening::Plugin(event) => (None, Some(&event.plugin), Some(Cow::Borrowed(&event.payload))),
            Happening::Disabled(disabled) => (None, None, serde_json::to_value(disabled).ok().map(Cow::Owned)),
            Happening::Test => (None, None, None),
        };
        let document = Document {
            id: &self.id,
            kind: self.kind(),
            session_id: &self.session,
            occurred_at: self.stored_at,
            message,
            plugin,
            payload,
        };
        serde_json::to_string(&document).unwrap_or_default()
    }
}

#[derive(Serialize)]
struct Document<'a> {
    id: &'a EventId,
    #[serde(rename = "type")]
    kind: String,
    session_id: &'a SessionId,
    occurred_at: Millis,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Message<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plugin: Option<&'a PluginId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<Cow<'a, serde_json::Value>>,
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
    phone: Option<String>,
    lid: Option<&'a Chat>,
    labels: &'a Labels,
}

impl<'a> Message<'a> {
    fn of(message: &'a Incoming, labels: &'a Labels) -> Self {
        let addresses = || [Some(&message.sender), message.sender_alt.as_ref()].into_iter().flatten();
        Self {
            id: &message.id,
            kind: message.kind,
            chat: &message.chat,
            sender: &message.sender,
            sender_alt: message.sender_alt.as_ref(),
            to: &message.to,
            from_me: message.from_me,
            is_group: message.chat.is_group(),
            text: message.text.as_deref(),
            push_name: message.push_name.as_deref(),
            sent_at: message.sent_at,
            backfill: message.backfill,
            phone: addresses().find_map(Chat::phone).map(|phone| phone.to_string()),
            lid: addresses().find(|address| address.jid().ends_with("@lid")),
            labels,
        }
    }
}
