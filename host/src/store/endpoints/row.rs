//! An endpoint as its columns.
//!
//! Invariant: what cannot be read is an error of its row. A key that does not open never becomes a request without a
//! signature.

use std::borrow::Cow;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use sqlx::FromRow;
use zeroize::Zeroizing;

use crate::model::{
    DeliveryOrder, Disabled, DisabledWhy, Endpoint, EndpointId, EndpointLimits, EventFilter, Headers, Millis,
    SessionId, SigningKey, SigningKeys, UserId, WebhookUrl,
};
use crate::store::column::{count, parsed, unknown};
use crate::store::vault::Address;
use crate::store::{StoreError, Vault};

/// An endpoint as its row has it.
#[derive(Debug, FromRow)]
pub(super) struct EndpointRow {
    id: EndpointId,
    owner: i64,
    session_id: Option<SessionId>,
    seal: String,
    /// Where it stands among those of its session or account; 0 for a founding one.
    pub(super) place: i64,
    name: String,
    description: String,
    url: String,
    events: String,
    headers: Vec<u8>,
    secret: Vec<u8>,
    ordering: String,
    in_flight: i64,
    per_second: Option<i64>,
    timeout_ms: Option<i64>,
    disabled_why: Option<String>,
    disabled_at: Option<Millis>,
    succeeded_at: Option<Millis>,
    failing_since: Option<Millis>,
    created_at: Millis,
}

/// A key in its sealed column.
#[derive(Serialize, Deserialize)]
struct KeyColumn<'a> {
    secret: Cow<'a, str>,
    until: Option<i64>,
}

/// What the sealed values of an endpoint are bound to.
pub(super) struct Sealing<'a> {
    pub(super) vault: &'a Vault,
    /// Whose the endpoint is: [`seal_of`].
    pub(super) seal: &'a str,
    pub(super) id: &'a EndpointId,
}

/// In whose name an endpoint's values are sealed. No session's id holds a colon.
pub(super) fn seal_of(owner: UserId, session: Option<&SessionId>) -> String {
    session.map_or_else(|| format!("account:{}", owner.0), ToString::to_string)
}

/// Limits as their columns: in flight, per second, milliseconds.
pub(super) fn columns(limits: EndpointLimits) -> (i64, Option<i64>, Option<i64>) {
    let timeout = limits.timeout.map(|timeout| i64::try_from(timeout.as_millis()).unwrap_or(i64::MAX));
    (i64::from(limits.in_flight), limits.per_second.map(i64::from), timeout)
}

impl EndpointRow {
    /// The endpoint with its secrets opened.
    pub(super) fn open(self, vault: &Vault) -> Result<Endpoint, StoreError> {
        let sealing = Sealing { vault, seal: &self.seal, id: &self.id };
        let (keys, headers) = (sealing.open_keys(&self.secret)?, sealing.open_headers(&self.headers)?);
        let disabled = match (self.disabled_why.as_deref(), self.disabled_at) {
            (Some(why), at) => Some(Disabled { why: why_named(why)?, at: at.unwrap_or(self.created_at) }),
            (None, _) => None,
        };
        let timeout = self.timeout_ms.map(|ms| Duration::from_millis(ms.unsigned_abs()));
        let limits =
            EndpointLimits { in_flight: count(self.in_flight), per_second: self.per_second.map(count), timeout };
        Ok(Endpoint {
            url: self.url.parse::<WebhookUrl>().map_err(|error| sqlx::Error::Decode(error.into()))?,
            events: EventFilter::new(parsed(&self.events)?).map_err(|error| sqlx::Error::Decode(error.into()))?,
            order: order_named(&self.ordering)?,
            id: self.id,
            owner: UserId(self.owner),
            session: self.session_id,
            name: self.name,
            description: self.description,
            headers,
            keys,
            limits,
            disabled,
            succeeded_at: self.succeeded_at,
            failing_since: self.failing_since,
            created_at: self.created_at,
        })
    }
}

impl Sealing<'_> {
    /// Keys as their column.
    pub(super) fn keys(&self, keys: &SigningKeys) -> Result<Vec<u8>, StoreError> {
        let column = |key| {
            let SigningKey { secret, until }: &SigningKey = key;
            KeyColumn { secret: secret.expose_secret().into(), until: until.map(|until: Millis| until.0) }
        };
        let keys: Vec<KeyColumn<'_>> = keys.all().iter().map(column).collect();
        let plain = serde_json::to_vec(&keys).map(Zeroizing::new);
        let plain = plain.map_err(|error| sqlx::Error::Encode(error.into()))?;
        Ok(self.vault.seal(self.address("secret"), &plain))
    }

    /// Headers as their column.
    pub(super) fn headers(&self, headers: &Headers) -> Result<Vec<u8>, StoreError> {
        if headers.is_empty() {
            return Ok(Vec::new());
        }
        let pairs: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (name.as_str(), value.expose_secret())).collect();
        let plain = serde_json::to_vec(&pairs).map(Zeroizing::new);
        let plain = plain.map_err(|error| sqlx::Error::Encode(error.into()))?;
        Ok(self.vault.seal(self.address("headers"), &plain))
    }

    /// Rows from before there were several keys hold one as it is.
    fn open_keys(&self, sealed: &[u8]) -> Result<SigningKeys, StoreError> {
        let plain = self.opened("secret", sealed).ok_or(StoreError::Sealed("a webhook secret"))?;
        if !plain.starts_with('[') {
            return Ok(vec![SigningKey { secret: SecretString::from(plain.as_str()), until: None }].into());
        }
        let keys: Vec<KeyColumn<'_>> = parsed(&plain)?;
        let key = |KeyColumn { secret, until }| SigningKey {
            secret: SecretString::from(secret.into_owned()),
            until: until.map(Millis),
        };
        Ok(keys.into_iter().map(key).collect::<Vec<_>>().into())
    }

    fn open_headers(&self, sealed: &[u8]) -> Result<Headers, StoreError> {
        if sealed.is_empty() {
            return Ok(Headers::default());
        }
        let plain = self.opened("headers", sealed).ok_or(StoreError::Sealed("the headers of a webhook"))?;
        let pairs: Vec<(String, String)> = parsed(&plain)?;
        Ok(pairs.into_iter().map(|(name, value)| (name, SecretString::from(value))).collect())
    }

    fn opened(&self, column: &'static str, sealed: &[u8]) -> Option<Zeroizing<String>> {
        let plain = self.vault.unseal(self.address(column), sealed)?;
        String::from_utf8(plain).ok().map(Zeroizing::new)
    }

    fn address(&self, column: &'static str) -> Address<'_> {
        Address { table: "endpoints", column, owner: self.seal, row: self.id.as_str().as_bytes() }
    }
}

fn why_named(name: &str) -> Result<DisabledWhy, StoreError> {
    let all = [DisabledWhy::ByUser, DisabledWhy::Gone, DisabledWhy::Failing];
    all.into_iter().find(|why| why.name() == name).ok_or_else(|| unknown("reason of a disabled endpoint", name))
}

fn order_named(name: &str) -> Result<DeliveryOrder, StoreError> {
    let all = [DeliveryOrder::Parallel, DeliveryOrder::Strict];
    all.into_iter().find(|order| order.name() == name).ok_or_else(|| unknown("delivery order", name))
}
