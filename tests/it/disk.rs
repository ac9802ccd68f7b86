//! SQLite on a disk that is full, or that fails to keep what it took: nothing is acknowledged, nothing is lost, and when
//! the disk is sound again the gateway goes on by itself.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use tempfile::TempDir;
use wagate_simulator::{Network, NetworkConfig};
use wagate_tests::api::PATIENCE;
use wagate_tests::disk::Disk;
use wagate_tests::process::{Setup, demo_binary};
use wagate_tests::receiver::Receiver;

#[tokio::test]
async fn a_full_disk_acknowledges_nothing_and_loses_nothing() -> Result<()> {
    survives(Disk::fill).await
}

#[tokio::test]
async fn a_disk_that_fails_to_flush_acknowledges_nothing_and_loses_nothing() -> Result<()> {
    survives(Disk::spoil).await
}

async fn survives(fault: fn(&Disk) -> Result<()>) -> Result<()> {
    let network = Network::start(NetworkConfig::default()).await?;
    let (account, friend) = (network.add_phone("Account"), network.add_phone("Friend"));
    let (disk, data, hook) = (Disk::new()?, TempDir::new()?, Receiver::start().await?);
    let setup = disk.under(Setup::new(&demo_binary()?, data.path(), &network.ws_url())?);
    let mut gateway = setup.start().await?;
    let api = gateway.login().await?;
    let id = api.link(&account, Some(&hook.url())).await?;
    friend.send_text(account.number(), "before").await?;
    hook.wait_for(1, PATIENCE).await?;
    // Lets the rows that follow a delivery be written.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(account.unacked_messages(), 0);

    fault(&disk)?;
    gateway.wait_unready().await?;
    friend.send_text(account.number(), "during").await?;
    friend.send_text(account.number(), "during, too").await?;
    let body = json!({ "recipient": friend.number(), "message": "out" });
    let (status, answer) = api.post(&format!("/api/sessions/{id}/send"), body).await?;
    assert!(status.is_server_error(), "{status} {answer}");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!((hook.count(), account.unacked_messages()), (1, 2), "acknowledged without being stored");
    assert!(friend.inbox().is_empty(), "sent without being stored");

    disk.mend()?;
    gateway.wait_ready().await?;
    assert_eq!(texts(&hook, 3).await?, ["before", "during", "during, too"]);
    // What was acknowledged survives the next fault: the process is killed, and the file is whole.
    gateway.kill().await?;
    let gateway = setup.start().await?;
    let api = gateway.login().await?;
    api.wait_connected(&id).await?;
    friend.send_text(account.number(), "after").await?;
    assert_eq!(texts(&hook, 4).await?, ["after", "before", "during", "during, too"]);
    gateway.kill().await?;
    network.stop().await;
    Ok(())
}

/// The texts that came, each once, when there are `count` of them.
async fn texts(hook: &Receiver, count: usize) -> Result<Vec<String>> {
    let begun = tokio::time::Instant::now();
    loop {
        let mut texts = Vec::new();
        for request in hook.requests() {
            texts.push(request.json()?["message"]["message"].as_str().unwrap_or_default().to_owned());
        }
        texts.sort();
        texts.dedup();
        if texts.len() >= count || begun.elapsed() > PATIENCE {
            return Ok(texts);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
