//! A gateway in a process of its own, as a user runs it, so that it can be killed.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::process::{Child, Command};

use crate::api::{Api, PASSWORD};
use crate::compiled;

/// How to run it.
#[derive(Clone, Debug)]
pub struct Setup {
    binary: PathBuf,
    data: PathBuf,
    port: u16,
    whatsapp: String,
}

/// A running process. It is killed when this is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    base: String,
}

impl Setup {
    /// A `binary` of the gateway on the folder `data`, towards the WhatsApp server at `whatsapp`.
    pub fn new(binary: &Path, data: &Path, whatsapp: &str) -> Result<Self> {
        // Bound and let go: the gateway comes back to the same port after each restart.
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        Ok(Self { binary: binary.to_owned(), data: data.to_owned(), port, whatsapp: whatsapp.to_owned() })
    }

    /// Starts it and waits until it answers.
    pub async fn start(&self) -> Result<Process> {
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
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot run {}; build it first", self.binary.display()))?;
        let mut process = Process { child, base: format!("http://127.0.0.1:{}", self.port) };
        process.wait_ready().await.with_context(|| format!("see {}", self.data.join("log").display()))?;
        Ok(process)
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

    /// Whether it has ended, and how.
    pub fn ended(&mut self) -> Result<Option<std::process::ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    async fn wait_ready(&mut self) -> Result<()> {
        let http = crate::api::http_client()?;
        for _ in 0..2400 {
            if let Some(status) = self.ended()? {
                bail!("the gateway ended at once with {status}");
            }
            if http.get(format!("{}/readyz", self.base)).send().await.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        bail!("the gateway did not become ready")
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
