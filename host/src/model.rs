//! The domain's words, shared by every room.
//!
//! Plain values without behaviour beyond parsing and printing. Text from outside becomes one of these
//! types once, at the edge; inside, no bare `String` stands for an id, a chat or a time.
//!
//! Invariant: this room names no other room of the crate.

mod account;
mod chat;
mod delivery;
mod event;
mod id;
mod message;
mod session;
mod time;

pub use account::{Role, Scope, User, UserId};
pub use chat::{Chat, ChatError, Phone, PhoneError};
pub use delivery::{Attempt, AttemptOutcome, Delivery, DeliveryState, Endpoint, WebhookUrl, WebhookUrlError};
pub use event::{Event, EventKind};
pub use id::{DeliveryId, EndpointId, EventId, IdError, MessageId, RequestId, SessionId};
pub use message::{
    GroupSummary, Incoming, MessageKind, MessageState, NumberCheck, Outgoing, Receipt, ReceiptKind, Sent,
};
pub use session::{Link, Pairing, Session, Status};
pub use time::{Clock, Millis};
