//! PostgreSQL and MariaDB with their own troubles: a server that is down, wrong credentials, gateways that start at once
//! or share a database, writes that meet. Each check runs on both, whichever engine the run is about.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;
use reqwest::StatusCode;
use tempfile::TempDir;
use tokio::time::Instant;
use wagate::app::tasks::Tasks;
use wagate::config::VaultConfig;
use wagate::model::Clock;
use wagate::store::{Store, Vault};
use wagate_simulator::{Network, NetworkConfig};
use wagate_tests::api::PATIENCE;
use wagate_tests::database::Database;
use wagate_tests::engine::Engine;
use wagate_tests::post::Post;
use wagate_tests::process::{Process, Setup, demo_binary};
use wagate_tests::receiver::Receiver;
use wagate_tests::servers::Server;

macro_rules! on_each_server {
    ($($check:ident)+) => {
        mod postgres {
            $(
                #[tokio::test]
                async fn $check() -> anyhow::Result<()> {
                    super::unless_left_out(super::Engine::Postgres, super::$check).await
                }
            )+
        }
        mod mariadb {
            $(
                #[tokio::test]
                async fn $check() -> anyhow::Result<()> {
                    super::unless_left_out(super::Engine::Mysql, super::$check).await
                }
            )+
        }
    };
}

on_each_server! {
    wrong_credentials_are_refused
    a_server_that_is_down_at_the_start_is_waited_for
    a_gateway_that_waits_for_its_server_says_so_and_stops_when_asked
    what_somebody_must_mend_ends_the_wait
    a_server_that_goes_is_waited_for
    a_gateway_that_stands_by_takes_over_from_one_that_was_killed
    a_gateway_that_stops_hands_over_at_once
    a_gateway_that_was_replaced_ends_itself
    gateways_that_start_at_once_do_not_collide
    deadlocks_are_tried_again
}

async fn unless_left_out(engine: Engine, check: impl AsyncFnOnce(Engine) -> Result<()>) -> Result<()> {
    if Engine::servers()?.contains(&engine) { check(engine).await } else { Ok(()) }
}

/// A gateway's log and folder, and a network for it.
struct Stand {
    network: Network,
    data: TempDir,
}

impl Stand {
    async fn new() -> Result<Self> {
        Ok(Self { network: Network::start(NetworkConfig::default()).await?, data: TempDir::new()? })
    }

    fn setup(&self, url: &str) -> Result<Setup> {
        self.setup_in(self.data.path(), url)
    }

    /// On another folder, as on another machine.
    fn setup_in(&self, folder: &Path, url: &str) -> Result<Setup> {
        let setup = Setup::new(&demo_binary()?, folder, &self.network.ws_url())?;
        Ok(setup.with("DATABASE_URL", url))
    }

    /// Two that share a database, and with it the key it is sealed with.
    fn pair(&self, other: &Path, url: &str) -> Result<[Setup; 2]> {
        let key = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
        Ok([self.setup(url)?.with("MASTER_KEY", key), self.setup_in(other, url)?.with("MASTER_KEY", key)])
    }
}

async fn wrong_credentials_are_refused(engine: Engine) -> Result<()> {
    let server = Server::start(engine).await?;
    let database = Database::at(&server)?;
    let stand = Stand::new().await?;
    let right = database.url().unwrap();
    let password = right.split([':', '@']).nth(2).unwrap().to_owned();
    let setup = stand.setup(&right.replace(&password, "a-guess"))?;
    let status = setup.launch()?.end().await?;
    assert!(!status.success(), "{status}");
    let log = setup.log()?;
    assert!(log.contains("DATABASE_URL") || log.contains("DB_PASS"), "it must say what to change: {log}");
    assert!(!log.contains("a-guess") && !log.contains(&password), "the log holds a password: {log}");
    // The same gateway starts with the right one.
    stand.setup(&right)?.start().await?.kill().await?;
    stand.network.stop().await;
    Ok(())
}

async fn a_server_that_is_down_at_the_start_is_waited_for(engine: Engine) -> Result<()> {
    let mut server = Server::start(engine).await?;
    let database = Database::at(&server)?;
    let stand = Stand::new().await?;
    let setup = stand.setup(&database.url().unwrap())?;
    server.kill()?;
    let mut gateway = setup.launch()?;
    gateway.wait_unready().await?;
    server.run().await?;
    gateway.wait_ready().await?;
    delivers(&stand, &gateway).await?;
    gateway.kill().await?;
    stand.network.stop().await;
    drop(database);
    Ok(())
}

/// Every path says in the same words that it has to wait; `code` is for programs.
async fn waits_for(gateway: &Process, code: &str) -> Result<()> {
    for path in ["/readyz", "/api/sessions", "/api/nothing", "/api-docs.yaml"] {
        let (status, again, body) = gateway.look(path).await?;
        ensure!(status == StatusCode::SERVICE_UNAVAILABLE && body["code"] == code, "{path}: {status} {body}");
        ensure!(again.is_some_and(|seconds| seconds.parse().is_ok_and(|seconds: u32| seconds > 0)), "{path}: when?");
        ensure!(body["error"] == "Service Unavailable", "{path}: {body}");
        ensure!(body["message"].as_str().is_some_and(|message| message.contains("database")), "{path}: {body}");
    }
    for path in ["/livez", "/api/version"] {
        ensure!(gateway.look(path).await?.0 == StatusCode::OK, "{path} needs no store");
    }
    Ok(())
}

/// Waits until it says so.
async fn wait_for_code(gateway: &mut Process, code: &str) -> Result<()> {
    gateway.wait_unready().await?;
    let deadline = Instant::now() + PATIENCE;
    while waits_for(gateway, code).await.is_err() && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    waits_for(gateway, code).await
}

async fn a_gateway_that_waits_for_its_server_says_so_and_stops_when_asked(engine: Engine) -> Result<()> {
    let mut server = Server::start(engine).await?;
    let database = Database::at(&server)?;
    let url = database.url().context("no address")?;
    let password = url.split([':', '@']).nth(2).context("no password")?.to_owned();
    let stand = Stand::new().await?;
    let setup = stand.setup(&url)?;
    server.kill()?;
    let mut gateway = setup.launch()?;
    wait_for_code(&mut gateway, "database_unreachable").await?;
    let (_, _, body) = gateway.look("/readyz").await?;
    assert!(!body.to_string().contains(&password), "{body}");
    let asked = Instant::now();
    gateway.terminate()?;
    let status = gateway.end().await?;
    assert!(status.success() && asked.elapsed() < Duration::from_secs(5), "{status} after {:?}", asked.elapsed());
    let log = setup.log()?;
    assert!(log.contains("DB_HOST") && !log.contains(&password), "{log}");
    server.run().await?;
    stand.network.stop().await;
    drop(database);
    Ok(())
}

async fn what_somebody_must_mend_ends_the_wait(engine: Engine) -> Result<()> {
    let mut server = Server::start(engine).await?;
    let database = Database::at(&server)?;
    let stand = Stand::new().await?;
    let setup = stand.setup(&format!("{}/nowhere", server.url()))?;
    server.kill()?;
    let mut gateway = setup.launch()?;
    gateway.wait_unready().await?;
    server.run().await?;
    let status = gateway.end().await?;
    let log = setup.log()?;
    assert!(!status.success() && log.contains("nowhere") && log.contains("CREATE DATABASE"), "{status}: {log}");
    stand.network.stop().await;
    drop(database);
    Ok(())
}

async fn a_server_that_goes_is_waited_for(engine: Engine) -> Result<()> {
    let mut server = Server::start(engine).await?;
    let database = Database::at(&server)?;
    let stand = Stand::new().await?;
    let mut gateway = stand.setup(&database.url().context("no address")?)?.start().await?;
    let hook = Receiver::start().await?;
    let (account, friend) = (stand.network.add_phone("Account"), stand.network.add_phone("Friend"));
    gateway.login().await?.link(&account, Some(&hook.url())).await?;
    for round in 0..2 {
        server.kill()?;
        gateway.wait_unready().await?;
        friend.send_text(account.number(), &format!("while it was away {round}")).await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!((hook.count(), account.unacked_messages()), (round, 1), "acknowledged without being stored");
        server.run().await?;
        gateway.wait_ready().await?;
        hook.wait_for(round + 1, PATIENCE).await?;
        // Lets it be written down that the webhook was taken, or it would be posted again.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    gateway.kill().await?;
    stand.network.stop().await;
    drop(database);
    Ok(())
}

/// Links a session and sees a message through.
async fn delivers(stand: &Stand, gateway: &Process) -> Result<()> {
    let (account, friend) = (stand.network.add_phone("Account"), stand.network.add_phone("Friend"));
    let hook = Receiver::start().await?;
    gateway.login().await?.link(&account, Some(&hook.url())).await?;
    friend.send_text(account.number(), "Hello!").await?;
    hook.wait_for(1, PATIENCE).await?;
    Ok(())
}

async fn a_gateway_that_stands_by_takes_over_from_one_that_was_killed(engine: Engine) -> Result<()> {
    let database = Database::on(engine)?;
    let (stand, other) = (Stand::new().await?, TempDir::new()?);
    let [first, second] = stand.pair(other.path(), &database.url().context("no address")?)?;
    let active = first.start().await?;
    let mut standby = second.launch()?;
    wait_for_code(&mut standby, "standby").await?;

    let hook = Receiver::start().await?;
    let (account, friend) = (stand.network.add_phone("Account"), stand.network.add_phone("Friend"));
    let session = active.login().await?.link(&account, Some(&hook.url())).await?;
    friend.send_text(account.number(), "to the first").await?;
    hook.wait_for(1, PATIENCE).await?;
    let logins = stand.network.logins(account.number());
    // Several of its attempts long: it holds no session and sends no webhook.
    tokio::time::sleep(Duration::from_secs(3)).await;
    waits_for(&standby, "standby").await?;
    assert_eq!((stand.network.logins(account.number()), hook.count()), (logins, 1));

    active.kill().await?;
    friend.send_text(account.number(), "to nobody").await?;
    standby.wait_ready().await?;
    standby.login().await?.wait_connected(&session).await?;
    assert!(stand.network.logins(account.number()) > logins, "connected with what was linked before");
    friend.send_text(account.number(), "to the second").await?;
    hook.wait_for(3, PATIENCE).await?;

    // The first comes back and stands by in its turn.
    let mut back = first.launch()?;
    wait_for_code(&mut back, "standby").await?;
    assert_eq!(standby.health("/readyz").await, Some(StatusCode::OK));
    back.kill().await?;
    standby.kill().await?;
    stand.network.stop().await;
    drop(database);
    Ok(())
}

async fn a_gateway_that_stops_hands_over_at_once(engine: Engine) -> Result<()> {
    let database = Database::on(engine)?;
    let (stand, other) = (Stand::new().await?, TempDir::new()?);
    let [first, second] = stand.pair(other.path(), &database.url().context("no address")?)?;
    let active = first.start().await?;
    let mut standby = second.launch()?;
    wait_for_code(&mut standby, "standby").await?;
    active.terminate()?;
    let status = active.end().await?;
    assert!(status.success(), "{status}: {}", first.log()?);
    let ended = Instant::now();
    standby.wait_ready().await?;
    assert!(ended.elapsed() < Duration::from_secs(15), "nobody was active for {:?}", ended.elapsed());
    delivers(&stand, &standby).await?;
    standby.kill().await?;
    stand.network.stop().await;
    drop(database);
    Ok(())
}

/// As one is that lost its lock, when another took it, without hearing of it.
async fn a_gateway_that_was_replaced_ends_itself(engine: Engine) -> Result<()> {
    let (database, stand) = (Database::on(engine)?, Stand::new().await?);
    let setup = stand.setup(&database.url().context("no address")?)?;
    let gateway = setup.start().await?;
    delivers(&stand, &gateway).await?;
    let raw = database.raw(stand.data.path()).await?;
    assert_eq!(raw.number("SELECT epoch FROM leadership").await?, 1);
    raw.run("UPDATE leadership SET epoch = epoch + 1").await?;
    let status = gateway.end().await?;
    let log = setup.log()?;
    assert!(!status.success() && log.contains("error: another gateway took over this database"), "{status}: {log}");
    // Whoever looks after it starts it again, and it leads, because nobody else does.
    setup.start().await?.kill().await?;
    assert_eq!(raw.number("SELECT epoch FROM leadership").await?, 3);
    raw.close().await;
    stand.network.stop().await;
    drop(database);
    Ok(())
}

async fn gateways_that_start_at_once_do_not_collide(engine: Engine) -> Result<()> {
    let (database, dir) = (Database::on(engine)?, TempDir::new()?);
    let config = database.config(&dir.path().join("wagate.db"))?;
    // One key, as where gateways share a database.
    let vault = Vault::open(&VaultConfig::in_file(dir.path().join("master.key"))).await?;
    let tasks = Tasks::new();
    let stores = (0..6).map(async |_| anyhow::Ok(Store::open(&config, vault.clone(), Clock::System, &tasks).await?));
    for store in try_join_all(stores).await? {
        store.ping().await?;
        store.close().await;
    }
    let raw = database.raw(dir.path()).await?;
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../migrations/sqlite");
    let applied = raw.count("_sqlx_migrations", "success").await?;
    assert_eq!(usize::try_from(applied)?, std::fs::read_dir(folder)?.count());
    raw.close().await;
    Ok(())
}

/// Two writes in a row end as the loser of a deadlock does, and as one that waited too long for a lock.
async fn deadlocks_are_tried_again(engine: Engine) -> Result<()> {
    let mut post = Post::on(Database::on(engine)?, "http://127.0.0.1:9/", Clock::System).await?;
    let raw = post.raw().await?;
    // What counts the tries stands outside of transactions, so that undoing one does not undo the count.
    let trap: &[&str] = match engine {
        Engine::Postgres => &[
            "CREATE SEQUENCE trap",
            "CREATE FUNCTION collide() RETURNS trigger LANGUAGE plpgsql AS $$
             DECLARE n bigint := nextval('trap');
             BEGIN
                IF n = 1 THEN RAISE EXCEPTION 'deadlock detected' USING ERRCODE = '40P01'; END IF;
                IF n = 2 THEN RAISE EXCEPTION 'could not serialize access' USING ERRCODE = '40001'; END IF;
                RETURN NEW;
             END $$",
            "CREATE TRIGGER trap BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION collide()",
        ],
        _ => &[
            "CREATE TABLE trap (n INT NOT NULL) ENGINE = MyISAM",
            "INSERT INTO trap VALUES (0)",
            "CREATE TRIGGER trap BEFORE INSERT ON events FOR EACH ROW
             BEGIN
                UPDATE trap SET n = n + 1;
                IF (SELECT n FROM trap) = 1 THEN
                    SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = 1213, MESSAGE_TEXT = 'Deadlock found';
                END IF;
                IF (SELECT n FROM trap) = 2 THEN
                    SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 1205, MESSAGE_TEXT = 'Lock wait timeout exceeded';
                END IF;
             END",
        ],
    };
    for statement in trap {
        raw.run(*statement).await?;
    }
    let received = post.receive(1).await?;
    ensure!(received.len() == 1, "{received:?}");
    assert_eq!(raw.count("events", "1 = 1").await?, 1);
    let tries = match engine {
        Engine::Postgres => "SELECT last_value FROM trap",
        _ => "SELECT CAST(n AS SIGNED) FROM trap",
    };
    assert_eq!(raw.number(tries).await?, 3, "the trap did not spring");
    raw.close().await;
    post.close().await;
    Ok(())
}
