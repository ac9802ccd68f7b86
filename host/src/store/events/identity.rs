//! What tells one event from another, and which events are about one message, each as a digest.
//!
//! A sender chooses the id of a message and thereby its length, so what stands in an index is a digest of it.
//!
//! Invariant: what these digests are made of never changes: stored rows are found by them.

use sha2::{Digest, Sha256};

use crate::model::{MessageId, SessionId};

/// A digest of the parts, each with its length before it, so that no two lists of parts read the same.
pub(in crate::store) fn digest(parts: &[&str]) -> [u8; 32] {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    digest.finalize().into()
}

/// What the events about a message of a session are found by. No session's id holds a NUL.
pub(in crate::store) fn message_key(session: &SessionId, message: &MessageId) -> [u8; 32] {
    let mut digest = Sha256::new();
    digest.update(session.as_str());
    digest.update([0_u8]);
    digest.update(message.as_str());
    digest.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_lists_of_parts_read_the_same() {
        assert_ne!(digest(&["ab", "c"]), digest(&["a", "bc"]));
        assert_ne!(digest(&["a", ""]), digest(&["a"]));
    }

    #[test]
    fn a_message_is_known_by_its_session_and_its_id() {
        let key = |session: &str, message: &str| message_key(&session.parse().unwrap(), &message.to_owned().into());
        assert_eq!(key("ses_a", "3EB0"), key("ses_a", "3EB0"));
        assert_ne!(key("ses_a", "3EB0"), key("ses_b", "3EB0"));
        assert_ne!(key("ses_a", "b3EB0"), key("ses_ab", "3EB0"));
        let bytes: [u8; 32] = Sha256::digest(b"ses_a\x003EB0").into();
        assert_eq!(key("ses_a", "3EB0"), bytes);
    }
}
