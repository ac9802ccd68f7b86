//! One active gateway on a database server; the others stand by.
//!
//! Whoever holds a lock on the server may lead. The lock is of a connection that does nothing else, so it is free as
//! soon as its holder is gone. Because a holder may lose it without noticing, each lead also has a number of its own, its
//! epoch, one higher than all before: the writer's every transaction begins by reading that the epoch is still ours, and
//! keeps the row from being changed until it has ended. So the next leader, who raises the epoch first, waits for the
//! last batch of the one before, and no later batch of that one is committed.
//!
//! When only the connection is lost, as at a restart of the server, the lead goes on: the lock is taken again, and until
//! then the epoch alone keeps others' writes and ours apart. The lock is of one server: gateways that share a database
//! reach it at the same server, not at several that copy each other, and not through a pool that lends connections by
//! the transaction.
//!
//! A store that does not lead writes without all this; that is for commands that tend the database beside a gateway. On
//! SQLite the lock on the file lets one process in, which therefore always leads.
//!
//! Invariant: of two stores that have led, only the later one's writes are committed.

use std::io;
use std::process;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use sqlx::AssertSqlSafe;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard, WaitForCancellationFutureOwned};

use super::StoreError;
use super::dialect::{Election, Source};
use super::pool::{Tx, on, within};
use super::sql::{Sql, sql, statements};
use crate::app::tasks::Tasks;

/// The migration that gateways elect a leader from on.
pub(in crate::store) const SINCE: i64 = 6;

/// How often the holder looks whether its lock still stands. Servers take a connection that says nothing for a minute
/// for gone.
const BEAT: Duration = Duration::from_secs(2);

/// How long a look may take, and an attempt to lead. It includes the wait for the last batch of the leader before.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long letting go may take. The lock ends with the connection anyway.
const FAREWELL: Duration = Duration::from_secs(5);

const BEGIN: Sql = sql!("BEGIN");
const COMMIT: Sql = sql!("COMMIT");

statements! {
    RAISE = "INSERT INTO leadership (id, epoch, holder) VALUES (1, 1, $1)
            ON CONFLICT (id) DO UPDATE SET epoch = leadership.epoch + 1, holder = excluded.holder",
        mysql: "INSERT INTO leadership (id, epoch, holder) VALUES (1, 1, ?)
            ON DUPLICATE KEY UPDATE epoch = epoch + 1, holder = VALUES(holder)";
    EPOCH = "SELECT epoch FROM leadership WHERE id = 1";
}

/// A store's part in the election: it stands by until it leads, and leads until it is closed or superseded.
pub(in crate::store) struct Leader {
    /// The server and how it elects; `None` where the database lets one process in.
    candidate: Option<(Arc<Source>, Election)>,
    fence: Arc<Fence>,
    /// What keeps the lock, once there is one.
    keeping: Mutex<Option<JoinHandle<()>>>,
    resign: CancellationToken,
    /// Ends the keeping also when the store is let go without being closed.
    _last: DropGuard,
}

impl Leader {
    /// A candidate for the lead of the database that `source` connects to.
    pub(in crate::store) fn new(source: &Source) -> Self {
        let resign = CancellationToken::new();
        Self {
            candidate: source.candidate().map(|(server, election)| (Arc::new(server), election)),
            fence: Arc::default(),
            keeping: Mutex::default(),
            _last: resign.clone().drop_guard(),
            resign,
        }
    }

    /// What the writer asks before each transaction.
    pub(in crate::store) fn fence(&self) -> Arc<Fence> {
        Arc::clone(&self.fence)
    }

    /// Takes the lead if it is free, else answers [`StoreError::Standby`]. The lock is kept by one of `tasks`, which
    /// ends with [`Leader::resign`].
    pub(in crate::store) async fn lead(&self, tasks: &Tasks) -> Result<(), StoreError> {
        let Some((server, election)) = &self.candidate else { return Ok(()) };
        let mut keeping = self.keeping.lock().await;
        if keeping.is_some() {
            return Ok(());
        }
        let (tx, epoch) = within(Some(PATIENCE), elect(server, *election)).await?.ok_or(StoreError::Standby)?;
        self.fence.close(epoch, *election);
        let keeper = Keeper {
            server: Arc::clone(server),
            election: *election,
            epoch,
            fence: Arc::clone(&self.fence),
            resign: self.resign.clone(),
        };
        *keeping = Some(tasks.spawn("store leader", keeper.keep(tx)));
        tracing::debug!(epoch, "this gateway leads on its database");
        Ok(())
    }

    /// The epoch it leads under; above all others while it does not lead.
    pub(in crate::store) fn epoch(&self) -> i64 {
        self.fence.epoch.get().copied().unwrap_or(i64::MAX)
    }

    /// Resolves when another gateway has taken over; never while this one leads or stands by.
    pub(in crate::store) fn superseded(&self) -> WaitForCancellationFutureOwned {
        self.fence.lost.clone().cancelled_owned()
    }

    /// Lets the lock go, after the last write. Whoever stands by leads a moment later.
    pub(in crate::store) async fn resign(&self) {
        self.resign.cancel();
        if let Some(keeping) = self.keeping.lock().await.take() {
            let _panicked = keeping.await;
        }
    }
}

/// What stands between the writer and a database that may be somebody else's by now.
#[derive(Debug, Default)]
pub(in crate::store) struct Fence {
    /// Begins a transaction and reads one row if the epoch is still ours, else none; not set while the store does not
    /// lead.
    begin: OnceLock<Arc<str>>,
    epoch: OnceLock<i64>,
    lost: CancellationToken,
}

impl Fence {
    /// Begins a write transaction with the savepoint `job` in it: as `unled` says while the store does not lead, else
    /// only while no other does. The row is read before the savepoint, because what is locked after it is let go with it.
    pub(in crate::store) async fn begin(&self, tx: &mut Tx, unled: Sql) -> sqlx::Result<()> {
        let Some(begin) = self.begin.get() else { return tx.run(unled).await };
        let begin = sqlx::raw_sql(AssertSqlSafe(Arc::clone(begin)));
        let ours = on!(tx, |db, _q| { begin.fetch_all(db).await?.len() });
        if ours == 0 {
            self.lose();
            return Err(sqlx::Error::Io(io::Error::other(Superseded)));
        }
        Ok(())
    }

    /// From now on only transactions under this epoch are begun.
    fn close(&self, epoch: i64, election: Election) {
        let _led_before = self.epoch.set(epoch);
        let held = election.share;
        let begin =
            format!("BEGIN; SELECT epoch FROM leadership WHERE id = 1 AND epoch = {epoch} {held}; SAVEPOINT job");
        let _led_before = self.begin.set(begin.into());
    }

    fn lose(&self) {
        if !self.lost.is_cancelled() {
            tracing::error!("another gateway took over this database; nothing more can be written here");
            self.lost.cancel();
        }
    }
}

/// The epoch was raised by somebody else.
#[derive(Debug, thiserror::Error)]
#[error("another gateway took over")]
struct Superseded;

/// Whether a transaction was not begun because another gateway leads.
pub(in crate::store) fn is_superseded(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Io(error) if error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<Superseded>))
}

/// Takes the lock and raises the epoch; `None` when another holds the lock. One transaction, so that the epoch that is
/// read is the one that was raised.
async fn elect(server: &Source, election: Election) -> sqlx::Result<Option<(Tx, i64)>> {
    let mut tx = server.connect().await?;
    if !lock(&mut tx, election).await? {
        tx.close().await?;
        return Ok(None);
    }
    let holder = format!("wagate {}, process {}", env!("CARGO_PKG_VERSION"), process::id());
    tx.run(BEGIN).await?;
    on!(&mut tx, |db, q| {
        sqlx::query(q(RAISE)).bind(holder).execute(db).await?;
    });
    let epoch: i64 = on!(&mut tx, |db, q| { sqlx::query_scalar(q(EPOCH)).fetch_one(db).await? });
    tx.run(COMMIT).await?;
    Ok(Some((tx, epoch)))
}

/// Takes the lock if it is free.
pub(in crate::store) async fn lock(tx: &mut Tx, election: Election) -> sqlx::Result<bool> {
    let locked: i64 = on!(tx, |db, q| { sqlx::query_scalar(q(election.lock)).fetch_one(db).await? });
    Ok(locked == 1)
}

/// Keeps the lock of a store that leads.
struct Keeper {
    server: Arc<Source>,
    election: Election,
    epoch: i64,
    fence: Arc<Fence>,
    resign: CancellationToken,
}

impl Keeper {
    async fn keep(self, tx: Tx) {
        let mut held = Some(tx);
        loop {
            tokio::select! {
                () = self.resign.cancelled() => break,
                () = self.fence.lost.cancelled() => break,
                () = tokio::time::sleep(BEAT) => {}
            }
            let (noticed, looked) = (held.is_none(), within(Some(PATIENCE), self.look(&mut held)));
            let ours = tokio::select! {
                ours = looked => ours,
                () = self.resign.cancelled() => return,
            };
            match ours {
                Ok(true) => {}
                Ok(false) => self.fence.lose(),
                Err(error) if noticed => tracing::debug!(%error, "the lock of this gateway is not held yet"),
                Err(error) => tracing::warn!(%error, "the connection that holds this gateway's lock is lost"),
            }
        }
        if let Some(mut tx) = held {
            let unlock = self.election.unlock;
            let let_go = async move {
                tx.run(unlock).await?;
                tx.close().await
            };
            if let Err(error) = within(Some(FAREWELL), let_go).await {
                tracing::debug!(%error, "the lock ends with its connection");
            }
        }
    }

    /// Whether the epoch is still ours. Takes the lock again when its connection is gone; one that fails or does not
    /// answer is let go.
    async fn look(&self, held: &mut Option<Tx>) -> sqlx::Result<bool> {
        let (mut tx, locked) = if let Some(tx) = held.take() {
            (tx, true)
        } else {
            let mut tx = self.server.connect().await?;
            let locked = lock(&mut tx, self.election).await?;
            (tx, locked)
        };
        let found: Option<i64> = on!(&mut tx, |db, q| { sqlx::query_scalar(q(EPOCH)).fetch_optional(db).await? });
        // Whoever else holds the lock is about to raise the epoch.
        if locked {
            *held = Some(tx);
        }
        Ok(found == Some(self.epoch))
    }
}

#[cfg(test)]
mod tests;
