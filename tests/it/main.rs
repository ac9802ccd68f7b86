//! One binary for all integration tests, so that the crates below are linked once.

#![expect(clippy::unwrap_used, reason = "a test fails by its panic")]

mod api;
mod bad_input;
mod baileys;
mod canary;
mod catalog;
mod config;
mod disk;
mod egress;
mod events;
mod examples;
mod faults;
mod guide;
mod house;
mod keys;
mod lifecycle;
mod linking;
mod moving;
mod plugin;
mod product;
mod receiving;
mod retention;
mod sending;
mod server;
mod simulator;
mod store;
mod vault;
mod webhook;
