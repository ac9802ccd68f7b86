//! The slots that attempts of all endpoints share.
//!
//! A slot is for an attempt that has just begun: after a second it is given back, so that receivers that hang cannot use
//! the slots up, and four times as many attempts as there are slots may be under way in all. A quarter of the slots is
//! kept for first tries, which have not failed yet. Who waits is served before others that hold more.
//!
//! Invariant: a slot that is dropped is free for the next who waits.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::model::UserId;

/// Attempts under way in all, by slots.
const UNDER_WAY: usize = 4;

/// The slots. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Slots {
    size: usize,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// Attempts that hold a slot.
    young: usize,
    /// Attempts under way.
    all: usize,
    /// Of them, by whose they are.
    held: HashMap<UserId, usize>,
    /// Oldest first.
    waiting: Vec<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    claim: Claim,
    to: oneshot::Sender<Slot>,
}

/// Who wants a slot, and what for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    /// Whose endpoint it is.
    pub(super) owner: UserId,
    /// Whether the delivery was never tried.
    pub(super) first: bool,
}

/// A place among the attempts under way, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    slots: Slots,
    owner: UserId,
    young: bool,
}

impl Slots {
    /// So many slots.
    pub(super) fn new(size: usize) -> Self {
        Self { size: size.max(1), state: Arc::default() }
    }

    /// A slot, as soon as one is free for this claim.
    pub(super) async fn take(self, claim: Claim) -> Slot {
        loop {
            let told = {
                let mut state = self.state();
                if state.waiting.is_empty() && self.has_room(&state, claim) {
                    return self.hand_out(&mut state, claim.owner);
                }
                let (to, told) = oneshot::channel();
                state.waiting.push(Waiter { claim, to });
                told
            };
            self.serve();
            if let Ok(slot) = told.await {
                return slot;
            }
        }
    }

    /// Gives out what is free to those who wait.
    fn serve(&self) {
        loop {
            let (to, slot) = {
                let mut state = self.state();
                state.waiting.retain(|waiter| !waiter.to.is_closed());
                let fits = |(at, waiter): (usize, &Waiter)| self.has_room(&state, waiter.claim).then_some(at);
                let held = |at: &usize| {
                    let owner = state.waiting.get(*at).map(|waiter| waiter.claim.owner);
                    owner.and_then(|owner| state.held.get(&owner)).copied().unwrap_or(0)
                };
                let next = state.waiting.iter().enumerate().filter_map(fits).min_by_key(held);
                let Some(next) = next else { return };
                let Waiter { claim, to } = state.waiting.remove(next);
                (to, self.hand_out(&mut state, claim.owner))
            };
            // Who has left gives it back by dropping it, which must not happen under the lock.
            drop(to.send(slot));
        }
    }

    fn has_room(&self, state: &State, claim: Claim) -> bool {
        let young = if claim.first { self.size } else { (self.size - self.size / 4).max(1) };
        state.young < young && state.all < self.size * UNDER_WAY
    }

    fn hand_out(&self, state: &mut State, owner: UserId) -> Slot {
        state.young += 1;
        state.all += 1;
        *state.held.entry(owner).or_default() += 1;
        Slot { slots: self.clone(), owner, young: true }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    /// The attempt has gone on for long: somebody else may begin one.
    pub(super) fn grow_old(&mut self) {
        if std::mem::take(&mut self.young) {
            self.slots.state().young -= 1;
            self.slots.serve();
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        {
            let mut state = self.slots.state();
            state.young -= usize::from(self.young);
            state.all -= 1;
            if let Some(held) = state.held.get_mut(&self.owner) {
                *held -= 1;
                if *held == 0 {
                    state.held.remove(&self.owner);
                }
            }
        }
        self.slots.serve();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    const FIRST: Claim = Claim { owner: UserId(1), first: true };
    const AGAIN: Claim = Claim { owner: UserId(1), first: false };

    #[tokio::test]
    async fn a_quarter_is_kept_for_first_tries() {
        let slots = Slots::new(8);
        let mut held = Vec::new();
        for _ in 0..6 {
            held.push(slots.clone().take(AGAIN).now_or_never().unwrap());
        }
        let mut again = Box::pin(slots.clone().take(AGAIN));
        assert!((&mut again).now_or_never().is_none());
        held.push(slots.clone().take(FIRST).now_or_never().unwrap());
        held.remove(0);
        assert!((&mut again).now_or_never().is_none(), "seven are taken but one: six may be retries' own");
        held.remove(0);
        assert!((&mut again).now_or_never().is_some());
    }

    #[tokio::test]
    async fn old_attempts_give_their_slot_back_up_to_four_times_as_many() {
        let slots = Slots::new(2);
        let mut held = Vec::new();
        for _ in 0..8 {
            let mut slot = slots.clone().take(FIRST).now_or_never().unwrap();
            slot.grow_old();
            held.push(slot);
        }
        let mut next = Box::pin(slots.clone().take(FIRST));
        assert!((&mut next).now_or_never().is_none());
        held.pop();
        assert!((&mut next).now_or_never().is_some());
    }

    #[tokio::test]
    async fn who_holds_least_is_served_first() {
        let slots = Slots::new(3);
        let of = |owner| slots.clone().take(Claim { owner: UserId(owner), first: true });
        let (first, second) = (of(1).await, of(1).await);
        let third = of(2).await;
        let (mut greedy, mut modest) = (Box::pin(of(1)), Box::pin(of(3)));
        assert!((&mut greedy).now_or_never().is_none() && (&mut modest).now_or_never().is_none());
        drop(first);
        assert!((&mut greedy).now_or_never().is_none());
        assert!((&mut modest).now_or_never().is_some());
        drop((second, third));
        assert!((&mut greedy).now_or_never().is_some());
    }

    #[tokio::test]
    async fn who_stops_waiting_takes_nothing_with_him() {
        let slots = Slots::new(1);
        let held = slots.clone().take(FIRST).await;
        let mut left = Box::pin(slots.clone().take(FIRST));
        assert!((&mut left).now_or_never().is_none());
        drop(left);
        drop(held);
        assert!(slots.clone().take(FIRST).now_or_never().is_some());
    }
}
