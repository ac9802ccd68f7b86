//! Who may do what. Pure: values in, a decision out.
//!
//! Invariant: ownership is not decided here. A [`crate::model::Scope`] on every store call keeps tenants apart, so a
//! foreign object is simply not found; this file decides what a user may do at all.

use super::Reach;
use crate::model::{Role, User, UserId};

/// What a request wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Anything on the caller's own sessions.
    UseSessions,
    /// Replace the caller's own password.
    ChangeOwnPassword,
    /// See, add and reset users.
    ManageUsers,
    /// Remove this user.
    RemoveUser(UserId),
}

/// Why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The password was a one-time password.
    #[error("this password is good only for choosing your own; change it with POST /api/password first")]
    PasswordChangeDue,
    /// Needs the admin role.
    #[error("only an administrator may do this")]
    AdminOnly,
    /// An administrator may not remove themselves, so that one always remains.
    #[error("you cannot remove yourself; another administrator can")]
    Yourself,
}

/// Whether `user`, recognised with this reach, may do this.
pub fn may(user: &User, reach: Reach, action: Action) -> Result<(), Denied> {
    if action == Action::ChangeOwnPassword {
        return Ok(());
    }
    if reach == Reach::PasswordChange || user.must_change_password {
        return Err(Denied::PasswordChangeDue);
    }
    match action {
        Action::ManageUsers | Action::RemoveUser(_) if user.role != Role::Admin => Err(Denied::AdminOnly),
        Action::RemoveUser(id) if id == user.id => Err(Denied::Yourself),
        Action::UseSessions | Action::ChangeOwnPassword | Action::ManageUsers | Action::RemoveUser(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Millis;

    fn user(role: Role, must_change_password: bool) -> User {
        User {
            id: UserId(1),
            username: "ana".to_owned(),
            role,
            token_version: 0,
            must_change_password,
            created_at: Millis(0),
        }
    }

    #[test]
    fn decides_by_role_and_reach() {
        use Action::{ChangeOwnPassword, ManageUsers, RemoveUser, UseSessions};
        let table = [
            (Role::User, false, Reach::Everything, UseSessions, Ok(())),
            (Role::User, false, Reach::Everything, ManageUsers, Err(Denied::AdminOnly)),
            (Role::User, false, Reach::Everything, RemoveUser(UserId(2)), Err(Denied::AdminOnly)),
            (Role::Admin, false, Reach::Everything, ManageUsers, Ok(())),
            (Role::Admin, false, Reach::Everything, RemoveUser(UserId(2)), Ok(())),
            (Role::Admin, false, Reach::Everything, RemoveUser(UserId(1)), Err(Denied::Yourself)),
            (Role::Admin, true, Reach::Everything, UseSessions, Err(Denied::PasswordChangeDue)),
            (Role::Admin, false, Reach::PasswordChange, UseSessions, Err(Denied::PasswordChangeDue)),
            (Role::Admin, false, Reach::PasswordChange, ManageUsers, Err(Denied::PasswordChangeDue)),
            (Role::User, true, Reach::PasswordChange, ChangeOwnPassword, Ok(())),
        ];
        for (role, must_change, reach, action, decision) in table {
            assert_eq!(may(&user(role, must_change), reach, action), decision, "{role:?} {reach:?} {action:?}");
        }
    }
}
