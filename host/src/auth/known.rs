//! Users recently seen, so that a request does not always ask the database who its caller is.
//!
//! Invariant: an entry is believed for at most five seconds; that is how long a revoked token may still work on
//! another node. In this process a change forgets the entry at once.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::model::{Millis, User, UserId};

const BELIEVED: Duration = Duration::from_secs(5);

#[derive(Default)]
pub(super) struct Known(Mutex<HashMap<UserId, (User, Millis)>>);

impl Known {
    pub(super) fn get(&self, id: UserId, now: Millis) -> Option<User> {
        let seen = self.lock();
        let (user, at) = seen.get(&id)?;
        (now >= *at && now.since(*at) < BELIEVED).then(|| user.clone())
    }

    pub(super) fn remember(&self, user: User, now: Millis) {
        self.lock().insert(user.id, (user, now));
    }

    pub(super) fn forget(&self, id: UserId) {
        self.lock().remove(&id);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<UserId, (User, Millis)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Role;

    #[test]
    fn believes_what_it_saw_for_five_seconds() {
        let known = Known::default();
        let user = User {
            id: UserId(1),
            username: "ana".to_owned(),
            role: Role::User,
            token_version: 0,
            must_change_password: false,
            created_at: Millis(0),
        };
        known.remember(user.clone(), Millis(1_000));
        assert_eq!(known.get(UserId(1), Millis(5_999)), Some(user.clone()));
        assert_eq!(known.get(UserId(1), Millis(6_000)), None);
        assert_eq!(known.get(UserId(1), Millis(999)), None, "a clock set back proves nothing");
        known.remember(user, Millis(7_000));
        known.forget(UserId(1));
        assert_eq!(known.get(UserId(1), Millis(7_000)), None);
    }
}
