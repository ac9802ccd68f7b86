//! The founding body: `{session_id, message {id, from, to, message, timestamp}}`, with more fields beside. What is no message
//! has the same frame: `{session_id, event, event_id, occurred_at, data}`.
//!
//! Invariant: a founding field never changes its name, type or place, and no field is ever taken away.

use event::{Event, Message};
use serde::Serialize;
use serde_json::value::RawValue;

#[derive(Serialize)]
struct Founding<'a> {
    session_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Fields<'a>>,
    event: &'a str,
    event_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a RawValue>,
    /// Unix milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    occurred_at: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct Fields<'a> {
    id: &'a str,
    /// The writer, also in a group, where `chat` names the group.
    from: &'a str,
    /// The account that received it, or, when the account itself wrote it, the chat it wrote to.
    to: &'a str,
    message: &'a str,
    /// Unix seconds.
    timestamp: u64,
    chat: &'a str,
    kind: &'a str,
    from_me: bool,
    is_group: bool,
    push_name: Option<&'a str>,
    phone: Option<&'a str>,
    lid: Option<&'a str>,
    backfill: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<&'a RawValue>,
}

/// The body of an event, compact JSON; `None` when the document is no event, or one of a kind that is not known here.
pub(crate) fn founding(document: &str) -> Option<String> {
    let event = Event::read(document)?;
    if event.message.is_none() && event.payload.is_none() && event.data.is_none() {
        return None;
    }
    let body = Founding {
        session_id: &event.session_id,
        message: event.message.as_ref().map(fields),
        event: &event.kind,
        event_id: &event.id,
        payload: event.payload.as_deref(),
        occurred_at: event.data.as_ref().map(|_| event.occurred_at),
        data: event.data.as_deref(),
    };
    serde_json::to_string(&body).ok()
}

fn fields(message: &Message) -> Fields<'_> {
    Fields {
        id: &message.id,
        from: &message.sender,
        to: if message.from_me { &message.chat } else { &message.to },
        message: message.text.as_deref().unwrap_or_default(),
        timestamp: message.sent_at_seconds(),
        chat: &message.chat,
        kind: &message.kind,
        from_me: message.from_me,
        is_group: message.is_group,
        push_name: message.push_name.as_deref(),
        phone: message.phone.as_deref(),
        lid: message.lid.as_deref(),
        backfill: message.backfill,
        target: message.target.as_deref(),
        labels: message.is_labelled().then_some(&*message.labels),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The guide's message, as the gateway tells it, with one member replaced.
    fn document(from: &str, to: &str) -> String {
        const GUIDE: &str = concat!(
            r#"{"id":"evt_1","type":"message.received","session_id":"1234567890","occurred_at":1643723401000,"#,
            r#""message":{"id":"3EB0BEDDE45EF384377BD7","kind":"text","chat":"6281381393739@s.whatsapp.net","#,
            r#""sender":"6281381393739@s.whatsapp.net","sender_alt":null,"to":"6282260790996@s.whatsapp.net","#,
            r#""from_me":false,"is_group":false,"text":"Hello!","push_name":null,"sent_at":1643723400999,"#,
            r#""backfill":false,"phone":"6281381393739","lid":null,"labels":{}}}"#,
        );
        assert!(GUIDE.contains(from));
        GUIDE.replacen(from, to, 1)
    }

    /// The bytes `host/src/webhook/body.rs` made before there were plugins, which begin as the guide shows.
    const FOUNDING: &str = concat!(
        r#"{"session_id":"1234567890","message":{"id":"3EB0BEDDE45EF384377BD7","from":"6281381393739@s.whatsapp.net","#,
        r#""to":"6282260790996@s.whatsapp.net","message":"Hello!","timestamp":1643723400,"#,
        r#""chat":"6281381393739@s.whatsapp.net","kind":"text","from_me":false,"is_group":false,"push_name":null,"#,
        r#""phone":"6281381393739","lid":null,"backfill":false},"event":"message.received","event_id":"evt_1"}"#,
    );

    #[test]
    fn begins_with_the_guide_s_payload_byte_for_byte() {
        assert_eq!(founding(&document("", "")).unwrap(), FOUNDING);
    }

    #[test]
    fn a_message_of_our_own_goes_to_the_chat() {
        let body = founding(&document(r#""from_me":false"#, r#""from_me":true"#)).unwrap();
        assert!(body.contains(r#""to":"6281381393739@s.whatsapp.net","#), "{body}");
    }

    #[test]
    fn no_text_is_an_empty_message() {
        let body = founding(&document(r#""Hello!""#, "null")).unwrap();
        assert!(body.contains(r#""message":"","#), "{body}");
    }

    #[test]
    fn any_text_survives() {
        for text in ["\"}],\u{0}\n\\", "مرحبا 👋🏽", "{\"session_id\":\"x\"}", "\u{7f}\u{2028}</script>"] {
            let quoted = serde_json::to_string(text).unwrap();
            let body = founding(&document(r#""Hello!""#, &quoted)).unwrap();
            let body: serde_json::Value = serde_json::from_str(&body).unwrap();
            assert_eq!(body["message"]["message"], text);
        }
    }

    #[test]
    fn labels_come_last_and_only_when_there_are_some() {
        let body = founding(&document("{}}}", r#"{"route":"billing"}}}"#)).unwrap();
        let expected = FOUNDING.replace(r#""backfill":false"#, r#""backfill":false,"labels":{"route":"billing"}"#);
        assert_eq!(body, expected);
    }

    #[test]
    fn a_reaction_says_what_it_is_about() {
        let target = r#""target":{"id":"3EB1","sender":null,"from_me":true},"labels""#;
        let body = founding(&document(r#""labels""#, target)).unwrap();
        let expected = r#""backfill":false,"target":{"id":"3EB1","sender":null,"from_me":true}}"#;
        assert_eq!(body, FOUNDING.replace(r#""backfill":false}"#, expected));
    }

    #[test]
    fn what_is_no_message_has_the_same_frame() {
        let event = concat!(
            r#"{"id":"evt_3","type":"message.ack","session_id":"1","occurred_at":1643723401000,"#,
            r#""ack":{"id":"3EB0","state":"read"}}"#
        );
        assert_eq!(
            founding(event).unwrap(),
            concat!(
                r#"{"session_id":"1","event":"message.ack","event_id":"evt_3","occurred_at":1643723401000,"#,
                r#""data":{"id":"3EB0","state":"read"}}"#
            )
        );
        assert_eq!(founding(&event.replace("\"ack\"", "\"of_tomorrow\"")), None);
    }

    #[test]
    fn what_a_plugin_raised_keeps_its_payload_as_written() {
        let event = r#"{"id":"evt_2","type":"plugin.order","session_id":"1","occurred_at":1,"plugin":"plg_1","payload":{"b":1.50,"a":null}}"#;
        assert_eq!(
            founding(event).unwrap(),
            r#"{"session_id":"1","event":"plugin.order","event_id":"evt_2","payload":{"b":1.50,"a":null}}"#
        );
    }

    #[test]
    fn leaves_what_is_no_event_and_its_own_work() {
        assert_eq!(founding(FOUNDING), None);
        assert_eq!(founding("hello"), None);
    }
}
