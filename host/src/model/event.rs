//! Events: what happened on a session, as webhooks, live streams and plugins see it.

use serde::Serialize;

use super::{Chat, EventId, Incoming, Labels, MessageId, MessageKind, Millis, PluginEvent, PluginId, SessionId};

/// The kind of an event that is a received message, as it is stored and shown.
pub const MESSAGE_RECEIVED: &str = "message.received";

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
}

impl Event {
    /// Its public kind: `message.received`, or `plugin.` and the type its plugin gave it.
    pub fn kind(&self) -> String {
        match &self.what {
            Happening::Message(_) => MESSAGE_RECEIVED.to_owned(),
            Happening::Plugin(event) => format!("plugin.{}", event.kind),
        }
    }

    /// The message, when it is one.
    pub fn message(&self) -> Option<&Incoming> {
        match &self.what {
            Happening::Message(message) => Some(message),
            Happening::Plugin(_) => None,
        }
    }

    /// The event as one JSON object, which plugins read and webhooks carry where no plugin shapes them. A message
    /// carries its labels. Members never change their name or type, and none is ever taken away.
    pub fn document(&self, labels: &Labels) -> String {
        let (message, plugin, payload) = match &self.what {
            Happening::Message(message) => (Some(Message::of(message, labels)), None, None),
            Happening::Plugin(event) => (None, Some(&event.plugin), Some(&event.payload)),
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
    payload: Option<&'a serde_json::Value>,
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
