//! One binary for all integration tests, so that the crates below are linked once.

mod api;
mod egress;
mod webhook;
