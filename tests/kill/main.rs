//! Kill test: numbered messages from a simulated phone while the gateway is killed with SIGKILL at random moments and
//! started again. Every message must reach the webhook; what comes twice must be the same to the byte.
//!
//! `make test` runs it with the default numbers, `make bench BENCH=kill` in release; or set `KILLS` and `MESSAGES` of your own.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rand::RngExt as _;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};
use wagate_simulator::{Network, NetworkConfig, Phone};
use wagate_tests::figures::figure;
use wagate_tests::process::{Process, Setup, demo_binary};
use wagate_tests::receiver::{Receiver, Recorded};

/// How long the last messages may take after the last kill.
const CATCH_UP: Duration = Duration::from_mins(3);

#[tokio::main]
async fn main() -> Result<()> {
    let number = |name: &str, default: usize| std::env::var(name).map_or(Ok(default), |text| text.parse());
    let (kills, messages) = (number("KILLS", 25)?, number("MESSAGES", 5000)?);
    let found = run(kills, messages).await?;
    found.print(kills);
    ensure!(found.lost == 0, "{} messages were lost", found.lost);
    ensure!(found.unequal == 0, "{} duplicates differ from their first", found.unequal);
    Ok(())
}

async fn run(kills: usize, messages: usize) -> Result<Found> {
    let network = Network::start(NetworkConfig::default()).await?;
    let receiver = Receiver::start().await?;
    let data = TempDir::new()?;
    let setup = Setup::new(&demo_binary()?, data.path(), &network.ws_url())?;
    let (account, sender) = (network.add_phone("Account"), network.add_phone("Sender"));
    let gateway = setup.start().await?;
    gateway.login().await?.link(&account, Some(&receiver.url())).await?;

    let writing = tokio::spawn(write(sender, account.number().to_owned(), messages, kills));
    let gateway = kill_again_and_again(gateway, &setup, kills).await?;
    writing.await??;
    let sent_all = Instant::now();
    let mut found = judge(&receiver.requests(), messages)?;
    while found.lost > 0 && sent_all.elapsed() < CATCH_UP {
        sleep(Duration::from_millis(250)).await;
        found = judge(&receiver.requests(), messages)?;
    }
    // Late duplicates count too.
    sleep(Duration::from_secs(2)).await;
    let found = judge(&receiver.requests(), messages)?;
    gateway.kill().await?;
    network.stop().await;
    Ok(found)
}

/// Sends at a steady rate that lasts about as long as the kills take, so that kills meet messages everywhere.
async fn write(phone: Phone, to: String, messages: usize, kills: usize) -> Result<()> {
    let span = Duration::from_secs(2) * u32::try_from(kills)?;
    let every = span / u32::try_from(messages)?;
    let began = Instant::now();
    for n in 0..messages {
        tokio::time::sleep_until(began + every * u32::try_from(n)?).await;
        phone.send_text(&to, &format!("message {n}")).await?;
    }
    Ok(())
}

async fn kill_again_and_again(mut gateway: Process, setup: &Setup, kills: usize) -> Result<Process> {
    for _ in 0..kills {
        let moment = rand::rng().random_range(0..2_000);
        sleep(Duration::from_millis(moment)).await;
        gateway.kill().await?;
        gateway = setup.start().await?;
    }
    Ok(gateway)
}

/// What the receiver saw.
#[derive(Debug, Default)]
struct Found {
    messages: usize,
    lost: usize,
    duplicates: usize,
    unequal: usize,
}

impl Found {
    fn print(&self, kills: usize) {
        figure("kill.kills", kills, "count");
        figure("kill.messages", self.messages, "count");
        figure("kill.lost", self.lost, "count");
        figure("kill.duplicates", self.duplicates, "count");
        figure("kill.duplicates_unequal", self.unequal, "count");
    }
}

fn judge(requests: &[Recorded], messages: usize) -> Result<Found> {
    let mut first: HashMap<String, &Recorded> = HashMap::new();
    let mut found = Found { messages, ..Found::default() };
    for request in requests {
        let body = request.json()?;
        let text = body["message"]["message"].as_str().context("a webhook without a message")?.to_owned();
        match first.get(&text) {
            None => drop(first.insert(text, request)),
            Some(earlier) => {
                found.duplicates += 1;
                found.unequal += usize::from(earlier.id() != request.id() || earlier.body != request.body);
            }
        }
    }
    found.lost = (0..messages).filter(|n| !first.contains_key(&format!("message {n}"))).count();
    Ok(found)
}
