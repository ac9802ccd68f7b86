//! Messages that plugins asked to be sent: from their rows to WhatsApp, in order per chat.
//!
//! A row is sent under the message id it was committed with and with that id as its idempotency key, so that a crash
//! between WhatsApp's answer and our record sends the same message under the same id, or nothing.
//!
//! Invariant: nothing is sent that was not committed with a plugin's verdict.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use tokio::sync::Notify;

use super::{Outbound, Send, SendError};
use crate::app::tasks::Tasks;
use crate::model::{Clock, Outgoing, Scope};
use crate::session::SessionError;
use crate::store::plugin_sends::{Queued, Settlement};
use crate::store::{Store, StoreError};

/// Rows claimed at once, and chats worked on side by side.
const PAGE: u32 = 100;
const CHATS: usize = 16;
/// A claim lasts for the slowest page: each send waits for WhatsApp at most about a minute.
const LEASE: Duration = Duration::from_mins(10);
/// Longest wait between two looks.
const POLL: Duration = Duration::from_secs(10);
const BREATH: Duration = Duration::from_millis(50);
/// The first pause before a message is tried again, doubled each time, and the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_mins(5);
/// The longest pause while its session is not connected, so that it goes out soon after that has changed.
const UNCONNECTED_PAUSE: Duration = Duration::from_secs(15);
/// Pauses while the database is away: the first, doubled each time, up to the longest.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LONGEST_BACKOFF: Duration = Duration::from_secs(5);
/// How long a message is tried before it is given up.
const PERSISTENCE: Duration = Duration::from_hours(24);

/// Starts sending what is queued, now and as `wake` is told of more, until `tasks` stops.
pub fn start(outbound: Outbound, store: Store, clock: Clock, wake: Arc<Notify>, tasks: &Tasks) {
    let sender = Sender { outbound, store, clock, wake, tasks: tasks.clone() };
    tasks.spawn("plugin sends", sender.run());
}

struct Sender {
    outbound: Outbound,
    store: Store,
    clock: Clock,
    wake: Arc<Notify>,
    tasks: Tasks,
}

impl Sender {
    async fn run(self) {
        let mut released = false;
        while !self.tasks.is_stopping() {
            let wait = match self.look(&mut released).await {
                Ok(wait) => wait,
                Err(StoreError::Closed) => return,
                Err(error) => {
                    tracing::warn!(%error, "messages of plugins cannot be claimed");
                    POLL
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.wake.notified() => {}
                () = self.tasks.stopping() => return,
            }
        }
    }

    /// Sends what is due and answers how long to wait for the next.
    async fn look(&self, released: &mut bool) -> Result<Duration, StoreError> {
        let rows = self.store.plugin_sends(Scope::gateway());
        if !*released {
            // This process has claimed nothing yet, and it leads: whatever is claimed died with the one before.
            rows.release_leases().await?;
            *released = true;
        }
        let claimed = rows.claim(PAGE, LEASE).await?;
        if claimed.is_empty() {
            let next = rows.next_due().await?;
            return Ok(next.map_or(POLL, |due| due.since(self.clock.now()).clamp(BREATH, POLL)));
        }
        let mut chats: BTreeMap<_, Vec<Queued>> = BTreeMap::new();
        for queued in claimed {
            chats.entry((queued.session.clone(), queued.send.to.clone())).or_default().push(queued);
        }
        stream::iter(chats.into_values()).for_each_concurrent(CHATS, |queue| self.send_in_order(queue)).await;
        Ok(Duration::ZERO)
    }

    /// One chat's messages. When one has to wait, those behind it wait as long.
    async fn send_in_order(&self, queue: Vec<Queued>) {
        let mut held = None;
        for queued in queue {
            if self.tasks.is_stopping() {
                return;
            }
            let then = match held {
                Some(until) => Settlement::Retry(until),
                None => self.send(&queued).await,
            };
            if let Settlement::Retry(until) = then {
                held = Some(until);
            }
            self.record(&queued, then).await;
        }
    }

    /// Writes down what became of a message, and waits for that while the database is away: a claim that is left to run
    /// out would hold up its chat for as long as it lasts.
    async fn record(&self, queued: &Queued, then: Settlement) {
        let mut backoff = FIRST_BACKOFF;
        while let Err(error) = self.store.plugin_sends(Scope::gateway()).settle(queued, then.clone()).await {
            if !error.is_passing() || self.tasks.is_stopping() {
                // The claim runs out, or ends with this process, and the message goes out again under its id.
                tracing::warn!(message = %queued.send.message, %error, "a plugin's message cannot be recorded");
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(backoff) => backoff = (backoff * 2).min(LONGEST_BACKOFF),
                () = self.tasks.stopping() => {}
            }
        }
    }

    async fn send(&self, queued: &Queued) -> Settlement {
        let (session, message) = (&queued.session, &queued.send.message);
        let key = Some(format!("plugin:{message}"));
        let send = Send { to: queued.send.to.clone(), what: Outgoing::Text(queued.send.text.clone()), key };
        let Err(error) = self.outbound.send_as(session, message.clone(), &send).await else { return Settlement::Sent };
        let now = self.clock.now();
        if is_final(&error) || now.since(queued.created_at) >= PERSISTENCE {
            tracing::warn!(%session, %message, %error, plugin = %queued.send.plugin, "a plugin's message was not sent");
            return Settlement::Failed(error.to_string());
        }
        tracing::info!(%session, %message, %error, plugin = %queued.send.plugin, "a plugin's message will be tried again");
        Settlement::Retry(now.after(pause(queued.tries, &error)))
    }
}

/// How long to wait after so many tries.
fn pause(tries: u32, error: &SendError) -> Duration {
    let longest = match error {
        SendError::Session(SessionError::NotConnected(_)) => UNCONNECTED_PAUSE,
        _ => LONGEST_PAUSE,
    };
    FIRST_PAUSE.saturating_mul(1 << tries.min(10)).min(longest)
}

/// Whether trying again would bring the same answer.
fn is_final(error: &SendError) -> bool {
    !matches!(
        error,
        SendError::InFlight
            | SendError::Session(
                SessionError::NotConnected(_)
                    | SessionError::AlreadyLinked
                    | SessionError::Unanswered
                    | SessionError::Whatsapp(_)
                    | SessionError::Store(_)
            )
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_goes_out_soon_after_its_session_is_back() {
        let away = SendError::Session(SessionError::NotConnected("stopping"));
        let dumb = SendError::Session(SessionError::Unanswered);
        let seconds = |tries, error| pause(tries, error).as_secs();
        assert_eq!([0, 1, 2, 3, 99].map(|tries| seconds(tries, &away)), [2, 4, 8, 15, 15]);
        assert_eq!([0, 1, 2, 3, 99].map(|tries| seconds(tries, &dumb)), [2, 4, 8, 16, 300]);
    }
}
