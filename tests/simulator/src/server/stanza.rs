//! What a client's stanza is, and who handles it.
//!
//! Invariant: a stanza nobody knows is noted, and an `<iq>` is answered with an error, so that no client waits forever.

use std::sync::Arc;

use super::socket::{Peer, Session};
use super::{iq, message};
use crate::linking::Linking;
use crate::mailbox::{Class, Out, post};
use crate::network::Core;
use crate::wire::{Node, NodeBuilder, Stanza as _};
use crate::{presence, receipt};

/// Handles one stanza.
pub(crate) async fn handle(core: &Arc<Core>, peer: &Peer, node: Node) {
    match peer {
        Peer::Unlinked(linking) => from_unlinked(core, linking, &node).await,
        Peer::Linked(session) => from_linked(core, session, &node).await,
    }
}

async fn from_linked(core: &Arc<Core>, session: &Session, node: &Node) {
    match node.tag.as_ref() {
        "iq" => iq::handle(core, session, node).await,
        "message" => message::relay(core, session, node).await,
        "receipt" => receipt::take(core, session, node).await,
        "ack" => settle(core, session, node),
        "presence" => presence::take(core, session, node),
        "chatstate" => presence::take_typing(core, session, node),
        "ib" => information(core, session, node),
        other => core.unanswered(other.to_owned()),
    }
}

fn settle(core: &Core, session: &Session, ack: &Node) {
    let (Some(class), Some(id)) = (ack.text("class"), ack.text("id")) else { return };
    match Class::parse(&class) {
        Some(class) => {
            session.companion.mailbox.settle(class, &id, ack.jid("to").as_ref());
        }
        None => core.unanswered(format!("ack:{class}")),
    }
}

fn information(core: &Core, session: &Session, node: &Node) {
    for child in node.all() {
        match child.tag.as_ref() {
            "offline_batch" => session.companion.mailbox.grant(child.number("count").unwrap_or(0)),
            "unified_session" => {}
            other => core.unanswered(format!("ib:{other}")),
        }
    }
}

async fn from_unlinked(core: &Arc<Core>, linking: &Arc<Linking>, node: &Node) {
    let kind = node.text("type");
    match (node.tag.as_ref(), kind.as_deref()) {
        ("iq", Some("result")) => signed(core, linking, node).await,
        ("iq", Some("error")) => linking.refused(&node.text("id").unwrap_or_default()),
        ("iq", _) => iq::linking(core, linking, node),
        ("ack" | "ib" | "presence", _) => {}
        (other, _) => core.unanswered(format!("unlinked:{other}")),
    }
}

/// The client answers `pair-device` with nothing and `pair-success` with its signature.
async fn signed(core: &Arc<Core>, linking: &Arc<Linking>, node: &Node) {
    let Some(identity) = node.child("pair-device-sign").and_then(|sign| sign.child_bytes("device-identity")) else {
        return;
    };
    let Some(linked) = linking.signed(&node.text("id").unwrap_or_default(), identity.to_vec()) else {
        tracing::info!("a client signed a link nobody offered");
        return;
    };
    core.complete_link(linked).await;
    let (outlet, delay) = (linking.outlet.clone(), core.restart_delay);
    core.tasks.spawn(async move {
        tokio::time::sleep(delay).await;
        post(&outlet, NodeBuilder::new("stream:error").attr("code", "515").build());
        let _ = outlet.send(Out::Close);
    });
}
