//! One call into one instance, within its limits.
//!
//! Processor time is read at each tick, and the call yields; waiting is ended by the wall clock; memory by
//! the store's limiter; what a guest hands over in one piece by the fuel for host calls.
//!
//! Invariant: an instance whose call did not end well is never called again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use wasmtime::component::Instance;
use wasmtime::{Engine, Store, Trap, WasmBacktrace};

use super::api::v1::lifecycle::{self, PluginInfo};
use super::api::v1::message_filter::{self, Verdict};
use super::api::v1::types::{CallContext, Message, PluginError};
use super::api::v1::webhook_transform::{self, Delivery, Outcome};
use super::capability::log::cut;
use super::code::{Code, causes};
use super::lane::Lane;
use super::meter::{self, Pace};
use super::patch::PatchError;
use super::state::{Call, State};
use crate::model::{Hook, Millis};

/// Bytes a guest may hand over in one piece: a body of 1 MiB, and its headers.
const HANDED_OVER: usize = 2 << 20;
/// Resource handles of an instance.
const HANDLES: usize = 256;
/// Longest account of a failure.
const LONGEST_DETAIL: usize = 1_000;

/// Why a call did not end well.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum Fault {
    /// The plugin says that its configuration is unusable.
    #[error("it refuses its configuration: {0}")]
    Config(String),
    /// The plugin wants the same input again later.
    #[error("it asks to be tried again: {0}")]
    Retryable(String),
    /// The plugin gives up on this input.
    #[error("it failed: {0}")]
    Fatal(String),
    /// It was stopped by a rule of WebAssembly.
    #[error("it crashed: {0}")]
    Trap(String),
    /// It ran for too long.
    #[error("it used more than {0} ms of processor time (limit cpu_ms)")]
    Cpu(u32),
    /// It waited for too long.
    #[error("it took more than {0} ms (limit wall_ms)")]
    Wall(u32),
    /// It wanted too much memory.
    #[error("it wanted more than {0} MiB of memory (limit memory_mib)")]
    Memory(usize),
    /// It handed over too much in one piece.
    #[error("it handed over more than {} MiB in one piece", HANDED_OVER >> 20)]
    Bulk,
    /// Its answer breaks the contract.
    #[error(transparent)]
    Answer(#[from] PatchError),
    /// It cannot be loaded.
    #[error("it cannot be loaded: {0}")]
    Unloadable(String),
    /// It failed too often and is left alone for a while.
    #[error("it is suspended after repeated failures until {0}")]
    Suspended(Millis),
    /// The gateway cannot run it now.
    #[error("it cannot be run just now: {0}")]
    Unavailable(String),
}

impl Fault {
    /// The call broke something of the gateway's own.
    pub(super) fn panicked() -> Self {
        Self::Trap("the gateway failed while it ran".to_owned())
    }

    /// Whether the same input may go well a little later, whatever the failure policy says about others.
    pub(super) fn is_passing(&self) -> bool {
        matches!(self, Self::Retryable(_) | Self::Unavailable(_))
    }

    /// Whether the plugin has shown that it does not work, which counts against it.
    pub(super) fn is_its_own(&self) -> bool {
        !matches!(self, Self::Retryable(_) | Self::Unavailable(_) | Self::Suspended(_))
    }
}

impl From<PluginError> for Fault {
    fn from(error: PluginError) -> Self {
        let short = |text| cut(text, LONGEST_DETAIL);
        match error {
            PluginError::Config(text) => Self::Config(short(text)),
            PluginError::Retryable(text) => Self::Retryable(short(text)),
            PluginError::Fatal(text) => Self::Fatal(short(text)),
        }
    }
}

/// What a hook is asked.
pub(super) enum Input {
    Filter(Arc<Message>),
    Transform(Arc<Delivery>),
}

/// What it answers.
pub(super) enum Answer {
    Verdict(Verdict),
    Outcome(Outcome),
}

/// An instance in its store. The exports of a hook are looked up at its first call.
pub(super) struct Running {
    store: Store<State>,
    instance: Option<Instance>,
    filter: Option<message_filter::Guest>,
    transform: Option<webhook_transform::Guest>,
    pub(super) calls: u32,
    pub(super) born: Instant,
}

impl Running {
    /// A store without an instance.
    pub(super) fn new(engine: &Engine, call: Call) -> Self {
        let mut store = Store::new(engine, State::new(call));
        store.limiter(|state| &mut state.memory);
        store.set_hostcall_fuel(HANDED_OVER);
        store.set_max_component_handles(HANDLES);
        store.epoch_deadline_callback(|mut store| Ok(store.data_mut().meter.tick()));
        Self { store, instance: None, filter: None, transform: None, calls: 0, born: Instant::now() }
    }

    /// Puts the next call in place, in an instance that is warm.
    pub(super) fn take_up(&mut self, call: Call) {
        self.store.data_mut().call = call;
    }

    /// Ends the call, of an instance that stays warm.
    pub(super) fn put_down(&mut self, idle: Call) -> Call {
        self.state().hush();
        std::mem::replace(&mut self.store.data_mut().call, idle)
    }

    /// Ends the call and the instance.
    pub(super) fn end(self) -> Call {
        self.store.into_data().call
    }

    pub(super) fn state(&self) -> &State {
        self.store.data()
    }

    /// Asks a hook, of a fresh instance after `init`. Answers `None` when it made the gateway panic.
    pub(super) async fn ask(
        mut self,
        lane: &Lane,
        code: Arc<Code>,
        context: CallContext,
        input: Input,
    ) -> Option<(Self, Result<Answer, Fault>)> {
        let (limit, pace) = self.arm();
        let call = async move {
            let asked = async {
                let instance = self.begin(&code).await?;
                match input {
                    Input::Filter(message) => {
                        self.filter(&code, &instance, &context, &message).await.map(Answer::Verdict)
                    }
                    Input::Transform(delivery) => {
                        self.transform(&code, &instance, &context, &delivery).await.map(Answer::Outcome)
                    }
                }
            };
            let answer = tokio::time::timeout(limit, asked).await;
            let answer = self.judge(answer);
            (self, answer)
        };
        meter::run(lane, pace, call.boxed()).await
    }

    /// Lets the plugin read its configuration.
    pub(super) async fn init(mut self, lane: &Lane, code: Arc<Code>) -> Result<(), Fault> {
        let (limit, pace) = self.arm();
        let call = async move {
            let begun = tokio::time::timeout(limit, self.begin(&code)).await;
            self.judge(begun).map(|_| ())
        };
        meter::run(lane, pace, call.boxed()).await.unwrap_or_else(|| Err(Fault::panicked()))
    }

    /// Lets the plugin say who it is, and finds out whether its exports are what the contract says.
    pub(super) async fn describe(mut self, lane: &Lane, code: Arc<Code>) -> Result<PluginInfo, Fault> {
        let (limit, pace) = self.arm();
        let call = async move {
            let described = async {
                let instance = code.instance.instantiate_async(&mut self.store).await?;
                if let Some(filter) = &code.filter {
                    filter.load(&mut self.store, &instance)?;
                }
                if let Some(transform) = &code.transform {
                    transform.load(&mut self.store, &instance)?;
                }
                let lifecycle = code.lifecycle.load(&mut self.store, &instance)?;
                Ok(lifecycle.call_describe(&mut self.store).await?)
            };
            let described = tokio::time::timeout(limit, described).await;
            self.judge(described)
        };
        meter::run(lane, pace, call.boxed()).await.unwrap_or_else(|| Err(Fault::panicked()))
    }

    /// Starts the clocks of a call. Answers how long it may take, and what it is to be run with.
    fn arm(&mut self) -> (Duration, Pace) {
        self.calls += 1;
        let state = self.store.data_mut();
        state.meter.rearm();
        state.memory.rearm();
        self.store.set_epoch_deadline(1);
        let state = self.state();
        (state.call.deadline.saturating_duration_since(Instant::now()), state.meter.pace())
    }

    /// The instance, made and initialised when there is none yet.
    async fn begin(&mut self, code: &Code) -> Result<Instance, Stopped> {
        if let Some(instance) = self.instance {
            return Ok(instance);
        }
        let instance = code.instance.instantiate_async(&mut self.store).await?;
        let lifecycle: lifecycle::Guest = code.lifecycle.load(&mut self.store, &instance)?;
        lifecycle.call_init(&mut self.store).await??;
        self.instance = Some(instance);
        Ok(instance)
    }

    async fn filter(
        &mut self,
        code: &Code,
        instance: &Instance,
        context: &CallContext,
        message: &Message,
    ) -> Result<Verdict, Stopped> {
        if self.filter.is_none()
            && let Some(filter) = &code.filter
        {
            self.filter = Some(filter.load(&mut self.store, instance)?);
        }
        let filter = self.filter.as_ref().ok_or(Stopped::Lacks(Hook::MessageFilter))?;
        Ok(filter.call_on_message(&mut self.store, context, message).await??)
    }

    async fn transform(
        &mut self,
        code: &Code,
        instance: &Instance,
        context: &CallContext,
        delivery: &Delivery,
    ) -> Result<Outcome, Stopped> {
        if self.transform.is_none()
            && let Some(transform) = &code.transform
        {
            self.transform = Some(transform.load(&mut self.store, instance)?);
        }
        let transform = self.transform.as_ref().ok_or(Stopped::Lacks(Hook::WebhookTransform))?;
        Ok(transform.call_transform(&mut self.store, context, delivery).await??)
    }

    /// Puts the end of a call into words.
    fn judge<T>(&self, answer: Result<Result<T, Stopped>, tokio::time::error::Elapsed>) -> Result<T, Fault> {
        let state = self.state();
        match answer {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(Stopped::Said(error))) => Err(error.into()),
            Ok(Err(Stopped::Broke(error))) => Err(fault(&error, state)),
            Ok(Err(Stopped::Lacks(hook))) => Err(Fault::Unloadable(format!("{} lacks its function", hook.name()))),
            Err(_elapsed) => Err(Fault::Wall(state.call.place.limits.wall_ms)),
        }
    }
}

/// How a call can end early: by the plugin's own word, or not.
enum Stopped {
    Lacks(Hook),
    Said(PluginError),
    Broke(wasmtime::Error),
}

impl From<PluginError> for Stopped {
    fn from(error: PluginError) -> Self {
        Self::Said(error)
    }
}

impl From<wasmtime::Error> for Stopped {
    fn from(error: wasmtime::Error) -> Self {
        Self::Broke(error)
    }
}

fn fault(error: &wasmtime::Error, state: &State) -> Fault {
    if let Some(ms) = state.meter.exceeded() {
        return Fault::Cpu(ms);
    }
    if let Some(mib) = state.memory.exceeded() {
        return Fault::Memory(mib);
    }
    if error.is::<wasmtime::PoolConcurrencyLimitError>() {
        return Fault::Unavailable(
            "too many instances are at work; raise PLUGIN_CONCURRENCY or lower PLUGIN_WARM".to_owned(),
        );
    }
    let cause = error.root_cause().to_string();
    if cause.contains("hostcall") {
        return Fault::Bulk;
    }
    let what = match error.downcast_ref::<Trap>() {
        Some(Trap::UnreachableCodeReached) => "it panicked or aborted".to_owned(),
        Some(Trap::StackOverflow) => "its recursion is too deep".to_owned(),
        Some(trap) => trap.to_string(),
        None if error.is::<wasmtime_wasi::I32Exit>() => "it called exit".to_owned(),
        None => causes(error),
    };
    let place = error.downcast_ref::<WasmBacktrace>().map(frames).filter(|frames| !frames.is_empty());
    let place = place.map(|frames| format!(", in {frames}")).unwrap_or_default();
    let spoken = state.spoken().map(|text| format!("; it wrote: {text}")).unwrap_or_default();
    Fault::Trap(cut(format!("{what}{place}{spoken}"), LONGEST_DETAIL))
}

/// The innermost functions that have a name.
fn frames(backtrace: &WasmBacktrace) -> String {
    let names = backtrace.frames().iter().filter_map(wasmtime::FrameInfo::func_name);
    names.take(3).collect::<Vec<_>>().join(" < ")
}
