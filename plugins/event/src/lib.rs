//! The event as the gateway tells it to its plugins: `delivery.event`, and a webhook's body that no plugin has shaped.
//!
//! Invariant: members that a later gateway adds are ignored, so that a plugin built today goes on working.

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// Something that happened on a session.
#[derive(Debug, Deserialize)]
pub struct Event {
    pub id: String,
    /// `message.received`, `message.ack`, `group.update`, …, or `plugin.` and the type a plugin gave it.
    #[serde(rename = "type")]
    pub kind: String,
    pub session_id: String,
    /// When it was stored, in Unix milliseconds.
    pub occurred_at: u64,
    /// The message, when it is one.
    pub message: Option<Message>,
    /// What happened, as the gateway wrote it, when it is neither a message nor raised by a plugin.
    #[serde(
        rename = "ack",
        alias = "presence",
        alias = "typing",
        alias = "group",
        alias = "call",
        alias = "status",
        alias = "endpoint",
        alias = "test"
    )]
    pub data: Option<Box<RawValue>>,
    /// What a plugin raised, as it wrote it.
    #[serde(default, deserialize_with = "present")]
    pub payload: Option<Box<RawValue>>,
}

/// A message that reached the account. Addresses are JIDs (`6281381393739@s.whatsapp.net`).
#[derive(Debug, Deserialize)]
pub struct Message {
    pub id: String,
    /// `text`, `image`, `location`, …
    pub kind: String,
    /// The person or group it stands in.
    pub chat: String,
    /// Who wrote it; in a group, the member.
    pub sender: String,
    /// The account it came to.
    pub to: String,
    /// Whether the account itself wrote it, on another device.
    pub from_me: bool,
    pub is_group: bool,
    /// The text or caption, when there is one.
    pub text: Option<String>,
    /// The name the sender goes by.
    pub push_name: Option<String>,
    /// When it was sent, in Unix milliseconds.
    pub sent_at: u64,
    /// Whether it waited on WhatsApp's server while the gateway was away.
    pub backfill: bool,
    /// The number of the other side, digits, when known: the sender's or, of a message of the account's own, the person's it
    /// went to.
    pub phone: Option<String>,
    /// The hidden address of the other side, when known.
    pub lid: Option<String>,
    /// The message that a reaction, an edit or a revocation is about, as the gateway wrote it.
    pub target: Option<Box<RawValue>>,
    /// What plugins have labelled it with: a JSON object, as the gateway wrote it.
    pub labels: Box<RawValue>,
}

impl Event {
    /// Reads an event; `None` when the text is something else.
    pub fn read(json: &str) -> Option<Self> {
        serde_json::from_str(json).ok()
    }
}

impl Message {
    /// Whether any plugin has set a label.
    pub fn is_labelled(&self) -> bool {
        self.labels.get().bytes().any(|byte| byte == b'"')
    }

    /// When it was sent, in whole Unix seconds.
    pub fn sent_at_seconds(&self) -> u64 {
        self.sent_at / 1000
    }
}

/// A member that is there, even when it is `null`: a plugin may raise an event whose payload is `null`.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_a_plugin_raised_as_it_wrote_it() {
        for payload in ["null", "[1.50,\"é\"]", r#"{"b":1,"a":2}"#] {
            let json = format!(
                r#"{{"id":"evt_1","type":"plugin.x","session_id":"1","occurred_at":1,"plugin":"plg_1","payload":{payload}}}"#
            );
            let event = Event::read(&json).unwrap();
            assert_eq!(event.payload.unwrap().get(), payload);
            assert!(event.message.is_none());
        }
    }

    #[test]
    fn reads_what_happened_whatever_it_is_called() {
        for name in ["ack", "presence", "typing", "group", "call", "status", "endpoint", "test"] {
            let json =
                format!(r#"{{"id":"evt_1","type":"x.y","session_id":"1","occurred_at":7,"{name}":{{"b":1,"a":2}}}}"#);
            let event = Event::read(&json).unwrap();
            assert_eq!(event.data.unwrap().get(), r#"{"b":1,"a":2}"#, "{name}");
            assert!(event.message.is_none() && event.payload.is_none() && event.occurred_at == 7);
        }
    }

    #[test]
    fn anything_else_is_no_event() {
        for json in ["", "hello", "[]", "{}", r#"{"session_id":"1","event":"message.received","event_id":"evt_1"}"#] {
            assert!(Event::read(json).is_none(), "{json}");
        }
    }
}
