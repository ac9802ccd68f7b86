//! What changes an endpoint: its owner's choices, the rotation of its keys, and what the deliverer finds out about its
//! receiver.
//!
//! Invariant: deliveries that wait follow their endpoint. What it asks for when they are attempted is what holds.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::SecretString;
use zeroize::Zeroizing;

use super::row::{self, EndpointRow, Sealing, seal_of};
use super::{DEFAULT, Endpoints, GET};
use crate::model::{
    DeliveryOrder, Disabled, DisabledWhy, Endpoint, EndpointDisabled, EndpointId, EndpointLimits, Event, EventFilter,
    Happening, Headers, Millis, Scope, SessionId, SigningKey, SigningKeys, WebhookUrl,
};
use crate::store::column::{json, text};
use crate::store::events::record::{self, New};
use crate::store::pool::{Tx, on};
use crate::store::sql::statements;
use crate::store::{StoreError, Vault};

statements! {
    CHANGE = "UPDATE endpoints SET name = $1, description = $2, url = $3, events = $4, headers = $5, secret = $6,
            ordering = $7, in_flight = $8, per_second = $9, timeout_ms = $10, disabled_why = $11, disabled_at = $12,
            failing_since = $13
        WHERE id = $14 AND enabled";
    /// Of each chat only the first goes on being due.
    LINE_UP = "UPDATE deliveries SET due_at = NULL WHERE endpoint_id = $1 AND state = 'waiting' AND chat IS NOT NULL
        AND seq > (SELECT MIN(w.seq) FROM deliveries w WHERE w.endpoint_id = deliveries.endpoint_id
            AND w.chat = deliveries.chat AND w.state = 'waiting')",
        mysql: "UPDATE deliveries d JOIN (SELECT w.endpoint_id, w.chat, MIN(w.seq) AS seq FROM deliveries w
            WHERE w.endpoint_id = ? AND w.state = 'waiting' AND w.chat IS NOT NULL GROUP BY w.endpoint_id, w.chat) first
            ON d.endpoint_id = first.endpoint_id AND d.chat = first.chat AND d.seq > first.seq AND d.state = 'waiting'
        SET d.due_at = NULL";
    SPREAD = "UPDATE deliveries SET due_at = $1 WHERE endpoint_id = $2 AND state = 'waiting' AND due_at IS NULL";
    RESUME = "UPDATE deliveries SET due_at = $1 WHERE endpoint_id = $2 AND state = 'waiting' AND due_at > $3";
    SUCCEEDED = "UPDATE endpoints SET succeeded_at = $1, failing_since = NULL WHERE id = $2 AND enabled";
    FAILING = "UPDATE endpoints SET failing_since = COALESCE(failing_since, $1) WHERE id = $2 AND enabled";
    DISABLE = "UPDATE endpoints SET disabled_why = $1, disabled_at = $2
        WHERE id = $3 AND enabled AND disabled_why IS NULL";
    SESSION = "SELECT id FROM sessions WHERE owner = $1 ORDER BY seq LIMIT 1";
}

/// What is to be changed; `None` leaves it as it is.
#[derive(Clone, Debug, Default)]
pub struct EndpointChange {
    /// The name plugins route to.
    pub name: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// The address. Deliveries that wait go there.
    pub url: Option<WebhookUrl>,
    /// The kinds of events it gets from now on.
    pub events: Option<EventFilter>,
    /// Headers, in place of all there were.
    pub headers: Option<Headers>,
    /// In what order its deliveries come.
    pub order: Option<DeliveryOrder>,
    /// How much may be asked of the receiver at once.
    pub limits: Option<EndpointLimits>,
    /// Put out of use, or back into use: then what waits is due at once.
    pub enabled: Option<bool>,
}

/// A new key in place of another.
#[derive(Clone, Copy, Debug)]
pub struct Rotation {
    /// An ed25519 key; else one for HMAC.
    pub ed25519: bool,
    /// How long the key before goes on signing beside the new one.
    pub keep: Duration,
}

/// What the deliverer finds out about an endpoint's receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It took a delivery.
    Succeeded,
    /// It has taken none since.
    Failing {
        /// Since then, unless it failed before.
        since: Millis,
    },
    /// It shall get nothing more.
    Disabled(DisabledWhy),
}

/// The first keys of an endpoint.
pub(super) fn fresh_keys(ed25519: bool) -> SigningKeys {
    let mut keys = vec![fresh(false)];
    keys.extend(ed25519.then(|| fresh(true)));
    keys.into()
}

/// A key as Standard Webhooks 1.0 writes it: a prefix, and 32 random bytes as base64.
fn fresh(ed25519: bool) -> SigningKey {
    let bytes = Zeroizing::new(rand::random::<[u8; 32]>());
    let prefix = if ed25519 { "whsk_" } else { "whsec_" };
    SigningKey { secret: SecretString::from(format!("{prefix}{}", STANDARD.encode(bytes.as_slice()))), until: None }
}

impl Endpoints<'_> {
    /// Changes an endpoint and answers it as it is then; `None` when there is none. [`StoreError::Taken`] when the name
    /// is; a founding endpoint keeps its own.
    pub async fn change(&self, id: &EndpointId, change: EndpointChange) -> Result<Option<Endpoint>, StoreError> {
        self.alter(id, move |endpoint, now| change.apply(endpoint, now)).await
    }

    /// Gives an endpoint a new key and answers it with all of them; `None` when there is none. Of those of the same
    /// algorithm that went before, the last signs until `keep` has passed; what has ended is forgotten.
    pub async fn rotate(&self, id: &EndpointId, rotation: Rotation) -> Result<Option<Endpoint>, StoreError> {
        let new = fresh(rotation.ed25519);
        self.alter(id, move |endpoint, now| endpoint.keys = rotated(&endpoint.keys, new.clone(), rotation, now)).await
    }

    /// Takes down what was found out about an endpoint's receiver. One that is gone is passed over. An endpoint that is
    /// put out of use raises an event, which is stored with it and answered, still to be routed: on its session, or on the
    /// first session of its account; an account without sessions has nowhere to tell it.
    pub async fn note(&self, id: &EndpointId, health: Health) -> Result<Option<Event>, StoreError> {
        let (scope, vault, id, now) = (self.1, self.0.vault().clone(), id.clone(), self.0.clock().now());
        let work = self.0.write(move |tx| {
            Box::pin(async move {
                let noted = on!(&mut *tx, |db, q| {
                    let note = match health {
                        Health::Succeeded => sqlx::query(q(SUCCEEDED)).bind(now),
                        Health::Failing { since } => sqlx::query(q(FAILING)).bind(since),
                        Health::Disabled(why) => sqlx::query(q(DISABLE)).bind(why.name()).bind(now),
                    };
                    note.bind(&id).execute(db).await?.rows_affected()
                });
                let Health::Disabled(why) = health else { return Ok(None) };
                match found(tx, scope, &vault, &id).await? {
                    Some((endpoint, _)) if noted > 0 => raise(tx, endpoint, why, now).await,
                    _ => Ok(None),
                }
            })
        });
        work.await
    }

    /// Reads an endpoint, changes it, and writes it, in one transaction.
    async fn alter(
        &self,
        id: &EndpointId,
        alter: impl FnOnce(&mut Endpoint, Millis) + Clone + Send + 'static,
    ) -> Result<Option<Endpoint>, StoreError> {
        let (scope, vault, now, id) = (self.1, self.0.vault().clone(), self.0.clock().now(), id.clone());
        let work = self.0.write(move |tx| {
            Box::pin(async move {
                let Some((before, place)) = found(tx, scope, &vault, &id).await? else { return Ok(None) };
                let mut after = before.clone();
                alter(&mut after, now);
                if after.name != before.name && (place == 0 && after.session.is_some() || after.name == DEFAULT) {
                    return Err(StoreError::Taken("the endpoint name"));
                }
                write(tx, &vault, &after).await?;
                follow(tx, &before, &after, now).await?;
                Ok(Some(after))
            })
        });
        work.await
    }
}

impl EndpointChange {
    fn apply(self, endpoint: &mut Endpoint, now: Millis) {
        let Self { name, description, url, events, headers, order, limits, enabled } = self;
        let Endpoint { failing_since, disabled, .. } = endpoint;
        match enabled {
            Some(true) => (*disabled, *failing_since) = (None, None),
            Some(false) => *disabled = disabled.or(Some(Disabled { why: DisabledWhy::ByUser, at: now })),
            None => {}
        }
        endpoint.name = name.unwrap_or(std::mem::take(&mut endpoint.name));
        endpoint.description = description.unwrap_or(std::mem::take(&mut endpoint.description));
        endpoint.headers = headers.unwrap_or(std::mem::take(&mut endpoint.headers));
        endpoint.url = url.unwrap_or_else(|| endpoint.url.clone());
        endpoint.events = events.unwrap_or_else(|| endpoint.events.clone());
        endpoint.order = order.unwrap_or(endpoint.order);
        endpoint.limits = limits.unwrap_or(endpoint.limits);
    }
}

/// Stores the event that an endpoint was put out of use.
async fn raise(tx: &mut Tx, endpoint: Endpoint, why: DisabledWhy, now: Millis) -> Result<Option<Event>, StoreError> {
    let session: Option<SessionId> = match endpoint.session {
        Some(session) => Some(session),
        None => {
            on!(&mut *tx, |db, q| { sqlx::query_scalar(q(SESSION)).bind(endpoint.owner.0).fetch_optional(db).await? })
        }
    };
    let Some(session) = session else { return Ok(None) };
    let what = EndpointDisabled { id: endpoint.id, name: endpoint.name, url: endpoint.url, why, at: now };
    let new = New::of(&session, Happening::EndpointDisabled(what))?;
    record::add(tx, Scope::gateway(), &session, new, now).await
}

/// The keys with a new one first. Of an algorithm two sign at most: the new one, and for a while the one before.
fn rotated(keys: &SigningKeys, new: SigningKey, rotation: Rotation, now: Millis) -> SigningKeys {
    let mut all = vec![new];
    for key in keys.at(now) {
        let replaced = key.is_ed25519() == rotation.ed25519;
        if !replaced {
            all.push(key.clone());
        } else if key.until.is_none() && !rotation.keep.is_zero() {
            all.push(SigningKey { until: Some(now.after(rotation.keep)), ..key.clone() });
        }
    }
    all.into()
}

/// The endpoint, and its place.
async fn found(
    tx: &mut Tx,
    scope: Scope,
    vault: &Vault,
    id: &EndpointId,
) -> Result<Option<(Endpoint, i64)>, StoreError> {
    let (low, high) = scope.owners();
    let row: Option<EndpointRow> =
        on!(tx, |db, q| { sqlx::query_as(q(GET)).bind(low).bind(high).bind(id).fetch_optional(db).await? });
    let Some(row) = row else { return Ok(None) };
    let place = row.place;
    Ok(Some((row.open(vault)?, place)))
}

async fn write(tx: &mut Tx, vault: &Vault, endpoint: &Endpoint) -> Result<(), StoreError> {
    let seal = seal_of(endpoint.owner, endpoint.session.as_ref());
    let sealing = Sealing { vault, seal: &seal, id: &endpoint.id };
    let (headers, secret) = (sealing.headers(&endpoint.headers)?, sealing.keys(&endpoint.keys)?);
    let (events, description) = (json(&endpoint.events)?, text(&endpoint.description));
    let (in_flight, per_second, timeout_ms) = row::columns(endpoint.limits);
    let (why, at) = endpoint.disabled.map_or((None, None), |Disabled { why, at }| (Some(why.name()), Some(at)));
    let changed = on!(tx, |db, q| {
        let change = sqlx::query(q(CHANGE)).bind(text(&endpoint.name)).bind(description).bind(endpoint.url.as_str());
        let change = change.bind(events).bind(headers).bind(secret).bind(endpoint.order.name()).bind(in_flight);
        let change = change.bind(per_second).bind(timeout_ms).bind(why).bind(at).bind(endpoint.failing_since);
        change.bind(&endpoint.id).execute(db).await.map(|_| ())
    });
    changed
        .map_err(|error| StoreError::taken(error, sqlx::error::DatabaseError::is_unique_violation, "the endpoint name"))
}

/// Sees to what waits for an endpoint that was changed.
async fn follow(tx: &mut Tx, before: &Endpoint, after: &Endpoint, now: Millis) -> Result<(), StoreError> {
    let id = &after.id;
    on!(tx, |db, q| {
        match (before.order, after.order) {
            (DeliveryOrder::Parallel, DeliveryOrder::Strict) => {
                sqlx::query(q(LINE_UP)).bind(id).execute(&mut *db).await?;
            }
            (DeliveryOrder::Strict, DeliveryOrder::Parallel) => {
                sqlx::query(q(SPREAD)).bind(now).bind(id).execute(&mut *db).await?;
            }
            _ => {}
        }
        if before.disabled.is_some() && after.disabled.is_none() {
            sqlx::query(q(RESUME)).bind(now).bind(id).bind(now).execute(db).await?;
        }
    });
    Ok(())
}
