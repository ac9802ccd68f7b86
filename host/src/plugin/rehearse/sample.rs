//! A made-up message to try plugins on. Pure.

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::model::{Chat, Event, EventId, Happening, Incoming, Labels, MessageKind, Millis, SessionId, Target};

/// A message as the event's JSON has it, with everything optional: what `GET /api/events/{id}/trace` shows as `message`
/// can be sent as it stands. What the gateway works out by itself is taken and not looked at.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sample {
    id: Option<String>,
    kind: Option<MessageKind>,
    chat: Option<Chat>,
    sender: Option<Chat>,
    sender_alt: Option<Chat>,
    to: Option<Chat>,
    from_me: bool,
    text: Option<String>,
    push_name: Option<String>,
    sent_at: Option<Millis>,
    backfill: bool,
    target: Option<Target>,
    #[serde(rename = "is_group")]
    _is_group: IgnoredAny,
    #[serde(rename = "phone")]
    _phone: IgnoredAny,
    #[serde(rename = "lid")]
    _lid: IgnoredAny,
    #[serde(rename = "labels")]
    _labels: Option<Labels>,
}

/// Who writes when nobody is named.
const WRITER: &str = "6281381393739@s.whatsapp.net";
/// Whom they write to.
const ACCOUNT: &str = "6282260790996@s.whatsapp.net";

impl Sample {
    /// The event it would be, had it arrived on this session now. `None` only if the made-up addresses were wrong.
    pub fn into_event(self, session: SessionId, now: Millis) -> Option<Event> {
        let writer: Chat = WRITER.parse().ok()?;
        let account: Chat = ACCOUNT.parse().ok()?;
        let to = self.to.unwrap_or(account);
        let sender = self.sender.or_else(|| self.chat.clone().filter(|chat| !chat.is_group() && !self.from_me));
        let sender = sender.unwrap_or_else(|| if self.from_me { to.clone() } else { writer.clone() });
        let chat = self.chat.unwrap_or_else(|| if self.from_me { writer } else { sender.clone() });
        let message = Incoming {
            id: self.id.unwrap_or_else(|| "3EB0000000000000000000".to_owned()).into(),
            kind: self.kind.unwrap_or(MessageKind::Text),
            chat,
            sender,
            sender_alt: self.sender_alt,
            to,
            from_me: self.from_me,
            text: self.text,
            push_name: self.push_name,
            sent_at: self.sent_at.unwrap_or_else(|| Millis::from_seconds(now.seconds())),
            backfill: self.backfill,
            chat_alt: None,
            target: self.target,
        };
        Some(Event { id: EventId::new(), session, what: Happening::Message(message), stored_at: now })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(json: &str) -> Event {
        let sample: Sample = serde_json::from_str(json).unwrap();
        sample.into_event("s".parse().unwrap(), Millis(1_700_000_000_123)).unwrap()
    }

    #[test]
    fn a_text_alone_is_a_message_from_somebody() {
        let event = event(r#"{"text": "hi"}"#);
        let message = event.message().unwrap();
        assert_eq!((message.text.as_deref(), message.sent_at), (Some("hi"), Millis(1_700_000_000_000)));
        assert_eq!((message.chat.jid(), message.sender.jid(), message.to.jid()), (WRITER, WRITER, ACCOUNT));
    }

    #[test]
    fn the_addresses_follow_from_those_that_are_given() {
        let table = [
            (r#"{"chat": "1203630@g.us"}"#, "1203630@g.us", WRITER),
            (r#"{"chat": "15551234567"}"#, "15551234567@s.whatsapp.net", "15551234567@s.whatsapp.net"),
            (r#"{"from_me": true}"#, WRITER, ACCOUNT),
            (r#"{"from_me": true, "chat": "15551234567"}"#, "15551234567@s.whatsapp.net", ACCOUNT),
        ];
        for (json, chat, sender) in table {
            let event = event(json);
            let message = event.message().unwrap();
            assert_eq!((message.chat.jid(), message.sender.jid()), (chat, sender), "{json}");
        }
    }

    #[test]
    fn what_a_trace_shows_can_be_tried_and_a_slip_is_refused() {
        let shown = event(r#"{"text": "hi"}"#).document(&Labels::new());
        let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(event(&shown["message"].to_string()).message().unwrap().text.as_deref(), Some("hi"));
        let reaction =
            r#"{"kind": "reaction", "text": "👍", "target": {"id": "3EB1", "sender": null, "from_me": true}}"#;
        let shown: serde_json::Value = serde_json::from_str(&event(reaction).document(&Labels::new())).unwrap();
        assert!(event(&shown["message"].to_string()).message().unwrap().target.as_ref().unwrap().from_me);
        assert!(serde_json::from_str::<Sample>(r#"{"txet": "hi"}"#).is_err());
    }
}
