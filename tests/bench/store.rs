//! What the store carries: messages received by 1, 20 and 200 sessions at once, each waiting for its commit; the way of a
//! delivery through route and settle; and what WhatsApp's keys cost, on SQLite. Then each engine by one measure,
//! which is in `store/engines.rs`; `--engine NAME` does that for one engine alone. Every commit is on disk before it is
//! answered, so the disk below the temporary folder is part of every figure.

#[path = "store/engines.rs"]
mod engines;

use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use futures_util::future::try_join_all;
use wagate::model::{Attempt, AttemptOutcome, Clock, Event, Phases, Scope, SessionId, Shape};
use wagate::store::deliveries::{Settled, Settlement};
use wagate::store::events::{NewDelivery, Routing};
use wagate::whatsapp::keys::KeyStore;
use wagate_tests::engine::Engine;
use wagate_tests::figures::{figure, ms, per_s, quantile};
use wagate_tests::post::Post;
use whatsapp_rust::wacore::store::traits::{ProtocolStore as _, SignalStore as _};

/// How many callers ask at the same time while routing.
const CALLERS: usize = 200;
/// Messages whose way through the outbox is timed.
const DELIVERIES: u32 = 10_000;
/// Pre-keys of a first upload (whatsapp-rust 0.7.0 `src/prekeys.rs`).
const PREKEYS: u32 = 812;
/// An endpoint nobody asks anything.
const NOWHERE: &str = "http://127.0.0.1:9/";

#[tokio::main]
async fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => {}
        ["--engine", name] => return engines::measure(name.parse()?).await,
        _ => bail!("expected nothing, or --engine sqlite|postgres|mysql"),
    }
    receive(1, 300).await?;
    receive(20, 300).await?;
    receive(CALLERS, 100).await?;
    deliver().await?;
    keys().await?;
    engines::measure(Engine::Sqlite).await?;
    for engine in Engine::servers()? {
        engines::measure(*engine).await?;
    }
    Ok(())
}

/// `sessions`, each receiving `each` messages one after the other.
async fn receive(sessions: usize, each: u32) -> Result<()> {
    let mut post = Post::to(NOWHERE, Clock::System).await?;
    let mut work = Vec::with_capacity(sessions);
    for n in 0..sessions {
        work.push((session(&post, n).await?, post.messages(each)?));
    }
    let events = post.store.events(Scope::gateway());
    let events = &events;
    let begun = Instant::now();
    let waits = work.iter().map(async |(session, messages)| {
        let mut waits = Vec::with_capacity(messages.len());
        for message in messages {
            let begun = Instant::now();
            events.receive(session, std::slice::from_ref(message)).await?;
            waits.push(begun.elapsed());
        }
        anyhow::Ok(waits)
    });
    let mut waits = try_join_all(waits).await?.concat();
    let took = begun.elapsed();
    let name = |what| format!("store.receive_{sessions}_{what}");
    figure(&name("per_s"), per_s(waits.len(), took), "messages/s");
    figure(&name("p50_ms"), ms(quantile(&mut waits, 0.50)), "ms");
    figure(&name("p99_ms"), ms(quantile(&mut waits, 0.99)), "ms");
    Ok(())
}

async fn session(post: &Post, n: usize) -> Result<SessionId> {
    let owner = post.store.users().for_login("ida").await?.context("no user")?.0.id;
    let id: SessionId = format!("ses_{n}").parse()?;
    post.store.sessions(Scope::of(owner)).create(owner, id.clone(), "Sales", None).await?;
    Ok(id)
}

/// Receive in batches, route, read what is due and settle it.
async fn deliver() -> Result<()> {
    let mut post = Post::to(NOWHERE, Clock::System).await?;
    let batch = post.messages(DELIVERIES)?;
    let events = post.store.events(Scope::gateway());

    let begun = Instant::now();
    let mut stored: Vec<Event> = Vec::with_capacity(batch.len());
    for part in batch.chunks(100) {
        stored.extend(events.receive(&post.session, part).await?);
    }
    figure("store.receive_batched_per_s", per_s(stored.len(), begun.elapsed()), "messages/s");

    let delivery = NewDelivery { endpoint: post.endpoint().await?, chat: None, shape: Shape::json("x".repeat(300)) };
    let plan = Routing { deliveries: vec![delivery], ..Routing::default() };
    let begun = Instant::now();
    for part in stored.chunks(CALLERS) {
        try_join_all(part.iter().map(|event| events.route(&event.id, plan.clone()))).await?;
    }
    figure("store.route_per_s", per_s(stored.len(), begun.elapsed()), "messages/s");

    let begun = Instant::now();
    let settled = settle(&post).await?;
    figure("store.settle_per_s", per_s(settled, begun.elapsed()), "deliveries/s");
    ensure!(settled == stored.len(), "{settled} of {} deliveries were settled", stored.len());
    Ok(())
}

/// Settles everything, 64 at a time; how many.
async fn settle(post: &Post) -> Result<usize> {
    let deliveries = post.store.deliveries(Scope::gateway());
    let endpoint = post.endpoint().await?;
    let attempt = Attempt {
        started_at: post.clock.now(),
        took_ms: 5,
        phases: Phases::default(),
        address: None,
        outcome: AttemptOutcome::Accepted { status: 200 },
        answer: Bytes::new(),
    };
    let mut settled = 0;
    loop {
        let due = deliveries.due(&endpoint, 64).await?;
        if due.is_empty() {
            return Ok(settled);
        }
        let settling = due.into_iter().map(|one| {
            let (attempt, then) = (attempt.clone(), Settlement::Delivered);
            deliveries.settle(Settled { delivery: one.id, attempts: one.attempts, attempt, then })
        });
        settled += try_join_all(settling).await?.into_iter().filter(|done| *done).count();
    }
}

/// A first upload's pre-keys in one batch and one by one, and the three calls that a received message costs.
async fn keys() -> Result<()> {
    let post = Post::to(NOWHERE, Clock::System).await?;
    let keys = KeyStore::new(post.store.keys(post.session.clone()));
    let batch: Vec<(u32, Bytes)> = (1..=PREKEYS).map(|id| (id, Bytes::from(vec![7; 70]))).collect();
    let begun = Instant::now();
    keys.store_prekeys_batch(&batch, false).await?;
    figure("store.prekeys_batch_ms", ms(begun.elapsed()), "ms");

    let ids: Vec<u32> = (1..=PREKEYS).collect();
    let begun = Instant::now();
    let loaded = keys.load_prekeys_batch(&ids).await?.len();
    figure("store.prekeys_load_ms", ms(begun.elapsed()), "ms");
    ensure!(loaded == batch.len(), "{loaded} of {PREKEYS} pre-keys were loaded");

    let begun = Instant::now();
    for (id, record) in &batch {
        keys.store_prekey(*id, record, true).await?;
    }
    figure("store.prekeys_one_by_one_ms", ms(begun.elapsed()), "ms");

    let record = Bytes::from_static(&[7; 2_000]);
    let begun = Instant::now();
    for n in 0..50 {
        let id = n.to_string();
        keys.store_pending_inbound("chat", "sender", &id, &record).await?;
        keys.put_sessions_batch(&[("15550000001@lid.0".into(), record.clone())]).await?;
        keys.delete_pending_inbound("chat", "sender", &id).await?;
    }
    figure("store.keys_of_a_message_ms", ms(begun.elapsed() / 50), "ms");
    Ok(())
}
