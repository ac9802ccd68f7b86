//! The library's key store over our store.
//!
//! Signal records are stored as the library wrote them; its own structures as JSON, because the library adds fields from
//! one release to the next and JSON lets an old record meet a new reader.
//!
//! Invariant: every call returns only when what it wrote is durable, and a batch is written whole or not at all. The
//! library counts on both: it raises a counter lease and lets a ciphertext leave only after the flush.

mod device;
mod protocol;
mod secrets;
mod signal;
mod sync;

use std::error::Error;

use serde::Serialize;
use serde::de::DeserializeOwned;
use whatsapp_rust::wacore::store::error::{Result, StoreError};

use crate::store;
use crate::store::keys::{Key, Keys};

/// One session's key store, in the shape the library asks for. Holds an id and a handle; cheap to clone.
#[derive(Clone, Debug)]
pub struct KeyStore {
    keys: Keys,
}

impl KeyStore {
    /// The key store over a session's keys. Two running clients must never share one.
    pub fn new(keys: Keys) -> Self {
        Self { keys }
    }

    async fn put(&self, key: Key<'_>, value: &[u8]) -> Result<()> {
        self.keys.put(&[(key, value)]).await.map_err(told)
    }

    async fn get(&self, key: Key<'_>) -> Result<Option<Vec<u8>>> {
        self.keys.get(key).await.map_err(told)
    }

    async fn delete(&self, key: Key<'_>) -> Result<()> {
        self.keys.delete(&[key]).await.map_err(told)
    }

    async fn put_json<T: Serialize + Sync>(&self, key: Key<'_>, value: &T) -> Result<()> {
        self.put(key, &encode(value)?).await
    }

    async fn get_json<T: DeserializeOwned>(&self, key: Key<'_>) -> Result<Option<T>> {
        self.get(key).await?.map(|json| decode(&json)).transpose()
    }
}

fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(unreadable)
}

fn decode<T: DeserializeOwned>(json: &[u8]) -> Result<T> {
    serde_json::from_slice(json).map_err(unreadable)
}

fn unreadable(error: impl Into<Box<dyn Error + Send + Sync>>) -> StoreError {
    StoreError::Serialization(error.into())
}

/// A failure of the store that trying again may mend. The library looks for the word "busy".
#[derive(Debug, thiserror::Error)]
#[error("the database is busy")]
struct Busy(#[source] store::StoreError);

/// Our error as the library's.
fn told(error: store::StoreError) -> StoreError {
    match error {
        error if error.is_busy() => StoreError::Database(Box::new(Busy(error))),
        error @ store::StoreError::Closed => StoreError::Connection(Box::new(error)),
        error => StoreError::Database(Box::new(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_is_told_what_trying_again_may_mend() {
        let timed_out = store::StoreError::from(sqlx::Error::PoolTimedOut);
        assert!(told(timed_out).is_database_busy_or_locked());
        assert!(!told(store::StoreError::Closed).is_database_busy_or_locked());
        assert!(!told(store::StoreError::Sealed("a WhatsApp key")).is_database_busy_or_locked());
    }
}
