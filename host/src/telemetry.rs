//! Logs, set up once at start.
