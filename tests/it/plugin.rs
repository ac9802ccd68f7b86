//! Plugins: the host that runs them, their way through a gateway, and what they cannot do.

mod journey;
