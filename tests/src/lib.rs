//! What the integration tests, the kill test and the benches share: real parts on loopback, no mocks.

pub mod api;
pub mod catalog;
pub mod compiled;
pub mod component;
pub mod database;
pub mod disk;
pub mod engine;
pub mod faults;
pub mod figures;
pub mod gateway;
pub mod haystack;
pub mod nats;
pub mod post;
pub mod process;
pub mod raw;
pub mod receiver;
pub mod scene;
pub mod servers;
pub mod simulator;
