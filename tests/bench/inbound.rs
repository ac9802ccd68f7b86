//! How fast messages come in: stored and acknowledged per second over 50 sessions, and the way from a phone's send to
//! the webhook at 100 messages a second, with the plugin `forward` alone on it and with `keyword-router` besides. Gateway
//! and simulator run in processes of their own, on the same cores.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;
use tempfile::TempDir;
use tokio::time::sleep;
use wagate_tests::catalog::keyword_router;
use wagate_tests::figures::{figure, ms, per_s, quantile};
use wagate_tests::process::{Setup, demo_binary};
use wagate_tests::receiver::Receiver;
use wagate_tests::simulator::{Clocks, Simulator};

const SESSIONS: usize = 50;
const WRITERS: usize = 10;
/// Messages of the throughput part, all writers together.
const FLOOD: usize = 10_000;
/// Messages of the latency part, at [`PACE`] a second.
const PACED: usize = 2_000;
const PACE: u32 = 100;

#[tokio::main]
async fn main() -> Result<()> {
    let simulator = Simulator::start().await?;
    let receiver = Receiver::start().await?;
    let data = TempDir::new()?;
    let gateway = Setup::new(&demo_binary()?, data.path(), &simulator.ws_url())?.start().await?;
    let api = gateway.login().await?;
    let numbers = simulator.phones(SESSIONS + WRITERS).await?;
    let (accounts, writers) = numbers.split_at(SESSIONS);
    simulator.link_all(&api, accounts, Some(&receiver.url())).await?;
    // First contact costs a key exchange each; it is not what is measured.
    for writer in writers {
        simulator.write(writer, accounts, SESSIONS, None).await?;
    }
    let mut expected = SESSIONS * WRITERS;
    receiver.wait_for(expected, Duration::from_mins(1)).await?;

    let stored = flood(&simulator, writers, accounts).await?;
    expected += FLOOD;
    receiver.wait_for(expected, Duration::from_mins(2)).await?;
    sleep(Duration::from_secs(2)).await;

    let writer = writers.first().context("no writer")?;
    let mut forwarded = paced(&simulator, writer, accounts, &receiver).await?;
    keyword_router(&api).await?;
    let mut routed = paced(&simulator, writer, accounts, &receiver).await?;

    figure("inbound.stored_per_s", stored, "messages/s");
    figure("inbound.p50_ms", ms(quantile(&mut forwarded, 0.50)), "ms");
    figure("inbound.p99_ms", ms(quantile(&mut forwarded, 0.99)), "ms");
    figure("inbound.router_p50_ms", ms(quantile(&mut routed, 0.50)), "ms");
    figure("inbound.router_p99_ms", ms(quantile(&mut routed, 0.99)), "ms");
    Ok(())
}

/// One phone writes to all accounts at [`PACE`]; how long each message was on its way.
async fn paced(simulator: &Simulator, writer: &str, accounts: &[String], receiver: &Receiver) -> Result<Vec<Duration>> {
    let (clocks, before) = (Clocks::read()?, receiver.count());
    simulator.write(writer, accounts, PACED, Some(PACE)).await?;
    let requests = receiver.wait_for(before + PACED, Duration::from_mins(1)).await?;
    let paced = requests.get(before..).context("too few webhooks")?;
    paced.iter().map(|request| clocks.way(request)).collect()
}

/// Everybody writes as fast as it goes; it ends when the last message is acknowledged.
async fn flood(simulator: &Simulator, writers: &[String], accounts: &[String]) -> Result<String> {
    let began = Instant::now();
    try_join_all(writers.iter().map(|writer| simulator.write(writer, accounts, FLOOD / WRITERS, None))).await?;
    while simulator.unacked().await? > 0 {
        ensure!(began.elapsed() < Duration::from_mins(5), "messages stayed unacknowledged");
        sleep(Duration::from_millis(10)).await;
    }
    Ok(per_s(FLOOD, began.elapsed()))
}
