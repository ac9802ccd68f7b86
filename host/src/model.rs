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
mod id;
mod message;
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
pub use event::{ENDPOINT_DISABLED, EndpointDisabled, Event, Happening, MESSAGE_RECEIVED, WEBHOOK_TEST};
pub use id::{
    BindingId, DeliveryId, EndpointId, EventId, IdError, MessageId, PluginId, ReplayId, RequestId, SessionId,
};
pub use message::{
    GroupSummary, Incoming, MessageKind, MessageState, NumberCheck, Outgoing, Receipt, ReceiptKind, Sent,
};
pub use plugin::{
    Binding, Bound, Effects, FailurePolicy, GrantError, Grants, Hook, HttpGrant, KeyWrite, Labels, Limits, LogLevel,
    LogLine, Plugin, PluginEvent, PluginVersion, QueuedSend, Report, Reuse, Shape, Step, Stored,
};
pub use session::{Link, Pairing, Session, Status};
pub use time::{Clock, Millis};
