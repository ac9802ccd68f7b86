//! How many sockets each user holds.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::model::UserId;

/// Most sockets and streams of one user.
const EACH: usize = 16;

/// The count. Cheap to clone.
#[derive(Clone, Default)]
pub(in crate::http) struct Seats(Arc<Mutex<HashMap<UserId, usize>>>);

/// One socket's place; given back when dropped.
pub(super) struct Seat {
    seats: Seats,
    user: UserId,
}

impl Seats {
    /// A place for one more socket, unless the user holds sixteen.
    pub(super) fn take(&self, user: UserId) -> Option<Seat> {
        let mut held = self.lock();
        let count = held.entry(user).or_default();
        if *count >= EACH {
            return None;
        }
        *count += 1;
        Some(Seat { seats: self.clone(), user })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<UserId, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut held = self.seats.lock();
        if let Some(count) = held.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_socket_too_many_waits_for_another_to_close() {
        let seats = Seats::default();
        let mut held: Vec<Seat> = (0..EACH).map(|_| seats.take(UserId(1)).unwrap()).collect();
        assert!(seats.take(UserId(1)).is_none());
        assert!(seats.take(UserId(2)).is_some(), "another user is not concerned");
        held.pop();
        assert!(seats.take(UserId(1)).is_some());
        held.clear();
        assert!(seats.lock().is_empty());
    }
}
