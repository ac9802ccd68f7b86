//! What is said: messages in, messages out, and what becomes of a message that went out.

use serde::{Deserialize, Serialize};

use super::{Chat, MessageId, Millis, Phone};

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
}

/// A message to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outgoing {
    /// Plain text, 1 to 65,536 characters.
    Text(String),
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
    pub from: Chat,
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
