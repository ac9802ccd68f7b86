//! PostgreSQL and MariaDB with their own troubles: a server that is down, wrong credentials, gateways that start at once,
//! writes that meet. Each check runs on both, whichever engine the run is about.

use std::time::Duration;

use anyhow::{Result, ensure};
use futures_util::future::try_join_all;
use tempfile::TempDir;
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
    a_server_that_goes_is_waited_for
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
        let setup = Setup::new(&demo_binary()?, self.data.path(), &self.network.ws_url())?;
        Ok(setup.with("DATABASE_URL", url))
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

async fn a_server_that_goes_is_waited_for(engine: Engine) -> Result<()> {
    let mut server = Server::start(engine).await?;
    let database = Database::at(&server)?;
    let stand = Stand::new().await?;
    let mut gateway = stand.setup(&database.url().unwrap())?.start().await?;
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

async fn gateways_that_start_at_once_do_not_collide(engine: Engine) -> Result<()> {
    let (database, dir) = (Database::on(engine)?, TempDir::new()?);
    let config = database.config(&dir.path().join("wagate.db"))?;
    let vault = VaultConfig { master_key: None, key_file: dir.path().join("master.key") };
    // The key is there before, as it is where gateways share one.
    Vault::open(&vault)?;
    let tasks = Tasks::new();
    let stores =
        (0..6).map(async |_| anyhow::Ok(Store::open(&config, Vault::open(&vault)?, Clock::System, &tasks).await?));
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
