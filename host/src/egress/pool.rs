//! Connections that are kept for the next request.
//!
//! Nobody waits for one and none is opened here: a request takes what is there or opens its own, so that what is said of
//! an exchange is said of its own connection.
//!
//! Invariant: a connection is in the pool or in one exchange, never in both.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use url::Url;

use super::connection::Connection;

/// Connections kept for one receiver.
const MOST: usize = 32;
/// Connections kept in all: some 20 MiB when all of them are TLS.
const MOST_IN_ALL: usize = 512;
/// How often those that have had their time are looked for.
const SWEEP: Duration = Duration::from_secs(5);

/// The pool. Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub(super) struct Pool(Arc<Mutex<Idle>>);

/// Whose connections are alike.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Origin {
    scheme: String,
    host: String,
    port: u16,
}

#[derive(Debug, Default)]
struct Idle {
    /// None of them empty, oldest first.
    kept: HashMap<Origin, VecDeque<Kept>>,
    /// How many they are in all.
    count: usize,
    /// Runs while something is kept. The pool's own, because it ends with it.
    sweeper: Option<JoinSet<()>>,
}

#[derive(Debug)]
struct Kept {
    connection: Connection,
    until: Instant,
}

impl Origin {
    pub(super) fn of(url: &Url) -> Self {
        Self {
            scheme: url.scheme().to_owned(),
            host: url.host_str().unwrap_or_default().to_owned(),
            port: url.port_or_known_default().unwrap_or_default(),
        }
    }
}

impl Pool {
    /// The connection that was used last, when one is kept. It may have been closed meanwhile.
    pub(super) fn take(&self, origin: &Origin) -> Option<Connection> {
        let now = Instant::now();
        let mut idle = self.idle();
        while let Some(kept) = idle.remove(origin, VecDeque::pop_back) {
            if kept.until > now {
                return Some(kept.connection);
            }
        }
        None
    }

    /// Keeps a connection that long. Of too many the one that has waited longest is closed.
    pub(super) fn keep(&self, origin: Origin, connection: Connection, time: Duration) {
        let mut idle = self.idle();
        if idle.kept.get(&origin).is_some_and(|kept| kept.len() >= MOST) {
            idle.remove(&origin, VecDeque::pop_front);
        } else if idle.count >= MOST_IN_ALL {
            // At the receiver that has most, so that no account's many endpoints take the place of the others'.
            let busiest = idle.kept.iter().max_by_key(|(_, kept)| kept.len()).map(|(origin, _)| origin.clone());
            if let Some(busiest) = busiest {
                idle.remove(&busiest, VecDeque::pop_front);
            }
        }
        idle.kept.entry(origin).or_default().push_back(Kept { connection, until: Instant::now() + time });
        idle.count += 1;
        if idle.sweeper.is_none() {
            let mut sweeper = JoinSet::new();
            sweeper.spawn(sweep(Arc::downgrade(&self.0)));
            idle.sweeper = Some(sweeper);
        }
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Idle {
    fn remove(&mut self, origin: &Origin, end: fn(&mut VecDeque<Kept>) -> Option<Kept>) -> Option<Kept> {
        let kept = self.kept.get_mut(origin)?;
        let removed = end(kept);
        if kept.is_empty() {
            self.kept.remove(origin);
        }
        self.count -= usize::from(removed.is_some());
        removed
    }

    /// Closes what has had its time by `now`.
    fn close_expired(&mut self, now: Instant) {
        self.kept.retain(|_, kept| {
            kept.retain(|kept| kept.until > now);
            !kept.is_empty()
        });
        self.count = self.kept.values().map(VecDeque::len).sum();
    }
}

async fn sweep(pool: Weak<Mutex<Idle>>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        let Some(pool) = pool.upgrade() else { return };
        let mut idle = pool.lock().unwrap_or_else(PoisonError::into_inner);
        idle.close_expired(Instant::now());
        if idle.kept.is_empty() {
            idle.sweeper = None;
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::metered::Metered;
    use super::*;

    const LONG: Duration = Duration::from_mins(1);

    fn origin(url: &str) -> Origin {
        Origin::of(&Url::parse(url).unwrap())
    }

    /// A connection to nowhere, known by its port.
    async fn connection(port: u16) -> Connection {
        let (stream, _other_end) = tokio::io::duplex(64);
        let stream = Metered::over(stream);
        let allowance = stream.allowance();
        Connection::over(stream, allowance, ([127, 0, 0, 1], port).into()).await.unwrap()
    }

    fn port(connection: Option<Connection>) -> Option<u16> {
        connection.map(|connection| connection.peer().port())
    }

    /// How many are kept, of this origin and in all.
    fn held(pool: &Pool, origin: &Origin) -> (usize, usize) {
        let idle = pool.idle();
        (idle.kept.get(origin).map_or(0, VecDeque::len), idle.count)
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        assert_eq!(origin("https://example.org/a?b"), origin("https://EXAMPLE.org:443/c"));
        for other in ["http://example.org/", "https://example.org:8443/", "https://www.example.org/"] {
            assert_ne!(origin("https://example.org/"), origin(other), "{other}");
        }
    }

    #[tokio::test]
    async fn gives_the_newest_of_the_same_origin_and_each_once() {
        let (pool, ours, other) = (Pool::default(), origin("http://a.example/"), origin("http://b.example/"));
        pool.keep(ours.clone(), connection(1).await, LONG);
        pool.keep(ours.clone(), connection(2).await, LONG);
        assert_eq!(port(pool.take(&other)), None);
        assert_eq!(port(pool.clone().take(&ours)), Some(2));
        assert_eq!(port(pool.take(&ours)), Some(1));
        assert_eq!(port(pool.take(&ours)), None);
    }

    #[tokio::test]
    async fn keeps_so_many_and_so_long() {
        let (pool, ours) = (Pool::default(), origin("http://a.example/"));
        for port in 0..40 {
            pool.keep(ours.clone(), connection(port).await, LONG);
        }
        let kept: Vec<_> = std::iter::from_fn(|| port(pool.take(&ours))).collect();
        assert_eq!(kept, (8..40).rev().collect::<Vec<_>>());

        pool.keep(ours.clone(), connection(1).await, Duration::ZERO);
        assert_eq!(port(pool.take(&ours)), None);
        pool.keep(ours.clone(), connection(1).await, Duration::ZERO);
        pool.keep(ours.clone(), connection(2).await, LONG);
        pool.idle().close_expired(Instant::now());
        assert_eq!(held(&pool, &ours), (1, 1));
        pool.idle().close_expired(Instant::now() + 2 * LONG);
        assert_eq!(held(&pool, &ours), (0, 0));
    }

    #[tokio::test]
    async fn keeps_so_many_in_all_and_closes_where_most_are() {
        let (pool, greedy) = (Pool::default(), origin("http://greedy.example/"));
        for port in 0..10 {
            pool.keep(greedy.clone(), connection(port).await, LONG);
        }
        let others: Vec<_> = (0..MOST_IN_ALL).map(|n| origin(&format!("http://o{n}.example/"))).collect();
        for other in others.iter().take(MOST_IN_ALL - 5) {
            pool.keep(other.clone(), connection(1).await, LONG);
        }
        assert_eq!(held(&pool, &greedy), (5, MOST_IN_ALL));
        assert_eq!(port(pool.take(&others[0])), Some(1));
        assert_eq!(port(pool.take(&greedy)), Some(9));
        assert_eq!(pool.idle().count, MOST_IN_ALL - 2);
    }
}
