//! How fast webhooks go out to one receiver: a burst of `BURST` (5,000) that waited, and the way of a single one from its
//! commit to the receiver. No WhatsApp; store, deliverer and receiver share this process.

use std::slice;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::time::sleep;
use wagate::config::WebhookConfig;
use wagate::model::Clock;
use wagate_tests::figures::{figure, ms, per_s, quantile};
use wagate_tests::post::{PATIENCE, Post, Running, TIMEOUT};
use wagate_tests::receiver::Receiver;

/// Events received in one transaction while the burst is prepared.
const BATCH: u32 = 500;
const SINGLES: usize = 200;

#[tokio::main]
async fn main() -> Result<()> {
    let burst: u32 = std::env::var("BURST").map_or(Ok(5_000), |text| text.parse())?;
    let receiver = Receiver::start().await?;
    let mut post = Post::to(&receiver.url(), Clock::System).await?;
    for done in (0..burst).step_by(BATCH as usize) {
        post.receive(BATCH.min(burst - done)).await?;
    }
    let begun = Instant::now();
    let running = post.deliver_under(&WebhookConfig { timeout: TIMEOUT, concurrency: 256, allow: Vec::new() }, true)?;
    receiver.wait_for(burst as usize, Duration::from_mins(2)).await?;
    figure("webhook.burst", burst, "count");
    figure("webhook.burst_per_s", per_s(burst as usize, begun.elapsed()), "webhooks/s");
    figure("webhook.burst_connections", receiver.connections(), "count");

    let mut waits = singles(&mut post, &running, &receiver).await?;
    figure("webhook.single_p50_ms", ms(quantile(&mut waits, 0.50)), "ms");
    figure("webhook.single_p99_ms", ms(quantile(&mut waits, 0.99)), "ms");
    running.stop().await
}

/// One delivery at a time; how long each took from its commit to the end of its request.
async fn singles(post: &mut Post, running: &Running, receiver: &Receiver) -> Result<Vec<Duration>> {
    let endpoint = post.endpoint().await?;
    let mut waits = Vec::with_capacity(SINGLES);
    for _ in 0..SINGLES {
        let before = receiver.count();
        post.receive(1).await?;
        let committed = Instant::now();
        running.webhooks.wake(slice::from_ref(&endpoint));
        let requests = receiver.wait_for(before + 1, PATIENCE).await?;
        waits.push(requests.get(before).context("no request")?.at.saturating_duration_since(committed));
        sleep(Duration::from_millis(20)).await;
    }
    Ok(waits)
}
