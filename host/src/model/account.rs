//! Users of the gateway and what each may touch.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Millis;

/// A user's number, as the founding login answer shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, sqlx::Type)]
#[serde(transparent)]
#[sqlx(transparent)]
pub struct UserId(pub i64);

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a user is allowed beyond their own sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Manages users; their own sessions apart like everybody's.
    Admin,
    /// Uses their own sessions.
    User,
}

impl Role {
    /// The role's stored name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::User => "user",
        }
    }

    /// The role behind a stored name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Admin, Self::User].into_iter().find(|role| role.name() == name)
    }
}

/// A user as stored, without the password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Their number.
    pub id: UserId,
    /// The name they log in with, compared without case.
    pub username: String,
    /// What they are allowed.
    pub role: Role,
    /// Raised to revoke every token given out so far.
    pub token_version: i64,
    /// Whether the password must be changed before anything else works.
    pub must_change_password: bool,
    /// When the user was added.
    pub created_at: Millis,
}

/// Whose rows a store call may see. Every store call on users' data takes one, so an unscoped query does not compile.
///
/// Invariant: only the gateway's own tasks use [`Scope::gateway`]; a request always carries [`Scope::of`] its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope(Option<UserId>);

impl Scope {
    /// The rows of one user.
    pub const fn of(user: UserId) -> Self {
        Self(Some(user))
    }

    /// All rows: for the gateway's own work, such as starting sessions after a restart.
    pub const fn gateway() -> Self {
        Self(None)
    }

    /// The scope as an inclusive range of owners, which is how queries use it (`owner BETWEEN $1 AND $2`).
    pub const fn owners(self) -> (i64, i64) {
        match self.0 {
            Some(UserId(id)) => (id, id),
            None => (i64::MIN, i64::MAX),
        }
    }

    /// The one user of this scope; `None` for the gateway's own.
    pub const fn user(self) -> Option<UserId> {
        self.0
    }
}
