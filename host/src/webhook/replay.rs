//! Replays: deliveries that wait again, so many a second.
//!
//! Invariant: a replay goes on where it stood, also after the process was killed.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::{Deliverer, FIRST_BACKOFF, LONGEST_BACKOFF};
use crate::model::Scope;
use crate::store::StoreError;

/// Steps in a second.
const STEPS: u32 = 10;
/// How long until it is looked whether a replay was started that nobody told of.
const LOOK: Duration = Duration::from_mins(1);

/// Drives the replays that run, until the gateway stops.
pub(super) async fn drive(deliverer: Arc<Deliverer>) {
    let (mut backoff, mut turn) = (FIRST_BACKOFF, 0);
    while !deliverer.tasks.is_stopping() {
        let pause = match step(&deliverer, turn).await {
            Ok(true) => Duration::from_secs(1) / STEPS,
            Ok(false) => LOOK,
            Err(StoreError::Closed) => return,
            Err(error) => {
                tracing::warn!(%error, retry_in = ?backoff, "replays cannot go on");
                backoff = (backoff * 2).min(LONGEST_BACKOFF);
                sleep(backoff).await;
                continue;
            }
        };
        (backoff, turn) = (FIRST_BACKOFF, (turn + 1) % STEPS);
        tokio::select! {
            () = sleep(pause) => {}
            () = deliverer.replays.notified() => {}
            () = deliverer.tasks.stopping() => return,
        }
    }
}

/// One step of each replay; whether any runs.
async fn step(deliverer: &Arc<Deliverer>, turn: u32) -> Result<bool, StoreError> {
    let replays = deliverer.store.replays(Scope::gateway());
    let running = replays.running().await?;
    for replay in &running {
        let steps = share(replay.per_second, turn);
        if steps > 0 {
            for endpoint in replays.advance(&replay.id, steps).await?.endpoints {
                deliverer.wake(&endpoint);
            }
        }
    }
    Ok(!running.is_empty())
}

/// This step's part of so many a second.
fn share(per_second: u32, turn: u32) -> u32 {
    per_second / STEPS + u32::from(turn < per_second % STEPS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_second_add_up() {
        for rate in [1, 9, 10, 50, 1_003] {
            assert_eq!((0..STEPS).map(|turn| share(rate, turn)).sum::<u32>(), rate);
        }
    }
}
