//! `wagate config`: what is in force and where it comes from.

use anyhow::Result;
use clap::Subcommand;

use super::say;
use crate::config::{Config, Values, example, show};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Print every setting with its value and where it comes from; secrets are masked.
    Show,
    /// Print a settings file that explains every setting.
    Example,
}

pub(super) fn run(command: &Command, values: &Values) -> Result<()> {
    match command {
        Command::Show => {
            say::page(&show(values));
            Config::read(values)?;
        }
        Command::Example => say::page(&example()),
    }
    Ok(())
}
