//! Replays: many deliveries to be made again, a few at a time, as fast as their owner allows.
//!
//! A replay names a filter and stands still for nothing: its cursor moves with each step, in the transaction that makes
//! the step's deliveries wait again, so one that was interrupted goes on where it stood. What a step is about is looked up
//! beforehand on a reading connection, because between two deliveries of one owner may lie a million of others.
//!
//! Invariant: a replay makes each delivery wait again once, and none that was created, delivered or given up after it
//! began.

use serde::Serialize;
use sqlx::{FromRow, QueryBuilder};

use super::bulk::push_list;
use super::column::{count, json, parsed, unknown};
use super::deliveries::again::{self, PlaceRow};
use super::deliveries::{DeliveryFilter, push_filter};
use super::pool::on;
use super::sql::statements;
use super::{Store, StoreError};
use crate::model::{DeliveryId, EndpointId, Millis, ReplayId, Scope, UserId};

/// Replays of a scope.
macro_rules! replays {
    ($condition:literal) => {
        concat!(
            "SELECT id, owner, filter, per_second, state, total, done, cursor_seq, last_seq, created_at, ended_at
            FROM replays WHERE owner BETWEEN $1 AND $2 ",
            $condition
        )
    };
}

statements! {
    ADD = "INSERT INTO replays (id, owner, filter, per_second, state, total, done, cursor_seq, last_seq, created_at)
        VALUES ($1, $2, $3, $4, 'running', $5, 0, 0, $6, $7)";
    LAST = "SELECT COALESCE(MAX(seq), 0) FROM deliveries";
    LIST = replays!("ORDER BY created_at DESC, id DESC LIMIT 100");
    RUNNING = replays!("AND state = 'running' ORDER BY created_at, id");
    GET = replays!("AND id = $3");
    CANCEL = "UPDATE replays SET state = 'cancelled', ended_at = $1
        WHERE owner BETWEEN $2 AND $3 AND id = $4 AND state = 'running'";
    STEP = "UPDATE replays SET cursor_seq = $1, done = done + $2 WHERE id = $3 AND state = 'running' AND cursor_seq = $4";
    END = "UPDATE replays SET state = 'done', ended_at = $1 WHERE id = $2 AND state = 'running'";
}

/// What the next step is about, whatever else there is. The owner and conditions follow.
const NEXT: &str = "SELECT d.seq, d.id, d.endpoint_id, d.chat, d.state,
        (SELECT n.ordering FROM endpoints n WHERE n.id = d.endpoint_id AND n.enabled) AS ordering
    FROM deliveries d WHERE (SELECT s.owner FROM sessions s WHERE s.id = d.session_id) = ";

/// Calls on replays within a scope.
#[derive(Debug)]
pub struct Replays<'a>(pub(super) &'a Store, pub(super) Scope);

/// A replay as it stands.
#[derive(Clone, Debug)]
pub struct Replay {
    /// Its id.
    pub id: ReplayId,
    /// Which deliveries it makes again.
    pub filter: DeliveryFilter,
    /// How many in a second.
    pub per_second: u32,
    /// Whether it goes on.
    pub state: ReplayState,
    /// How many deliveries it found when it began.
    pub total: u64,
    /// How many of them wait again or have been delivered again.
    pub done: u64,
    /// When it began.
    pub created_at: Millis,
    /// When it ended.
    pub ended_at: Option<Millis>,
}

/// Whether a replay goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplayState {
    /// It goes on.
    Running,
    /// All of its deliveries wait again or have been delivered again.
    Done,
    /// Its owner ended it.
    Cancelled,
}

impl ReplayState {
    /// The state's stored name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
        }
    }
}

/// What a step of a replay did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advanced {
    /// The endpoints whose deliveries wait again.
    pub endpoints: Vec<EndpointId>,
    /// Nothing is left to do.
    pub ended: bool,
}

impl Replays<'_> {
    /// Begins a replay of what the filter names now.
    pub async fn start(&self, owner: UserId, filter: DeliveryFilter, per_second: u32) -> Result<Replay, StoreError> {
        let last: i64 = on!(self.0.readers(), |db, q| { sqlx::query_scalar(q(LAST)).fetch_one(db).await? });
        let total = self.0.deliveries(Scope::of(owner)).count_up_to(&filter, last).await?;
        let (id, now, column) = (ReplayId::new(), self.0.clock().now(), json(&filter)?);
        let replay = Replay {
            id,
            filter,
            per_second,
            state: ReplayState::Running,
            total,
            done: 0,
            created_at: now,
            ended_at: None,
        };
        let work = self.0.write(move |tx| {
            Box::pin(async move {
                on!(tx, |db, q| {
                    let add = sqlx::query(q(ADD)).bind(&replay.id).bind(owner.0).bind(column);
                    let add = add.bind(i64::from(per_second)).bind(i64::try_from(total).unwrap_or(i64::MAX));
                    add.bind(last).bind(now).execute(db).await?;
                });
                Ok(replay)
            })
        });
        work.await
    }

    /// The newest hundred replays.
    pub async fn list(&self) -> Result<Vec<Replay>, StoreError> {
        let (low, high) = self.1.owners();
        let rows: Vec<ReplayRow> =
            on!(self.0.readers(), |db, q| { sqlx::query_as(q(LIST)).bind(low).bind(high).fetch_all(db).await? });
        rows.into_iter().map(ReplayRow::into_replay).collect()
    }

    /// Those that go on, oldest first.
    pub async fn running(&self) -> Result<Vec<Replay>, StoreError> {
        let (low, high) = self.1.owners();
        let rows: Vec<ReplayRow> =
            on!(self.0.readers(), |db, q| { sqlx::query_as(q(RUNNING)).bind(low).bind(high).fetch_all(db).await? });
        rows.into_iter().map(ReplayRow::into_replay).collect()
    }

    /// One replay.
    pub async fn get(&self, id: &ReplayId) -> Result<Option<Replay>, StoreError> {
        let (low, high) = self.1.owners();
        let row: Option<ReplayRow> = on!(self.0.readers(), |db, q| {
            sqlx::query_as(q(GET)).bind(low).bind(high).bind(id).fetch_optional(db).await?
        });
        row.map(ReplayRow::into_replay).transpose()
    }

    /// Ends a replay; whether it was going on. What waits again goes on waiting.
    pub async fn cancel(&self, id: &ReplayId) -> Result<bool, StoreError> {
        let ((low, high), now, id) = (self.1.owners(), self.0.clock().now(), id.clone());
        let work = self.0.write(move |tx| {
            Box::pin(async move {
                let cancelled = on!(tx, |db, q| {
                    let cancel = sqlx::query(q(CANCEL)).bind(now).bind(low).bind(high).bind(id);
                    cancel.execute(db).await?.rows_affected()
                });
                Ok(cancelled == 1)
            })
        });
        work.await
    }

    /// Makes the next `count` deliveries of a replay wait again, in one transaction, and ends it when none are left.
    pub async fn advance(&self, id: &ReplayId, count: u32) -> Result<Advanced, StoreError> {
        let ((low, high), now, id) = (self.1.owners(), self.0.clock().now(), id.clone());
        let row: Option<ReplayRow> = on!(self.0.readers(), |db, q| {
            sqlx::query_as(q(GET)).bind(low).bind(high).bind(&id).fetch_optional(db).await?
        });
        let Some(row) = row.filter(|row| row.state == ReplayState::Running.name()) else {
            return Ok(Advanced { endpoints: Vec::new(), ended: true });
        };
        let (cursor, found) = (row.cursor_seq, self.next(&row, count).await?);
        let work = self.0.write(move |tx| {
            Box::pin(async move {
                let Some(last) = found.last().map(|found| found.seq) else {
                    on!(tx, |db, q| {
                        sqlx::query(q(END)).bind(now).bind(&id).execute(db).await?;
                    });
                    return Ok(Advanced { endpoints: Vec::new(), ended: true });
                };
                let moved = on!(&mut *tx, |db, q| {
                    let step = sqlx::query(q(STEP)).bind(last).bind(i64::try_from(found.len()).unwrap_or(i64::MAX));
                    step.bind(&id).bind(cursor).execute(db).await?.rows_affected()
                });
                if moved == 0 {
                    // It was ended meanwhile, or moved on by another.
                    return Ok(Advanced { endpoints: Vec::new(), ended: false });
                }
                let places: Vec<PlaceRow> = found.into_iter().map(|found| found.place).collect();
                Ok(Advanced { endpoints: again::make(tx, &places, now).await?, ended: false })
            })
        });
        work.await
    }

    /// The deliveries a replay comes to next.
    async fn next(&self, row: &ReplayRow, count: u32) -> Result<Vec<NextRow>, StoreError> {
        let filter: DeliveryFilter = parsed(&row.filter)?;
        let found: Vec<NextRow> = on!(self.0.readers(), |db, _q| {
            let mut next = QueryBuilder::new(NEXT);
            next.push_bind(row.owner).push(" AND d.seq > ").push_bind(row.cursor_seq);
            next.push(" AND d.seq <= ").push_bind(row.last_seq);
            next.push(" AND (d.settled_at IS NULL OR d.settled_at <= ").push_bind(row.created_at).push(")");
            push_filter!(next, &filter, "d.");
            next.push(" ORDER BY d.seq LIMIT ").push_bind(i64::from(count));
            next.build_query_as().fetch_all(db).await?
        });
        Ok(found)
    }
}

/// A delivery that a replay comes to.
#[derive(Clone, FromRow)]
struct NextRow {
    seq: i64,
    #[sqlx(flatten)]
    place: PlaceRow,
}

#[derive(FromRow)]
struct ReplayRow {
    id: ReplayId,
    owner: i64,
    filter: String,
    per_second: i64,
    state: String,
    total: i64,
    done: i64,
    cursor_seq: i64,
    last_seq: i64,
    created_at: Millis,
    ended_at: Option<Millis>,
}

impl ReplayRow {
    fn into_replay(self) -> Result<Replay, StoreError> {
        let states = [ReplayState::Running, ReplayState::Done, ReplayState::Cancelled];
        let state = states.into_iter().find(|state| state.name() == self.state);
        Ok(Replay {
            id: self.id,
            filter: parsed(&self.filter)?,
            per_second: count(self.per_second),
            state: state.ok_or_else(|| unknown("replay state", &self.state))?,
            total: self.total.unsigned_abs(),
            done: self.done.unsigned_abs(),
            created_at: self.created_at,
            ended_at: self.ended_at,
        })
    }
}
