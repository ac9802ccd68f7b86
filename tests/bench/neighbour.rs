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
/// A quiet stretch and a busy one in turn, so often, because the machine's own speed changes while it is measured. The
/// ratio is the median of the rounds' own.
const ROUNDS: usize = 5;
/// Messages each friend writes in a stretch.
const PACED: usize = 20;
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
    let mut noisy = SPINNERS * ROUND;
    aside.wait_for(noisy, Duration::from_mins(1)).await?;

    let (mut quiet, mut busy) = (Stretches::default(), Stretches::default());
    let mut spun = 0;
    for _ in 0..ROUNDS {
        quiet.measure(pid, paced(&simulator, friends, good, &receiver)).await?;
        let noise = async {
            let count = PACED / PACE as usize * SPIN_PACE as usize + (LEAD * SPIN_PACE) as usize * 2;
            let count = count.next_multiple_of(ROUND);
            let writing = writers.iter().zip(accounts).map(|(writer, account)| {
                simulator.write(writer, std::slice::from_ref(account), count, Some(SPIN_PACE))
            });
            try_join_all(writing).await?;
            Ok(count)
        };
        let measured = async {
            sleep(Duration::from_secs(LEAD.into())).await;
            let before = spins(&plugins).await?;
            busy.measure(pid, paced(&simulator, friends, good, &receiver)).await?;
            anyhow::Ok(spins(&plugins).await? - before)
        };
        let (written, spins) = tokio::try_join!(noise, measured)?;
        spun += spins;
        noisy += SPINNERS * written;
        // The next stretch is quiet only when all of them have been spun through.
        aside.wait_for(noisy, Duration::from_mins(2)).await?;
    }

    let mut ratios: Vec<f64> =
        busy.p99s.iter().zip(&quiet.p99s).map(|(busy, quiet)| busy.as_secs_f64() / quiet.as_secs_f64()).collect();
    ratios.sort_by(f64::total_cmp);
    figure("neighbour.spins", spun, "count");
    figure("neighbour.quiet_cpu_s", format!("{:.1}", quiet.cpu_s), "s");
    figure("neighbour.busy_cpu_s", format!("{:.1}", busy.cpu_s), "s");
    figure("neighbour.quiet_p50_ms", ms(quantile(&mut quiet.ways, 0.50)), "ms");
    figure("neighbour.quiet_p99_ms", ms(quantile(&mut quiet.p99s, 0.50)), "ms");
    figure("neighbour.busy_p50_ms", ms(quantile(&mut busy.ways, 0.50)), "ms");
    figure("neighbour.busy_p99_ms", ms(quantile(&mut busy.p99s, 0.50)), "ms");
    figure("neighbour.ratio_least", format!("{:.2}", ratios.first().context("no rounds")?), "x");
    figure("neighbour.ratio_most", format!("{:.2}", ratios.last().context("no rounds")?), "x");
    figure("neighbour.ratio", format!("{:.2}", ratios.get(ROUNDS / 2).context("no rounds")?), "x");
    Ok(())
}

/// What was measured in stretches of one kind.
#[derive(Default)]
struct Stretches {
    ways: Vec<Duration>,
    p99s: Vec<Duration>,
    cpu_s: f64,
}

impl Stretches {
    async fn measure(&mut self, pid: u32, stretch: impl Future<Output = Result<Vec<Duration>>>) -> Result<()> {
        let used = cpu_s(pid)?;
        let mut ways = stretch.await?;
        self.p99s.push(quantile(&mut ways, 0.99));
        self.ways.extend(ways);
        self.cpu_s += cpu_s(pid)? - used;
        Ok(())
    }
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
