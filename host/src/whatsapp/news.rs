//! What a running account tells its session: connection, pairing, acknowledgements, receipts, and what happens besides
//! messages.
//!
//! Messages are not among them. They go through the durability hook, which waits until they are stored.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use whatsapp_rust::wacore::types::events::{Event, EventHandler, EventInterest, EventKind};

use super::acks::Acks;
use super::translate;
use crate::model::{Chat, Happening, MessageId, Phone, Receipt};

/// One piece of news.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// A connection attempt begins.
    Dialing,
    /// The attempt failed before it reached the server.
    DialFailed(String),
    /// A QR text to show, and how long it is good for.
    Qr(String, Duration),
    /// All QR texts were used up unscanned.
    QrExhausted {
        /// Whether the client has stopped itself. It stays while a pairing code is still good, which outlives the texts.
        stopped: bool,
    },
    /// An eight-character code to show, and how long it is good for.
    PairCode(String, Duration),
    /// No code is coming, and why.
    PairCodeFailed(String),
    /// The account wants its passkey: WebAuthn request options as JSON.
    PasskeyRequest(String),
    /// The passkey was accepted; the code to compare, when there is one.
    PasskeyConfirm(Option<String>),
    /// A phone linked us.
    Linked {
        /// The account's number.
        phone: Phone,
        /// Our device's address.
        device_jid: String,
        /// The account's hidden address.
        lid: Option<Chat>,
    },
    /// Linking failed, and why.
    PairFailed(String),
    /// Logged in and in step with the server.
    Connected,
    /// The connection ended, and why; the library dials again.
    Disconnected(String),
    /// The account removed this device; its keys are worthless now.
    LoggedOut(String),
    /// Another client took over this device's connection.
    Replaced,
    /// The server will not have us, and trying again would not help.
    Refused(String),
    /// The server finds our version outdated.
    Outdated,
    /// The server answered a send nobody waits for any more; with its refusal code, if it refused.
    LateAck(MessageId, Option<u16>),
    /// A recipient received or read what we sent.
    Receipt(Receipt),
    /// Something else happened: presence, typing, a change of a group, a call. People in it are named as WhatsApp named
    /// them.
    Happened(Box<Happening>),
}

/// Where news goes. Cheap to clone; telling never blocks.
#[derive(Clone, Debug)]
pub(super) struct NewsSender(mpsc::UnboundedSender<News>);

/// A channel for one account's news. Unbounded, because the library's receive path must not wait for us, and
/// small, because the account produces a handful a second at most: what became of its own sends, who types.
pub(super) fn channel() -> (NewsSender, mpsc::UnboundedReceiver<News>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (NewsSender(sender), receiver)
}

impl NewsSender {
    /// Tells. Whoever stopped listening has stopped the session.
    pub(super) fn tell(&self, news: News) {
        let _ = self.0.send(news);
    }
}

/// Listens to the library's events.
pub(super) struct Listener {
    pub(super) news: NewsSender,
    pub(super) acks: Arc<Acks>,
}

impl EventHandler for Listener {
    fn handle_event(&self, event: Arc<Event>) {
        if let Event::ServerAck(ack) = &*event {
            if ack.class.as_deref() == Some("message") {
                self.acked(&ack.id, ack.error.as_deref());
            }
            return;
        }
        if let Event::Disconnected(_) = &*event {
            // No word on them can come any more; the next connection begins with none.
            self.acks.abandon();
        }
        if let Some(news) = news(&event) {
            self.news.tell(news);
        }
    }

    fn interest(&self) -> EventInterest {
        EventInterest::of(&[
            EventKind::Connected,
            EventKind::Disconnected,
            EventKind::PairSuccess,
            EventKind::PairError,
            EventKind::LoggedOut,
            EventKind::PairingQrCode,
            EventKind::PairingCode,
            EventKind::PairingCodeError,
            EventKind::PairingQrCodesExhausted,
            EventKind::QrScannedWithoutMultidevice,
            EventKind::ClientOutdated,
            EventKind::Receipt,
            EventKind::Presence,
            EventKind::ChatPresence,
            EventKind::GroupUpdate,
            EventKind::IncomingCall,
            EventKind::MissedCall,
            EventKind::ServerAck,
            EventKind::StreamReplaced,
            EventKind::TemporaryBan,
            EventKind::ConnectFailure,
            EventKind::StreamError,
            EventKind::PairPasskeyRequest,
            EventKind::PairPasskeyConfirmation,
            EventKind::PairPasskeyError,
        ])
    }
}

impl Listener {
    fn acked(&self, id: &str, error: Option<&str>) {
        // A refusal without a number still is one; 400 is WhatsApp's own word for "bad request".
        let code = error.map(|error| error.parse().unwrap_or(400));
        if !self.acks.settle(id, code) {
            self.news.tell(News::LateAck(MessageId::from(id.to_owned()), code));
        }
    }
}

/// The library's event in our words; `None` for what a session does not need to know.
fn news(event: &Event) -> Option<News> {
    Some(match event {
        Event::Connected(_) => News::Connected,
        Event::Disconnected(ended) => News::Disconnected(ended.reason.to_string()),
        Event::PairingQrCode(qr) => News::Qr(qr.code.clone(), qr.timeout),
        Event::PairingQrCodesExhausted(exhausted) => News::QrExhausted { stopped: exhausted.disconnected },
        Event::PairingCode(pairing) => News::PairCode(translate::pair_code(&pairing.code), pairing.timeout),
        Event::PairingCodeError(failed) => News::PairCodeFailed(failed.error.clone()),
        Event::PairSuccess(pair) => News::Linked {
            phone: pair.id.user.parse().ok()?,
            device_jid: pair.id.to_string(),
            lid: translate::chat(&pair.lid),
        },
        Event::PairError(failed) => News::PairFailed(failed.error.clone()),
        Event::QrScannedWithoutMultidevice(_) => {
            News::PairFailed("the phone's WhatsApp is too old to link devices; update it and scan again".to_owned())
        }
        Event::PairPasskeyRequest(request) => News::PasskeyRequest(request.request_options_json.clone()),
        Event::PairPasskeyConfirmation(confirm) => {
            News::PasskeyConfirm(Some(confirm.code.clone()).filter(|_| !confirm.skip_handoff_ux))
        }
        Event::PairPasskeyError(failed) => News::PairFailed(format!("the passkey step failed: {}", failed.error)),
        Event::LoggedOut(out) => News::LoggedOut(logged_out(out)),
        Event::StreamReplaced(_) => News::Replaced,
        Event::ClientOutdated(_) => News::Outdated,
        Event::TemporaryBan(ban) => News::Refused(format!(
            "WhatsApp has banned this account for {} s: {}; wait it out and send less",
            ban.expire.num_seconds(),
            ban.code
        )),
        Event::ConnectFailure(failure) if !failure.reason.should_reconnect() => {
            News::Refused(format!("WhatsApp refused the connection: {:?}", failure.reason))
        }
        Event::ConnectFailure(failure) => News::Disconnected(format!("WhatsApp answered {:?}", failure.reason)),
        Event::StreamError(error) => {
            // Not the end: WhatsApp says so about single stanzas, too. When it closes the connection, that is news.
            tracing::warn!(code = error.code, "WhatsApp reports a stream error");
            return None;
        }
        Event::Receipt(receipt) => News::Receipt(translate::receipt(receipt)?),
        other => News::Happened(Box::new(translate::happening(other)?)),
    })
}

fn logged_out(out: &whatsapp_rust::wacore::types::events::LoggedOut) -> String {
    let said = out.logout_message.as_ref().and_then(|message| message.subtext.clone());
    said.unwrap_or_else(|| format!("the account removed this device ({:?})", out.reason))
}
