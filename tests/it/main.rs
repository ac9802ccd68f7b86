//! Everything tried end to end, in one binary.

mod simulator;
