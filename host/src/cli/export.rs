//! `wagate export`: the files in the repository that the program itself writes.

use clap::Subcommand;

use super::say;
use crate::config::example;
use crate::http::openapi;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// The description of the API, OpenAPI 3.1: `api-docs.yaml`.
    Openapi,
    /// The example settings file: `examples/gateway.toml`.
    Config,
}

pub(super) fn run(command: &Command) {
    match command {
        Command::Openapi => say::page(&openapi()),
        Command::Config => say::page(&example()),
    }
}
