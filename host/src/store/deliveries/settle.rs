//! What an attempt has come to. Attempts that end while the writer is busy are settled together (`gather.rs`): what they
//! find is looked up in one statement, those that end alike are written in one, and their log in one.
//!
//! Invariant: of two attempts that name the same number of earlier ones, one is settled. The other changes nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use sqlx::{FromRow, QueryBuilder};

use super::attempts::{self, AttemptRow};
use super::{Deliveries, lanes};
use crate::model::{Attempt, Chat, Clock, DeadWhy, DeliveryId, DeliveryState, EndpointId, Millis, Scope};
use crate::store::StoreError;
use crate::store::bulk::{MOST, push_list};
use crate::store::gather::{Call, Outcomes};
use crate::store::pool::{Tx, on};
use crate::store::sql::statements;

statements! {
    /// One that stands behind another of its chat by now goes on standing there.
    RETRY = "UPDATE deliveries SET attempts = attempts + 1, due_at = CASE WHEN due_at IS NULL THEN due_at ELSE $1 END
        WHERE settled_at IS NULL AND id = $2 AND attempts = $3";
}

/// An attempt that has ended, and what becomes of its delivery.
#[derive(Clone, Debug)]
pub struct Settled {
    /// The delivery.
    pub delivery: DeliveryId,
    /// Attempts made before this one.
    pub attempts: u32,
    /// The attempt.
    pub attempt: Attempt,
    /// What becomes of it.
    pub then: Settlement,
}

/// What becomes of a delivery after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// The receiver has it.
    Delivered,
    /// Try again at this moment.
    Retry(Millis),
    /// Give up, for this reason.
    Dead(DeadWhy),
}

impl Deliveries<'_> {
    /// Records an attempt and what becomes of its delivery, in one transaction, which may be that of others too. Answers
    /// `false`, and changes nothing, when the delivery was settled, skipped, or attempted by another meanwhile. At a strict
    /// endpoint the next of the chat becomes due when this one is done with.
    pub async fn settle(&self, settled: Settled) -> Result<bool, StoreError> {
        self.0.settling().run(self.0, Settling::of(self.1, settled)).await
    }
}

/// What one caller wants settled.
pub(in crate::store) struct Settling {
    scope: Scope,
    id: DeliveryId,
    /// Before this one.
    attempts: u32,
    row: AttemptRow,
    then: Settlement,
}

impl Settling {
    fn of(scope: Scope, settled: Settled) -> Self {
        let Settled { delivery: id, attempts, attempt, then } = settled;
        Self { scope, id, attempts, row: AttemptRow::of(attempt), then }
    }

    /// Whether the delivery still is as the attempt left it.
    fn meets(&self, found: &FoundRow) -> bool {
        let (low, high) = self.scope.owners();
        let waits = found.state == DeliveryState::Waiting.name() && found.attempts == i64::from(self.attempts);
        waits && (low..=high).contains(&found.owner)
    }

    /// State and reason, when this is the end of the delivery.
    fn end(&self) -> Option<(&'static str, Option<&'static str>)> {
        match self.then {
            Settlement::Delivered => Some((DeliveryState::Delivered.name(), None)),
            Settlement::Retry(_) => None,
            Settlement::Dead(why) => Some((DeliveryState::Dead.name(), Some(why.name()))),
        }
    }
}

impl Call for Settling {
    /// Whether it was settled.
    type Answer = bool;

    fn together<'t>(calls: &'t [Arc<Self>], tx: &'t mut Tx, clock: &'t Clock) -> BoxFuture<'t, Outcomes<Self::Answer>> {
        Box::pin(settle(calls, tx, clock.now()))
    }
}

/// Where a delivery stands that is to be settled.
#[derive(FromRow)]
struct FoundRow {
    id: DeliveryId,
    state: String,
    attempts: i64,
    endpoint_id: EndpointId,
    chat: Option<Chat>,
    owner: i64,
    ordering: String,
}

impl FoundRow {
    /// The lane it stands in, if it stands in one.
    fn lane(&self) -> Option<(&EndpointId, &Chat)> {
        lanes::of(&self.ordering, &self.endpoint_id, self.chat.as_ref())
    }
}

/// Settles what is to be settled; of several attempts of one delivery each after the one before it.
async fn settle(calls: &[Arc<Settling>], tx: &mut Tx, now: Millis) -> Outcomes<bool> {
    let mut answers = vec![false; calls.len()];
    let mut open: Vec<(&Settling, &mut bool)> = calls.iter().map(|call| &**call).zip(&mut answers).collect();
    while !open.is_empty() {
        let mut seen = HashSet::new();
        let (round, later): (Vec<_>, Vec<_>) = open.into_iter().partition(|(call, _)| seen.insert(&call.id));
        let calls: Vec<&Settling> = round.iter().map(|(call, _)| *call).collect();
        let settled = settle_each(&calls, tx, now).await?;
        for (call, answer) in round {
            *answer = settled.contains(&call.id);
        }
        open = later;
    }
    Ok(answers.into_iter().map(Ok).collect())
}

/// Settles attempts of different deliveries; of which.
async fn settle_each(calls: &[&Settling], tx: &mut Tx, now: Millis) -> Result<HashSet<DeliveryId>, StoreError> {
    let found = look(calls, tx).await?;
    let mut accepted: Vec<(&Settling, &FoundRow)> = Vec::with_capacity(calls.len());
    for call in calls {
        accepted.extend(found.get(&call.id).filter(|found| call.meets(found)).map(|found| (*call, found)));
    }
    let changed = change(&accepted, tx, now).await?;
    match accepted.len() {
        all if u64::try_from(all) == Ok(changed) => {}
        // Another writer was quicker.
        1 => return Ok(HashSet::new()),
        _ => return Err(StoreError::Contended),
    }
    let log: Vec<_> = accepted.iter().map(|(call, _)| (&call.id, call.attempts.saturating_add(1), &call.row)).collect();
    attempts::add(tx, &log).await?;
    let ended = accepted.iter().filter(|(call, _)| call.end().is_some());
    let left: BTreeSet<_> = ended.filter_map(|(_, found)| found.lane()).collect();
    for (endpoint, chat) in left {
        lanes::open(tx, endpoint, chat, now).await?;
    }
    Ok(accepted.into_iter().map(|(call, _)| call.id.clone()).collect())
}

/// Looks for the deliveries. By their ids alone: they are few, whatever the engine knows of how many wait.
async fn look(calls: &[&Settling], tx: &mut Tx) -> Result<HashMap<DeliveryId, FoundRow>, StoreError> {
    let ids: Vec<&DeliveryId> = calls.iter().map(|call| &call.id).collect();
    let mut found = HashMap::with_capacity(ids.len());
    for ids in ids.chunks(MOST) {
        let rows: Vec<FoundRow> = on!(&mut *tx, |db, _q| {
            let mut look = QueryBuilder::new(
                "SELECT d.id, d.state, d.attempts, d.endpoint_id, d.chat, n.owner, n.ordering
                FROM deliveries d JOIN endpoints n ON n.id = d.endpoint_id WHERE d.id IN ",
            );
            push_list(&mut look, ids);
            look.build_query_as().fetch_all(db).await?
        });
        found.extend(rows.into_iter().map(|row| (row.id.clone(), row)));
    }
    Ok(found)
}

/// Writes what becomes of the deliveries; how many rows that changed.
async fn change(accepted: &[(&Settling, &FoundRow)], tx: &mut Tx, now: Millis) -> Result<u64, StoreError> {
    let (mut changed, mut ended) = (0, BTreeMap::<_, Vec<&DeliveryId>>::new());
    for (call, _) in accepted {
        if let Some(end) = call.end() {
            ended.entry((end, call.attempts)).or_default().push(&call.id);
        }
        if let Settlement::Retry(at) = call.then {
            changed += on!(&mut *tx, |db, q| {
                let retry = sqlx::query(q(RETRY)).bind(at).bind(&call.id).bind(i64::from(call.attempts));
                retry.execute(db).await?.rows_affected()
            });
        }
    }
    for (((state, why), attempts), ids) in ended {
        for ids in ids.chunks(MOST) {
            changed += on!(&mut *tx, |db, _q| {
                let mut end = QueryBuilder::new("UPDATE deliveries SET state = ");
                end.push_bind(state).push(", dead_why = ").push_bind(why).push(", settled_at = ").push_bind(now);
                end.push(", attempts = attempts + 1 WHERE settled_at IS NULL AND attempts = ");
                end.push_bind(i64::from(attempts)).push(" AND id IN ");
                push_list(&mut end, ids);
                end.build().execute(db).await?.rows_affected()
            });
        }
    }
    Ok(changed)
}
