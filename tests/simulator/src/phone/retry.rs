//! Retries in both directions: a device that cannot read a phone's message, a phone that cannot read a device's.
//!
//! A retry receipt names the message, how often it was asked for, and may carry the asker's keys (whatsapp-rust 0.7.0
//! `src/retry.rs`, `Client::send_retry_receipt`). Invariant: a message is made again for the device that asked, under
//! its old id, in a fresh session, and at most [`MOST_RETRIES`] times.

use std::sync::Arc;

use whatsapp_rust::wacore::iq::prekeys::{OneTimePreKeyNode, SignedPreKeyNode};
use whatsapp_rust::wacore::libsignal::protocol::{IdentityKey, PreKeyBundle, PublicKey, SignalProtocolError};
use whatsapp_rust::wacore::messages::{MessageUtils, wrap_device_sent};
use whatsapp_rust::wacore::protocol::ProtocolNode as _;
use whatsapp_rust::wacore::send::media_type_from_message;

use super::handset::Outgoing;
use super::keys::address;
use super::receive::Incoming;
use super::send::{enc, seal, sender_key_message};
use super::{Phone, PhoneError};
use crate::account::{Account, Companion};
use crate::directory::{Address, Chat};
use crate::wire::{Node, NodeBuilder, Stanza as _, big_endian, blob, parent, unix_seconds};

/// How often a message is made again (`MAX_RETRY_COUNT` of wacore 0.7.0).
const MOST_RETRIES: u8 = 5;

/// A device's wish for a message it could not read.
pub(crate) struct RetryRequest {
    pub(crate) from: Address,
    pub(crate) id: String,
    pub(crate) count: u8,
    /// The device's keys, if it sent them along.
    pub(crate) keys: Option<Node>,
}

impl RetryRequest {
    /// Reads a `<receipt type="retry">`.
    pub(crate) fn parse(from: Address, receipt: &Node) -> Option<Self> {
        let retry = receipt.child("retry")?;
        Some(Self {
            from,
            id: retry.text("id").or_else(|| receipt.text("id"))?.into_owned(),
            count: retry.number("count").unwrap_or(1),
            keys: receipt.child("keys").is_some().then(|| receipt.clone()),
        })
    }
}

impl Phone {
    /// Makes a message of this phone's again for the device that asked.
    pub(crate) async fn resend(&self, request: RetryRequest) -> Result<(), PhoneError> {
        let unknown = || PhoneError::UnknownMessage(request.id.clone());
        let Outgoing { chat, message } = self.account.handset.outgoing(&request.id).ok_or_else(unknown)?;
        if request.count >= MOST_RETRIES {
            tracing::warn!(id = %request.id, count = request.count, "a device asked for a message too often");
            return Ok(());
        }
        let Address { account, device } = &request.from;
        let companion = account.companion(*device).ok_or(PhoneError::UnknownDevice(*device))?;
        let place = self.place(&chat)?;
        let mut keys = self.account.handset.keys.lock().await;
        let remote = address(&account.number, *device);
        keys.forget(&remote);
        if let Some(sent) = &request.keys {
            keys.establish(&remote, &bundle_of(sent, &companion)?).await?;
        }
        let mut copy = (*message).clone();
        let stanza = match &place {
            Chat::Group(group) => {
                let distribution = keys.distribute(&group.id, &address(self.number(), 0)).await?;
                copy.sender_key_distribution_message =
                    sender_key_message(group, distribution).sender_key_distribution_message;
                self.grouped(group, &request.id, &message)
            }
            Chat::Person(person) if account.number == self.account.number => {
                copy = wrap_device_sent(copy, person.jid(self.family()).to_string());
                self.direct(&request.id, &message, Some(person))
            }
            Chat::Person(_) => self.direct(&request.id, &message, None),
        };
        let sealed = seal(&mut keys, account, &companion, &MessageUtils::encode_and_pad(&copy)).await?;
        let enc = enc(sealed, media_type_from_message(&message), request.count);
        companion.mailbox.deliver(stanza.children([enc]).build());
        Ok(())
    }

    /// Asks the sending device for a message this phone could not read.
    pub(super) async fn ask_again(&self, incoming: &Incoming) {
        let Some(companion) = incoming.sender.account.companion(incoming.sender.device) else { return };
        let Some(count) = self.account.handset.count_retry(&incoming.id) else { return };
        let bundle = self.account.handset.keys.lock().await.bundle();
        let keys = bundle.map_err(PhoneError::from).and_then(|bundle| Ok(keys_node(&bundle)?));
        let Ok(keys) = keys else { return };
        let retry = NodeBuilder::new("retry")
            .attr("v", "1")
            .attr("id", incoming.id.as_str())
            .attr("t", unix_seconds())
            .attr("count", u32::from(count));
        let receipt = NodeBuilder::new("receipt")
            .attr("id", incoming.id.as_str())
            .attr("type", "retry")
            .attr("t", unix_seconds());
        let receipt = self.addressed(receipt, incoming);
        let registration = blob("registration", self.account.registration.to_be_bytes());
        companion.mailbox.deliver(receipt.children([retry.build(), registration, keys]).build());
    }

    fn addressed(&self, receipt: NodeBuilder, incoming: &Incoming) -> NodeBuilder {
        match &incoming.group {
            Some(group) => {
                receipt.attr("from", group.jid()).attr("participant", self.account.jid(group.addressing.family()))
            }
            None => receipt.attr("from", self.account.jid(incoming.family)),
        }
    }
}

/// The `<keys>` of a retry receipt: what a session with this phone is started from.
fn keys_node(bundle: &PreKeyBundle) -> Result<Node, SignalProtocolError> {
    let mut children =
        vec![blob("type", [5]), blob("identity", bundle.identity_key()?.public_key().public_key_bytes().to_vec())];
    if let (Some(id), Some(public)) = (bundle.pre_key_id()?, bundle.pre_key_public()?) {
        children.push(OneTimePreKeyNode::new(id.into(), public.public_key_bytes().to_vec()).into_node());
    }
    let signed = SignedPreKeyNode::new(
        bundle.signed_pre_key_id()?.into(),
        bundle.signed_pre_key_public()?.public_key_bytes().to_vec(),
        bundle.signed_pre_key_signature()?.to_vec(),
    );
    children.push(signed.into_node());
    Ok(parent("keys", children))
}

/// The bundle in a device's retry receipt.
fn bundle_of(receipt: &Node, companion: &Companion) -> Result<PreKeyBundle, PhoneError> {
    let missing = |part: &str| PhoneError::Key(format!("the retry receipt lacks {part}"));
    let keys = receipt.child("keys").ok_or_else(|| missing("keys"))?;
    let public = |bytes: Option<&[u8]>, part: &str| -> Result<PublicKey, PhoneError> {
        let bytes = bytes.ok_or_else(|| missing(part))?;
        PublicKey::from_djb_public_key_bytes(bytes).map_err(|error| PhoneError::Key(error.to_string()))
    };
    let id = |node: &Node| node.child_bytes("id").and_then(big_endian);
    let signed = keys.child("skey").ok_or_else(|| missing("skey"))?;
    let one_time = match keys.child("key") {
        Some(key) => {
            let id = id(key).ok_or_else(|| missing("key id"))?;
            Some((id.into(), public(key.child_bytes("value"), "key value")?))
        }
        None => None,
    };
    let bundle = PreKeyBundle::new(
        receipt.child_bytes("registration").and_then(big_endian).unwrap_or(companion.registration),
        0.into(),
        one_time,
        id(signed).ok_or_else(|| missing("skey id"))?.into(),
        public(signed.child_bytes("value"), "skey value")?,
        signed.child_bytes("signature").ok_or_else(|| missing("skey signature"))?.to_vec(),
        IdentityKey::new(public(keys.child_bytes("identity"), "identity")?),
    )?;
    Ok(bundle)
}

impl Account {
    /// The phone's bundle, in the shape of a pre-key answer.
    pub(crate) async fn phone_bundle(self: &Arc<Self>) -> Result<PreKeyBundle, SignalProtocolError> {
        self.handset.keys.lock().await.bundle()
    }
}
