//! Whom a message goes to or comes from: the founding recipient rule and WhatsApp's address forms.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A phone number as WhatsApp writes it: 5 to 15 digits with the country code, no plus sign (ITU-T E.164).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, sqlx::Type)]
#[serde(try_from = "String", into = "String")]
#[sqlx(transparent)]
pub struct Phone(String);

/// A text that is no phone number.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a phone number has 5 to 15 digits with its country code, for example 6281381393739")]
pub struct PhoneError;

impl Phone {
    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Phone {
    type Err = PhoneError;

    /// Accepts digits, with an optional leading `+` and the separators people type: blank, `-`, `.`, `(`, `)`.
    fn from_str(text: &str) -> Result<Self, PhoneError> {
        let text = text.trim();
        let text = text.strip_prefix('+').unwrap_or(text);
        let digits: String = text.chars().filter(|c| !matches!(c, ' ' | '-' | '.' | '(' | ')')).collect();
        let sound = (5..=15).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
        if sound { Ok(Self(digits)) } else { Err(PhoneError) }
    }
}

impl TryFrom<String> for Phone {
    type Error = PhoneError;
    fn try_from(text: String) -> Result<Self, PhoneError> {
        text.parse()
    }
}

impl From<Phone> for String {
    fn from(phone: Phone) -> Self {
        phone.0
    }
}

impl fmt::Display for Phone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A place messages go to: a person, a hidden person (LID), a group, a channel or a broadcast list.
///
/// Written as a JID (`6281381393739@s.whatsapp.net`, `1203…@g.us`, `…@lid`, `…@newsletter`, `…@broadcast`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, sqlx::Type)]
#[serde(try_from = "String", into = "String")]
#[sqlx(transparent)]
pub struct Chat(String);

/// A text that names no chat.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "a recipient is a phone number with country code (6281381393739) or a JID (…@s.whatsapp.net, …@g.us, …@lid, …@newsletter)"
)]
pub struct ChatError;

const PERSON: &str = "s.whatsapp.net";
/// The kinds of address a message can come from (whatsapp-rust 0.7.0 `wacore-binary/src/jid.rs`).
const SERVERS: [&str; 8] = [PERSON, "g.us", "lid", "newsletter", "broadcast", "bot", "msgr", "interop"];

impl Chat {
    /// The chat with a person known by number.
    pub fn person(phone: &Phone) -> Self {
        Self(format!("{phone}@{PERSON}"))
    }

    /// The chat as a JID.
    pub fn jid(&self) -> &str {
        &self.0
    }

    /// Whether it is a group.
    pub fn is_group(&self) -> bool {
        self.0.ends_with("@g.us")
    }

    /// Whether it is a person's hidden address.
    pub fn is_lid(&self) -> bool {
        self.0.ends_with("@lid")
    }

    /// Whether it is a person, by number or by hidden address.
    pub fn is_person(&self) -> bool {
        self.is_lid() || self.0.split_once('@').is_some_and(|(_, server)| server == PERSON)
    }

    /// The person's number, when the chat is a person known by number.
    pub fn phone(&self) -> Option<Phone> {
        let (user, server) = self.0.split_once('@')?;
        if server == PERSON { user.parse().ok() } else { None }
    }
}

impl FromStr for Chat {
    type Err = ChatError;

    /// The founding rule: digits are a person, anything with an `@` is a JID. A device part (`:3`) is dropped.
    fn from_str(text: &str) -> Result<Self, ChatError> {
        let text = text.trim();
        let Some((user, server)) = text.split_once('@') else {
            return text.parse().map(|phone| Self::person(&phone)).map_err(|PhoneError| ChatError);
        };
        let server = if server == "c.us" { PERSON } else { server };
        let user = user.split(':').next().unwrap_or_default();
        let sound = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if !SERVERS.contains(&server) || user.is_empty() || user.len() > 64 || !user.bytes().all(sound) {
            return Err(ChatError);
        }
        Ok(Self(format!("{user}@{server}")))
    }
}

impl TryFrom<String> for Chat {
    type Error = ChatError;
    fn try_from(text: String) -> Result<Self, ChatError> {
        text.parse()
    }
}

impl From<Chat> for String {
    fn from(chat: Chat) -> Self {
        chat.0
    }
}

impl fmt::Display for Chat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_a_person_and_an_at_sign_means_a_jid() {
        let table = [
            ("6281381393739", "6281381393739@s.whatsapp.net"),
            ("+62 813-8139-3739", "6281381393739@s.whatsapp.net"),
            ("6281381393739@c.us", "6281381393739@s.whatsapp.net"),
            ("6281381393739:12@s.whatsapp.net", "6281381393739@s.whatsapp.net"),
            ("120363302171476233@g.us", "120363302171476233@g.us"),
            ("6281381393739-1624931511@g.us", "6281381393739-1624931511@g.us"),
            ("100000000000001@lid", "100000000000001@lid"),
            ("120363000000000000@newsletter", "120363000000000000@newsletter"),
        ];
        for (given, jid) in table {
            assert_eq!(given.parse::<Chat>().map(|chat| chat.jid().to_owned()), Ok(jid.to_owned()));
        }
    }

    #[test]
    fn refuses_what_names_no_chat() {
        for bad in ["", "abc", "12", "@g.us", "1@example.org", "1 2@g.us", "1234567890123456", "a@b@g.us"] {
            assert_eq!(bad.parse::<Chat>(), Err(ChatError), "{bad}");
        }
    }

    #[test]
    fn knows_groups_and_numbers() {
        let group: Chat = "120363302171476233@g.us".parse().unwrap();
        assert!(group.is_group() && group.phone().is_none() && !group.is_person());
        let person: Chat = "6281381393739".parse().unwrap();
        assert_eq!(person.phone().unwrap().as_str(), "6281381393739");
        let hidden: Chat = "100000000000001@lid".parse().unwrap();
        assert!(person.is_person() && !person.is_lid() && hidden.is_person() && hidden.is_lid());
    }
}
