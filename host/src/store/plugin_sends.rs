//! Messages plugins asked to be sent, from the commit of the verdict to WhatsApp's answer.
//!
//! Of a chat's waiting messages only the first can be claimed; the next comes up when it is settled, so that a chat sees
//! them in the order they were asked for. Claims, leases and epochs are those of deliveries.
//!
//! Invariant: of a chat's waiting messages exactly the first has a time it is due at.

use std::time::Duration;

use sqlx::FromRow;

use super::column::{self, count, unknown};
use super::pool::{Tx, added, on};
use super::sql::statements;
use super::{Store, StoreError};
use crate::model::{Chat, EventId, MessageId, Millis, PluginId, QueuedSend, Scope, SessionId};

statements! {
    /// Makes no row when the plugin is gone, or belongs to somebody else than the session.
    ADD = "INSERT INTO plugin_sends (session_id, message, plugin_id, event_id, chat, text, state, due_at, epoch, tries, created_at)
        SELECT s.id, $1, p.id, $2, $3, $4, 'waiting', CASE WHEN EXISTS (SELECT 1 FROM plugin_sends w
            WHERE w.session_id = s.id AND w.chat = $5 AND w.state = 'waiting') THEN NULL ELSE CAST($6 AS BIGINT) END, 0, 0, $7
        FROM sessions s JOIN plugins p ON p.owner = s.owner WHERE s.id = $8 AND p.id = $9
        ON CONFLICT (session_id, message) DO NOTHING",
        mysql: "INSERT INTO plugin_sends (session_id, message, plugin_id, event_id, chat, text, state, due_at, epoch, tries, created_at)
        SELECT s.id, ?, p.id, ?, ?, ?, 'waiting', CASE WHEN EXISTS (SELECT 1 FROM plugin_sends w
            WHERE w.session_id = s.id AND w.chat = ? AND w.state = 'waiting') THEN NULL ELSE ? END, 0, 0, ?
        FROM sessions s JOIN plugins p ON p.owner = s.owner WHERE s.id = ? AND p.id = ?";
    DUE = "SELECT q.session_id, q.message, q.plugin_id, q.chat, q.text, q.tries, q.epoch, q.created_at FROM plugin_sends q
        WHERE q.due_at <= $1 AND EXISTS (SELECT 1 FROM sessions s WHERE s.owner BETWEEN $2 AND $3 AND s.id = q.session_id)
        ORDER BY q.due_at, q.seq LIMIT $4";
    LEASE = "UPDATE plugin_sends SET leased_from = COALESCE(leased_from, due_at), due_at = $1, epoch = epoch + 1
        WHERE session_id = $2 AND message = $3 AND epoch = $4 AND state = 'waiting'";
    SETTLE = "UPDATE plugin_sends SET state = $1, due_at = $2, leased_from = NULL, tries = tries + 1, error = $3
        WHERE session_id = $4 AND message = $5 AND epoch = $6 AND state = 'waiting'
        AND EXISTS (SELECT 1 FROM sessions s WHERE s.owner BETWEEN $7 AND $8 AND s.id = plugin_sends.session_id)";
    /// Brings up the first of a chat's waiting messages. MariaDB would read the whole table for the plain form.
    PROMOTE = "UPDATE plugin_sends SET due_at = $1 WHERE due_at IS NULL AND seq = (SELECT MIN(w.seq)
        FROM plugin_sends w WHERE w.session_id = $2 AND w.chat = $3 AND w.state = 'waiting')",
        mysql: "UPDATE plugin_sends q JOIN (SELECT CAST(? AS SIGNED) AS due) moment JOIN (SELECT MIN(w.seq) AS seq
        FROM plugin_sends w WHERE w.session_id = ? AND w.chat = ? AND w.state = 'waiting') head ON q.seq = head.seq
        SET q.due_at = moment.due WHERE q.due_at IS NULL";
    NEXT_DUE = "SELECT q.due_at FROM plugin_sends q WHERE q.due_at IS NOT NULL
        AND EXISTS (SELECT 1 FROM sessions s WHERE s.owner BETWEEN $1 AND $2 AND s.id = q.session_id)
        ORDER BY q.due_at LIMIT 1";
    RELEASE = "UPDATE plugin_sends SET due_at = leased_from, leased_from = NULL WHERE due_at IS NOT NULL
        AND leased_from IS NOT NULL AND session_id IN (SELECT id FROM sessions WHERE owner BETWEEN $1 AND $2)";
    OF_EVENT = "SELECT q.message, q.plugin_id, q.chat, q.text, q.state, q.tries, q.error, q.due_at, q.created_at
        FROM plugin_sends q JOIN sessions s ON s.id = q.session_id
        WHERE s.owner BETWEEN $1 AND $2 AND q.event_id = $3 ORDER BY q.seq";
    ABANDONED = "SELECT session_id, message, chat FROM plugin_sends
        WHERE plugin_id = $1 AND state = 'waiting' AND leased_from IS NULL";
    ABANDON = "UPDATE plugin_sends SET state = 'failed', due_at = NULL, error = 'the plugin was removed'
        WHERE session_id = $1 AND message = $2";
}

/// Calls on queued messages within a scope.
#[derive(Debug)]
pub struct PluginSends<'a>(pub(super) &'a Store, pub(super) Scope);

/// A claimed message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queued {
    /// Through which session.
    pub session: SessionId,
    /// What and where to.
    pub send: QueuedSend,
    /// Tries made before this claim.
    pub tries: u32,
    /// When it was asked for.
    pub created_at: Millis,
    /// The claim's number: a claim that is not the newest may not settle the message.
    pub epoch: i64,
}

/// What becomes of a message after a try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// WhatsApp has it.
    Sent,
    /// Try again at this moment. The chat's other messages wait until then.
    Retry(Millis),
    /// Give up, for this reason.
    Failed(String),
}

/// Where a message stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendState {
    /// To be sent.
    Waiting,
    /// WhatsApp has it.
    Sent,
    /// Given up.
    Failed,
}

/// A message as its owner sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendRow {
    /// What and where to.
    pub send: QueuedSend,
    /// Where it stands.
    pub state: SendState,
    /// Tries made.
    pub tries: u32,
    /// Why it was given up.
    pub error: Option<String>,
    /// When it is tried next; `None` when it is done, or behind another message of its chat.
    pub due_at: Option<Millis>,
    /// When it was asked for.
    pub created_at: Millis,
}

impl SendState {
    /// The state's stored name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Sent => "sent",
            Self::Failed => "failed",
        }
    }

    fn named(name: &str) -> Result<Self, StoreError> {
        let found = [Self::Waiting, Self::Sent, Self::Failed].into_iter().find(|state| state.name() == name);
        found.ok_or_else(|| unknown("state of a plugin's message", name))
    }
}

impl PluginSends<'_> {
    /// Claims up to `limit` due messages for `lease`, at most one a chat, longest due first; raises each one's epoch.
    pub async fn claim(&self, limit: u32, lease: Duration) -> Result<Vec<Queued>, StoreError> {
        let ((low, high), now) = (self.1.owners(), self.0.clock().now());
        let work = self.0.write(move |tx| {
            Box::pin(async move {
                let mut claimed = Vec::new();
                on!(tx, |db, q| {
                    let due = sqlx::query_as(q(DUE)).bind(now).bind(low).bind(high).bind(i64::from(limit));
                    let due: Vec<DueRow> = due.fetch_all(&mut *db).await?;
                    for row in due {
                        let take = sqlx::query(q(LEASE)).bind(now.after(lease)).bind(&row.session_id);
                        let take = take.bind(&row.message).bind(row.epoch).execute(&mut *db).await?;
                        if take.rows_affected() == 1 {
                            claimed.push(row.into_queued());
                        }
                    }
                });
                Ok(claimed)
            })
        });
        work.await
    }

    /// Records a try and what becomes of the message. Answers `false`, and changes nothing, when the claim is no longer
    /// the newest.
    pub async fn settle(&self, queued: &Queued, then: Settlement) -> Result<bool, StoreError> {
        let ((low, high), now, epoch) = (self.1.owners(), self.0.clock().now(), queued.epoch);
        let (session, message, chat) = (queued.session.clone(), queued.send.message.clone(), queued.send.to.clone());
        let (state, due, error) = match then {
            Settlement::Sent => (SendState::Sent, None, None),
            Settlement::Retry(at) => (SendState::Waiting, Some(at), None),
            Settlement::Failed(error) => (SendState::Failed, None, Some(column::text(&error).into_owned())),
        };
        let work = self.0.write(move |tx| {
            Box::pin(async move {
                let settled = on!(&mut *tx, |db, q| {
                    let settle = sqlx::query(q(SETTLE)).bind(state.name()).bind(due).bind(error).bind(&session);
                    settle.bind(message).bind(epoch).bind(low).bind(high).execute(db).await?.rows_affected()
                });
                if settled == 1 && state != SendState::Waiting {
                    promote(tx, &session, &chat, now).await?;
                }
                Ok(settled == 1)
            })
        });
        work.await
    }

    /// When the next message may be claimed; for one that is being sent that is the end of its lease.
    pub async fn next_due(&self) -> Result<Option<Millis>, StoreError> {
        let (low, high) = self.1.owners();
        let due = on!(self.0.readers(), |db, q| {
            sqlx::query_scalar(q(NEXT_DUE)).bind(low).bind(high).fetch_optional(db).await?
        });
        Ok(due)
    }

    /// Ends every lease, so that its message is due at once; answers how many there were. For the start of a gateway: it
    /// leads on its database (`store/leader.rs`), so whoever claimed before it is gone or writes nothing more.
    pub async fn release_leases(&self) -> Result<u64, StoreError> {
        let (low, high) = self.1.owners();
        let work = self.0.write(move |tx| {
            Box::pin(async move {
                let ended = on!(tx, |db, q| {
                    sqlx::query(q(RELEASE)).bind(low).bind(high).execute(db).await?.rows_affected()
                });
                Ok(ended)
            })
        });
        work.await
    }

    /// The messages that were asked for when this event was routed, in the order they were asked for.
    pub async fn of_event(&self, event: &EventId) -> Result<Vec<SendRow>, StoreError> {
        let (low, high) = self.1.owners();
        let rows: Vec<ListRow> = on!(self.0.readers(), |db, q| {
            sqlx::query_as(q(OF_EVENT)).bind(low).bind(high).bind(event).fetch_all(db).await?
        });
        rows.into_iter().map(ListRow::into_row).collect()
    }
}

/// Queues what plugins asked for, when `event` was routed or when something else was judged.
pub(super) async fn add(
    tx: &mut Tx,
    session: &SessionId,
    event: Option<&EventId>,
    sends: Vec<QueuedSend>,
    now: Millis,
) -> Result<(), StoreError> {
    on!(tx, |db, q| {
        for QueuedSend { plugin, message, to, text } in sends {
            let text = column::text(&text).into_owned();
            let add = sqlx::query(q(ADD)).bind(message).bind(event).bind(to.clone()).bind(text).bind(to).bind(now);
            let add = add.bind(now).bind(session).bind(plugin).execute(&mut *db).await;
            added(add.map(|done| done.rows_affected()))?;
        }
    });
    Ok(())
}

/// Gives up what a removed plugin still had waiting; what is being sent just now is settled by its sender.
pub(super) async fn abandon(tx: &mut Tx, plugin: &PluginId, now: Millis) -> Result<(), StoreError> {
    let waiting: Vec<(SessionId, MessageId, Chat)> =
        on!(&mut *tx, |db, q| { sqlx::query_as(q(ABANDONED)).bind(plugin).fetch_all(db).await? });
    for (session, message, chat) in waiting {
        on!(&mut *tx, |db, q| {
            sqlx::query(q(ABANDON)).bind(&session).bind(message).execute(db).await?;
        });
        promote(tx, &session, &chat, now).await?;
    }
    Ok(())
}

/// Makes the first of a chat's waiting messages due, unless it is already.
async fn promote(tx: &mut Tx, session: &SessionId, chat: &Chat, now: Millis) -> Result<(), StoreError> {
    on!(tx, |db, q| {
        sqlx::query(q(PROMOTE)).bind(now).bind(session).bind(chat).execute(db).await?;
    });
    Ok(())
}

#[derive(FromRow)]
struct DueRow {
    session_id: SessionId,
    message: MessageId,
    plugin_id: PluginId,
    chat: Chat,
    text: String,
    tries: i64,
    epoch: i64,
    created_at: Millis,
}

impl DueRow {
    /// The message under the claim that has just been made.
    fn into_queued(self) -> Queued {
        let Self { session_id: session, message, plugin_id: plugin, chat: to, text, tries, epoch, created_at } = self;
        let send = QueuedSend { plugin, message, to, text };
        Queued { session, send, tries: count(tries), created_at, epoch: epoch + 1 }
    }
}

#[derive(FromRow)]
struct ListRow {
    message: MessageId,
    plugin_id: PluginId,
    chat: Chat,
    text: String,
    state: String,
    tries: i64,
    error: Option<String>,
    due_at: Option<Millis>,
    created_at: Millis,
}

impl ListRow {
    fn into_row(self) -> Result<SendRow, StoreError> {
        let Self { message, plugin_id: plugin, chat: to, text, state, tries, error, due_at, created_at } = self;
        let (send, state) = (QueuedSend { plugin, message, to, text }, SendState::named(&state)?);
        Ok(SendRow { send, state, tries: count(tries), error, due_at, created_at })
    }
}
