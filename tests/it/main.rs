//! One binary for all integration tests, so that the crates below are linked once.

mod api;
mod config;
mod egress;
mod examples;
mod guide;
mod house;
mod keys;
mod webhook;
