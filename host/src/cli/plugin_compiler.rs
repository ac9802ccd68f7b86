//! `wagate plugin-compiler`: what the gateway runs to compile a component, in a process with limits of its own. Not for
//! people: the component comes on standard input, machine code goes to standard output.

use std::io::Read as _;

use anyhow::{Context, Result, anyhow};
use clap::Args;

use super::say;
use crate::plugin::compile;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Bytes of addresses that a memory reserves.
    reservation: u64,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    compile::confine().map_err(|reason| anyhow!(reason))?;
    let mut component = Vec::new();
    std::io::stdin().read_to_end(&mut component).context("the component cannot be read")?;
    let code = compile::compile(&component, arguments.reservation).map_err(|reason| anyhow!(reason))?;
    say::bytes(&code).context("the code cannot be written")
}
