//! A plugin in each language, built by the steps of `plugins/README.md` alone and taken into a gateway by the command
//! lines that stand there.
//!
//! `make guests`, with which `make test` begins, runs the steps and keeps what they leave, the lines to wagate included.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;
use wagate_simulator::{Network, NetworkConfig};
use wagate_tests::api::{PASSWORD, PATIENCE};
use wagate_tests::process::{Setup, demo_binary, target_dir};
use wagate_tests::receiver::{Receiver, Recorded};

const README: &str = include_str!("../../../plugins/README.md");

#[tokio::test]
async fn a_script_routes() -> Result<()> {
    routes("script").await
}

#[tokio::test]
async fn a_plugin_in_rust_routes() -> Result<()> {
    routes("rust").await
}

#[tokio::test]
async fn a_plugin_in_javascript_routes() -> Result<()> {
    routes("javascript").await
}

#[tokio::test]
async fn a_plugin_in_c_routes() -> Result<()> {
    routes("c").await
}

#[tokio::test]
async fn a_plugin_in_python_routes() -> Result<()> {
    routes("python").await
}

/// Types the lines of one language to a running gateway, writes from a phone, and looks where the messages went.
async fn routes(language: &str) -> Result<()> {
    let built = Built::in_language(language)?;
    let network = Network::start(NetworkConfig::default()).await?;
    let (account, friend) = (network.add_phone("Account"), network.add_phone("Friend"));
    let (hook, data) = (Receiver::start().await?, TempDir::new()?);
    // Before the gateway runs, which then finds the plugin compiled.
    let tried = built.types("run", data.path(), "9").await?;
    assert!(tried.contains(r#"labels.route: - → "billing""#), "{tried}");
    let gateway = Setup::new(&demo_binary()?, data.path(), &network.ws_url())?.start().await?;
    let api = gateway.login().await?;
    let id = api.link(&account, Some(&hook.url())).await?;
    let billing = json!({ "name": "billing", "url": hook.url_of("/billing") });
    let (status, answer) = api.post(&format!("/api/sessions/{id}/endpoints"), billing).await?;
    assert_eq!(status, StatusCode::CREATED, "{answer}");

    let port = gateway.base().rsplit(':').next().unwrap_or_default();
    let plugin = built.types("install", data.path(), port).await?;

    friend.send_text(account.number(), "Where is my invoice?").await?;
    friend.send_text(account.number(), "Good morning").await?;
    let requests = hook.wait_for(2, PATIENCE).await?;
    let mut ways = requests.iter().map(way).collect::<Result<Vec<_>>>()?;
    ways.sort();
    let (_, logs) = api.get(&format!("/api/plugins/{}/logs", plugin.trim())).await?;
    let expected = [("/billing", "Where is my invoice?"), ("/hook", "Good morning")];
    assert_eq!(ways, expected.map(|(path, text)| (path.to_owned(), text.to_owned())), "{logs}");
    let invoice = requests.iter().find(|request| request.path == "/billing").context("nothing for billing")?;
    assert_eq!(invoice.json()?["message"]["labels"]["route"], "billing", "{logs}");
    gateway.kill().await?;
    network.stop().await;
    Ok(())
}

/// Path and text of a webhook.
fn way(request: &Recorded) -> Result<(String, String)> {
    let body: Value = request.json()?;
    let text = body["message"]["message"].as_str().context("no text")?;
    Ok((request.path.clone(), text.to_owned()))
}

/// What the steps of one language have left.
struct Built {
    folder: PathBuf,
    lines: Vec<String>,
}

impl Built {
    fn in_language(language: &str) -> Result<Self> {
        let target = target_dir()?;
        let folder = target.parent().context("no target folder")?.join("plugins/readme").join(language);
        let lines = std::fs::read_to_string(folder.join("commands"))
            .with_context(|| format!("{} holds no plugin: run `make guests`", folder.display()))?;
        let lines: Vec<_> = lines.lines().map(str::to_owned).collect();
        let stale = lines.iter().find(|line| !README.lines().any(|known| known == *line));
        ensure!(stale.is_none(), "plugins/README.md no longer says {stale:?}: run `make guests`");
        Ok(Self { folder, lines })
    }

    /// Types the line of this command as it stands, in the folder; answers what it said.
    async fn types(&self, command: &str, data: &Path, port: &str) -> Result<String> {
        let start = format!("wagate plugin {command} ");
        let line = self.lines.iter().find(|line| line.starts_with(&start));
        let line = line.with_context(|| format!("plugins/README.md has no line that starts with {start}"))?;
        let output = Command::new(demo_binary()?)
            .args(line.split_whitespace().skip(1))
            .current_dir(&self.folder)
            .env_clear()
            .env("WHATSAPP_URL", "ws://127.0.0.1:9/")
            .env("DATA_DIR", data)
            .env("PORT", port)
            .env("WAGATE_PASSWORD", PASSWORD)
            .output()
            .await?;
        ensure!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    }
}
