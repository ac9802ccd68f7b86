//! What becomes of a session's status when something happens. Pure: effects are values, done by the lifecycle.
//!
//! Invariant: a final status is left only by a new start; whatever the library still says after it changes nothing.

use std::time::Duration;

use crate::model::{Chat, Happening, MessageId, MessageState, Millis, Pairing, Phone, Receipt, Status};
use crate::whatsapp::News;

/// Something to be done in the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Store the linked account.
    SaveLink { phone: Phone, device_jid: String, lid: Option<Chat> },
    /// Forget the linked account together with its keys.
    ForgetLink,
    /// Remember that the session should not run after a restart.
    Unwant,
    /// Stop the account; the session's task ends.
    End,
    /// Fetch a fresh client version, then open the account anew.
    RefreshVersion,
    /// Store what the server made of a sent message.
    Advance { message: MessageId, to: MessageState, code: Option<u16> },
    /// Store how far sent messages have come at a recipient.
    Confirm(Receipt),
    /// Store what happened, and have it told.
    Tell(Box<Happening>),
}

/// The status after `news`, and what to do. `None` for the status means: as it was.
pub(super) fn step(status: &Status, news: News, now: Millis) -> (Option<Status>, Vec<Effect>) {
    match news {
        News::LateAck(message, code) => {
            let to = if code.is_none() { MessageState::Sent } else { MessageState::Refused };
            (None, vec![Effect::Advance { message, to, code }])
        }
        News::Receipt(receipt) => (None, vec![Effect::Confirm(receipt)]),
        News::Happened(what) => (None, vec![Effect::Tell(what)]),
        _ if status.is_final() => (None, vec![]),
        News::Dialing => (dialing(status), vec![]),
        News::DialFailed(error) | News::Disconnected(error) => (Some(lost(status, error)), vec![]),
        News::Connected => (Some(Status::Connected { since: now }), vec![]),
        News::Linked { phone, device_jid, lid } => {
            // The server ends this connection and expects the next one as the linked device.
            (Some(connecting(0, None)), vec![Effect::SaveLink { phone, device_jid, lid }])
        }
        News::LoggedOut(reason) => {
            (Some(Status::LoggedOut { reason }), vec![Effect::ForgetLink, Effect::Unwant, Effect::End])
        }
        News::Replaced => (Some(Status::Failed { reason: REPLACED.to_owned() }), vec![Effect::Unwant, Effect::End]),
        News::Refused(reason) => (Some(Status::Failed { reason }), vec![Effect::Unwant, Effect::End]),
        News::Outdated => (Some(lost(status, OUTDATED.to_owned())), vec![Effect::RefreshVersion]),
        pairing => self::pairing(status, pairing, now),
    }
}

/// When to take a session that waits to be linked for given up: no code is good any more, and no other has come.
pub(super) fn given_up_at(status: &Status) -> Option<Millis> {
    match status {
        Status::Pairing(Pairing::Qr { expires_at, .. } | Pairing::Code { expires_at, .. }) => {
            Some(expires_at.after(LONGEST_QR))
        }
        _ => None,
    }
}

/// What follows when nobody linked the session in time.
pub(super) fn give_up() -> (Option<Status>, Vec<Effect>) {
    (Some(Status::PairingExpired), vec![Effect::Unwant, Effect::End])
}

/// The first QR text is good for a minute, the others for 20 s (whatsapp-rust 0.7.0 `src/pair.rs`): one that is still
/// to come has come by then.
const LONGEST_QR: Duration = Duration::from_mins(1);

const REPLACED: &str = "another client took over this linked device; stop that one, then connect again";
const OUTDATED: &str = "WhatsApp finds the client version outdated; fetching the current one";

fn pairing(status: &Status, news: News, now: Millis) -> (Option<Status>, Vec<Effect>) {
    let waiting = |pairing| (Some(Status::Pairing(pairing)), vec![]);
    match news {
        // A code the user is typing, or a passkey step, stays on the screen while QR texts go on changing.
        News::Qr(..) if holds(status, now) => (None, vec![]),
        News::Qr(code, lives) => waiting(Pairing::Qr { code, expires_at: now.after(lives) }),
        News::PairCode(code, lives) => waiting(Pairing::Code { code, expires_at: now.after(lives) }),
        News::PasskeyRequest(request) => waiting(Pairing::Passkey { request }),
        News::PasskeyConfirm(code) => waiting(Pairing::PasskeyConfirm { code }),
        News::QrExhausted { stopped: true } => give_up(),
        News::PairFailed(reason) => (Some(Status::Failed { reason }), vec![Effect::Unwant, Effect::End]),
        // A code outlives the QR texts. If none is coming, whoever asked for it has been told, and texts may go on.
        _ => (None, vec![]),
    }
}

fn holds(status: &Status, now: Millis) -> bool {
    match status {
        Status::Pairing(Pairing::Code { expires_at, .. }) => now < *expires_at,
        Status::Pairing(Pairing::Passkey { .. } | Pairing::PasskeyConfirm { .. }) => true,
        _ => false,
    }
}

fn dialing(status: &Status) -> Option<Status> {
    match status {
        Status::Connecting { attempt: 0, last_error } => Some(connecting(1, last_error.clone())),
        // Dialling again without having been connected means that the handshake before it failed.
        Status::Connecting { attempt, last_error } => Some(connecting(
            attempt.saturating_add(1),
            Some(last_error.clone().unwrap_or_else(|| HANDSHAKE.to_owned())),
        )),
        // The library noticed by itself that the server had gone silent; it raises no event for that.
        Status::Connected { .. } => Some(connecting(1, Some(SILENT.to_owned()))),
        _ => None,
    }
}

const SILENT: &str = "the server went silent; connecting again";
const HANDSHAKE: &str = "the address answered, but WhatsApp's handshake failed; is it WhatsApp's server?";

/// Codes of a lost connection are worthless; the library dials again and brings fresh ones.
fn lost(status: &Status, error: String) -> Status {
    let attempt = if let Status::Connecting { attempt, .. } = status { *attempt } else { 0 };
    connecting(attempt, Some(error))
}

fn connecting(attempt: u32, last_error: Option<String>) -> Status {
    Status::Connecting { attempt, last_error }
}

#[cfg(test)]
mod tests;
