//! Which master keys seal what, and sealing anew what lies under an old one, while the gateway runs.
//!
//! A rotation takes the keys up as they are now where they come from, and goes through every sealed column: it reads a
//! page on a reading connection, seals it anew, and replaces each value that still is what was read, in jobs of a few
//! milliseconds with pauses between them; while others wait for the writer it lets them go first. What somebody writes
//! meanwhile is sealed under the new key by itself. Whatever is done stays done, so a rotation that was interrupted is
//! simply run again. It ends with a full read that finds nothing under another key, and only then the database forgets
//! that it needs the others. Gateways that share a database must all have the new key by then.
//!
//! Invariant: a value is under a key that is in use at every moment, and a key the database needs is never let go.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::sealed::{COLUMNS, Column, Part, Swap};
use super::source::VaultError;
use super::{KeyId, Keyring, checks};
use crate::app::tasks::Tasks;
use crate::store::{Store, StoreError};

/// How often everything is gone through at most. What was sealed just before the change may be committed behind the
/// first time's back.
const PASSES: u32 = 5;
/// How long one job may keep the writer busy. It holds up everybody else's commit.
const SLICE: Duration = Duration::from_millis(3);
/// Pause between two jobs: so many times as long as the last took until it was committed, within these bounds.
const PAUSE: u32 = 3;
const SHORTEST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How long a job lets others go first at most: under a load that never ends, it must go on too.
const PATIENCE: Duration = Duration::from_millis(500);

/// Calls on how the store's secrets are sealed.
#[derive(Clone, Copy, Debug)]
pub struct Sealing<'a>(pub(in crate::store) &'a Store);

/// How the store's secrets are sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The key that seals.
    pub current: KeyId,
    /// Every key at hand, the one that seals first.
    pub keys: Vec<KeyId>,
    /// How many values lie under which key.
    pub counts: Vec<Count>,
}

/// Values of one column under one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// The table.
    pub table: &'static str,
    /// The column.
    pub column: &'static str,
    /// The key they say they are sealed under; `None` when they do not look sealed at all.
    pub key: Option<KeyId>,
    /// How many there are.
    pub values: u64,
}

/// How far the rotation is, or how the last one ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Whether one is under way.
    pub state: State,
    /// The table it is at.
    pub table: Option<&'static str>,
    /// Values it has sealed anew.
    pub resealed: u64,
    /// Why it failed.
    pub error: Option<String>,
}

/// Where a rotation stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// None was asked for since the gateway started.
    #[default]
    Idle,
    /// It is under way.
    Running,
    /// It went through everything.
    Done,
    /// It ended before that.
    Failed,
}

/// Why a rotation did not begin, or did not get to its end.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    /// There is one already.
    #[error("a rotation is under way already")]
    UnderWay,
    /// The keys cannot be taken up.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The store failed, or needs a key that is not there.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The gateway stops.
    #[error("the rotation was stopped half way; what is done stays done, run it again for the rest")]
    Stopped,
    /// Values that no key at hand opens.
    #[error(
        "{0} values open under none of the keys at hand and were left as they are; see `wagate vault status`, and the \
         log for whose they are; the old keys are still needed"
    )]
    Unreadable(u64),
    /// Somebody goes on sealing under another key.
    #[error(
        "{0} values were sealed under another key meanwhile; does another gateway use this database with the keys it \
         started with? give it the new one, then run this again; the old keys are still needed"
    )]
    Left(u64),
}

impl Sealing<'_> {
    /// Which keys seal what. Reads every sealed row.
    pub async fn status(self) -> Result<Status, StoreError> {
        let ring = self.0.vault().ring();
        let mut counts = Vec::new();
        for column in &COLUMNS {
            let (table, name) = (column.table, column.column);
            let of_column = column.count(self.0).await?.into_iter();
            counts.extend(of_column.map(|(key, values)| Count { table, column: name, key, values }));
        }
        Ok(Status { current: ring.current(), keys: ring.ids(), counts })
    }

    /// How far the rotation is, or how the last one ended.
    pub fn progress(self) -> Progress {
        self.0.0.rotation.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes the keys up anew and begins to seal everything under the current one; answers before that is done. One of
    /// `tasks` goes on with it.
    pub async fn start(self, tasks: &Tasks) -> Result<(), RotationError> {
        let turn = self.prepare().await?;
        let group = tasks.clone();
        tasks.spawn("vault rotation", async move {
            if let Err(error) = turn.run(&group).await {
                tracing::warn!(%error, "not every secret is sealed under the present master key");
            }
        });
        Ok(())
    }

    /// The same, and waits for the end. Leaves off when `tasks` stop.
    pub async fn rotate(self, tasks: &Tasks) -> Result<(), RotationError> {
        self.prepare().await?.run(tasks).await
    }

    async fn prepare(self) -> Result<Turn, RotationError> {
        let turn = Turn::take(self.0)?;
        match self.take_keys_up().await {
            Ok(()) => Ok(turn),
            Err(error) => Err(turn.fail(error)),
        }
    }

    async fn take_keys_up(self) -> Result<(), RotationError> {
        let vault = self.0.vault();
        let ring = vault.look_again().await?;
        Ok(checks::change(self.0, vault, Arc::new(ring)).await?)
    }
}

/// The right to rotate: one has it at a time. Whoever drops it half way is seen to have failed.
struct Turn(Store);

impl Turn {
    fn take(store: &Store) -> Result<Self, RotationError> {
        let mut progress = store.0.rotation.lock().unwrap_or_else(PoisonError::into_inner);
        if progress.state == State::Running {
            return Err(RotationError::UnderWay);
        }
        *progress = Progress { state: State::Running, ..Progress::default() };
        Ok(Self(store.clone()))
    }

    fn fail(self, error: RotationError) -> RotationError {
        self.note(|progress| {
            progress.state = State::Failed;
            progress.error = Some(error.to_string());
        });
        error
    }

    fn note(&self, change: impl FnOnce(&mut Progress)) {
        change(&mut self.0.0.rotation.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Seals everything under the current key.
    async fn run(self, tasks: &Tasks) -> Result<(), RotationError> {
        let ring = self.0.vault().ring();
        match self.seal_all(&ring, tasks).await {
            Ok(()) => {
                self.note(|progress| (progress.state, progress.table) = (State::Done, None));
                tracing::info!(key = %ring.current(), "every secret is sealed under the present master key");
                Ok(())
            }
            Err(error) => Err(self.fail(error)),
        }
    }

    async fn seal_all(&self, ring: &Keyring, tasks: &Tasks) -> Result<(), RotationError> {
        // Whoever sealed under the old key before this has committed when it is answered.
        self.0.ping().await?;
        let mut left = 0;
        for _ in 0..PASSES {
            let mut unreadable = 0;
            for column in &COLUMNS {
                self.note(|progress| progress.table = Some(column.table));
                unreadable += self.pass(column, ring, tasks).await?;
            }
            left = self.left(ring.current()).await?;
            if left == 0 {
                return Ok(checks::settle(&self.0, ring).await?);
            }
            if left <= unreadable {
                return Err(RotationError::Unreadable(left));
            }
        }
        Err(RotationError::Left(left))
    }

    /// How many values are not sealed under this key. Reads every row.
    async fn left(&self, current: KeyId) -> Result<u64, RotationError> {
        let counts = self.0.sealing().status().await?.counts;
        Ok(counts.iter().filter(|count| count.key != Some(current)).map(|count| count.values).sum())
    }

    /// Goes through a column once. Answers how many values do not open.
    async fn pass(&self, column: &'static Column, ring: &Keyring, tasks: &Tasks) -> Result<u64, RotationError> {
        let (mut owner, mut unreadable) = (String::new(), 0);
        while let Some(next) = column.next_owner(self.0.readers(), &owner).await? {
            owner = next;
            let (mut from, mut more): (Option<Vec<Part>>, bool) = (None, true);
            while more {
                let (page, full) = column.page(self.0.readers(), &owner, ring.current(), from.as_deref()).await?;
                from = page.last().map(|found| found.key.clone());
                more = full && from.is_some();
                let mut swaps = Vec::with_capacity(page.len());
                for found in page {
                    if let Some(swap) = column.reseal(ring, &owner, found) {
                        swaps.push(swap);
                    } else {
                        unreadable += 1;
                        tracing::error!(table = column.table, owner, "a sealed value opens under no key");
                    }
                }
                self.replace(column, &owner, swaps, tasks).await?;
            }
        }
        Ok(unreadable)
    }

    /// Replaces values in jobs with pauses between them.
    async fn replace(
        &self,
        column: &'static Column,
        owner: &str,
        mut swaps: Vec<Swap>,
        tasks: &Tasks,
    ) -> Result<(), RotationError> {
        while !swaps.is_empty() {
            self.let_others_go_first(tasks).await;
            if tasks.is_stopping() {
                return Err(RotationError::Stopped);
            }
            let begun = Instant::now();
            let (done, rest) = slice(&self.0, column, owner.to_owned(), swaps).await?;
            swaps = rest;
            self.note(|progress| progress.resealed += done);
            sleep((begun.elapsed() * PAUSE).clamp(SHORTEST_PAUSE, LONGEST_PAUSE)).await;
        }
        Ok(())
    }

    async fn let_others_go_first(&self, tasks: &Tasks) {
        let begun = Instant::now();
        while self.0.0.writer.is_awaited() && begun.elapsed() < PATIENCE && !tasks.is_stopping() {
            sleep(SHORTEST_PAUSE).await;
        }
    }
}

/// Set to failed only where nobody has said how it ended.
impl Drop for Turn {
    fn drop(&mut self) {
        self.note(|progress| {
            if progress.state == State::Running {
                progress.state = State::Failed;
                progress.error = Some(RotationError::Stopped.to_string());
            }
        });
    }
}

/// Replaces values in one job, as many as [`SLICE`] leaves time for. Answers how many there were, and what is left.
async fn slice(
    store: &Store,
    column: &'static Column,
    owner: String,
    swaps: Vec<Swap>,
) -> Result<(u64, Vec<Swap>), StoreError> {
    let work = store.write(move |tx| {
        Box::pin(async move {
            let (begun, mut swaps, mut done) = (Instant::now(), swaps.into_iter(), 0);
            while begun.elapsed() < SLICE {
                let Some(swap) = swaps.next() else { break };
                done += u64::from(column.swap(tx, &owner, &swap).await?);
            }
            Ok((done, swaps.collect()))
        })
    });
    work.await
}

#[cfg(test)]
pub(in crate::store) mod tests;
