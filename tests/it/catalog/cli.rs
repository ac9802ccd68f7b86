//! The command line: `check` and `run` without a gateway, the rest against one.

use std::path::Path;
use std::process::Output;

use anyhow::{Result, ensure};
use serde_json::json;
use tempfile::TempDir;
use tokio::process::Command;
use wagate_simulator::{Network, NetworkConfig};
use wagate_tests::api::PASSWORD;
use wagate_tests::component::Verdict;
use wagate_tests::process::{Setup, demo_binary};

use super::{DROP, filter, keeper};

/// `wagate plugin …` in a folder, towards a gateway on this port.
async fn plugin(dir: &Path, port: u16, arguments: &[&str]) -> Result<Output> {
    let mut command = Command::new(demo_binary()?);
    command.arg("plugin").args(arguments).current_dir(dir).env_clear();
    command.env("WHATSAPP_URL", "ws://127.0.0.1:9/");
    command.env("DATA_DIR", dir.join("data")).env("PORT", port.to_string()).env("WAGATE_PASSWORD", PASSWORD);
    Ok(command.output().await?)
}

async fn said(dir: &Path, port: u16, arguments: &[&str]) -> Result<String> {
    let output = plugin(dir, port, arguments).await?;
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{arguments:?}: {complaint}");
    Ok(String::from_utf8(output.stdout)?)
}

async fn complaint(dir: &Path, port: u16, arguments: &[&str]) -> Result<String> {
    let output = plugin(dir, port, arguments).await?;
    ensure!(!output.status.success(), "{arguments:?} went well");
    Ok(String::from_utf8(output.stderr)?)
}

#[tokio::test]
async fn checks_and_runs_a_plugin_without_a_gateway() -> Result<()> {
    let dir = TempDir::new()?;
    std::fs::write(dir.path().join("small.wasm"), filter(&DROP)?)?;
    std::fs::write(dir.path().join("core.wasm"), wat::parse_str("(module)")?)?;
    std::fs::write(dir.path().join("message.json"), json!({ "text": "hello" }).to_string())?;
    let report = said(dir.path(), 9, &["check", "small.wasm"]).await?;
    assert!(report.contains("message-filter") && report.contains("small 1.0.0"), "{report}");
    let tried = said(dir.path(), 9, &["run", "small.wasm", "--message", "message.json"]).await?;
    assert!(tried.contains("message-filter → drop") && tried.contains("dropped: spam"), "{tried}");
    let refused = complaint(dir.path(), 9, &["check", "core.wasm"]).await?;
    assert!(refused.contains("core WebAssembly module"), "{refused}");
    let missing = complaint(dir.path(), 9, &["check", "nothing.wasm"]).await?;
    assert!(missing.contains("nothing.wasm cannot be read"), "{missing}");
    let alone = complaint(dir.path(), 9, &["list"]).await?;
    assert!(alone.contains("no gateway runs"), "{alone}");
    assert!(!dir.path().join("data").exists(), "nothing is left behind");
    Ok(())
}

#[tokio::test]
async fn installs_lists_switches_and_rolls_back() -> Result<()> {
    let network = Network::start(NetworkConfig::default()).await?;
    let (dir, data) = (TempDir::new()?, TempDir::new()?);
    let gateway = Setup::new(&demo_binary()?, data.path(), &network.ws_url())?.start().await?;
    let port = gateway.base().rsplit(':').next().unwrap_or_default().parse()?;
    let dir = dir.path();
    std::fs::write(dir.join("small.wasm"), filter(&Verdict::Pass)?)?;
    std::fs::write(dir.join("other.wasm"), filter(&DROP)?)?;
    std::fs::write(dir.join("config.json"), "{}")?;
    let install =
        ["install", "mine", "small.wasm", "--grant", "log", "--configuration", "config.json", "--policy", "park"];
    let id = said(dir, port, &install).await?;
    assert!(id.starts_with("plg_"), "{id}");
    let taken = complaint(dir, port, &["install", "mine", "small.wasm"]).await?;
    assert!(taken.contains("you have a plugin called mine"), "{taken}");
    std::fs::write(dir.join("keeper.wasm"), keeper()?)?;
    let ungranted = complaint(dir, port, &["install", "keeper", "keeper.wasm", "--grant", "kv"]).await?;
    assert!(ungranted.contains("outbox@1.0.0, which needs the grant outbox.reply"), "{ungranted}");
    said(dir, port, &["install", "keeper", "keeper.wasm", "--accept-ungranted", "--unbound"]).await?;
    said(dir, port, &["update", "mine", "other.wasm"]).await?;
    said(dir, port, &["disable", "mine"]).await?;
    let listed = said(dir, port, &["list"]).await?;
    let row = listed.lines().find(|row| row.contains("mine")).unwrap_or_default();
    assert!(row.contains("2 (1.0.0)") && row.contains(" off ") && row.contains("all sessions"), "{listed}");
    assert!(said(dir, port, &["rollback", "mine"]).await?.contains("runs version 1"));
    said(dir, port, &["enable", id.trim()]).await?;
    assert_eq!(said(dir, port, &["logs", "mine"]).await?, "");
    said(dir, port, &["remove", "mine"]).await?;
    let gone = complaint(dir, port, &["logs", "mine"]).await?;
    assert!(gone.contains("there is no plugin mine"), "{gone}");
    gateway.kill().await?;
    network.stop().await;
    Ok(())
}
