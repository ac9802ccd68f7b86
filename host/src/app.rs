//! The gateway as one value: every long-lived part, built from the configuration, started and stopped in order.

pub mod tasks;
