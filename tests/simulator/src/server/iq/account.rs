//! What a client asks and sets about its own account: settings, privacy, blocklist, experiments, tokens, pictures.
//!
//! Invariant: answers are the smallest the published clients take for success (wacore 0.7.0 `src/iq/`).

use super::super::socket::Session;
use crate::account::{Account, Family, lock};
use crate::devices::server_notification;
use crate::network::Core;
use crate::wire::{Node, NodeBuilder, Stanza as _, blob, error_of, parent, random_hex, result_of, unix_seconds};

/// The privacy settings every account has.
const PRIVACY: [(&str, &str); 9] = [
    ("last", "all"),
    ("online", "all"),
    ("profile", "all"),
    ("status", "all"),
    ("groupadd", "all"),
    ("readreceipts", "all"),
    ("calladd", "all"),
    ("messages", "all"),
    ("defense", "off"),
];

/// Answers; `None` if the question is unknown.
pub(super) fn answer(core: &Core, session: &Session, iq: &Node, namespace: &str, kind: &str) -> Option<Node> {
    match (namespace, kind) {
        ("abt", "get") => {
            let props =
                NodeBuilder::new("props").attr("protocol", "1").attr("hash", "simulated").attr("refresh", "86400");
            Some(result_of(iq).children([props.build()]).build())
        }
        ("w", "get") if iq.child("props").is_some() => {
            Some(result_of(iq).children([NodeBuilder::new("props").attr("hash", "simulated").build()]).build())
        }
        ("blocklist", "get") => Some(result_of(iq).children([parent("list", [])]).build()),
        ("privacy", "get") if iq.child("privacy").is_some() => Some(privacy(iq)),
        ("privacy", "set") if iq.child("tokens").is_some() => Some(tokens(core, session, iq)),
        ("blocklist" | "privacy" | "disappearing_mode" | "urn:xmpp:whatsapp:dirty" | "w:stats" | "w:push", _) => {
            Some(result_of(iq).build())
        }
        ("status", "set") => {
            let about = iq.child("status").and_then(Node::content_as_string).unwrap_or_default();
            session.account.set_about(about.to_string());
            Some(result_of(iq).build())
        }
        ("w:profile:picture", "get") => Some(error_of(iq, 404, "item-not-found")),
        ("w:biz", "get") => Some(result_of(iq).children([parent("business_profile", [])]).build()),
        ("w:qr" | "tos" | "urn:xmpp:whatsapp:push", _) => Some(result_of(iq).build()),
        _ => None,
    }
}

fn privacy(iq: &Node) -> Node {
    let categories =
        PRIVACY.map(|(name, value)| NodeBuilder::new("category").attr("name", name).attr("value", value).build());
    result_of(iq).children([parent("privacy", categories)]).build()
}

/// A client lets others write to it: each of them is handed a token (wacore 0.7.0 `src/iq/tctoken.rs`).
fn tokens(core: &Core, session: &Session, iq: &Node) -> Node {
    let asked = iq.child("tokens").map(crate::wire::Stanza::all).unwrap_or_default();
    for jid in asked.iter().filter_map(|token| token.jid("jid")) {
        if let Some(address) = core.directory.resolve(&jid) {
            hand_token(&session.account, &address.account, Family::of(&jid));
        }
    }
    result_of(iq).children([parent("tokens", asked.iter().cloned())]).build()
}

fn hand_token(from: &Account, to: &Account, family: Family) {
    let mut token = blob("token", rand::random::<[u8; 16]>());
    token.attrs.insert("type", "trusted_contact");
    token.attrs.insert("t", unix_seconds());
    for companion in to.companions() {
        let mut notification = server_notification("privacy_token", [parent("tokens", [token.clone()])]);
        notification.attrs.insert("from", from.jid(family));
        notification.attrs.insert("sender_lid", from.jid(Family::Lid));
        notification.attrs.insert("id", random_hex(8));
        companion.mailbox.deliver(notification);
    }
}

/// Synchronises settings; the account's other devices are told of a change.
pub(super) fn settings(session: &Session, iq: &Node) -> Node {
    let asked = iq.child("sync").map(crate::wire::Stanza::all).unwrap_or_default();
    let mut answers = Vec::new();
    let mut changed = Vec::new();
    {
        let mut state = lock(&session.account.appstate);
        for request in asked.iter().filter(|child| child.tag == "collection") {
            let answer = state.sync(request);
            answers.push(answer.node);
            changed.extend(answer.advanced);
        }
    }
    if !changed.is_empty() {
        let collections: Vec<Node> = changed
            .iter()
            .map(|(name, version)| {
                NodeBuilder::new("collection").attr("name", name.as_str()).attr("version", *version).build()
            })
            .collect();
        for companion in session.account.companions() {
            if companion.id != session.companion.id {
                companion.mailbox.deliver(server_notification("server_sync", collections.clone()));
            }
        }
    }
    result_of(iq).children([parent("sync", answers)]).build()
}
