//! Trusted-contact tokens: what a contact gave us so that we may write to them, and when we gave them ours.
//!
//! Two writers share a row, each owning its half: a received token with its time, and the time we sent ours. Every
//! write is one statement, so neither can undo the other's half.

use super::{Keys, count, text};
use crate::store::StoreError;
use crate::store::pool::on;
use crate::store::sql::{Sql, statements};

const TABLE: &str = "whatsapp_tokens";

statements! {
    GET = "SELECT value, token_at, sender_at FROM whatsapp_tokens WHERE session_id = $1 AND jid = $2";
    JIDS = "SELECT jid FROM whatsapp_tokens WHERE session_id = $1 ORDER BY jid";
    PUT = "INSERT INTO whatsapp_tokens (session_id, jid, value, token_at, sender_at) VALUES ($1, $2, $3, $4, $5)
           ON CONFLICT (session_id, jid) DO UPDATE SET
             value = excluded.value, token_at = excluded.token_at, sender_at = excluded.sender_at",
        mysql: "INSERT INTO whatsapp_tokens (session_id, jid, value, token_at, sender_at) VALUES (?, ?, ?, ?, ?)
           ON DUPLICATE KEY UPDATE
             value = VALUES(value), token_at = VALUES(token_at), sender_at = VALUES(sender_at)";
    /// The sender's time only moves forward; the token stays.
    TOUCH = "INSERT INTO whatsapp_tokens (session_id, jid, value, token_at, sender_at) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (session_id, jid) DO UPDATE SET sender_at =
               CASE WHEN whatsapp_tokens.sender_at > excluded.sender_at THEN whatsapp_tokens.sender_at
                    ELSE excluded.sender_at END",
        mysql: "INSERT INTO whatsapp_tokens (session_id, jid, value, token_at, sender_at) VALUES (?, ?, ?, ?, ?)
             ON DUPLICATE KEY UPDATE sender_at =
               CASE WHEN sender_at > VALUES(sender_at) THEN sender_at ELSE VALUES(sender_at) END";
    /// A received token replaces one that is no newer, or none; the sender's time stays. MySQL assigns from left to
    /// right and sees what it assigned, so there the time comes first and then tells whether the token was taken.
    RECEIVE = "INSERT INTO whatsapp_tokens (session_id, jid, value, token_at, sender_at) VALUES ($1, $2, $3, $4, $5)
               ON CONFLICT (session_id, jid) DO UPDATE SET
                 value = CASE WHEN whatsapp_tokens.value IS NULL OR whatsapp_tokens.token_at <= excluded.token_at
                              THEN excluded.value ELSE whatsapp_tokens.value END,
                 token_at = CASE WHEN whatsapp_tokens.value IS NULL OR whatsapp_tokens.token_at <= excluded.token_at
                                 THEN excluded.token_at ELSE whatsapp_tokens.token_at END",
        mysql: "INSERT INTO whatsapp_tokens (session_id, jid, value, token_at, sender_at) VALUES (?, ?, ?, ?, ?)
               ON DUPLICATE KEY UPDATE
                 token_at = CASE WHEN value IS NULL OR token_at <= VALUES(token_at)
                                 THEN VALUES(token_at) ELSE token_at END,
                 value = CASE WHEN value IS NULL OR token_at = VALUES(token_at) THEN VALUES(value) ELSE value END";
    DELETE = "DELETE FROM whatsapp_tokens WHERE session_id = $1 AND jid = $2";
    EXPIRE = "DELETE FROM whatsapp_tokens WHERE session_id = $1
              AND (value IS NULL OR token_at < $2) AND (sender_at IS NULL OR sender_at < $3)";
}

/// A contact's token. Times are seconds.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// The token; empty while we only know when we gave ours.
    pub token: Vec<u8>,
    /// When it was received.
    pub token_at: i64,
    /// When we last gave the contact ours.
    pub sender_at: Option<i64>,
}

impl Keys {
    /// A contact's token.
    pub async fn token(&self, jid: &str) -> Result<Option<Token>, StoreError> {
        let row: Option<(Option<Vec<u8>>, i64, Option<i64>)> = on!(self.readers(), |db, q| {
            sqlx::query_as(q(GET)).bind(self.1.as_str()).bind(jid.as_bytes()).fetch_optional(db).await?
        });
        let Some((sealed, token_at, sender_at)) = row else { return Ok(None) };
        let token = sealed.map_or(Ok(Vec::new()), |sealed| self.open(TABLE, &[jid.as_bytes()], &sealed))?;
        Ok(Some(Token { token, token_at, sender_at }))
    }

    /// Whom we hold a token of, or gave ours.
    pub async fn token_jids(&self) -> Result<Vec<String>, StoreError> {
        let jids: Vec<Vec<u8>> =
            on!(self.readers(), |db, q| { sqlx::query_scalar(q(JIDS)).bind(self.1.as_str()).fetch_all(db).await? });
        jids.into_iter().map(text).collect()
    }

    /// Stores a token as it is given.
    pub async fn put_token(&self, jid: &str, token: &Token) -> Result<(), StoreError> {
        self.write_token(PUT, jid, token).await
    }

    /// Notes when we gave the contact ours.
    pub async fn touch_token(&self, jid: &str, sender_at: i64) -> Result<(), StoreError> {
        let placeholder = Token { token: Vec::new(), token_at: sender_at, sender_at: Some(sender_at) };
        self.write_token(TOUCH, jid, &placeholder).await
    }

    /// Stores a token received, unless a newer one is there.
    pub async fn receive_token(&self, jid: &str, token: &[u8], token_at: i64) -> Result<(), StoreError> {
        self.write_token(RECEIVE, jid, &Token { token: token.to_vec(), token_at, sender_at: None }).await
    }

    /// Deletes a token.
    pub async fn delete_token(&self, jid: &str) -> Result<(), StoreError> {
        self.strike(DELETE, vec![jid.as_bytes().to_vec()]).await
    }

    /// Deletes tokens with nothing live: received before `token_cutoff` (or none) and ours given before
    /// `sender_cutoff` (or never). Answers how many.
    pub async fn expire_tokens(&self, token_cutoff: i64, sender_cutoff: i64) -> Result<u32, StoreError> {
        let session = self.1.clone();
        let work = self.0.write(move |tx| {
            Box::pin(async move {
                let gone = on!(tx, |db, q| {
                    let query = sqlx::query(q(EXPIRE)).bind(session.as_str()).bind(token_cutoff).bind(sender_cutoff);
                    query.execute(db).await?.rows_affected()
                });
                Ok(count(gone))
            })
        });
        work.await
    }

    async fn write_token(&self, statement: Sql, jid: &str, token: &Token) -> Result<(), StoreError> {
        let sealed = (!token.token.is_empty()).then(|| self.seal(TABLE, &[jid.as_bytes()], &token.token));
        let (session, jid) = (self.1.clone(), jid.as_bytes().to_vec());
        let (token_at, sender_at) = (token.token_at, token.sender_at);
        let work = self.0.write(move |tx| {
            Box::pin(async move {
                on!(tx, |db, q| {
                    let query = sqlx::query(q(statement)).bind(session.as_str()).bind(jid).bind(sealed);
                    query.bind(token_at).bind(sender_at).execute(db).await?;
                });
                Ok(())
            })
        });
        work.await
    }
}
