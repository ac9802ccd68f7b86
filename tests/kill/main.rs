//! Kill test: numbered messages from simulated phones while the gateway is killed with SIGKILL at random moments and
//! started again, with a plugin on the path that answers each and a receiver that holds its answers, so that kills meet
//! deliveries in flight. Every message must reach the webhook as the plugin wants it; only what was in flight at a kill
//! may come twice, the same to the byte; in the end every delivery is written down as delivered by one attempt; and every
//! message must be answered once.
//!
//! `--engine postgres` or `--engine mysql` puts a server of its own under the gateway; with `--server` it is that server
//! which is killed and started again, while the gateway lives. `make test` runs all of it with the default numbers,
//! `make bench BENCH=kill` in release; or set `KILLS` and `MESSAGES` of your own.

mod found;
mod plugin;
mod victim;

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rand::RngExt as _;
use reqwest::StatusCode;
use serde_json::json;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};
use wagate_simulator::{Network, NetworkConfig, Phone};
use wagate_tests::api::Api;
use wagate_tests::database::Database;
use wagate_tests::engine::Engine;
use wagate_tests::process::{Setup, demo_binary};
use wagate_tests::raw::Raw;
use wagate_tests::receiver::{Receiver, Reply};
use wagate_tests::servers::Server;

use self::found::Found;
use self::victim::{Kill, Victim};

/// How long nothing of what is missing may arrive, after the last kill, before it is given up.
const STANDSTILL: Duration = Duration::from_mins(1);
/// How long the last deliveries may take to be written down.
const SETTLING: Duration = Duration::from_secs(10);
/// How long the receiver holds each answer.
pub(crate) const HOLD: Duration = Duration::from_millis(60);
/// How long a kill waits for an answer on its way.
const TARGET: Duration = Duration::from_secs(10);
/// Lines of the gateway's log that are shown of a trial that failed.
const SHOWN: usize = 8;
/// Phones that write. The answers of one chat go out one after the other.
const SENDERS: usize = 16;

/// What is tried.
#[derive(Clone, Copy, Debug)]
struct Trial {
    engine: Engine,
    /// The server is killed, not the gateway.
    server: bool,
    kills: usize,
    messages: usize,
}

impl Trial {
    fn asked_for() -> Result<Self> {
        let (mut engine, mut server) = (Engine::Sqlite, false);
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            match word.as_str() {
                "--engine" => engine = words.next().context("--engine takes a name")?.parse()?,
                "--server" => server = true,
                _ => bail!("{word}: expected --engine sqlite|postgres|mysql, or --server"),
            }
        }
        ensure!(!server || engine != Engine::Sqlite, "SQLite has no server to kill");
        let number = |name: &str, default: usize| std::env::var(name).map_or(Ok(default), |text| text.parse());
        // A server takes longer to come back than a gateway.
        let kills = if server { 5 } else { 25 };
        Ok(Self { engine, server, kills: number("KILLS", kills)?, messages: number("MESSAGES", 200 * kills)? })
    }

    /// How long messages are written: about as long as the kills take, so that kills meet messages everywhere.
    fn span(self) -> Result<Duration> {
        let each = Duration::from_secs(if self.server { 6 } else { 2 });
        Ok(each * u32::try_from(self.kills)?)
    }

    /// What its figures begin with.
    fn name(self) -> String {
        let what = if self.server { "restart" } else { "kill" };
        match self.engine {
            Engine::Sqlite => what.to_owned(),
            engine => format!("{what}.{}", engine.figure()),
        }
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let trial = Trial::asked_for()?;
    // Here, on the thread that lasts: it ends with the thread that starts it.
    let server = match trial.engine {
        Engine::Sqlite => None,
        engine => Some(Server::start(engine).await?),
    };
    let data = TempDir::new()?;
    let ended = run(trial, server, data.path()).await;
    if let Ok(found) = &ended {
        found.print(&trial.name());
    }
    let ended = ended.and_then(|found| found.judge());
    if ended.is_err() {
        tell(&data.keep().join("log"));
    }
    ended
}

/// Shows the end of what the gateway said of it, and where the rest is.
fn tell(log: &Path) {
    let text = fs::read_to_string(log).unwrap_or_default();
    let last: Vec<_> = text.lines().rev().take(SHOWN).collect();
    eprintln!("The gateway's last words, of those in {}:", log.display());
    last.iter().rev().for_each(|line| eprintln!("{line}"));
}

async fn run(trial: Trial, server: Option<Server>, data: &Path) -> Result<Found> {
    let Trial { kills, messages, .. } = trial;
    let network = Network::start(NetworkConfig::default()).await?;
    let receiver = Receiver::start().await?;
    receiver.otherwise(Reply::status(200).after(HOLD));
    let database = server.as_ref().map_or_else(|| Database::on(Engine::Sqlite), Database::at)?;
    let setup = Setup::new(&demo_binary()?, data, &network.ws_url())?.on(&database);
    let account = network.add_phone("Account");
    let senders: Vec<_> = (0..SENDERS).map(|n| network.add_phone(&format!("Sender {n}"))).collect();
    let gateway = setup.start().await?;
    let api = gateway.login().await?;
    let session = api.link(&account, Some(&receiver.url())).await?;
    prepare(&api, &session, &receiver).await?;

    let writing = tokio::spawn(write(senders.clone(), account.number().to_owned(), messages, trial.span()?));
    let mut victim =
        if trial.server { Victim::server(gateway, server)? } else { Victim::gateway(gateway, setup, server) };
    let kills = kill_again_and_again(&mut victim, kills, &senders).await?;
    writing.await??;
    let count = || Found::count(&receiver.requests(), &senders, messages, &kills);
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
    let raw = database.raw(&data.join("wagate.db")).await?;
    let found = count()?.with_unsettled(unsettled(&raw).await?)?;
    raw.close().await;
    let server = victim.end().await?;
    drop(database);
    drop(server);
    network.stop().await;
    Ok(found)
}

/// Deliveries that are not written down as delivered by one attempt, once that no longer changes.
async fn unsettled(raw: &Raw) -> Result<i64> {
    let began = Instant::now();
    loop {
        let rows = raw.count("deliveries", "state <> 'delivered' OR attempts <> 1").await?;
        if rows == 0 || began.elapsed() > SETTLING {
            return Ok(rows);
        }
        sleep(Duration::from_millis(250)).await;
    }
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

/// Sends at a steady rate.
async fn write(phones: Vec<Phone>, to: String, messages: usize, span: Duration) -> Result<()> {
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
async fn kill_again_and_again(victim: &mut Victim, kills: usize, phones: &[Phone]) -> Result<Vec<Kill>> {
    let mut made = Vec::with_capacity(kills);
    for n in 0..kills {
        let moment = if n % 2 == 0 { 2_000 } else { 200 };
        if n % 2 == 1 {
            an_answer(phones).await;
        }
        sleep(Duration::from_millis(rand::rng().random_range(0..moment))).await;
        made.push(victim.kill().await?);
    }
    Ok(made)
}

/// Waits until one more answer came, if any comes soon.
async fn an_answer(phones: &[Phone]) {
    let answers = || phones.iter().map(|phone| phone.inbox().len()).sum::<usize>();
    let (before, began) = (answers(), Instant::now());
    while answers() == before && began.elapsed() < TARGET {
        sleep(Duration::from_millis(20)).await;
    }
}
