//! `wagate serve`: runs the gateway until it is told to stop.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use secrecy::ExposeSecret;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::say;
use crate::app::{App, Mode};
use crate::auth::OneTimePassword;
use crate::config::Config;
use crate::model::Clock;
use crate::telemetry;

/// Time a stop may take before what is left is abandoned; a crash at that point loses nothing either.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) async fn run(config: Config) -> Result<()> {
    telemetry::start(&config.telemetry)?;
    let mut stop = Stop::listen()?;
    let database = config.database.to_string();
    let mut listening = App::listen(config, Mode::Product, Clock::System)?;
    let opened = tokio::select! {
        opened = listening.open() => Some(opened),
        () = stop.asked() => None,
    };
    let app = match opened {
        Some(Ok(())) => listening.start().await?,
        Some(Err(error)) => {
            listening.stop().await;
            return Err(error.into());
        }
        None => {
            listening.stop().await;
            say::aside("Stopped before it was up.");
            return Ok(());
        }
    };
    let base = format!("http://{}", app.addr());
    say::line(&format!("wagate {} listens on {base}", env!("CARGO_PKG_VERSION")));
    say::line(&format!("Data lies in {database}. Ctrl-C stops it."));
    if let Some(one_time) = app.first_password() {
        introduce(one_time, &base);
    }
    let lost = tokio::select! {
        () = stop.asked() => None,
        lost = app.superseded() => Some(lost),
    };
    say::aside(&format!(
        "Stopping: finishing what is under way, {} s at most. Once more ends it now.",
        PATIENCE.as_secs()
    ));
    tokio::select! {
        done = tokio::time::timeout(PATIENCE, app.stop()) => match (done, &lost) {
            (Ok(()), _) => say::aside("Stopped."),
            (Err(_elapsed), Some(_)) => say::aside("Some work did not end in time and was abandoned."),
            (Err(_elapsed), None) => {
                bail!("some work did not end in time and was abandoned; what was stored goes on at the next start")
            }
        },
        () = stop.asked() => say::aside("Ended."),
    }
    // Not a success: whoever looks after the process starts it again, and then it stands by.
    lost.map_or(Ok(()), |lost| Err(lost.into()))
}

/// First start: the way in, said once.
fn introduce(one_time: &OneTimePassword, base: &str) {
    say::line(&format!("\nFirst start. One-time password of {}, good for 24 hours:\n", one_time.username));
    say::line(&format!("    {}\n", one_time.password.expose_secret()));
    if let Some(file) = &one_time.file {
        say::line(&format!("It also lies in {} until it is used. It can only choose a lasting one:", file.display()));
    }
    say::line("    WAGATE_PASSWORD='the one-time password' wagate user password <<< 'a password of your choice'");
    say::line(&format!("or POST {base}/api/login, then POST {base}/api/password.\n"));
}

/// The signals that end a server: SIGINT from a terminal, SIGTERM from a service manager.
struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    fn listen() -> Result<Self> {
        let listen = |kind| signal(kind).context("signals cannot be listened to");
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
