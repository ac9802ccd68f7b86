//! One message as a webhook of the Cloud API.
//!
//! Invariant: everything is a text, as Meta writes it; even `timestamp`, Unix seconds.

use event::{Event, Message};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Value, json};

/// Whose webhook it is, in Meta's terms.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Account {
    business_account_id: Option<String>,
    phone_number_id: Option<String>,
}

#[derive(Serialize)]
struct Webhook<'a> {
    object: &'static str,
    entry: [Entry<'a>; 1],
}

#[derive(Serialize)]
struct Entry<'a> {
    id: &'a str,
    changes: [Change<'a>; 1],
}

#[derive(Serialize)]
struct Change<'a> {
    field: &'static str,
    value: Received<'a>,
}

#[derive(Serialize)]
struct Received<'a> {
    messaging_product: &'static str,
    metadata: Metadata<'a>,
    contacts: [Contact<'a>; 1],
    messages: [Members<'a>; 1],
}

#[derive(Serialize)]
struct Metadata<'a> {
    display_phone_number: &'a str,
    phone_number_id: &'a str,
}

#[derive(Serialize)]
struct Contact<'a> {
    profile: Profile<'a>,
    wa_id: &'a str,
}

#[derive(Serialize)]
struct Profile<'a> {
    name: &'a str,
}

/// An object whose member names differ from message to message, in this order.
struct Members<'a>(Vec<(&'a str, Value)>);

impl Serialize for Members<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

/// The webhook's body; `None` when the event is no message of somebody else.
pub(crate) fn webhook(document: &str, account: &Account) -> Option<String> {
    let event = Event::read(document)?;
    let message = event.message.as_ref().filter(|message| !message.from_me)?;
    let sender = message.phone.as_deref().unwrap_or_else(|| user(&message.sender));
    let given = |id: &'_ Option<String>| id.clone().unwrap_or_else(|| event.session_id.clone());
    let webhook = Webhook {
        object: "whatsapp_business_account",
        entry: [Entry {
            id: &given(&account.business_account_id),
            changes: [Change {
                field: "messages",
                value: Received {
                    messaging_product: "whatsapp",
                    metadata: Metadata {
                        display_phone_number: user(&message.to),
                        phone_number_id: &given(&account.phone_number_id),
                    },
                    contacts: [Contact {
                        profile: Profile { name: message.push_name.as_deref().unwrap_or(sender) },
                        wa_id: sender,
                    }],
                    messages: [content(message, sender)],
                },
            }],
        }],
    };
    serde_json::to_string(&webhook).ok()
}

/// The message itself. What it carries stands in a member named after its type.
fn content<'a>(message: &'a Message, sender: &str) -> Members<'a> {
    let (kind, member, content) = carried(&message.kind, message.text.as_deref());
    let mut members = vec![
        ("from", json!(sender)),
        ("id", json!(message.id)),
        ("timestamp", json!(message.sent_at_seconds().to_string())),
        ("type", json!(kind)),
        (member, content),
    ];
    if message.is_group {
        members.push(("group_id", json!(message.chat)));
    }
    Members(members)
}

/// Type, member and content. What the Cloud API has no type for comes as it would: as an error in its stead.
fn carried<'a>(kind: &'a str, text: Option<&str>) -> (&'a str, &'a str, Value) {
    match kind {
        "text" => (kind, kind, json!({ "body": text.unwrap_or_default() })),
        "image" | "video" | "audio" | "document" | "sticker" => {
            (kind, kind, text.map_or_else(|| json!({}), |caption| json!({ "caption": caption })))
        }
        "reaction" => (kind, kind, json!({ "emoji": text.unwrap_or_default() })),
        kind => {
            let details = json!({ "details": format!("messages of the kind {kind} are not carried") });
            let error = json!({ "code": 131_051, "title": "Message type unknown", "error_data": details });
            ("unsupported", "errors", json!([error]))
        }
    }
}

/// The part of an address before the `@`.
fn user(address: &str) -> &str {
    address.split('@').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: &str = concat!(
        r#"{"id":"evt_1","type":"message.received","session_id":"1234567890","occurred_at":1643723401000,"#,
        r#""message":{"id":"3EB0BEDDE45EF384377BD7","kind":"text","chat":"6281381393739@s.whatsapp.net","#,
        r#""sender":"6281381393739@s.whatsapp.net","sender_alt":null,"to":"6282260790996@s.whatsapp.net","#,
        r#""from_me":false,"is_group":false,"text":"Hello!","push_name":"Ann","sent_at":1643723400000,"#,
        r#""backfill":false,"phone":"6281381393739","lid":null,"labels":{}}}"#,
    );

    fn shaped(event: &str) -> Value {
        serde_json::from_str(&webhook(event, &Account::default()).unwrap()).unwrap()
    }

    #[test]
    fn a_text_is_what_meta_would_have_posted() {
        let account = Account { business_account_id: Some("102".to_owned()), phone_number_id: Some("106".to_owned()) };
        assert_eq!(
            webhook(EVENT, &account).unwrap(),
            concat!(
                r#"{"object":"whatsapp_business_account","entry":[{"id":"102","changes":[{"field":"messages","value":"#,
                r#"{"messaging_product":"whatsapp","metadata":{"display_phone_number":"6282260790996","#,
                r#""phone_number_id":"106"},"contacts":[{"profile":{"name":"Ann"},"wa_id":"6281381393739"}],"#,
                r#""messages":[{"from":"6281381393739","id":"3EB0BEDDE45EF384377BD7","timestamp":"1643723400","#,
                r#""type":"text","text":{"body":"Hello!"}}]}}]}]}"#,
            )
        );
    }

    #[test]
    fn without_configuration_the_session_stands_for_both_ids() {
        let body = shaped(EVENT);
        assert_eq!(body["entry"][0]["id"], "1234567890");
        assert_eq!(body["entry"][0]["changes"][0]["value"]["metadata"]["phone_number_id"], "1234567890");
    }

    #[test]
    fn other_kinds_stand_in_a_member_of_their_own() {
        let message = |kind: &str, text: &str| {
            let event = EVENT.replace(r#""kind":"text""#, &format!(r#""kind":"{kind}""#)).replace(r#""Hello!""#, text);
            shaped(&event)["entry"][0]["changes"][0]["value"]["messages"][0].clone()
        };
        assert_eq!(message("image", r#""a cat""#)["image"], json!({ "caption": "a cat" }));
        assert_eq!(message("sticker", "null")["sticker"], json!({}));
        assert_eq!(message("reaction", r#""👍""#)["reaction"], json!({ "emoji": "👍" }));
        let poll = message("poll", "null");
        assert_eq!((&poll["type"], &poll["errors"][0]["code"]), (&json!("unsupported"), &json!(131_051)));
    }

    #[test]
    fn a_member_of_a_group_writes_from_a_hidden_address() {
        let event = EVENT
            .replace(r#""chat":"6281381393739@s.whatsapp.net""#, r#""chat":"120363302171476233@g.us""#)
            .replace(r#""sender":"6281381393739@s.whatsapp.net""#, r#""sender":"100000000000001@lid""#)
            .replace(r#""phone":"6281381393739""#, r#""phone":null"#)
            .replace(r#""push_name":"Ann""#, r#""push_name":null"#)
            .replace(r#""is_group":false"#, r#""is_group":true"#);
        let value = &shaped(&event)["entry"][0]["changes"][0]["value"];
        assert_eq!(
            value["contacts"][0],
            json!({ "profile": { "name": "100000000000001" }, "wa_id": "100000000000001" })
        );
        assert_eq!(value["messages"][0]["group_id"], "120363302171476233@g.us");
    }

    #[test]
    fn leaves_what_is_no_message_of_somebody_else() {
        for event in ["hello", &EVENT.replace(r#""from_me":false"#, r#""from_me":true"#)] {
            assert!(webhook(event, &Account::default()).is_none());
        }
    }
}
