//! Sessions, each with its first webhook endpoint.

use super::{Store, StoreError};
use crate::model::{Link, Phone, Scope, Session, SessionId, UserId, WebhookUrl};

/// Calls on sessions within a scope.
#[derive(Debug)]
pub struct Sessions<'a>(pub(super) &'a Store, pub(super) Scope);

impl Sessions<'_> {
    /// Creates a session for `owner`; [`StoreError::Taken`] when the id exists.
    pub async fn create(
        &self,
        _owner: UserId,
        _id: SessionId,
        _name: &str,
        _webhook: Option<&WebhookUrl>,
    ) -> Result<Session, StoreError> {
        unimplemented!()
    }
    /// One session.
    pub async fn get(&self, _id: &SessionId) -> Result<Option<Session>, StoreError> {
        unimplemented!()
    }
    /// All sessions, in the order of creation.
    pub async fn list(&self) -> Result<Vec<Session>, StoreError> {
        unimplemented!()
    }
    /// The sessions linked to this number, newest link first.
    pub async fn by_phone(&self, _phone: &Phone) -> Result<Vec<Session>, StoreError> {
        unimplemented!()
    }
    /// Renames; whether the session exists.
    pub async fn rename(&self, _id: &SessionId, _name: &str) -> Result<bool, StoreError> {
        unimplemented!()
    }
    /// Sets or removes the first webhook endpoint; whether the session exists. Its secret stays when only the address changes.
    pub async fn set_webhook(&self, _id: &SessionId, _webhook: Option<&WebhookUrl>) -> Result<bool, StoreError> {
        unimplemented!()
    }
    /// The first endpoint's signing secret, to be shown to its owner.
    pub async fn webhook_secret(&self, _id: &SessionId) -> Result<Option<secrecy::SecretString>, StoreError> {
        unimplemented!()
    }
    /// Whether it should be running.
    pub async fn set_wanted(&self, _id: &SessionId, _wanted: bool) -> Result<bool, StoreError> {
        unimplemented!()
    }
    /// Remembers the linked account, or forgets it together with all its WhatsApp keys.
    pub async fn set_link(&self, _id: &SessionId, _link: Option<&Link>) -> Result<bool, StoreError> {
        unimplemented!()
    }
    /// Deletes the session and every row that belongs to it, keys included; whether it existed.
    pub async fn delete(&self, _id: &SessionId) -> Result<bool, StoreError> {
        unimplemented!()
    }
}
