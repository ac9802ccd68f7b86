//! The simulated network, tried by real clients over the wire: the unmodified whatsapp-rust, each on its own store.

#![expect(clippy::unwrap_used, reason = "a test fails by its panic")]

mod admin;
mod client;
mod faults;
mod groups;
mod linking;
mod media;
mod messages;
mod queue;
