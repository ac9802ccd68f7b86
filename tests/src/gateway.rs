//! A gateway in this process: the whole of it, on a real socket, a real database, against the simulator.

use std::ops::Deref;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use secrecy::SecretString;
use tempfile::TempDir;
use wagate::app::{App, Mode};
use wagate::config::Config;
use wagate::model::Clock;
use wagate_simulator::Network;

use crate::api::{Api, PASSWORD};
use crate::compiled;
use crate::database::Database;
use crate::process::demo_binary;
use crate::raw::Raw;

/// A running gateway and its administrator. Stop it; dropping it without is for tests that failed anyway.
pub struct Gateway {
    app: App,
    api: Api,
    home: Home,
    network: Network,
}

impl Deref for Gateway {
    type Target = Api;
    fn deref(&self) -> &Api {
        &self.api
    }
}

impl Gateway {
    /// Starts on an empty folder and an empty database.
    pub async fn start(network: &Network) -> Result<Self> {
        Self::start_with(network, |_| ()).await
    }

    /// Starts on an empty folder and an empty database with settings of the test's own.
    pub async fn start_with(network: &Network, change: impl FnOnce(&mut Config)) -> Result<Self> {
        Self::start_at(Clock::System, network, change).await
    }

    /// Starts on an empty folder and an empty database with settings and a clock of the test's own.
    pub async fn start_at(clock: Clock, network: &Network, change: impl FnOnce(&mut Config)) -> Result<Self> {
        Self::start_on(Home::empty(Database::of_run()?, clock)?, network, change).await
    }

    async fn start_on(home: Home, network: &Network, change: impl FnOnce(&mut Config)) -> Result<Self> {
        let mut config = home.config(network)?;
        change(&mut config);
        compiled::lend(home.dir.path())?;
        let app = App::start_with(config, Mode::Product, home.clock.clone()).await?;
        let api = Api::login(&format!("http://{}", app.addr()), "admin", PASSWORD).await?;
        Ok(Self { app, api, home, network: network.clone() })
    }

    /// The gateway itself.
    pub fn app(&self) -> &App {
        &self.app
    }

    /// A way into the database.
    pub async fn raw(&self) -> Result<Raw> {
        self.home.raw().await
    }

    /// Stops in good order and starts again on the same state.
    pub async fn restart(self) -> Result<Self> {
        self.rest().await.wake().await
    }

    /// Stops in good order and keeps the state.
    pub async fn rest(self) -> Resting {
        let Self { app, home, network, .. } = self;
        app.stop().await;
        compiled::keep(home.dir.path());
        Resting { home, network }
    }

    /// Stops in good order.
    pub async fn stop(self) {
        self.app.stop().await;
        compiled::keep(self.home.dir.path());
    }
}

/// The state of a gateway that does not run.
pub struct Resting {
    home: Home,
    network: Network,
}

impl Resting {
    /// Starts on the state.
    pub async fn wake(self) -> Result<Gateway> {
        self.wake_with(|_| ()).await
    }

    /// Starts on the state with settings of the test's own.
    pub async fn wake_with(self, change: impl FnOnce(&mut Config)) -> Result<Gateway> {
        Gateway::start_on(self.home, &self.network, change).await
    }

    /// A way into the database.
    pub async fn raw(&self) -> Result<Raw> {
        self.home.raw().await
    }

    /// The settings it was started with, but for those of a test's own.
    pub fn config(&self) -> Result<Config> {
        self.home.config(&self.network)
    }
}

/// What outlives a stop. The database goes before the folder.
struct Home {
    database: Database,
    dir: TempDir,
    clock: Clock,
}

impl Home {
    fn empty(database: Database, clock: Clock) -> Result<Self> {
        Ok(Self { database, dir: TempDir::new()?, clock })
    }

    fn config(&self, network: &Network) -> Result<Config> {
        let mut config = config(self.dir.path(), network)?;
        config.database = self.database.config(&self.file())?;
        Ok(config)
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("wagate.db")
    }

    async fn raw(&self) -> Result<Raw> {
        self.database.raw(&self.file()).await
    }
}

/// The settings of a gateway under test, on SQLite. Webhooks may go to loopback, because that is where receivers are.
pub fn config(dir: &Path, network: &Network) -> Result<Config> {
    let mut config = Config::for_tests(dir)?;
    config.whatsapp.url = network.ws_url().parse()?;
    config.whatsapp.version = Some((2, 3000, 1_000_000_000));
    config.auth.admin_password = Some(SecretString::from(PASSWORD));
    config.webhook.allow = vec!["127.0.0.0/8".to_owned()];
    config.plugin.compiler = Some(demo_binary()?);
    ensure!(config.http.port == 0, "a test gateway must take whatever port is free");
    Ok(config)
}
