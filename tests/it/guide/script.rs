//! The guide's JavaScript samples, run by Node.
//!
//! A module is made of the samples, unchanged but for the addresses, and below them a driver that calls them and tells
//! what came of it, one JSON value a line. `drivers/prelude.mjs` supplies what the samples take for granted.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::document::{fill, sample};
use super::stage::Stage;

const PRELUDE: &str = include_str!("drivers/prelude.mjs");
/// Stands where `npm install qrcode` would put the library: it keeps what it is asked to draw.
const QRCODE: &str = "export default { toCanvas(canvas, text, options) { drawn.push({ canvas, text, options }); } };\n";
/// How long a script may take for anything a test waits for.
const PATIENCE: Duration = Duration::from_mins(1);

/// A running script.
pub(super) struct Script {
    child: Child,
    told: Lines<BufReader<ChildStdout>>,
    stdin: ChildStdin,
    _folder: TempDir,
}

impl Script {
    /// Runs the samples that hold `marks`, then `driver`.
    pub(super) fn start(stage: &Stage, marks: &[&str], driver: &str) -> Result<Self> {
        let mut module = String::from("import './prelude.mjs';\n");
        for mark in marks {
            let placeholders = [("YOUR_TOKEN", stage.api.token())];
            module += &fill(sample("javascript", mark)?, stage.api.base(), &stage.receiver.url_of(""), &placeholders);
            module += "\n";
        }
        module += driver;
        // A sample that listens would keep the process alive.
        module += "\nprocess.exit(0);\n";
        let folder = TempDir::new()?;
        let library = folder.path().join("node_modules/qrcode");
        std::fs::create_dir_all(&library)?;
        std::fs::write(library.join("package.json"), r#"{ "name": "qrcode", "type": "module", "main": "index.js" }"#)?;
        std::fs::write(library.join("index.js"), QRCODE)?;
        std::fs::write(folder.path().join("prelude.mjs"), PRELUDE)?;
        std::fs::write(folder.path().join("sample.mjs"), module)?;
        let given = json!({ "base": stage.api.base(), "token": stage.api.token() });
        let mut child = Command::new("node")
            // Browsers and Node 22 have WebSocket as it is, Node 20 with this flag.
            .args(["--experimental-websocket", "sample.mjs"])
            .current_dir(folder.path())
            .env("GUIDE", given.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot run node; install Node.js 20.10 or newer")?;
        let told = BufReader::new(child.stdout.take().context("no stdout")?).lines();
        let stdin = child.stdin.take().context("no stdin")?;
        Ok(Self { child, told, stdin, _folder: folder })
    }

    /// Runs a script that tells one thing and ends; gives what it told.
    pub(super) async fn run(stage: &Stage, marks: &[&str], driver: &str) -> Result<Value> {
        let mut script = Self::start(stage, marks, driver)?;
        let told = script.told().await?;
        script.end().await?;
        Ok(told)
    }

    /// The next thing it tells.
    pub(super) async fn told(&mut self) -> Result<Value> {
        let line = tokio::time::timeout(PATIENCE, self.told.next_line()).await.context("the script told nothing")??;
        match line {
            Some(line) => serde_json::from_str(&line).with_context(|| format!("the script printed {line}")),
            None => Err(self.fault().await),
        }
    }

    /// Lets a script go on that waits for a word.
    pub(super) async fn go_on(&mut self) -> Result<()> {
        Ok(self.stdin.write_all(b"\n").await?)
    }

    /// Waits for its good end.
    pub(super) async fn end(mut self) -> Result<()> {
        let rest = tokio::time::timeout(PATIENCE, self.told.next_line()).await.context("the script did not end")??;
        ensure!(rest.is_none(), "the script had more to tell: {rest:?}");
        let status = self.child.wait().await?;
        if status.success() { Ok(()) } else { Err(self.fault().await) }
    }

    async fn fault(&mut self) -> anyhow::Error {
        let mut said = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            // Without its words the error is shorter, not less an error.
            let _ = tokio::time::timeout(PATIENCE, stderr.read_to_string(&mut said)).await;
        }
        anyhow::anyhow!("the script failed: {said}")
    }
}
