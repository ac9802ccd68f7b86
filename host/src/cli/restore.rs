//! `wagate restore`: a backup back into an empty database, of the same engine or another.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;

use super::backup::key_place;
use super::say;
use crate::config::{Config, VaultConfig};
use crate::store::{Vault, backup};

const EXAMPLES: &str = "\
Examples:
  wagate restore --dry-run /backup/wagate.db           verify all of it, write nothing
  DATA_DIR=/srv/new wagate restore /backup/wagate.db   into the database of another data folder
  DATABASE_URL=postgres://wagate:secret@localhost/wagate wagate restore /backup/wagate.dump

The master key of the gateway that was backed up must be in place first, and the old ones it still needed. Stop that
gateway before another one starts on its sessions: WhatsApp takes two for one and breaks both.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// A file that `wagate backup` wrote, of either kind.
    file: PathBuf,
    /// Verify everything and write nothing.
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn run(arguments: Arguments, config: &Config) -> Result<()> {
    let Arguments { file, dry_run } = arguments;
    let VaultConfig { master_key, key_command, key_file, .. } = &config.vault;
    if master_key.is_none() && key_command.is_none() && !key_file.exists() {
        bail!(
            "there is no master key in {}; put the key of the gateway that was backed up there, or into MASTER_KEY",
            key_file.display()
        );
    }
    let vault = Vault::open(&config.vault).await?;
    let restored = backup::restore(&file, &config.database, &vault, dry_run).await?;
    let kind = if restored.dump { "dump" } else { "copied file" };
    let (rows, schema) = (restored.contents.rows(), restored.contents.schema);
    if dry_run {
        let (file, key) = (file.display(), key_place(&config.vault));
        say::line(&format!("{file} is a sound {kind} of schema {schema}: {rows} rows, all of which {key} opens."));
        say::line(&format!("It would go into {}, which is empty. Nothing was written.", config.database));
        return Ok(());
    }
    say::line(&format!("{rows} rows are in {} now.", config.database));
    say::aside("Start `wagate serve` with the same settings; linked sessions connect without a new QR code.");
    Ok(())
}
