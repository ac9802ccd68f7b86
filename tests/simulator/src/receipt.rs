//! Receipts: telling the author of a message, on all of its devices, how far it got; and routing retry requests.
//!
//! A delivery from a background device (`type="inactive"`) settles the message but raises no ticks, as on WhatsApp.
//! Invariant: ticks of a phone rise here and nowhere else, and never fall.

use std::sync::Arc;

use crate::account::{Account, Companion, Family};
use crate::directory::Address;
use crate::group::GroupState;
use crate::mailbox::Class;
use crate::network::Core;
use crate::phone::{Phone, RetryRequest, Ticks};
use crate::server::socket::Session;
use crate::wire::{Jid, JidExt as _, Node, NodeBuilder, Stanza as _, parent, unix_seconds};

/// In which chat the messages were, and so how the reader is named.
#[derive(Clone, Copy)]
pub(crate) enum Place<'a> {
    /// A direct chat addressed by this family of JID.
    Direct(Family),
    Group(&'a GroupState),
}

/// What became of some messages of one author.
pub(crate) struct Report<'a> {
    pub(crate) reader: &'a Account,
    /// The reader's device.
    pub(crate) device: u16,
    pub(crate) ids: &'a [String],
    pub(crate) ticks: Ticks,
    /// The receipt's `type`; none for a delivery.
    pub(crate) kind: Option<&'a str>,
    pub(crate) place: Place<'a>,
}

impl Report<'_> {
    /// Raises the ticks on the author's phone and queues the receipt for its linked devices.
    pub(crate) fn tell(&self, author: &Account) {
        for id in self.ids {
            author.handset.tick(id, self.ticks);
        }
        for companion in author.companions() {
            if let Some(receipt) = self.receipt() {
                companion.mailbox.deliver(receipt);
            }
        }
    }

    fn receipt(&self) -> Option<Node> {
        let (first, more) = self.ids.split_first()?;
        let mut receipt = NodeBuilder::new("receipt").attr("id", first.as_str()).attr("t", unix_seconds());
        receipt = match self.place {
            Place::Direct(family) => receipt.attr("from", self.reader.device_jid(family, self.device)),
            Place::Group(group) => {
                let family = group.addressing.family();
                let receipt =
                    receipt.attr("from", group.jid()).attr("participant", self.reader.device_jid(family, self.device));
                match family {
                    Family::Lid => receipt.attr("participant_pn", self.reader.jid(Family::Number)),
                    Family::Number => receipt,
                }
            }
        };
        if let Some(kind) = self.kind {
            receipt = receipt.attr("type", kind);
        }
        if !more.is_empty() {
            let items = more.iter().map(|id| NodeBuilder::new("item").attr("id", id.as_str()).build());
            receipt = receipt.children([parent("list", items)]);
        }
        Some(receipt.build())
    }
}

/// Takes in a `<receipt>` from a linked device: settles, acknowledges, passes on.
pub(crate) async fn take(core: &Arc<Core>, session: &Session, receipt: &Node) {
    let (Some(id), Some(to)) = (receipt.text("id"), receipt.jid("to")) else {
        tracing::debug!("a receipt without id or addressee was dropped");
        return;
    };
    let kind = receipt.text("type");
    let kind = kind.as_deref();
    let ids = ids_of(receipt, &id);
    if !matches!(kind, Some("retry" | "enc_rekey_retry")) {
        for id in &ids {
            session.companion.mailbox.settle(Class::Message, id, Some(&to));
        }
    }
    let mut ack = NodeBuilder::new("ack").attr("class", "receipt").attr("id", id.as_ref()).attr("from", to.clone());
    if let Some(kind) = kind {
        ack = ack.attr("type", kind);
    }
    session.reply(ack.build());
    if receipt.child("offer").is_some() {
        // The device rings; a call has no ticks.
        return;
    }
    match kind {
        Some("retry") => ask_for_retry(core, session, receipt, &to).await,
        None => pass_on(core, session, receipt, &to, &ids, Ticks::Delivered),
        Some("read" | "played") => pass_on(core, session, receipt, &to, &ids, Ticks::Read),
        Some("inactive" | "sender" | "peer_msg" | "read-self" | "played-self" | "hist_sync" | "server-error") => {}
        Some(other) => core.unanswered(format!("receipt:{other}")),
    }
}

fn ids_of(receipt: &Node, first: &str) -> Vec<String> {
    let listed = receipt.child("list").map(crate::wire::Stanza::all).unwrap_or_default();
    std::iter::once(first.to_owned())
        .chain(listed.iter().filter_map(|item| item.text("id").map(std::borrow::Cow::into_owned)))
        .collect()
}

fn pass_on(core: &Core, session: &Session, receipt: &Node, to: &Jid, ids: &[String], ticks: Ticks) {
    let group = to.is_group().then(|| core.directory.group(to.user.as_str())).flatten();
    let author = if to.is_group() { receipt.jid("participant") } else { Some(to.clone()) };
    let Some(author) = author.and_then(|author| core.directory.resolve(&author)) else { return };
    if author.account.number == session.account.number {
        return;
    }
    let kind = receipt.text("type");
    let place = match &group {
        Some(group) => Place::Group(group),
        None => Place::Direct(Family::of(to)),
    };
    let report =
        Report { reader: &session.account, device: session.companion.id, ids, ticks, kind: kind.as_deref(), place };
    report.tell(&author.account);
}

/// A linked device could not read a message: asks the device that made it, phone or companion.
async fn ask_for_retry(core: &Arc<Core>, session: &Session, receipt: &Node, to: &Jid) {
    let author = if to.is_group() { receipt.jid("participant") } else { Some(to.clone()) };
    let Some(author) = author.and_then(|author| core.directory.resolve(&author)) else { return };
    if author.device == 0 {
        let from = Address { account: Arc::clone(&session.account), device: session.companion.id };
        let Some(request) = RetryRequest::parse(from, receipt) else { return };
        let phone = Phone { core: Arc::clone(core), account: author.account };
        if let Err(error) = phone.resend(request).await {
            tracing::debug!(%error, "a phone cannot send a message again");
        }
    } else if let Some(companion) = author.account.companion(author.device) {
        forward_retry(session, receipt, to, &companion);
    }
}

fn forward_retry(session: &Session, receipt: &Node, to: &Jid, companion: &Companion) {
    let own = session.account.device_jid(
        receipt.jid("participant").as_ref().map_or_else(|| Family::of(to), Family::of),
        session.companion.id,
    );
    let mut forwarded = receipt.clone();
    forwarded.attrs = whatsapp_rust::wacore_binary::node::Attrs::new();
    for key in ["id", "type", "recipient", "category"] {
        if let Some(value) = receipt.attrs.get(key) {
            forwarded.attrs.insert(key, value.clone());
        }
    }
    forwarded.attrs.insert("t", unix_seconds());
    if to.is_group() {
        forwarded.attrs.insert("from", to.clone());
        forwarded.attrs.insert("participant", own);
    } else {
        forwarded.attrs.insert("from", own);
    }
    companion.mailbox.deliver(forwarded);
}
