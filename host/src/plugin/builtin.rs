//! The gateway's own plugins, packed into the program. Built from `plugins/` by `make plugins`.

/// Makes the founding webhook body. Given to every user once.
pub const FORWARD: &[u8] = include_bytes!("../../../plugins/dist/forward.wasm");

/// Runs a script in JavaScript that its configuration holds.
pub const SCRIPT: &[u8] = include_bytes!("../../../plugins/dist/script.wasm");
