//! What a phone does with a message a linked device sent to it.
//!
//! Invariant: a phone answers every message exactly once: with a delivery receipt if it could read it, with a retry
//! request if it could not.

use std::sync::Arc;

use whatsapp_rust::wacore::libsignal::protocol::SignalProtocolError;
use whatsapp_rust::wacore::messages::{decode_plaintext, unwrap_device_sent};

use super::handset::{Received, Ticks};
use super::keys::{Keys, Seal, address};
use super::send::text_of;
use super::{Phone, PhoneError};
use crate::account::{Family, lock};
use crate::directory::Address;
use crate::group::GroupState;
use crate::receipt::{Place, Report};
use crate::wire::{unix_millis, wa};

/// A message on its way from a companion to a phone.
pub(crate) struct Incoming {
    pub(crate) id: String,
    pub(crate) sender: Address,
    /// The group it was sent to; direct otherwise.
    pub(crate) group: Option<Arc<GroupState>>,
    /// The family of JID the sender wrote to.
    pub(crate) family: Family,
    /// What is encrypted for this phone alone.
    pub(crate) own: Option<(Seal, Vec<u8>)>,
    /// What is encrypted for the whole group.
    pub(crate) shared: Option<Vec<u8>>,
}

impl Phone {
    /// Decrypts, files and confirms a message from a linked device, of this account or another.
    pub(crate) async fn receive(&self, incoming: Incoming) {
        match self.open(&incoming).await {
            Ok(messages) => {
                for message in messages {
                    self.file(&incoming, message).await;
                }
            }
            Err(SignalProtocolError::DuplicatedMessage(..)) => {
                tracing::debug!(id = %incoming.id, "a phone was sent a message it has already");
            }
            Err(error) => {
                tracing::debug!(id = %incoming.id, %error, "a phone cannot decrypt a message and asks for it again");
                self.ask_again(&incoming).await;
            }
        }
    }

    async fn open(&self, incoming: &Incoming) -> Result<Vec<wa::Message>, SignalProtocolError> {
        let remote = address(&incoming.sender.account.number, incoming.sender.device);
        let mut keys = self.account.handset.keys.lock().await;
        let mut messages = Vec::new();
        if let Some((seal, bytes)) = &incoming.own {
            let message = read(&keys.open(&remote, *seal, bytes).await?)?;
            self.learn_sender_key(&mut keys, incoming, &message).await?;
            messages.push(message);
        }
        if let (Some(group), Some(bytes)) = (&incoming.group, &incoming.shared) {
            messages.push(read(&keys.open_group(&group.id, &remote, bytes).await?)?);
        }
        Ok(messages)
    }

    async fn learn_sender_key(
        &self,
        keys: &mut Keys,
        incoming: &Incoming,
        message: &wa::Message,
    ) -> Result<(), SignalProtocolError> {
        let distribution = message.sender_key_distribution_message.as_option();
        let distribution = distribution.and_then(|message| message.axolotl_sender_key_distribution_message.as_deref());
        if let (Some(group), Some(distribution)) = (&incoming.group, distribution) {
            let remote = address(&incoming.sender.account.number, incoming.sender.device);
            keys.learn(&group.id, &remote, distribution).await?;
        }
        Ok(())
    }

    async fn file(&self, incoming: &Incoming, message: wa::Message) {
        let destination = message.device_sent_message.as_option().and_then(|copy| copy.destination_jid.clone());
        let mut message = unwrap_device_sent(message);
        if let Some(protocol) = message.protocol_message.as_option()
            && incoming.sender.account.number == self.account.number
            && self.serve_own_device(incoming.sender.device, protocol).await
        {
            return;
        }
        message.sender_key_distribution_message.take();
        if message == (wa::Message { message_context_info: message.message_context_info.clone(), ..Default::default() })
        {
            return;
        }
        let from_me = incoming.sender.account.number == self.account.number;
        self.account.handset.receive(Received {
            id: incoming.id.clone(),
            chat: self.chat_of(incoming, destination.as_deref()),
            from: incoming.sender.account.jid(Family::Number).to_string(),
            text: text_of(&message),
            message: Arc::new(message),
            at_ms: unix_millis(),
            from_me,
            from_device: incoming.sender.device,
        });
        if !from_me {
            self.confirm(incoming);
        }
    }

    fn confirm(&self, incoming: &Incoming) {
        let ids = [incoming.id.clone()];
        let place = match &incoming.group {
            Some(group) => Place::Group(group),
            None => Place::Direct(incoming.family),
        };
        let report = Report { reader: &self.account, device: 0, ids: &ids, ticks: Ticks::Delivered, kind: None, place };
        report.tell(&incoming.sender.account);
    }

    fn chat_of(&self, incoming: &Incoming, destination: Option<&str>) -> String {
        if let Some(group) = &incoming.group {
            return group.jid().to_string();
        }
        let destination = destination.and_then(|jid| self.core.directory.resolve(&jid.parse().ok()?));
        let person = destination.map_or_else(|| Arc::clone(&incoming.sender.account), |address| address.account);
        person.jid(Family::Number).to_string()
    }

    /// Answers a request of one of the phone's own devices; `false` if it was none.
    async fn serve_own_device(&self, device: u16, request: &wa::message::ProtocolMessage) -> bool {
        use wa::message::protocol_message::Type;
        match request.r#type {
            Some(kind) if kind == Type::APP_STATE_SYNC_KEY_REQUEST => {
                if let Err(error) = self.share_settings_key(device).await {
                    tracing::warn!(device, %error, "a phone cannot share its settings key");
                }
                true
            }
            Some(kind) if kind == Type::PEER_DATA_OPERATION_REQUEST_MESSAGE => {
                tracing::debug!(device, "a phone ignores a request for message data");
                true
            }
            _ => false,
        }
    }

    /// Gives one of the phone's own devices the key of the account's settings.
    pub(crate) async fn share_settings_key(&self, device: u16) -> Result<(), PhoneError> {
        let companion = self.account.companion(device).ok_or(PhoneError::UnknownDevice(device))?;
        let share = lock(&self.account.appstate).key_share(self.account.raw_id);
        self.send_peer(&companion, share).await
    }
}

fn read(plaintext: &[u8]) -> Result<wa::Message, SignalProtocolError> {
    decode_plaintext(plaintext, 2).map_err(|error| SignalProtocolError::InvalidArgument(error.to_string()))
}
