//! How fast webhooks go out, signed and answered 200, to a receiver on loopback. Deliveries a second out of `BURST`
//! (20,000) that waited, until the last of them is written down as delivered: of many endpoints, and of one alone. Then
//! the way of each at a steady pace, from the commit of its message, which is what WhatsApp is acknowledged by, to the
//! receiver's answer. All of it on SQLite and on PostgreSQL.
//!
//! Beside it stands the limit of the machine in the same minutes: the same requests, signed anew, from a bare hyper
//! client on as many connections. The receiver has a thread of its own; all share the cores.

#[path = "delivery/bare.rs"]
mod bare;

use std::collections::HashMap;
use std::slice;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;
use tokio::time::sleep;
use wagate::config::WebhookConfig;
use wagate::model::{Clock, DeliveryState, EndpointId, Scope};
use wagate::store::deliveries::DeliveryFilter;
use wagate_tests::database::Database;
use wagate_tests::engine::Engine;
use wagate_tests::figures::{figure, ms, per_s, quantile};
use wagate_tests::post::{Post, Running, founding};
use wagate_tests::receiver::{Receiver, Recorded};
use wagate_tests::servers::Server;

/// Endpoints besides the founding one, all at the same receiver.
const ENDPOINTS: usize = 16;
/// Events received in one transaction while a burst is prepared.
const BATCH: u32 = 500;
/// Messages a second while they come at a pace, and how many.
const PACE: u32 = 500;
const PACED: usize = 5_000;
/// How long a burst may take.
const PATIENCE: Duration = Duration::from_mins(2);

#[tokio::main]
async fn main() -> Result<()> {
    let burst: u32 = std::env::var("BURST").map_or(Ok(20_000), |text| text.parse())?;
    let (secret, sent, connections) = measure(Database::on(Engine::Sqlite)?, burst).await?;
    if Engine::servers()?.contains(&Engine::Postgres) {
        // Here, on the main thread: the server ends with the thread that starts it.
        let server = Server::start(Engine::Postgres).await?;
        measure(Database::at(&server)?, burst).await?;
    }
    let receiver = Receiver::start_apart().await?;
    let took = bare::post(&receiver, sent, &secret, connections).await?;
    figure("delivery.limit.connections", connections, "count");
    figure("delivery.limit.per_s", per_s(receiver.count(), took), "webhooks/s");
    Ok(())
}

/// Measures one engine; what it signed with, what it sent in its burst, and over how many connections.
async fn measure(database: Database, burst: u32) -> Result<(String, Vec<Recorded>, usize)> {
    let engine = database.engine();
    let name = |what: &str| match (engine, what) {
        // Where users begin.
        (Engine::Sqlite, "p50_ms" | "p99_ms") => format!("delivery.{what}"),
        _ => format!("delivery.{}.{what}", engine.figure()),
    };
    let receiver = Receiver::start_apart().await?;
    let mut post = Post::on(database, &receiver.url(), Clock::System).await?;
    let alone = [post.endpoint().await?];
    let mut endpoints = Vec::with_capacity(ENDPOINTS);
    for n in 0..ENDPOINTS {
        endpoints.push(post.add_endpoint(&format!("endpoint-{n}"), &receiver.url()).await?);
    }

    let rate = burst_of(&mut post, &receiver, burst, &endpoints).await?;
    let (sent, connections) = (receiver.requests(), receiver.connections());
    figure(&name("per_s"), rate, "webhooks/s");
    let rate = burst_of(&mut post, &receiver, burst / 2, &alone).await?;
    figure(&name("one_endpoint_per_s"), rate, "webhooks/s");

    let running = deliver(&post)?;
    let mut ways = pace(&mut post, &running, &receiver, &endpoints).await?;
    running.stop().await?;
    figure(&name("p50_ms"), ms(quantile(&mut ways, 0.50)), "ms");
    figure(&name("p99_ms"), ms(quantile(&mut ways, 0.99)), "ms");
    post.close().await;
    Ok((post.secret.clone(), sent, connections))
}

/// A deliverer as it is without settings.
fn deliver(post: &Post) -> Result<Running> {
    let config = WebhookConfig { timeout: Duration::from_secs(15), concurrency: 256, allow: Vec::new() };
    post.deliver_under(&config, true)
}

/// Deliveries a second out of a queue.
async fn burst_of(post: &mut Post, receiver: &Receiver, burst: u32, endpoints: &[EndpointId]) -> Result<String> {
    for done in (0..burst).step_by(BATCH as usize) {
        post.receive_for(BATCH.min(burst - done), endpoints, founding).await?;
    }
    let before = receiver.count();
    let begun = Instant::now();
    let running = deliver(post)?;
    receiver.wait_for(before + burst as usize, PATIENCE).await?;
    let waiting = DeliveryFilter { states: vec![DeliveryState::Waiting], ..DeliveryFilter::default() };
    while post.store.deliveries(Scope::gateway()).count(&waiting).await? > 0 {
        ensure!(begun.elapsed() < PATIENCE, "what was answered is not written down");
        sleep(Duration::from_millis(2)).await;
    }
    let rate = per_s(burst as usize, begun.elapsed());
    running.stop().await?;
    let posted = receiver.count() - before;
    ensure!(posted == burst as usize, "{posted} requests for {burst} deliveries");
    Ok(rate)
}

/// Messages at a steady pace, for the endpoints in turn; how long each took from its commit to the receiver's answer.
async fn pace(
    post: &mut Post,
    running: &Running,
    receiver: &Receiver,
    endpoints: &[EndpointId],
) -> Result<Vec<Duration>> {
    let messages = post.messages(u32::try_from(PACED)?)?;
    let before = receiver.count();
    let (events, post) = (post.store.events(Scope::gateway()), &*post);
    let events = &events;
    let begun = tokio::time::Instant::now();
    let receiving = messages.iter().zip(endpoints.iter().cycle()).zip(0..).map(async |((message, endpoint), n)| {
        tokio::time::sleep_until(begun + Duration::from_secs(n) / PACE).await;
        let stored = events.receive(&post.session, slice::from_ref(message)).await?;
        let committed = Instant::now();
        let event = stored.first().context("the message is not new")?;
        post.route(event, endpoint, founding(event)).await?;
        running.webhooks.wake(slice::from_ref(endpoint));
        anyhow::Ok((event.id.to_string(), committed))
    });
    let committed: HashMap<String, Instant> = try_join_all(receiving).await?.into_iter().collect();
    let requests = receiver.wait_for(before + PACED, PATIENCE).await?;
    let way = |request: &Recorded| {
        let body = request.json()?;
        let committed = body["id"].as_str().and_then(|id| committed.get(id)).context("an unknown event")?;
        anyhow::Ok(request.at.saturating_duration_since(*committed))
    };
    requests.get(before..).context("too few webhooks")?.iter().map(way).collect()
}
