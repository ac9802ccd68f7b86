//! Deliveries on their way: claim what is due, attempt it, settle it.
//!
//! One task claims; each attempt is a task of its own. The rows are the queue: nothing waits in memory only, so a
//! killed process loses no delivery and its successor starts where it stood.
//!
//! - [`attempt`] is one attempt in four types, [`sign`] and [`retry`] its pure decisions
//!
//! Endpoints share the slots: first come, first served. What will keep them apart, a limit and a breaker for each,
//! belongs into the claim, so that a row that may not go out is not claimed.
//!
//! Delivery is at least once: a receiver may see a `webhook-id` again, always with the same body.
//!
//! Invariant: no transaction is open while a receiver is spoken to, and only the newest claim settles a delivery.

mod attempt;
mod retry;
mod sign;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;

use crate::app::tasks::Tasks;
use crate::config::WebhookConfig;
use crate::egress::Egress;
use crate::model::{Clock, Delivery, Scope};
use crate::store::deliveries::{Deliveries, Settlement};
use crate::store::{Store, StoreError};
pub use attempt::below;
use attempt::{Due, Settled};

/// The longest the deliverer goes without looking for due rows.
const POLL: Duration = Duration::from_secs(1);
/// The shortest pause between two looks that found nothing to do.
const BREATH: Duration = Duration::from_millis(20);
/// How long freed slots gather before the next claim, while more is due than there are slots.
const GATHER: Duration = Duration::from_millis(2);
/// What a claim outlasts its attempt by: time to write down how it ended.
const MARGIN: Duration = Duration::from_secs(10);
/// How long attempts under way may go on after the gateway began to stop.
const GRACE: Duration = Duration::from_secs(5);
/// Pauses after the store failed: the first, doubled each time, up to the longest.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LONGEST_BACKOFF: Duration = Duration::from_secs(5);
/// Tries to write an attempt down; with the pauses between them they end within [`MARGIN`].
const RECORD_TRIES: u32 = 7;

/// The deliverer. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Webhooks {
    wake: Arc<Notify>,
}

impl Webhooks {
    /// Starts delivering what is due, now and as it becomes due, until `tasks` stops.
    pub fn start(store: Store, egress: Egress, clock: Clock, config: WebhookConfig, tasks: &Tasks) -> Self {
        let wake = Arc::new(Notify::new());
        let slots = config.concurrency.max(1);
        let deliverer = Deliverer {
            store,
            egress,
            clock,
            config: WebhookConfig { concurrency: slots, ..config },
            slots: Arc::new(Semaphore::new(slots)),
            wake: Arc::clone(&wake),
            tasks: tasks.clone(),
        };
        tasks.spawn("webhooks", Arc::new(deliverer).run());
        Self { wake }
    }

    /// New deliveries were committed: look at once instead of at the next tick.
    pub fn wake(&self) {
        self.wake.notify_one();
    }
}

/// What the claiming task and every attempt share.
#[derive(Debug)]
struct Deliverer {
    store: Store,
    egress: Egress,
    clock: Clock,
    config: WebhookConfig,
    /// One permit an attempt under way. Only the claiming task takes them.
    slots: Arc<Semaphore>,
    wake: Arc<Notify>,
    tasks: Tasks,
}

/// What a look at the store found.
#[derive(Debug)]
enum Found {
    /// As many due rows as there were slots, so there may be more.
    Plenty,
    /// Everything that was due.
    All,
}

impl Deliverer {
    async fn run(self: Arc<Self>) {
        let mut backoff = FIRST_BACKOFF;
        let mut released = false;
        while !self.tasks.is_stopping() {
            match self.look(&mut released).await {
                Ok(Found::Plenty) => self.slots_freed().await,
                Ok(Found::All) => self.something_due().await,
                Err(StoreError::Closed) => return,
                Err(error) => {
                    tracing::warn!(%error, retry_in = ?backoff, "webhooks cannot be claimed");
                    self.pause(backoff).await;
                    backoff = (backoff * 2).min(LONGEST_BACKOFF);
                    continue;
                }
            }
            backoff = FIRST_BACKOFF;
        }
    }

    /// Claims what is due, as much as there are slots for, and sets it going.
    async fn look(self: &Arc<Self>, released: &mut bool) -> Result<Found, StoreError> {
        if !*released {
            // This process has claimed nothing yet, and it leads: whatever is claimed died with the one before.
            let count = self.deliveries().release_leases().await?;
            tracing::debug!(count, "claims of an earlier run released");
            *released = true;
        }
        let free = u32::try_from(self.slots.available_permits()).unwrap_or(u32::MAX);
        let Ok(mut slots) = Arc::clone(&self.slots).try_acquire_many_owned(free) else { return Ok(Found::Plenty) };
        let claimed = match free {
            0 => Vec::new(),
            _ => self.deliveries().claim(free, self.config.timeout + MARGIN).await?,
        };
        let found = if claimed.len() < slots.num_permits() { Found::All } else { Found::Plenty };
        for delivery in claimed {
            let work = Arc::clone(self).attempt(delivery, slots.split(1));
            self.tasks.spawn("webhook attempt", work);
        }
        Ok(found)
    }

    /// One attempt, from claim to record.
    async fn attempt(self: Arc<Self>, delivery: Delivery, _slot: Option<OwnedSemaphorePermit>) {
        let answered = match Due(delivery).sign(self.clock.now(), self.config.timeout) {
            Ok(signed) => tokio::select! {
                answered = signed.post(&self.egress) => answered,
                // Unsettled: the next run releases the claim and tries again.
                () = self.grace_over() => return,
            },
            Err(answered) => *answered,
        };
        self.record(&answered.judge(self.clock.now(), rand::random())).await;
    }

    /// Writes down how an attempt ended. What cannot be written is attempted again once the claim has run out.
    async fn record(&self, settled: &Settled) {
        let mut backoff = FIRST_BACKOFF;
        for _ in 0..RECORD_TRIES {
            match settled.record(&self.store).await {
                Ok(recorded) => return log(settled, recorded),
                Err(StoreError::Closed) => break,
                Err(error) => {
                    tracing::warn!(delivery = %settled.claim.delivery, %error, "a webhook attempt cannot be recorded");
                    sleep(backoff).await;
                    backoff *= 2;
                }
            }
        }
        tracing::error!(delivery = %settled.claim.delivery, "a webhook attempt went unrecorded and will be repeated");
    }

    /// Waits until something may be due: new deliveries, or one whose time has come.
    async fn something_due(&self) {
        loop {
            let wait = match self.deliveries().next_due().await {
                Ok(Some(due)) => due.since(self.clock.now()).clamp(BREATH, POLL),
                Ok(None) => POLL,
                // The claim that follows meets the same failure and reports it.
                Err(_) => return,
            };
            tokio::select! {
                () = self.wake.notified() => return,
                () = self.tasks.stopping() => return,
                () = sleep(wait) => if wait < POLL { return },
            }
        }
    }

    /// Waits until an attempt has ended. A claim is a transaction, so in a burst a few slots share one.
    async fn slots_freed(&self) {
        tokio::select! {
            _ = self.slots.acquire() => {}
            () = self.tasks.stopping() => return,
        }
        if self.slots.available_permits() < self.config.concurrency.div_ceil(4) {
            sleep(GATHER).await;
        }
    }

    async fn pause(&self, span: Duration) {
        tokio::select! {
            () = sleep(span) => {}
            () = self.tasks.stopping() => {}
        }
    }

    async fn grace_over(&self) {
        self.tasks.stopping().await;
        sleep(GRACE).await;
    }

    fn deliveries(&self) -> Deliveries<'_> {
        self.store.deliveries(Scope::gateway())
    }
}

fn log(settled: &Settled, recorded: bool) {
    let Settled { claim, attempt, then } = settled;
    let number = claim.earlier + 1;
    let (delivery, endpoint, session) = (&claim.delivery, &claim.endpoint, &claim.session);
    let (outcome, took_ms) = (&attempt.outcome, attempt.took_ms);
    if !recorded {
        tracing::info!(%delivery, number, "another claim has overtaken this webhook attempt");
        return;
    }
    match then {
        Settlement::Delivered => tracing::debug!(%delivery, %session, number, took_ms, "webhook delivered"),
        Settlement::Retry(at) => {
            tracing::info!(%delivery, %endpoint, %session, number, took_ms, ?outcome, due_at = %at, "webhook will be retried");
        }
        Settlement::Dead => {
            tracing::warn!(%delivery, %endpoint, %session, number, took_ms, ?outcome, "webhook given up");
        }
    }
}
