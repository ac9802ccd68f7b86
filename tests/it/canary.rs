//! What must never be written down in the clear: looked for in the log of a gateway that linked, sent and received, in
//! its folder, and in the raw files of its engine.

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use tempfile::TempDir;
use wagate_simulator::{Network, NetworkConfig};
use wagate_tests::api::{PASSWORD, PATIENCE};
use wagate_tests::database::Database;
use wagate_tests::engine::Engine;
use wagate_tests::haystack;
use wagate_tests::process::{Setup, demo_binary};
use wagate_tests::receiver::Receiver;

const RECEIVED: &str = "canary that flew in";
const SENT: &str = "canary that flew out";

#[tokio::test]
async fn neither_log_nor_database_gives_a_secret_away() -> Result<()> {
    let network = Network::start(NetworkConfig::default()).await?;
    let (account, friend) = (network.add_phone("Account"), network.add_phone("Friend"));
    let (data, hook) = (TempDir::new()?, Receiver::start().await?);
    let database = Database::apart(Engine::of_run()?).await?;
    let setup = Setup::new(&demo_binary()?, data.path(), &network.ws_url())?.on(&database);
    let gateway = setup.start().await?;
    let api = gateway.login().await?;
    let id = api.create_session("Support", Some(&hook.url())).await?;
    api.connect(&id).await?;
    let qr = api.qr(&id).await?;
    account.scan(&qr).await?;
    api.wait_connected(&id).await?;
    friend.send_text(account.number(), RECEIVED).await?;
    hook.wait_for(1, PATIENCE).await?;
    api.send_text(&id, friend.number(), SENT).await?;
    // Failures are logged, too, and must say as little.
    api.post(&format!("/api/sessions/{id}/send"), json!({ "recipient": "6281381393739", "message": SENT })).await?;
    network.faults().refuse_sends(account.number(), 463, 1);
    api.post(&format!("/api/sessions/{id}/send"), json!({ "recipient": friend.number(), "message": SENT })).await?;
    network.faults().drop_sockets(account.number());
    api.wait_state(&id, "connecting").await?;
    api.wait_connected(&id).await?;
    let (_, webhook) = api.get(&format!("/api/sessions/{id}/webhook")).await?;
    let secret = webhook["secret"].as_str().context("no secret")?.to_owned();
    gateway.kill().await?;

    let log = setup.log()?;
    assert!(log.contains(&id), "the log is not where it is looked for: {log}");
    let adv_secret = qr.split(',').nth(3).context("no secret in the QR text")?;
    let never_logged = [
        api.token(),
        PASSWORD,
        account.number(),
        friend.number(),
        "6281381393739",
        account.lid(),
        friend.lid(),
        RECEIVED,
        SENT,
        &secret,
        &qr,
        adv_secret,
    ];
    for text in never_logged {
        assert!(!log.contains(text), "the log holds {text}:\n{log}");
    }

    let key = STANDARD.decode(secret.strip_prefix("whsec_").context("not a Standard Webhooks secret")?)?;
    let adv_key = STANDARD.decode(adv_secret)?;
    let needles: [(&str, &[u8]); 8] = [
        ("the session", id.as_bytes()),
        ("the webhook secret", secret.as_bytes()),
        ("the webhook secret without its prefix", &secret.as_bytes()[6..]),
        ("the webhook key", &key),
        ("the linking secret", &adv_key),
        ("the linking secret in base64", adv_secret.as_bytes()),
        ("the password", PASSWORD.as_bytes()),
        ("the token", api.token().as_bytes()),
    ];
    let file = data.path().join("wagate.db");
    let (mut found, _) = haystack::find(database.folder(&file)?, &needles)?;
    assert!(found.iter().any(|(_, what)| what == "the session"), "the search finds what is there");
    found.extend(haystack::find(data.path(), &needles)?.0);
    let log = data.path().join("log");
    found.retain(|(path, what)| what != "the session" && *path != log);
    assert!(found.is_empty(), "{found:?}");
    Ok(())
}

#[tokio::test]
async fn the_files_of_the_data_folder_are_for_their_owner_only() -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let network = Network::start(NetworkConfig::default()).await?;
    let data = TempDir::new()?;
    let setup = Setup::new(&demo_binary()?, data.path(), &network.ws_url())?;
    let gateway = setup.start().await?;
    gateway.login().await?.create_session("Support", None).await?;
    for entry in std::fs::read_dir(data.path())? {
        let entry = entry?;
        let mode = entry.metadata()?.permissions().mode() & 0o077;
        let name = entry.file_name().to_string_lossy().into_owned();
        assert!(mode == 0 || name == "log", "{name} is open to others: {mode:o}");
    }
    gateway.kill().await?;
    Ok(())
}
