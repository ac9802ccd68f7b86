//! One link of a chain: a binding with its version, its code, and how it has fared.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OnceCell, Semaphore};

use super::breaker::Breaker;
use super::call::Fault;
use super::code::Code;
use super::health::{Failure, Record};
use super::machine::Machine;
use super::pool::Pool;
use super::state::{Place, Settings};
use crate::model::{Bound, Hook, Millis, Reuse};

/// A binding as it runs. Made anew when its binding or version changes.
pub(super) struct Link {
    pub(super) place: Arc<Place>,
    pub(super) reuse: Reuse,
    pub(super) pool: Pool,
    /// Calls at once.
    pub(super) share: Semaphore,
    /// How its plugin fares; nothing is recorded in a rehearsal.
    pub(super) record: Option<Arc<Record>>,
    revision: i64,
    component: String,
    hooks: Vec<Hook>,
    /// Why it cannot run, when its configuration cannot be read.
    broken: Option<String>,
    code: OnceCell<Arc<Code>>,
    breaker: Mutex<Breaker>,
    /// Whether the breaker has anything to say: a link that fares well takes no lock.
    troubled: AtomicBool,
    used: AtomicI64,
}

impl Link {
    pub(super) fn new(bound: &Bound, share: usize, record: Option<Arc<Record>>, now: Millis) -> Self {
        let version = &bound.version;
        let settings = Settings::read(&bound.binding.config, version.script.as_deref());
        let broken = settings.as_ref().err().map(ToString::to_string);
        let settings = settings.unwrap_or_default();
        Self {
            place: Arc::new(Place::of(bound, settings)),
            reuse: version.report.reuse,
            pool: Pool::default(),
            share: Semaphore::new(share),
            record,
            revision: bound.binding.revision,
            component: version.component.clone(),
            hooks: version.report.hooks.clone(),
            broken,
            code: OnceCell::new(),
            breaker: Mutex::default(),
            troubled: AtomicBool::new(false),
            used: AtomicI64::new(now.0),
        }
    }

    /// Whether it is still what the catalog says.
    pub(super) fn is(&self, bound: &Bound) -> bool {
        self.revision == bound.binding.revision
            && self.place.version == bound.version.number
            && self.component == bound.version.component
            && self.place.name == bound.plugin.name
    }

    pub(super) fn has(&self, hook: Hook) -> bool {
        self.hooks.contains(&hook)
    }

    pub(super) fn wall(&self) -> Duration {
        Duration::from_millis(self.place.limits.wall_ms.into())
    }

    /// Its code, loaded at the first call.
    pub(super) async fn code(&self, machine: &Machine) -> Result<Arc<Code>, Fault> {
        if let Some(broken) = &self.broken {
            return Err(Fault::Config(broken.clone()));
        }
        let code = self.code.get_or_try_init(|| machine.code(&self.component)).await;
        code.cloned().map_err(|refusal| match refusal {
            ours if ours.is_ours() => Fault::Unavailable(ours.to_string()),
            theirs => Fault::Unloadable(theirs.to_string()),
        })
    }

    /// Whether it may be called now.
    pub(super) fn admit(&self, now: Millis) -> Result<(), Fault> {
        self.used.store(now.0, Ordering::Relaxed);
        if !self.troubled.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.breaker().admit(now).map_err(Fault::Suspended)
    }

    /// A call went well.
    pub(super) fn succeeded(&self) {
        if self.troubled.load(Ordering::Relaxed) && self.troubled.swap(false, Ordering::Relaxed) {
            self.breaker().succeeded();
        }
    }

    /// A call failed.
    pub(super) fn failed(&self, fault: &Fault, call: &str, now: Millis) {
        let Some(record) = &self.record else { return };
        if fault.is_its_own() {
            self.troubled.store(true, Ordering::Relaxed);
            self.breaker().failed(now);
        }
        if !matches!(fault, Fault::Suspended(_)) {
            record.failed(Failure { at: now, call: call.to_owned(), detail: fault.to_string() });
        }
    }

    /// When it was last asked for.
    pub(super) fn used(&self) -> Millis {
        Millis(self.used.load(Ordering::Relaxed))
    }

    pub(super) fn breaker_state(&self) -> Breaker {
        *self.breaker()
    }

    fn breaker(&self) -> std::sync::MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
