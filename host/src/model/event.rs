//! Events: what happened on a session, as webhooks, live streams and plugins see it.

mod document;

use std::borrow::Cow;

use self::document::Document;
use super::{
    Ack, Call, Chat, EndpointDisabled, EventId, GroupUpdate, Incoming, Labels, MessageId, MessageKind, Millis, Person,
    PluginEvent, Presence, SessionId, StatusChange, Typing, WebhookTest,
};

/// The kind of an event that is a received message, as it is stored and shown.
pub const MESSAGE_RECEIVED: &str = "message.received";
/// The kind of a reaction that somebody else put on a message, or took back.
pub const MESSAGE_REACTION: &str = "message.reaction";
/// The kind of a message of somebody else's that they changed.
pub const MESSAGE_EDITED: &str = "message.edited";
/// The kind of a message of somebody else's that was taken back.
pub const MESSAGE_REVOKED: &str = "message.revoked";
/// The kind of a message the account itself wrote, here or on another of its devices, once WhatsApp has accepted it.
pub const MESSAGE_SENT: &str = "message.sent";
/// The kind of news about a message that was sent from here.
pub const MESSAGE_ACK: &str = "message.ack";
/// The kind of somebody's coming and going.
pub const PRESENCE_UPDATE: &str = "presence.update";
/// The kind of somebody's typing.
pub const CHAT_PRESENCE: &str = "chat.presence";
/// The kind of a change of a group.
pub const GROUP_UPDATE: &str = "group.update";
/// The kind of a call that came in.
pub const CALL_RECEIVED: &str = "call.received";
/// The kind of a change of the session itself.
pub const SESSION_STATUS: &str = "session.status";
/// The kind of an endpoint's end.
pub const ENDPOINT_DISABLED: &str = "endpoint.disabled";
/// The kind of an event that was made to be looked at.
pub const WEBHOOK_TEST: &str = "webhook.test";

/// Every kind but those that plugins raise, which begin with `plugin.`.
pub const EVENT_KINDS: [&str; 13] = [
    MESSAGE_RECEIVED,
    MESSAGE_REACTION,
    MESSAGE_EDITED,
    MESSAGE_REVOKED,
    MESSAGE_SENT,
    MESSAGE_ACK,
    PRESENCE_UPDATE,
    CHAT_PRESENCE,
    GROUP_UPDATE,
    CALL_RECEIVED,
    SESSION_STATUS,
    ENDPOINT_DISABLED,
    WEBHOOK_TEST,
];

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
    /// A message reached the account, or left it.
    Message(Incoming),
    /// A message that the account sent came further, or was refused.
    Ack(Ack),
    /// Somebody came online or went away.
    Presence(Presence),
    /// Somebody types, or stopped.
    Typing(Typing),
    /// A group was changed.
    Group(GroupUpdate),
    /// Somebody called.
    Call(Call),
    /// The session came to another state.
    Status(StatusChange),
    /// One of its endpoints was disabled.
    EndpointDisabled(EndpointDisabled),
    /// Somebody tests an endpoint.
    Test(WebhookTest),
    /// A plugin raised an event of its own.
    Plugin(PluginEvent),
}

impl Event {
    /// Its public kind, one of [`EVENT_KINDS`], or `plugin.` and the type its plugin gave it.
    pub fn kind(&self) -> String {
        self.what.kind().into_owned()
    }

    /// The message, when it is one.
    pub fn message(&self) -> Option<&Incoming> {
        match &self.what {
            Happening::Message(message) => Some(message),
            _ => None,
        }
    }

    /// The chat it is about; nothing for what concerns none. What concerns one chat is routed in order.
    pub fn chat(&self) -> Option<&Chat> {
        self.what.chat()
    }

    /// The event as one JSON object, which plugins read and webhooks carry where no plugin shapes them. A message
    /// carries its labels. Members never change their name or type, and none is ever taken away.
    pub fn document(&self, labels: &Labels) -> String {
        serde_json::to_string(&Document::of(self, labels)).unwrap_or_default()
    }
}

impl Happening {
    /// The kind of an event that is this.
    pub fn kind(&self) -> Cow<'static, str> {
        let kind = match self {
            Self::Message(message) => kind_of(message),
            Self::Ack(_) => MESSAGE_ACK,
            Self::Presence(_) => PRESENCE_UPDATE,
            Self::Typing(_) => CHAT_PRESENCE,
            Self::Group(_) => GROUP_UPDATE,
            Self::Call(_) => CALL_RECEIVED,
            Self::Status(_) => SESSION_STATUS,
            Self::EndpointDisabled(_) => ENDPOINT_DISABLED,
            Self::Test(_) => WEBHOOK_TEST,
            Self::Plugin(event) => return Cow::Owned(format!("plugin.{}", event.kind)),
        };
        Cow::Borrowed(kind)
    }

    /// The chat it is about.
    pub fn chat(&self) -> Option<&Chat> {
        match self {
            Self::Message(message) => Some(&message.chat),
            Self::Ack(ack) => Some(&ack.to.chat),
            Self::Presence(presence) => Some(&presence.from.chat),
            Self::Typing(typing) => Some(&typing.chat),
            Self::Group(update) => Some(&update.chat),
            Self::Call(call) => Some(&call.chat),
            Self::Status(_) | Self::EndpointDisabled(_) | Self::Test(_) | Self::Plugin(_) => None,
        }
    }

    /// The WhatsApp message it is about.
    pub fn message_id(&self) -> Option<&MessageId> {
        match self {
            Self::Message(message) => Some(&message.id),
            Self::Ack(ack) => Some(&ack.id),
            _ => None,
        }
    }

    /// Whether it is worth nothing the day after: somebody's presence.
    pub fn is_fleeting(&self) -> bool {
        matches!(self, Self::Presence(_) | Self::Typing(_))
    }

    /// Everybody in it of whom another address may be known, but those of messages.
    pub fn people_mut(&mut self) -> Vec<&mut Person> {
        match self {
            Self::Ack(ack) => [Some(&mut ack.to), ack.from.as_mut()].into_iter().flatten().collect(),
            Self::Presence(presence) => vec![&mut presence.from],
            Self::Typing(typing) => vec![&mut typing.from],
            Self::Group(update) => update.from.iter_mut().chain(update.change.participants_mut()).collect(),
            Self::Call(call) => vec![&mut call.from],
            Self::Status(change) => change.account.iter_mut().collect(),
            Self::Message(_) | Self::EndpointDisabled(_) | Self::Test(_) | Self::Plugin(_) => Vec::new(),
        }
    }

    /// What is stored of it beside its kind, as JSON.
    pub fn payload(&self) -> serde_json::Result<String> {
        match self {
            Self::Message(message) => serde_json::to_string(message),
            Self::Ack(ack) => serde_json::to_string(ack),
            Self::Presence(presence) => serde_json::to_string(presence),
            Self::Typing(typing) => serde_json::to_string(typing),
            Self::Group(update) => serde_json::to_string(update),
            Self::Call(call) => serde_json::to_string(call),
            Self::Status(change) => serde_json::to_string(change),
            Self::EndpointDisabled(disabled) => serde_json::to_string(disabled),
            Self::Test(test) => serde_json::to_string(test),
            Self::Plugin(event) => serde_json::to_string(event),
        }
    }

    /// What was stored under this kind.
    pub fn read(kind: &str, payload: &str) -> serde_json::Result<Self> {
        Ok(match kind {
            MESSAGE_RECEIVED | MESSAGE_REACTION | MESSAGE_EDITED | MESSAGE_REVOKED | MESSAGE_SENT => {
                Self::Message(serde_json::from_str(payload)?)
            }
            MESSAGE_ACK => Self::Ack(serde_json::from_str(payload)?),
            PRESENCE_UPDATE => Self::Presence(serde_json::from_str(payload)?),
            CHAT_PRESENCE => Self::Typing(serde_json::from_str(payload)?),
            GROUP_UPDATE => Self::Group(serde_json::from_str(payload)?),
            CALL_RECEIVED => Self::Call(serde_json::from_str(payload)?),
            SESSION_STATUS => Self::Status(serde_json::from_str(payload)?),
            ENDPOINT_DISABLED => Self::EndpointDisabled(serde_json::from_str(payload)?),
            WEBHOOK_TEST => Self::Test(serde_json::from_str(payload)?),
            _ => Self::Plugin(serde_json::from_str(payload)?),
        })
    }
}

/// The kind of an event that is this message.
fn kind_of(message: &Incoming) -> &'static str {
    if message.from_me {
        return MESSAGE_SENT;
    }
    match message.kind {
        MessageKind::Reaction => MESSAGE_REACTION,
        MessageKind::Edit => MESSAGE_EDITED,
        MessageKind::Revoke => MESSAGE_REVOKED,
        _ => MESSAGE_RECEIVED,
    }
}

#[cfg(test)]
mod tests;
