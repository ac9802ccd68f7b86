//! Deliveries as their owner looks at them: pages, counts, one with its body.
//!
//! Invariant: a page goes on where the last one ended, whatever was added meanwhile.

use serde::{Deserialize, Serialize};
use sqlx::{FromRow, QueryBuilder};

use super::{Deliveries, ShapeRow};
use crate::model::{DeadWhy, DeliveryId, DeliveryState, EndpointId, EventId, Millis, SessionId, Shape};
use crate::store::StoreError;
use crate::store::bulk::push_list;
use crate::store::column::{count, unknown};
use crate::store::pool::on;
use crate::store::sql::statements;

/// A delivery as its owner sees it. The event's kind and the owner are looked up row by row: joined, they would tempt
/// engines to begin with them, and to sort a million rows for one page.
macro_rules! deliveries {
    ($rest:literal) => {
        concat!(
            "SELECT d.id, d.event_id, d.session_id, d.endpoint_id,
                (SELECT e.kind FROM events e WHERE e.id = d.event_id) AS kind, d.state, d.dead_why, d.attempts, d.due_at,
                d.sequence, d.created_at, d.settled_at FROM ",
            $rest
        )
    };
}

statements! {
    GET = deliveries!("deliveries d JOIN sessions s ON s.id = d.session_id
        WHERE s.owner BETWEEN $1 AND $2 AND d.id = $3");
    OF_EVENT = deliveries!("deliveries d JOIN sessions s ON s.id = d.session_id
        WHERE s.owner BETWEEN $1 AND $2 AND d.event_id = $3 ORDER BY d.seq");
    SHAPE = "SELECT d.body, d.body_bytes, d.content_type, d.headers, d.path_suffix
        FROM deliveries d JOIN sessions s ON s.id = d.session_id WHERE s.owner BETWEEN $1 AND $2 AND d.id = $3";
}

/// From the newest on, whosever they are. The owners' range and conditions follow.
const WALK: &str =
    deliveries!("deliveries d WHERE (SELECT s.owner FROM sessions s WHERE s.id = d.session_id) BETWEEN ");

/// Of each session as many of the newest as are wanted, and of those the newest: whoever has few among many of others is
/// not kept waiting. The owners' range and [`NEWEST`] follow.
const OF_SESSIONS: &str = deliveries!("sessions s JOIN deliveries d ON d.session_id = s.id WHERE s.owner BETWEEN ");
const NEWEST: &str = " AND d.seq >= COALESCE((SELECT n.seq FROM deliveries n WHERE n.session_id = s.id";

/// The owners' range and conditions follow.
const COUNT: &str = "SELECT COUNT(*) FROM deliveries d JOIN sessions s ON s.id = d.session_id WHERE s.owner BETWEEN ";

/// Which deliveries are meant; what is left out says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryFilter {
    /// These; all when there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<DeliveryId>,
    /// To this endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<EndpointId>,
    /// Of this session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// Of this event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<EventId>,
    /// In one of these states; in any when there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub states: Vec<DeliveryState>,
    /// Created then or later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Millis>,
    /// Created before then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Millis>,
}

/// A page of a list, newest first.
#[derive(Clone, Debug)]
pub struct Page {
    /// Those older than this one; from the newest on when left out.
    pub before: Option<DeliveryId>,
    /// How many at most.
    pub limit: u32,
}

/// A delivery as its owner sees it.
#[derive(Clone, Debug)]
pub struct DeliveryRow {
    /// Its id.
    pub id: DeliveryId,
    /// The event it carries.
    pub event: EventId,
    /// The session the event happened on.
    pub session: SessionId,
    /// Where it goes.
    pub endpoint: EndpointId,
    /// The event's kind.
    pub kind: String,
    /// Where it stands.
    pub state: DeliveryState,
    /// Why it was given up.
    pub dead_why: Option<DeadWhy>,
    /// Attempts made.
    pub attempts: u32,
    /// When it is due, while it waits; `None` there while it stands behind another of its chat.
    pub due_at: Option<Millis>,
    /// Its number at its endpoint; 0 where none was given.
    pub sequence: i64,
    /// When it was created.
    pub created_at: Millis,
    /// When it was delivered or given up.
    pub settled_at: Option<Millis>,
}

impl DeliveryFilter {
    /// Whether it names few enough to be found by themselves, without those of others between them.
    fn is_narrow(&self) -> bool {
        !self.ids.is_empty() || self.endpoint.is_some() || self.session.is_some() || self.event.is_some()
    }
}

/// Adds the conditions of a filter to a query over deliveries that are called so, `d.` for instance.
macro_rules! push_filter {
    ($query:ident, $filter:expr, $name:literal) => {
        let DeliveryFilter { ids, endpoint, session, event, states, from, until } = $filter;
        let ids: Vec<&DeliveryId> = ids.iter().collect();
        if !ids.is_empty() {
            $query.push(concat!(" AND ", $name, "id IN "));
            push_list(&mut $query, &ids);
        }
        if let Some(endpoint) = endpoint {
            $query.push(concat!(" AND ", $name, "endpoint_id = ")).push_bind(endpoint);
        }
        if let Some(session) = session {
            $query.push(concat!(" AND ", $name, "session_id = ")).push_bind(session);
        }
        if let Some(event) = event {
            $query.push(concat!(" AND ", $name, "event_id = ")).push_bind(event);
        }
        let states: Vec<&str> = states.iter().map(|state| state.name()).collect();
        if !states.is_empty() {
            $query.push(concat!(" AND ", $name, "state IN "));
            push_list(&mut $query, &states);
        }
        if let Some(from) = from {
            $query.push(concat!(" AND ", $name, "created_at >= ")).push_bind(*from);
        }
        if let Some(until) = until {
            $query.push(concat!(" AND ", $name, "created_at < ")).push_bind(*until);
        }
    };
}

pub(in crate::store) use push_filter;

/// The same for those a page goes on with.
macro_rules! push_page {
    ($query:ident, $page:expr, $name:literal) => {
        if let Some(before) = &$page.before {
            $query.push(concat!(" AND ", $name, "seq < (SELECT b.seq FROM deliveries b WHERE b.id = "));
            $query.push_bind(before).push(")");
        }
        $query.push(concat!(" ORDER BY ", $name, "seq DESC LIMIT "));
    };
}

impl Deliveries<'_> {
    /// The deliveries a filter names, newest first.
    pub async fn list(&self, filter: &DeliveryFilter, page: Page) -> Result<Vec<DeliveryRow>, StoreError> {
        let ((low, high), limit) = (self.1.owners(), i64::from(page.limit));
        let walk = self.1.user().is_none() || filter.is_narrow();
        let rows: Vec<ListRow> = on!(self.0.readers(), |db, _q| {
            let mut list = QueryBuilder::new(if walk { WALK } else { OF_SESSIONS });
            list.push_bind(low).push(" AND ").push_bind(high);
            if !walk {
                list.push(NEWEST);
                push_filter!(list, filter, "n.");
                push_page!(list, page, "n.");
                list.push("1 OFFSET ").push_bind((limit - 1).max(0)).push("), 0)");
            }
            push_filter!(list, filter, "d.");
            push_page!(list, page, "d.");
            list.push_bind(limit);
            list.build_query_as().fetch_all(db).await?
        });
        rows.into_iter().map(ListRow::into_row).collect()
    }

    /// How many deliveries a filter names.
    pub async fn count(&self, filter: &DeliveryFilter) -> Result<u64, StoreError> {
        self.count_up_to(filter, i64::MAX).await
    }

    /// How many up to this one.
    pub(in crate::store) async fn count_up_to(&self, filter: &DeliveryFilter, last: i64) -> Result<u64, StoreError> {
        let (low, high) = self.1.owners();
        let found: i64 = on!(self.0.readers(), |db, _q| {
            let mut count = QueryBuilder::new(COUNT);
            count.push_bind(low).push(" AND ").push_bind(high).push(" AND d.seq <= ").push_bind(last);
            push_filter!(count, filter, "d.");
            count.build_query_scalar().fetch_one(db).await?
        });
        Ok(found.unsigned_abs())
    }

    /// One delivery.
    pub async fn get(&self, id: &DeliveryId) -> Result<Option<DeliveryRow>, StoreError> {
        let (low, high) = self.1.owners();
        let row: Option<ListRow> = on!(self.0.readers(), |db, q| {
            sqlx::query_as(q(GET)).bind(low).bind(high).bind(id).fetch_optional(db).await?
        });
        row.map(ListRow::into_row).transpose()
    }

    /// What a delivery posts.
    pub async fn shape(&self, id: &DeliveryId) -> Result<Option<Shape>, StoreError> {
        let (low, high) = self.1.owners();
        let row: Option<ShapeRow> = on!(self.0.readers(), |db, q| {
            sqlx::query_as(q(SHAPE)).bind(low).bind(high).bind(id).fetch_optional(db).await?
        });
        row.map(ShapeRow::into_shape).transpose()
    }

    /// The deliveries of an event, oldest first.
    pub async fn of_event(&self, event: &EventId) -> Result<Vec<DeliveryRow>, StoreError> {
        let (low, high) = self.1.owners();
        let rows: Vec<ListRow> = on!(self.0.readers(), |db, q| {
            sqlx::query_as(q(OF_EVENT)).bind(low).bind(high).bind(event).fetch_all(db).await?
        });
        rows.into_iter().map(ListRow::into_row).collect()
    }
}

#[derive(FromRow)]
pub(super) struct ListRow {
    id: DeliveryId,
    event_id: EventId,
    session_id: SessionId,
    endpoint_id: EndpointId,
    kind: String,
    state: String,
    dead_why: Option<String>,
    attempts: i64,
    due_at: Option<Millis>,
    sequence: i64,
    created_at: Millis,
    settled_at: Option<Millis>,
}

impl ListRow {
    fn into_row(self) -> Result<DeliveryRow, StoreError> {
        let state = state_named(&self.state)?;
        Ok(DeliveryRow {
            id: self.id,
            event: self.event_id,
            session: self.session_id,
            endpoint: self.endpoint_id,
            kind: self.kind,
            state,
            dead_why: self.dead_why.as_deref().map(why_named).transpose()?,
            attempts: count(self.attempts),
            due_at: self.due_at.filter(|_| state == DeliveryState::Waiting),
            sequence: self.sequence,
            created_at: self.created_at,
            settled_at: self.settled_at,
        })
    }
}

fn state_named(name: &str) -> Result<DeliveryState, StoreError> {
    let states = [DeliveryState::Waiting, DeliveryState::Delivered, DeliveryState::Dead];
    states.into_iter().find(|state| state.name() == name).ok_or_else(|| unknown("delivery state", name))
}

fn why_named(name: &str) -> Result<DeadWhy, StoreError> {
    let all = [DeadWhy::Exhausted, DeadWhy::Gone, DeadWhy::Skipped, DeadWhy::Disabled];
    all.into_iter().find(|why| why.name() == name).ok_or_else(|| unknown("reason of a dead delivery", name))
}
