//! Plugins: what of them the plugin room reads.

use super::{Store, StoreError};
use crate::model::{Bound, PluginId, Scope, SessionId};

/// Calls on plugins within a scope.
#[derive(Debug)]
pub struct Plugins<'a>(pub(super) &'a Store, pub(super) Scope);

impl Plugins<'_> {
    /// The bytes of a component by their SHA-256 (hex).
    pub async fn component(&self, _sha256: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.0.ping().await.map(|()| None)
    }

    /// What runs on a session, in order.
    pub async fn chain(&self, _session: &SessionId) -> Result<Vec<Bound>, StoreError> {
        Ok(Vec::new())
    }

    /// A value a plugin keeps.
    pub async fn value(&self, _plugin: &PluginId, _key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(None)
    }

    /// How many keys and bytes a plugin keeps.
    pub async fn usage(&self, _plugin: &PluginId) -> Result<(u64, u64), StoreError> {
        Ok((0, 0))
    }
}
