//! A session: one WhatsApp account, linked or to be linked, and how it fares.

use serde::{Deserialize, Serialize};

use super::{Chat, Millis, Phone, SessionId, UserId, WebhookUrl};

/// A session as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// The user it belongs to.
    pub owner: UserId,
    /// The name its user gave it.
    pub name: String,
    /// Its first webhook endpoint, the founding `webhook_url`.
    pub webhook_url: Option<WebhookUrl>,
    /// The linked account; `None` until a phone has scanned.
    pub link: Option<Link>,
    /// Whether it should be running: connect sets it, disconnect and logout clear it.
    pub wanted: bool,
    /// When it was created.
    pub created_at: Millis,
}

/// The WhatsApp account a session is linked to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The account's number.
    pub phone: Phone,
    /// Our device's JID, device part included (`6281381393739:3@s.whatsapp.net`).
    pub device_jid: String,
    /// The account's hidden address, when WhatsApp told it.
    pub lid: Option<Chat>,
    /// When it was linked.
    pub linked_at: Millis,
}

/// How a session fares right now. Lives in memory; a watch channel carries every change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Status {
    /// Not running.
    #[default]
    Stopped,
    /// On its way to WhatsApp.
    Connecting {
        /// Connection attempts since it last stood, 1 for the first.
        attempt: u32,
        /// Why the last attempt failed, in words for the user.
        last_error: Option<String>,
    },
    /// Waiting for somebody to link it.
    Pairing(Pairing),
    /// Linked and connected.
    Connected {
        /// Since when.
        since: Millis,
    },
    /// Nobody linked it in time; connect again for fresh codes.
    PairingExpired,
    /// The account removed this device; it has to be linked anew.
    LoggedOut {
        /// What WhatsApp said.
        reason: String,
    },
    /// Stopped for a reason that trying again would not mend.
    Failed {
        /// What WhatsApp said, and what to do.
        reason: String,
    },
}

/// A status without its particulars.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionState {
    /// Not running.
    Stopped,
    /// On its way to WhatsApp.
    Connecting,
    /// Waiting for somebody to link it.
    Pairing,
    /// Linked and connected.
    Connected,
    /// Nobody linked it in time.
    PairingExpired,
    /// The account removed this device.
    LoggedOut,
    /// Stopped for a reason that trying again would not mend.
    Failed,
}

impl Status {
    /// The status without its particulars.
    pub fn state(&self) -> SessionState {
        match self {
            Self::Stopped => SessionState::Stopped,
            Self::Connecting { .. } => SessionState::Connecting,
            Self::Pairing(_) => SessionState::Pairing,
            Self::Connected { .. } => SessionState::Connected,
            Self::PairingExpired => SessionState::PairingExpired,
            Self::LoggedOut { .. } => SessionState::LoggedOut,
            Self::Failed { .. } => SessionState::Failed,
        }
    }

    /// What WhatsApp or the network said, where it came to this for a reason.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Connecting { last_error, .. } => last_error.as_deref(),
            Self::LoggedOut { reason } | Self::Failed { reason } => Some(reason),
            Self::Stopped | Self::Pairing(_) | Self::Connected { .. } | Self::PairingExpired => None,
        }
    }

    /// Whether messages can be sent now.
    pub fn is_connected(&self) -> bool {
        matches!(self, Self::Connected { .. })
    }

    /// Whether the session has ended until somebody connects it again.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Stopped | Self::PairingExpired | Self::LoggedOut { .. } | Self::Failed { .. })
    }
}

/// What the user must do to link a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "method", rename_all = "snake_case")]
pub enum Pairing {
    /// Scan this text as a QR code in WhatsApp, Linked devices. Whoever sees it can link the account.
    Qr {
        /// The text to draw.
        code: String,
        /// When the next code replaces it.
        expires_at: Millis,
    },
    /// Type this code in WhatsApp, Linked devices, Link with phone number.
    Code {
        /// Eight characters, `ABCD-1234`.
        code: String,
        /// When it stops working.
        expires_at: Millis,
    },
    /// WhatsApp asks for the account's passkey before it links.
    Passkey {
        /// The WebAuthn request options, as WhatsApp sent them (JSON text).
        request: String,
    },
    /// The passkey was accepted; compare this code with the one on the phone.
    PasskeyConfirm {
        /// The code to compare; `None` when WhatsApp asks for no comparison.
        code: Option<String>,
    },
}
