//! The master key of a gateway in a process of its own: changed while it works, by a rotation that is killed and run
//! again, and lost.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use reqwest::{Method, StatusCode};
use tempfile::TempDir;
use tokio::process::Command;
use wagate_simulator::{Network, NetworkConfig};
use wagate_tests::api::PASSWORD;
use wagate_tests::database::Database;
use wagate_tests::process::{Setup, demo_binary};

/// Where `wagate vault …` is run.
struct Desk<'a> {
    data: &'a Path,
    database: &'a Database,
    port: String,
}

impl Desk<'_> {
    /// Whether it went well, and all it said.
    async fn vault(&self, command: &str) -> Result<(bool, String)> {
        let mut wagate = Command::new(demo_binary()?);
        wagate.args(["vault", command]).current_dir(self.data).env_clear();
        wagate.env("WHATSAPP_URL", "ws://127.0.0.1:9/").env("DATA_DIR", self.data);
        wagate.env("PORT", &self.port).env("WAGATE_PASSWORD", PASSWORD);
        wagate.envs(self.database.url().map(|url| ("DATABASE_URL", url)));
        let output = wagate.output().await?;
        let said = [output.stdout, output.stderr].concat();
        Ok((output.status.success(), String::from_utf8(said)?))
    }

    async fn said(&self, command: &str) -> Result<String> {
        let (well, said) = self.vault(command).await?;
        ensure!(well, "{command}: {said}");
        Ok(said)
    }
}

#[tokio::test]
async fn a_linked_session_outlives_its_master_key_and_a_kill_between() -> Result<()> {
    let network = Network::start(NetworkConfig::default()).await?;
    let (phone, data, database) = (network.add_phone("Ana"), TempDir::new()?, Database::of_run()?);
    let setup = Setup::new(&demo_binary()?, data.path(), &network.ws_url())?.on(&database);
    let gateway = setup.start().await?;
    let port = gateway.base().rsplit(':').next().context("no port")?.to_owned();
    let desk = Desk { data: data.path(), database: &database, port };
    let api = gateway.login().await?;
    let id = api.link(&phone, Some("https://example.org/hook")).await?;
    api.wait_connected(&id).await?;
    assert!(desk.said("status").await?.contains("No value is left under an old key"));

    assert!(desk.said("new-key").await?.contains("holds a new master key"));
    let (status, begun) = api.call(Method::POST, "/api/admin/vault/rotate", None).await?;
    assert_eq!(status, StatusCode::ACCEPTED, "{begun}");
    gateway.kill().await?;

    let gateway = setup.start().await?;
    let rotated = desk.said("rotate").await?;
    assert!(rotated.contains("No value is left under an old key"), "{rotated}");
    assert!(!rotated.contains("opens only"), "{rotated}");
    gateway.kill().await?;

    std::fs::remove_file(data.path().join("master.key.old"))?;
    let gateway = setup.start().await?;
    gateway.login().await?.wait_connected(&id).await?;
    gateway.kill().await?;

    // Without its key no gateway starts, and none makes another.
    let key = data.path().join("master.key");
    std::fs::rename(&key, data.path().join("aside"))?;
    let (well, told) = desk.vault("status").await?;
    assert!(!well && told.contains("is sealed under the master key") && told.contains("back where it was"), "{told}");
    assert!(!key.exists());
    let status = setup.launch()?.end().await?;
    assert!(!status.success() && !key.exists(), "{status}");
    assert!(setup.log()?.contains("is sealed under the master key"), "the log says why");

    std::fs::rename(data.path().join("aside"), &key)?;
    let gateway = setup.start().await?;
    gateway.login().await?.wait_connected(&id).await?;
    gateway.kill().await
}
