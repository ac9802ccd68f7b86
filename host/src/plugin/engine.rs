//! The WebAssembly engine: how code is compiled, how instances are allocated, and the clock that ends loops.
//!
//! Instances come from a pool of ready slots; memories reserve 4 GiB of addresses each, so that compiled code needs no
//! bounds checks. Where addresses are short (`ulimit -v`), 64 MiB are reserved instead and the checks stay in.
//!
//! Invariant: the compiler process and the gateway build their engines from the same [`settings`], or compiled code
//! would not load.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::num::NonZeroUsize;

use wasmtime::{Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig, WasmBacktraceDetails};

use super::PluginError;
use super::ticker::Ticker;
use crate::config::PluginConfig;

/// Longest linear memory of an instance, the most [`crate::model::Limits`] can grant.
const LONGEST_MEMORY: usize = 64 << 20;
/// Addresses a memory reserves: all that 32 bits can name, or just what may be used.
const RESERVATIONS: [u64; 2] = [4 << 30, LONGEST_MEMORY as u64];
/// Instances beside those of calls and those kept warm: for looking at components.
const SPARE: usize = 16;
/// Modules a component may be made of. Compiled languages have 3, interpreters up to 38.
pub(super) const MODULES: u32 = 64;

/// The engine with its ticker.
pub(super) struct Engine {
    pub(super) wasm: wasmtime::Engine,
    pub(super) ticker: Ticker,
    /// Addresses a memory reserves; the compiler must be told.
    pub(super) reservation: u64,
    /// Names everything that compiled code depends on.
    pub(super) fingerprint: String,
}

impl Engine {
    /// Starts the engine with the largest reservation the machine allows.
    pub(super) fn start(config: &PluginConfig) -> Result<Self, PluginError> {
        let [wide, narrow] = RESERVATIONS;
        let engine = pooled(config, wide).map(|engine| (engine, wide));
        let engine = engine.or_else(|_short_of_addresses| pooled(config, narrow).map(|engine| (engine, narrow)));
        let (wasm, reservation) = engine.map_err(|error| PluginError::Engine(format!("{error:#}")))?;
        let mut hasher = DefaultHasher::new();
        wasm.precompile_compatibility_hash().hash(&mut hasher);
        let fingerprint = format!("{:016x}", hasher.finish());
        let ticker = Ticker::start(wasm.clone()).map_err(|error| PluginError::Engine(error.to_string()))?;
        Ok(Self { wasm, ticker, reservation, fingerprint })
    }
}

/// An engine that compiles and runs nothing.
pub(super) fn compiling(reservation: u64) -> Result<wasmtime::Engine, String> {
    if !RESERVATIONS.contains(&reservation) {
        return Err(format!("a memory cannot reserve {reservation} bytes"));
    }
    wasmtime::Engine::new(&settings(reservation)).map_err(|error| format!("{error:#}"))
}

fn pooled(config: &PluginConfig, reservation: u64) -> wasmtime::Result<wasmtime::Engine> {
    let mut settings = settings(reservation);
    settings.allocation_strategy(InstanceAllocationStrategy::Pooling(slots(config)));
    wasmtime::Engine::new(&settings)
}

/// What compiled code depends on, and how it is run.
fn settings(reservation: u64) -> Config {
    let mut settings = Config::new();
    settings
        .wasm_memory64(false)
        .concurrency_support(false)
        .epoch_interruption(true)
        .max_wasm_stack(512 << 10)
        .async_stack_size(1 << 20)
        .memory_reservation(reservation)
        .memory_guard_size(32 << 20)
        .memory_may_move(false)
        .wasm_backtrace_max_frames(NonZeroUsize::new(20))
        .wasm_backtrace_details(WasmBacktraceDetails::Disable);
    settings
}

/// Slots for as many instances as can be at work or warm. What is kept resident makes a fresh call cheap: the first
/// 256 KiB of a used memory are wiped instead of given back.
fn slots(config: &PluginConfig) -> PoolingAllocationConfig {
    let instances = u32::try_from(config.concurrency + config.warm + SPARE).unwrap_or(u32::MAX);
    let mut slots = PoolingAllocationConfig::new();
    slots
        .total_component_instances(instances)
        .total_stacks(instances)
        .total_memories(instances * 2)
        .total_tables(instances * 4)
        .total_core_instances(instances.saturating_mul(MODULES))
        .max_core_instances_per_component(MODULES)
        .max_memories_per_component(4)
        .max_tables_per_component(64)
        .table_elements(20_000)
        .max_memory_size(LONGEST_MEMORY)
        .max_core_instance_size(1 << 20)
        .max_component_instance_size(4 << 20)
        .linear_memory_keep_resident(256 << 10)
        .table_keep_resident(64 << 10)
        .async_stack_keep_resident(64 << 10)
        .pagemap_scan(Enabled::Auto);
    slots
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compiler_makes_code_that_the_gateway_can_load() {
        let config = PluginConfig {
            compiler: None,
            max_component_mib: 1,
            concurrency: 1,
            warm: 0,
            cache_dir: std::path::PathBuf::new(),
        };
        for reservation in RESERVATIONS {
            let code = compiling(reservation).unwrap().precompile_component(b"\0asm\x0d\0\x01\0").unwrap();
            let engine = pooled(&config, reservation).unwrap();
            assert!(wasmtime::Engine::detect_precompiled(&code).is_some());
            let mut hashes = [DefaultHasher::new(), DefaultHasher::new()];
            engine.precompile_compatibility_hash().hash(&mut hashes[0]);
            compiling(reservation).unwrap().precompile_compatibility_hash().hash(&mut hashes[1]);
            assert_eq!(hashes[0].finish(), hashes[1].finish());
        }
    }

    #[test]
    fn compiles_for_known_reservations_only() {
        assert!(compiling(1).is_err());
    }
}
