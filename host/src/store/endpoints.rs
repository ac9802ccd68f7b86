//! Webhook endpoints and their sealed signing secrets.
//!
//! A session's first endpoint (`place` 0, called `default`) is the founding `webhook_url`. Its secret stays while only
//! the address changes, and deliveries that wait go to the new address. Others are added under names of their own and
//! never change.
//!
//! Removing one forgets its secret and deletes the deliveries that wait for it; those delivered or given up stay, as
//! the record of what happened, and the row with them, disabled. A later endpoint starts afresh, with a new secret.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};
use sqlx::FromRow;
use zeroize::Zeroizing;

use super::pool::{Tx, on};
use super::sql::statements;
use super::vault::Address;
use super::{Store, StoreError, Vault, sessions};
use crate::model::{Endpoint, EndpointId, Millis, Scope, SessionId, WebhookUrl};

statements! {
    LIST = "SELECT e.id AS endpoint_id, e.session_id, e.name, e.url, e.secret
        FROM endpoints e JOIN sessions s ON s.id = e.session_id
        WHERE s.owner BETWEEN $1 AND $2 AND e.session_id = $3 AND e.enabled ORDER BY e.place";
    FIRST = "SELECT id, enabled FROM endpoints WHERE session_id = $1 AND place = 0";
    /// What a session has: enabled endpoints, the last place given.
    COUNT = "SELECT COUNT(CASE WHEN enabled THEN 1 END), COALESCE(MAX(place), 0) FROM endpoints WHERE session_id = $1";
    ADD = "INSERT INTO endpoints (id, session_id, place, name, url, secret, enabled, created_at)
        VALUES ($1, $2, $3, $4, $5, $6, TRUE, $7)";
    MOVE = "UPDATE endpoints SET url = $1 WHERE id = $2";
    REVIVE = "UPDATE endpoints SET url = $1, secret = $2, enabled = TRUE, created_at = $3 WHERE id = $4";
    DISABLE = "UPDATE endpoints SET secret = '', enabled = FALSE WHERE session_id = $1 AND id = $2 AND enabled";
    DROP_WAITING = "DELETE FROM deliveries WHERE endpoint_id = $1 AND state = 'waiting'";
    /// The row itself goes when nothing points at it; the first one's place is kept.
    FORGET = "DELETE FROM endpoints WHERE id = $1 AND place > 0
        AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.endpoint_id = $2)";
}

/// The founding endpoint's name.
pub const DEFAULT: &str = "default";

/// Endpoints of a session at most, the founding one included.
pub const MOST: u32 = 64;

/// Calls on endpoints within a scope.
#[derive(Debug)]
pub struct Endpoints<'a>(pub(super) &'a Store, pub(super) Scope);

impl Endpoints<'_> {
    /// The endpoints of a session, the founding one first.
    pub async fn list(&self, session: &SessionId) -> Result<Vec<Endpoint>, StoreError> {
        let (low, high) = self.1.owners();
        let rows: Vec<EndpointRow> = on!(self.0.readers(), |db, q| {
            sqlx::query_as(q(LIST)).bind(low).bind(high).bind(session).fetch_all(db).await?
        });
        rows.into_iter().map(|row| row.open(self.0.vault())).collect()
    }

    /// Adds an endpoint under a name; `None` when the session does not exist. [`StoreError::Taken`] when it has one of
    /// this name, or [`MOST`] already; `default` is the founding endpoint's, whether there is one or not.
    pub async fn add(&self, session: &SessionId, name: &str, url: &WebhookUrl) -> Result<Option<Endpoint>, StoreError> {
        if name == DEFAULT {
            return Err(StoreError::Taken("the endpoint name"));
        }
        let (scope, vault, now) = (self.1, self.0.vault().clone(), self.0.clock().now());
        let (id, secret) = (EndpointId::new(), fresh_secret());
        let endpoint = Endpoint { id, session: session.clone(), name: name.to_owned(), url: url.clone(), secret };
        let work = self.0.write(move |tx| {
            Box::pin(async move {
                if !sessions::is_visible(tx, scope, &endpoint.session).await? {
                    return Ok(None);
                }
                let Endpoint { id, session, name, url, secret } = &endpoint;
                let added = on!(tx, |db, q| {
                    let (count, last): (i64, i64) = sqlx::query_as(q(COUNT)).bind(session).fetch_one(&mut *db).await?;
                    if count >= i64::from(MOST) {
                        return Err(StoreError::Taken("the last of a session's 64 endpoints"));
                    }
                    let secret = vault.seal(address(session, id), secret.expose_secret().as_bytes());
                    let add = sqlx::query(q(ADD)).bind(id).bind(session).bind(last + 1).bind(name);
                    add.bind(url.as_str()).bind(secret).bind(now).execute(db).await.map(|_| ())
                });
                let named = sqlx::error::DatabaseError::is_unique_violation;
                added.map_err(|error| StoreError::taken(error, named, "the endpoint name"))?;
                Ok(Some(endpoint))
            })
        });
        work.await
    }

    /// Removes an endpoint of a session, the founding one too; whether it was there.
    pub async fn remove(&self, session: &SessionId, id: &EndpointId) -> Result<bool, StoreError> {
        let (scope, session, id) = (self.1, session.clone(), id.clone());
        let work = self.0.write(move |tx| {
            Box::pin(async move {
                let visible = sessions::is_visible(tx, scope, &session).await?;
                Ok(visible && remove(tx, &session, &id).await?)
            })
        });
        work.await
    }
}

/// An endpoint as its row has it.
#[derive(Debug, FromRow)]
pub(super) struct EndpointRow {
    pub(super) endpoint_id: EndpointId,
    pub(super) session_id: SessionId,
    pub(super) name: String,
    pub(super) url: String,
    pub(super) secret: Vec<u8>,
}

impl EndpointRow {
    /// The endpoint with its secret opened.
    pub(super) fn open(self, vault: &Vault) -> Result<Endpoint, StoreError> {
        let Self { endpoint_id: id, session_id: session, name, url, secret } = self;
        let url = url.parse::<WebhookUrl>().map_err(|error| sqlx::Error::Decode(error.into()))?;
        let secret = vault.unseal(address(&session, &id), &secret).and_then(|secret| String::from_utf8(secret).ok());
        let secret = secret.ok_or(StoreError::Sealed("a webhook secret"))?;
        Ok(Endpoint { id, session, name, url, secret: SecretString::from(secret) })
    }
}

/// Gives the session this first endpoint, in place of the one it may have.
pub(super) async fn set_first(
    tx: &mut Tx,
    vault: &Vault,
    session: &SessionId,
    url: &WebhookUrl,
    now: Millis,
) -> Result<(), StoreError> {
    let sealed = |id| vault.seal(address(session, id), fresh_secret().expose_secret().as_bytes());
    on!(tx, |db, q| {
        let first: Option<(EndpointId, bool)> = sqlx::query_as(q(FIRST)).bind(session).fetch_optional(&mut *db).await?;
        let query = match &first {
            Some((id, true)) => sqlx::query(q(MOVE)).bind(url.as_str()).bind(id),
            Some((id, false)) => sqlx::query(q(REVIVE)).bind(url.as_str()).bind(sealed(id)).bind(now).bind(id),
            None => {
                let id = EndpointId::new();
                let secret = sealed(&id);
                let add = sqlx::query(q(ADD)).bind(id).bind(session).bind(0_i64).bind(DEFAULT);
                add.bind(url.as_str()).bind(secret).bind(now)
            }
        };
        query.execute(db).await?;
    });
    Ok(())
}

/// Removes the session's first endpoint, if it has one.
pub(super) async fn remove_first(tx: &mut Tx, session: &SessionId) -> Result<(), StoreError> {
    let first: Option<(EndpointId, bool)> =
        on!(&mut *tx, |db, q| { sqlx::query_as(q(FIRST)).bind(session).fetch_optional(db).await? });
    if let Some((id, true)) = first {
        remove(tx, session, &id).await?;
    }
    Ok(())
}

/// Removes an endpoint; whether it was there.
async fn remove(tx: &mut Tx, session: &SessionId, id: &EndpointId) -> Result<bool, StoreError> {
    on!(tx, |db, q| {
        if sqlx::query(q(DISABLE)).bind(session).bind(id).execute(&mut *db).await?.rows_affected() == 0 {
            return Ok(false);
        }
        sqlx::query(q(DROP_WAITING)).bind(id).execute(&mut *db).await?;
        sqlx::query(q(FORGET)).bind(id).bind(id).execute(db).await?;
    });
    Ok(true)
}

/// A secret as Standard Webhooks 1.0 wants it: `whsec_` and 32 random bytes as base64.
fn fresh_secret() -> SecretString {
    let bytes = Zeroizing::new(rand::random::<[u8; 32]>());
    SecretString::from(format!("whsec_{}", STANDARD.encode(bytes.as_slice())))
}

fn address<'a>(session: &'a SessionId, endpoint: &'a EndpointId) -> Address<'a> {
    Address { table: "endpoints", column: "secret", owner: session.as_str(), row: endpoint.as_str().as_bytes() }
}
