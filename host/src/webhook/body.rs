//! The founding webhook body: `{session_id, message {id, from, to, message, timestamp}}`, with more fields beside.
//!
//! Pure and small on purpose: the plugin `forward` takes its place.
//!
//! Invariant: a founding field never changes its name or type, and no field is ever taken away.

use serde_json::{Value, json};

use crate::model::{Chat, Event, Happening, Incoming};

/// The body of an event's delivery, JSON. Made once; every attempt posts these bytes.
///
/// `from` is the writer, also in a group, where `chat` names the group. `to` is the account that received the message,
/// or, when the account itself wrote it, the chat it wrote to. `message` is the text or caption, empty when there is
/// none. `timestamp` counts Unix seconds. `phone` (digits) and `lid` are the writer's addresses as far as they
/// are known, else `null`.
pub fn founding(event: &Event) -> String {
    let (name, what) = match &event.what {
        Happening::Message(received) => ("message", message(received)),
        Happening::Plugin(raised) => ("payload", raised.payload.to_string()),
    };
    object([
        ("session_id", json!(event.session).to_string()),
        (name, what),
        ("event", json!(event.kind()).to_string()),
        ("event_id", json!(event.id).to_string()),
    ])
}

fn message(message: &Incoming) -> String {
    let to = if message.from_me { &message.chat } else { &message.to };
    let addresses = || [Some(&message.sender), message.sender_alt.as_ref()].into_iter().flatten();
    let phone = addresses().find_map(Chat::phone);
    let lid = addresses().find(|address| address.jid().ends_with("@lid"));
    let fields: [(&str, Value); 13] = [
        ("id", json!(message.id)),
        ("from", json!(message.sender)),
        ("to", json!(to)),
        ("message", json!(message.text.as_deref().unwrap_or_default())),
        ("timestamp", json!(message.sent_at.seconds())),
        ("chat", json!(message.chat)),
        ("kind", json!(message.kind)),
        ("from_me", json!(message.from_me)),
        ("is_group", json!(message.chat.is_group())),
        ("push_name", json!(message.push_name)),
        ("phone", json!(phone)),
        ("lid", json!(lid)),
        ("backfill", json!(message.backfill)),
    ];
    object(fields.map(|(name, value)| (name, value.to_string())))
}

/// A JSON object with its members in this order, the founding ones first; `serde_json` would sort them by name.
fn object<const N: usize>(members: [(&str, String); N]) -> String {
    let members = members.map(|(name, value)| format!("\"{name}\":{value}"));
    format!("{{{}}}", members.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{MessageKind, Millis};

    fn event(change: impl FnOnce(&mut Incoming)) -> Event {
        let mut message = Incoming {
            id: "3EB0BEDDE45EF384377BD7".to_owned().into(),
            kind: MessageKind::Text,
            chat: "6281381393739".parse().unwrap(),
            sender: "6281381393739".parse().unwrap(),
            sender_alt: None,
            to: "6282260790996".parse().unwrap(),
            from_me: false,
            text: Some("Hello!".to_owned()),
            push_name: None,
            sent_at: Millis(1_643_723_400_000),
            backfill: false,
        };
        change(&mut message);
        Event {
            id: "evt_1".parse().unwrap(),
            session: "1234567890".parse().unwrap(),
            what: Happening::Message(message),
            stored_at: Millis(1_643_723_401_000),
        }
    }

    fn parsed(event: &Event) -> Value {
        serde_json::from_str(&founding(event)).unwrap()
    }

    #[test]
    fn begins_with_the_guide_s_payload_field_for_field() {
        assert_eq!(
            founding(&event(|_| {})),
            r#"{"session_id":"1234567890","message":{"id":"3EB0BEDDE45EF384377BD7","from":"6281381393739@s.whatsapp.net","to":"6282260790996@s.whatsapp.net","message":"Hello!","timestamp":1643723400,"chat":"6281381393739@s.whatsapp.net","kind":"text","from_me":false,"is_group":false,"push_name":null,"phone":"6281381393739","lid":null,"backfill":false},"event":"message.received","event_id":"evt_1"}"#
        );
    }

    #[test]
    fn in_a_group_the_writer_is_from_and_the_group_is_chat() {
        let body = parsed(&event(|message| {
            message.chat = "120363302171476233@g.us".parse().unwrap();
            message.sender = "100000000000001@lid".parse().unwrap();
            message.sender_alt = Some("6281381393739".parse().unwrap());
        }));
        let message = &body["message"];
        assert_eq!(message["from"], "100000000000001@lid");
        assert_eq!(message["chat"], "120363302171476233@g.us");
        assert_eq!((&message["phone"], &message["lid"]), (&json!("6281381393739"), &json!("100000000000001@lid")));
        assert_eq!(message["is_group"], true);
    }

    #[test]
    fn a_message_of_our_own_goes_to_the_chat() {
        let body = parsed(&event(|message| {
            message.from_me = true;
            message.sender = message.to.clone();
        }));
        assert_eq!(body["message"]["from"], "6282260790996@s.whatsapp.net");
        assert_eq!(body["message"]["to"], "6281381393739@s.whatsapp.net");
    }

    #[test]
    fn any_text_survives_and_none_is_empty() {
        for text in ["\"}],\u{0}\n\\", "مرحبا 👋🏽", "{\"session_id\":\"x\"}"] {
            let body = parsed(&event(|message| message.text = Some(text.to_owned())));
            assert_eq!(body["message"]["message"], text);
            assert_eq!(body["session_id"], "1234567890");
        }
        assert_eq!(parsed(&event(|message| message.text = None))["message"]["message"], "");
    }
}
