//! The simulated network, tried by real clients over the wire: the unmodified whatsapp-rust, each on its own store.

mod admin;
mod client;
mod faults;
mod groups;
mod linking;
mod media;
mod messages;
mod queue;
