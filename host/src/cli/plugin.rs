//! `wagate plugin`: look at plugins and try them here, install and run them in a gateway.
//!
//! `check` and `run` need no gateway: they work in a folder of their own that is gone afterwards. Everything else is
//! asked of the gateway that runs.

mod bench;
mod catalog;
mod show;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use serde_json::Value;

use super::door::Request;
use crate::config::Config;
use crate::model::{BindingId, FailurePolicy, Grants, SessionId};
use crate::plugin::catalog::Source;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Look at a component (.wasm) or a script (.js) here: what it exports, imports and would like to be granted.
    Check {
        /// The file.
        file: PathBuf,
    },
    /// Try a component or a script on a message here: verdict, changes, webhooks, effects. Nothing is sent.
    Run {
        /// The file.
        file: PathBuf,
        /// The message, JSON with the members of an event's `message`, all optional: {"text": "hello"}.
        #[arg(long, value_name = "FILE")]
        message: PathBuf,
        /// The plugin's configuration, a JSON object.
        #[arg(long, value_name = "FILE")]
        configuration: Option<PathBuf>,
        /// What it may do; once for each grant. All it asks for when left out.
        #[arg(long = "grant", value_name = "GRANT")]
        grants: Vec<String>,
    },
    /// Install a component or a script in the gateway and bind it.
    Install {
        /// Its name in the catalog.
        name: String,
        /// The file.
        file: PathBuf,
        /// What it may do; once for each grant: log, kv, outbox.reply, outbox.send, outbox.emit, outgoing, <http:HOST>.
        #[arg(long = "grant", value_name = "GRANT")]
        grants: Vec<String>,
        /// Install a component that imports more than it is granted; that is denied when it runs.
        #[arg(long)]
        accept_ungranted: bool,
        #[command(flatten)]
        place: Place,
        /// Install it without binding it anywhere.
        #[arg(long)]
        unbound: bool,
    },
    /// Add a version of an installed plugin and run it.
    Update {
        /// Its name or id.
        plugin: String,
        /// The file.
        file: PathBuf,
        /// What it may do; what the present version may when left out.
        #[arg(long = "grant", value_name = "GRANT")]
        grants: Vec<String>,
        /// Take a component that imports more than it is granted; that is denied when it runs.
        #[arg(long)]
        accept_ungranted: bool,
        /// Keep running the present version.
        #[arg(long)]
        inactive: bool,
    },
    /// List the plugins of the user.
    List,
    /// Show what a plugin has logged, oldest first.
    Logs {
        /// Its name or id.
        plugin: String,
        /// How many of the newest lines, 1 to 1,000.
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
    /// Switch a plugin on.
    Enable {
        /// Its name or id.
        plugin: String,
    },
    /// Switch a plugin off.
    Disable {
        /// Its name or id.
        plugin: String,
    },
    /// Run another version of a plugin, the one before the present when none is named.
    Rollback {
        /// Its name or id.
        plugin: String,
        /// The version's number.
        version: Option<u32>,
    },
    /// Bind a plugin to a session, or to all sessions of the user.
    Bind {
        /// Its name or id.
        plugin: String,
        #[command(flatten)]
        place: Place,
    },
    /// Take a binding away.
    Unbind {
        /// The plugin's name or id.
        plugin: String,
        /// The binding's id.
        binding: BindingId,
    },
    /// Remove a plugin with its versions, bindings, values and logs.
    Remove {
        /// Its name or id.
        plugin: String,
    },
}

/// Where and how a plugin is to run.
#[derive(Debug, Default, Args)]
pub(super) struct Place {
    /// The session; all sessions of the user when left out.
    #[arg(long, value_name = "ID")]
    session: Option<SessionId>,
    /// The plugin's configuration, a JSON object. Called so because --config names the gateway's own settings file.
    #[arg(long, value_name = "FILE")]
    configuration: Option<PathBuf>,
    /// What becomes of a message when the plugin fails on it: open, closed or park.
    #[arg(long, value_name = "POLICY", value_parser = policy)]
    policy: Option<FailurePolicy>,
    /// The place in the chain: lower runs first.
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    position: Option<i64>,
}

pub(super) async fn run(arguments: Request<Command>, config: &Config) -> Result<()> {
    match arguments.command {
        Command::Check { file } => bench::check(config, &source(&file)?).await,
        Command::Run { file, message, configuration, grants } => {
            let message = json(&message)?;
            let configuration = configuration.as_deref().map(json).transpose()?;
            bench::run(config, &source(&file)?, message, configuration, &grants).await
        }
        command => {
            let Some(gateway) = arguments.credentials.enter(config).await? else {
                bail!(
                    "no gateway runs at {}, and plugins live in one: start `wagate serve` and ask again",
                    config.http.listen()
                );
            };
            catalog::run(command, &gateway).await
        }
    }
}

/// The plugin in a file: a script by its name, else a component.
fn source(file: &Path) -> Result<Source> {
    let unreadable = || format!("{} cannot be read", file.display());
    if file.extension().is_some_and(|extension| extension == "js" || extension == "mjs") {
        return Ok(Source::Script(std::fs::read_to_string(file).with_context(unreadable)?));
    }
    Ok(Source::Component(std::fs::read(file).with_context(unreadable)?.into()))
}

fn json(file: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is not JSON", file.display()))
}

fn grants(words: &[String]) -> Result<Grants> {
    Ok(Grants::parse(words)?)
}

fn policy(name: &str) -> Result<FailurePolicy, String> {
    FailurePolicy::named(name).ok_or_else(|| "there are open, closed and park".to_owned())
}
