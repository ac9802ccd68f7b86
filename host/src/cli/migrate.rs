//! `wagate migrate`: brings the database to the newest schema without serving.

use anyhow::Result;

use super::{door::Opened, say};
use crate::config::{Config, DatabaseConfig};

pub(super) async fn run(config: &Config) -> Result<()> {
    Opened::open(config).await?.close().await;
    let DatabaseConfig::Sqlite { path } = &config.database;
    say::line(&format!("{} has the newest schema.", path.display()));
    Ok(())
}
