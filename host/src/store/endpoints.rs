//! Webhook endpoints and their sealed signing secrets.
//!
//! A session's first endpoint (`place` 0) is the founding `webhook_url`. Its secret stays while only the address
//! changes, and deliveries that wait go to the new address. Removing it forgets the secret and deletes the deliveries
//! that wait for it; those delivered or given up stay, as the record of what happened. A later address starts afresh,
//! with a new secret.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};
use sqlx::FromRow;
use zeroize::Zeroizing;

use super::pool::{Tx, on};
use super::sql::statements;
use super::vault::Address;
use super::{StoreError, Vault};
use crate::model::{Endpoint, EndpointId, Millis, SessionId, WebhookUrl};

statements! {
    FIRST = "SELECT id, enabled FROM endpoints WHERE session_id = $1 AND place = 0";
    ADD = "INSERT INTO endpoints (id, session_id, place, url, secret, enabled, created_at)
        VALUES ($1, $2, 0, $3, $4, TRUE, $5)";
    MOVE = "UPDATE endpoints SET url = $1 WHERE id = $2";
    REVIVE = "UPDATE endpoints SET url = $1, secret = $2, enabled = TRUE, created_at = $3 WHERE id = $4";
    DISABLE = "UPDATE endpoints SET secret = '', enabled = FALSE WHERE id = $1";
    DROP_WAITING = "DELETE FROM deliveries WHERE endpoint_id = $1 AND state = 'waiting'";
}

/// An endpoint as its row has it.
#[derive(Debug, FromRow)]
pub(super) struct EndpointRow {
    pub(super) endpoint_id: EndpointId,
    pub(super) session_id: SessionId,
    pub(super) url: String,
    pub(super) secret: Vec<u8>,
}

impl EndpointRow {
    /// The endpoint with its secret opened.
    pub(super) fn open(self, vault: &Vault) -> Result<Endpoint, StoreError> {
        let Self { endpoint_id: id, session_id: session, url, secret } = self;
        let url = url.parse::<WebhookUrl>().map_err(|error| sqlx::Error::Decode(error.into()))?;
        let secret = vault.unseal(address(&session, &id), &secret).and_then(|secret| String::from_utf8(secret).ok());
        let secret = secret.ok_or(StoreError::Sealed("a webhook secret"))?;
        Ok(Endpoint { id, session, url, secret: SecretString::from(secret) })
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
    on!(tx, |db, q| {
        let first: Option<(EndpointId, bool)> = sqlx::query_as(q(FIRST)).bind(session).fetch_optional(&mut *db).await?;
        let query = match &first {
            Some((id, true)) => sqlx::query(q(MOVE)).bind(url.as_str()).bind(id),
            Some((id, false)) => {
                let secret = vault.seal(address(session, id), fresh_secret().expose_secret().as_bytes());
                sqlx::query(q(REVIVE)).bind(url.as_str()).bind(secret).bind(now).bind(id)
            }
            None => {
                let id = EndpointId::new();
                let secret = vault.seal(address(session, &id), fresh_secret().expose_secret().as_bytes());
                sqlx::query(q(ADD)).bind(id).bind(session).bind(url.as_str()).bind(secret).bind(now)
            }
        };
        query.execute(db).await?;
    });
    Ok(())
}

/// Removes the session's first endpoint, if it has one.
pub(super) async fn remove_first(tx: &mut Tx, session: &SessionId) -> Result<(), StoreError> {
    on!(tx, |db, q| {
        let first: Option<(EndpointId, bool)> = sqlx::query_as(q(FIRST)).bind(session).fetch_optional(&mut *db).await?;
        if let Some((id, _)) = first {
            sqlx::query(q(DISABLE)).bind(&id).execute(&mut *db).await?;
            sqlx::query(q(DROP_WAITING)).bind(&id).execute(db).await?;
        }
    });
    Ok(())
}

/// A secret as Standard Webhooks 1.0 wants it: `whsec_` and 32 random bytes as base64.
fn fresh_secret() -> SecretString {
    let bytes = Zeroizing::new(rand::random::<[u8; 32]>());
    SecretString::from(format!("whsec_{}", STANDARD.encode(bytes.as_slice())))
}

fn address<'a>(session: &'a SessionId, endpoint: &'a EndpointId) -> Address<'a> {
    Address { table: "endpoints", column: "secret", owner: session.as_str(), row: endpoint.as_str().as_bytes() }
}
