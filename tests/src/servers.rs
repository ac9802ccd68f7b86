//! Database servers of our own: PostgreSQL and MariaDB from Debian's packages, on loopback, in a folder that goes with them.
//!
//! Everything that makes a commit durable stays on, because that is what is measured and killed. As root they run as
//! `nobody`: neither server runs as root.
//!
//! Invariant: nothing stays behind. A server ends with its value, and when there is no time for that, with the thread
//! that started it, because it asked the kernel for a signal at that thread's end. So start one on a thread that lives as
//! long as it shall: a test's own, or a program's main thread, and never in a spawned task.

use std::env;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rand::RngExt as _;
use rustix::process::{Pid, Signal, geteuid, kill_process};
use sqlx::{Connection as _, MySqlConnection, PgConnection};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::engine::Engine;

/// Debian's `nobody` and `nogroup`.
const NOBODY: u32 = 65_534;
/// How long a server may take until it answers, recovery after a crash included.
const STARTING: Duration = Duration::from_mins(1);
/// How often making its files is tried.
const TRIES: u32 = 3;
/// The user of MariaDB; PostgreSQL's is `postgres`, so that its database of that name is found without being named.
const USER: &str = "wagate";

/// A running server. It ends, and its folder goes, when this is dropped.
#[derive(Debug)]
pub struct Server {
    engine: Engine,
    port: u16,
    password: String,
    process: Option<Child>,
    folder: TempDir,
}

impl Server {
    /// Makes a fresh one and waits until it answers.
    pub async fn start(engine: Engine) -> Result<Self> {
        ensure!(engine != Engine::Sqlite, "SQLite has no server");
        let folder = TempDir::with_prefix("wagate-engine-")?;
        let password = format!("{:032x}", rand::rng().random::<u128>());
        let mut server = Self { engine, port: free_port()?, password, process: None, folder };
        server.prepare()?;
        server.run().await?;
        Ok(server)
    }

    /// Its address, for a user who may do everything. A path of a database's name may follow.
    pub fn url(&self) -> String {
        let (scheme, user) = match self.engine {
            Engine::Mysql => ("mysql", USER),
            _ => ("postgres", "postgres"),
        };
        format!("{scheme}://{user}:{}@127.0.0.1:{}", self.password, self.port)
    }

    /// Which engine it is.
    pub fn engine(&self) -> Engine {
        self.engine
    }

    /// Where its files lie.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Kills the server with all its processes, as a machine that loses its power would.
    pub fn kill(&mut self) -> Result<()> {
        let mut process = self.process.take().context("the server does not run")?;
        let others = children(process.id())?;
        // It goes first: it would start others in place of those that are gone.
        process.kill()?;
        for pid in others {
            signal(pid, Signal::KILL);
        }
        process.wait()?;
        Ok(())
    }

    /// Runs it on its folder, unless it runs already, and waits until it answers. The first tries may fail: processes
    /// of a PostgreSQL that was killed hold its memory until they have noticed.
    pub async fn run(&mut self) -> Result<()> {
        let deadline = Instant::now() + STARTING;
        loop {
            let runs =
                self.process.as_mut().map_or(Ok(false), |process| process.try_wait().map(|end| end.is_none()))?;
            if !runs {
                self.process = Some(self.spawn()?);
            }
            if self.answers().await {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{:?} did not start; its log ends with:\n{}", self.engine, self.log());
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Makes the folder's content.
    fn prepare(&self) -> Result<()> {
        let mut command = if self.engine == Engine::Mysql {
            let user = format!("'{USER}'@'127.0.0.1'");
            let rights = format!(
                "CREATE USER IF NOT EXISTS {user} IDENTIFIED BY '{}';\nGRANT ALL ON *.* TO {user};\n",
                self.password
            );
            fs::write(self.path("init.sql"), rights)?;
            let mut command = self.command("mariadb-install-db")?;
            command.args(["--no-defaults", "--skip-test-db"]).arg(self.option("--datadir", "data"));
            command
        } else {
            fs::write(self.path("password"), &self.password)?;
            let mut command = self.command("initdb")?;
            command.args(["--username=postgres", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8"]);
            command.arg("--no-sync").arg(self.option("--pwfile", "password")).arg(self.option("--pgdata", "data"));
            command
        };
        if geteuid().is_root() {
            for entry in fs::read_dir(self.folder())? {
                chown(entry?.path(), Some(NOBODY), Some(NOBODY))?;
            }
            chown(self.folder(), Some(NOBODY), Some(NOBODY))?;
        }
        // MariaDB's has been seen to crash half way; it makes what is there anew.
        let mut tries = TRIES;
        loop {
            let made = command.output().context("cannot run setpriv, which is part of util-linux")?;
            if made.status.success() {
                return Ok(());
            }
            tries -= 1;
            ensure!(tries > 0, "{command:?}: {}", String::from_utf8_lossy(&made.stderr));
            fs::remove_dir_all(self.path("data")).or_else(|error| match error.kind() {
                ErrorKind::NotFound => Ok(()),
                _ => Err(error),
            })?;
        }
    }

    fn spawn(&self) -> Result<Child> {
        let mut command = if self.engine == Engine::Mysql {
            let mut command = self.command("mariadbd")?;
            // The collation is the one Debian configures, so that a table which forgets to name its own is noticed.
            command.args(["--no-defaults", "--character-set-server=utf8mb4", "--collation-server=utf8mb4_general_ci"]);
            command.args(["--bind-address=127.0.0.1", "--skip-name-resolve", "--max-connections=1000"]);
            command.args(["--innodb-flush-log-at-trx-commit=1", "--socket=socket", "--pid-file=pid"]);
            command.arg(format!("--port={}", self.port));
            command.arg(self.option("--datadir", "data")).arg(self.option("--init-file", "init.sql"));
            command
        } else {
            let mut command = self.command("postgres")?;
            command.arg("-D").arg(self.path("data")).args(["-p", &self.port.to_string()]);
            let settings = ["fsync=on", "synchronous_commit=on", "full_page_writes=on", "max_connections=1000"];
            let addresses = ["listen_addresses=127.0.0.1", "unix_socket_directories="];
            command.args(settings.into_iter().chain(addresses).flat_map(|setting| ["-c", setting]));
            command
        };
        let log = File::options().create(true).append(true).open(self.path("log"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        command.spawn().context("cannot run setpriv, which is part of util-linux")
    }

    /// A program of the engine, which ends with this thread.
    fn command(&self, program: &str) -> Result<Command> {
        let mut command = Command::new("setpriv");
        // PostgreSQL takes its other processes with it at SIGQUIT, and at SIGKILL it cannot. MariaDB is one process.
        command.arg(if self.engine == Engine::Mysql { "--pdeathsig=KILL" } else { "--pdeathsig=QUIT" });
        if geteuid().is_root() {
            command.arg(format!("--reuid={NOBODY}")).arg(format!("--regid={NOBODY}")).arg("--clear-groups");
        }
        command.arg("--").arg(find(program)?).current_dir(self.folder());
        Ok(command)
    }

    async fn answers(&self) -> bool {
        match self.engine {
            Engine::Mysql => match MySqlConnection::connect(&self.url()).await {
                Ok(connection) => connection.close().await.is_ok(),
                Err(_) => false,
            },
            _ => match PgConnection::connect(&self.url()).await {
                Ok(connection) => connection.close().await.is_ok(),
                Err(_) => false,
            },
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    fn option(&self, option: &str, name: &str) -> String {
        format!("{option}={}", self.path(name).display())
    }

    fn log(&self) -> String {
        let log = fs::read_to_string(self.path("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let Some(process) = &mut self.process else { return };
        // At once, and nothing is kept: the folder goes, too.
        signal(process.id(), if self.engine == Engine::Mysql { Signal::KILL } else { Signal::QUIT });
        let _gone = process.wait();
    }
}

/// Sends a signal. Whoever has ended meanwhile needs none.
fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _gone = kill_process(pid, signal);
    }
}

/// The processes a process started by its main thread.
fn children(pid: u32) -> Result<Vec<u32>> {
    let listed = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    listed.split_whitespace().map(|child| Ok(child.parse()?)).collect()
}

/// A port nobody listens on. It lies below those the system gives to connections, so that it stays free while its
/// server is down.
pub(crate) fn free_port() -> Result<u16> {
    for _ in 0..100 {
        let port = rand::rng().random_range(20_000..30_000_u16);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("found no free port between 20000 and 30000")
}

/// Where a program of an engine is. Debian keeps PostgreSQL's out of the way, in a folder for each version.
pub(crate) fn find(program: &str) -> Result<PathBuf> {
    let mut folders: Vec<PathBuf> = env::split_paths(&env::var_os("PATH").unwrap_or_default()).collect();
    folders.push("/usr/sbin".into());
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut versions: Vec<u32> = versions.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    versions.sort_unstable();
    folders.extend(versions.iter().rev().map(|version| PathBuf::from(format!("/usr/lib/postgresql/{version}/bin"))));
    folders.iter().map(|folder| folder.join(program)).find(|path| path.is_file()).with_context(|| {
        format!(
            "{program} is missing: install Debian's postgresql, mariadb-server-core, mariadb-client and nats-server (`make tools` does), \
             or set WAGATE_TEST_ENGINES=sqlite to leave servers out"
        )
    })
}
