//! The contract with plugins, by version: one module for each major version, all kept for as long as plugins use them.
//!
//! A component names the package it was built for in its imports and exports, so the version is known before anything
//! of it runs. Minor versions only add, and the linker takes any minor version up to its own.

pub(super) mod v1;

/// The package and the newest version of it that is offered here.
pub(super) const PACKAGE: &str = "wagate:plugin";
pub(super) const NEWEST: &str = "1.0.0";
/// As it stands in messages.
pub(super) const KNOWN: &str = "wagate:plugin@1.0.0";

/// The interfaces a component may import.
pub(super) const CAPABILITIES: [&str; 6] = ["types", "log", "config", "kv", "http", "outbox"];
/// The packages of WASI 0.2 that are offered, everything in them denied that reaches beyond the instance.
pub(super) const WASI: [&str; 6] = ["cli", "clocks", "filesystem", "io", "random", "sockets"];
