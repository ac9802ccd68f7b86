//! One binary for all integration tests, so that the crates below are linked once.

mod egress;
mod store;
mod webhook;
