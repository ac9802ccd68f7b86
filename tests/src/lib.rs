//! What the integration tests, the kill test and the benches share: real parts on loopback, no mocks.

pub mod receiver;
