//! What the demo plays on: the simulated network with two phones and a group, the gateway, the receiver.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use wagate_simulator::{Network, NetworkConfig, Phone};

use super::receiver::Receiver;
use crate::app::tasks::Tasks;
use crate::app::{App, Mode};
use crate::config::{Config, Sources};
use crate::egress::Egress;

/// Everything that runs, and where its state lies.
pub(super) struct Stage {
    pub(super) network: Network,
    pub(super) alice: Phone,
    pub(super) bob: Phone,
    pub(super) receiver: Receiver,
    pub(super) egress: Egress,
    app: App,
    tasks: Tasks,
    folder: Folder,
}

/// A folder that goes when it is dropped.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // Nothing is lost when it stays: it lies in the system's folder for temporary files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Stage {
    pub(super) async fn set() -> Result<Self> {
        let tasks = Tasks::new();
        let network = Network::start(NetworkConfig::default()).await.context("the simulated network did not start")?;
        let (alice, bob) = (network.add_phone("Alice"), network.add_phone("Bob"));
        network.create_group("Family", "Family chat group", &alice, &[&bob]);
        let receiver = Receiver::start(&tasks).await.context("the webhook receiver did not start")?;
        let folder = Folder(std::env::temp_dir().join(format!("wagate-demo-{}", std::process::id())));
        let config = config(&folder, &network)?;
        let egress = Egress::new(&config.webhook, true)?;
        let app = App::start(config, Mode::Demo).await.context("the gateway did not start")?;
        Ok(Self { network, alice, bob, receiver, egress, app, tasks, folder })
    }

    pub(super) fn base(&self) -> String {
        format!("http://{}", self.app.addr())
    }

    /// Stops everything and removes the state.
    pub(super) async fn strike(self) {
        self.app.stop().await;
        self.tasks.stop(Duration::from_secs(2)).await;
        self.network.stop().await;
        drop(self.folder);
    }
}

fn config(folder: &Folder, network: &Network) -> Result<Config> {
    let mut sources = Sources::default();
    sources.set("data_dir", folder.0.to_string_lossy());
    sources.set("http.port", "0");
    sources.set("whatsapp.url", network.ws_url());
    sources.set("whatsapp.version", "2.3000.1000000000");
    Ok(Config::load(&sources)?)
}
