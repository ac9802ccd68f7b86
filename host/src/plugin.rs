//! Plugins: WebAssembly components of the users' own on every incoming message and every outgoing webhook. The only room
//! that names the WebAssembly library.
//!
//! A [`Passage`] is one event's way through its session's chain: filtered once, shaped once for each endpoint. What the
//! plugins said and want done is collected and handed to the caller, who commits it with the verdict in one
//! transaction. [`Plugins::inspect`] looks at a component before it is installed.
//!
//! Invariant: a plugin can fail, but not harm: whatever it does, its call ends within its limits, the process goes on,
//! and the message follows the failure policy.

mod api;
mod breaker;
pub mod builtin;
mod call;
mod capability;
pub mod catalog;
mod chains;
mod code;
pub mod compile;
mod document;
mod engine;
mod health;
mod inspect;
mod introduce;
mod lane;
mod link;
mod machine;
pub mod masking;
mod meter;
mod passage;
mod patch;
mod pool;
mod refusal;
pub mod rehearse;
mod spoken;
mod state;
mod ticker;

use std::fmt;
use std::sync::Arc;

pub use health::{Failure, Health};
pub use passage::{Filtered, Left, OutgoingVerdict, Passage, Shaped, admits};
pub use refusal::Refusal;

use self::chains::{Chain, Chains};
use self::link::Link;
use self::machine::Machine;
use self::state::Outside;
use crate::app::tasks::Tasks;
use crate::config::PluginConfig;
use crate::egress::Egress;
use crate::model::{Bound, Chat, Clock, Event, PluginId, Report, Scope, SessionId};
use crate::store::{Store, StoreError};

/// The plugins of all users. Cheap to clone.
#[derive(Clone)]
pub struct Plugins(Arc<Shared>);

struct Shared {
    config: PluginConfig,
    machine: Arc<Machine>,
    chains: Arc<Chains>,
    tasks: Tasks,
}

/// Why plugins cannot be run on this machine.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// The engine refused its settings, or the machine has too little address space.
    #[error("plugins cannot be run here: {0}")]
    Engine(String),
    /// The folder for compiled code cannot be used.
    #[error("the folder {path} for compiled plugins cannot be used: {reason}; make it writable for wagate")]
    Cache {
        /// The folder.
        path: String,
        /// What the system said.
        reason: String,
    },
}

impl Plugins {
    /// Starts the engine. Nothing is compiled or run before the first call.
    pub fn start(
        config: PluginConfig,
        store: Store,
        egress: Egress,
        clock: Clock,
        tasks: &Tasks,
    ) -> Result<Self, PluginError> {
        let outside = Outside { store, egress, clock: clock.clone() };
        let machine = Arc::new(Machine::start(&config, outside, tasks.clone())?);
        let chains = Arc::new(Chains::default());
        tasks.spawn("plugin sweep", chains::sweeping(Arc::clone(&chains), clock, tasks.stopping()));
        Ok(Self(Arc::new(Shared { config, machine, chains, tasks: tasks.clone() })))
    }

    /// A passage of this event through the chain of its session. `attempt` is 1 for the first.
    pub async fn passage(&self, event: &Event, attempt: u32) -> Result<Passage, StoreError> {
        let chain = self.chain(&event.session).await?;
        Ok(Passage::new(Arc::clone(&self.0.machine), chain, event, attempt, false))
    }

    /// A passage through this chain. In a rehearsal no request leaves, and neither health nor breakers are touched;
    /// whether the rest is done is up to the caller.
    pub fn passage_through(&self, chain: &[Bound], event: &Event, attempt: u32, rehearsal: bool) -> Passage {
        Passage::new(Arc::clone(&self.0.machine), self.links(chain), event, attempt, rehearsal)
    }

    /// A rehearsal through links that serve several of them.
    fn rehearsal(&self, links: &Chain, event: &Event) -> Passage {
        Passage::new(Arc::clone(&self.0.machine), Arc::clone(links), event, 1, true)
    }

    /// Links beside those that are kept.
    fn links(&self, chain: &[Bound]) -> Chain {
        let (machine, now) = (&self.0.machine, self.0.machine.outside.clock.now());
        chain.iter().map(|bound| Arc::new(Link::new(bound, machine.share, None, now))).collect()
    }

    /// Asks the filters that were granted `outgoing` about a message that is to be sent.
    pub async fn outgoing(
        &self,
        session: &SessionId,
        to: &Chat,
        text: &str,
    ) -> Result<(OutgoingVerdict, Left), StoreError> {
        let chain = self.chain(session).await?;
        if !chain.iter().any(|link| link.place.grants.outgoing) {
            return Ok((OutgoingVerdict::Send { to: to.clone(), text: text.to_owned() }, Left::default()));
        }
        let machine = Arc::clone(&self.0.machine);
        let sender = machine.outside.store.sessions(Scope::gateway()).get(session).await?;
        let from = sender.and_then(|session| session.link).map(|link| Chat::person(&link.phone));
        Ok(passage::outgoing(machine, &chain, session, from, to, text).await)
    }

    /// Looks at a component: reads it, compiles it in a process of its own and lets it describe itself. Nothing is
    /// stored but the compiled code. With a script, the component is the one that runs scripts, and the script is tried.
    pub async fn inspect(&self, bytes: &[u8], script: Option<&str>) -> Result<Report, Refusal> {
        introduce::inspect(&self.0.machine, bytes, script, self.0.config.max_component()).await
    }

    /// Lets the plugin check its configuration in `init`, in a fresh instance.
    pub async fn try_init(&self, bound: &Bound) -> Result<(), Refusal> {
        introduce::try_init(&self.0.machine, bound).await
    }

    /// The catalog has changed: chains are read anew. What is compiled stays.
    pub fn forget(&self) {
        self.0.chains.forget();
    }

    /// How a plugin has fared since the gateway was started.
    pub fn health(&self, plugin: &PluginId) -> Health {
        self.0.chains.health(plugin)
    }

    async fn chain(&self, session: &SessionId) -> Result<Chain, StoreError> {
        let Machine { outside, share, .. } = &*self.0.machine;
        self.0.chains.of(&outside.store, session, *share, outside.clock.now()).await
    }
}

impl fmt::Debug for Plugins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plugins").finish_non_exhaustive()
    }
}
