//! What routing left behind: events that are held, and the record of how each went its way.
//!
//! Invariant: a held event is an unrouted one whose row in `routings` has a time; routing it for good takes that away.

use sqlx::FromRow;

use super::{EventRow, Events, Past};
use crate::model::{Event, EventId, Labels, Millis, PluginId, Step};
use crate::store::StoreError;
use crate::store::column::{count, parsed};
use crate::store::pool::{Tx, on};
use crate::store::sql::statements;

statements! {
    HELD = "SELECT e.id, e.session_id, e.kind, e.payload, e.stored_at, r.tries, r.failures FROM routings r JOIN events e ON e.id = r.event_id
        WHERE r.due_at <= $1 AND EXISTS (SELECT 1 FROM sessions s WHERE s.owner BETWEEN $2 AND $3 AND s.id = r.session_id)
        ORDER BY r.due_at, e.seq LIMIT $4";
    NEXT_HELD = "SELECT r.due_at FROM routings r WHERE r.due_at IS NOT NULL
        AND EXISTS (SELECT 1 FROM sessions s WHERE s.owner BETWEEN $1 AND $2 AND s.id = r.session_id)
        ORDER BY r.due_at LIMIT 1";
    RELEASE = "UPDATE routings SET due_at = $1 WHERE plugin_id = $2 AND due_at > $3
        AND EXISTS (SELECT 1 FROM sessions s WHERE s.owner BETWEEN $4 AND $5 AND s.id = routings.session_id)";
    ROUTING = "SELECT r.outcome, r.code, r.detail, r.steps, r.labels, r.tries, r.due_at, r.plugin_id, r.at
        FROM routings r JOIN sessions s ON s.id = r.session_id WHERE s.owner BETWEEN $1 AND $2 AND r.event_id = $3";
}

/// How an event was routed, as its owner sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct RoutingRow {
    /// `forwarded`, `dropped`, `deferred` or `parked`.
    pub outcome: String,
    /// The plugin's code, when it was dropped.
    pub code: Option<String>,
    /// Why it was dropped or parked.
    pub detail: Option<String>,
    /// The steps of its chains.
    pub steps: Vec<Step>,
    /// The labels it came out with.
    pub labels: Labels,
    /// How often it was run through its chain.
    pub tries: u32,
    /// When it is run again, while it is held.
    pub due_at: Option<Millis>,
    /// The plugin it waits, or waited, for.
    pub plugin: Option<PluginId>,
    /// When it was run last.
    pub at: Millis,
}

impl Events<'_> {
    /// Held events whose time has come, longest due first, each with what it has been through.
    ///
    /// Asking takes nothing: an event comes up again until its next passage is committed.
    pub async fn held(&self, now: Millis, limit: u32) -> Result<Vec<(Event, Past)>, StoreError> {
        let (low, high) = self.1.owners();
        let rows: Vec<HeldRow> = on!(self.0.readers(), |db, q| {
            let held = sqlx::query_as(q(HELD)).bind(now).bind(low).bind(high).bind(i64::from(limit));
            held.fetch_all(db).await?
        });
        let past = |tries, failures| Past { tries: count(tries), failures: count(failures) };
        let readable = |HeldRow { event, tries, failures }| Some((event.readable()?, past(tries, failures)));
        Ok(rows.into_iter().filter_map(readable).collect())
    }

    /// When the next held event is due.
    pub async fn next_held(&self) -> Result<Option<Millis>, StoreError> {
        let (low, high) = self.1.owners();
        let due = on!(self.0.readers(), |db, q| {
            sqlx::query_scalar(q(NEXT_HELD)).bind(low).bind(high).fetch_optional(db).await?
        });
        Ok(due)
    }

    /// Makes the events that wait for this plugin, parked or deferred, due now; answers how many there were.
    pub async fn release_held(&self, plugin: &PluginId) -> Result<u64, StoreError> {
        let ((low, high), now, plugin) = (self.1.owners(), self.0.clock().now(), plugin.clone());
        let work = self.0.write(move |tx| Box::pin(async move { release(tx, (low, high), &plugin, now).await }));
        work.await
    }

    /// How an event was routed. An event that met no plugin and went its way has no such record.
    pub async fn routing(&self, event: &EventId) -> Result<Option<RoutingRow>, StoreError> {
        let (low, high) = self.1.owners();
        let row: Option<RecordRow> = on!(self.0.readers(), |db, q| {
            sqlx::query_as(q(ROUTING)).bind(low).bind(high).bind(event).fetch_optional(db).await?
        });
        row.map(RecordRow::into_row).transpose()
    }
}

/// Makes the events that wait for this plugin due now.
pub(in crate::store) async fn release(
    tx: &mut Tx,
    (low, high): (i64, i64),
    plugin: &PluginId,
    now: Millis,
) -> Result<u64, StoreError> {
    let released = on!(tx, |db, q| {
        let release = sqlx::query(q(RELEASE)).bind(now).bind(plugin).bind(now).bind(low).bind(high);
        release.execute(db).await?.rows_affected()
    });
    Ok(released)
}

#[derive(FromRow)]
struct HeldRow {
    #[sqlx(flatten)]
    event: EventRow,
    tries: i64,
    failures: i64,
}

#[derive(FromRow)]
struct RecordRow {
    outcome: String,
    code: Option<String>,
    detail: Option<String>,
    steps: String,
    labels: String,
    tries: i64,
    due_at: Option<Millis>,
    plugin_id: Option<PluginId>,
    at: Millis,
}

impl RecordRow {
    fn into_row(self) -> Result<RoutingRow, StoreError> {
        let Self { outcome, code, detail, steps, labels, tries, due_at, plugin_id: plugin, at } = self;
        let (steps, labels) = (parsed(&steps)?, parsed(&labels)?);
        Ok(RoutingRow { outcome, code, detail, steps, labels, tries: count(tries), due_at, plugin, at })
    }
}
