//! A gateway in a process of its own, as a user runs it, so that it can be killed.

use std::ffi::OsString;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use reqwest::StatusCode;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use crate::api::{Api, PASSWORD, http_client};
use crate::compiled;
use crate::database::Database;

/// How long a start may take, and how long a change of health.
const STARTING: Duration = Duration::from_mins(1);

/// How to run it.
#[derive(Clone, Debug)]
pub struct Setup {
    binary: PathBuf,
    data: PathBuf,
    port: u16,
    whatsapp: String,
    more: Vec<(String, OsString)>,
}

/// A running process. It is killed when this is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    base: String,
    http: reqwest::Client,
}

impl Setup {
    /// A `binary` of the gateway on the folder `data`, towards the WhatsApp server at `whatsapp`.
    pub fn new(binary: &Path, data: &Path, whatsapp: &str) -> Result<Self> {
        // Bound and let go: the gateway comes back to the same port after each restart.
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        Ok(Self {
            binary: binary.to_owned(),
            data: data.to_owned(),
            port,
            whatsapp: whatsapp.to_owned(),
            more: Vec::new(),
        })
    }

    /// The same with one more variable in its environment.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.more.push((name.to_owned(), value.into()));
        self
    }

    /// The same on this database.
    #[must_use]
    pub fn on(self, database: &Database) -> Self {
        match database.url() {
            Some(url) => self.with("DATABASE_URL", url),
            None => self,
        }
    }

    /// Starts it and waits until it is ready.
    pub async fn start(&self) -> Result<Process> {
        let mut process = self.launch()?;
        process.wait_ready().await.with_context(|| format!("see {}", self.data.join("log").display()))?;
        Ok(process)
    }

    /// Starts it and waits for nothing.
    pub fn launch(&self) -> Result<Process> {
        compiled::keep(&self.data);
        compiled::lend(&self.data)?;
        let log = std::fs::File::options().create(true).append(true).open(self.data.join("log"))?;
        let child = Command::new(&self.binary)
            .arg("serve")
            .env_clear()
            .env("DATA_DIR", &self.data)
            .env("PORT", self.port.to_string())
            .env("ADMIN_PASSWORD", PASSWORD)
            .env("WHATSAPP_URL", &self.whatsapp)
            .env("WHATSAPP_VERSION", "2.3000.1000000000")
            .env("WEBHOOK_ALLOW", "127.0.0.0/8")
            .envs(self.more.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot run {}; build it first", self.binary.display()))?;
        Ok(Process { child, base: format!("http://127.0.0.1:{}", self.port), http: http_client()? })
    }

    /// What the gateway has logged so far.
    pub fn log(&self) -> Result<String> {
        Ok(std::fs::read_to_string(self.data.join("log"))?)
    }
}

impl Process {
    /// The address.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The process id.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Logs the administrator in.
    pub async fn login(&self) -> Result<Api> {
        Api::login(&self.base, "admin", PASSWORD).await
    }

    /// SIGKILL: no word of farewell, nothing flushed.
    pub async fn kill(mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }

    /// SIGTERM, as a service manager asks it to stop.
    pub fn terminate(&self) -> Result<()> {
        let id = self.child.id().context("the gateway has ended")?;
        let pid = Pid::from_raw(i32::try_from(id)?).context("the gateway has no process id")?;
        Ok(kill_process(pid, Signal::TERM)?)
    }

    /// Whether it has ended, and how.
    pub fn ended(&mut self) -> Result<Option<std::process::ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Waits until it has ended by itself; how.
    pub async fn end(mut self) -> Result<std::process::ExitStatus> {
        timeout(STARTING, self.child.wait()).await.context("the gateway did not end")?.map_err(Into::into)
    }

    /// What `/livez` or `/readyz` answers; `None` when nobody does.
    pub async fn health(&self, path: &str) -> Option<StatusCode> {
        let request = self.http.get(format!("{}{path}", self.base)).timeout(Duration::from_secs(10));
        request.send().await.ok().map(|answer| answer.status())
    }

    /// What a path answers to somebody without a token: status, `Retry-After` and body.
    pub async fn look(&self, path: &str) -> Result<(StatusCode, Option<String>, Value)> {
        let answer = self.http.get(format!("{}{path}", self.base)).send().await?;
        let again = answer.headers().get("retry-after").and_then(|after| after.to_str().ok()).map(str::to_owned);
        Ok((answer.status(), again, answer.json().await.unwrap_or(Value::Null)))
    }

    /// Waits until it is alive and not ready, as it is while its database is away.
    pub async fn wait_unready(&mut self) -> Result<()> {
        self.wait_health("/readyz", StatusCode::SERVICE_UNAVAILABLE).await?;
        self.wait_health("/livez", StatusCode::OK).await
    }

    /// Waits until it is ready.
    pub async fn wait_ready(&mut self) -> Result<()> {
        self.wait_health("/readyz", StatusCode::OK).await
    }

    async fn wait_health(&mut self, path: &str, wanted: StatusCode) -> Result<()> {
        let deadline = Instant::now() + STARTING;
        loop {
            if let Some(status) = self.ended()? {
                bail!("the gateway has ended with {status}");
            }
            let found = self.health(path).await;
            if found == Some(wanted) {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{path} answered {found:?}, and never {wanted}");
            sleep(Duration::from_millis(25)).await;
        }
    }
}

/// The folder cargo builds into, found from where this program stands.
pub fn target_dir() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    // …/target/PROFILE/deps/program or …/target/PROFILE/program
    let profile = program.ancestors().find(|dir| dir.join("deps").is_dir()).context("not run from cargo's folder")?;
    Ok(profile.to_owned())
}

/// The gateway built with the `demo` feature, beside this program.
pub fn demo_binary() -> Result<PathBuf> {
    Ok(target_dir()?.join("wagate"))
}

/// The gateway as it is shipped, which `make test` puts aside before it builds the demo.
pub fn product_binary() -> Result<PathBuf> {
    Ok(target_dir()?.parent().context("no target folder")?.join("product").join("wagate"))
}
