//! A delivery: one event for one endpoint, and the attempts it takes.

use std::net::SocketAddr;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Chat, DeliveryId, EndpointId, EventId, Millis, SessionId, Shape};

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// Due now or later.
    Waiting,
    /// The receiver answered 2xx.
    Delivered,
    /// Given up; kept to be looked at and replayed.
    Dead,
}

impl DeliveryState {
    /// The state's stored name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
        }
    }
}

/// Why a delivery was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeadWhy {
    /// Every retry failed.
    Exhausted,
    /// The receiver answered 410 Gone.
    Gone,
    /// Its owner skipped it.
    Skipped,
    /// Its endpoint was disabled while it waited.
    Disabled,
}

impl DeadWhy {
    /// The reason's stored name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exhausted => "exhausted",
            Self::Gone => "gone",
            Self::Skipped => "skipped",
            Self::Disabled => "disabled",
        }
    }
}

/// A waiting delivery that is due, its shape fixed once and for all.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Its id, the `webhook-id` of every attempt.
    pub id: DeliveryId,
    /// The event it carries.
    pub event: EventId,
    /// The session the event happened on.
    pub session: SessionId,
    /// The endpoint it goes to.
    pub endpoint: EndpointId,
    /// The chat it is about; `None` for what concerns none. Strict endpoints keep order within it.
    pub chat: Option<Chat>,
    /// Its number at its endpoint: 1, 2, 3 … in the order in which they were committed.
    pub sequence: i64,
    /// What is posted, byte for byte the same on every attempt.
    pub shape: Shape,
    /// Attempts made, all in all. Whoever settles names it, so that of two attempts of one number only one counts.
    pub attempts: u32,
    /// Attempts that were made before its schedule of retries began anew: 0, or those before its last replay.
    pub replayed_from: u32,
    /// When it was created.
    pub created_at: Millis,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// The receiver answered 2xx.
    Accepted {
        /// The HTTP status.
        status: u16,
    },
    /// The receiver answered something else.
    Refused {
        /// The HTTP status.
        status: u16,
    },
    /// No answer: refused address, no connection, a deadline.
    Unanswered {
        /// What kind of failure it was.
        class: ErrorClass,
        /// What went wrong, in words.
        error: String,
    },
}

/// What kept a request from being answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorClass {
    /// The request could not be made: a header or a key that is not valid.
    Malformed,
    /// The address may not be dialled.
    Forbidden,
    /// The name did not resolve.
    Dns,
    /// No connection: refused, reset, unreachable, or too slow to open.
    Connect,
    /// TLS failed: certificate, protocol.
    Tls,
    /// The deadline passed.
    Timeout,
    /// The connection broke before the answer was whole.
    Broken,
    /// The answer was not HTTP, or beyond what is read of one.
    Protocol,
}

impl ErrorClass {
    /// Every class.
    pub const ALL: [Self; 8] = [
        Self::Malformed,
        Self::Forbidden,
        Self::Dns,
        Self::Connect,
        Self::Tls,
        Self::Timeout,
        Self::Broken,
        Self::Protocol,
    ];

    /// The class's stored name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Forbidden => "forbidden",
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::Broken => "broken",
            Self::Protocol => "protocol",
        }
    }
}

/// How long the phases of an exchange took, in microseconds. `None` for one that did not take place: on a connection
/// that was kept open there is no lookup, no connecting and no TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Phases {
    /// Resolving the name.
    pub dns_us: Option<i64>,
    /// Opening the TCP connection.
    pub connect_us: Option<i64>,
    /// The TLS handshake.
    pub tls_us: Option<i64>,
    /// From the start of the exchange to the answer's head.
    pub first_byte_us: Option<i64>,
}

/// One attempt, as the log keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// When it started.
    pub started_at: Millis,
    /// How long it took, in milliseconds.
    pub took_ms: i64,
    /// How its phases fared.
    pub phases: Phases,
    /// The address that was dialled, when one was.
    pub address: Option<SocketAddr>,
    /// How it ended.
    pub outcome: AttemptOutcome,
    /// The first [`Attempt::ANSWER_KEPT`] bytes of the answer's body; empty when there was none.
    pub answer: Bytes,
}

impl Attempt {
    /// Bytes of an answer that the log keeps.
    pub const ANSWER_KEPT: usize = 4 * 1024;
}
