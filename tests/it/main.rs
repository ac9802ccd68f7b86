//! One binary for all integration tests, so that the crates below are linked once.

mod api;
mod baileys;
mod config;
mod egress;
mod examples;
mod guide;
mod house;
mod keys;
mod simulator;
mod store;
mod webhook;
