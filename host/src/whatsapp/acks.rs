//! Sends that wait for the server's word. The library calls a send done when it is on the wire; we do not.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tokio::sync::oneshot;

/// The waiting sends of one account, by message id.
#[derive(Debug, Default)]
pub(super) struct Acks {
    waiting: Mutex<HashMap<String, oneshot::Sender<Option<u16>>>>,
}

impl Acks {
    /// Waits for the server's word on `id`: `None` accepted, `Some` refused with a code. Register before sending.
    pub(super) fn expect(&self, id: &str) -> oneshot::Receiver<Option<u16>> {
        let (sender, receiver) = oneshot::channel();
        self.lock().insert(id.to_owned(), sender);
        receiver
    }

    /// Stops waiting for `id`.
    pub(super) fn forget(&self, id: &str) {
        self.lock().remove(id);
    }

    /// Stops waiting at all: the connection is gone.
    pub(super) fn abandon(&self) {
        self.lock().clear();
    }

    /// Passes the server's word on; whether somebody waited for it.
    pub(super) fn settle(&self, id: &str, code: Option<u16>) -> bool {
        self.lock().remove(id).is_some_and(|waiter| waiter.send(code).is_ok())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, oneshot::Sender<Option<u16>>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What WhatsApp's refusal codes mean, as far as they are known (whatsapp-rust 0.7.0 `src/send`, Baileys issue 2441).
pub(super) fn meaning(code: u16) -> &'static str {
    match code {
        400 => "the message was malformed or mixed address kinds",
        401 => "the account may not send to this chat",
        403 => "the account may not send here, for instance to a group only admins write in",
        404 => "there is no such chat",
        406 => "the recipient cannot be reached with this kind of message",
        420 | 429 => "too many messages; wait before sending more",
        463 => "the recipient does not know the account and its daily reach is used up; wait or let them write first",
        479 => "the message was malformed for one of the recipient's devices",
        _ => "WhatsApp gives no reason",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_ack_reaches_the_send_that_waits_for_it() {
        let acks = Acks::default();
        let (first, second) = (acks.expect("A"), acks.expect("B"));
        assert!(acks.settle("B", Some(463)));
        assert!(acks.settle("A", None));
        assert_eq!((first.await, second.await), (Ok(None), Ok(Some(463))));
    }

    #[test]
    fn an_ack_nobody_waits_for_is_said_to_be_late() {
        let acks = Acks::default();
        drop(acks.expect("A"));
        assert!(!acks.settle("A", None));
        let _waiting = acks.expect("B");
        acks.forget("B");
        assert!(!acks.settle("B", None));
    }

    #[tokio::test]
    async fn a_lost_connection_ends_the_waiting() {
        let acks = Acks::default();
        let waiting = acks.expect("A");
        acks.abandon();
        assert!(waiting.await.is_err());
    }
}
