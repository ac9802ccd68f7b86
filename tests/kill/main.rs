//! Kill test: numbered messages from simulated phones while the gateway is killed with SIGKILL at random moments and
//! started again, with a plugin on the path that answers each. Every message must reach the webhook as the plugin wants
//! it, what comes twice must be the same to the byte, and every message must be answered once.
//!
//! `make test` runs it with the default numbers, `make bench BENCH=kill` in release; or set `KILLS` and `MESSAGES` of your own.

mod found;
mod plugin;

use std::time::Duration;

use anyhow::{Result, ensure};
use rand::RngExt as _;
use reqwest::StatusCode;
use serde_json::json;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};
use wagate_simulator::{Network, NetworkConfig, Phone};
use wagate_tests::api::Api;
use wagate_tests::process::{Process, Setup, demo_binary};
use wagate_tests::receiver::Receiver;

use self::found::Found;

/// How long nothing of what is missing may arrive, after the last kill, before it is given up.
const STANDSTILL: Duration = Duration::from_mins(1);
/// How long a kill waits for an answer on its way.
const TARGET: Duration = Duration::from_secs(10);
/// Phones that write. The answers of one chat go out one after the other.
const SENDERS: usize = 16;

#[tokio::main]
async fn main() -> Result<()> {
    let number = |name: &str, default: usize| std::env::var(name).map_or(Ok(default), |text| text.parse());
    let (kills, messages) = (number("KILLS", 25)?, number("MESSAGES", 5000)?);
    let found = run(kills, messages).await?;
    found.print(kills);
    found.judge()
}

async fn run(kills: usize, messages: usize) -> Result<Found> {
    let network = Network::start(NetworkConfig::default()).await?;
    let receiver = Receiver::start().await?;
    let data = TempDir::new()?;
    let setup = Setup::new(&demo_binary()?, data.path(), &network.ws_url())?;
    let account = network.add_phone("Account");
    let senders: Vec<_> = (0..SENDERS).map(|n| network.add_phone(&format!("Sender {n}"))).collect();
    let gateway = setup.start().await?;
    let api = gateway.login().await?;
    let session = api.link(&account, Some(&receiver.url())).await?;
    prepare(&api, &session, &receiver).await?;

    let writing = tokio::spawn(write(senders.clone(), account.number().to_owned(), messages, kills));
    let gateway = kill_again_and_again(gateway, &setup, kills, &senders).await?;
    writing.await??;
    let count = || Found::count(&receiver.requests(), &senders, messages);
    let (mut missing, mut since) = (usize::MAX, Instant::now());
    while missing > 0 && since.elapsed() < STANDSTILL {
        sleep(Duration::from_millis(250)).await;
        let now = count()?.missing();
        if now < missing {
            (missing, since) = (now, Instant::now());
        }
    }
    // Late duplicates count too.
    sleep(Duration::from_secs(2)).await;
    let found = count()?;
    gateway.kill().await?;
    network.stop().await;
    Ok(found)
}

/// Puts the plugin on the path, and an endpoint beside the one it routes to.
async fn prepare(api: &Api, session: &str, receiver: &Receiver) -> Result<()> {
    let aside = json!({ "name": "aside", "url": receiver.url_of("/aside") });
    let (status, answer) = api.post(&format!("/api/sessions/{session}/endpoints"), aside).await?;
    ensure!(status == StatusCode::CREATED, "no endpoint: {status} {answer}");
    let plugin = api.install_plugin("answers", plugin::component()?, plugin::GRANTS).await?;
    // Time enough on a busy machine: a call that is ended would go on without an answer.
    let limits = json!({ "cpu_ms": 1_000, "wall_ms": 30_000 });
    api.bind_plugin(&plugin, json!({ "session_id": session, "limits": limits })).await
}

/// Sends at a steady rate that lasts about as long as the kills take, so that kills meet messages everywhere.
async fn write(phones: Vec<Phone>, to: String, messages: usize, kills: usize) -> Result<()> {
    let span = Duration::from_secs(2) * u32::try_from(kills)?;
    let every = span / u32::try_from(messages)?;
    let began = Instant::now();
    for (n, phone) in (0..messages).zip(phones.iter().cycle()) {
        tokio::time::sleep_until(began + every * u32::try_from(n)?).await;
        phone.send_text(&to, &text(n)).await?;
    }
    Ok(())
}

/// What the message of this number says.
fn text(n: usize) -> String {
    format!("message {n}")
}

/// Every other kill lets answers come first, so that some are on their way.
async fn kill_again_and_again(mut gateway: Process, setup: &Setup, kills: usize, phones: &[Phone]) -> Result<Process> {
    for n in 0..kills {
        let moment = if n % 2 == 0 { 2_000 } else { 200 };
        if n % 2 == 1 {
            an_answer(phones).await;
        }
        sleep(Duration::from_millis(rand::rng().random_range(0..moment))).await;
        gateway.kill().await?;
        gateway = setup.start().await?;
    }
    Ok(gateway)
}

/// Waits until one more answer came, if any comes soon.
async fn an_answer(phones: &[Phone]) {
    let answers = || phones.iter().map(|phone| phone.inbox().len()).sum::<usize>();
    let (before, began) = (answers(), Instant::now());
    while answers() == before && began.elapsed() < TARGET {
        sleep(Duration::from_millis(20)).await;
    }
}
