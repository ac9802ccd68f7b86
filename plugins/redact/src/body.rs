//! Masks the texts of a body.
//!
//! Invariant: a JSON body stays the same JSON but for the texts that are masked: order, numbers and blanks are kept,
//! because only the literals of those texts are written anew.

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::mask;

/// Members of the gateway's own bodies and of the Cloud API's that hold ids and addresses.
const KEEP: [&str; 17] = [
    "chat",
    "display_phone_number",
    "endpoint_id",
    "event_id",
    "from",
    "group_id",
    "id",
    "lid",
    "phone",
    "phone_number_id",
    "plugin",
    "sender",
    "sender_alt",
    "session_id",
    "timestamp",
    "to",
    "wa_id",
];

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Redactor {
    words: Vec<String>,
    keep: Option<Vec<String>>,
}

impl Redactor {
    /// Reads the configuration; the error names the member and what it must be.
    pub(crate) fn read(json: &str) -> Result<Self, String> {
        let redactor: Self = settings::read(json)?;
        match redactor.words.iter().position(|word| word.trim().is_empty()) {
            Some(at) => Err(format!("words[{at}]: must be a word, not blank")),
            None => Ok(redactor),
        }
    }

    /// The body with its texts masked; `None` when there is nothing to mask.
    pub(crate) fn body(&self, body: &str) -> Option<String> {
        let is_json = serde_json::from_str::<IgnoredAny>(body).is_ok();
        if is_json { self.json(body) } else { mask::text(body, &self.words) }
    }

    /// Walks over the literals of a sound JSON document.
    fn json(&self, json: &str) -> Option<String> {
        let mut masked = String::new();
        let mut copied = 0;
        let mut name = None;
        let mut at = 0;
        while let Some(start) = json[at..].find('"').map(|found| at + found) {
            let end = start + literal(&json[start..]);
            at = end;
            let Ok(text) = serde_json::from_str::<String>(&json[start..end]) else { continue };
            if json[end..].trim_start().starts_with(':') {
                name = Some(text);
                continue;
            }
            if name.as_deref().is_some_and(|name| self.keeps(name)) {
                continue;
            }
            if let Some(text) = mask::text(&text, &self.words) {
                masked.push_str(&json[copied..start]);
                masked.push_str(&serde_json::Value::from(text).to_string());
                copied = end;
            }
        }
        (copied > 0).then(|| masked + &json[copied..])
    }

    fn keeps(&self, name: &str) -> bool {
        match &self.keep {
            Some(keep) => keep.iter().any(|kept| kept == name),
            None => KEEP.contains(&name),
        }
    }
}

/// The length of the text literal that this begins with, quotes included.
fn literal(json: &str) -> usize {
    let mut escaped = false;
    let end = json.bytes().skip(1).position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    end.map_or(json.len(), |end| end + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_masked_texts_of_a_json_body_change() {
        let body = r#"{ "message" : {"from":"4111111111111111","text":"card 4111111111111111 \"ok\" \u00e9"}, "n":1.50, "l":["IBAN DE89370400440532013000", 4111111111111111] }"#;
        assert_eq!(
            Redactor::default().body(body).unwrap(),
            r#"{ "message" : {"from":"4111111111111111","text":"card ************1111 \"ok\" é"}, "n":1.50, "l":["IBAN ******************3000", 4111111111111111] }"#
        );
    }

    #[test]
    fn what_has_nothing_to_mask_is_left_to_the_byte() {
        for body in [r#"{"text":"\u00e9 hello"}"#, "hello", "", "{", "\"", r#"{"id":"4111111111111111"}"#] {
            assert_eq!(Redactor::default().body(body), None, "{body}");
        }
    }

    #[test]
    fn any_other_text_is_masked_as_a_whole() {
        assert_eq!(Redactor::default().body("from,4111111111111111").unwrap(), "from,************1111");
    }

    #[test]
    fn keep_names_the_members_that_stay() {
        let redactor = Redactor::read(r#"{"keep":["order"],"words":["Falcon"]}"#).unwrap();
        let body = r#"{"order":"4111111111111111","id":"4111111111111111","text":["falcon",{"order":["Falcon"]}]}"#;
        assert_eq!(
            redactor.body(body).unwrap(),
            r#"{"order":"4111111111111111","id":"************1111","text":["[redacted]",{"order":["Falcon"]}]}"#
        );
    }

    #[test]
    fn stays_sound_json_whatever_the_text() {
        for text in ["\\", "\\\"", "a\"4111111111111111\"", "\u{1}4111111111111111\u{1}", "4111111111111111\\"] {
            let body = serde_json::json!({ "text": text, "then": "sk_live_abcdefgh" }).to_string();
            let masked = Redactor::default().body(&body).unwrap();
            let masked: serde_json::Value = serde_json::from_str(&masked).unwrap();
            assert_eq!(masked["text"], text.replace("4111111111111111", "************1111"));
            assert_eq!(masked["then"], "sk_live_[redacted]");
        }
    }

    #[test]
    fn refuses_a_configuration_with_the_member_s_name() {
        assert!(Redactor::read(r#"{"words":"x"}"#).unwrap_err().starts_with("words: "));
        assert_eq!(Redactor::read(r#"{"words":["x"," "]}"#).unwrap_err(), "words[1]: must be a word, not blank");
    }
}
