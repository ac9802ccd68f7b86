//! What all calls share: the engine, the linked components, and how many may run at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use wasmtime::component::{Component, Linker};

use super::PluginError;
use super::api::v1::types::CallContext;
use super::call::{Answer, Fault, Input, Running};
use super::code::{self, Code, causes};
use super::compile::Compiler;
use super::engine::Engine;
use super::lane::Lane;
use super::link::Link;
use super::refusal::Refusal;
use super::state::{Call, Outside, State};
use crate::app::tasks::Tasks;
use crate::config::PluginConfig;
use crate::model::{Reuse, Scope};

/// The part of all places that one binding may take.
const SHARE: usize = 4;

/// What all calls share.
pub(super) struct Machine {
    pub(super) engine: Engine,
    pub(super) outside: Arc<Outside>,
    linker: Linker<State>,
    compiler: Arc<Compiler>,
    codes: Mutex<HashMap<String, Weak<Code>>>,
    pub(super) lane: Lane,
    places: Semaphore,
    warm: Arc<Semaphore>,
    tasks: Tasks,
    /// Calls of one binding at once.
    pub(super) share: usize,
}

/// A call that has ended.
pub(super) struct Done {
    pub(super) answer: Result<Answer, Fault>,
    pub(super) took: Duration,
    pub(super) memory_kib: u64,
    pub(super) call: Call,
}

impl Machine {
    pub(super) fn start(config: &PluginConfig, outside: Outside, tasks: Tasks) -> Result<Self, PluginError> {
        let engine = Engine::start(config)?;
        let lane = Lane::start().map_err(|error| PluginError::Engine(error.to_string()))?;
        let linker = code::linker(&engine.wasm).map_err(|error| PluginError::Engine(causes(&error)))?;
        let compiler = Compiler::open(config, engine.reservation, &engine.fingerprint)?;
        Ok(Self {
            engine,
            outside: Arc::new(outside),
            linker,
            compiler: Arc::new(compiler),
            codes: Mutex::default(),
            lane,
            places: Semaphore::new(config.concurrency),
            warm: Arc::new(Semaphore::new(config.warm)),
            tasks,
            share: (config.concurrency / SHARE).max(1),
        })
    }

    /// The linked code of a component that is installed.
    pub(super) async fn code(&self, sha256: &str) -> Result<Arc<Code>, Refusal> {
        if let Some(code) = self.known(sha256) {
            return Ok(code);
        }
        if let Some(code) = self.load(sha256).await? {
            return Ok(code);
        }
        let unavailable = |reason: String| Refusal::Unavailable(reason);
        let stored = self.outside.store.plugins(Scope::gateway()).component(sha256).await;
        let stored = stored.map_err(|error| unavailable(error.to_string()))?;
        let component = stored.ok_or_else(|| unavailable(format!("its component {sha256} is not in the store")))?;
        self.compile(sha256, &component).await.map(|(code, _)| code)
    }

    /// The linked code of these bytes, and how long it took to compile them; nothing when they were compiled before.
    pub(super) async fn compile(&self, sha256: &str, component: &[u8]) -> Result<(Arc<Code>, Duration), Refusal> {
        if let Some(code) = self.load(sha256).await? {
            return Ok((code, Duration::ZERO));
        }
        let turn = self.compiler.turn().await?;
        if let Some(code) = self.load(sha256).await? {
            return Ok((code, Duration::ZERO));
        }
        // It goes on when whoever waits for it leaves, so that the next to ask finds it done.
        let (compiler, sha, bytes) = (Arc::clone(&self.compiler), sha256.to_owned(), component.to_vec());
        let whole = async move { compiler.compile(turn, &sha, &bytes).await };
        let compiled = self.tasks.finish("plugin compilation", whole).await;
        let (file, took) = compiled.unwrap_or_else(|| Err(Refusal::Unavailable("it was not finished".to_owned())))?;
        let engine = self.engine.wasm.clone();
        let mapped = blocking(move || Code::load(&engine, &file)).await?;
        // The engine looks at what instances will need when it loads the code.
        let mapped = mapped.map_err(|error| Refusal::TooNeedy(causes(&error)))?;
        self.link(sha256, &mapped).map(|code| (code, took))
    }

    fn known(&self, sha256: &str) -> Option<Arc<Code>> {
        self.codes.lock().unwrap_or_else(PoisonError::into_inner).get(sha256).and_then(Weak::upgrade)
    }

    /// Code from the cache; `None` when it is not there or no longer fits.
    async fn load(&self, sha256: &str) -> Result<Option<Arc<Code>>, Refusal> {
        if let Some(code) = self.known(sha256) {
            return Ok(Some(code));
        }
        let (compiler, engine, sha) = (Arc::clone(&self.compiler), self.engine.wasm.clone(), sha256.to_owned());
        let mapped = blocking(move || {
            let file = compiler.cached(&sha)?;
            Code::load(&engine, &file).inspect_err(|error| tracing::warn!(%error, "a plugin is compiled again")).ok()
        });
        mapped.await?.map(|component| self.link(sha256, &component)).transpose()
    }

    fn link(&self, sha256: &str, component: &Component) -> Result<Arc<Code>, Refusal> {
        let code = Arc::new(Code::link(&self.linker, component)?);
        let mut codes = self.codes.lock().unwrap_or_else(PoisonError::into_inner);
        codes.retain(|_, code| code.strong_count() > 0);
        codes.insert(sha256.to_owned(), Arc::downgrade(&code));
        Ok(code)
    }

    /// A store of one call, for looking at a component.
    pub(super) fn running(&self, call: Call) -> Running {
        Running::new(&self.engine.wasm, call)
    }

    /// One call of a hook. `call` is what it may do and what it leaves.
    pub(super) async fn call(&self, link: &Link, mut context: CallContext, input: Input, mut call: Call) -> Done {
        let code = match link.code(self).await {
            Ok(code) => code,
            Err(fault) => return Done { answer: Err(fault), took: Duration::ZERO, memory_kib: 0, call },
        };
        // Neither is ever closed; without a place the call would be one too many, no more.
        let _share = link.share.acquire().await;
        let _place = self.places.acquire().await;
        let _ticking = self.engine.ticker.busy();
        let started = Instant::now();
        call.deadline = started + link.wall();
        context.deadline_ms = link.place.limits.wall_ms;
        let warm = if link.reuse == Reuse::Warm { link.pool.take() } else { None };
        let running = match warm {
            Some(mut running) => {
                running.take_up(call);
                running
            }
            None => self.running(call),
        };
        let asked = running.ask(&self.lane, code, context, input).await;
        let ended = Instant::now();
        let took = ended.saturating_duration_since(started);
        let idle = || Call::idle(Arc::clone(&link.place), Arc::clone(&self.outside), ended);
        let Some((mut running, answer)) = asked else {
            return Done { answer: Err(Fault::panicked()), took, memory_kib: 0, call: idle() };
        };
        let memory_kib = running.state().memory.kib();
        let keep = link.reuse == Reuse::Warm && answer.is_ok();
        let call = if keep {
            let call = running.put_down(idle());
            link.pool.keep(running, &self.warm, ended);
            call
        } else {
            running.end()
        };
        Done { answer, took, memory_kib, call }
    }
}

/// Reads and maps code away from the threads that handle messages.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Refusal::Unavailable(error.to_string()))
}
