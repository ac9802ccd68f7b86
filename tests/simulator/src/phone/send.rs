//! Writing from a phone: one ciphertext for each linked device of the recipients and of the writer.
//!
//! A direct message is encrypted per device, the writer's own devices get it as `DeviceSentMessage`; a group message
//! is encrypted once by a sender key, which every device is given before (whatsapp-rust 0.7.0 `src/send/`). Other
//! simulated phones get the plaintext. Invariant: encrypting and queueing happen under the phone's lock, so every
//! device receives ciphertexts in the order they were made.

use std::sync::Arc;

use whatsapp_rust::wacore::libsignal::protocol::{IdentityKey, PreKeyBundle, PublicKey, SignalProtocolError};
use whatsapp_rust::wacore::messages::{MessageUtils, wrap_device_sent};
use whatsapp_rust::wacore::proto_helpers::MessageExt as _;
use whatsapp_rust::wacore::send::{media_type_from_message, stanza_type_from_message};

use super::handset::{Outgoing, Received, Ticks};
use super::keys::{Keys, Sealed, address};
use super::{Phone, PhoneError};
use crate::account::{Account, Companion, Family, lock};
use crate::directory::Chat;
use crate::group::GroupState;
use crate::receipt::{Place, Report};
use crate::wire::{MessageField, Node, NodeBuilder, message_id, unix_millis, unix_seconds, wa};

/// Below how many one-time pre-keys a device is told to publish more.
const FEW_PRE_KEYS: usize = 20;

impl Phone {
    /// Sends a message under an id to a number or JID.
    pub(super) async fn dispatch(&self, to: &str, id: &str, message: wa::Message) -> Result<(), PhoneError> {
        let chat = self.place(to)?;
        let message = Arc::new(with_secret(message));
        let outgoing = Outgoing { chat: self.chat_jid(&chat), message: Arc::clone(&message) };
        self.account.handset.remember(id, outgoing);
        self.account.handset.tick(id, Ticks::Sent);
        match chat {
            Chat::Person(person) => self.write_to_person(&person, id, message).await,
            Chat::Group(group) => self.write_to_group(&group, id, message).await,
        }
    }

    /// Sends a protocol message to one of the phone's own devices, outside of any chat.
    pub(crate) async fn send_peer(
        &self,
        companion: &Companion,
        message: wa::message::ProtocolMessage,
    ) -> Result<(), PhoneError> {
        let message = wa::Message { protocol_message: MessageField::some(message), ..Default::default() };
        let mut keys = self.account.handset.keys.lock().await;
        let sealed = seal(&mut keys, &self.account, companion, &MessageUtils::encode_and_pad(&message)).await?;
        let stanza = NodeBuilder::new("message")
            .attr("id", message_id())
            .attr("from", self.account.jid(Family::Number))
            .attr("type", "protocol")
            .attr("category", "peer")
            .attr("t", unix_seconds())
            .children([enc(sealed, None, 0)]);
        companion.mailbox.deliver(stanza.build());
        Ok(())
    }

    async fn write_to_person(&self, to: &Arc<Account>, id: &str, message: Arc<wa::Message>) -> Result<(), PhoneError> {
        to.watched_by(&self.account);
        self.account.watched_by(to);
        let to_self = to.number == self.account.number;
        let mut keys = self.account.handset.keys.lock().await;
        if !to_self {
            let plaintext = MessageUtils::encode_and_pad(&message);
            for companion in to.companions() {
                if let Some(enc) = self.seal_or_log(&mut keys, to, &companion, &plaintext, &message).await {
                    companion.mailbox.deliver(self.direct(id, &message, None).children([enc]).build());
                }
            }
        }
        let own = self.account.companions();
        if !own.is_empty() {
            let copy = wrap_device_sent((*message).clone(), to.jid(self.family()).to_string());
            let plaintext = MessageUtils::encode_and_pad(&copy);
            for companion in own {
                if let Some(enc) = self.seal_or_log(&mut keys, &self.account, &companion, &plaintext, &message).await {
                    companion.mailbox.deliver(self.direct(id, &message, Some(to)).children([enc]).build());
                }
            }
        }
        drop(keys);
        if !to_self {
            self.hand_over(
                to,
                id,
                &self.account.jid(Family::Number).to_string(),
                &message,
                Place::Direct(self.family()),
            );
        }
        Ok(())
    }

    async fn write_to_group(
        &self,
        group: &Arc<GroupState>,
        id: &str,
        message: Arc<wa::Message>,
    ) -> Result<(), PhoneError> {
        let members = group.members();
        let devices: Vec<(Arc<Account>, Arc<Companion>)> = members
            .iter()
            .flat_map(|member| {
                member.account.companions().into_iter().map(|device| (Arc::clone(&member.account), device))
            })
            .collect();
        let own = address(self.number(), 0);
        let mut keys = self.account.handset.keys.lock().await;
        let fresh = self.undistributed(group, &devices, &mut keys);
        let distribution = keys.distribute(&group.id, &own).await?;
        let distribution = MessageUtils::encode_and_pad(&sender_key_message(group, distribution));
        let sealed = keys.seal_group(&group.id, &own, &MessageUtils::encode_and_pad(&message)).await?;
        for (account, companion) in devices {
            let mut children = Vec::with_capacity(2);
            if fresh.contains(&(account.number.clone(), companion.id)) {
                let Some(enc) = self.seal_or_log(&mut keys, &account, &companion, &distribution, &message).await else {
                    continue;
                };
                children.push(enc);
            }
            children.push(enc(sealed.clone(), media_type_from_message(&message), 0));
            companion.mailbox.deliver(self.grouped(group, id, &message).children(children).build());
        }
        drop(keys);
        for member in members.iter().filter(|member| member.account.number != self.account.number) {
            self.hand_over(&member.account, id, &group.jid().to_string(), &message, Place::Group(group));
        }
        Ok(())
    }

    /// Which devices lack this phone's sender key; marks them as having it. A device that left makes a new key.
    fn undistributed(
        &self,
        group: &GroupState,
        devices: &[(Arc<Account>, Arc<Companion>)],
        keys: &mut Keys,
    ) -> std::collections::HashSet<(String, u16)> {
        let present: std::collections::HashSet<_> =
            devices.iter().map(|(account, device)| (account.number.clone(), device.id)).collect();
        let mut distributed = lock(&self.account.handset.distributed);
        let known = distributed.entry(group.id.clone()).or_default();
        if !known.is_subset(&present) {
            keys.rotate(&group.id, &address(self.number(), 0));
            known.clear();
        }
        let fresh = present.difference(known).cloned().collect();
        *known = present;
        fresh
    }

    /// Gives another simulated phone the plaintext; it confirms at once.
    fn hand_over(&self, to: &Arc<Account>, id: &str, chat: &str, message: &Arc<wa::Message>, place: Place<'_>) {
        to.handset.receive(Received {
            id: id.to_owned(),
            chat: chat.to_owned(),
            from: self.account.jid(Family::Number).to_string(),
            text: text_of(message),
            message: Arc::clone(message),
            at_ms: unix_millis(),
            from_me: false,
            from_device: 0,
        });
        let ids = [id.to_owned()];
        let report = Report { reader: to, device: 0, ids: &ids, ticks: Ticks::Delivered, kind: None, place };
        report.tell(&self.account);
    }

    async fn seal_or_log(
        &self,
        keys: &mut Keys,
        owner: &Account,
        companion: &Companion,
        plaintext: &[u8],
        message: &wa::Message,
    ) -> Option<Node> {
        match seal(keys, owner, companion, plaintext).await {
            Ok(sealed) => Some(enc(sealed, media_type_from_message(message), 0)),
            Err(error) => {
                tracing::warn!(device = companion.id, %error, "a phone cannot encrypt for a device");
                None
            }
        }
    }

    /// The outer stanza of a direct message; `to` is set on the copy for the phone's own devices.
    pub(super) fn direct(&self, id: &str, message: &wa::Message, to: Option<&Account>) -> NodeBuilder {
        let family = self.family();
        let other = if family == Family::Number { "sender_lid" } else { "sender_pn" };
        let stanza = self
            .stanza(id, message)
            .attr("from", self.account.jid(family))
            .attr(other, self.account.jid(family.other()));
        match to {
            Some(to) => stanza.attr("recipient", to.jid(family)),
            None => stanza,
        }
    }

    /// The outer stanza of a group message.
    pub(super) fn grouped(&self, group: &GroupState, id: &str, message: &wa::Message) -> NodeBuilder {
        let family = group.addressing.family();
        let other = if family == Family::Number { "participant_lid" } else { "participant_pn" };
        self.stanza(id, message)
            .attr("from", group.jid())
            .attr("participant", self.account.jid(family))
            .attr(other, self.account.jid(family.other()))
            .attr("addressing_mode", group.addressing.as_str())
    }

    fn stanza(&self, id: &str, message: &wa::Message) -> NodeBuilder {
        NodeBuilder::new("message")
            .attr("id", id)
            .attr("type", stanza_type_from_message(message))
            .attr("t", unix_seconds())
            .attr("notify", self.account.name.as_str())
    }
}

/// Encrypts for a linked device, starting a session from its published keys if there is none.
pub(super) async fn seal(
    keys: &mut Keys,
    owner: &Account,
    companion: &Companion,
    plaintext: &[u8],
) -> Result<Sealed, SignalProtocolError> {
    let remote = address(&owner.number, companion.id);
    if !keys.knows(&remote) {
        keys.establish(&remote, &companion.take_bundle()?).await?;
    }
    keys.seal(&remote, plaintext).await
}

/// An `<enc>` element; `count` is the number of the retry, 0 for a first sending.
pub(super) fn enc(sealed: Sealed, media: Option<&'static str>, count: u8) -> Node {
    let mut node = NodeBuilder::new("enc").attr("v", "2").attr("type", sealed.seal.as_str());
    if let Some(media) = media {
        node = node.attr("mediatype", media);
    }
    if count > 0 {
        node = node.attr("count", u32::from(count));
    }
    node.bytes(sealed.bytes).build()
}

/// The message that hands over a sender key.
pub(super) fn sender_key_message(group: &GroupState, distribution: Vec<u8>) -> wa::Message {
    wa::Message {
        sender_key_distribution_message: MessageField::some(wa::message::SenderKeyDistributionMessage {
            group_id: Some(group.jid().to_string()),
            axolotl_sender_key_distribution_message: Some(distribution),
        }),
        ..Default::default()
    }
}

/// A message's text, or the caption of its media.
pub(super) fn text_of(message: &wa::Message) -> Option<String> {
    message.text_content().or_else(|| message.get_caption()).map(str::to_owned)
}

/// Phones put a secret into every message, by which reactions and votes on it are encrypted.
fn with_secret(mut message: wa::Message) -> wa::Message {
    if !message.message_context_info.is_set() {
        message.message_context_info = MessageField::some(wa::MessageContextInfo {
            message_secret: Some(rand::random::<[u8; 32]>().to_vec()),
            ..Default::default()
        });
    }
    message
}

impl Companion {
    /// A bundle to start a session with this device; takes one of its one-time pre-keys, if any is left.
    pub(crate) fn take_bundle(&self) -> Result<PreKeyBundle, SignalProtocolError> {
        let (signed, one_time, left) = {
            let mut keys = lock(&self.keys);
            let one_time = keys.one_time.pop_front();
            (keys.signed.clone(), one_time, keys.one_time.len())
        };
        if one_time.is_some() && left == FEW_PRE_KEYS {
            self.ask_for_pre_keys(left);
        }
        let one_time = match one_time {
            Some((id, public)) => Some((id.into(), PublicKey::from_djb_public_key_bytes(&public)?)),
            None => None,
        };
        PreKeyBundle::new(
            self.registration,
            0.into(),
            one_time,
            signed.id.into(),
            PublicKey::from_djb_public_key_bytes(&signed.public)?,
            signed.signature,
            IdentityKey::new(PublicKey::from_djb_public_key_bytes(&self.identity)?),
        )
    }

    fn ask_for_pre_keys(&self, left: usize) {
        let count = NodeBuilder::new("count").attr("value", left as u64).build();
        self.mailbox.deliver(crate::devices::server_notification("encrypt", [count]));
    }
}
