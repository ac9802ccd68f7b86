//! A simulated phone, as tests and demos hold it: it links devices, writes, reads, and sees ticks.
//!
//! Every call acts as the phone's owner would and returns when the network took it. Phones are always reachable:
//! they decrypt and confirm what they are sent at once. Invariant: a handle is cheap to clone and names the same
//! phone for as long as the network runs.

mod gestures;
pub(crate) mod handset;
pub(crate) mod keys;
mod receive;
mod retry;
mod send;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};
use whatsapp_rust::wacore::libsignal::protocol::SignalProtocolError;

pub use self::handset::{Received, Ticks};
pub(crate) use self::receive::Incoming;
pub(crate) use self::retry::RetryRequest;
use crate::account::{Account, Family, lock};
use crate::directory::Chat;
use crate::linking::{LinkError, QrText, TypedCode};
use crate::network::Core;
use crate::presence;
use crate::receipt::{Place, Report};
use crate::wire::{NodeBuilder, message_id, wa};

/// How long a client has to answer a linking.
const LINKING: Duration = Duration::from_secs(30);

/// Why a phone could not do what it was asked to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PhoneError {
    /// A device was not linked.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// Nobody has this address.
    #[error("there is no such chat on this network: {0}")]
    UnknownChat(String),
    /// The phone is not in the group.
    #[error("this phone is no member of that group")]
    NotAMember,
    /// The phone never received this message.
    #[error("this phone has no message {0} in that chat")]
    UnknownMessage(String),
    /// The phone has no such linked device.
    #[error("this phone has no linked device {0}")]
    UnknownDevice(u16),
    /// Signal failed.
    #[error("a key could not be used: {0}")]
    Key(String),
}

impl From<SignalProtocolError> for PhoneError {
    fn from(error: SignalProtocolError) -> Self {
        Self::Key(error.to_string())
    }
}

/// A phone of a running network.
#[derive(Clone)]
pub struct Phone {
    pub(crate) core: Arc<Core>,
    pub(crate) account: Arc<Account>,
}

impl Phone {
    /// The phone number, digits only.
    pub fn number(&self) -> &str {
        &self.account.number
    }

    /// The LID, without its server part.
    pub fn lid(&self) -> &str {
        &self.account.lid
    }

    /// The JID by phone number.
    pub fn jid(&self) -> String {
        self.account.jid(Family::Number).to_string()
    }

    /// The push name.
    pub fn name(&self) -> String {
        self.account.name.clone()
    }

    /// The verified name, if it is a business.
    pub fn business(&self) -> Option<String> {
        self.account.business.clone()
    }

    /// Scans a client's QR text; resolves to the new device's id once the client has signed.
    pub async fn scan(&self, qr: &str) -> Result<u16, PhoneError> {
        let qr = QrText::parse(qr)?;
        let linking = self.core.directory.linking(&qr.reference).ok_or(LinkError::UnknownQr)?;
        let outcome = linking.scanned(&qr, &self.account)?;
        drop(linking);
        Ok(linked(outcome).await?)
    }

    /// Types the eight-character code a client shows (`ABCD-1234` or `ABCD1234`); resolves like [`Self::scan`].
    pub async fn enter_code(&self, code: &str) -> Result<u16, PhoneError> {
        let code = TypedCode::normalise(code)?;
        let request = self.core.directory.take_code(self.number()).ok_or(LinkError::UnknownCode)?;
        let wrapped = request.wrapped;
        let typed = tokio::task::spawn_blocking(move || TypedCode::new(&code, &wrapped))
            .await
            .map_err(|error| LinkError::Key(error.to_string()))??;
        let linking = request.linking.upgrade().ok_or(LinkError::Refused)?;
        let outcome = linking.typed(&self.account, request.reference, typed)?;
        drop(linking);
        Ok(linked(outcome).await?)
    }

    /// Sends a text; `to` is a number or any JID. Answers the message id.
    pub async fn send_text(&self, to: &str, text: &str) -> Result<String, PhoneError> {
        self.send(to, wa::Message { conversation: Some(text.to_owned()), ..Default::default() }).await
    }

    /// Sends any message. Answers the message id.
    pub async fn send(&self, to: &str, message: wa::Message) -> Result<String, PhoneError> {
        let id = message_id();
        self.send_with_id(to, &id, message).await?;
        Ok(id)
    }

    /// Sends any message under a chosen id.
    pub async fn send_with_id(&self, to: &str, id: &str, message: wa::Message) -> Result<(), PhoneError> {
        self.dispatch(to, id, message).await
    }

    /// Encrypts and uploads an image and sends it. Answers the message id.
    pub async fn send_image(&self, to: &str, bytes: Vec<u8>, caption: &str) -> Result<String, PhoneError> {
        let image = self.core.upload_image(&bytes, caption).map_err(PhoneError::Key)?;
        self.send(to, image).await
    }

    /// Marks a received message as read; the sender sees blue ticks.
    pub async fn read(&self, chat: &str, id: &str) -> Result<(), PhoneError> {
        self.notice(chat, id, "read").await
    }

    /// Tells the sender of a received message that it was `read` or `played`.
    async fn notice(&self, chat: &str, id: &str, kind: &str) -> Result<(), PhoneError> {
        let place = self.place(chat)?;
        let message = self.account.handset.find(&place.jid(), id);
        let message = message.ok_or_else(|| PhoneError::UnknownMessage(id.to_owned()))?;
        let number = message.from.split('@').next().unwrap_or_default();
        let author =
            self.core.directory.by_number(number).ok_or_else(|| PhoneError::UnknownChat(message.from.clone()))?;
        let ids = [id.to_owned()];
        let place = match &place {
            Chat::Group(group) => Place::Group(group),
            Chat::Person(_) => Place::Direct(self.family()),
        };
        let report =
            Report { reader: &self.account, device: 0, ids: &ids, ticks: Ticks::Read, kind: Some(kind), place };
        report.tell(&author);
        tokio::task::yield_now().await;
        Ok(())
    }

    /// Shows "typing…" to the others in a chat.
    pub async fn typing(&self, chat: &str) -> Result<(), PhoneError> {
        let place = self.place(chat)?;
        presence::show_typing(&self.account, 0, &place, self.family(), &NodeBuilder::new("composing").build());
        tokio::task::yield_now().await;
        Ok(())
    }

    /// Stops showing "typing…".
    pub async fn stop_typing(&self, chat: &str) -> Result<(), PhoneError> {
        let place = self.place(chat)?;
        presence::show_typing(&self.account, 0, &place, self.family(), &NodeBuilder::new("paused").build());
        tokio::task::yield_now().await;
        Ok(())
    }

    /// Shows as online, or as last seen now, to those who watch.
    pub fn set_available(&self, available: bool) {
        self.account.handset.available.store(available, Ordering::Relaxed);
        self.core.tell_presence(&self.account);
    }

    /// Writes from the LID instead of the number from now on, as migrated accounts do.
    pub fn write_from_lid(&self, on: bool) {
        self.account.handset.writes_from_lid.store(on, Ordering::Relaxed);
    }

    /// Forgets all Signal sessions and sender keys, as after a restored backup: what devices send next cannot be
    /// read until they send it again.
    pub async fn lose_sessions(&self) {
        self.account.handset.keys.lock().await.lose_sessions();
        lock(&self.account.handset.distributed).clear();
    }

    /// Everything received, oldest first (the newest 5,000).
    pub fn inbox(&self) -> Vec<Received> {
        self.account.handset.inbox()
    }

    /// The first received message `pred` accepts, past or future; `None` when the time is up.
    pub async fn wait_for(&self, patience: Duration, pred: impl Fn(&Received) -> bool) -> Option<Received> {
        let deadline = Instant::now() + patience;
        let mut arrivals = self.account.handset.arrivals();
        loop {
            arrivals.mark_unchanged();
            if let Some(message) = self.account.handset.find_by(&pred) {
                return Some(message);
            }
            timeout_at(deadline, arrivals.changed()).await.ok()?.ok()?;
        }
    }

    /// Who types in a chat, as JIDs by phone number.
    pub fn typing_in(&self, chat: &str) -> Vec<String> {
        self.place(chat).map(|place| self.account.handset.typing_in(&place.jid())).unwrap_or_default()
    }

    /// How far a message of this phone got.
    pub fn ticks(&self, id: &str) -> Ticks {
        self.account.handset.ticks(id)
    }

    /// The linked devices.
    pub fn devices(&self) -> Vec<u16> {
        self.account.companions().iter().map(|companion| companion.id).collect()
    }

    /// The linked devices that are connected.
    pub fn online(&self) -> Vec<u16> {
        let companions = self.account.companions();
        companions.iter().filter(|companion| companion.mailbox.is_connected()).map(|companion| companion.id).collect()
    }

    /// How many stanzas wait for this account's devices to settle them, sent or not.
    pub fn unacked(&self) -> usize {
        self.account.companions().iter().map(|companion| companion.mailbox.len()).sum()
    }

    /// How many of them are messages, the ones to these devices by other devices of the account included.
    pub fn unacked_messages(&self) -> usize {
        self.account.companions().iter().map(|companion| companion.mailbox.messages()).sum()
    }

    /// Unlinks a device: its socket ends with `device_removed`, its next login is refused.
    pub async fn unlink(&self, device: u16) -> Result<(), PhoneError> {
        let removed = self.core.unlink(&self.account, device);
        tokio::task::yield_now().await;
        if removed { Ok(()) } else { Err(PhoneError::UnknownDevice(device)) }
    }

    /// The family of JID this phone writes from.
    pub(crate) fn family(&self) -> Family {
        if self.account.handset.writes_from_lid.load(Ordering::Relaxed) { Family::Lid } else { Family::Number }
    }

    /// The chat a user wrote; a group only if the phone is in it.
    fn place(&self, chat: &str) -> Result<Chat, PhoneError> {
        let place = self.core.directory.chat(chat).ok_or_else(|| PhoneError::UnknownChat(chat.to_owned()))?;
        match &place {
            Chat::Group(group) if group.rank_of(self.number()).is_none() => Err(PhoneError::NotAMember),
            _ => Ok(place),
        }
    }
}

impl std::fmt::Debug for Phone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Phone").field(&self.account.number).finish()
    }
}

async fn linked(outcome: tokio::sync::oneshot::Receiver<Result<u16, LinkError>>) -> Result<u16, LinkError> {
    match timeout(LINKING, outcome).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => Err(LinkError::Refused),
        Err(_) => Err(LinkError::TimedOut),
    }
}
