//! Small values of the gateway itself.

use super::{Store, StoreError};

/// Calls on settings.
#[derive(Debug)]
pub struct Settings<'a>(pub(super) &'a Store);

impl Settings<'_> {
    /// A value.
    pub async fn get(&self, _name: &str) -> Result<Option<String>, StoreError> {
        unimplemented!()
    }
    /// Sets a value.
    pub async fn set(&self, _name: &str, _value: &str) -> Result<(), StoreError> {
        unimplemented!()
    }
}
