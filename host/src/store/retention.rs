//! Deletes what has had its time, by age and by the size of the database.
//!
//! One task looks every few minutes. It looks up old rows on a reading connection, a page at a time, and deletes them in
//! jobs of a few milliseconds with pauses between them, longer ones the slower the writer is; while others wait for the
//! writer it lets them go first. What to look for and what must stay is in [`rows`].
//!
//! Deleting makes room inside the database, which new rows fill. A SQLite file does not shrink: giving pages back to the
//! system (`auto_vacuum`) would move a page for each that is freed, in the way of everybody's commits, so that the file
//! could grow again the next day. A backup that is restored is as small as what it holds.
//!
//! Invariant: nothing goes that is still to be routed, delivered or sent, however old it is or large the database.

pub(in crate::store) mod rows;

use std::time::{Duration, Instant};

use tokio::time::sleep;

use self::rows::{Kind, PAGE};
use super::{Store, StoreError, dialect};
use crate::app::tasks::Tasks;
use crate::config::RetentionConfig;
use crate::model::{Clock, Millis};

/// How long between two looks.
const EVERY: Duration = Duration::from_mins(5);
/// Pause between two jobs: so many times as long as the last took until it was committed, within these bounds.
const PAUSE: u32 = 3;
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How long a job lets others go first at most: under a load that never ends, it must go on too.
const PATIENCE: Duration = Duration::from_millis(500);
/// Whatever the size, events are kept for so long: who looks at what has just arrived finds it.
const LEAST: Duration = Duration::from_hours(1);

/// Starts deleting what has had its time, now and every few minutes, until `tasks` stops.
pub fn start(store: Store, config: RetentionConfig, clock: Clock, tasks: &Tasks) {
    let keeper = Keeper::new(store, config, clock, tasks.clone());
    tasks.spawn("retention", keeper.run());
}

struct Keeper {
    store: Store,
    config: RetentionConfig,
    clock: Clock,
    tasks: Tasks,
    /// The size at which something was last deleted for the size's sake.
    eased_at: Option<u64>,
    /// Whether the log knows that the database stays too large.
    warned: bool,
}

/// How many rows of each kind went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Gone {
    events: u64,
    digests: u64,
    attempts: u64,
    replays: u64,
    sends: u64,
    plugin_sends: u64,
    endpoints: u64,
}

/// What a pass did.
#[derive(Clone, Copy, Debug, Default)]
struct Passed {
    rows: u64,
    bytes: u64,
}

impl Keeper {
    fn new(store: Store, config: RetentionConfig, clock: Clock, tasks: Tasks) -> Self {
        Self { store, config, clock, tasks, eased_at: None, warned: false }
    }

    async fn run(mut self) {
        while !self.tasks.is_stopping() {
            let mut gone = Gone::default();
            let outcome = self.look(&mut gone).await;
            gone.report();
            match outcome {
                Ok(()) => {}
                Err(StoreError::Closed) => return,
                Err(error) => tracing::warn!(%error, "old rows cannot be deleted; trying again in some minutes"),
            }
            tokio::select! {
                () = sleep(EVERY) => {}
                () = self.tasks.stopping() => return,
            }
        }
    }

    /// Deletes everything that has had its time, and counts it in `gone` as it goes.
    async fn look(&mut self, gone: &mut Gone) -> Result<(), StoreError> {
        let RetentionConfig { events, attempts, sends, size } = self.config;
        if let Some(age) = attempts {
            gone.attempts += self.pass(Kind::Attempts, self.ago(age), None).await?.rows;
            gone.replays += self.pass(Kind::Replays, self.ago(age), None).await?.rows;
        }
        gone.events += self.pass(Kind::Fleeting, self.clock.now(), None).await?.rows;
        if let Some(age) = events {
            gone.events += self.pass(Kind::Events, self.ago(age), None).await?.rows;
        }
        if let Some(age) = sends {
            gone.sends += self.pass(Kind::Sends, self.ago(age), None).await?.rows;
            gone.plugin_sends += self.pass(Kind::PluginSends, self.ago(age), None).await?.rows;
        }
        gone.digests += self.pass(Kind::Digests, self.clock.now(), None).await?.rows;
        if let Some(limit) = size {
            gone.events += self.ease(limit).await?;
        }
        gone.endpoints += self.pass(Kind::Endpoints, self.clock.now(), None).await?.rows;
        Ok(())
    }

    /// Deletes the oldest events until the database is about as large as it may be; answers how many.
    async fn ease(&mut self, limit: u64) -> Result<u64, StoreError> {
        let size = dialect::size(self.store.readers()).await?;
        let Some(excess) = size.checked_sub(limit).filter(|excess| *excess > 0) else {
            (self.eased_at, self.warned) = (None, false);
            return Ok(0);
        };
        // A server counts from time to time only. Until it has counted again, the room made before does not show.
        if self.eased_at == Some(size) {
            return Ok(0);
        }
        let passed = self.pass(Kind::Events, self.ago(LEAST), Some(excess)).await?;
        self.eased_at = (passed.rows > 0).then_some(size);
        let short = passed.bytes < excess && !self.tasks.is_stopping();
        if short && !self.warned {
            tracing::warn!(size, limit, "the database is larger than retention.size, and nothing is left that may go");
        }
        self.warned = short;
        Ok(passed.rows)
    }

    /// Goes through the rows older than `before`, oldest first, and deletes those that are finished: all of them, or until
    /// about `enough` bytes are free.
    async fn pass(&self, kind: Kind, before: Millis, enough: Option<u64>) -> Result<Passed, StoreError> {
        let (mut passed, mut from) = (Passed::default(), Millis::default());
        let goes_on = |passed: Passed| !self.tasks.is_stopping() && enough.is_none_or(|bytes| passed.bytes < bytes);
        while goes_on(passed) {
            let page = rows::page(&self.store, kind, from, before).await?;
            let (looked_at, earlier) = (page.len(), passed.rows);
            let Some(last) = page.last().map(|row| row.at) else { break };
            let mut old: Vec<_> = page.into_iter().filter(|row| !row.held).collect();
            while !old.is_empty() && goes_on(passed) {
                self.let_others_go_first().await;
                let begun = Instant::now();
                let slice = rows::delete(&self.store, old).await?;
                passed = Passed { rows: passed.rows + slice.gone, bytes: passed.bytes + slice.bytes };
                old = slice.rest;
                sleep((begun.elapsed() * PAUSE).clamp(SHORTEST_PAUSE, LONGEST_PAUSE)).await;
            }
            if looked_at < PAGE {
                break;
            }
            // Rows of the last moment may be left, so it is looked at again, unless the whole page is of it and stays.
            let stuck = last == from && passed.rows == earlier;
            from = if stuck { last.after(Duration::from_millis(1)) } else { last };
            sleep(SHORTEST_PAUSE).await;
        }
        Ok(passed)
    }

    async fn let_others_go_first(&self) {
        let begun = Instant::now();
        while self.store.0.writer.is_awaited() && begun.elapsed() < PATIENCE && !self.tasks.is_stopping() {
            sleep(SHORTEST_PAUSE).await;
        }
    }

    fn ago(&self, age: Duration) -> Millis {
        self.clock.now().before(age)
    }
}

impl Gone {
    /// Says what was deleted, if anything was.
    fn report(self) {
        let Self { events, digests, attempts, replays, sends, plugin_sends, endpoints } = self;
        if self != Self::default() {
            tracing::info!(events, digests, attempts, replays, sends, plugin_sends, endpoints, "old rows were deleted");
        }
    }
}

#[cfg(test)]
mod tests;
