//! Everything tried end to end, in one binary.

mod baileys;
mod simulator;
