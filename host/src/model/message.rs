//! What is said: messages in, messages out, and what becomes of a message that went out.

use serde::{Deserialize, Serialize};

use super::{Chat, MessageId, Millis, Person, Phone};

/// What a received message carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageKind {
    /// Plain or formatted text.
    Text,
    /// A picture, its caption in `text`.
    Image,
    /// A video, its caption in `text`.
    Video,
    /// A voice note or a sound file.
    Audio,
    /// A file, its caption in `text`.
    Document,
    /// A sticker.
    Sticker,
    /// A place on the map.
    Location,
    /// One contact card or several.
    Contact,
    /// A reaction to another message; the emoji in `text`, empty when it was taken back.
    Reaction,
    /// A poll; its question in `text`.
    Poll,
    /// A change of an earlier message; the new text in `text`.
    Edit,
    /// An earlier message taken back by its sender.
    Revoke,
    /// A kind this version does not know.
    Other,
}

/// A message that reached one of our accounts, in the domain's words.
///
/// Its identity is `(session, chat, sender, id, kind)`: WhatsApp's ids repeat across chats and senders.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incoming {
    /// WhatsApp's id.
    pub id: MessageId,
    /// What it carries.
    pub kind: MessageKind,
    /// The chat it stands in: the person or the group. By number where the number is known.
    pub chat: Chat,
    /// Who wrote it. By number where the number is known, else by LID.
    pub sender: Chat,
    /// The writer's other address (the LID beside a number, or the reverse), when WhatsApp told it.
    pub sender_alt: Option<Chat>,
    /// The account that received it, by number.
    pub to: Chat,
    /// Whether the account itself wrote it, on its phone or another linked device.
    pub from_me: bool,
    /// The text, caption or emoji, when there is one.
    pub text: Option<String>,
    /// The name the writer goes by.
    pub push_name: Option<String>,
    /// When it was sent, by WhatsApp's clock (precision: seconds).
    pub sent_at: Millis,
    /// Whether it waited on the server while we were away.
    pub backfill: bool,
    /// The chat's other address, of a message that the account itself wrote to a person of whom both are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chat_alt: Option<Chat>,
    /// What a reaction, an edit or a revocation is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
}

/// The message that a reaction, an edit or a revocation is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Its id.
    pub id: MessageId,
    /// Who wrote it, as far as that was told.
    pub sender: Option<Person>,
    /// Whether the account itself wrote it.
    pub from_me: bool,
}

/// A message to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outgoing {
    /// Plain text, 1 to 65,536 characters.
    Text(String),
}

impl Outgoing {
    /// What it carries.
    pub fn kind(&self) -> MessageKind {
        match self {
            Self::Text(_) => MessageKind::Text,
        }
    }

    /// Its text or caption.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
        }
    }
}

/// How far a message that went out has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageState {
    /// Stored here, not yet answered by WhatsApp.
    Pending,
    /// Refused by WhatsApp, with a code.
    Refused,
    /// Accepted by WhatsApp's server (one tick).
    Sent,
    /// On the recipient's device (two ticks).
    Delivered,
    /// Read by the recipient (two blue ticks).
    Read,
    /// Listened to or watched by the recipient.
    Played,
}

/// The answer to a send that WhatsApp's server accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// The id the message has on WhatsApp.
    pub id: MessageId,
    /// Where it went.
    pub to: Chat,
    /// When the server accepted it.
    pub at: Millis,
}

/// What a receipt says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReceiptKind {
    /// Reached a device.
    Delivered,
    /// Was read.
    Read,
    /// Was listened to or watched.
    Played,
}

/// News about messages we sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The messages it is about.
    pub ids: Vec<MessageId>,
    /// The chat they stand in.
    pub chat: Chat,
    /// Who received or read them.
    pub from: Person,
    /// What happened.
    pub kind: ReceiptKind,
    /// When, by WhatsApp's clock.
    pub at: Millis,
}

/// Whether a number is on WhatsApp.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NumberCheck {
    /// The number asked about.
    pub number: Phone,
    /// Whether an account stands behind it.
    pub on_whatsapp: bool,
    /// The name in a business account's certificate, when there is one.
    pub verified_name: Option<String>,
    /// Whether somebody else than the business itself issued that certificate.
    pub verified: bool,
}

/// A group the account is a member of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSummary {
    /// The group.
    pub chat: Chat,
    /// Its subject line.
    pub name: String,
    /// Its description; empty when it has none.
    pub topic: String,
    /// Who created it, when WhatsApp tells.
    pub owner: Option<Chat>,
    /// How many members it has.
    pub participant_count: usize,
    /// Whether our account is an admin of it (a super admin is one too).
    pub is_admin: bool,
    /// Whether our account is its super admin.
    pub is_super_admin: bool,
}
