//! `kv`: values a plugin keeps. Reads see what this passage has written; writes are noted until it is committed.

mod keyspace;

use std::time::Duration;

pub(in crate::plugin) use keyspace::Keyspace;
use keyspace::Written;

use crate::model::{Millis, Scope, Stored};
use crate::plugin::api::v1::kv::{Error, Host};
use crate::plugin::state::State;
use crate::store::StoreError;

const LONGEST_KEY: usize = 256;
const LONGEST_VALUE: usize = 64 << 10;
/// What a plugin may keep.
const KEYS: u64 = 1_000;
const BYTES: u64 = 10 << 20;

impl Host for State {
    async fn get(&mut self, key: String) -> Result<Option<Vec<u8>>, Error> {
        self.granted(&key)?;
        self.read(&key).await
    }

    async fn set(&mut self, key: String, value: Vec<u8>, ttl_ms: Option<u64>) -> Result<(), Error> {
        self.granted(&key)?;
        self.put(key, value, ttl_ms, None).await
    }

    async fn delete(&mut self, key: String) -> Result<(), Error> {
        self.granted(&key)?;
        if self.call.keys.is_full() {
            return Err(Error::QuotaExceeded);
        }
        self.call.keys.write(key, Written { value: None, expires_at: None, relied: None });
        Ok(())
    }

    async fn increment(&mut self, key: String, delta: i64, ttl_ms: Option<u64>) -> Result<i64, Error> {
        self.granted(&key)?;
        let stored = self.read(&key).await?;
        let number = stored.as_deref().map_or(Some(0), number).ok_or(Error::Conflict)?;
        let sum = number.checked_add(delta).ok_or(Error::Conflict)?;
        self.put(key, sum.to_string().into_bytes(), ttl_ms, Some(stored)).await?;
        Ok(sum)
    }

    async fn compare_and_set(&mut self, key: String, expected: Option<Vec<u8>>, value: Vec<u8>) -> Result<(), Error> {
        self.granted(&key)?;
        let stored = self.read(&key).await?;
        if stored != expected {
            return Err(Error::Conflict);
        }
        self.put(key, value, None, Some(stored)).await
    }
}

impl State {
    fn granted(&self, key: &str) -> Result<(), Error> {
        if !self.call.place.grants.kv {
            return Err(Error::Denied("ask the operator for the grant kv".to_owned()));
        }
        match key.len() {
            0 => Err(Error::Other("a key has at least 1 byte".to_owned())),
            1..=LONGEST_KEY => Ok(()),
            _ => Err(Error::TooLarge(LONGEST_KEY as u64)),
        }
    }

    /// The value as this passage sees it.
    async fn read(&mut self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        let now = self.call.outside.clock.now();
        if let Some(known) = self.call.keys.look(key, now) {
            return Ok(known.map(<[u8]>::to_vec));
        }
        let call = &self.call;
        let stored = call.outside.store.plugins(Scope::gateway()).value(&call.place.plugin, key).await;
        let stored = stored.map_err(|error| unavailable(&error))?;
        self.call.keys.remember(key, stored.as_deref());
        Ok(stored)
    }

    async fn put(
        &mut self,
        key: String,
        value: Vec<u8>,
        ttl_ms: Option<u64>,
        relied: Option<Stored>,
    ) -> Result<(), Error> {
        if value.len() > LONGEST_VALUE {
            return Err(Error::TooLarge(LONGEST_VALUE as u64));
        }
        if self.call.keys.is_full() {
            return Err(Error::QuotaExceeded);
        }
        self.has_room(&key, value.len()).await?;
        let now = self.call.outside.clock.now();
        let expires_at = ttl_ms.map(|ttl| now.after(Duration::from_millis(ttl)));
        self.call.keys.write(key, Written { value: Some(value), expires_at, relied });
        Ok(())
    }

    /// Whether the plugin may keep this, too. The store, which knows what others wrote meanwhile, has the last word.
    async fn has_room(&mut self, key: &str, value: usize) -> Result<(), Error> {
        let (keys, bytes) = match self.call.keys.usage() {
            Some(usage) => usage,
            None => self.ask_usage().await?,
        };
        let room = |(new_keys, new_bytes): (i64, i64)| {
            keys.saturating_add_signed(new_keys) <= KEYS && bytes.saturating_add_signed(new_bytes) <= BYTES
        };
        if room(self.call.keys.growth(key, value)) {
            return Ok(());
        }
        // Near the limit it matters whether the key is there already.
        if self.call.keys.is_unknown(key) {
            self.read(key).await?;
        }
        if room(self.call.keys.growth(key, value)) { Ok(()) } else { Err(Error::QuotaExceeded) }
    }

    async fn ask_usage(&mut self) -> Result<(u64, u64), Error> {
        let call = &self.call;
        let usage = call.outside.store.plugins(Scope::gateway()).usage(&call.place.plugin).await;
        let usage = usage.map_err(|error| unavailable(&error))?;
        self.call.keys.set_usage(usage);
        Ok(usage)
    }
}

/// A number as it is kept: decimal text.
fn number(value: &[u8]) -> Option<i64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

fn unavailable(error: &StoreError) -> Error {
    tracing::error!(%error, "a plugin's value could not be read");
    Error::Other("the store does not answer; try again later".to_owned())
}

/// Whether a moment has passed.
fn is_over(expires_at: Option<Millis>, now: Millis) -> bool {
    expires_at.is_some_and(|at| at <= now)
}
