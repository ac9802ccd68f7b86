//! The simulated network in a process of its own, so that a bench measures the gateway alone.

use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::api::{Api, PATIENCE, http_client};
use crate::process::target_dir;
use crate::receiver::Recorded;

/// The running network. It is killed when this is dropped.
#[derive(Debug)]
pub struct Simulator {
    _child: Child,
    base: String,
    http: reqwest::Client,
}

/// Where both clocks stood at one moment: phones write the time of day, receivers keep the time that only goes on.
#[derive(Clone, Copy, Debug)]
pub struct Clocks(Instant, Duration);

impl Clocks {
    /// Reads them.
    pub fn read() -> Result<Self> {
        Ok(Self(Instant::now(), SystemTime::now().duration_since(UNIX_EPOCH)?))
    }

    /// The way of a message of [`Simulator::write`]: from the phone's word, which is its last, to the webhook's arrival.
    pub fn way(self, request: &Recorded) -> Result<Duration> {
        let body = request.json()?;
        let text = body["message"]["message"].as_str().context("no text")?;
        let made: u64 = text.rsplit(' ').next().context("no time")?.parse()?;
        let arrived = self.1 + request.at.duration_since(self.0);
        Ok(arrived.saturating_sub(Duration::from_millis(made)))
    }
}

impl Simulator {
    /// Starts it on a free port.
    pub async fn start() -> Result<Self> {
        let binary = target_dir()?.join("wagate-simulator");
        let mut child = Command::new(&binary)
            .args(["--listen", "127.0.0.1:0"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .env("RUST_LOG", "warn")
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot run {}; build it first", binary.display()))?;
        let stdout = child.stdout.take().context("no output")?;
        let said = BufReader::new(stdout).lines().next_line().await?.context("the simulator said nothing")?;
        let base = said.split_whitespace().last().context("the simulator named no address")?.to_owned();
        ensure!(base.starts_with("http://127.0.0.1:"), "the simulator said: {said}");
        Ok(Self { _child: child, base, http: http_client()? })
    }

    /// Where clients connect.
    pub fn ws_url(&self) -> String {
        format!("{}/ws/chat", self.base.replacen("http", "ws", 1))
    }

    /// Makes phones; answers their numbers.
    pub async fn phones(&self, count: usize) -> Result<Vec<String>> {
        let made = self.post("/admin/bulk/phones", &json!({ "count": count })).await?;
        let numbers = made.as_array().context("no phones")?.iter().filter_map(|phone| phone["number"].as_str());
        Ok(numbers.map(str::to_owned).collect())
    }

    /// Links a new session of `api` to each of the phones, a few at a time; answers the session ids.
    pub async fn link_all(&self, api: &Api, numbers: &[String], webhook: Option<&str>) -> Result<Vec<String>> {
        let mut ids = Vec::with_capacity(numbers.len());
        for some in numbers.chunks(10) {
            let linking = some.iter().map(|number| self.link(api, number, webhook));
            ids.extend(futures_util::future::try_join_all(linking).await?);
        }
        Ok(ids)
    }

    /// Has one phone write `count` messages to the numbers in turn, at a pace or as fast as it goes.
    pub async fn write(&self, from: &str, to: &[String], count: usize, rate_per_s: Option<u32>) -> Result<()> {
        let text = "message {n} from ".to_owned() + from + " at {ms}";
        let mut body = json!({ "from": from, "to": to, "count": count, "text": text });
        let mut patience = PATIENCE;
        if let Some(rate) = rate_per_s {
            body["rate_per_s"] = rate.into();
            patience += Duration::from_secs(count as u64) / rate.max(1);
        }
        self.post_within("/admin/bulk/send", &body, patience).await.map(drop)
    }

    /// What is queued for companions, unacknowledged stanzas included.
    pub async fn unacked(&self) -> Result<u64> {
        let health: Value = self.http.get(format!("{}/admin/health", self.base)).send().await?.json().await?;
        health["unacked"].as_u64().context("no unacked")
    }

    async fn link(&self, api: &Api, number: &str, webhook: Option<&str>) -> Result<String> {
        let id = api.create_session(number, webhook).await?;
        api.connect(&id).await?;
        let qr = api.qr(&id).await?;
        self.post(&format!("/admin/phones/{number}/scan"), &json!({ "qr": qr })).await?;
        api.wait_connected(&id).await?;
        Ok(id)
    }

    async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.post_within(path, body, PATIENCE).await
    }

    async fn post_within(&self, path: &str, body: &Value, patience: Duration) -> Result<Value> {
        let answer = self.http.post(format!("{}{path}", self.base)).json(body).timeout(patience).send().await?;
        let (status, body): (_, Value) = (answer.status(), answer.json().await?);
        ensure!(status.is_success(), "{path}: {status} {body}");
        Ok(body)
    }
}
