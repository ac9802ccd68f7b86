//! Users and their password hashes.

use super::{Store, StoreError};
use crate::model::{Role, User, UserId};

/// Calls on the users table.
#[derive(Debug)]
pub struct Users<'a>(pub(super) &'a Store);

impl Users<'_> {
    /// Adds a user; [`StoreError::Taken`] when the name exists (compared without case).
    pub async fn add(
        &self,
        _username: &str,
        _role: Role,
        _password_hash: &str,
        _must_change: bool,
    ) -> Result<User, StoreError> {
        unimplemented!()
    }
    /// One user.
    pub async fn get(&self, _id: UserId) -> Result<Option<User>, StoreError> {
        unimplemented!()
    }
    /// A user and the password hash, by name.
    pub async fn for_login(&self, _username: &str) -> Result<Option<(User, String)>, StoreError> {
        unimplemented!()
    }
    /// All users, by id.
    pub async fn list(&self) -> Result<Vec<User>, StoreError> {
        unimplemented!()
    }
    /// Sets a new password hash and revokes every token; whether the user exists.
    pub async fn set_password(
        &self,
        _id: UserId,
        _password_hash: &str,
        _must_change: bool,
    ) -> Result<bool, StoreError> {
        unimplemented!()
    }
    /// Replaces the hash after a login with outdated parameters; tokens stay good.
    pub async fn rehash(&self, _id: UserId, _password_hash: &str) -> Result<(), StoreError> {
        unimplemented!()
    }
    /// Removes a user who has no sessions; whether it existed. [`StoreError::Taken`] while sessions remain.
    pub async fn remove(&self, _id: UserId) -> Result<bool, StoreError> {
        unimplemented!()
    }
}
