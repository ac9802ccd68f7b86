//! Linked devices coming and going: lists for those who ask, notifications for those who know an account.
//!
//! Contacts are told by a `devices` notification, the account's own devices by `account_sync` (wacore 0.7.0
//! `src/stanza/devices.rs`, whatsapp-rust `src/handlers/notification/device.rs`). Invariant: whoever asked for a list
//! or wrote to the account hears of every later change to it.

use std::sync::Arc;

use whatsapp_rust::wacore::messages::MessageUtils;

use crate::account::{Account, Companion, Family};
use crate::linking::Linked;
use crate::mailbox::{Out, post};
use crate::network::Core;
use crate::phone::Phone;
use crate::wire::{Node, NodeBuilder, SERVER, parent, random_hex, unix_seconds};

/// A notification from the server itself.
pub(crate) fn server_notification(kind: &'static str, children: impl IntoIterator<Item = Node>) -> Node {
    NodeBuilder::new("notification")
        .attr("from", SERVER)
        .attr("type", kind)
        .attr("id", random_hex(8))
        .attr("t", unix_seconds())
        .children(children)
        .build()
}

/// The `<devices>` of a usync answer.
pub(crate) fn listing(account: &Account) -> Node {
    let mut devices = vec![NodeBuilder::new("device").attr("id", 0u32).build()];
    for companion in account.companions() {
        let id = u32::from(companion.id);
        devices.push(NodeBuilder::new("device").attr("id", id).attr("key-index", id).build());
    }
    let list = NodeBuilder::new("device-list").attr("hash", hash(account)).children(devices).build();
    parent("devices", [list, key_index_list(account)])
}

/// The hash by which two sides compare their idea of an account's devices.
pub(crate) fn hash(account: &Account) -> String {
    let companions = account.companions();
    let jids: Vec<_> = std::iter::once(0)
        .chain(companions.iter().map(|companion| companion.id))
        .map(|device| account.device_jid(Family::Number, device))
        .collect();
    MessageUtils::participant_list_hash(&jids).unwrap_or_default()
}

fn key_index_list(account: &Account) -> Node {
    let node = NodeBuilder::new("key-index-list").attr("ts", account.devices_changed_at());
    match account.signed_device_list() {
        Ok(list) => node.bytes(list).build(),
        Err(error) => {
            tracing::error!(%error, "a device list cannot be signed");
            node.build()
        }
    }
}

fn device(account: &Account, id: u16) -> Node {
    NodeBuilder::new("device")
        .attr("jid", account.device_jid(Family::Number, id))
        .attr("lid", account.device_jid(Family::Lid, id))
        .attr("key-index", u32::from(id))
        .build()
}

impl Core {
    /// A client signed its link: the device exists from now on.
    pub(crate) async fn complete_link(self: &Arc<Self>, linked: Linked) {
        let Linked { account, companion, done } = linked;
        let id = companion.id;
        account.link(companion);
        tracing::info!(device = id, "a device was linked");
        let phone = Phone { core: Arc::clone(self), account: Arc::clone(&account) };
        if let Err(error) = phone.share_settings_key(id).await {
            tracing::warn!(%error, "a phone cannot share its settings key with a new device");
        }
        self.tell_devices(&account, "add", id);
        let _ = done.send(Ok(id));
    }

    /// Unlinks a device and ends its connection; `false` if there is none.
    pub(crate) fn unlink(&self, account: &Arc<Account>, id: u16) -> bool {
        let Some(companion) = account.unlink(id) else { return false };
        tracing::info!(device = id, "a device was unlinked");
        expel(&companion);
        self.tell_devices(account, "remove", id);
        true
    }

    /// Tells an account's contacts and its own other devices of a change.
    fn tell_devices(&self, account: &Arc<Account>, operation: &'static str, id: u16) {
        for number in account.watchers() {
            let Some(watcher) = self.directory.by_number(&number) else { continue };
            for companion in watcher.companions() {
                companion.mailbox.deliver(change(account, operation, id));
            }
        }
        for companion in account.companions() {
            if companion.id != id {
                companion.mailbox.deliver(own_list(account));
            }
        }
    }
}

/// `<stream:error code="401"><conflict type="device_removed"/>`, then the end.
fn expel(companion: &Companion) {
    companion.mailbox.clear();
    if let Some(outlet) = companion.mailbox.outlet() {
        let conflict = NodeBuilder::new("conflict").attr("type", "device_removed").build();
        post(&outlet, NodeBuilder::new("stream:error").attr("code", "401").children([conflict]).build());
        let _ = outlet.send(Out::Close);
    }
}

fn change(account: &Account, operation: &'static str, id: u16) -> Node {
    let operation = NodeBuilder::new(operation)
        .attr("device_hash", hash(account))
        .children([device(account, id), key_index_list(account)]);
    NodeBuilder::new("notification")
        .attr("from", account.jid(Family::Number))
        .attr("lid", account.jid(Family::Lid))
        .attr("type", "devices")
        .attr("id", random_hex(8))
        .attr("t", unix_seconds())
        .children([operation.build()])
        .build()
}

fn own_list(account: &Account) -> Node {
    let mut children = vec![NodeBuilder::new("device").attr("jid", account.jid(Family::Number)).build()];
    children.extend(account.companions().iter().map(|companion| device(account, companion.id)));
    children.push(key_index_list(account));
    let devices = NodeBuilder::new("devices").attr("dhash", hash(account)).children(children).build();
    NodeBuilder::new("notification")
        .attr("from", account.jid(Family::Number))
        .attr("type", "account_sync")
        .attr("id", random_hex(8))
        .attr("t", unix_seconds())
        .children([devices])
        .build()
}
