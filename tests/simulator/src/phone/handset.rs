//! What one simulated phone holds: its keys, the messages it received, the ticks of those it sent.
//!
//! Invariant: everything here is bounded, so that a bench may run for hours.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use whatsapp_rust::wacore::libsignal::protocol::{IdentityKeyPair, SignalProtocolError};

use super::keys::Keys;
use crate::account::lock;
use crate::wire::wa;

/// How many received messages a phone remembers.
const INBOX: usize = 5_000;
/// How many of its own messages a phone can encrypt again when asked to retry.
const RESENDABLE: usize = 1_000;
/// Of how many of its own messages a phone knows the ticks.
const TICKED: usize = 50_000;
/// How often a phone asks for one message, plus one.
const MOST_REQUESTS: u8 = 5;
/// How long "typing…" lasts without being repeated.
const TYPING: Duration = Duration::from_secs(10);

/// How far a message got, as its sender's phone shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Ticks {
    /// Unknown, or not accepted by the server.
    None,
    /// One grey tick: the server has it.
    Sent,
    /// Two grey ticks: a device of a recipient has it.
    Delivered,
    /// Two blue ticks: a recipient read it.
    Read,
}

/// A message a phone received, or saw one of its own linked devices send.
#[derive(Debug, Clone)]
pub struct Received {
    /// The message id, unique per sender.
    pub id: String,
    /// The JID of the chat: a person's by phone number, or a group's.
    pub chat: String,
    /// The sender's JID by phone number, without a device.
    pub from: String,
    /// The text, if it is a text message; else a media caption.
    pub text: Option<String>,
    /// The whole message.
    pub message: Arc<wa::Message>,
    /// When it arrived, in milliseconds since 1970.
    pub at_ms: i64,
    /// Whether one of the phone's own linked devices sent it.
    pub from_me: bool,
    /// The device that sent it; 0 is a phone.
    pub from_device: u16,
}

/// A message of the phone's own that may have to be encrypted again.
#[derive(Clone)]
pub(crate) struct Outgoing {
    /// The chat's JID: a person's by phone number, or a group's.
    pub(crate) chat: String,
    pub(crate) message: Arc<wa::Message>,
}

/// The state of one phone.
pub(crate) struct Handset {
    /// Invariant: the only lock that may be held across an await.
    pub(crate) keys: tokio::sync::Mutex<Keys>,
    /// To which devices this phone's current sender key of a group went: `(number, device)`.
    pub(crate) distributed: Mutex<HashMap<String, HashSet<(String, u16)>>>,
    /// Whether this phone writes from its LID instead of its number.
    pub(crate) writes_from_lid: AtomicBool,
    /// Whether this phone shows as online.
    pub(crate) available: AtomicBool,
    inbox: Mutex<VecDeque<Received>>,
    arrivals: watch::Sender<u64>,
    sent: Mutex<Sent>,
    typing: Mutex<HashMap<(String, String), Instant>>,
    /// How often this phone asked for a message it could not read.
    retries: Mutex<HashMap<String, u8>>,
}

#[derive(Default)]
struct Sent {
    ticks: HashMap<String, Ticks>,
    ticked: VecDeque<String>,
    resendable: HashMap<String, Outgoing>,
    resend_order: VecDeque<String>,
}

impl Handset {
    pub(crate) fn new(identity: IdentityKeyPair, registration: u32) -> Result<Self, SignalProtocolError> {
        Ok(Self {
            keys: tokio::sync::Mutex::new(Keys::new(identity, registration)?),
            distributed: Mutex::default(),
            writes_from_lid: AtomicBool::new(false),
            available: AtomicBool::new(false),
            inbox: Mutex::default(),
            arrivals: watch::Sender::new(0),
            sent: Mutex::default(),
            typing: Mutex::default(),
            retries: Mutex::default(),
        })
    }

    /// Takes in a message.
    pub(crate) fn receive(&self, message: Received) {
        let mut inbox = lock(&self.inbox);
        if inbox.len() >= INBOX {
            inbox.pop_front();
        }
        inbox.push_back(message);
        drop(inbox);
        self.arrivals.send_modify(|count| *count += 1);
    }

    /// What arrived, oldest first.
    pub(crate) fn inbox(&self) -> Vec<Received> {
        lock(&self.inbox).iter().cloned().collect()
    }

    /// How many messages the inbox holds.
    pub(crate) fn inbox_len(&self) -> usize {
        lock(&self.inbox).len()
    }

    /// The newest message with that id in that chat.
    pub(crate) fn find(&self, chat: &str, id: &str) -> Option<Received> {
        lock(&self.inbox).iter().rev().find(|message| message.id == id && message.chat == chat).cloned()
    }

    /// The newest message `pred` accepts.
    pub(crate) fn find_by(&self, pred: &impl Fn(&Received) -> bool) -> Option<Received> {
        lock(&self.inbox).iter().find(|message| pred(message)).cloned()
    }

    /// Tells of arrivals from now on.
    pub(crate) fn arrivals(&self) -> watch::Receiver<u64> {
        self.arrivals.subscribe()
    }

    /// Remembers a message of the phone's own.
    pub(crate) fn remember(&self, id: &str, outgoing: Outgoing) {
        let mut sent = lock(&self.sent);
        if sent.resendable.insert(id.to_owned(), outgoing).is_none() {
            sent.resend_order.push_back(id.to_owned());
        }
        while sent.resend_order.len() > RESENDABLE {
            if let Some(oldest) = sent.resend_order.pop_front() {
                sent.resendable.remove(&oldest);
            }
        }
    }

    /// A message of the phone's own, if it is not too old.
    pub(crate) fn outgoing(&self, id: &str) -> Option<Outgoing> {
        lock(&self.sent).resendable.get(id).cloned()
    }

    /// Raises the ticks of a message; they never go down.
    pub(crate) fn tick(&self, id: &str, ticks: Ticks) {
        let mut sent = lock(&self.sent);
        if let Some(known) = sent.ticks.get_mut(id) {
            *known = (*known).max(ticks);
            return;
        }
        sent.ticks.insert(id.to_owned(), ticks);
        sent.ticked.push_back(id.to_owned());
        if sent.ticked.len() > TICKED
            && let Some(oldest) = sent.ticked.pop_front()
        {
            sent.ticks.remove(&oldest);
        }
    }

    /// The ticks of a message.
    pub(crate) fn ticks(&self, id: &str) -> Ticks {
        lock(&self.sent).ticks.get(id).copied().unwrap_or(Ticks::None)
    }

    /// Counts another request for a message this phone could not read; `None` once it asked too often.
    pub(crate) fn count_retry(&self, id: &str) -> Option<u8> {
        let mut retries = lock(&self.retries);
        if retries.len() >= RESENDABLE {
            retries.clear();
        }
        let count = retries.entry(id.to_owned()).or_insert(0);
        *count += 1;
        (*count < MOST_REQUESTS).then_some(*count)
    }

    /// Someone types in a chat, or stopped.
    pub(crate) fn see_typing(&self, chat: String, who: String, typing: bool) {
        let mut seen = lock(&self.typing);
        seen.retain(|_, since| since.elapsed() < TYPING);
        if typing {
            seen.insert((chat, who), Instant::now());
        } else {
            seen.remove(&(chat, who));
        }
    }

    /// Who types in a chat.
    pub(crate) fn typing_in(&self, chat: &str) -> Vec<String> {
        let seen = lock(&self.typing);
        let recent = seen.iter().filter(|((place, _), since)| place == chat && since.elapsed() < TYPING);
        recent.map(|((_, who), _)| who.clone()).collect()
    }
}
