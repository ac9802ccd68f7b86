//! What the calls of a passage want done: values kept, messages sent, events raised.
//!
//! Encoded before the transaction, so that the writer has only statements left to run. Inside it, [`Wanted::look`] comes
//! first and may turn everything back; what [`Wanted::put`] then does belongs to the verdict.
//!
//! Invariant: effects are committed with the verdict they belong to, or not at all.

use super::values::{self, Found};
use super::{Plugins, logs};
use crate::model::{Effects, Event, EventId, Happening, KeyWrite, LogLine, Millis, PluginEvent, QueuedSend, SessionId};
use crate::store::column::json;
use crate::store::events::identity::digest;
use crate::store::pool::{Tx, added, on};
use crate::store::sql::statements;
use crate::store::{StoreError, plugin_sends, sessions};

statements! {
    /// Makes no row when the plugin is gone, or belongs to somebody else than the session.
    RAISE = "INSERT INTO events (id, session_id, kind, dedup, payload, stored_at) SELECT $1, s.id, $2, $3, $4, $5
        FROM sessions s JOIN plugins p ON p.owner = s.owner WHERE s.id = $6 AND p.id = $7 ON CONFLICT (dedup) DO NOTHING",
        mysql: "INSERT INTO events (id, session_id, kind, dedup, payload, stored_at) SELECT ?, s.id, ?, ?, ?, ?
        FROM sessions s JOIN plugins p ON p.owner = s.owner WHERE s.id = ? AND p.id = ?";
}

impl Plugins<'_> {
    /// Commits what calls wanted that judged no event, on a message of `session` that does not go out for instance.
    /// Answers the events they raised, stored and to be routed; `None`, and nothing is done, when a value that one
    /// relied on was changed meanwhile. Left out is what belongs to a plugin that is gone, and everything when the
    /// session is.
    pub async fn commit(
        &self,
        session: &SessionId,
        effects: Effects,
        logs: Vec<LogLine>,
    ) -> Result<Option<Vec<Event>>, StoreError> {
        let (scope, session, now) = (self.1, session.clone(), self.0.clock().now());
        let wanted = Wanted::of(None, 0, effects)?;
        if wanted.is_empty() && logs.is_empty() {
            return Ok(Some(Vec::new()));
        }
        let work = self.0.write(move |tx| {
            Box::pin(async move {
                if !sessions::is_visible(tx, scope, &session).await? {
                    return Ok(Some(Vec::new()));
                }
                let Some(found) = wanted.look(tx, &session, now).await? else { return Ok(None) };
                let (raised, mut lines) = wanted.put(tx, &session, found, now).await?;
                lines.splice(0..0, logs);
                logs::add(tx, scope.owners(), &lines).await?;
                Ok(Some(raised))
            })
        });
        work.await
    }
}

/// Effects, encoded.
#[derive(Clone)]
pub(in crate::store) struct Wanted {
    origin: Option<EventId>,
    writes: Vec<KeyWrite>,
    sends: Vec<QueuedSend>,
    raised: Vec<Raised>,
}

/// An event a plugin raised, as its row.
#[derive(Clone)]
struct Raised {
    what: PluginEvent,
    dedup: [u8; 32],
    payload: String,
}

impl Wanted {
    /// Effects of a passage: of `origin`, run `tries` times before, or of something that is no event.
    pub(in crate::store) fn of(origin: Option<EventId>, tries: u32, effects: Effects) -> Result<Self, StoreError> {
        let Effects { writes, sends, events } = effects;
        let passage = origin.clone().unwrap_or_else(EventId::new);
        let raised = events.into_iter().enumerate();
        let raised = raised.map(|(at, what)| Raised::of(&passage, tries, at, what)).collect::<Result<_, _>>()?;
        Ok(Self { origin, writes, sends, raised })
    }

    pub(in crate::store) fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.sends.is_empty() && self.raised.is_empty()
    }

    /// Looks up what the writes replace; `None` when one relied on something else.
    pub(in crate::store) async fn look(
        &self,
        tx: &mut Tx,
        session: &SessionId,
        now: Millis,
    ) -> Result<Option<Vec<Option<Found>>>, StoreError> {
        values::look(tx, session, &self.writes, now).await
    }

    /// Does all of it; answers the events that are new, and what a plugin's log must say.
    pub(in crate::store) async fn put(
        self,
        tx: &mut Tx,
        session: &SessionId,
        found: Vec<Option<Found>>,
        now: Millis,
    ) -> Result<(Vec<Event>, Vec<LogLine>), StoreError> {
        let lines = values::put(tx, &self.writes, found, now).await?;
        plugin_sends::add(tx, session, self.origin.as_ref(), self.sends, now).await?;
        Ok((raise(tx, session, self.raised, now).await?, lines))
    }
}

impl Raised {
    /// `at` is its place among those of the passage, which together with the passage makes it one of a kind.
    fn of(origin: &EventId, tries: u32, at: usize, what: PluginEvent) -> Result<Self, StoreError> {
        let payload = json(&what)?;
        let parts = ["raised", origin.as_str(), what.plugin.as_str(), &at.to_string(), &tries.to_string()];
        Ok(Self { dedup: digest(&parts), what, payload })
    }
}

async fn raise(tx: &mut Tx, session: &SessionId, raised: Vec<Raised>, now: Millis) -> Result<Vec<Event>, StoreError> {
    let mut stored = Vec::with_capacity(raised.len());
    on!(tx, |db, q| {
        for Raised { what, dedup, payload } in raised {
            let plugin = what.plugin.clone();
            let event =
                Event { id: EventId::new(), session: session.clone(), what: Happening::Plugin(what), stored_at: now };
            let add = sqlx::query(q(RAISE)).bind(&event.id).bind(event.kind()).bind(dedup.to_vec()).bind(payload);
            let add = add.bind(now).bind(session).bind(plugin).execute(&mut *db).await;
            if added(add.map(|done| done.rows_affected()))? == 1 {
                stored.push(event);
            }
        }
    });
    Ok(stored)
}
