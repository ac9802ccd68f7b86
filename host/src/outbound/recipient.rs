//! Whether a recipient is on WhatsApp, asked once and remembered for a while.
//!
//! WhatsApp accepts messages to numbers nobody has and drops them, so a typing error would look like a success
//! (whatsapp-rust issue 1299).

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::SendError;
use crate::model::{Chat, Clock, Millis, Phone, Scope, SessionId};
use crate::session::Sessions;

/// How long a number that was found stays known.
const GOOD_FOR: Duration = Duration::from_hours(24);
/// Numbers remembered at most; the table starts afresh when it is full.
const REMEMBERED: usize = 10_000;

/// The numbers known to be on WhatsApp.
#[derive(Debug)]
pub(super) struct Recipients {
    clock: Clock,
    found: Mutex<HashMap<Phone, Millis>>,
}

impl Recipients {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, found: Mutex::default() }
    }

    /// Refuses a number that is not on WhatsApp. Groups and other addresses are WhatsApp's to judge.
    pub(super) async fn check(
        &self,
        sessions: &Sessions,
        scope: Scope,
        session: &SessionId,
        to: &Chat,
    ) -> Result<(), SendError> {
        let Some(phone) = to.phone().filter(|phone| !self.knows(phone)) else { return Ok(()) };
        if !sessions.check_number(scope, session, &phone).await?.on_whatsapp {
            return Err(SendError::NoSuchRecipient(phone));
        }
        self.remember(phone);
        Ok(())
    }

    fn knows(&self, phone: &Phone) -> bool {
        let now = self.clock.now();
        self.lock().get(phone).is_some_and(|at| now.since(*at) < GOOD_FOR)
    }

    fn remember(&self, phone: Phone) {
        let now = self.clock.now();
        let mut found = self.lock();
        if found.len() >= REMEMBERED {
            found.clear();
        }
        found.insert(phone, now);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Phone, Millis>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
