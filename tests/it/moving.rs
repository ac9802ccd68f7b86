//! Backup and restore by `wagate backup` and `wagate restore`, of gateways in processes of their own, as users run them: one
//! that moves from engine to engine with its sessions, and one that is backed up while it works.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;
use tokio::process::Command;
use wagate_simulator::{Network, NetworkConfig, Phone};
use wagate_tests::api::{Api, PASSWORD, PATIENCE};
use wagate_tests::database::Database;
use wagate_tests::engine::Engine;
use wagate_tests::process::{Process, Setup, demo_binary};
use wagate_tests::receiver::{Receiver, Recorded, Reply};

/// Where a gateway's state is: its folder, and its database.
struct Place {
    folder: PathBuf,
    url: String,
    _database: Database,
}

impl Place {
    /// A new database; on SQLite it is a file of this name in the folder.
    fn new(engine: Engine, folder: &Path, name: &str) -> Result<Self> {
        let database = Database::on(engine)?;
        let url = database.url().unwrap_or_else(|| format!("sqlite:{}", folder.join(name).display()));
        Ok(Self { folder: folder.to_owned(), url, _database: database })
    }

    fn setup(&self, network: &Network) -> Result<Setup> {
        let setup = Setup::new(&demo_binary()?, &self.folder, &network.ws_url())?;
        Ok(setup.with("DATABASE_URL", &self.url))
    }

    /// Runs a command of `wagate` here: whether it went well, and all it said. `port` is where a gateway may run.
    async fn wagate<S: AsRef<OsStr>>(&self, port: &str, arguments: &[S]) -> Result<(bool, String)> {
        let mut wagate = Command::new(demo_binary()?);
        wagate.args(arguments).current_dir(&self.folder).env_clear();
        wagate.env("WHATSAPP_URL", "ws://127.0.0.1:9/").env("DATA_DIR", &self.folder).env("DATABASE_URL", &self.url);
        wagate.env("PORT", port).env("WAGATE_PASSWORD", PASSWORD);
        let output = wagate.output().await?;
        let said = [output.stdout, output.stderr].concat();
        Ok((output.status.success(), String::from_utf8(said)?))
    }

    async fn said<S: AsRef<OsStr>>(&self, port: &str, arguments: &[S]) -> Result<String> {
        let (well, said) = self.wagate(port, arguments).await?;
        ensure!(well, "{said}");
        Ok(said)
    }
}

/// A port no gateway listens on: the discard port.
const NO_GATEWAY: &str = "9";

fn port(gateway: &Process) -> Result<String> {
    Ok(gateway.base().rsplit(':').next().context("no port")?.to_owned())
}

fn says(request: &Recorded, text: &str) -> bool {
    request.json().is_ok_and(|body| body["message"]["message"] == text)
}

async fn stop(gateway: Process) -> Result<()> {
    gateway.terminate()?;
    let status = gateway.end().await?;
    ensure!(status.success(), "{status}");
    Ok(())
}

/// Sessions connect with the keys they have, by the handshake of a known device, and a message goes both ways.
async fn converse(api: &Api, ids: &[String], accounts: &[Phone], friend: &Phone, hook: &Receiver) -> Result<()> {
    for (id, account) in ids.iter().zip(accounts) {
        api.wait_connected(id).await?;
        ensure!(account.devices().len() == 1, "it was linked anew: {:?}", account.devices());
        let round = rand::random::<u32>();
        let (there, back) = (format!("to {id}, {round}"), format!("from {id}, {round}"));
        friend.send_text(account.number(), &there).await?;
        hook.wait_until(PATIENCE, |request| says(request, &there)).await.context(there.clone())?;
        api.send_text(id, friend.number(), &back).await?;
        let received = friend.wait_for(PATIENCE, |received| received.text.as_deref() == Some(back.as_str())).await;
        received.context(back.clone())?;
    }
    Ok(())
}

/// `IK` is the handshake of a device that is linked, `XX` that of a new one.
fn all_known(network: &Network, before: usize) -> Result<()> {
    let later = network.handshakes().split_off(before);
    ensure!(!later.is_empty() && later.iter().all(|pattern| *pattern == "IK"), "{later:?}");
    Ok(())
}

async fn acknowledged(account: &Phone) -> Result<()> {
    let waiting = async {
        while account.unacked() > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.context("something stayed unacknowledged")
}

/// From SQLite to each server and back to SQLite, the gateway stopped meanwhile.
#[tokio::test]
async fn a_gateway_moves_from_engine_to_engine_with_its_sessions_and_what_waits() -> Result<()> {
    let (network, data, hook) =
        (Network::start(NetworkConfig::default()).await?, TempDir::new()?, Receiver::start().await?);
    let accounts = [network.add_phone("Ana"), network.add_phone("Budi")];
    let friend = network.add_phone("Friend");
    let mut place = Place::new(Engine::Sqlite, data.path(), "first.db")?;
    let mut gateway = place.setup(&network)?.start().await?;
    let mut api = gateway.login().await?;
    let mut ids = Vec::new();
    for account in &accounts {
        ids.push(api.link(account, Some(&hook.url())).await?);
    }
    converse(&api, &ids, &accounts, &friend, &hook).await?;
    let onward = Engine::servers()?.iter().copied().chain([Engine::Sqlite]);
    for (move_number, engine) in onward.enumerate() {
        hook.otherwise(Reply::status(503));
        let waits = format!("it waits during move {move_number}");
        friend.send_text(accounts[0].number(), &waits).await?;
        let tried = hook.wait_until(PATIENCE, |request| says(request, &waits)).await?;
        acknowledged(&accounts[0]).await?;
        stop(gateway).await?;
        let stopped = Instant::now();

        let dump = data.path().join(format!("{move_number}.dump")).display().to_string();
        let said = place.said(NO_GATEWAY, &["backup", "--dump", &dump]).await?;
        assert!(said.contains("verified") && said.contains("master key is not in it"), "{said}");
        place = Place::new(engine, data.path(), "last.db")?;
        let said = place.said(NO_GATEWAY, &["restore", "--dry-run", &dump]).await?;
        assert!(said.contains("sound dump") && said.contains("Nothing was written"), "{said}");
        place.said(NO_GATEWAY, &["restore", &dump]).await?;
        let (well, told) = place.wagate(NO_GATEWAY, &["restore", &dump]).await?;
        assert!(!well && told.contains("is not empty"), "{told}");

        let before = network.handshakes().len();
        hook.otherwise(Reply::status(200));
        gateway = place.setup(&network)?.start().await?;
        api = gateway.login().await?;
        converse(&api, &ids, &accounts, &friend, &hook).await?;
        all_known(&network, before)?;
        let again = hook.wait_until(PATIENCE, |request| request.at > stopped && request.id() == tried.id()).await?;
        assert_eq!(again.body, tried.body, "{engine:?}");
    }
    stop(gateway).await?;
    network.stop().await;
    Ok(())
}

/// On the engine of the run: what is written meanwhile does not stand in the way, and the backup starts elsewhere.
#[tokio::test]
async fn a_gateway_is_backed_up_while_it_works() -> Result<()> {
    let (network, hook) = (Network::start(NetworkConfig::default()).await?, Receiver::start().await?);
    let (data, elsewhere) = (TempDir::new()?, TempDir::new()?);
    let (account, friend) = ([network.add_phone("Ana")], network.add_phone("Friend"));
    let engine = Engine::of_run()?;
    let place = Place::new(engine, data.path(), "wagate.db")?;
    let gateway = place.setup(&network)?.start().await?;
    let (api, port) = (gateway.login().await?, port(&gateway)?);
    let ids = [api.link(&account[0], Some(&hook.url())).await?];

    let file = elsewhere.path().join("backup").display().to_string();
    let backup = ["backup", file.as_str()];
    let (backed_up, talked) = tokio::join!(place.said(&port, &backup), converse(&api, &ids, &account, &friend, &hook));
    talked?;
    assert!(backed_up?.contains("verified"));
    let (well, told) = place.wagate(&port, &backup).await?;
    assert!(!well && told.contains("exists"), "{told}");
    let (well, told) = place.wagate(&port, &["restore", &file]).await?;
    let refused = if engine == Engine::Sqlite { "another wagate uses" } else { "is not empty" };
    assert!(!well && told.contains(refused), "{told}");
    let dump = elsewhere.path().join("dump").display().to_string();
    place.said(&port, &["backup", "--dump", &dump]).await?;
    converse(&api, &ids, &account, &friend, &hook).await.context("the gateway goes on")?;
    stop(gateway).await?;

    let new = Place::new(engine, elsewhere.path(), "wagate.db")?;
    let (well, told) = new.wagate(NO_GATEWAY, &["restore", &dump]).await?;
    assert!(!well && told.contains("there is no master key"), "{told}");
    std::fs::copy(data.path().join("master.key"), elsewhere.path().join("master.key"))?;
    new.said(NO_GATEWAY, &["restore", "--dry-run", &file]).await?;
    new.said(NO_GATEWAY, &["restore", &dump]).await?;
    let before = network.handshakes().len();
    let gateway = new.setup(&network)?.start().await?;
    converse(&gateway.login().await?, &ids, &account, &friend, &hook).await?;
    all_known(&network, before)?;
    stop(gateway).await?;
    network.stop().await;
    Ok(())
}
