//! What happens on a session besides messages, as it is stored and as webhooks, live streams and plugins are told.
//!
//! Each is written as JSON once, in the words of its fields: rows and webhooks hold the same members. A [`Person`] among
//! them states number and LID.
//!
//! Invariant: members never change their name or type, and none is ever taken away.

use serde::{Deserialize, Serialize};

use super::{Chat, DisabledWhy, EndpointId, MessageId, MessageState, Millis, Person, SessionState, WebhookUrl};

/// A message that the account sent has come further, or was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// The message.
    pub id: MessageId,
    /// Whom it went to: a person or a group.
    pub to: Person,
    /// How far it has come: `delivered`, `read`, `played`, or `refused`.
    pub state: MessageState,
    /// WhatsApp's code, when it refused.
    pub code: Option<u16>,
    /// Who received or read it; in a group the first member who did. Nobody when it was refused.
    pub from: Option<Person>,
    /// When, by WhatsApp's clock where WhatsApp told it.
    pub at: Millis,
}

/// Somebody whose presence was asked for came online or went away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// Who.
    pub from: Person,
    /// Whether they are there.
    pub state: Availability,
    /// When they were last there, if they let it be known.
    pub last_seen: Option<Millis>,
}

/// Whether somebody is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Availability {
    /// Online.
    Available,
    /// Away.
    Unavailable,
}

/// Somebody types in a chat that was asked for, records a voice note, or stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Typing {
    /// The chat: the person, or the group.
    pub chat: Chat,
    /// Who.
    pub from: Person,
    /// Whether the chat is a group.
    pub is_group: bool,
    /// What they do.
    pub state: TypingState,
}

/// What somebody does in a chat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TypingState {
    /// Types.
    Typing,
    /// Records a voice note.
    Recording,
    /// Neither any more.
    Paused,
}

/// A group the account is in was changed, or the account was taken into one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupUpdate {
    /// WhatsApp's id of its notice.
    pub id: Option<String>,
    /// The place of this change among those of the notice, from 0.
    pub place: u32,
    /// The group.
    pub chat: Chat,
    /// Who changed it, when WhatsApp tells.
    pub from: Option<Person>,
    /// When, by WhatsApp's clock.
    pub at: Millis,
    /// What was changed.
    #[serde(flatten)]
    pub change: GroupChange,
}

/// What was changed about a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum GroupChange {
    /// It was made, or the account was taken into it.
    Created {
        /// Its name, when told.
        subject: Option<String>,
    },
    /// It was deleted.
    Deleted,
    /// It was renamed.
    Subject {
        /// The new name.
        subject: String,
    },
    /// Its description was changed.
    Description {
        /// The new one; nothing when it was taken away.
        description: Option<String>,
    },
    /// Members came.
    Added {
        /// Who.
        participants: Vec<Person>,
    },
    /// Members left or were removed.
    Removed {
        /// Who.
        participants: Vec<Person>,
    },
    /// Members became admins.
    Promoted {
        /// Who.
        participants: Vec<Person>,
    },
    /// Members are no admins any more.
    Demoted {
        /// Who.
        participants: Vec<Person>,
    },
    /// Members have other addresses now.
    Renumbered {
        /// Who, by their new addresses.
        participants: Vec<Person>,
    },
    /// Somebody would like to join.
    Requested {
        /// Who; whoever made the change, where nobody is named.
        participants: Vec<Person>,
    },
    /// Requests to join were withdrawn or turned down.
    Unrequested {
        /// Whose.
        participants: Vec<Person>,
    },
    /// A setting was switched.
    Setting {
        /// Which.
        setting: GroupSetting,
        /// Whether it holds now.
        on: bool,
    },
    /// How long messages stay was changed.
    Disappearing {
        /// Seconds until they disappear; 0 when they stay.
        seconds: u32,
    },
    /// The invitation link was replaced.
    InviteRevoked,
    /// Something this version has no word for.
    Other {
        /// WhatsApp's word.
        name: String,
    },
}

/// A setting of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupSetting {
    /// Only admins may change what the group says about itself.
    Locked,
    /// Only admins may write.
    Announcement,
    /// Admins let in whoever wants to join.
    JoinApproval,
    /// Only admins may add members.
    AdminsAdd,
    /// What was forwarded often may not be forwarded here.
    NoFrequentlyForwarded,
}

/// Somebody called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// The call's id; the same in whatever else is heard of it.
    pub id: String,
    /// Who called.
    pub from: Person,
    /// Where: the person, or the group.
    pub chat: Chat,
    /// Whether it was to a group.
    pub is_group: bool,
    /// Whether it was with pictures, when told.
    pub video: Option<bool>,
    /// Whether it rang while the session was away, and is over.
    pub missed: bool,
    /// When, by WhatsApp's clock.
    pub at: Millis,
}

/// A session has come to another state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusChange {
    /// The state.
    pub state: SessionState,
    /// Why, where there is a reason.
    pub reason: Option<String>,
    /// The linked account; nobody before one is linked.
    pub account: Option<Person>,
}

/// An endpoint gets nothing any more, until somebody enables it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointDisabled {
    /// The endpoint.
    pub id: EndpointId,
    /// Its name.
    pub name: String,
    /// Its address.
    pub url: WebhookUrl,
    /// Why: `gone`, its receiver answered 410; `failing`, it failed for five days.
    pub why: DisabledWhy,
    /// When.
    pub at: Millis,
}

/// Somebody wanted to see whether an endpoint works.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookTest {
    /// The endpoint.
    pub endpoint_id: EndpointId,
    /// A word to whoever reads it.
    pub text: String,
}

impl GroupChange {
    /// Whom it is about.
    pub fn participants_mut(&mut self) -> &mut [Person] {
        match self {
            Self::Added { participants }
            | Self::Removed { participants }
            | Self::Promoted { participants }
            | Self::Demoted { participants }
            | Self::Renumbered { participants }
            | Self::Requested { participants }
            | Self::Unrequested { participants } => participants,
            Self::Created { .. }
            | Self::Deleted
            | Self::Subject { .. }
            | Self::Description { .. }
            | Self::Setting { .. }
            | Self::Disappearing { .. }
            | Self::InviteRevoked
            | Self::Other { .. } => &mut [],
        }
    }
}
