//! The chains of all sessions, read once and kept until the catalog changes.
//!
//! Invariant: a chain read while the catalog changed is used once and not kept.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use super::health::{Health, Record};
use super::link::Link;
use crate::model::{BindingId, Bound, Clock, Millis, PluginId, Scope, SessionId};
use crate::store::{Store, StoreError};

/// How long a chain and its links are kept without a message.
const UNUSED: Duration = Duration::from_mins(10);

/// One session's chain, in order.
pub(super) type Chain = Arc<[Arc<Link>]>;

/// The chains and links in use.
#[derive(Default)]
pub(super) struct Chains {
    sessions: RwLock<HashMap<SessionId, Chain>>,
    links: Mutex<HashMap<BindingId, Arc<Link>>>,
    records: Mutex<HashMap<PluginId, Arc<Record>>>,
    /// Raised with every change of the catalog.
    generation: AtomicU64,
}

impl Chains {
    /// The chain of a session.
    pub(super) async fn of(
        &self,
        store: &Store,
        session: &SessionId,
        share: usize,
        now: Millis,
    ) -> Result<Chain, StoreError> {
        let known = self.sessions.read().unwrap_or_else(PoisonError::into_inner).get(session).cloned();
        if let Some(chain) = known {
            return Ok(chain);
        }
        let generation = self.generation.load(Ordering::SeqCst);
        let bound = store.plugins(Scope::gateway()).chain(session).await?;
        let chain: Chain = bound.iter().map(|bound| self.link(bound, share, now)).collect();
        let mut chains = self.sessions.write().unwrap_or_else(PoisonError::into_inner);
        if self.generation.load(Ordering::SeqCst) == generation {
            chains.insert(session.clone(), Arc::clone(&chain));
        }
        Ok(chain)
    }

    /// The link of a binding, with its warm instances and its breaker when nothing about it has changed.
    fn link(&self, bound: &Bound, share: usize, now: Millis) -> Arc<Link> {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(link) = links.get(&bound.binding.id).filter(|link| link.is(bound)) {
            return Arc::clone(link);
        }
        let record = self.record(&bound.plugin.id);
        let link = Arc::new(Link::new(bound, share, Some(record), now));
        links.insert(bound.binding.id.clone(), Arc::clone(&link));
        link
    }

    fn record(&self, plugin: &PluginId) -> Arc<Record> {
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(records.entry(plugin.clone()).or_default())
    }

    /// The catalog has changed.
    pub(super) fn forget(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
        self.sessions.write().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// How a plugin has fared, over all its bindings.
    pub(super) fn health(&self, plugin: &PluginId) -> Health {
        let record = self.records.lock().unwrap_or_else(PoisonError::into_inner).get(plugin).cloned();
        let mut health = record.map(|record| record.health()).unwrap_or_default();
        let links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        for link in links.values().filter(|link| link.place.plugin == *plugin) {
            let breaker = link.breaker_state();
            health.in_a_row = health.in_a_row.max(breaker.in_a_row());
            health.suspended_until = health.suspended_until.max(breaker.until());
        }
        health
    }

    /// Ends what nobody has used for a while, so that an idle gateway is small.
    pub(super) fn sweep(&self, now: Millis) {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.values().for_each(|link| link.pool.sweep());
        let unused = |link: &Arc<Link>| now.since(link.used()) >= UNUSED;
        if links.values().any(unused) {
            links.retain(|_, link| !unused(link));
            drop(links);
            // Chains hold links; those still in use are read again with the next message.
            self.forget();
        }
    }
}

/// Sweeps until the gateway stops.
pub(super) async fn sweeping(chains: Arc<Chains>, clock: Clock, stopping: impl Future<Output = ()>) {
    const PAUSE: Duration = Duration::from_secs(10);
    let mut stopping = std::pin::pin!(stopping);
    loop {
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => chains.sweep(clock.now()),
            () = &mut stopping => return,
        }
    }
}
