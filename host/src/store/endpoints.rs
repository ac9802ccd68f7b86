//! Webhook endpoints, with their sealed keys and headers.
//!
//! A session's first endpoint (`place` 0, called `default`) is the founding `webhook_url`. Its keys stay while only the
//! address changes, and deliveries that wait go to the new address. Others are added under names of their own, for a
//! session or for all sessions of an account.
//!
//! Removing one forgets its keys and deletes the deliveries that wait for it; those delivered or given up stay, as the
//! record of what happened, and the row with them. A later endpoint starts afresh, with a new key.
//!
//! Rows and their encoding are [`row`], what changes one is [`change`].
//!
//! Invariant: sealed values are bound to the endpoint and to whose it is, and leave this room only opened.

pub(in crate::store) mod change;
mod row;

use sqlx::error::DatabaseError;

use self::row::{EndpointRow, Sealing, seal_of};
use super::column::{json, text};
use super::pool::{Tx, on};
use super::sql::statements;
use super::{Store, StoreError, Vault, sessions};
use crate::model::{
    DeliveryOrder, Endpoint, EndpointId, EndpointLimits, EventFilter, Headers, Millis, Scope, SessionId, UserId,
    WebhookUrl,
};

pub use change::{EndpointChange, Health, Rotation};

/// Endpoints that were not removed, of a scope.
macro_rules! endpoints {
    ($condition:literal) => {
        concat!(
            "SELECT e.id, e.owner, e.session_id, e.seal, e.place, e.name, e.description, e.url, e.events, e.headers,
                e.secret, e.ordering, e.in_flight, e.per_second, e.timeout_ms, e.disabled_why, e.disabled_at,
                e.succeeded_at, e.failing_since, e.created_at
            FROM endpoints e WHERE e.enabled AND e.owner BETWEEN $1 AND $2 AND ",
            $condition
        )
    };
}

statements! {
    OF_SESSION = endpoints!("e.session_id = $3 ORDER BY e.place");
    OF_ACCOUNT = endpoints!("e.session_id IS NULL AND e.owner = (SELECT s.owner FROM sessions s WHERE s.id = $3)
        ORDER BY e.place");
    ALL = endpoints!("1 = 1 ORDER BY e.created_at, e.id");
    GET = endpoints!("e.id = $3");
    FIRST = "SELECT id, enabled FROM endpoints WHERE session_id = $1 AND place = 0";
    /// What a session or an account has: endpoints, the last place given.
    COUNT = "SELECT COUNT(CASE WHEN enabled THEN 1 END), COALESCE(MAX(place), 0) FROM endpoints WHERE seal = $1";
    ADD = "INSERT INTO endpoints (id, owner, session_id, seal, place, name, description, url, events, headers, secret,
            ordering, in_flight, per_second, timeout_ms, enabled, created_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, TRUE, $16)";
    MOVE = "UPDATE endpoints SET url = $1 WHERE id = $2";
    /// As it was before anything was chosen about it.
    REVIVE = "UPDATE endpoints SET url = $1, secret = $2, events = $3, headers = '', description = '', enabled = TRUE,
            ordering = 'parallel', in_flight = 16, per_second = NULL, timeout_ms = NULL, disabled_why = NULL,
            disabled_at = NULL, succeeded_at = NULL, failing_since = NULL, created_at = $4 WHERE id = $5";
    REMOVE = "UPDATE endpoints SET secret = '', headers = '', enabled = FALSE
        WHERE owner BETWEEN $1 AND $2 AND id = $3 AND enabled";
    DROP_WAITING = "DELETE FROM deliveries WHERE endpoint_id = $1 AND state = 'waiting'";
    /// The row itself goes when nothing points at it; a session's first one keeps its place.
    FORGET = "DELETE FROM endpoints WHERE id = $1 AND (place > 0 OR session_id IS NULL)
        AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.endpoint_id = $2)";
    OWNER = "SELECT owner FROM sessions WHERE id = $1";
}

/// The founding endpoint's name.
pub const DEFAULT: &str = "default";

/// Endpoints of a session at most, the founding one included, and as many of an account besides.
pub const MOST: u32 = 64;

/// Calls on endpoints within a scope.
#[derive(Debug)]
pub struct Endpoints<'a>(pub(super) &'a Store, pub(super) Scope);

/// An endpoint to be added.
#[derive(Clone, Debug)]
pub struct NewEndpoint {
    /// Whose it is to be. Of one for a session it is the session's owner, whatever stands here.
    pub owner: UserId,
    /// The session whose events it gets; `None` for those of all sessions of the owner.
    pub session: Option<SessionId>,
    /// The name plugins route to.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// The address.
    pub url: WebhookUrl,
    /// The kinds of events it gets.
    pub events: EventFilter,
    /// Headers that go with every request.
    pub headers: Headers,
    /// In what order its deliveries come.
    pub order: DeliveryOrder,
    /// How much may be asked of the receiver at once.
    pub limits: EndpointLimits,
    /// Whether requests carry an ed25519 signature besides the HMAC.
    pub ed25519: bool,
}

impl NewEndpoint {
    /// An endpoint of a session with everything else as the founding webhook has it.
    pub fn plain(session: SessionId, name: &str, url: WebhookUrl) -> Self {
        Self {
            owner: UserId(0),
            session: Some(session),
            name: name.to_owned(),
            description: String::new(),
            url,
            events: EventFilter::default(),
            headers: Headers::default(),
            order: DeliveryOrder::default(),
            limits: EndpointLimits::default(),
            ed25519: false,
        }
    }
}

impl Endpoints<'_> {
    /// The endpoints in use that get a session's events: its own, the founding one first, then its owner's that are for
    /// all sessions.
    pub async fn of_session(&self, session: &SessionId) -> Result<Vec<Endpoint>, StoreError> {
        let (low, high) = self.1.owners();
        let rows = on!(self.0.readers(), |db, q| {
            let own = sqlx::query_as(q(OF_SESSION)).bind(low).bind(high).bind(session);
            let mut rows: Vec<EndpointRow> = own.fetch_all(db).await?;
            let shared = sqlx::query_as(q(OF_ACCOUNT)).bind(low).bind(high).bind(session);
            rows.extend::<Vec<EndpointRow>>(shared.fetch_all(db).await?);
            rows
        });
        let endpoints = self.open(rows)?;
        Ok(endpoints.into_iter().filter(|endpoint| endpoint.disabled.is_none()).collect())
    }

    /// Every endpoint of a session, the founding one first, or of all in the scope, oldest first; those out of use too.
    pub async fn list(&self, session: Option<&SessionId>) -> Result<Vec<Endpoint>, StoreError> {
        let (low, high) = self.1.owners();
        let rows: Vec<EndpointRow> = on!(self.0.readers(), |db, q| {
            match session {
                Some(session) => sqlx::query_as(q(OF_SESSION)).bind(low).bind(high).bind(session).fetch_all(db).await?,
                None => sqlx::query_as(q(ALL)).bind(low).bind(high).fetch_all(db).await?,
            }
        });
        self.open(rows)
    }

    /// One endpoint, in use or not.
    pub async fn get(&self, id: &EndpointId) -> Result<Option<Endpoint>, StoreError> {
        let (low, high) = self.1.owners();
        let row: Option<EndpointRow> = on!(self.0.readers(), |db, q| {
            sqlx::query_as(q(GET)).bind(low).bind(high).bind(id).fetch_optional(db).await?
        });
        row.map(|row| row.open(self.0.vault())).transpose()
    }

    /// Adds an endpoint; `None` when its session does not exist. [`StoreError::Taken`] when there is one of this name,
    /// or [`MOST`] already; `default` is the founding endpoint's, whether there is one or not.
    pub async fn add(&self, new: NewEndpoint) -> Result<Option<Endpoint>, StoreError> {
        if new.name == DEFAULT {
            return Err(StoreError::Taken("the endpoint name"));
        }
        let (scope, vault, now) = (self.1, self.0.vault().clone(), self.0.clock().now());
        let work = self.0.write(move |tx| {
            Box::pin(async move {
                let owner = match &new.session {
                    Some(session) if sessions::is_visible(tx, scope, session).await? => owner_of(tx, session).await?,
                    Some(_) => return Ok(None),
                    None => Some(new.owner),
                };
                let Some(owner) = owner else { return Ok(None) };
                let endpoint = new.endpoint(owner, now);
                let seal = seal_of(owner, endpoint.session.as_ref());
                let (count, last): (i64, i64) =
                    on!(&mut *tx, |db, q| { sqlx::query_as(q(COUNT)).bind(&seal).fetch_one(db).await? });
                if count >= i64::from(MOST) {
                    return Err(StoreError::Taken("the last of 64 endpoints"));
                }
                insert(tx, &vault, &endpoint, last + 1).await?;
                Ok(Some(endpoint))
            })
        });
        work.await
    }

    /// Removes an endpoint, a founding one too; whether it was there.
    pub async fn remove(&self, id: &EndpointId) -> Result<bool, StoreError> {
        let (scope, id) = (self.1, id.clone());
        self.0.write(move |tx| Box::pin(async move { remove(tx, scope, &id).await })).await
    }

    fn open(&self, rows: Vec<EndpointRow>) -> Result<Vec<Endpoint>, StoreError> {
        rows.into_iter().map(|row| row.open(self.0.vault())).collect()
    }
}

impl NewEndpoint {
    fn endpoint(self, owner: UserId, now: Millis) -> Endpoint {
        let Self { session, name, description, url, events, headers, order, limits, ed25519, .. } = self;
        let keys = change::fresh_keys(ed25519);
        let plain = Endpoint::plain(owner, session, &name, url, now);
        Endpoint { description, events, headers, keys, order, limits, ..plain }
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
    let first: Option<(EndpointId, bool)> =
        on!(&mut *tx, |db, q| { sqlx::query_as(q(FIRST)).bind(session).fetch_optional(db).await? });
    match first {
        Some((id, true)) => on!(tx, |db, q| {
            sqlx::query(q(MOVE)).bind(url.as_str()).bind(id).execute(db).await?;
        }),
        Some((id, false)) => {
            let secret = Sealing { vault, seal: session.as_str(), id: &id }.keys(&change::fresh_keys(false))?;
            let events = json(&EventFilter::default())?;
            on!(tx, |db, q| {
                let revive = sqlx::query(q(REVIVE)).bind(url.as_str()).bind(secret).bind(events).bind(now);
                revive.bind(&id).execute(db).await?;
            });
        }
        None => {
            let Some(owner) = owner_of(tx, session).await? else { return Err(sqlx::Error::RowNotFound.into()) };
            let new = NewEndpoint::plain(session.clone(), DEFAULT, url.clone());
            insert(tx, vault, &new.endpoint(owner, now), 0).await?;
        }
    }
    Ok(())
}

/// Removes the session's first endpoint, if it has one.
pub(super) async fn remove_first(tx: &mut Tx, session: &SessionId) -> Result<(), StoreError> {
    let first: Option<(EndpointId, bool)> =
        on!(&mut *tx, |db, q| { sqlx::query_as(q(FIRST)).bind(session).fetch_optional(db).await? });
    if let Some((id, true)) = first {
        remove(tx, Scope::gateway(), &id).await?;
    }
    Ok(())
}

/// Whose the session is, and with it its endpoints.
async fn owner_of(tx: &mut Tx, session: &SessionId) -> Result<Option<UserId>, StoreError> {
    let owner: Option<i64> = on!(tx, |db, q| { sqlx::query_scalar(q(OWNER)).bind(session).fetch_optional(db).await? });
    Ok(owner.map(UserId))
}

async fn insert(tx: &mut Tx, vault: &Vault, endpoint: &Endpoint, place: i64) -> Result<(), StoreError> {
    let seal = seal_of(endpoint.owner, endpoint.session.as_ref());
    let sealing = Sealing { vault, seal: &seal, id: &endpoint.id };
    let (headers, secret) = (sealing.headers(&endpoint.headers)?, sealing.keys(&endpoint.keys)?);
    let (events, description) = (json(&endpoint.events)?, text(&endpoint.description));
    let (in_flight, per_second, timeout_ms) = row::columns(endpoint.limits);
    let added = on!(tx, |db, q| {
        let add = sqlx::query(q(ADD)).bind(&endpoint.id).bind(endpoint.owner.0).bind(&endpoint.session).bind(&seal);
        let add = add.bind(place).bind(text(&endpoint.name)).bind(description).bind(endpoint.url.as_str());
        let add = add.bind(events).bind(headers).bind(secret).bind(endpoint.order.name()).bind(in_flight);
        add.bind(per_second).bind(timeout_ms).bind(endpoint.created_at).execute(db).await.map(|_| ())
    });
    added.map_err(|error| StoreError::taken(error, DatabaseError::is_unique_violation, "the endpoint name"))
}

/// Removes an endpoint; whether it was there.
async fn remove(tx: &mut Tx, scope: Scope, id: &EndpointId) -> Result<bool, StoreError> {
    let (low, high) = scope.owners();
    on!(tx, |db, q| {
        let removed = sqlx::query(q(REMOVE)).bind(low).bind(high).bind(id).execute(&mut *db).await?;
        if removed.rows_affected() == 0 {
            return Ok(false);
        }
        sqlx::query(q(DROP_WAITING)).bind(id).execute(&mut *db).await?;
        sqlx::query(q(FORGET)).bind(id).bind(id).execute(db).await?;
    });
    Ok(true)
}
