//! What a good plugin's messages suffer from plugins that run in circles: the way from a phone to the webhook past
//! `keyword-router`, quiet, and while eight others spin to their limit. Seven of those belong to another user.
//!
//! Gateway and simulator run in processes of their own, on the same cores.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::sleep;
use wagate_tests::api::Api;
use wagate_tests::catalog::keyword_router;
use wagate_tests::component::{Verdict, Wat};
use wagate_tests::figures::{cpu_s, figure, ms, quantile};
use wagate_tests::process::{Setup, demo_binary};
use wagate_tests::receiver::Receiver;
use wagate_tests::simulator::{Clocks, Simulator};

/// Who writes to the good account, each at a rate: 20 messages a second together.
const FRIENDS: usize = 20;
const PACE: u32 = 1;
/// Messages each friend writes while it is measured.
const PACED: usize = 60;
/// Sessions with a plugin that spins, and those of them that belong to the good one's own user.
const SPINNERS: usize = 8;
const OWN: usize = 1;
/// What is written to each of them: more than can be spun through, so that all eight are at it all the time.
const SPIN_PACE: u32 = 4;
/// The plugin spins at all messages of a round but the last: five failures in a row would suspend it.
const ROUND: usize = 5;
/// Seconds before it is measured, until all spin, and as many after it.
const LEAD: u32 = 3;

#[tokio::main]
async fn main() -> Result<()> {
    let simulator = Simulator::start().await?;
    let (receiver, aside) = (Receiver::start().await?, Receiver::start().await?);
    let data = TempDir::new()?;
    let gateway = Setup::new(&demo_binary()?, data.path(), &simulator.ws_url())?.start().await?;
    let pid = gateway.id().context("the gateway is gone")?;
    let admin = gateway.login().await?;
    let other = admin.user("other").await?;
    let numbers = simulator.phones(1 + FRIENDS + 2 * SPINNERS).await?;
    let (good, others) = numbers.split_at(1);
    let (friends, others) = others.split_at(FRIENDS);
    let (accounts, writers) = others.split_at(SPINNERS);
    simulator.link_all(&admin, good, Some(&receiver.url())).await?;
    keyword_router(&admin).await?;
    let spinning = [(&admin, &accounts[..OWN]), (&other, &accounts[OWN..])];
    let mut plugins = Vec::new();
    for (api, accounts) in spinning {
        plugins.push((api, spinner(api, &simulator, accounts, &aside).await?));
    }
    // First contact costs a key exchange each; it is not what is measured.
    for friend in friends {
        simulator.write(friend, good, 1, None).await?;
    }
    for (writer, account) in writers.iter().zip(accounts) {
        simulator.write(writer, std::slice::from_ref(account), ROUND, None).await?;
    }
    receiver.wait_for(FRIENDS, Duration::from_mins(1)).await?;
    aside.wait_for(SPINNERS * ROUND, Duration::from_mins(1)).await?;

    let used = cpu_s(pid)?;
    let mut quiet = paced(&simulator, friends, good, &receiver).await?;
    let quiet_cpu = cpu_s(pid)? - used;
    let noise = async {
        let count = PACED / PACE as usize * SPIN_PACE as usize + (LEAD * SPIN_PACE) as usize * 2;
        let writing = writers.iter().zip(accounts);
        let writing = writing
            .map(|(writer, account)| simulator.write(writer, std::slice::from_ref(account), count, Some(SPIN_PACE)));
        try_join_all(writing).await
    };
    let measured = async {
        sleep(Duration::from_secs(LEAD.into())).await;
        let (spun, used) = (spins(&plugins).await?, cpu_s(pid)?);
        let busy = paced(&simulator, friends, good, &receiver).await?;
        anyhow::Ok((busy, spins(&plugins).await? - spun, cpu_s(pid)? - used))
    };
    let (_, (mut busy, spun, busy_cpu)) = tokio::try_join!(noise, measured)?;

    let [quiet_p99, busy_p99] = [&mut quiet, &mut busy].map(|ways| quantile(ways, 0.99));
    figure("neighbour.spins", spun, "count");
    figure("neighbour.quiet_cpu_s", format!("{quiet_cpu:.1}"), "s");
    figure("neighbour.busy_cpu_s", format!("{busy_cpu:.1}"), "s");
    figure("neighbour.quiet_p50_ms", ms(quantile(&mut quiet, 0.50)), "ms");
    figure("neighbour.quiet_p99_ms", ms(quiet_p99), "ms");
    figure("neighbour.busy_p50_ms", ms(quantile(&mut busy, 0.50)), "ms");
    figure("neighbour.busy_p99_ms", ms(busy_p99), "ms");
    figure("neighbour.ratio", format!("{:.2}", busy_p99.as_secs_f64() / quiet_p99.as_secs_f64()), "x");
    Ok(())
}

/// Links accounts of a user and binds to each the plugin that spins; answers the plugin's id.
async fn spinner(api: &Api, simulator: &Simulator, accounts: &[String], hook: &Receiver) -> Result<String> {
    let plugin = api.install_plugin("spinner", spinning()?, &[]).await?;
    for session in simulator.link_all(api, accounts, Some(&hook.url())).await? {
        api.bind_plugin(&plugin, json!({ "session_id": session, "position": 10 })).await?;
    }
    Ok(plugin)
}

/// A filter that runs in circles until it is stopped, but for the last message of a [`ROUND`]. It reads the last digit of
/// the number in `message N …`.
fn spinning() -> Result<Vec<u8>> {
    let mut wat = Wat::new("spinner");
    let pass = wat.verdict(&Verdict::Pass);
    wat.on_message(&format!(
        "(local.set $a (i32.add (i32.load offset=128 (local.get $args)) (i32.const {number})))
         (loop $digits
             (local.set $b (i32.load8_u (local.get $a)))
             (local.set $a (i32.add (local.get $a) (i32.const 1)))
             (br_if $digits (i32.ne (i32.load8_u (local.get $a)) (i32.const 32))))
         (if (i32.ne (i32.const {last}) (i32.rem_u (i32.sub (local.get $b) (i32.const 48)) (i32.const {ROUND})))
             (then (loop $spin (br $spin))))
         (i32.const {pass})",
        number = "message ".len(),
        last = ROUND - 1,
    ))
    .build()
}

/// How often they were stopped. None of them is suspended.
async fn spins(plugins: &[(&Api, String)]) -> Result<u64> {
    let mut spins = 0;
    for (api, plugin) in plugins {
        let (_, plugin) = api.get(&format!("/api/plugins/{plugin}")).await?;
        let health = &plugin["health"];
        ensure!(health["suspended_until"] == Value::Null, "it is suspended: {health}");
        spins += health["failures"].as_u64().context("no failures")?;
    }
    Ok(spins)
}

/// The friends write, one after the other within their pace; how long each message was on its way.
async fn paced(simulator: &Simulator, friends: &[String], to: &[String], receiver: &Receiver) -> Result<Vec<Duration>> {
    let (clocks, before) = (Clocks::read()?, receiver.count());
    let apart = Duration::from_secs(1) / PACE / u32::try_from(friends.len())?;
    let writing = (0..).zip(friends).map(|(nth, friend)| async move {
        sleep(apart * nth).await;
        simulator.write(friend, to, PACED, Some(PACE)).await
    });
    try_join_all(writing).await?;
    let requests = receiver.wait_for(before + friends.len() * PACED, Duration::from_mins(2)).await?;
    let paced = requests.get(before..).context("too few webhooks")?;
    paced.iter().map(|request| clocks.way(request)).collect()
}
