//! `outbox`: messages and events a plugin wants sent and raised, noted until its verdict is committed.

use crate::model::{Chat, MessageId, PluginEvent, QueuedSend};
use crate::plugin::api::v1::outbox::{Draft, Error, Host};
use crate::plugin::state::{Call, Origin, State};

/// Longest text of a message, in characters.
pub(in crate::plugin) const LONGEST_TEXT: usize = 65_536;
/// Longest payload of an event, in bytes.
const LONGEST_PAYLOAD: usize = 64 << 10;
/// Longest name of an event's type or a drop's reason.
const LONGEST_NAME: usize = 64;

impl Host for State {
    fn reply(&mut self, draft: Draft) -> Result<String, Error> {
        let call = &mut self.call;
        if !call.place.grants.reply {
            return Err(denied("outbox.reply"));
        }
        let to = call.chat.clone().ok_or_else(|| invalid("there is no message to reply to"))?;
        queue(call, to, draft)
    }

    fn send(&mut self, chat: String, draft: Draft) -> Result<String, Error> {
        let call = &mut self.call;
        if !call.place.grants.send {
            return Err(denied("outbox.send"));
        }
        let to = chat.parse().map_err(|error| invalid(&format!("{chat:?}: {error}")))?;
        queue(call, to, draft)
    }

    fn emit_event(&mut self, event_type: String, payload: String) -> Result<(), Error> {
        let call = &mut self.call;
        if !call.place.grants.emit {
            return Err(denied("outbox.emit"));
        }
        // Else a transform that raises one on every webhook would never end.
        if call.origin == Origin::Plugin {
            return Err(invalid("an event that a plugin raised raises no further one"));
        }
        not_own(call)?;
        if !is_name(&event_type) {
            return Err(invalid("an event's type is 1 to 64 of a-z 0-9 . _ -"));
        }
        if payload.len() > LONGEST_PAYLOAD {
            return Err(invalid("an event's payload has at most 65536 bytes"));
        }
        let payload = serde_json::from_str(&payload).map_err(|error| invalid(&format!("the payload: {error}")))?;
        admit(call)?;
        call.events.push(PluginEvent { plugin: call.place.plugin.clone(), kind: event_type, payload });
        Ok(())
    }
}

fn queue(call: &mut Call, to: Chat, draft: Draft) -> Result<String, Error> {
    let Draft { text } = draft;
    not_own(call)?;
    if text.is_empty() || text.chars().nth(LONGEST_TEXT).is_some() {
        return Err(invalid("a text has 1 to 65536 characters"));
    }
    admit(call)?;
    let message = MessageId::new();
    let id = message.to_string();
    call.sends.push(QueuedSend { plugin: call.place.plugin.clone(), message, to, text });
    Ok(id)
}

/// Else a transform that sends on every webhook would answer itself for ever.
fn not_own(call: &Call) -> Result<(), Error> {
    if call.origin == Origin::Account {
        Err(invalid("on what the account itself sent nothing is sent or raised"))
    } else {
        Ok(())
    }
}

/// Whether the call may ask for one more.
fn admit(call: &Call) -> Result<(), Error> {
    let limit = call.place.limits.effects;
    let asked = call.sends.len() + call.events.len();
    if asked < limit as usize { Ok(()) } else { Err(Error::TooMany(limit)) }
}

/// A short name to count by: 1 to 64 of `a-z 0-9 . _ -`.
pub(in crate::plugin) fn is_name(text: &str) -> bool {
    let sound = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-');
    (1..=LONGEST_NAME).contains(&text.len()) && text.bytes().all(sound)
}

fn denied(grant: &str) -> Error {
    Error::Denied(format!("ask the operator for the grant {grant}"))
}

fn invalid(what: &str) -> Error {
    Error::Invalid(what.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_plain() {
        assert!(is_name("order.paid-2_x"));
        for bad in ["", "A", "a b", "ä", &"x".repeat(65)] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
