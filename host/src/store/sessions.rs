//! Sessions, each with its first webhook endpoint.

use secrecy::SecretString;
use sqlx::FromRow;

use super::column::text;
use super::endpoints;
use super::pool::{Tx, on};
use super::sql::{Sql, statements};
use super::{Store, StoreError, keys};
use crate::model::{Chat, Link, Millis, Phone, Scope, Session, SessionId, UserId, WebhookUrl};

/// A session with the address of its first endpoint.
macro_rules! session {
    ($condition:literal) => {
        concat!(
            "SELECT s.id, s.owner, s.name, s.wanted, s.created_at, s.phone, s.device_jid, s.lid, s.linked_at, e.url
            FROM sessions s LEFT JOIN endpoints e ON e.session_id = s.id AND e.place = 0 AND e.enabled
            WHERE s.owner BETWEEN $1 AND $2 ",
            $condition
        )
    };
}

statements! {
    GET = session!("AND s.id = $3");
    LIST = session!("ORDER BY s.seq");
    BY_PHONE = session!("AND s.phone = $3 ORDER BY s.linked_at DESC, s.seq DESC");
    VISIBLE = "SELECT owner FROM sessions WHERE owner BETWEEN $1 AND $2 AND id = $3";
    ADD = "INSERT INTO sessions (id, owner, name, wanted, created_at) VALUES ($1, $2, $3, FALSE, $4)";
    RENAME = "UPDATE sessions SET name = $1 WHERE owner BETWEEN $2 AND $3 AND id = $4";
    SET_WANTED = "UPDATE sessions SET wanted = $1 WHERE owner BETWEEN $2 AND $3 AND id = $4";
    SET_LINK = "UPDATE sessions SET phone = $1, device_jid = $2, lid = $3, linked_at = $4
        WHERE owner BETWEEN $5 AND $6 AND id = $7";
    DELETE = "DELETE FROM sessions WHERE owner BETWEEN $1 AND $2 AND id = $3";
}

/// Calls on sessions within a scope.
#[derive(Debug)]
pub struct Sessions<'a>(pub(super) &'a Store, pub(super) Scope);

impl Sessions<'_> {
    /// Creates a session for `owner`; [`StoreError::Taken`] when the id exists.
    pub async fn create(
        &self,
        owner: UserId,
        id: SessionId,
        name: &str,
        webhook: Option<&WebhookUrl>,
    ) -> Result<Session, StoreError> {
        let (low, high) = self.1.owners();
        if !(low..=high).contains(&owner.0) {
            return Err(sqlx::Error::RowNotFound.into());
        }
        let (name, webhook_url, created_at) = (text(name).into_owned(), webhook.cloned(), self.0.clock().now());
        let vault = self.0.vault().clone();
        let session = Session { id, owner, name, webhook_url, link: None, wanted: false, created_at };
        let work = self.0.write(move |tx| {
            Box::pin(async move {
                let added = on!(tx, |db, q| {
                    let add = sqlx::query(q(ADD)).bind(&session.id).bind(owner).bind(&session.name).bind(created_at);
                    add.execute(db).await.map(|_| ())
                });
                added.map_err(|error| {
                    StoreError::taken(error, sqlx::error::DatabaseError::is_unique_violation, "the session id")
                })?;
                if let Some(url) = &session.webhook_url {
                    endpoints::set_first(tx, &vault, &session.id, url, created_at).await?;
                }
                Ok(session)
            })
        });
        work.await
    }

    /// One session.
    pub async fn get(&self, id: &SessionId) -> Result<Option<Session>, StoreError> {
        self.rows(GET, Some(id.as_str())).await.map(|rows| rows.into_iter().next())
    }

    /// All sessions, in the order of creation.
    pub async fn list(&self) -> Result<Vec<Session>, StoreError> {
        self.rows(LIST, None).await
    }

    /// The sessions linked to this number, newest link first.
    pub async fn by_phone(&self, phone: &Phone) -> Result<Vec<Session>, StoreError> {
        self.rows(BY_PHONE, Some(phone.as_str())).await
    }

    /// Renames; whether the session exists.
    pub async fn rename(&self, id: &SessionId, name: &str) -> Result<bool, StoreError> {
        let ((low, high), id, name) = (self.1.owners(), id.clone(), text(name).into_owned());
        let work = self.0.write(move |tx| {
            Box::pin(async move {
                let done = on!(tx, |db, q| {
                    let rename = sqlx::query(q(RENAME)).bind(name).bind(low).bind(high).bind(id);
                    rename.execute(db).await?.rows_affected()
                });
                Ok(done == 1)
            })
        });
        work.await
    }

    /// Sets or removes the first webhook endpoint; whether the session exists. Its secret stays when only the address
    /// changes; deliveries that wait follow to the new address, and are deleted when the endpoint is removed.
    pub async fn set_webhook(&self, id: &SessionId, webhook: Option<&WebhookUrl>) -> Result<bool, StoreError> {
        let (scope, id, webhook) = (self.1, id.clone(), webhook.cloned());
        let (vault, now) = (self.0.vault().clone(), self.0.clock().now());
        let work = self.0.write(move |tx| {
            Box::pin(async move {
                if !is_visible(tx, scope, &id).await? {
                    return Ok(false);
                }
                match &webhook {
                    Some(url) => endpoints::set_first(tx, &vault, &id, url, now).await?,
                    None => endpoints::remove_first(tx, &id).await?,
                }
                Ok(true)
            })
        });
        work.await
    }

    /// The first endpoint's signing secret, to be shown to its owner.
    pub async fn webhook_secret(&self, id: &SessionId) -> Result<Option<SecretString>, StoreError> {
        let endpoints = self.0.endpoints(self.1).list(Some(id)).await?;
        let first = endpoints.iter().find(|endpoint| endpoint.name == endpoints::DEFAULT);
        Ok(first.and_then(|endpoint| endpoint.keys.secret().cloned()))
    }

    /// Whether it should be running.
    pub async fn set_wanted(&self, id: &SessionId, wanted: bool) -> Result<bool, StoreError> {
        let ((low, high), id) = (self.1.owners(), id.clone());
        let work = self.0.write(move |tx| {
            Box::pin(async move {
                let done = on!(tx, |db, q| {
                    let set = sqlx::query(q(SET_WANTED)).bind(wanted).bind(low).bind(high).bind(id);
                    set.execute(db).await?.rows_affected()
                });
                Ok(done == 1)
            })
        });
        work.await
    }

    /// Remembers the linked account, or forgets it together with all its WhatsApp keys; whether the session exists.
    pub async fn set_link(&self, id: &SessionId, link: Option<&Link>) -> Result<bool, StoreError> {
        let ((low, high), id, link) = (self.1.owners(), id.clone(), link.cloned());
        let work = self.0.write(move |tx| {
            Box::pin(async move {
                let forget = link.is_none();
                let (phone, device, lid, at) = match link {
                    Some(link) => (Some(link.phone), Some(link.device_jid), link.lid, Some(link.linked_at)),
                    None => (None, None, None, None),
                };
                let done = on!(tx, |db, q| {
                    let set = sqlx::query(q(SET_LINK)).bind(phone).bind(device).bind(lid).bind(at);
                    set.bind(low).bind(high).bind(&id).execute(db).await?.rows_affected()
                });
                if done == 1 && forget {
                    keys::forget(tx, &id).await?;
                }
                Ok(done == 1)
            })
        });
        work.await
    }

    /// Deletes the session and every row that belongs to it, keys included; whether it existed.
    pub async fn delete(&self, id: &SessionId) -> Result<bool, StoreError> {
        let ((low, high), id) = (self.1.owners(), id.clone());
        let work = self.0.write(move |tx| {
            Box::pin(async move {
                let done = on!(tx, |db, q| {
                    sqlx::query(q(DELETE)).bind(low).bind(high).bind(id).execute(db).await?.rows_affected()
                });
                Ok(done == 1)
            })
        });
        work.await
    }

    /// The sessions of a `session!` statement, whose third parameter is `wanted` when it has one.
    async fn rows(&self, sql: Sql, wanted: Option<&str>) -> Result<Vec<Session>, StoreError> {
        let (low, high) = self.1.owners();
        let rows: Vec<SessionRow> = on!(self.0.readers(), |db, q| {
            let query = sqlx::query_as(q(sql)).bind(low).bind(high);
            let query = if let Some(wanted) = wanted { query.bind(wanted) } else { query };
            query.fetch_all(db).await?
        });
        rows.into_iter().map(SessionRow::into_session).collect()
    }
}

/// Whether the session exists within the scope.
pub(super) async fn is_visible(tx: &mut Tx, scope: Scope, id: &SessionId) -> Result<bool, StoreError> {
    let (low, high) = scope.owners();
    let found: Option<i64> =
        on!(tx, |db, q| { sqlx::query_scalar(q(VISIBLE)).bind(low).bind(high).bind(id).fetch_optional(db).await? });
    Ok(found.is_some())
}

#[derive(FromRow)]
struct SessionRow {
    id: SessionId,
    owner: UserId,
    name: String,
    wanted: bool,
    created_at: Millis,
    phone: Option<Phone>,
    device_jid: Option<String>,
    lid: Option<Chat>,
    linked_at: Option<Millis>,
    url: Option<String>,
}

impl SessionRow {
    fn into_session(self) -> Result<Session, StoreError> {
        let Self { id, owner, name, wanted, created_at, phone, device_jid, lid, linked_at, url } = self;
        let webhook_url = url.map(|url| url.parse()).transpose();
        let webhook_url =
            webhook_url.map_err(|error: crate::model::WebhookUrlError| sqlx::Error::Decode(error.into()))?;
        let link = match (phone, device_jid, linked_at) {
            (Some(phone), Some(device_jid), Some(linked_at)) => Some(Link { phone, device_jid, lid, linked_at }),
            _ => None,
        };
        Ok(Session { id, owner, name, webhook_url, link, wanted, created_at })
    }
}
