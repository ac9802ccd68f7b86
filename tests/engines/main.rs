//! Runs a command with a PostgreSQL and a MariaDB of its own: `with-engines cargo test …`.
//!
//! The command finds them in `WAGATE_TEST_POSTGRES` and `WAGATE_TEST_MYSQL`. They end with it, whatever ends it or us.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};
use wagate_tests::engine::Engine;
use wagate_tests::servers::Server;

// One thread: the servers end with the thread that starts them.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode> {
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    let (program, arguments) = words.split_first().context("say what to run: with-engines COMMAND [ARGUMENT…]")?;
    let mut signals =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?);
    tokio::select! {
        code = run(program, arguments) => code,
        _ = signals.0.recv() => bail!("interrupted"),
        _ = signals.1.recv() => bail!("told to end"),
        _ = signals.2.recv() => bail!("the terminal is gone"),
    }
}

async fn run(program: &OsString, arguments: &[OsString]) -> Result<ExitCode> {
    let mut command = Command::new(program);
    command.args(arguments).kill_on_drop(true);
    let mut servers = Vec::new();
    for engine in Engine::servers()? {
        let server = Server::start(*engine).await?;
        command.env(engine.variable().context("no server")?, server.url());
        servers.push(server);
    }
    let status = command.spawn().with_context(|| format!("cannot run {}", program.display()))?.wait().await?;
    drop(servers);
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}
