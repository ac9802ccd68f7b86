//! The domain's words, shared by every room.
//!
//! Plain values without behaviour beyond parsing and printing. Text from outside becomes one of these
//! types once, at the edge; inside, no bare `String` stands for an id, a chat or a time.
//!
//! Invariant: this room names no other room of the crate.

mod account;
mod chat;
mod delivery;
mod endpoint;
mod event;
mod happening;
mod id;
mod message;
mod person;
mod plugin;
mod session;
mod time;

pub use account::{Role, Scope, User, UserId};
pub use chat::{Chat, ChatError, Phone, PhoneError};
pub use delivery::{Attempt, AttemptOutcome, DeadWhy, Delivery, DeliveryState, ErrorClass, Phases};
pub use endpoint::{
    DeliveryOrder, Disabled, DisabledWhy, Endpoint, EndpointLimits, EventFilter, EventFilterError, Headers, SigningKey,
    SigningKeys, WebhookUrl, WebhookUrlError,
};
pub use event::{
    CALL_RECEIVED, CHAT_PRESENCE, ENDPOINT_DISABLED, EVENT_KINDS, Event, GROUP_UPDATE, Happening, MESSAGE_ACK,
    MESSAGE_EDITED, MESSAGE_REACTION, MESSAGE_RECEIVED, MESSAGE_REVOKED, MESSAGE_SENT, PRESENCE_UPDATE, SESSION_STATUS,
    WEBHOOK_TEST,
};
pub use happening::{
    Ack, Availability, Call, EndpointDisabled, GroupChange, GroupSetting, GroupUpdate, Presence, StatusChange, Typing,
    TypingState, WebhookTest,
};
pub use id::{
    BindingId, DeliveryId, EndpointId, EventId, IdError, MessageId, PluginId, ReplayId, RequestId, SessionId,
};
pub use message::{
    GroupSummary, Incoming, MessageKind, MessageState, NumberCheck, Outgoing, Receipt, ReceiptKind, Sent, Target,
};
pub use person::Person;
pub use plugin::{
    Binding, Bound, Effects, FailurePolicy, GrantError, Grants, Hook, HttpGrant, KeyWrite, Labels, Limits, LogLevel,
    LogLine, Plugin, PluginEvent, PluginVersion, QueuedSend, Report, Reuse, Shape, Step, Stored,
};
pub use session::{Link, Pairing, Session, SessionState, Status};
pub use time::{Clock, Millis};
