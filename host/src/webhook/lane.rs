//! One endpoint's deliveries on their way.
//!
//! A lane reads what is due, a portion at a time, and sets attempts going, each a task of its own. Before each it asks the
//! breaker, the pace and the shared slots. What is under way it keeps in mind, so that it is not read as due again.
//!
//! It ends after a while without anything that waits, and begins anew when it is told of something.
//!
//! Invariant: of a delivery one attempt is under way at a time, from its start until it is written down.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::attempt::{Due, Settled};
use super::breaker::{Breaker, Leave};
use super::pace::Pace;
use super::slots::{Claim, Slot};
use super::{Deliverer, FIRST_BACKOFF, Handle, LONGEST_BACKOFF, Pulse, lock};
use crate::model::{Delivery, DeliveryId, DeliveryOrder, DisabledWhy, Endpoint, EndpointId, Millis, Scope};
use crate::store::StoreError;
use crate::store::deliveries::Settlement;
use crate::store::endpoints::Health;

/// The longest a lane goes without looking at the clock, which tests move by hand.
const LOOK: Duration = Duration::from_secs(1);
/// How long an endpoint is taken to be as it was read, unless something is told of it.
const FRESH: Duration = Duration::from_secs(30);
/// How long a lane with nothing to do stays open.
const LINGER: Duration = Duration::from_secs(30);
/// Deliveries read at a time at least, and at most.
const FEWEST: u32 = 32;
const MOST: u32 = 256;
/// Attempts that have been answered and are not written down yet, at most.
const UNWRITTEN: usize = 512;
/// How often it is written down that a receiver goes on taking deliveries.
const NOTED: Duration = Duration::from_secs(10);
/// How long a receiver may fail before its endpoint is disabled.
const PATIENCE: Duration = Duration::from_hours(5 * 24);

/// What an attempt tells its lane.
#[derive(Debug)]
pub(super) enum News {
    /// The receiver has answered, or has not.
    Answered(Answer),
    /// How it ended is written down, or cannot be.
    Written {
        /// The delivery.
        delivery: DeliveryId,
        /// When it is due again, if it is.
        again: Option<Millis>,
        /// It is written.
        written: bool,
    },
}

/// What an attempt says about the receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It has taken the delivery.
    Taken,
    /// It has refused this one, and is well.
    Refused,
    /// It is ill: no answer, an error of its own, or too much to do.
    Ill,
    /// It says that nobody will ever listen here again.
    Gone,
}

/// A lane at work.
pub(super) struct Lane {
    deliverer: Arc<Deliverer>,
    id: EndpointId,
    handle: Arc<Handle>,
    endpoint: Option<(Arc<Endpoint>, Instant)>,
    /// Read and not yet begun, those due first first.
    ready: VecDeque<Delivery>,
    due: Waiting,
    /// Begun and not yet written down.
    open: HashSet<DeliveryId>,
    /// Of these, how many the receiver has not answered.
    in_flight: u32,
    breaker: Breaker,
    pace: Pace,
    /// When it was last written down that the receiver takes deliveries.
    noted: Option<Instant>,
    backoff: Duration,
    retry_at: Option<Instant>,
    idle_since: Instant,
    told: mpsc::UnboundedReceiver<News>,
    tell: mpsc::UnboundedSender<News>,
}

/// What the store holds for the endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waiting {
    /// Something may be due.
    Now,
    /// All that was due at this moment was read; what is due after it is not known.
    Later(Millis),
    /// Something will be due then.
    From(Millis),
    /// Nothing waits.
    Nothing,
}

/// What a lane does next.
enum Next {
    /// Begin an attempt as soon as there is a slot.
    Begin(Claim),
    /// Wait until something is told, at most so long.
    Wait(Duration),
    /// End.
    End,
}

impl Lane {
    pub(super) fn new(deliverer: Arc<Deliverer>, id: EndpointId, handle: Arc<Handle>) -> Self {
        let (tell, told) = mpsc::unbounded_channel();
        let now = Instant::now();
        Self {
            deliverer,
            id,
            handle,
            endpoint: None,
            ready: VecDeque::new(),
            due: Waiting::Now,
            open: HashSet::new(),
            in_flight: 0,
            breaker: Breaker::default(),
            pace: Pace::new(now),
            noted: None,
            backoff: FIRST_BACKOFF,
            retry_at: None,
            idle_since: now,
            told,
            tell,
        }
    }

    pub(super) async fn run(mut self) {
        let mut slot: Option<(Claim, BoxFuture<'static, Slot>)> = None;
        let stopping = self.deliverer.tasks.stopping();
        tokio::pin!(stopping);
        loop {
            let next = match self.next().await {
                Ok(next) => next,
                Err(StoreError::Closed) => return,
                Err(error) => {
                    tracing::warn!(endpoint = %self.id, %error, retry_in = ?self.backoff, "webhooks cannot be read");
                    let wait = self.backoff;
                    self.retry_at = Some(Instant::now() + wait);
                    self.backoff = (wait * 2).min(LONGEST_BACKOFF);
                    Next::Wait(wait)
                }
            };
            self.show();
            let (claim, wait) = match next {
                Next::End if self.deliverer.close(&self.id, &self.handle) => return,
                Next::End => continue,
                Next::Begin(claim) => (Some(claim), LOOK),
                Next::Wait(wait) => (None, wait.min(LOOK)),
            };
            // A slot that is waited for stays asked for while the same is wanted, else others would be served first.
            slot = match (claim, slot.take()) {
                (Some(claim), Some((asked, taking))) if asked == claim => Some((asked, taking)),
                (Some(claim), _) => Some((claim, Box::pin(self.deliverer.slots.clone().take(claim)))),
                (None, _) => None,
            };
            let taking = async {
                match &mut slot {
                    Some((_, taking)) => taking.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = &mut stopping => return,
                news = self.told.recv() => if let Some(news) = news { self.hear(news).await },
                taken = taking => {
                    slot = None;
                    self.begin(taken);
                }
                () = self.handle.told.notified() => {}
                () = sleep(wait) => {}
            }
        }
    }

    /// What is to be done now.
    async fn next(&mut self) -> Result<Next, StoreError> {
        while let Ok(news) = self.told.try_recv() {
            self.hear(news).await;
        }
        if let Some(wait) = self.retry_at.and_then(|at| at.checked_duration_since(Instant::now())) {
            return Ok(Next::Wait(wait));
        }
        if self.handle.woken.swap(false, Ordering::AcqRel) {
            self.ready.clear();
            self.due = Waiting::Now;
        }
        let Some(endpoint) = self.endpoint().await? else {
            self.ready.clear();
            return Ok(if self.open.is_empty() { Next::End } else { Next::Wait(LOOK) });
        };
        let now = self.deliverer.clock.now();
        if let Waiting::From(due) = self.due
            && due <= now
        {
            self.due = Waiting::Now;
        }
        let leave = self.breaker.leave(now);
        if let Leave::From(until) = leave {
            return Ok(Next::Wait(until.since(now)));
        }
        let window = if leave == Leave::Probe { 1 } else { self.pace.window(endpoint.limits) };
        if self.in_flight >= window || self.open.len() >= UNWRITTEN {
            return Ok(Next::Wait(LOOK));
        }
        self.read(&endpoint).await?;
        (self.backoff, self.retry_at) = (FIRST_BACKOFF, None);
        let Some(first) = self.ready.front() else { return Ok(self.idle(now)) };
        self.idle_since = Instant::now();
        let claim = Claim { owner: endpoint.owner, first: first.attempts == 0 };
        Ok(match self.pace.wait(endpoint.limits, Instant::now()) {
            Duration::ZERO => Next::Begin(claim),
            wait => Next::Wait(wait),
        })
    }

    /// The endpoint as it is now; `None` when it is out of use.
    async fn endpoint(&mut self) -> Result<Option<Arc<Endpoint>>, StoreError> {
        let changed = self.handle.changed.swap(false, Ordering::AcqRel);
        if let Some((endpoint, read_at)) = &self.endpoint
            && !changed
            && read_at.elapsed() < FRESH
        {
            return Ok(Some(Arc::clone(endpoint)));
        }
        let read = self.deliverer.store.endpoints(Scope::gateway()).get(&self.id).await;
        let read = read.inspect_err(|_| self.handle.changed.store(true, Ordering::Release))?;
        let endpoint = read.filter(|endpoint| endpoint.disabled.is_none()).map(Arc::new);
        if changed {
            // Put back into use, moved, or in another order: another receiver, and other rows that are due.
            (self.breaker, self.due) = (Breaker::default(), Waiting::Now);
            self.ready.clear();
        }
        self.endpoint = endpoint.clone().map(|endpoint| (endpoint, Instant::now()));
        Ok(endpoint)
    }

    /// Reads the next portion when nothing is left of the last one.
    async fn read(&mut self, endpoint: &Endpoint) -> Result<(), StoreError> {
        if self.due == Waiting::Now && self.ready.is_empty() {
            let portion = endpoint.limits.in_flight.saturating_mul(4).clamp(FEWEST, MOST);
            let limit = portion.saturating_add(u32::try_from(self.open.len()).unwrap_or(u32::MAX));
            let now = self.deliverer.clock.now();
            let read = self.deliverer.deliveries().due(&self.id, limit).await?;
            let all = u32::try_from(read.len()).is_ok_and(|read| read < limit);
            self.ready.extend(read.into_iter().filter(|delivery| !self.open.contains(&delivery.id)));
            if all {
                self.due = Waiting::Later(now);
            }
        }
        if let Waiting::Later(read) = self.due
            && self.ready.is_empty()
        {
            let next = self.deliverer.deliveries().next_due(&self.id, read).await?;
            self.due = next.map_or(Waiting::Nothing, Waiting::From);
        }
        Ok(())
    }

    fn idle(&self, now: Millis) -> Next {
        match self.due {
            Waiting::From(due) => Next::Wait(due.since(now)),
            Waiting::Nothing if self.open.is_empty() && self.idle_since.elapsed() >= LINGER => Next::End,
            _ => Next::Wait(LOOK),
        }
    }

    /// Sets the next attempt going.
    fn begin(&mut self, slot: Slot) {
        let (Some((endpoint, _)), Some(delivery)) = (&self.endpoint, self.ready.pop_front()) else { return };
        self.pace.begun();
        self.open.insert(delivery.id.clone());
        self.in_flight += 1;
        let due = Due { delivery, endpoint: Arc::clone(endpoint) };
        let work = attempt(Arc::clone(&self.deliverer), due, slot, self.tell.clone());
        self.deliverer.tasks.spawn("webhook attempt", work);
    }

    async fn hear(&mut self, news: News) {
        match news {
            News::Answered(answer) => {
                self.in_flight = self.in_flight.saturating_sub(1);
                self.judge(answer).await;
            }
            News::Written { delivery, again, written } => {
                self.open.remove(&delivery);
                let strict = self.endpoint.as_ref().is_some_and(|(one, _)| one.order == DeliveryOrder::Strict);
                match (self.due, again) {
                    // The next of its chat may be due by now.
                    _ if !written || strict => self.due = Waiting::Now,
                    (Waiting::From(due), Some(again)) => self.due = Waiting::From(due.min(again)),
                    (Waiting::Nothing, Some(again)) => self.due = Waiting::From(again),
                    _ => {}
                }
            }
        }
    }

    /// What an answer means for the receiver's health.
    async fn judge(&mut self, answer: Answer) {
        let Some((endpoint, _)) = self.endpoint.clone() else { return };
        let now = self.deliverer.clock.now();
        match answer {
            Answer::Taken => {
                self.breaker.succeeded();
                self.pace.succeeded(endpoint.limits);
                let failed = endpoint.failing_since.is_some();
                if failed || self.noted.is_none_or(|noted| noted.elapsed() >= NOTED) {
                    self.noted = Some(Instant::now());
                    self.note(Health::Succeeded).await;
                    self.remember(|endpoint| endpoint.failing_since = None);
                }
                return;
            }
            Answer::Refused => self.pace.failed(),
            Answer::Ill => {
                self.pace.failed();
                self.breaker.failed(now);
            }
            Answer::Gone => return self.disable(DisabledWhy::Gone).await,
        }
        match endpoint.failing_since {
            None => {
                self.note(Health::Failing { since: now }).await;
                self.remember(|endpoint| endpoint.failing_since = Some(now));
            }
            Some(since) if now.since(since) >= PATIENCE => self.disable(DisabledWhy::Failing).await,
            Some(_) => {}
        }
    }

    /// The endpoint as it was read, and this besides.
    fn remember(&mut self, what: impl FnOnce(&mut Endpoint)) {
        if let Some((endpoint, _)) = &mut self.endpoint {
            what(Arc::make_mut(endpoint));
        }
    }

    async fn disable(&mut self, why: DisabledWhy) {
        tracing::warn!(endpoint = %self.id, why = why.name(), "a webhook endpoint is put out of use");
        self.note(Health::Disabled(why)).await;
        self.handle.changed.store(true, Ordering::Release);
    }

    /// Writes down how the receiver fares. What cannot be written now is found out again.
    async fn note(&self, health: Health) {
        match self.deliverer.store.endpoints(Scope::gateway()).note(&self.id, health).await {
            Ok(Some(event)) => drop(self.deliverer.news.send(event)),
            Ok(None) | Err(StoreError::Closed) => {}
            Err(error) => tracing::warn!(endpoint = %self.id, %error, "an endpoint's health cannot be written down"),
        }
    }

    /// Lets others see how it goes.
    fn show(&self) {
        let now = self.deliverer.clock.now();
        let paused_until = match self.breaker.leave(now) {
            Leave::From(until) => Some(until),
            _ => None,
        };
        let pulse = Pulse { in_flight: self.in_flight, failures: self.breaker.failures(), paused_until };
        *lock(&self.handle.pulse) = pulse;
    }
}

/// One attempt, from reading to record.
async fn attempt(deliverer: Arc<Deliverer>, due: Due, mut slot: Slot, tell: mpsc::UnboundedSender<News>) {
    let settled = {
        let posting = deliverer.post(due);
        tokio::pin!(posting);
        let early = tokio::select! {
            settled = &mut posting => Some(settled),
            () = sleep(Duration::from_secs(1)) => None,
        };
        if let Some(settled) = early {
            settled
        } else {
            slot.grow_old();
            posting.await
        }
    };
    drop(slot);
    // Unsettled: the next run tries again.
    let Some(settled) = settled else { return };
    let _ended = tell.send(News::Answered(settled.answer()));
    let written = deliverer.record(&settled).await;
    let again = match settled.then {
        Settlement::Retry(at) => Some(at),
        Settlement::Delivered | Settlement::Dead(_) => None,
    };
    let _ended = tell.send(News::Written { delivery: settled.delivery, again, written });
}

/// Tries to write an attempt down.
const RECORD_TRIES: u32 = 7;
/// How long attempts under way may go on after the gateway began to stop.
const GRACE: Duration = Duration::from_secs(5);

impl Deliverer {
    /// Posts a delivery and judges the answer; `None` when the gateway stops first.
    async fn post(&self, due: Due) -> Option<Settled> {
        let timeout = due.endpoint.limits.timeout.unwrap_or(self.config.timeout);
        let answered = match due.sign(self.clock.now(), timeout) {
            Ok(signed) => tokio::select! {
                answered = signed.post(&self.egress) => answered,
                () = self.grace_over() => return None,
            },
            Err(answered) => *answered,
        };
        Some(answered.judge(self.clock.now(), rand::random()))
    }

    /// Writes down how an attempt ended; whether it is written. What is not is attempted again.
    async fn record(&self, settled: &Settled) -> bool {
        let mut backoff = FIRST_BACKOFF;
        for _ in 0..RECORD_TRIES {
            match self.deliveries().settle(settled.row()).await {
                Ok(recorded) => {
                    log(settled, recorded);
                    return true;
                }
                Err(StoreError::Closed) => break,
                Err(error) => {
                    tracing::warn!(delivery = %settled.delivery, %error, "a webhook attempt cannot be recorded");
                    sleep(backoff).await;
                    backoff *= 2;
                }
            }
        }
        tracing::error!(delivery = %settled.delivery, "a webhook attempt went unrecorded and will be repeated");
        false
    }

    async fn grace_over(&self) {
        self.tasks.stopping().await;
        sleep(GRACE).await;
    }
}

fn log(settled: &Settled, recorded: bool) {
    let Settled { delivery, endpoint, session, earlier, attempt, then, .. } = settled;
    let (number, outcome, took_ms) = (earlier + 1, &attempt.outcome, attempt.took_ms);
    if !recorded {
        tracing::info!(%delivery, number, "this webhook was settled otherwise while it was attempted");
        return;
    }
    match then {
        Settlement::Delivered => tracing::debug!(%delivery, %session, number, took_ms, "webhook delivered"),
        Settlement::Retry(at) => {
            tracing::info!(%delivery, %endpoint, %session, number, took_ms, ?outcome, due_at = %at, "webhook will be retried");
        }
        Settlement::Dead(why) => {
            let why = why.name();
            tracing::warn!(%delivery, %endpoint, %session, number, took_ms, ?outcome, why, "webhook given up");
        }
    }
}
