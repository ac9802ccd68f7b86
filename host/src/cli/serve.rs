//! `wagate serve`: runs the gateway until it is told to stop.

use std::time::Duration;

use anyhow::{Context, Result};
use secrecy::ExposeSecret;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::say;
use crate::app::App;
use crate::auth::OneTimePassword;
use crate::config::{Config, DatabaseConfig};
use crate::telemetry;

pub(super) async fn run(config: Config) -> Result<()> {
    telemetry::start(&config.telemetry)?;
    let mut stop = Stop::listen()?;
    let DatabaseConfig::Sqlite { path } = &config.database;
    let database = path.display().to_string();
    let app = App::start(config).await?;
    say::line(&format!("wagate {} listens on http://{}", env!("CARGO_PKG_VERSION"), app.addr()));
    say::line(&format!("Data lies in {database}. Ctrl-C stops it."));
    if let Some(password) = app.one_time_password() {
        introduce(password, &app.addr().to_string());
    }
    stop.asked().await;
    say::aside("Stopping: finishing what is under way, 30 s at most. Once more stops at once.");
    tokio::select! {
        () = app.stop() => say::aside("Stopped."),
        () = stop.asked() => say::aside("Stopped at once."),
    }
    Ok(())
}
