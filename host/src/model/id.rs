//! Ids as newtypes: prefixed, sortable by creation time, opaque to whoever holds one.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A text that cannot be an id.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("an id has 1 to 64 characters from A-Z a-z 0-9 . _ -")]
pub struct IdError;

fn check(text: &str) -> Result<(), IdError> {
    let sound = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if (1..=64).contains(&text.len()) && text.bytes().all(sound) { Ok(()) } else { Err(IdError) }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, sqlx::Type)]
        #[serde(try_from = "String", into = "String")]
        #[sqlx(transparent)]
        pub struct $name(String);

        impl $name {
            /// A fresh id: the prefix and a UUID of version 7, so that ids sort by creation time.
            #[expect(clippy::new_without_default, reason = "an id that appears by default would be a bug")]
            pub fn new() -> Self {
                Self(format!(concat!($prefix, "_{}"), uuid::Uuid::now_v7().simple()))
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                check(text).map(|()| Self(text.to_owned()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                check(&text).map(|()| Self(text))
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }
    };
}

id!(
    /// A linked account, or one that is to be linked. Users may choose it (`session_sales`).
    SessionId, "ses"
);
id!(
    /// Something that happened on a session: a received message, for instance.
    EventId, "evt"
);
id!(
    /// One event on its way to one endpoint. It is the `webhook-id` of every attempt.
    DeliveryId, "dlv"
);
id!(
    /// A webhook address of a session.
    EndpointId, "end"
);
id!(
    /// A replay: many deliveries to be made again.
    ReplayId, "rpl"
);
id!(
    /// An installed plugin.
    PluginId, "plg"
);
id!(
    /// A plugin on a session, or on all of its owner's.
    BindingId, "bnd"
);
id!(
    /// One request to the API; given back in errors and found in the log.
    RequestId, "req"
);

/// The id of a WhatsApp message, unique only together with its chat and sender.
///
/// WhatsApp gives no grammar for it (`3EB0…` from web clients, `3A…` from iPhones), so any text is taken.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, sqlx::Type)]
#[serde(transparent)]
#[sqlx(transparent)]
pub struct MessageId(String);

impl MessageId {
    /// A fresh id in the form WhatsApp Web gives its own: `3EB0` and 9 random bytes in hex
    /// (whatsapp-rust 0.7.0 `wacore/src/request.rs`).
    #[expect(clippy::new_without_default, reason = "an id that appears by default would be a bug")]
    pub fn new() -> Self {
        let random: [u8; 9] = rand::random();
        Self(random.iter().fold("3EB0".to_owned(), |text, byte| format!("{text}{byte:02X}")))
    }

    /// The id as WhatsApp wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for MessageId {
    fn from(id: String) -> Self {
        Self(id)
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fresh_ids_are_prefixed_and_sort_by_time() {
        let (first, second) = (EventId::new(), EventId::new());
        assert!(first.as_str().starts_with("evt_"));
        assert!(first <= second);
    }

    #[test]
    fn refuses_what_cannot_be_an_id() {
        for bad in ["", "a b", "../x", "é", &"x".repeat(65)] {
            assert_eq!(bad.parse::<SessionId>(), Err(IdError), "{bad}");
        }
        assert!("session_sales".parse::<SessionId>().is_ok());
    }
}
