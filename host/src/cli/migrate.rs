//! `wagate migrate`: shows the migrations, and brings the database to the newest schema without serving.

use anyhow::Result;

use super::{door::Opened, say};
use crate::config::Config;
use crate::store::Store;

pub(super) async fn run(config: &Config) -> Result<()> {
    let migrations = Store::migrations(&config.database).await?;
    for migration in &migrations {
        let state = if migration.applied { "applied" } else { "pending" };
        say::line(&format!("{state}  {}", migration.name));
    }
    Opened::open(config).await?.close().await;
    let pending = migrations.iter().filter(|migration| !migration.applied).count();
    if pending > 0 {
        say::line(&format!("Applied {pending} of them."));
    }
    say::line(&format!("{} has the newest schema.", config.database));
    Ok(())
}
