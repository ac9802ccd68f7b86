//! Faults on request: what a test asks the network to do wrong.
//!
//! A fault is aimed at an account (`15550000001`), one of its devices (`15550000001:2`) or everyone (`*`); the
//! narrower aim is used up first. Invariant: without faults in force the only cost is one atomic load a stanza.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;

use crate::account::{Companion, lock};
use crate::mailbox::{Out, post};
use crate::network::Core;
use crate::wire::{Node, NodeBuilder};

/// An error that ends a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StreamFault {
    /// 429: too many requests.
    RateLimited,
    /// 503: the server goes down.
    Unavailable,
    /// 515: reconnect, please.
    Restart,
    /// 401 with `device_removed`: the client is told it was unlinked. The device stays linked.
    Removed,
    /// `conflict replaced`: another connection took over.
    Replaced,
    /// Any other code.
    Code(u16),
}

impl StreamFault {
    fn node(self) -> Node {
        let conflict = |kind: &'static str| NodeBuilder::new("conflict").attr("type", kind).build();
        let error = NodeBuilder::new("stream:error");
        match self {
            Self::RateLimited => error.attr("code", "429").build(),
            Self::Unavailable => error.attr("code", "503").build(),
            Self::Restart => error.attr("code", "515").build(),
            Self::Removed => error.attr("code", "401").children([conflict("device_removed")]).build(),
            Self::Replaced => error.children([conflict("replaced")]).build(),
            Self::Code(code) => error.attr("code", u32::from(code)).build(),
        }
    }
}

/// The older of two connections of one device is told so.
pub(crate) fn replaced() -> Node {
    StreamFault::Replaced.node()
}

/// What is wrong with one aim.
#[derive(Debug, Default)]
struct Troubles {
    refuse: Option<(u16, usize)>,
    delay: Option<Duration>,
    silent: usize,
    frozen: bool,
    fail_login: Option<(u16, usize)>,
}

/// All faults in force.
#[derive(Debug)]
pub(crate) struct FaultTable {
    any: AtomicBool,
    aims: Mutex<HashMap<String, Troubles>>,
    passkeys: Mutex<usize>,
    spent: Mutex<usize>,
    changes: watch::Sender<u64>,
}

/// What the server does with a client's message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Takes and acknowledges it, perhaps late.
    Accept { delay: Duration },
    /// Takes it and says nothing.
    Silence,
    /// Turns it down with this code.
    Refuse(u16),
}

impl Default for FaultTable {
    fn default() -> Self {
        Self {
            any: AtomicBool::new(false),
            aims: Mutex::default(),
            passkeys: Mutex::default(),
            spent: Mutex::default(),
            changes: watch::Sender::new(0),
        }
    }
}

impl FaultTable {
    /// Decides on a message a device sends; uses up a counted fault.
    pub(crate) fn judge(&self, number: &str, device: u16) -> Verdict {
        if !self.any.load(Ordering::Relaxed) {
            return Verdict::Accept { delay: Duration::ZERO };
        }
        let mut aims = lock(&self.aims);
        let mut delay = Duration::ZERO;
        for key in keys(number, device) {
            let Some(troubles) = aims.get_mut(&key) else { continue };
            if let Some((code, count)) = &mut troubles.refuse
                && *count > 0
            {
                *count -= 1;
                return Verdict::Refuse(*code);
            }
            if troubles.silent > 0 {
                troubles.silent -= 1;
                return Verdict::Silence;
            }
            delay = delay.max(troubles.delay.unwrap_or_default());
        }
        Verdict::Accept { delay }
    }

    /// The reason to refuse a login, if there is one; uses up a counted fault.
    pub(crate) fn login_refusal(&self, number: &str, device: u16) -> Option<u16> {
        if !self.any.load(Ordering::Relaxed) {
            return None;
        }
        let mut aims = lock(&self.aims);
        keys(number, device).into_iter().find_map(|key| {
            let (reason, count) = aims.get_mut(&key)?.fail_login.as_mut()?;
            *count = count.checked_sub(1)?;
            Some(*reason)
        })
    }

    /// Whether a device's connection is frozen.
    pub(crate) fn is_frozen(&self, number: &str, device: u16) -> bool {
        if !self.any.load(Ordering::Relaxed) {
            return false;
        }
        let aims = lock(&self.aims);
        keys(number, device).iter().any(|key| aims.get(key).is_some_and(|troubles| troubles.frozen))
    }

    /// Tells when something froze or thawed.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Whether the next client to be linked is asked for a passkey; uses it up.
    pub(crate) fn takes_passkey(&self) -> bool {
        use_up(&self.passkeys)
    }

    /// Whether the next client to be linked finds its references used up; uses it up.
    pub(crate) fn takes_spent_refs(&self) -> bool {
        use_up(&self.spent)
    }

    fn set(&self, aim: &str, change: impl FnOnce(&mut Troubles)) {
        change(lock(&self.aims).entry(aim.to_owned()).or_default());
        self.any.store(true, Ordering::Relaxed);
        self.changes.send_modify(|count| *count += 1);
    }

    fn clear(&self) {
        lock(&self.aims).clear();
        *lock(&self.passkeys) = 0;
        *lock(&self.spent) = 0;
        self.any.store(false, Ordering::Relaxed);
        self.changes.send_modify(|count| *count += 1);
    }
}

fn use_up(count: &Mutex<usize>) -> bool {
    let mut left = lock(count);
    let taken = *left > 0;
    *left = left.saturating_sub(1);
    taken
}

fn keys(number: &str, device: u16) -> [String; 3] {
    [format!("{number}:{device}"), number.to_owned(), "*".to_owned()]
}

/// Makes a running network misbehave. Every aim is a number, `number:device`, or `*` for everyone.
#[derive(Clone)]
pub struct Faults {
    pub(crate) core: Arc<Core>,
}

impl Faults {
    /// The next `count` messages the account's devices send are refused with this error code.
    pub fn refuse_sends(&self, aim: &str, code: u16, count: usize) {
        self.core.faults.set(aim, |troubles| troubles.refuse = Some((code, count)));
    }

    /// Messages are acknowledged this much later; zero ends it.
    pub fn delay_acks(&self, aim: &str, delay: Duration) {
        self.core.faults.set(aim, |troubles| troubles.delay = (!delay.is_zero()).then_some(delay));
    }

    /// The next `count` messages are delivered but never acknowledged.
    pub fn drop_acks(&self, aim: &str, count: usize) {
        self.core.faults.set(aim, |troubles| troubles.silent = count);
    }

    /// Cuts the connections of the account's devices, now.
    pub fn drop_sockets(&self, aim: &str) {
        for companion in self.aimed(aim) {
            if let Some(outlet) = companion.mailbox.outlet() {
                let _ = outlet.send(Out::Cut);
            }
        }
    }

    /// Connections stay open but nothing is read or answered any more, nor on new ones after their handshake.
    pub fn freeze(&self, aim: &str) {
        self.core.faults.set(aim, |troubles| troubles.frozen = true);
    }

    /// Ends [`Self::freeze`].
    pub fn thaw(&self, aim: &str) {
        self.core.faults.set(aim, |troubles| troubles.frozen = false);
    }

    /// Ends the streams of the account's devices with an error, now.
    pub fn stream_error(&self, aim: &str, fault: StreamFault) {
        for companion in self.aimed(aim) {
            if let Some(outlet) = companion.mailbox.outlet() {
                post(&outlet, fault.node());
                let _ = outlet.send(Out::Close);
            }
        }
    }

    /// The next `count` logins are refused with `<failure reason="…"/>`.
    pub fn fail_login(&self, aim: &str, reason: u16, count: usize) {
        self.core.faults.set(aim, |troubles| troubles.fail_login = Some((reason, count)));
    }

    /// The next `count` clients to be linked are asked for a passkey instead of showing a QR code.
    pub fn require_passkey(&self, count: usize) {
        *lock(&self.core.faults.passkeys) = count;
    }

    /// The next `count` clients to be linked are given no references: for them it is as if every QR text had been shown
    /// and had expired, which takes 160 s otherwise.
    pub fn spend_refs(&self, count: usize) {
        *lock(&self.core.faults.spent) = count;
    }

    /// Ends all faults.
    pub fn clear(&self) {
        self.core.faults.clear();
    }

    fn aimed(&self, aim: &str) -> Vec<Arc<Companion>> {
        let (number, device) = match aim.split_once(':') {
            Some((number, device)) => (number, device.parse::<u16>().ok()),
            None => (aim, None),
        };
        let accounts = self.core.directory.accounts();
        accounts
            .iter()
            .filter(|account| number == "*" || account.number == number)
            .flat_map(|account| account.companions())
            .filter(|companion| device.is_none_or(|device| companion.id == device))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counted_faults_are_used_up_from_the_narrowest_aim() {
        let table = FaultTable::default();
        assert_eq!(table.judge("1", 2), Verdict::Accept { delay: Duration::ZERO });
        table.set("1:2", |troubles| troubles.refuse = Some((463, 1)));
        table.set("*", |troubles| troubles.silent = 1);
        assert_eq!(table.judge("1", 2), Verdict::Refuse(463));
        assert_eq!(table.judge("1", 2), Verdict::Silence);
        assert_eq!(table.judge("1", 2), Verdict::Accept { delay: Duration::ZERO });
    }

    #[test]
    fn a_login_is_refused_as_often_as_asked() {
        let table = FaultTable::default();
        table.set("1", |troubles| troubles.fail_login = Some((402, 2)));
        assert_eq!(table.login_refusal("1", 1), Some(402));
        assert_eq!(table.login_refusal("1", 1), Some(402));
        assert_eq!(table.login_refusal("1", 1), None);
        assert_eq!(table.login_refusal("2", 1), None);
    }
}
