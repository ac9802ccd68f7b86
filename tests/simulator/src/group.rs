//! A group: its members and their ranks, its subject and topic, and the stanzas that describe it.
//!
//! Shapes are those of wacore 0.7.0 `src/iq/groups.rs` (metadata) and `src/stanza/groups.rs` (notifications).
//! Invariant: a group has at least one super admin while it has members, its creator first.

use std::sync::{Arc, Mutex};

use crate::account::{Account, Family, lock};
use crate::phone::Phone;
use crate::wire::{Jid, Node, NodeBuilder, parent, random_hex, unix_seconds};

/// A member's rank.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rank {
    /// May write.
    Member,
    /// May change the group.
    Admin,
    /// Made the group; cannot be removed.
    SuperAdmin,
}

impl Rank {
    /// The rank's name on the wire, if it has one.
    pub(crate) fn as_str(self) -> Option<&'static str> {
        match self {
            Self::Member => None,
            Self::Admin => Some("admin"),
            Self::SuperAdmin => Some("superadmin"),
        }
    }
}

/// How members are named in a group's stanzas.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Addressing {
    /// By phone number, as in older groups.
    #[default]
    Number,
    /// By LID, as in newer ones.
    Lid,
}

impl Addressing {
    pub(crate) fn family(self) -> Family {
        match self {
            Self::Number => Family::Number,
            Self::Lid => Family::Lid,
        }
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Number => "pn",
            Self::Lid => "lid",
        }
    }
}

/// The server's record of a group.
pub(crate) struct GroupState {
    pub(crate) id: String,
    pub(crate) addressing: Addressing,
    creator: Arc<Account>,
    created_at: u64,
    inner: Mutex<Inner>,
}

struct Inner {
    subject: String,
    topic: String,
    topic_id: String,
    members: Vec<Member>,
    announcement: bool,
    locked: bool,
    invite: String,
}

/// A member and its rank.
#[derive(Clone)]
pub(crate) struct Member {
    pub(crate) account: Arc<Account>,
    pub(crate) rank: Rank,
}

/// What is needed to make a group.
pub(crate) struct Founding<'a> {
    pub(crate) subject: &'a str,
    pub(crate) topic: &'a str,
    pub(crate) addressing: Addressing,
    pub(crate) creator: &'a Arc<Account>,
    pub(crate) members: Vec<Arc<Account>>,
}

impl GroupState {
    /// A new group; the creator is its super admin.
    pub(crate) fn new(id: String, founding: Founding<'_>) -> Self {
        let creator = Member { account: Arc::clone(founding.creator), rank: Rank::SuperAdmin };
        let others = founding.members.into_iter().filter(|account| account.number != founding.creator.number);
        let mut members = vec![creator];
        for account in others {
            if !members.iter().any(|member| member.account.number == account.number) {
                members.push(Member { account, rank: Rank::Member });
            }
        }
        let inner = Inner {
            subject: founding.subject.to_owned(),
            topic: founding.topic.to_owned(),
            topic_id: random_hex(8),
            members,
            announcement: false,
            locked: false,
            invite: random_hex(11),
        };
        Self {
            id,
            addressing: founding.addressing,
            creator: Arc::clone(founding.creator),
            created_at: unix_seconds(),
            inner: Mutex::new(inner),
        }
    }

    /// The group's JID.
    pub(crate) fn jid(&self) -> Jid {
        Jid::group(self.id.as_str())
    }

    pub(crate) fn members(&self) -> Vec<Member> {
        lock(&self.inner).members.clone()
    }

    pub(crate) fn rank_of(&self, number: &str) -> Option<Rank> {
        lock(&self.inner).members.iter().find(|member| member.account.number == number).map(|member| member.rank)
    }

    pub(crate) fn subject(&self) -> String {
        lock(&self.inner).subject.clone()
    }

    pub(crate) fn topic(&self) -> String {
        lock(&self.inner).topic.clone()
    }

    pub(crate) fn invite(&self) -> String {
        lock(&self.inner).invite.clone()
    }

    pub(crate) fn is_announcement(&self) -> bool {
        lock(&self.inner).announcement
    }

    pub(crate) fn is_locked(&self) -> bool {
        lock(&self.inner).locked
    }

    pub(crate) fn set_subject(&self, subject: String) {
        lock(&self.inner).subject = subject;
    }

    pub(crate) fn set_topic(&self, id: String, topic: String) {
        let mut inner = lock(&self.inner);
        inner.topic_id = id;
        inner.topic = topic;
    }

    pub(crate) fn set_announcement(&self, on: bool) {
        lock(&self.inner).announcement = on;
    }

    pub(crate) fn set_locked(&self, on: bool) {
        lock(&self.inner).locked = on;
    }

    /// Adds a member; `false` if it was one.
    pub(crate) fn add(&self, account: &Arc<Account>) -> bool {
        let mut inner = lock(&self.inner);
        let new = !inner.members.iter().any(|member| member.account.number == account.number);
        if new {
            inner.members.push(Member { account: Arc::clone(account), rank: Rank::Member });
        }
        new
    }

    /// Removes a member; `false` if it was none. The oldest remaining member inherits a group left by its last
    /// super admin.
    pub(crate) fn remove(&self, number: &str) -> bool {
        let mut inner = lock(&self.inner);
        let before = inner.members.len();
        inner.members.retain(|member| member.account.number != number);
        if !inner.members.iter().any(|member| member.rank == Rank::SuperAdmin)
            && let Some(heir) = inner.members.first_mut()
        {
            heir.rank = Rank::SuperAdmin;
        }
        inner.members.len() != before
    }

    /// Changes a member's rank; `false` if it is none.
    pub(crate) fn set_rank(&self, number: &str, rank: Rank) -> bool {
        let mut inner = lock(&self.inner);
        let member = inner.members.iter_mut().find(|member| member.account.number == number);
        member.map(|member| member.rank = rank).is_some()
    }

    /// The `<group>` element: all there is to know.
    pub(crate) fn describe(&self) -> Node {
        let inner = lock(&self.inner);
        let family = self.addressing.family();
        let creator = self.creator.jid(family);
        let mut children: Vec<Node> = inner.members.iter().map(|member| self.participant(member)).collect();
        let description = NodeBuilder::new("description")
            .attr("id", inner.topic_id.as_str())
            .attr("t", self.created_at)
            .attr("participant", creator.clone())
            .children([NodeBuilder::new("body").bytes(inner.topic.as_bytes().to_vec()).build()]);
        if !inner.topic.is_empty() {
            children.push(description.build());
        }
        if inner.announcement {
            children.push(NodeBuilder::new("announcement").build());
        }
        if inner.locked {
            children.push(NodeBuilder::new("locked").build());
        }
        NodeBuilder::new("group")
            .attr("id", self.id.as_str())
            .attr("subject", inner.subject.as_str())
            .attr("s_t", self.created_at)
            .attr("s_o", creator.clone())
            .attr("creation", self.created_at)
            .attr("creator", creator)
            .attr("addressing_mode", self.addressing.as_str())
            .attr("size", inner.members.len() as u64)
            .children(children)
            .build()
    }

    /// A `<participant>` element. A member named by number carries its LID, and the other way round.
    pub(crate) fn participant(&self, member: &Member) -> Node {
        let family = self.addressing.family();
        let other = if family == Family::Number { "lid" } else { "phone_number" };
        let node = NodeBuilder::new("participant")
            .attr("jid", member.account.jid(family))
            .attr(other, member.account.jid(family.other()));
        match member.rank.as_str() {
            Some(rank) => node.attr("type", rank).build(),
            None => node.build(),
        }
    }

    /// A `w:gp2` notification of something `author` did.
    pub(crate) fn notification(&self, author: &Account, action: Node) -> Node {
        let family = self.addressing.family();
        let other = if family == Family::Number { "participant_lid" } else { "participant_pn" };
        NodeBuilder::new("notification")
            .attr("from", self.jid())
            .attr("type", "w:gp2")
            .attr("id", random_hex(8))
            .attr("t", unix_seconds())
            .attr("notify", author.name.as_str())
            .attr("participant", author.jid(family))
            .attr(other, author.jid(family.other()))
            .attr("addressing_mode", self.addressing.as_str())
            .children([action])
            .build()
    }

    /// Queues a notification for all devices of all members, and of `also`.
    pub(crate) fn announce(&self, author: &Account, action: &Node, also: &[Arc<Account>]) {
        let members = self.members();
        for account in members.iter().map(|member| &member.account).chain(also) {
            for companion in account.companions() {
                companion.mailbox.deliver(self.notification(author, action.clone()));
            }
        }
    }
}

/// A group of a running network.
#[derive(Clone)]
pub struct Group {
    pub(crate) state: Arc<GroupState>,
}

impl Group {
    /// The id, the part of the JID before `@g.us`.
    pub fn id(&self) -> &str {
        &self.state.id
    }

    /// The JID.
    pub fn jid(&self) -> String {
        self.state.jid().to_string()
    }

    /// The name members see.
    pub fn subject(&self) -> String {
        self.state.subject()
    }

    /// The description.
    pub fn topic(&self) -> String {
        self.state.topic()
    }

    /// The members' numbers and ranks, in the order they joined.
    pub fn members(&self) -> Vec<(String, Rank)> {
        self.state.members().into_iter().map(|member| (member.account.number.clone(), member.rank)).collect()
    }

    /// The creator adds a member; everyone is notified. `false` if it was one.
    pub fn add(&self, phone: &Phone) -> bool {
        let added = self.state.add(&phone.account);
        if added {
            let member = Member { account: Arc::clone(&phone.account), rank: Rank::Member };
            let action = parent("add", [self.state.participant(&member)]);
            self.state.announce(&self.state.creator, &action, &[]);
        }
        added
    }

    /// The creator removes a member; everyone is notified. `false` if it was none.
    pub fn remove(&self, phone: &Phone) -> bool {
        let member = Member { account: Arc::clone(&phone.account), rank: Rank::Member };
        let action = parent("remove", [self.state.participant(&member)]);
        let removed = self.state.remove(phone.number());
        if removed {
            self.state.announce(&self.state.creator, &action, &[Arc::clone(&phone.account)]);
        }
        removed
    }

    /// The creator makes a member an admin or takes it back; everyone is notified. `false` if it is no member.
    pub fn set_admin(&self, phone: &Phone, admin: bool) -> bool {
        let rank = if admin { Rank::Admin } else { Rank::Member };
        let changed = self.state.set_rank(phone.number(), rank);
        if changed {
            let member = Member { account: Arc::clone(&phone.account), rank };
            let action = parent(if admin { "promote" } else { "demote" }, [self.state.participant(&member)]);
            self.state.announce(&self.state.creator, &action, &[]);
        }
        changed
    }

    /// The creator renames the group; everyone is notified.
    pub fn rename(&self, subject: &str) {
        self.state.set_subject(subject.to_owned());
        let action = NodeBuilder::new("subject")
            .attr("subject", subject)
            .attr("s_t", unix_seconds())
            .attr("s_o", self.state.creator.jid(self.state.addressing.family()));
        self.state.announce(&self.state.creator, &action.build(), &[]);
    }
}
