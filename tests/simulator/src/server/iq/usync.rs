//! `usync`: what is known of some users: whether they exist, their devices, LID, business name, about, picture.
//!
//! Shapes are those of wacore 0.7.0 `src/iq/usync.rs`. Invariant: a user that was asked for is in the answer, known
//! or not, under the address it was asked by.

use std::sync::Arc;

use super::super::socket::Session;
use crate::account::{Account, Family};
use crate::network::Core;
use crate::wire::{Jid, Node, NodeBuilder, Protobuf as _, Stanza as _, blob, parent, result_of, unix_seconds, wa};
use crate::{devices, wire};

/// Answers a query.
pub(super) fn answer(core: &Core, session: &Session, iq: &Node) -> Node {
    let Some(usync) = iq.child("usync") else { return wire::error_of(iq, 400, "bad-request") };
    let protocols: Vec<&str> = usync.child("query").map(|query| tags(query)).unwrap_or_default();
    let asked = usync.child("list").map(wire::Stanza::all).unwrap_or_default();
    let users = asked.iter().filter_map(|user| {
        let (jid, account) = find(core, user)?;
        if let Some(account) = &account {
            account.watched_by(&session.account);
        }
        let known = protocols.iter().filter_map(|protocol| describe(protocol, account.as_deref()));
        Some(NodeBuilder::new("user").attr("jid", jid).children(known).build())
    });
    let users: Vec<Node> = users.collect();
    let result =
        parent("result", protocols.iter().map(|protocol| NodeBuilder::new_dynamic((*protocol).to_owned()).build()));
    let answer = NodeBuilder::new("usync")
        .attr("sid", usync.text("sid").unwrap_or_default().as_ref())
        .attr("index", "0")
        .attr("last", "true")
        .attr("mode", usync.text("mode").as_deref().unwrap_or("query"))
        .attr("context", usync.text("context").as_deref().unwrap_or("interactive"))
        .children([result, parent("list", users)]);
    result_of(iq).children([answer.build()]).build()
}

fn tags(query: &Node) -> Vec<&str> {
    query.all().iter().map(|protocol| protocol.tag.as_ref()).collect()
}

/// Who is meant: a JID, or a phone number as the content of `<contact>`.
fn find(core: &Core, user: &Node) -> Option<(Jid, Option<Arc<Account>>)> {
    if let Some(jid) = user.jid("jid") {
        let account = core.directory.resolve(&jid).map(|address| address.account);
        return Some((jid.to_non_ad(), account));
    }
    let number = user.child("contact")?.content_as_string()?;
    let number = number.trim_start_matches('+');
    let number = number.split('@').next().unwrap_or_default();
    Some((Jid::pn(number), core.directory.by_number(number)))
}

/// What one protocol of the query tells of a user; nothing, if it has nothing to tell.
fn describe(protocol: &str, account: Option<&Account>) -> Option<Node> {
    if protocol == "contact" {
        let kind = if account.is_some() { "in" } else { "out" };
        return Some(NodeBuilder::new("contact").attr("type", kind).build());
    }
    let account = account?;
    match protocol {
        "lid" => Some(NodeBuilder::new("lid").attr("val", account.jid(Family::Lid)).build()),
        "devices" => Some(devices::listing(account)),
        "status" => {
            let status = NodeBuilder::new("status").attr("t", unix_seconds());
            Some(status.string_content(account.about()).build())
        }
        "business" => account.business.as_deref().map(|name| parent("business", [verified_name(name)])),
        "disappearing_mode" => Some(NodeBuilder::new("disappearing_mode").attr("duration", "0").attr("t", "0").build()),
        _ => None,
    }
}

/// `<verified_name>`: the name stands only inside the certificate. Its signature is a dummy: no client holds the key
/// to check it by.
fn verified_name(name: &str) -> Node {
    let details = wa::verified_name_certificate::Details {
        serial: Some(42),
        issuer: Some("smb:wa".to_owned()),
        verified_name: Some(name.to_owned()),
        ..Default::default()
    };
    let certificate = wa::VerifiedNameCertificate {
        details: Some(details.encode_to_vec()),
        signature: Some(vec![0; 64]),
        ..Default::default()
    };
    let mut node = blob("verified_name", certificate.encode_to_vec());
    for (key, value) in [("v", "2"), ("verified_level", "unknown"), ("serial", "42")] {
        node.attrs.insert(key, value);
    }
    node
}
