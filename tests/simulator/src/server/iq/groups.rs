//! `w:g2`: reading groups, and changing them as far as the rank of who asks allows.
//!
//! Shapes are those of wacore 0.7.0 `src/iq/groups.rs`. Invariant: a change is notified to every device of every
//! member, the one that asked included, before its `<iq>` is answered.

use std::sync::Arc;

use super::super::socket::Session;
use crate::account::Account;
use crate::group::{Addressing, Founding, GroupState, Member, Rank};
use crate::network::Core;
use crate::wire::{JidExt, Node, NodeBuilder, Stanza as _, error_of, parent, random_hex, result_of, unix_seconds};

/// Answers a question; `None` if it is unknown.
pub(super) fn get(core: &Core, session: &Session, iq: &Node) -> Option<Node> {
    let question = iq.all().first()?;
    match question.tag.as_ref() {
        "participating" => Some(participating(core, session, iq)),
        "query" => Some(match target(core, iq) {
            None => error_of(iq, 404, "item-not-found"),
            Some(group) if group.rank_of(&session.account.number).is_none() => error_of(iq, 403, "forbidden"),
            Some(group) => result_of(iq).children([group.describe()]).build(),
        }),
        "invite" => Some(match target(core, iq) {
            Some(group) if is_admin(&group, session) => invite(iq, &group),
            Some(_) => error_of(iq, 403, "forbidden"),
            None => error_of(iq, 404, "item-not-found"),
        }),
        _ => None,
    }
}

/// Carries out a command; `None` if it is unknown.
pub(super) fn set(core: &Core, session: &Session, iq: &Node) -> Option<Node> {
    let command = iq.all().first()?;
    match command.tag.as_ref() {
        "create" => return Some(create(core, session, iq, command)),
        "leave" => return Some(leave(core, session, iq, command)),
        _ => {}
    }
    let Some(group) = target(core, iq) else { return Some(error_of(iq, 404, "item-not-found")) };
    if !is_admin(&group, session) {
        return Some(error_of(iq, 403, "forbidden"));
    }
    let author = &session.account;
    match command.tag.as_ref() {
        "add" | "remove" | "promote" | "demote" => return Some(members(core, author, &group, iq, command)),
        "subject" => {
            let subject = command.content_as_string().unwrap_or_default().to_string();
            group.set_subject(subject.clone());
            let owner = author.jid(group.addressing.family());
            let action =
                NodeBuilder::new("subject").attr("subject", subject).attr("s_t", unix_seconds()).attr("s_o", owner);
            group.announce(author, &action.build(), &[]);
        }
        "description" => {
            let body = command.child("body").and_then(Node::content_as_string).unwrap_or_default().to_string();
            let id = command.text("id").map_or_else(|| random_hex(8), std::borrow::Cow::into_owned);
            group.set_topic(id, body);
            group.announce(author, command, &[]);
        }
        "announcement" | "not_announcement" => {
            group.set_announcement(command.tag == "announcement");
            group.announce(author, command, &[]);
        }
        "locked" | "unlocked" => {
            group.set_locked(command.tag == "locked");
            group.announce(author, command, &[]);
        }
        _ => return None,
    }
    Some(result_of(iq).build())
}

/// The group an `<iq>` is addressed to.
fn target(core: &Core, iq: &Node) -> Option<Arc<GroupState>> {
    let to = iq.jid("to").filter(JidExt::is_group)?;
    core.directory.group(to.user.as_str())
}

fn is_admin(group: &GroupState, session: &Session) -> bool {
    matches!(group.rank_of(&session.account.number), Some(Rank::Admin | Rank::SuperAdmin))
}

fn participating(core: &Core, session: &Session, iq: &Node) -> Node {
    let groups = core.directory.groups();
    let own = groups.iter().filter(|group| group.rank_of(&session.account.number).is_some());
    result_of(iq).children([parent("groups", own.map(|group| group.describe()))]).build()
}

fn invite(iq: &Node, group: &GroupState) -> Node {
    result_of(iq).children([NodeBuilder::new("invite").attr("code", group.invite()).build()]).build()
}

fn named(core: &Core, list: &Node) -> Vec<Arc<Account>> {
    let jids = list.all().iter().filter(|child| child.tag == "participant").filter_map(|child| child.jid("jid"));
    jids.filter_map(|jid| core.directory.resolve(&jid)).map(|address| address.account).collect()
}

fn create(core: &Core, session: &Session, iq: &Node, command: &Node) -> Node {
    let subject = command.text("subject").unwrap_or_default();
    let topic = command.child("description").and_then(|description| description.child("body"));
    let topic = topic.and_then(Node::content_as_string).unwrap_or_default();
    let group = core.found_group(Founding {
        subject: &subject,
        topic: &topic,
        addressing: Addressing::default(),
        creator: &session.account,
        members: named(core, command),
    });
    result_of(iq).children([group.describe()]).build()
}

fn leave(core: &Core, session: &Session, iq: &Node, command: &Node) -> Node {
    let left = command.all().iter().filter_map(|group| group.text("id")).filter_map(|id| {
        let group = core.directory.group(id.trim_end_matches("@g.us"))?;
        let member = Member { account: Arc::clone(&session.account), rank: Rank::Member };
        let action = parent("remove", [group.participant(&member)]);
        if group.remove(&session.account.number) {
            group.announce(&session.account, &action, &[Arc::clone(&session.account)]);
        }
        Some(NodeBuilder::new("group").attr("id", group.jid()).build())
    });
    let left: Vec<Node> = left.collect();
    result_of(iq).children([parent("leave", left)]).build()
}

/// Adds, removes, promotes or demotes; the answer names each, with an error for those it was not done for.
fn members(core: &Core, author: &Account, group: &GroupState, iq: &Node, command: &Node) -> Node {
    let mut done = Vec::new();
    let mut gone = Vec::new();
    let mut answers = Vec::new();
    for account in named(core, command) {
        let changed = match command.tag.as_ref() {
            "add" => group.add(&account),
            "remove" => group.remove(&account.number),
            "promote" => group.set_rank(&account.number, Rank::Admin),
            _ => group.set_rank(&account.number, Rank::Member),
        };
        let rank = group.rank_of(&account.number).unwrap_or(Rank::Member);
        let participant = group.participant(&Member { account: Arc::clone(&account), rank });
        if changed {
            done.push(participant.clone());
            answers.push(participant);
        } else {
            let mut refused = participant;
            refused.attrs.insert("error", if command.tag == "add" { "409" } else { "404" });
            answers.push(refused);
        }
        if command.tag == "remove" {
            gone.push(account);
        }
    }
    let element = |children: Vec<Node>| NodeBuilder::new_dynamic(command.tag.to_string()).children(children).build();
    if !done.is_empty() {
        group.announce(author, &element(done), &gone);
    }
    result_of(iq).children([element(answers)]).build()
}
