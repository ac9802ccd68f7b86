//! Station two: what became of an event on its way through its chain, in one transaction.
//!
//! Verdict, deliveries, what plugins keep, messages and events they asked for, and their log lines are committed together
//! or not at all. An event that is deferred or parked stays unrouted and is held: its row in `routings` says until when.
//!
//! Invariant: a passage is committed once. It names how often its event was run before ([`Past::tries`]), and of two
//! that name the same number one finds the event changed.

use super::Events;
use crate::model::{
    Chat, DeliveryId, Effects, EndpointId, Event, EventId, Labels, LogLine, Millis, PluginId, SessionId, Shape, Step,
};
use crate::store::StoreError;
use crate::store::column::{json, text};
use crate::store::deliveries::ShapeRow;
use crate::store::plugins::effects::Wanted;
use crate::store::plugins::logs;
use crate::store::pool::{Tx, on};
use crate::store::sql::statements;

statements! {
    /// Settles the event, or keeps it open under its condition when the time is null.
    MARK = "UPDATE events SET routed_at = $1 WHERE id = $2 AND routed_at IS NULL
        AND COALESCE((SELECT r.tries FROM routings r WHERE r.event_id = events.id), 0) = $3
        AND EXISTS (SELECT 1 FROM sessions s WHERE s.owner BETWEEN $4 AND $5 AND s.id = events.session_id)";
    OPEN = "SELECT e.session_id FROM events e JOIN sessions s ON s.id = e.session_id WHERE s.owner BETWEEN $1 AND $2
        AND e.id = $3 AND e.routed_at IS NULL
        AND COALESCE((SELECT r.tries FROM routings r WHERE r.event_id = e.id), 0) = $4";
    /// The next number of an endpoint that is in use. From here on nobody else adds to its lanes.
    NUMBER = "UPDATE endpoints SET sequence = sequence + 1 WHERE id = $1 AND enabled AND disabled_why IS NULL";
    /// Makes no row when the endpoint is another session's or account's. At a strict one it stands behind those of its
    /// chat that wait.
    DELIVER = "INSERT INTO deliveries (id, session_id, event_id, endpoint_id, chat, sequence, state, due_at, attempts,
            body, body_bytes, content_type, headers, path_suffix, created_at)
        SELECT $1, s.id, e.id, n.id, $2, n.sequence, 'waiting', CASE WHEN n.ordering = 'strict' AND EXISTS (
                SELECT 1 FROM deliveries w WHERE w.endpoint_id = n.id AND w.state = 'waiting' AND w.chat = $3)
            THEN NULL ELSE CAST($4 AS BIGINT) END, 0, $5, $6, $7, $8, $9, $10
        FROM events e JOIN sessions s ON s.id = e.session_id
        JOIN endpoints n ON n.owner = s.owner AND (n.session_id = s.id OR n.session_id IS NULL)
        WHERE e.id = $11 AND n.id = $12",
        mysql: "INSERT INTO deliveries (id, session_id, event_id, endpoint_id, chat, sequence, state, due_at, attempts,
            body, body_bytes, content_type, headers, path_suffix, created_at)
        SELECT ?, s.id, e.id, n.id, ?, n.sequence, 'waiting', CASE WHEN n.ordering = 'strict' AND EXISTS (
                SELECT 1 FROM deliveries w WHERE w.endpoint_id = n.id AND w.state = 'waiting' AND w.chat = ?)
            THEN NULL ELSE ? END, 0, ?, ?, ?, ?, ?, ?
        FROM events e JOIN sessions s ON s.id = e.session_id
        JOIN endpoints n ON n.owner = s.owner AND (n.session_id = s.id OR n.session_id IS NULL)
        WHERE e.id = ? AND n.id = ?";
    RECORD = "INSERT INTO routings (event_id, session_id, outcome, code, detail, steps, labels, tries, failures, due_at, plugin_id, at)
        SELECT e.id, e.session_id, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10 FROM events e WHERE e.id = $11
        ON CONFLICT (event_id) DO UPDATE SET outcome = excluded.outcome, code = excluded.code, detail = excluded.detail,
            steps = excluded.steps, labels = excluded.labels, tries = excluded.tries, failures = excluded.failures,
            due_at = excluded.due_at, plugin_id = excluded.plugin_id, at = excluded.at",
        mysql: "INSERT INTO routings (event_id, session_id, outcome, code, detail, steps, labels, tries, failures, due_at, plugin_id, at)
        SELECT e.id, e.session_id, ?, ?, ?, ?, ?, ?, ?, ?, ?, ? FROM events e WHERE e.id = ?
        ON DUPLICATE KEY UPDATE outcome = VALUES(outcome), code = VALUES(code), detail = VALUES(detail),
            steps = VALUES(steps), labels = VALUES(labels), tries = VALUES(tries), failures = VALUES(failures),
            due_at = VALUES(due_at), plugin_id = VALUES(plugin_id), at = VALUES(at)";
}

/// What an event has been through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Past {
    /// How often it was run through its chain.
    pub tries: u32,
    /// In how many of these runs a plugin failed, so that it was parked.
    pub failures: u32,
}

/// What is to be committed for an event. By default that of a first passage that left nothing behind.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Routing {
    /// What the event has been through before: nothing, or what [`Events::held`] answered.
    pub past: Past,
    /// What shall become of it.
    pub outcome: Outcome,
    /// The steps of its chains.
    pub steps: Vec<Step>,
    /// The labels it came out with.
    pub labels: Labels,
    /// What the calls want done.
    pub effects: Effects,
    /// What they said.
    pub logs: Vec<LogLine>,
    /// Where it goes.
    pub deliveries: Vec<NewDelivery>,
}

/// What became of an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Outcome {
    /// It went on to its endpoints.
    #[default]
    Forwarded,
    /// A plugin ended its way.
    Dropped {
        /// The plugin's code.
        code: String,
        /// And its words.
        detail: Option<String>,
    },
    /// A plugin wants to see it again.
    Deferred {
        /// From then on, or sooner when something about the plugin changes.
        until: Millis,
        /// The plugin.
        plugin: PluginId,
    },
    /// A plugin failed on it, and it waits until that works.
    Parked {
        /// When it is tried again at the latest.
        until: Millis,
        /// The plugin.
        plugin: PluginId,
        /// How it failed.
        why: String,
    },
}

/// A delivery to be created when an event is routed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDelivery {
    /// Where it goes.
    pub endpoint: EndpointId,
    /// The chat it is about. Strict endpoints keep order within it.
    pub chat: Option<Chat>,
    /// What is posted, fixed now.
    pub shape: Shape,
}

/// What [`Events::route`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Routed {
    /// All of it is committed.
    Done {
        /// The events plugins raised, stored and to be routed in turn.
        raised: Vec<Event>,
        /// The endpoints that got a delivery.
        endpoints: Vec<EndpointId>,
    },
    /// Nothing: the event is not there, was routed before, or another passage of it was committed meanwhile.
    Already,
    /// Nothing: a value that a plugin relied on was changed meanwhile. Run the passage again.
    Conflict,
}

impl Routing {
    /// Whether a chat waits for what plugins want sent.
    pub fn sends(&self) -> bool {
        !self.effects.sends.is_empty()
    }
}

impl Outcome {
    /// Whether the event waits, to be run again.
    pub fn holds(&self) -> bool {
        matches!(self, Self::Deferred { .. } | Self::Parked { .. })
    }
}

impl Events<'_> {
    /// Station two: commits what became of an event, in one transaction. Deferred and parked events stay unrouted and
    /// are held; others are routed for good.
    ///
    /// Left out, without failing the rest: deliveries to an endpoint that is gone meanwhile, whatever belongs to a plugin
    /// that is gone, and values above a plugin's quota, which its log then says.
    pub async fn route(&self, event: &EventId, routing: Routing) -> Result<Routed, StoreError> {
        let ((low, high), now, event) = (self.1.owners(), self.0.clock().now(), event.clone());
        let Plan { past, record, deliveries, wanted, logs } = Plan::of(&event, routing)?;
        let work = self.0.write(move |tx| {
            Box::pin(async move {
                // Everything that may turn this back comes before the first write.
                let effects = if wanted.is_empty() {
                    None
                } else {
                    let open: Option<SessionId> = on!(&mut *tx, |db, q| {
                        let open = sqlx::query_scalar(q(OPEN)).bind(low).bind(high).bind(&event);
                        open.bind(i64::from(past.tries)).fetch_optional(db).await?
                    });
                    let Some(session) = open else { return Ok(Routed::Already) };
                    let Some(found) = wanted.look(tx, &session, now).await? else { return Ok(Routed::Conflict) };
                    Some((session, found))
                };
                let held = record.as_ref().is_some_and(|record| record.due_at.is_some());
                let marked = on!(&mut *tx, |db, q| {
                    let mark = sqlx::query(q(MARK)).bind((!held).then_some(now)).bind(&event);
                    let mark = mark.bind(i64::from(past.tries));
                    mark.bind(low).bind(high).execute(db).await?.rows_affected()
                });
                if marked == 0 {
                    return Ok(Routed::Already);
                }
                if let Some(record) = record {
                    record.write(tx, &event, now).await?;
                }
                let endpoints = deliver(tx, &event, deliveries, now).await?;
                let (mut raised, mut lines) = (Vec::new(), logs);
                if let Some((session, found)) = effects {
                    let (events, more) = wanted.put(tx, &session, found, now).await?;
                    raised = events;
                    lines.extend(more);
                }
                logs::add(tx, (low, high), &lines).await?;
                Ok(Routed::Done { raised, endpoints })
            })
        });
        work.await
    }
}

/// A routing with everything encoded, so that the writer has only statements left to run.
struct Plan {
    past: Past,
    record: Option<Record>,
    deliveries: Vec<Planned>,
    wanted: Wanted,
    logs: Vec<LogLine>,
}

/// A delivery to be added.
#[derive(Clone)]
struct Planned {
    endpoint: EndpointId,
    chat: Option<Chat>,
    shape: ShapeRow,
}

impl Planned {
    fn of(new: NewDelivery) -> Result<Self, StoreError> {
        let NewDelivery { endpoint, chat, shape } = new;
        Ok(Self { endpoint, chat, shape: ShapeRow::of(shape)? })
    }
}

/// The row of `routings`.
#[derive(Clone)]
struct Record {
    outcome: &'static str,
    code: Option<String>,
    detail: Option<String>,
    steps: String,
    labels: String,
    past: Past,
    due_at: Option<Millis>,
    plugin: Option<PluginId>,
}

impl Plan {
    fn of(origin: &EventId, routing: Routing) -> Result<Self, StoreError> {
        let Routing { past, outcome, steps, labels, effects, logs, deliveries } = routing;
        // A first passage that met no plugin leaves no record: that is what having none says.
        let plain = past.tries == 0 && steps.is_empty() && outcome == Outcome::Forwarded;
        let record = (!plain).then(|| Record::of(outcome, &steps, &labels, past)).transpose()?;
        let deliveries = deliveries.into_iter().map(Planned::of).collect::<Result<_, _>>()?;
        let wanted = Wanted::of(Some(origin.clone()), past.tries, effects)?;
        Ok(Self { past, record, deliveries, wanted, logs })
    }
}

impl Record {
    /// `past` is without this passage.
    fn of(outcome: Outcome, steps: &[Step], labels: &Labels, past: Past) -> Result<Self, StoreError> {
        let (steps, labels) = (json(steps)?, json(labels)?);
        let failed = u32::from(matches!(outcome, Outcome::Parked { .. }));
        let past = Past { tries: past.tries.saturating_add(1), failures: past.failures.saturating_add(failed) };
        let bare = Self { outcome: "", code: None, detail: None, steps, labels, past, due_at: None, plugin: None };
        Ok(match outcome {
            Outcome::Forwarded => Self { outcome: "forwarded", ..bare },
            Outcome::Dropped { code, detail } => Self { outcome: "dropped", code: Some(code), detail, ..bare },
            Outcome::Deferred { until, plugin } => {
                Self { outcome: "deferred", due_at: Some(until), plugin: Some(plugin), ..bare }
            }
            Outcome::Parked { until, plugin, why } => {
                Self { outcome: "parked", due_at: Some(until), plugin: Some(plugin), detail: Some(why), ..bare }
            }
        })
    }

    async fn write(self, tx: &mut Tx, event: &EventId, now: Millis) -> Result<(), StoreError> {
        let Self { outcome, code, detail, steps, labels, past, due_at, plugin } = self;
        let [code, detail] = [code, detail].map(|words| words.map(|words| text(&words).into_owned()));
        on!(tx, |db, q| {
            let record = sqlx::query(q(RECORD)).bind(outcome).bind(code).bind(detail).bind(steps).bind(labels);
            let record = record.bind(i64::from(past.tries)).bind(i64::from(past.failures)).bind(due_at);
            record.bind(plugin).bind(now).bind(event).execute(db).await?;
        });
        Ok(())
    }
}

/// Adds the deliveries; the endpoints that got one.
async fn deliver(
    tx: &mut Tx,
    event: &EventId,
    deliveries: Vec<Planned>,
    now: Millis,
) -> Result<Vec<EndpointId>, StoreError> {
    let mut endpoints = Vec::with_capacity(deliveries.len());
    on!(tx, |db, q| {
        for Planned { endpoint, chat, shape } in deliveries {
            if sqlx::query(q(NUMBER)).bind(&endpoint).execute(&mut *db).await?.rows_affected() == 0 {
                continue;
            }
            let ShapeRow { body, body_bytes, content_type, headers, path_suffix } = shape;
            let add = sqlx::query(q(DELIVER)).bind(DeliveryId::new()).bind(&chat).bind(&chat).bind(now).bind(body);
            let add = add.bind(body_bytes).bind(content_type).bind(headers).bind(path_suffix).bind(now);
            if add.bind(event).bind(&endpoint).execute(&mut *db).await?.rows_affected() == 1 {
                endpoints.push(endpoint);
            }
        }
    });
    Ok(endpoints)
}
