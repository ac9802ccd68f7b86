//! A message from a linked device: accepted or refused, then one copy for every device it is meant for.
//!
//! The client encrypts per device and names each in `<participants>`; a group's common part is a single
//! `<enc type="skmsg">` that goes to every member's devices; a repeated message for one device stands alone in the
//! stanza (wacore 0.7.0 `src/send/`). Invariant: the acknowledgement is posted before any copy is handed out, and no
//! copy is handed out of a refused message.

use std::sync::Arc;
use std::time::Duration;

use super::socket::Session;
use crate::account::{Account, Family};
use crate::directory::Address;
use crate::faults::Verdict;
use crate::group::{GroupState, Rank};
use crate::mailbox::post;
use crate::network::Core;
use crate::phone::keys::Seal;
use crate::phone::{Incoming, Phone, Ticks};
use crate::wire::{Jid, JidExt as _, Node, NodeBuilder, Stanza, unix_seconds};

/// Attributes of the client's stanza that its copies keep.
const KEPT: [&str; 4] = ["category", "edit", "push_priority", "verified_name"];
/// Elements of the client's stanza that its copies keep.
const KEPT_CHILDREN: [&str; 4] = ["device-identity", "reporting", "meta", "multicast"];

/// A message on its way.
struct Letter<'a> {
    session: &'a Session,
    node: &'a Node,
    id: String,
    to: Jid,
    group: Option<Arc<GroupState>>,
}

/// A copy for one device.
struct Copy<'a> {
    to: Address,
    /// What is encrypted for this device alone.
    own: Option<&'a Node>,
}

/// Takes a `<message>`.
pub(crate) async fn relay(core: &Arc<Core>, session: &Session, node: &Node) {
    let (Some(id), Some(to)) = (node.text("id"), node.jid("to")) else {
        tracing::info!("a message without id or addressee was dropped");
        return;
    };
    let mut letter = Letter { session, node, id: id.into_owned(), to, group: None };
    let verdict = core.faults.judge(&session.account.number, session.companion.id);
    if let Verdict::Refuse(code) = verdict {
        return session.reply(letter.ack(Some(code)));
    }
    match letter.check(core) {
        Ok(group) => letter.group = group,
        Err(error) => return session.reply(letter.ack(Some(error))),
    }
    session.account.handset.tick(&letter.id, Ticks::Sent);
    if let Verdict::Accept { delay } = verdict {
        acknowledge(core, session, letter.ack(None), delay);
    }
    let shared = letter.shared();
    for copy in letter.copies(core) {
        letter.hand_out(core, copy, shared).await;
    }
}

fn acknowledge(core: &Core, session: &Session, ack: Node, delay: Duration) {
    if delay.is_zero() {
        return session.reply(ack);
    }
    let outlet = session.outlet.clone();
    core.tasks.spawn(async move {
        tokio::time::sleep(delay).await;
        post(&outlet, ack);
    });
}

impl Letter<'_> {
    /// `<ack class="message">`; a client that reads another `phash` than it sent drops its device lists.
    fn ack(&self, error: Option<u16>) -> Node {
        let mut ack = NodeBuilder::new("ack")
            .attr("class", "message")
            .attr("id", self.id.as_str())
            .attr("from", self.to.clone())
            .attr("t", unix_seconds());
        if let Some(phash) = self.node.text("phash") {
            ack = ack.attr("phash", phash.as_ref());
        }
        if let Some(code) = error {
            ack = ack.attr("error", u32::from(code));
        }
        ack.build()
    }

    /// Whether the addressee exists and takes messages from this account; the code says why not.
    fn check(&self, core: &Core) -> Result<Option<Arc<GroupState>>, u16> {
        if self.to.is_group() {
            let group = core.directory.group(self.to.user.as_str()).ok_or(404_u16)?;
            return match group.rank_of(&self.session.account.number) {
                None => Err(403),
                Some(Rank::Member) if group.is_announcement() => Err(403),
                Some(_) => Ok(Some(group)),
            };
        }
        if self.to.is_status_broadcast() || core.directory.resolve(&self.to).is_some() {
            return Ok(None);
        }
        Err(404)
    }

    /// The group's common part.
    fn shared(&self) -> Option<&Node> {
        self.node.child("enc").filter(|enc| enc.text("type").as_deref() == Some("skmsg"))
    }

    /// One copy per device: those named in `<participants>`, and for a group's common part every other one.
    fn copies(&self, core: &Core) -> Vec<Copy<'_>> {
        let named = self.node.child("participants").map(Stanza::all).unwrap_or_default();
        let mut copies: Vec<Copy<'_>> = named
            .iter()
            .filter_map(|to| Some(Copy { to: core.directory.resolve(&to.jid("jid")?)?, own: to.child("enc") }))
            .collect();
        if let Some(enc) = self.node.child("enc").filter(|_| self.shared().is_none()) {
            let to = self.node.jid("participant").unwrap_or_else(|| self.to.clone());
            copies.extend(core.directory.resolve(&to).map(|to| Copy { to, own: Some(enc) }));
        }
        if let (Some(group), Some(_)) = (&self.group, self.shared()) {
            for member in group.members() {
                let devices = std::iter::once(0).chain(member.account.companions().into_iter().map(|device| device.id));
                for device in devices {
                    let known = copies.iter().any(|copy| is(&copy.to, &member.account, device));
                    if !known && !is_sender(self.session, &member.account, device) {
                        copies.push(Copy { to: Address { account: Arc::clone(&member.account), device }, own: None });
                    }
                }
            }
        }
        copies
    }

    async fn hand_out(&self, core: &Arc<Core>, copy: Copy<'_>, shared: Option<&Node>) {
        let sender = &self.session.account;
        copy.to.account.watched_by(sender);
        sender.watched_by(&copy.to.account);
        if let Some(companion) = copy.to.account.companion(copy.to.device) {
            companion.mailbox.deliver(self.stanza(&copy, shared));
        } else if copy.to.device == 0 {
            let incoming = Incoming {
                id: self.id.clone(),
                sender: Address { account: Arc::clone(sender), device: self.session.companion.id },
                group: self.group.clone(),
                family: Family::of(&self.to),
                own: copy.own.and_then(sealed),
                shared: shared.and_then(Stanza::bytes).map(<[u8]>::to_vec),
            };
            let phone = Phone { core: Arc::clone(core), account: copy.to.account };
            phone.receive(incoming).await;
        }
    }

    /// The stanza a device receives.
    fn stanza(&self, copy: &Copy<'_>, shared: Option<&Node>) -> Node {
        let session = self.session;
        let mut stanza = NodeBuilder::new("message")
            .attr("id", self.id.as_str())
            .attr("type", self.node.text("type").as_deref().unwrap_or("text"))
            .attr("t", unix_seconds())
            .attr("notify", session.account.name.as_str());
        for key in KEPT {
            if let Some(value) = self.node.attrs.get(key) {
                stanza = stanza.attr(key, value.clone());
            }
        }
        stanza = self.addressed(stanza, &copy.to.account);
        let kept = self.node.all().iter().filter(|child| KEPT_CHILDREN.contains(&child.tag.as_ref()));
        stanza.children(copy.own.into_iter().chain(shared).chain(kept).cloned()).build()
    }

    fn addressed(&self, stanza: NodeBuilder, recipient: &Account) -> NodeBuilder {
        let sender = &self.session.account;
        let device = self.session.companion.id;
        if let Some(group) = &self.group {
            let family = group.addressing.family();
            let other = if family == Family::Number { "participant_lid" } else { "participant_pn" };
            return stanza
                .attr("from", group.jid())
                .attr("participant", sender.device_jid(family, device))
                .attr(other, sender.device_jid(family.other(), device))
                .attr("addressing_mode", group.addressing.as_str());
        }
        if self.to.is_status_broadcast() {
            return stanza.attr("from", self.to.clone()).attr("participant", sender.device_jid(Family::Number, device));
        }
        let family = Family::of(&self.to);
        let other = if family == Family::Number { "sender_lid" } else { "sender_pn" };
        let stanza = stanza
            .attr("from", sender.device_jid(family, device))
            .attr(other, sender.device_jid(family.other(), device));
        let peer = self.node.text("category").as_deref() == Some("peer");
        if recipient.number == sender.number && !peer {
            return stanza.attr("recipient", self.to.to_non_ad());
        }
        stanza
    }
}

fn sealed(enc: &Node) -> Option<(Seal, Vec<u8>)> {
    Some((Seal::parse(&enc.text("type")?)?, enc.bytes()?.to_vec()))
}

fn is(address: &Address, account: &Account, device: u16) -> bool {
    address.device == device && address.account.number == account.number
}

fn is_sender(session: &Session, account: &Account, device: u16) -> bool {
    session.companion.id == device && session.account.number == account.number
}
