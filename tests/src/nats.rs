//! A NATS server with JetStream of our own, from Debian's package, on loopback, in a folder that goes with it.
//!
//! What a stream holds is asked for in JetStream's own API, as any client asks for it
//! (<https://docs.nats.io/reference/reference-protocols/nats_api_reference>).
//!
//! Invariant: nothing stays behind, as of [`crate::servers`].

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use async_nats::{Client, ConnectOptions};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::servers::{find, free_port};

const STARTING: Duration = Duration::from_secs(30);
const USER: &str = "wagate";
const PASSWORD: &str = "p@ss:word";
/// The name of the only stream.
const STREAM: &str = "TRIED";

/// A running server. It ends, and its folder goes, when this is dropped.
#[derive(Debug)]
pub struct Nats {
    port: u16,
    folder: TempDir,
    process: Option<Child>,
}

/// A message as its stream keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Where it was published.
    pub subject: String,
    /// Its headers, one a line, as `name: value`.
    pub headers: String,
    /// What it holds.
    pub data: Vec<u8>,
}

impl Nats {
    /// Makes a fresh one and waits until it answers.
    pub async fn start() -> Result<Self> {
        let mut server = Self { port: free_port()?, folder: TempDir::with_prefix("wagate-nats-")?, process: None };
        server.run().await?;
        Ok(server)
    }

    /// Its address, with the only user that it lets in.
    pub fn url(&self) -> String {
        format!("nats://{USER}:p%40ss%3Aword@127.0.0.1:{}", self.port)
    }

    /// Runs it on its folder and waits until it answers.
    pub async fn run(&mut self) -> Result<()> {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig=KILL", "--"]).arg(find("nats-server")?).args(["--jetstream", "--addr=127.0.0.1"]);
        command.arg(format!("--port={}", self.port)).args([format!("--user={USER}"), format!("--pass={PASSWORD}")]);
        command.arg(format!("--store_dir={}", self.folder.path().display()));
        self.process = Some(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
        let begun = Instant::now();
        while self.ask("INFO", &json!({})).await.is_err() {
            ensure!(begun.elapsed() < STARTING, "nats-server did not start");
            sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Kills it. Its folder stays.
    pub fn kill(&mut self) -> Result<()> {
        let mut process = self.process.take().context("the server does not run")?;
        process.kill()?;
        process.wait()?;
        Ok(())
    }

    /// Lets a stream take these subjects.
    pub async fn keep(&self, subjects: &[&str]) -> Result<()> {
        let stream = json!({ "name": STREAM, "subjects": subjects, "storage": "file", "retention": "limits" });
        self.ask(&format!("STREAM.CREATE.{STREAM}"), &stream).await.map(drop)
    }

    /// Lets the stream hold no more than it holds.
    pub async fn close(&self, subjects: &[&str]) -> Result<()> {
        let held = self.stored().await?.len();
        let stream = json!({ "name": STREAM, "subjects": subjects, "max_msgs": held, "discard": "new" });
        self.ask(&format!("STREAM.UPDATE.{STREAM}"), &stream).await.map(drop)
    }

    /// What the stream holds, oldest first.
    pub async fn stored(&self) -> Result<Vec<Stored>> {
        let info = self.ask(&format!("STREAM.INFO.{STREAM}"), &json!({})).await?;
        let last = info["state"]["last_seq"].as_u64().context("no last message")?;
        let mut stored = Vec::new();
        for seq in 1..=last {
            let got = self.ask(&format!("STREAM.MSG.GET.{STREAM}"), &json!({ "seq": seq })).await?;
            let text = |name: &str| got["message"][name].as_str().unwrap_or_default().to_owned();
            let headers = String::from_utf8(STANDARD.decode(text("hdrs"))?)?.replace('\r', "");
            stored.push(Stored { subject: text("subject"), headers, data: STANDARD.decode(text("data"))? });
        }
        Ok(stored)
    }

    /// Waits until the stream holds so many.
    pub async fn wait_for(&self, n: usize, patience: Duration) -> Result<Vec<Stored>> {
        let begun = Instant::now();
        loop {
            let stored = self.stored().await?;
            if stored.len() >= n {
                return Ok(stored);
            }
            ensure!(begun.elapsed() < patience, "waited for {n} messages, but these came: {stored:#?}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn ask(&self, what: &str, how: &Value) -> Result<Value> {
        let answer = self.client().await?.request(format!("$JS.API.{what}"), how.to_string().into()).await?;
        let answer: Value = serde_json::from_slice(&answer.payload)?;
        if answer["error"].is_object() {
            bail!("{what}: {}", answer["error"]);
        }
        Ok(answer)
    }

    async fn client(&self) -> Result<Client> {
        let options = ConnectOptions::with_user_and_password(USER.to_owned(), PASSWORD.to_owned());
        Ok(options.connect(format!("127.0.0.1:{}", self.port)).await?)
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        if self.process.is_some() {
            let _gone = self.kill();
        }
    }
}

impl Stored {
    /// A header's value; empty when it has none.
    pub fn header(&self, name: &str) -> &str {
        let named = |line: &'_ str| line.split_once(": ").is_some_and(|(known, _)| known == name);
        let line = self.headers.lines().find(|line| named(line)).unwrap_or_default();
        line.split_once(": ").map_or("", |(_, value)| value)
    }
}
