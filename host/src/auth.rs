//! Logging in and being recognised.
