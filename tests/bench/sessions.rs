//! What an idle linked session costs: resident memory of the gateway at 0 and at `SESSIONS` (300), and its processor
//! time over 30 s. The simulator runs in a process of its own.

use std::time::Duration;

use anyhow::{Context as _, Result};
use tempfile::TempDir;
use tokio::time::sleep;
use wagate_tests::figures::{cpu_s, figure, rss_mib};
use wagate_tests::process::{Setup, demo_binary};
use wagate_tests::simulator::Simulator;

/// Time to let first logins, prekey uploads and freed memory settle.
const SETTLE: Duration = Duration::from_secs(15);
const IDLE: Duration = Duration::from_secs(30);

#[tokio::main]
async fn main() -> Result<()> {
    let sessions: u32 = std::env::var("SESSIONS").map_or(Ok(300), |text| text.parse())?;
    let simulator = Simulator::start().await?;
    let data = TempDir::new()?;
    let gateway = Setup::new(&demo_binary()?, data.path(), &simulator.ws_url())?.start().await?;
    let pid = gateway.id().context("the gateway is gone")?;
    let api = gateway.login().await?;
    sleep(Duration::from_secs(3)).await;
    let base = rss_mib(pid)?;

    let numbers = simulator.phones(sessions as usize).await?;
    simulator.link_all(&api, &numbers, None).await?;
    sleep(SETTLE).await;
    let linked = rss_mib(pid)?;
    let used = cpu_s(pid)?;
    sleep(IDLE).await;
    let idle = cpu_s(pid)? - used;

    figure("sessions.count", sessions, "count");
    figure("sessions.rss_base_mib", format!("{base:.1}"), "MiB");
    figure("sessions.rss_linked_mib", format!("{linked:.1}"), "MiB");
    figure("sessions.rss_per_session_mib", format!("{:.3}", (linked - base) / f64::from(sessions)), "MiB");
    figure("sessions.cpu_s_per_30s", format!("{idle:.2}"), "s");
    restarted(gateway, data, &simulator, sessions, base).await
}

/// The same after a restart, when nothing of the first logins lingers.
async fn restarted(
    gateway: wagate_tests::process::Process,
    data: TempDir,
    simulator: &Simulator,
    sessions: u32,
    base: f64,
) -> Result<()> {
    gateway.kill().await?;
    let gateway = Setup::new(&demo_binary()?, data.path(), &simulator.ws_url())?.start().await?;
    let pid = gateway.id().context("the gateway is gone")?;
    let api = gateway.login().await?;
    let (_, all) = api.get("/api/sessions").await?;
    for session in all.as_array().context("no list")? {
        api.wait_connected(session["id"].as_str().context("no id")?).await?;
    }
    sleep(SETTLE).await;
    let linked = rss_mib(pid)?;
    figure("sessions.restarted_rss_per_session_mib", format!("{:.3}", (linked - base) / f64::from(sessions)), "MiB");
    Ok(())
}
