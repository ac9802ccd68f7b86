//! Deliveries end to end: a real store, the real client, receivers on loopback that misbehave on request. What users see
//! of it goes through the gateway's API; what takes no WhatsApp starts from a store alone.

mod attempts;
mod endpoints;
mod faults;
mod health;
mod nats;
mod order;
mod replays;
mod signatures;
mod slots;

use std::ops::Deref;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use wagate::config::Config;
use wagate::model::Clock;
use wagate_simulator::Phone;
use wagate_tests::api::{Api, PATIENCE};
use wagate_tests::receiver::{Receiver, Recorded};
use wagate_tests::scene::Scene;

/// A clock for tests that move time: it starts at the machine's present, so that receivers find signatures fresh.
fn manual() -> Clock {
    Clock::manual(Clock::System.now())
}

/// A scene whose time the test moves.
struct Desk {
    scene: Scene,
    clock: Clock,
}

impl Deref for Desk {
    type Target = Scene;
    fn deref(&self) -> &Scene {
        &self.scene
    }
}

impl Desk {
    async fn open() -> Result<Self> {
        Self::open_at(manual()).await
    }

    async fn open_at(clock: Clock) -> Result<Self> {
        Self::open_under(clock, |_| ()).await
    }

    async fn open_with(change: impl FnOnce(&mut Config)) -> Result<Self> {
        Self::open_under(manual(), change).await
    }

    async fn open_under(clock: Clock, more: impl FnOnce(&mut Config)) -> Result<Self> {
        let change = |config: &mut Config| {
            config.webhook.timeout = Duration::from_secs(5);
            // Longer than any test moves the time.
            config.auth.token_lifetime = Duration::from_hours(24 * 365);
            more(config);
        };
        Ok(Self { scene: Scene::set_at(clock.clone(), change).await?, clock })
    }

    async fn close(self) {
        self.scene.end().await;
    }

    /// Adds an endpoint to the session: an address, and what else is asked for; its id.
    async fn add(&self, name: &str, hook: &Receiver, more: Value) -> Result<String> {
        add(&self.gateway, &format!("/api/sessions/{}/endpoints", self.id), name, &hook.url(), more).await
    }

    /// The session's founding endpoint.
    async fn founding(&self) -> Result<String> {
        let (_, endpoints) = self.gateway.get(&format!("/api/sessions/{}/endpoints", self.id)).await?;
        Ok(endpoints[0]["id"].as_str().context("no endpoint")?.to_owned())
    }

    /// Writes to the account.
    async fn write(&self, from: &Phone, text: &str) -> Result<()> {
        from.send_text(self.account.number(), text).await?;
        Ok(())
    }

    /// Moves the time, so far that whatever waited for it is due.
    fn pass(&self, time: Duration) {
        self.clock.advance(time + Duration::from_millis(1));
    }
}

/// Adds an endpoint; its id.
async fn add(api: &Api, path: &str, name: &str, url: &str, more: Value) -> Result<String> {
    let mut body = json!({ "name": name, "url": url });
    let (body_members, more) = (body.as_object_mut().context("no object")?, more);
    body_members.extend(more.as_object().cloned().unwrap_or_default());
    let (status, endpoint) = api.post(path, body).await?;
    ensure!(status == StatusCode::CREATED, "no endpoint: {status} {endpoint}");
    Ok(endpoint["id"].as_str().context("no id")?.to_owned())
}

/// Changes an endpoint; how it is then.
async fn change(api: &Api, endpoint: &str, change: Value) -> Result<Value> {
    let (status, changed) = api.call(Method::PATCH, &format!("/api/endpoints/{endpoint}"), Some(change)).await?;
    ensure!(status == StatusCode::OK, "not changed: {status} {changed}");
    Ok(changed)
}

/// What an endpoint's deliveries look like, oldest first.
async fn deliveries(api: &Api, endpoint: &str) -> Result<Vec<Value>> {
    let (status, page) = api.get(&format!("/api/deliveries?endpoint={endpoint}&limit=100")).await?;
    ensure!(status == StatusCode::OK, "no deliveries: {status} {page}");
    let mut rows = page["deliveries"].as_array().context("no list")?.clone();
    rows.reverse();
    Ok(rows)
}

/// Waits until an endpoint's deliveries look like this, oldest first.
async fn until(api: &Api, endpoint: &str, what: &str, wanted: impl Fn(&[Value]) -> bool) -> Result<Vec<Value>> {
    let begun = Instant::now();
    loop {
        let rows = deliveries(api, endpoint).await?;
        if wanted(&rows) {
            return Ok(rows);
        }
        ensure!(begun.elapsed() < PATIENCE, "waited for {what}, but they are {rows:#?}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until what the API answers at a path looks like this.
async fn until_at(api: &Api, path: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
    let begun = Instant::now();
    loop {
        let (_, found) = api.get(path).await?;
        if wanted(&found) {
            return Ok(found);
        }
        ensure!(begun.elapsed() < PATIENCE, "waited for {what}, but it is {found:#}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// The states of deliveries.
fn states(rows: &[Value]) -> Vec<&str> {
    rows.iter().map(|row| row["state"].as_str().unwrap_or_default()).collect()
}

/// The texts of the messages in webhooks.
fn texts(requests: &[Recorded]) -> Result<Vec<String>> {
    let text = |request: &Recorded| {
        let body = request.json()?;
        anyhow::Ok(body["message"]["message"].as_str().unwrap_or_default().to_owned())
    };
    requests.iter().map(text).collect()
}
