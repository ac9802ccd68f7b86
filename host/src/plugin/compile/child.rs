//! The child's side: what `wagate plugin-compiler` does with the component on its standard input.

use rustix::process::{Resource, Rlimit, nice, setrlimit};

use crate::plugin::code::causes;
use crate::plugin::engine;

/// Addresses, processor time in seconds and output the child may use.
pub(super) const MEMORY: u64 = 3 << 30;
pub(super) const SECONDS: u64 = 60;
pub(super) const OUTPUT: u64 = 512 << 20;
/// Whoever handles messages goes first.
const NICE: i32 = 10;

/// Limits this process, for good.
pub fn confine() -> Result<(), String> {
    let limits = [(Resource::As, MEMORY), (Resource::Cpu, SECONDS), (Resource::Fsize, OUTPUT), (Resource::Core, 0)];
    for (resource, limit) in limits {
        let limit = Rlimit { current: Some(limit), maximum: Some(limit) };
        setrlimit(resource, limit).map_err(|error| format!("{resource:?} cannot be limited: {error}"))?;
    }
    nice(NICE).map(|_| ()).map_err(|error| format!("the priority cannot be lowered: {error}"))
}

/// Compiles a component for the engine whose memories reserve this many bytes. Only in a process that was confined.
pub fn compile(component: &[u8], reservation: u64) -> Result<Vec<u8>, String> {
    let engine = engine::compiling(reservation)?;
    engine.precompile_component(component).map_err(|error| causes(&error))
}
