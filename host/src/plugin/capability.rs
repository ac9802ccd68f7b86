//! What a plugin may ask of the gateway: one file a capability, each answering `denied` unless it was granted.
//!
//! Invariant: nothing here changes the world but `http`; everything else is noted in the call and done with its verdict.

mod config;
mod http;
pub(super) mod kv;
pub(super) mod log;
pub(super) mod outbox;

use super::api::v1::types;
use super::state::State;

impl types::Host for State {}
