//! What single messages leave behind: the payload of a sent one, for a retry; a received one until it is committed;
//! the secret that opens later edits, votes and reactions.
//!
//! Invariant: a secret's deadline and its message's time never go back.

use super::{Keys, count, stored};
use crate::store::StoreError;
use crate::store::pool::on;
use crate::store::sql::{Sql, statements};

const TABLE: &str = "whatsapp_messages";

statements! {
    GET = "SELECT value, message_at FROM whatsapp_messages
           WHERE session_id = $1 AND kind = $2 AND chat = $3 AND sender = $4 AND message_id = $5";
    PUT = "INSERT INTO whatsapp_messages (session_id, kind, chat, sender, message_id, value, sweep_at, message_at)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
           ON CONFLICT (session_id, kind, chat, sender, message_id)
           DO UPDATE SET value = excluded.value, sweep_at = excluded.sweep_at",
        mysql: "INSERT INTO whatsapp_messages (session_id, kind, chat, sender, message_id, value, sweep_at, message_at)
           VALUES (?, ?, ?, ?, ?, ?, ?, ?)
           ON DUPLICATE KEY UPDATE value = VALUES(value), sweep_at = VALUES(sweep_at)";
    /// Deadline 0 is never and beats every other, else the later one stays; so does the later time of the message.
    MERGE = "INSERT INTO whatsapp_messages (session_id, kind, chat, sender, message_id, value, sweep_at, message_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
             ON CONFLICT (session_id, kind, chat, sender, message_id) DO UPDATE SET value = excluded.value,
               sweep_at = CASE WHEN whatsapp_messages.sweep_at = 0 OR excluded.sweep_at = 0 THEN 0
                               WHEN whatsapp_messages.sweep_at > excluded.sweep_at THEN whatsapp_messages.sweep_at
                               ELSE excluded.sweep_at END,
               message_at = CASE WHEN whatsapp_messages.message_at > excluded.message_at
                                 THEN whatsapp_messages.message_at ELSE excluded.message_at END",
        mysql: "INSERT INTO whatsapp_messages (session_id, kind, chat, sender, message_id, value, sweep_at, message_at)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?)
             ON DUPLICATE KEY UPDATE value = VALUES(value),
               sweep_at = CASE WHEN sweep_at = 0 OR VALUES(sweep_at) = 0 THEN 0
                               ELSE GREATEST(sweep_at, VALUES(sweep_at)) END,
               message_at = GREATEST(message_at, VALUES(message_at))";
    DELETE = "DELETE FROM whatsapp_messages
              WHERE session_id = $1 AND kind = $2 AND chat = $3 AND sender = $4 AND message_id = $5";
    DUE = "SELECT COUNT(*) FROM (SELECT 1 AS found FROM whatsapp_messages
           WHERE session_id = $1 AND kind = $2 AND sweep_at <> 0 AND sweep_at <= $3 LIMIT 1) hit";
    SWEEP = "DELETE FROM whatsapp_messages
             WHERE session_id = $1 AND kind = $2 AND sweep_at <> 0 AND sweep_at <= $3";
}

/// Which message. Ids are unique only together with chat and sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageKey<'a> {
    /// The chat's JID.
    pub chat: &'a str,
    /// The sender's JID.
    pub sender: &'a str,
    /// The message id, of any length.
    pub id: &'a str,
}

/// A message's secret, to be stored.
#[derive(Clone, Copy)]
pub struct Secret<'a> {
    /// The message.
    pub of: MessageKey<'a>,
    /// The secret.
    pub secret: &'a [u8],
    /// When it may go, seconds; 0 for never.
    pub expires_at: i64,
    /// When the message was sent, seconds; 0 when unknown.
    pub message_at: i64,
}

const SENT: &str = "sent";
const PENDING: &str = "pending";
const SECRET: &str = "secret";

impl Keys {
    /// Keeps the payload of a sent message for a retry.
    pub async fn put_sent(&self, chat: &str, id: &str, payload: &[u8]) -> Result<(), StoreError> {
        let row = self.message(SENT, MessageKey { chat, sender: "", id }, payload, self.now(), 0);
        self.write_messages(PUT, vec![row]).await
    }

    /// Takes the payload of a sent message out: of several takers, one gets it.
    pub async fn take_sent(&self, chat: &str, id: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let row = Row::of(SENT, MessageKey { chat, sender: "", id });
        let (session, at) = (self.1.clone(), row.clone());
        let work = self.0.write(move |tx| {
            Box::pin(async move {
                let found: Option<(Vec<u8>, i64)> = on!(&mut *tx, |db, q| {
                    let query = sqlx::query_as(q(GET)).bind(session.as_str()).bind(at.kind);
                    query.bind(&at.chat).bind(&at.sender).bind(&at.id).fetch_optional(&mut *db).await?
                });
                let gone = on!(tx, |db, q| {
                    let query = sqlx::query(q(DELETE)).bind(session.as_str()).bind(at.kind);
                    let query = query.bind(at.chat).bind(at.sender).bind(at.id);
                    query.execute(db).await?.rows_affected()
                });
                // On an engine with several writers another may have deleted it between the two: it is theirs.
                Ok(found.filter(|_| gone == 1))
            })
        });
        let Some((sealed, _)) = work.await? else { return Ok(None) };
        self.open(TABLE, &row.parts(), &sealed).map(Some)
    }

    /// Deletes sent messages stored before `cutoff`, seconds. Answers how many.
    pub async fn sweep_sent(&self, cutoff: i64) -> Result<u32, StoreError> {
        self.sweep(SENT, cutoff.saturating_sub(1)).await
    }

    /// Keeps received messages until they are committed: all of them or none.
    pub async fn put_pending(&self, messages: &[(MessageKey<'_>, &[u8])]) -> Result<(), StoreError> {
        let now = self.now();
        let rows = messages.iter().map(|(of, message)| self.message(PENDING, *of, message, now, 0)).collect();
        self.write_messages(PUT, rows).await
    }

    /// A received message that is not committed yet.
    pub async fn pending(&self, of: MessageKey<'_>) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.get_message(PENDING, of).await?.map(|(message, _)| message))
    }

    /// Deletes received messages that are committed: all of them or none.
    pub async fn delete_pending(&self, messages: &[MessageKey<'_>]) -> Result<(), StoreError> {
        if messages.is_empty() {
            return Ok(());
        }
        let session = self.1.clone();
        let rows: Vec<Row> = messages.iter().map(|of| Row::of(PENDING, *of)).collect();
        let work = self.0.write(move |tx| {
            Box::pin(async move {
                on!(tx, |db, q| {
                    for row in rows {
                        let query = sqlx::query(q(DELETE)).bind(session.as_str()).bind(row.kind);
                        query.bind(row.chat).bind(row.sender).bind(row.id).execute(&mut *db).await?;
                    }
                });
                Ok(())
            })
        });
        work.await
    }

    /// Deletes received messages stored before `cutoff`, seconds. Answers how many.
    pub async fn sweep_pending(&self, cutoff: i64) -> Result<u32, StoreError> {
        self.sweep(PENDING, cutoff.saturating_sub(1)).await
    }

    /// Stores secrets: all of them or none.
    pub async fn put_secrets(&self, secrets: &[Secret<'_>]) -> Result<(), StoreError> {
        let row =
            |secret: &Secret<'_>| self.message(SECRET, secret.of, secret.secret, secret.expires_at, secret.message_at);
        self.write_messages(MERGE, secrets.iter().map(row).collect()).await
    }

    /// A message's secret, and when the message was sent (0 when unknown).
    pub async fn secret(&self, of: MessageKey<'_>) -> Result<Option<(Vec<u8>, i64)>, StoreError> {
        self.get_message(SECRET, of).await
    }

    /// Deletes secrets whose deadline is at or before `now`, seconds. Answers how many.
    pub async fn sweep_secrets(&self, now: i64) -> Result<u32, StoreError> {
        self.sweep(SECRET, now).await
    }

    fn now(&self) -> i64 {
        self.0.clock().now().seconds()
    }

    async fn get_message(&self, kind: &'static str, of: MessageKey<'_>) -> Result<Option<(Vec<u8>, i64)>, StoreError> {
        let row = Row::of(kind, of);
        let found: Option<(Vec<u8>, i64)> = on!(self.readers(), |db, q| {
            let query = sqlx::query_as(q(GET)).bind(self.1.as_str()).bind(row.kind);
            query.bind(&row.chat).bind(&row.sender).bind(&row.id).fetch_optional(db).await?
        });
        let Some((sealed, message_at)) = found else { return Ok(None) };
        Ok(Some((self.open(TABLE, &row.parts(), &sealed)?, message_at)))
    }

    fn message(&self, kind: &'static str, of: MessageKey<'_>, value: &[u8], sweep_at: i64, message_at: i64) -> Row {
        let row = Row::of(kind, of);
        let value = self.seal(TABLE, &row.parts(), value);
        Row { value, sweep_at, message_at, ..row }
    }

    /// Runs `PUT` or `MERGE` for every row, in one transaction.
    async fn write_messages(&self, statement: Sql, rows: Vec<Row>) -> Result<(), StoreError> {
        if rows.is_empty() {
            return Ok(());
        }
        let session = self.1.clone();
        let work = self.0.write(move |tx| {
            Box::pin(async move {
                on!(tx, |db, q| {
                    for row in rows {
                        let query = sqlx::query(q(statement)).bind(session.as_str()).bind(row.kind);
                        let query = query.bind(row.chat).bind(row.sender).bind(row.id).bind(row.value);
                        query.bind(row.sweep_at).bind(row.message_at).execute(&mut *db).await?;
                    }
                });
                Ok(())
            })
        });
        work.await
    }

    /// Deletes rows of a kind with a time at or before `until`. The client asks every few minutes for every session and
    /// mostly for nothing, so the writer is bothered only when there is something.
    async fn sweep(&self, kind: &'static str, until: i64) -> Result<u32, StoreError> {
        let due: i64 = on!(self.readers(), |db, q| {
            sqlx::query_scalar(q(DUE)).bind(self.1.as_str()).bind(kind).bind(until).fetch_one(db).await?
        });
        if due == 0 {
            return Ok(0);
        }
        let session = self.1.clone();
        let work = self.0.write(move |tx| {
            Box::pin(async move {
                let gone = on!(tx, |db, q| {
                    let query = sqlx::query(q(SWEEP)).bind(session.as_str()).bind(kind).bind(until);
                    query.execute(db).await?.rows_affected()
                });
                Ok(count(gone))
            })
        });
        work.await
    }
}

/// A row of `whatsapp_messages` without its session.
#[derive(Clone)]
struct Row {
    kind: &'static str,
    chat: Vec<u8>,
    sender: Vec<u8>,
    id: Vec<u8>,
    /// Sealed; empty where only the row is named.
    value: Vec<u8>,
    sweep_at: i64,
    message_at: i64,
}

impl Row {
    fn of(kind: &'static str, of: MessageKey<'_>) -> Self {
        let [chat, sender, id] = [of.chat, of.sender, of.id].map(|name| stored(name.as_bytes()));
        Self { kind, chat, sender, id, value: Vec::new(), sweep_at: 0, message_at: 0 }
    }

    fn parts(&self) -> [&[u8]; 4] {
        [self.kind.as_bytes(), &self.chat, &self.sender, &self.id]
    }
}
