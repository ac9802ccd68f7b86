//! A gateway in this process: the whole of it, on a real socket, a real database file, against the simulator.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Result, ensure};
use secrecy::SecretString;
use tempfile::TempDir;
use wagate::app::{App, Mode};
use wagate::config::Config;
use wagate_simulator::Network;

use crate::api::{Api, PASSWORD};
use crate::compiled;
use crate::process::demo_binary;

/// A running gateway and its administrator. Stop it; dropping it without is for tests that failed anyway.
pub struct Gateway {
    app: App,
    api: Api,
    dir: Arc<TempDir>,
    network: Network,
}

impl Deref for Gateway {
    type Target = Api;
    fn deref(&self) -> &Api {
        &self.api
    }
}

impl Gateway {
    /// Starts on an empty folder.
    pub async fn start(network: &Network) -> Result<Self> {
        Self::start_on(Arc::new(TempDir::new()?), network, |_| ()).await
    }

    /// Starts on an empty folder with settings of the test's own.
    pub async fn start_with(network: &Network, change: impl FnOnce(&mut Config)) -> Result<Self> {
        Self::start_on(Arc::new(TempDir::new()?), network, change).await
    }

    async fn start_on(dir: Arc<TempDir>, network: &Network, change: impl FnOnce(&mut Config)) -> Result<Self> {
        let mut config = config(dir.path(), network)?;
        change(&mut config);
        compiled::lend(dir.path())?;
        let app = App::start(config, Mode::Product).await?;
        let api = Api::login(&format!("http://{}", app.addr()), "admin", PASSWORD).await?;
        Ok(Self { app, api, dir, network: network.clone() })
    }

    /// The gateway itself.
    pub fn app(&self) -> &App {
        &self.app
    }

    /// The database file.
    pub fn database(&self) -> PathBuf {
        self.dir.path().join("wagate.db")
    }

    /// Stops in good order and starts again on the same state.
    pub async fn restart(self) -> Result<Self> {
        self.rest().await.wake().await
    }

    /// Stops in good order and keeps the state.
    pub async fn rest(self) -> Resting {
        let Self { app, dir, network, .. } = self;
        app.stop().await;
        compiled::keep(dir.path());
        Resting { dir, network }
    }

    /// Stops in good order.
    pub async fn stop(self) {
        self.app.stop().await;
        compiled::keep(self.dir.path());
    }
}

/// The state of a gateway that does not run.
pub struct Resting {
    dir: Arc<TempDir>,
    network: Network,
}

impl Resting {
    /// Starts on the state.
    pub async fn wake(self) -> Result<Gateway> {
        self.wake_with(|_| ()).await
    }

    /// Starts on the state with settings of the test's own.
    pub async fn wake_with(self, change: impl FnOnce(&mut Config)) -> Result<Gateway> {
        Gateway::start_on(self.dir, &self.network, change).await
    }

    /// The database file.
    pub fn database(&self) -> PathBuf {
        self.dir.path().join("wagate.db")
    }

    /// The folder that holds it.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }
}

/// The settings of a gateway under test. Webhooks may go to loopback, because that is where receivers are.
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
