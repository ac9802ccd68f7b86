//! Moving house: backups and dumps of a gateway that works, restored into another folder or another engine, where it goes
//! on with its linked accounts and with the webhook that was still to be delivered.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;
use wagate_simulator::{Network, NetworkConfig, Phone};
use wagate_tests::api::{Api, PASSWORD, PATIENCE};
use wagate_tests::database::Database;
use wagate_tests::engine::Engine;
use wagate_tests::gateway::Gateway;
use wagate_tests::process::{Process, Setup, demo_binary};
use wagate_tests::receiver::{Receiver, Reply};

/// Where a gateway lives: its database, and the folder with its master key.
struct Place {
    database: Database,
    data: TempDir,
    setup: Setup,
}

impl Place {
    fn on(engine: Engine, network: &Network) -> Result<Self> {
        let (database, data) = (Database::on(engine)?, TempDir::new()?);
        let setup = Setup::new(&demo_binary()?, data.path(), &network.ws_url())?.on(&database);
        Ok(Self { database, data, setup })
    }

    /// Another one under the same master key.
    fn beside(&self, engine: Engine, network: &Network) -> Result<Self> {
        let place = Self::on(engine, network)?;
        std::fs::copy(self.data.path().join("master.key"), place.data.path().join("master.key"))?;
        Ok(place)
    }

    /// `wagate …` with the settings of the gateway here, which listens on this port when it runs.
    async fn wagate(&self, port: &str, command: &[&str], file: &Path) -> Result<Output> {
        let mut wagate = Command::new(demo_binary()?);
        wagate.args(command).arg(file).current_dir(self.data.path()).env_clear();
        wagate.env("WHATSAPP_URL", "ws://127.0.0.1:9/").env("DATA_DIR", self.data.path());
        wagate.env("PORT", port).env("WAGATE_PASSWORD", PASSWORD);
        wagate.envs(self.database.url().map(|url| ("DATABASE_URL", url)));
        Ok(wagate.output().await?)
    }

    async fn said(&self, port: &str, command: &[&str], file: &Path) -> Result<String> {
        let Output { status, stdout, stderr } = self.wagate(port, command, file).await?;
        ensure!(status.success(), "{command:?}: {}", String::from_utf8_lossy(&stderr));
        Ok(String::from_utf8(stdout)?)
    }

    async fn complaint(&self, port: &str, command: &[&str], file: &Path) -> Result<String> {
        let Output { status, stderr, .. } = self.wagate(port, command, file).await?;
        ensure!(!status.success(), "{command:?} went well");
        Ok(String::from_utf8(stderr)?)
    }
}

/// Nobody listens there.
const NOBODY: &str = "9";

fn port(gateway: &Process) -> Result<&str> {
    gateway.base().rsplit(':').next().context("no port")
}

/// Two linked accounts, somebody who writes to them, and where their webhooks go.
struct Street {
    network: Network,
    accounts: [(Phone, String); 2],
    friend: Phone,
    hook: Receiver,
}

impl Street {
    async fn link(network: Network, api: &Api) -> Result<Self> {
        let (ana, budi, friend) = (network.add_phone("Ana"), network.add_phone("Budi"), network.add_phone("Friend"));
        let hook = Receiver::start().await?;
        let ids = [api.link(&ana, Some(&hook.url())).await?, api.link(&budi, Some(&hook.url())).await?];
        let [first, second] = ids;
        Ok(Self { network, accounts: [(ana, first), (budi, second)], friend, hook })
    }

    /// Has a message arrive whose webhook is refused for now; the id it is posted under.
    async fn leave_a_webhook_pending(&self, text: &str) -> Result<String> {
        self.hook.otherwise(Reply::status(500));
        self.friend.send_text(self.accounts[0].0.number(), text).await?;
        let refused = self.hook.wait_until(PATIENCE, |request| String::from_utf8_lossy(&request.body).contains(text));
        Ok(refused.await?.id().to_owned())
    }

    /// Starts a gateway that was moved here, and makes sure that nobody notices: no QR code, messages each way, and what
    /// was left pending is delivered.
    async fn open(&self, place: &Place, pending: &str, round: u32) -> Result<Process> {
        let (handshakes, posted) = (self.network.handshakes().len(), self.hook.count());
        self.hook.otherwise(Reply::status(200));
        let gateway = place.setup.start().await?;
        let api = gateway.login().await?;
        for (account, id) in &self.accounts {
            api.wait_connected(id).await?;
            let (question, answer) = (format!("question {round} to {id}"), format!("answer {round} of {id}"));
            self.friend.send_text(account.number(), &question).await?;
            let asked = |body: &[u8]| String::from_utf8_lossy(body).contains(&question);
            self.hook.wait_until(PATIENCE, |request| asked(&request.body)).await.context("no question")?;
            api.send_text(id, self.friend.number(), &answer).await?;
            let heard = self.friend.wait_for(PATIENCE, |message| message.text.as_deref() == Some(answer.as_str()));
            heard.await.context("no answer")?;
        }
        let later = self.network.handshakes().split_off(handshakes);
        assert!(!later.is_empty() && later.iter().all(|pattern| *pattern == "IK"), "{later:?}");
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !self.hook.requests()[posted..].iter().any(|request| request.id() == pending) {
            ensure!(tokio::time::Instant::now() < deadline, "what was pending was not delivered");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(gateway)
    }
}

async fn stop(gateway: Process) -> Result<()> {
    gateway.terminate()?;
    let status = gateway.end().await?;
    ensure!(status.success(), "{status}");
    Ok(())
}

/// From a file to this engine, by a dump or a copied file, and back.
async fn moves(engine: Engine, command: &[&str]) -> Result<()> {
    let (network, backups) = (Network::start(NetworkConfig::default()).await?, TempDir::new()?);
    let old = Place::on(Engine::Sqlite, &network)?;
    let gateway = old.setup.start().await?;
    let street = Street::link(network, &gateway.login().await?).await?;
    let pending = street.leave_a_webhook_pending("still to be delivered").await?;

    let file = backups.path().join("there");
    let report = old.said(port(&gateway)?, command, &file).await?;
    assert!(report.contains("verified"), "{report}");
    assert_eq!(file.metadata()?.permissions().mode() & 0o777, 0o600);
    let left = std::fs::read_dir(old.data.path().join("backups"))?.count();
    assert_eq!(left, 0, "the gateway's own copy was taken over");
    let again = old.complaint(port(&gateway)?, command, &file).await?;
    assert!(again.contains("exists"), "{again}");
    let (_, version) = gateway.login().await?.get("/api/version").await?;
    assert_eq!(version["name"], "wagate", "the gateway went on working");
    stop(gateway).await?;

    let new = old.beside(engine, &street.network)?;
    let sound = new.said(NOBODY, &["restore", "--dry-run"], &file).await?;
    assert!(sound.contains("sound") && sound.contains("Nothing was written"), "{sound}");
    new.said(NOBODY, &["restore"], &file).await?;
    let twice = new.complaint(NOBODY, &["restore"], &file).await?;
    assert!(twice.contains("is not empty"), "{twice}");
    let gateway = street.open(&new, &pending, 1).await?;

    let pending = street.leave_a_webhook_pending("to be delivered at home").await?;
    let file = backups.path().join("back");
    new.said(port(&gateway)?, &["backup", "--dump"], &file).await?;
    stop(gateway).await?;
    let home = old.beside(Engine::Sqlite, &street.network)?;
    home.said(NOBODY, &["restore"], &file).await?;
    let gateway = street.open(&home, &pending, 2).await?;
    stop(gateway).await?;
    street.network.stop().await;
    Ok(())
}

async fn unless_left_out(engine: Engine) -> Result<()> {
    if Engine::servers()?.contains(&engine) { moves(engine, &["backup", "--dump"]).await } else { Ok(()) }
}

#[tokio::test]
async fn a_gateway_moves_to_postgres_and_back() -> Result<()> {
    unless_left_out(Engine::Postgres).await
}

#[tokio::test]
async fn a_gateway_moves_to_mariadb_and_back() -> Result<()> {
    unless_left_out(Engine::Mysql).await
}

#[tokio::test]
async fn a_gateway_moves_to_another_folder_by_a_copied_file() -> Result<()> {
    moves(Engine::Sqlite, &["backup"]).await
}

#[tokio::test]
async fn a_backup_without_its_master_key_is_told_so() -> Result<()> {
    let (network, backups) = (Network::start(NetworkConfig::default()).await?, TempDir::new()?);
    let (old, other) = (Place::on(Engine::Sqlite, &network)?, Place::on(Engine::Sqlite, &network)?);
    let gateway = old.setup.start().await?;
    gateway.login().await?.create_session("Support", Some("https://example.org/hook")).await?;
    stop(gateway).await?;
    // Nobody runs: the file is copied by the command itself.
    let file = backups.path().join("backup");
    old.said(NOBODY, &["backup"], &file).await?;
    let keyless = other.complaint(NOBODY, &["restore"], &file).await?;
    assert!(keyless.contains("there is no master key") && keyless.contains("master.key"), "{keyless}");
    stop(other.setup.start().await?).await?;
    for name in ["wagate.db", "wagate.db-wal", "wagate.db-shm"] {
        let _absent = std::fs::remove_file(other.data.path().join(name));
    }
    let wrong = other.complaint(NOBODY, &["restore"], &file).await?;
    assert!(wrong.contains("needs the master key") && wrong.contains("there is only"), "{wrong}");
    assert!(!other.data.path().join("wagate.db").exists(), "nothing was made");
    network.stop().await;
    Ok(())
}

async fn copied(api: &Api) -> Result<Value> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let (status, copy) = api.get("/api/admin/backup").await?;
        ensure!(status == StatusCode::OK && tokio::time::Instant::now() < deadline, "{status} {copy}");
        if copy["state"] != "running" {
            return Ok(copy);
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

#[tokio::test]
async fn an_administrator_has_the_gateway_copy_its_file() -> Result<()> {
    let network = Network::start(NetworkConfig::default()).await?;
    let gateway = Gateway::start(&network).await?;
    let (status, refused) = gateway.user("ann").await?.post("/api/admin/backup", json!({})).await?;
    assert_eq!((status, &refused["code"]), (StatusCode::FORBIDDEN, &json!("admin_only")));
    assert_eq!(copied(&gateway).await?, json!({ "state": "idle", "file": null, "error": null }));
    let (status, begun) = gateway.post("/api/admin/backup", json!({})).await?;
    if Engine::of_run()? == Engine::Sqlite {
        assert_eq!(status, StatusCode::ACCEPTED, "{begun}");
        let done = copied(&gateway).await?;
        assert_eq!((&done["state"], &done["file"]), (&json!("done"), &begun["file"]), "{done}");
        let file = Path::new(done["file"].as_str().context("no file")?);
        assert!(file.starts_with(gateway.app().store().file().context("no file")?.parent().context("no folder")?));
        assert!(file.is_file() && file.parent().is_some_and(|folder| folder.ends_with("backups")), "{done}");
    } else {
        assert_eq!((status, &begun["code"]), (StatusCode::CONFLICT, &json!("no_file")), "{begun}");
        assert!(begun["message"].as_str().is_some_and(|message| message.contains("wagate backup")), "{begun}");
    }
    gateway.stop().await;
    network.stop().await;
    Ok(())
}
