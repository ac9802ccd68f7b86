//! `wagate vault`: the master keys that secrets in the database are sealed with.

use std::pin::pin;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Subcommand;
use serde::Deserialize;
use tokio::time::sleep;

use super::door::{Opened, Request};
use super::gateway::Gateway;
use super::say;
use crate::config::Config;
use crate::store::vault::{self, rotation};

/// How often a running gateway is asked how far it is.
const EVERY: Duration = Duration::from_millis(300);
/// How often that is said.
const SAID: Duration = Duration::from_secs(2);

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show under which master keys the secrets in the database are sealed.
    Status,
    /// Seal every secret in the database under the present master key; the gateway may go on working.
    Rotate,
    /// Put a new master key into the key file; the old one goes on opening what it sealed. Then run `wagate vault rotate`.
    NewKey,
}

/// How secrets are sealed, from either door.
#[derive(Debug, Deserialize)]
struct Known {
    current: String,
    keys: Vec<String>,
    values: Vec<Values>,
}

#[derive(Debug, Deserialize)]
struct Values {
    table: String,
    column: String,
    key: Option<String>,
    count: u64,
}

/// How far a rotation is, from either door.
#[derive(Debug, Deserialize)]
struct Rotation {
    state: String,
    table: Option<String>,
    resealed: u64,
    error: Option<String>,
}

impl From<rotation::Status> for Known {
    fn from(status: rotation::Status) -> Self {
        let values = status.counts.into_iter().map(|count| Values {
            table: count.table.to_owned(),
            column: count.column.to_owned(),
            key: count.key.map(|key| key.to_string()),
            count: count.values,
        });
        Self {
            current: status.current.to_string(),
            keys: status.keys.iter().map(ToString::to_string).collect(),
            values: values.collect(),
        }
    }
}

pub(super) async fn run(arguments: Request<Command>, config: &Config) -> Result<()> {
    if matches!(arguments.command, Command::NewKey) {
        return new_key(config);
    }
    let running = arguments.credentials.enter(config).await?;
    let rotate = matches!(arguments.command, Command::Rotate);
    let known = if let Some(gateway) = running {
        if rotate {
            by_gateway(&gateway).await?;
        }
        gateway.get("/api/admin/vault").await?
    } else {
        let opened = Opened::existing(config).await?;
        let known = by_database(&opened, rotate).await;
        opened.close().await;
        known?
    };
    show(&known, rotate);
    Ok(())
}

fn new_key(config: &Config) -> Result<()> {
    let changed = vault::new_key(&config.vault)?;
    let (file, old) = (config.vault.key_file.display(), config.vault.old_keys_file.display());
    say::line(&format!(
        "{file} holds a new master key, {}; the old one, {}, stands in {old}.",
        changed.to, changed.from
    ));
    say::line(
        "Keep a copy of both apart from the database. Now seal everything under the new one: wagate vault rotate",
    );
    Ok(())
}

/// Has a running gateway rotate, and waits for the end. One that is at it already is followed.
async fn by_gateway(gateway: &Gateway) -> Result<()> {
    let mut rotation: Rotation = gateway.get("/api/admin/vault/rotation").await?;
    if rotation.state == "running" {
        say::aside("A rotation is under way already; waiting for its end.");
    } else {
        rotation = gateway.post("/api/admin/vault/rotate", None).await?;
    }
    let mut said = tokio::time::Instant::now();
    while rotation.state == "running" {
        if said.elapsed() >= SAID {
            said = tokio::time::Instant::now();
            say_progress(rotation.table.as_deref(), rotation.resealed);
        }
        sleep(EVERY).await;
        rotation = gateway.get("/api/admin/vault/rotation").await?;
    }
    say_progress(None, rotation.resealed);
    match rotation.error {
        Some(error) => bail!(error),
        None if rotation.state == "done" => Ok(()),
        None => bail!("the gateway was started anew meanwhile; run this again for the rest"),
    }
}

async fn by_database(opened: &Opened, rotate: bool) -> Result<Known> {
    let sealing = opened.store.sealing();
    if rotate {
        // A gateway that is active elsewhere would go on sealing under the old key.
        let leads = opened.store.lead(&opened.tasks).await;
        leads.context("the secrets cannot be sealed anew from here; run this where the gateway runs")?;
        let mut work = pin!(sealing.rotate(&opened.tasks));
        loop {
            tokio::select! {
                done = &mut work => break done?,
                () = sleep(SAID) => {
                    let progress = sealing.progress();
                    say_progress(progress.table, progress.resealed);
                }
            }
        }
        say_progress(None, sealing.progress().resealed);
    }
    Ok(sealing.status().await?.into())
}

fn say_progress(table: Option<&str>, resealed: u64) {
    let at = table.map(|table| format!(", now in {table}")).unwrap_or_default();
    say::aside(&format!("{resealed} secrets sealed anew{at}"));
}

fn show(known: &Known, rotated: bool) {
    let Known { current, keys, values } = known;
    let row = |values: &Values| {
        let key = values.key.clone().unwrap_or_else(|| "none".to_owned());
        let state = match &values.key {
            Some(key) if key == current => "seals",
            Some(key) if keys.contains(key) => "opens only",
            _ => "missing",
        };
        [format!("{}.{}", values.table, values.column), key, state.to_owned(), values.count.to_string()]
    };
    say::table(["SEALED", "KEY", "WHICH", "VALUES"], values.iter().map(row));
    let left: u64 =
        values.iter().filter(|values| values.key.as_ref() != Some(current)).map(|values| values.count).sum();
    if left > 0 {
        say::line(&format!("{left} values are not under the present master key, {current}; run: wagate vault rotate"));
    } else {
        say::line(&format!("No value is left under an old key: all of them are sealed under {current}."));
    }
    if rotated && left == 0 && keys.len() > 1 {
        say::line("The old keys open no value any more. Keep them as long as you keep backups from before.");
    }
}
