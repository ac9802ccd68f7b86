//! `wagate backup`: everything the gateway knows as one file, taken while it runs.
//!
//! A SQLite file is open in one process only, so a running gateway is asked to copy it; a server is read directly,
//! whether a gateway runs or not.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::Deserialize;

use super::door::Credentials;
use super::gateway::Gateway;
use super::say;
use crate::config::{Config, DatabaseConfig, VaultConfig};
use crate::model::Clock;
use crate::store::backup::{self, Contents};

/// How often a running gateway is asked how far it is.
const PACE: Duration = Duration::from_millis(250);

const EXAMPLES: &str = "\
Examples:
  wagate backup /backup/wagate.db            a copy of the SQLite file, also while the gateway runs
  wagate backup --dump /backup/wagate.dump   a dump that any engine takes: SQLite, PostgreSQL or MySQL

The master key is in no backup; keep a copy of it apart. `wagate restore` is the way back.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The file to write. It must not exist.
    file: PathBuf,
    /// Write a dump that can be restored into another engine. Servers always give one.
    #[arg(long)]
    dump: bool,
    #[command(flatten)]
    credentials: Credentials,
}

/// What the gateway says of a copy.
#[derive(Debug, Deserialize)]
struct Progress {
    state: String,
    file: Option<PathBuf>,
    error: Option<String>,
}

pub(super) async fn run(arguments: Arguments, config: &Config) -> Result<()> {
    let Arguments { file, dump, credentials } = arguments;
    // Said at once, and not after minutes of work.
    if file.symlink_metadata().is_ok() {
        bail!("{} exists; choose another name or move it away", file.display());
    }
    let on_a_file = matches!(config.database, DatabaseConfig::Sqlite { .. });
    let running = if on_a_file { credentials.enter(config).await? } else { None };
    let contents = match running {
        Some(gateway) => by_gateway(&gateway, &file, dump).await?,
        None if on_a_file && !dump => backup::copy(&config.database, &file).await?,
        None => backup::dump(&config.database, &file, &Clock::System).await?,
    };
    report(&contents, &file, config)
}

/// Has the gateway copy its file, and takes the copy over.
async fn by_gateway(gateway: &Gateway, file: &Path, dump: bool) -> Result<Contents> {
    let mut progress: Progress = gateway.post("/api/admin/backup", None).await?;
    let Some(copy) = progress.file.clone() else { bail!("the gateway does not say where its copy will be") };
    while progress.state == "running" {
        tokio::time::sleep(PACE).await;
        progress = gateway.get("/api/admin/backup").await?;
        if progress.file.as_ref() != Some(&copy) {
            bail!("somebody else had the gateway make another copy, or it was started anew; run this again");
        }
    }
    if progress.state != "done" {
        bail!("the gateway could not copy its database: {}", progress.error.unwrap_or_default());
    }
    let copy = copy.as_path();
    if !copy.exists() {
        bail!("the gateway wrote {}, which cannot be seen from here; take it from its machine", copy.display());
    }
    let unread = || format!("the gateway's copy is left as {}", copy.display());
    if dump {
        let contents = backup::dump_file(copy, file, &Clock::System).await.with_context(unread)?;
        std::fs::remove_file(copy).with_context(unread)?;
        return Ok(contents);
    }
    let contents = backup::inspect(copy).await.with_context(unread)?;
    backup::deliver(copy, file).await.with_context(unread)?;
    Ok(contents)
}

fn report(contents: &Contents, file: &Path, config: &Config) -> Result<()> {
    let bytes = file.metadata().with_context(|| format!("{} is not there", file.display()))?.len();
    let tables = contents.tables.len();
    say::line(&format!("{}: {} rows of {tables} tables, {bytes} bytes, verified.", file.display(), contents.rows()));
    let keys: Vec<&str> = contents.keys.iter().map(String::as_str).collect();
    if !keys.is_empty() {
        say::line(&format!("Its secrets are sealed under {}.", keys.join(", ")));
    }
    say::aside(&format!(
        "The key is not in it: keep a copy of {} apart from the backup, without it no account comes back.",
        key_place(&config.vault)
    ));
    Ok(())
}

/// What opens the database's secrets, for a reader.
pub(super) fn key_place(config: &VaultConfig) -> String {
    match (&config.master_key, &config.key_command) {
        (Some(_), _) => "MASTER_KEY".to_owned(),
        (None, Some(_)) => "the key that MASTER_KEY_COMMAND prints".to_owned(),
        (None, None) => format!("the key in {}", config.key_file.display()),
    }
}
