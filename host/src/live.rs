//! Live streams: somebody follows what is stored, from now on or from an event they have seen.
//!
//! A follower keeps nothing but its place. It reads the next events from the store when there are some and its reader has
//! taken the last ones, so a reader that stops reading holds nothing, and one that comes back goes on where it stood.
//! Nothing waits for a follower: this is not the way to webhooks.
//!
//! Invariant: a reader is given every wanted event of its scope once and in the order they were stored, or is told how
//! many were left out.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::watch;

use crate::model::{Event, EventId, Scope};
use crate::store::events::{Onward, Place, Wanted};
use crate::store::{Store, StoreError};

/// Events read at once.
const PAGE: u32 = 128;

/// A reader further behind than this is not shown what it no longer can keep up with.
const MOST_BEHIND: u32 = 10_000;

/// The pause between two looks, so that a busy gateway is not asked after each of its commits.
const PAUSE: Duration = Duration::from_millis(20);

/// Follows what is stored.
#[derive(Debug)]
pub struct Follower {
    store: Store,
    scope: Scope,
    wanted: Wanted,
    place: Place,
    commits: watch::Receiver<u64>,
    news: VecDeque<News>,
    /// All that was stored has been seen.
    is_end: bool,
}

/// What a follower sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// Something happened.
    Event(Box<Event>),
    /// So many events were left out here: the reader was too far behind.
    Missed(u64),
}

impl Follower {
    /// Follows from now on, or from after this event.
    pub async fn start(
        store: Store,
        scope: Scope,
        wanted: Wanted,
        after: Option<&EventId>,
    ) -> Result<Self, StoreError> {
        let commits = store.commits();
        let place = match after {
            Some(after) => store.events(scope).place_after(after).await?,
            None => store.events(scope).end().await?,
        };
        Ok(Self { store, scope, wanted, place, commits, news: VecDeque::new(), is_end: false })
    }

    /// The next. Fails when the store does; then it may be asked again. Nothing is lost when it is given up midway.
    pub async fn next(&mut self) -> Result<News, StoreError> {
        loop {
            if let Some(news) = self.news.pop_front() {
                return Ok(news);
            }
            if self.is_end {
                self.commits.changed().await.map_err(|_| StoreError::Closed)?;
                self.is_end = false;
                tokio::time::sleep(PAUSE).await;
            }
            self.commits.mark_unchanged();
            let events = self.store.events(self.scope);
            let Onward { missed, events, place, is_end } =
                events.onward(self.place, &self.wanted, PAGE, MOST_BEHIND).await?;
            self.news.extend((missed > 0).then_some(News::Missed(missed)));
            self.news.extend(events.into_iter().map(|event| News::Event(Box::new(event))));
            (self.place, self.is_end) = (place, is_end);
        }
    }
}
