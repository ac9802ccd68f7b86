//! What healthy endpoints suffer from those that hang: a thousand of ten users, each getting a delivery every two
//! seconds, first without the tenth of them whose receiver takes a request and never says a word, then with it. The way
//! of a healthy one's deliveries is from the commit of the message to the receiver's answer. On SQLite; then, on
//! PostgreSQL, which shows its connections, how many of them requests in flight hold.

use std::collections::HashMap;
use std::slice;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;
use tokio::time::{sleep, sleep_until};
use wagate::config::WebhookConfig;
use wagate::model::{Clock, EndpointId, Role, Scope, SessionId, UserId, WebhookUrl};
use wagate_tests::database::Database;
use wagate_tests::engine::Engine;
use wagate_tests::faults::{Fault, Faulty};
use wagate_tests::figures::{figure, ms, quantile};
use wagate_tests::post::{Post, Running, founding};
use wagate_tests::receiver::{Receiver, Recorded};
use wagate_tests::servers::Server;

/// Endpoints, each of a session of its own; of so many in a row one hangs, of each user as many.
const ENDPOINTS: usize = 1_000;
const ONE_IN: usize = 10;
const USERS: usize = 10;
/// Deliveries a second to all of them together.
const PACE: u32 = 500;
/// Seconds at that pace: until those that hang have as many requests open as they are given, and while it is measured.
const LEAD: u64 = 4;
const MEASURED: u64 = 16;
/// A stretch without those that hang and one with them in turn, so often, because the machine's own speed changes while
/// it is measured. The ratio is the median of the rounds' own.
const ROUNDS: usize = 3;
/// How long what is measured may take to arrive.
const PATIENCE: Duration = Duration::from_mins(1);
/// Time for an attempt.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Requests in flight when connections are counted: far more than a gateway has connections.
const OPEN: u32 = 150;
/// A transaction that has been open for half a second is held; the deliverer's own take a few milliseconds.
const HELD: &str = "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database()
    AND pid <> pg_backend_pid() AND xact_start < clock_timestamp() - interval '500 ms'";
const CONNECTIONS: &str = "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database()
    AND pid <> pg_backend_pid()";

#[tokio::main]
async fn main() -> Result<()> {
    let (mut quiet, mut hanging, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let without = stretch(false).await?;
        let with = stretch(true).await?;
        ratios.push(with.as_secs_f64() / without.as_secs_f64());
        quiet.push(without);
        hanging.push(with);
    }
    ratios.sort_by(f64::total_cmp);
    figure("endpoints.quiet_p99_ms", ms(quantile(&mut quiet, 0.50)), "ms");
    figure("endpoints.hanging_p99_ms", ms(quantile(&mut hanging, 0.50)), "ms");
    figure("endpoints.ratio_least", format!("{:.2}", ratios.first().context("no rounds")?), "x");
    figure("endpoints.ratio_most", format!("{:.2}", ratios.last().context("no rounds")?), "x");
    figure("endpoints.ratio", format!("{:.2}", ratios.get(ROUNDS / 2).context("no rounds")?), "x");
    if Engine::servers()?.contains(&Engine::Postgres) {
        // Here, on the main thread: the server ends with the thread that starts it.
        let server = Server::start(Engine::Postgres).await?;
        connections(Database::at(&server)?).await?;
    }
    Ok(())
}

/// An endpoint and the session whose events it gets.
struct Target {
    session: SessionId,
    endpoint: EndpointId,
    hangs: bool,
}

/// A store with all the endpoints, their receivers, and a deliverer.
struct Town {
    post: Post,
    running: Running,
    targets: Vec<Target>,
    healthy: Receiver,
    _silent: Faulty,
}

impl Town {
    async fn build(database: Database) -> Result<Self> {
        let (healthy, silent) = (Receiver::start_apart().await?, Faulty::start(Fault::Silent).await?);
        let post = Post::on(database, &healthy.url(), Clock::System).await?;
        let mut owners = Vec::with_capacity(USERS);
        for n in 0..USERS {
            owners.push(post.store.users().add(&format!("user{n}"), Role::User, "no hash", false).await?.id);
        }
        let (sound, ill): (WebhookUrl, WebhookUrl) = (healthy.url().parse()?, silent.url().parse()?);
        let making = (0..ENDPOINTS).zip(owners.iter().cycle()).map(|(n, owner)| {
            let hangs = n % ONE_IN == n / ONE_IN % ONE_IN;
            target(&post, n, *owner, if hangs { &ill } else { &sound }, hangs)
        });
        let targets = try_join_all(making).await?;
        let config = WebhookConfig { timeout: TIMEOUT, concurrency: 256, allow: Vec::new() };
        let running = post.deliver_under(&config, true)?;
        Ok(Self { post, running, targets, healthy, _silent: silent })
    }

    /// Requests that are open at endpoints that hang.
    fn open(&self) -> u32 {
        let hanging = self.targets.iter().filter(|target| target.hangs);
        hanging.map(|target| self.running.webhooks.pulse(&target.endpoint).in_flight).sum()
    }

    async fn close(self) -> Result<()> {
        self.running.stop().await?;
        self.post.close().await;
        Ok(())
    }
}

async fn target(post: &Post, n: usize, owner: UserId, url: &WebhookUrl, hangs: bool) -> Result<Target> {
    let session: SessionId = format!("ses_{n}").parse()?;
    post.store.sessions(Scope::of(owner)).create(owner, session.clone(), "Sales", Some(url)).await?;
    let endpoints = post.store.endpoints(Scope::of(owner)).list(Some(&session)).await?;
    let endpoint = endpoints.into_iter().next().context("no endpoint")?.id;
    Ok(Target { session, endpoint, hangs })
}

/// One stretch on a fresh store; the p99 of the healthy endpoints.
async fn stretch(hanging: bool) -> Result<Duration> {
    let mut town = Town::build(Database::on(Engine::Sqlite)?).await?;
    let warm = deal(&mut town, LEAD, hanging).await?;
    let open = town.open();
    ensure!(hanging == (open > OPEN), "{open} requests are open at endpoints that hang");
    let timed = deal(&mut town, MEASURED, hanging).await?;
    let requests = town.healthy.wait_for(warm.len() + timed.len(), PATIENCE).await?;
    let mut ways = Vec::with_capacity(timed.len());
    for request in &requests {
        let event = event_of(request)?;
        if let Some(committed) = timed.get(&event) {
            ways.push(request.at.saturating_duration_since(*committed));
        }
    }
    ensure!(ways.len() == timed.len(), "{} of {} healthy deliveries arrived", ways.len(), timed.len());
    town.close().await?;
    Ok(quantile(&mut ways, 0.99))
}

fn event_of(request: &Recorded) -> Result<String> {
    Ok(request.json()?["id"].as_str().context("a webhook without an event")?.to_owned())
}

/// Messages at the pace for so many seconds, to the sessions in turn; when each for a healthy endpoint was committed.
async fn deal(town: &mut Town, seconds: u64, hanging: bool) -> Result<HashMap<String, Instant>> {
    let messages = town.post.messages(PACE * u32::try_from(seconds)?)?;
    let (post, webhooks, targets) = (&town.post, &town.running.webhooks, &town.targets);
    let begun = tokio::time::Instant::now();
    let dealing = messages.iter().zip(targets.iter().cycle()).zip(0..).map(async |((message, target), n)| {
        sleep_until(begun + Duration::from_secs(n) / PACE).await;
        if target.hangs && !hanging {
            return Ok(None);
        }
        let stored = post.store.events(Scope::gateway()).receive(&target.session, slice::from_ref(message)).await?;
        let committed = Instant::now();
        let event = stored.first().context("the message is not new")?;
        post.route(event, &target.endpoint, founding(event)).await?;
        webhooks.wake(slice::from_ref(&target.endpoint));
        anyhow::Ok((!target.hangs).then(|| (event.id.to_string(), committed)))
    });
    Ok(try_join_all(dealing).await?.into_iter().flatten().collect())
}

/// How many connections are held while requests are open, and nothing else is to do.
async fn connections(database: Database) -> Result<()> {
    let mut town = Town::build(database).await?;
    deal(&mut town, LEAD, true).await?;
    let raw = town.post.raw().await?;
    let (mut held, mut least) = (0, u32::MAX);
    for _ in 0..20 {
        sleep(Duration::from_millis(100)).await;
        least = least.min(town.open());
        held = held.max(raw.number(HELD).await?);
    }
    let all = raw.number(CONNECTIONS).await?;
    raw.close().await;
    ensure!(least > OPEN, "only {least} requests were open");
    figure("endpoints.in_flight", least, "count");
    figure("endpoints.connections", all, "count");
    figure("endpoints.connections_held", held, "count");
    town.close().await
}
