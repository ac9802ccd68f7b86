//! Questions and commands: every `<iq>` a client sends, by namespace.
//!
//! Invariant: every `<iq>` is answered exactly once, if only with an error.

mod account;
mod groups;
mod keys;
mod usync;

use std::sync::Arc;

use super::socket::Session;
use crate::linking::{LinkCode, Linking};
use crate::mailbox::post;
use crate::network::Core;
use crate::wire::{Node, NodeBuilder, Stanza as _, blob, error_of, random_hex, result_of};

/// Answers an `<iq>` of a linked device.
pub(crate) async fn handle(core: &Arc<Core>, session: &Session, iq: &Node) {
    let kind = iq.text("type").unwrap_or_default();
    if matches!(kind.as_ref(), "result" | "error") {
        return;
    }
    let namespace = iq.text("xmlns").unwrap_or_default();
    let answer = match (namespace.as_ref(), kind.as_ref()) {
        ("passive", _) => return passive(session, iq),
        ("encrypt", "get") => keys::get(core, session, iq).await,
        ("encrypt", "set") => keys::set(session, iq),
        ("usync", "get") => Some(usync::answer(core, session, iq)),
        ("w:g2", "get") => groups::get(core, session, iq),
        ("w:g2", "set") => groups::set(core, session, iq),
        ("w:sync:app:state", "set" | "get") => Some(account::settings(session, iq)),
        ("w:m", "set" | "get") => Some(media_hosts(core, iq)),
        ("md", "set") => return unlink(core, session, iq),
        ("w:p" | "urn:xmpp:ping", _) => Some(result_of(iq).build()),
        _ => account::answer(core, session, iq, namespace.as_ref(), kind.as_ref()),
    };
    let answer = answer.unwrap_or_else(|| {
        core.unanswered_iq(&namespace, &kind, iq);
        error_of(iq, 501, "feature-not-implemented")
    });
    session.reply(answer);
}

/// `<active/>` opens the offline queue; `<passive/>` would close it and is only acknowledged.
fn passive(session: &Session, iq: &Node) {
    session.reply(result_of(iq).build());
    if iq.child("active").is_some() {
        session.companion.mailbox.activate();
    }
}

/// Where media goes: this very listener.
fn media_hosts(core: &Core, iq: &Node) -> Node {
    let host = NodeBuilder::new("host").attr("hostname", core.addr.to_string()).attr("type", "primary").build();
    let conn = NodeBuilder::new("media_conn")
        .attr("auth", "simulated")
        .attr("ttl", "3600")
        .attr("auth_ttl", "3600")
        .attr("max_buckets", "12")
        .children([host]);
    result_of(iq).children([conn.build()]).build()
}

/// A client unlinks a device of its account, usually itself.
fn unlink(core: &Core, session: &Session, iq: &Node) {
    let Some(removal) = iq.child("remove-companion-device") else {
        core.unanswered_iq("md", "set", iq);
        return session.reply(error_of(iq, 501, "feature-not-implemented"));
    };
    let own = |jid: &crate::wire::Jid| {
        core.directory.resolve(jid).is_some_and(|address| address.account.number == session.account.number)
    };
    session.reply(result_of(iq).build());
    if let Some(jid) = removal.jid("jid").filter(own) {
        core.unlink(&session.account, jid.device);
    } else {
        tracing::info!("a client asked to unlink a device that is not of its account");
    }
}

/// Answers an `<iq>` of a client that is not linked: only the linking by code asks anything.
pub(crate) fn linking(core: &Core, linking: &Arc<Linking>, iq: &Node) {
    if iq.text("xmlns").as_deref() == Some("w:p") {
        return post(&linking.outlet, result_of(iq).build());
    }
    let Some(request) = iq.child("link_code_companion_reg") else {
        core.unanswered_iq(&iq.text("xmlns").unwrap_or_default(), "unlinked", iq);
        return post(&linking.outlet, error_of(iq, 501, "feature-not-implemented"));
    };
    match request.text("stage").as_deref() {
        Some("companion_hello") => post(&linking.outlet, companion_hello(core, linking, iq, request)),
        Some("companion_finish") => companion_finish(linking, iq, request),
        _ => post(&linking.outlet, error_of(iq, 400, "bad-request")),
    }
}

fn companion_hello(core: &Core, linking: &Arc<Linking>, iq: &Node, request: &Node) -> Node {
    let number = request.jid("jid").map(|jid| jid.user.to_string()).unwrap_or_default();
    if core.directory.by_number(&number).is_none() {
        return error_of(iq, 404, "item-not-found");
    }
    let Some(wrapped) = request.child_bytes("link_code_pairing_wrapped_companion_ephemeral_pub") else {
        return error_of(iq, 400, "bad-request");
    };
    let reference = random_hex(8).into_bytes();
    let waiting =
        LinkCode { linking: Arc::downgrade(linking), reference: reference.clone(), wrapped: wrapped.to_vec() };
    core.directory.offer_code(&number, waiting);
    let stage = NodeBuilder::new("link_code_companion_reg").attr("stage", "companion_hello");
    result_of(iq).children([stage.children([blob("link_code_pairing_ref", reference)]).build()]).build()
}

fn companion_finish(linking: &Linking, iq: &Node, request: &Node) {
    let bundle = request.child_bytes("link_code_pairing_wrapped_key_bundle").unwrap_or_default();
    let identity = request.child_bytes("companion_identity_public").unwrap_or_default();
    // The answer goes out before `pair-success`, which `agreed` posts: clients wait for them in this order.
    post(&linking.outlet, result_of(iq).build());
    if let Err(error) = linking.agreed(bundle, identity) {
        tracing::info!(%error, "a linking by code failed");
    }
}
