//! The vocabulary of the wire: reading stanzas, building the common answers, time as WhatsApp writes it.
//!
//! Everything a client sent is read through [`Stanza`], which answers `None` for what is missing or of another
//! type. Invariant: nothing here panics on client input.

pub(crate) mod certificate;
pub(crate) mod noise;

use std::borrow::Cow;
use std::time::{SystemTime, UNIX_EPOCH};

use rand::rngs::StdRng;
pub(crate) use whatsapp_rust::buffa::{Message as Protobuf, MessageField};
pub(crate) use whatsapp_rust::wacore_binary::{JidExt, Node, NodeContent};
pub(crate) use whatsapp_rust::waproto::whatsapp as wa;
pub(crate) use whatsapp_rust::{Jid, NodeBuilder, Server};

/// The JID of the server itself, as it stands in `from` of its own stanzas.
pub(crate) const SERVER: &str = "s.whatsapp.net";

/// A cryptographic random generator, freshly seeded.
pub(crate) fn rng() -> StdRng {
    rand::make_rng()
}

/// Seconds since 1970, the unit of every `t` attribute.
pub(crate) fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs())
}

/// Milliseconds since 1970.
pub(crate) fn unix_millis() -> i64 {
    let age = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(age.as_millis()).unwrap_or(i64::MAX)
}

/// A random upper-case hex text of `2 * bytes` characters.
pub(crate) fn random_hex(bytes: usize) -> String {
    use std::fmt::Write as _;
    (0..bytes).fold(String::with_capacity(bytes * 2), |mut text, _| {
        let _ = write!(text, "{:02X}", rand::random::<u8>());
        text
    })
}

/// A message id in the form WhatsApp's phones use.
pub(crate) fn message_id() -> String {
    format!("3EB0{}", random_hex(9))
}

/// Reading what a client sent, without trusting any of it.
pub(crate) trait Stanza {
    /// An attribute as text.
    fn text(&self, key: &str) -> Option<Cow<'_, str>>;
    /// An attribute as a JID.
    fn jid(&self, key: &str) -> Option<Jid>;
    /// An attribute as a number.
    fn number<T: std::str::FromStr>(&self, key: &str) -> Option<T>;
    /// The first child of that tag.
    fn child(&self, tag: &str) -> Option<&Node>;
    /// All children.
    fn all(&self) -> &[Node];
    /// The binary content.
    fn bytes(&self) -> Option<&[u8]>;
    /// The binary content of the first child of that tag.
    fn child_bytes(&self, tag: &str) -> Option<&[u8]> {
        self.child(tag).and_then(Stanza::bytes)
    }
}

impl Stanza for Node {
    fn text(&self, key: &str) -> Option<Cow<'_, str>> {
        self.attrs.get(key).map(|value| value.as_str())
    }

    fn jid(&self, key: &str) -> Option<Jid> {
        self.attrs.get(key).and_then(|value| value.to_jid())
    }

    fn number<T: std::str::FromStr>(&self, key: &str) -> Option<T> {
        self.text(key)?.parse().ok()
    }

    fn child(&self, tag: &str) -> Option<&Node> {
        self.get_optional_child(tag)
    }

    fn all(&self) -> &[Node] {
        self.children().unwrap_or_default()
    }

    fn bytes(&self) -> Option<&[u8]> {
        match &self.content {
            Some(NodeContent::Bytes(bytes)) => Some(bytes),
            Some(NodeContent::String(text)) => Some(text.as_bytes()),
            _ => None,
        }
    }
}

/// A big-endian unsigned number of one to four bytes, as key ids and registration ids are written.
pub(crate) fn big_endian(bytes: &[u8]) -> Option<u32> {
    (bytes.len() <= 4).then(|| bytes.iter().fold(0u32, |value, byte| (value << 8) | u32::from(*byte)))
}

/// An empty successful answer to `iq`; children may be added.
pub(crate) fn result_of(iq: &Node) -> NodeBuilder {
    let from = iq.jid("to").filter(|to| !to.user.is_empty());
    let answer = NodeBuilder::new("iq").attr("type", "result").attr("id", iq.text("id").unwrap_or_default().as_ref());
    match from {
        Some(from) => answer.attr("from", from),
        None => answer.attr("from", SERVER),
    }
}

/// A refusal of `iq`.
pub(crate) fn error_of(iq: &Node, code: u16, text: &'static str) -> Node {
    NodeBuilder::new("iq")
        .attr("from", SERVER)
        .attr("type", "error")
        .attr("id", iq.text("id").unwrap_or_default().as_ref())
        .children([NodeBuilder::new("error").attr("code", u32::from(code)).attr("text", text).build()])
        .build()
}

/// An element without attributes that holds bytes.
pub(crate) fn blob(tag: &'static str, bytes: impl Into<Vec<u8>>) -> Node {
    NodeBuilder::new(tag).bytes(bytes).build()
}

/// An element that holds only other elements.
pub(crate) fn parent(tag: &'static str, children: impl IntoIterator<Item = Node>) -> Node {
    NodeBuilder::new(tag).children(children).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_big_endian_numbers_of_up_to_four_bytes() {
        assert_eq!(big_endian(&[0, 1, 2]), Some(258));
        assert_eq!(big_endian(&[]), Some(0));
        assert_eq!(big_endian(&[1, 2, 3, 4, 5]), None);
    }

    #[test]
    fn message_ids_look_like_a_phones() {
        let id = message_id();
        assert!(id.starts_with("3EB0") && id.len() == 22, "{id}");
    }
}
