//! The command line: one file a command. To add a command: a file here, a variant of [`Command`], a line in [`run`].
//!
//! Invariant: results go to standard output, everything else to standard error; a failure says what is wrong and what
//! to do, and ends with a code other than 0.

mod backup;
mod deliveries;
#[cfg(feature = "demo")]
mod demo;
mod door;
mod endpoint;
mod export;
mod flags;
mod gateway;
mod migrate;
mod plugin;
mod plugin_compiler;
mod qr;
mod restore;
mod say;
mod serve;
mod session;
mod settings;
mod trace;
mod user;
mod vault;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::config::{Config, Sources, Values};
use flags::SettingFlags;

/// A self-hosted WhatsApp gateway: many linked accounts over REST and WebSocket, nothing lost on the way.
///
/// An unofficial client: its use may break WhatsApp's terms. Do not use it to send messages nobody asked for.
#[derive(Debug, Parser)]
#[command(name = "wagate", version, arg_required_else_help = true, disable_help_subcommand = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Settings file (TOML), also `WAGATE_CONFIG`; `wagate config example` writes one.
    #[arg(long, global = true, value_name = "FILE", help_heading = "Settings")]
    config: Option<PathBuf>,
    #[command(flatten)]
    flags: SettingFlags,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run everything against a simulated WhatsApp on this machine; no phone needed.
    #[cfg(feature = "demo")]
    Demo(demo::Arguments),
    /// Run the gateway until it is told to stop (SIGINT, SIGTERM).
    Serve,
    /// See the settings in force, or an example file of all of them.
    #[command(subcommand)]
    Config(settings::Command),
    /// Add, list, reset and remove users.
    User(door::Request<user::Command>),
    /// List sessions, link one to a phone.
    Session(door::Request<session::Command>),
    /// List webhook endpoints and how they fare, add, test, rotate, enable, disable and remove them.
    Endpoint(door::Request<endpoint::Command>),
    /// List what was posted and what came of it, post it again, give it up.
    Deliveries(door::Request<deliveries::Command>),
    /// Follow one message: stored, each plugin's verdict, each webhook and its attempts.
    Trace(trace::Arguments),
    /// Look at plugins, try them, install and run them.
    Plugin(door::Request<plugin::Command>),
    /// Look after the master keys that secrets in the database are sealed with.
    Vault(door::Request<vault::Command>),
    /// Show the migrations and bring the database to the newest schema, which `serve` also does.
    Migrate,
    /// Write everything into one file, also while the gateway runs: a copy of the SQLite file, or a dump for any engine.
    Backup(backup::Arguments),
    /// Put a backup back into an empty database, of the same engine or another.
    Restore(restore::Arguments),
    /// Write the API document or the example settings file.
    #[command(subcommand)]
    Export(export::Command),
    /// Compile a component; called by the gateway itself.
    #[command(hide = true)]
    PluginCompiler(plugin_compiler::Arguments),
}

/// Runs one command.
pub async fn run(cli: Cli) -> Result<()> {
    let sources = Sources::of_process(cli.flags.into_values(), cli.config)?;
    match cli.command {
        #[cfg(feature = "demo")]
        Command::Demo(arguments) => demo::run(arguments).await,
        Command::Serve => serve::run(Config::load(&sources)?).await,
        Command::Config(command) => settings::run(&command, &Values::resolve(&sources)?),
        Command::User(arguments) => user::run(arguments, &Config::load(&sources)?).await,
        Command::Session(arguments) => session::run(arguments, &Config::load(&sources)?).await,
        Command::Endpoint(arguments) => endpoint::run(arguments, &Config::load(&sources)?).await,
        Command::Deliveries(arguments) => deliveries::run(arguments, &Config::load(&sources)?).await,
        Command::Trace(arguments) => trace::run(arguments, &Config::load(&sources)?).await,
        Command::Plugin(arguments) => plugin::run(arguments, &Config::load(&sources)?).await,
        Command::Vault(arguments) => vault::run(arguments, &Config::load(&sources)?).await,
        Command::PluginCompiler(arguments) => plugin_compiler::run(&arguments),
        Command::Migrate => migrate::run(&Config::load(&sources)?).await,
        Command::Backup(arguments) => backup::run(arguments, &Config::load(&sources)?).await,
        Command::Restore(arguments) => restore::run(arguments, &Config::load(&sources)?).await,
        Command::Export(command) => {
            export::run(&command);
            Ok(())
        }
    }
}

/// Tells the user why a command failed: the cause, and after it what it came from, where that says more.
pub fn complain(error: &anyhow::Error) {
    say::aside(&format!("error: {}", told(error)));
}

/// The chain of causes as one line; a cause that its effect has already quoted is not told twice.
fn told(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |told, cause| match told.as_str() {
        "" => cause,
        said if said.contains(&cause) => told,
        said => format!("{said}: {cause}"),
    })
}

#[cfg(test)]
mod tests;
