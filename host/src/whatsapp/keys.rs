//! The library's key store over our store.
//!
//! Signal records are stored as the library wrote them; its own structures as JSON, because the library adds fields from
//! one release to the next and JSON lets an old record meet a new reader.
//!
//! Invariant: every call returns only when what it wrote is durable, and a batch is written whole or not at all. The
//! library counts on both: it raises a counter lease and lets a ciphertext leave only after the flush. After
//! [`KeyStore::retire`] nothing is read or written, so a client that lingers cannot meet its successor on the rows.

mod device;
mod protocol;
mod secrets;
mod signal;
mod sync;

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use whatsapp_rust::wacore::store::error::{Result, StoreError};

use crate::store;
use crate::store::keys::{Key, Keys, MessageKey};

/// One session's key store, in the shape the library asks for. Holds an id and a handle; cheap to clone.
#[derive(Clone, Debug)]
pub struct KeyStore {
    keys: Keys,
    retired: Arc<AtomicBool>,
}

/// Pauses between two tries at what must not fail.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Reads, however long the database is away.
///
/// A message whose keys cannot be read is refused by the library ("Sending nack", whatsapp-rust 0.7.0
/// `src/message/receive.rs`), and WhatsApp does not send it again. So whatever stands on the way of a message waits
/// instead, and the message with it, unacknowledged.
macro_rules! read {
    ($store:ident.$call:ident($($argument:expr),*)) => {{
        let mut pause = $crate::whatsapp::keys::FIRST_PAUSE;
        loop {
            match $store.keys()?.$call($($argument),*).await {
                Ok(found) => break found,
                Err(error) => $store.bear(error, &mut pause).await?,
            }
        }
    }};
}

use read;

impl KeyStore {
    /// The key store over a session's keys. Two running clients must never share one.
    pub fn new(keys: Keys) -> Self {
        Self { keys, retired: Arc::default() }
    }

    /// Ends the use of these keys by this client and all its clones of the store: every later call fails.
    pub fn retire(&self) {
        self.retired.store(true, Ordering::SeqCst);
    }

    fn keys(&self) -> Result<&Keys> {
        if self.retired.load(Ordering::SeqCst) {
            Err(StoreError::Connection(Box::new(Retired)))
        } else {
            Ok(&self.keys)
        }
    }

    /// Keeps received messages until they are committed, however long the database takes.
    ///
    /// When this fails, the library still counts the messages as read and acknowledges them unseen when they come again
    /// (whatsapp-rust 0.7.0 `src/types/durability_hook.rs`, known limitations). So it must not fail while the client
    /// lives: the sender's messages wait here, and WhatsApp with them.
    async fn keep(&self, messages: &[(MessageKey<'_>, &[u8])]) -> Result<()> {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.keys()?.put_pending(messages).await {
                Ok(()) => return Ok(()),
                Err(error @ store::StoreError::Closed) => return Err(told(error)),
                Err(error) => tracing::error!(%error, "received messages could not be kept; trying again"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Waits before a read is tried again, or answers why it is in vain.
    async fn bear(&self, error: store::StoreError, pause: &mut Duration) -> Result<()> {
        if !error.is_passing() {
            return Err(told(error));
        }
        tracing::warn!(%error, "keys cannot be read; trying again");
        tokio::time::sleep(*pause).await;
        *pause = (*pause * 2).min(LONGEST_PAUSE);
        Ok(())
    }

    async fn put(&self, key: Key<'_>, value: &[u8]) -> Result<()> {
        self.keys()?.put(&[(key, value)]).await.map_err(told)
    }

    async fn get(&self, key: Key<'_>) -> Result<Option<Vec<u8>>> {
        Ok(read!(self.get(key)))
    }

    async fn delete(&self, key: Key<'_>) -> Result<()> {
        self.keys()?.delete(&[key]).await.map_err(told)
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

/// The client was stopped.
#[derive(Debug, thiserror::Error)]
#[error("this client was stopped; its keys are another's now")]
struct Retired;

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
