//! Station one, many messages to a statement.
//!
//! Messages come one or a few to a call, from many sessions at once. What comes together is stored together
//! (`gather.rs`): two statements for as many messages as a statement takes, instead of some for each.
//!
//! Invariant: of messages with one digest the first is stored, and its call alone answers it as new.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use sqlx::{FromRow, QueryBuilder};

use super::identity::{digest, message_key};
use crate::model::{Clock, Event, EventId, Happening, Incoming, Millis, Scope, SessionId};
use crate::store::StoreError;
use crate::store::bulk::{MOST, portions, push_list};
use crate::store::column::json;
use crate::store::gather::{Call, Outcomes};
use crate::store::pool::{Tx, on};

/// What one call wants stored.
pub(in crate::store) struct Reception {
    scope: Scope,
    session: SessionId,
    arrivals: Vec<Arrival>,
}

/// A message ready to be stored.
struct Arrival {
    message: Incoming,
    dedup: [u8; 32],
    key: [u8; 32],
    payload: String,
}

impl Reception {
    pub(super) fn of(scope: Scope, session: &SessionId, batch: &[Incoming]) -> Result<Self, StoreError> {
        let arrivals = batch.iter().map(|message| Arrival::of(session, message)).collect::<Result<_, _>>()?;
        Ok(Self { scope, session: session.clone(), arrivals })
    }
}

impl Call for Reception {
    /// The events that are new.
    type Answer = Vec<Event>;

    fn together<'t>(calls: &'t [Arc<Self>], tx: &'t mut Tx, clock: &'t Clock) -> BoxFuture<'t, Outcomes<Self::Answer>> {
        Box::pin(store(calls, tx, clock))
    }
}

impl Arrival {
    fn of(session: &SessionId, message: &Incoming) -> Result<Self, StoreError> {
        let kind = json(&message.kind)?;
        let parts = [session.as_str(), message.chat.jid(), message.sender.jid(), message.id.as_str(), &kind];
        let (dedup, key, payload) = (digest(&parts), message_key(session, &message.id), json(message)?);
        Ok(Self { message: message.clone(), dedup, key, payload })
    }

    fn event(&self, session: &SessionId, stored_at: Millis) -> Event {
        let what = Happening::Message(self.message.clone());
        Event { id: EventId::new(), session: session.clone(), what, stored_at }
    }
}

/// Stores of all calls what is new.
async fn store(calls: &[Arc<Reception>], tx: &mut Tx, clock: &Clock) -> Outcomes<Vec<Event>> {
    let Found { owners, mut dedups } = look(tx, calls).await?;
    let mut outcome: Vec<Result<Vec<(Event, &Arrival)>, StoreError>> = Vec::with_capacity(calls.len());
    for call in calls {
        let (low, high) = call.scope.owners();
        if !owners.get(&call.session).is_some_and(|owner| (low..=high).contains(owner)) {
            outcome.push(Err(sqlx::Error::RowNotFound.into()));
            continue;
        }
        let fresh = call.arrivals.iter().filter(|arrival| dedups.insert(arrival.dedup.to_vec()));
        // Ids are made here, one job after the other, so that they sort as their commits do.
        outcome.push(Ok(fresh.map(|arrival| (arrival.event(&call.session, clock.now()), arrival)).collect()));
    }
    let rows: Vec<&(Event, &Arrival)> = outcome.iter().flatten().flatten().collect();
    for portion in portions(&rows, |(_, arrival)| arrival.payload.len()) {
        insert(tx, portion).await?;
    }
    let events = |fresh: Vec<(Event, &Arrival)>| fresh.into_iter().map(|(event, _)| event).collect();
    Ok(outcome.into_iter().map(|fresh| fresh.map(events)).collect())
}

/// What is there of what calls name.
#[derive(Default)]
struct Found {
    /// The sessions, and whose they are.
    owners: HashMap<SessionId, i64>,
    /// Digests of messages that are stored.
    dedups: HashSet<Vec<u8>>,
}

/// A session, or the digest of an event.
#[derive(FromRow)]
struct FoundRow {
    id: Option<SessionId>,
    owner: Option<i64>,
    dedup: Option<Vec<u8>>,
}

/// Looks for the calls' sessions and messages.
async fn look(tx: &mut Tx, calls: &[Arc<Reception>]) -> Result<Found, StoreError> {
    let sessions: HashSet<&SessionId> = calls.iter().map(|call| &call.session).collect();
    let sessions: Vec<&SessionId> = sessions.into_iter().collect();
    let dedups: Vec<&[u8]> = calls.iter().flat_map(|call| &call.arrivals).map(|one| &one.dedup[..]).collect();
    let (mut sessions, mut dedups, mut found) = (sessions.chunks(MOST), dedups.chunks(MOST), Found::default());
    loop {
        let (sessions, dedups) = (sessions.next().unwrap_or_default(), dedups.next().unwrap_or_default());
        if sessions.is_empty() && dedups.is_empty() {
            return Ok(found);
        }
        let rows: Vec<FoundRow> = on!(&mut *tx, |db, _q| {
            let mut look = QueryBuilder::new("");
            if !sessions.is_empty() {
                look.push("SELECT id, owner, NULL AS dedup FROM sessions WHERE id IN ");
                push_list(&mut look, sessions);
                look.push(if dedups.is_empty() { "" } else { " UNION ALL " });
            }
            if !dedups.is_empty() {
                look.push("SELECT NULL AS id, NULL AS owner, dedup FROM events WHERE dedup IN ");
                push_list(&mut look, dedups);
            }
            look.build_query_as().fetch_all(db).await?
        });
        found.owners.extend(rows.iter().filter_map(|row| Some((row.id.clone()?, row.owner?))));
        found.dedups.extend(rows.into_iter().filter_map(|row| row.dedup));
    }
}

async fn insert(tx: &mut Tx, rows: &[&(Event, &Arrival)]) -> Result<(), StoreError> {
    on!(tx, |db, _q| {
        let mut insert =
            QueryBuilder::new("INSERT INTO events (id, session_id, kind, dedup, message_key, payload, stored_at) ");
        insert.push_values(rows, |mut row, (event, arrival)| {
            row.push_bind(&event.id).push_bind(&event.session).push_bind(event.kind());
            row.push_bind(&arrival.dedup[..]).push_bind(&arrival.key[..]);
            row.push_bind(&arrival.payload).push_bind(event.stored_at);
        });
        insert.build().execute(db).await?;
    });
    Ok(())
}
