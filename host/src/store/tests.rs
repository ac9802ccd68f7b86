//! The store as a whole: a fixture on a real database, and what holds for every room.
//!
//! What holds on every engine runs on all three: on a file, and on fresh databases of the servers that
//! `WAGATE_TEST_POSTGRES` and `WAGATE_TEST_MYSQL` name (`postgres://user:password@host:port/database`). A test fails
//! where one is missing; `WAGATE_TEST_ENGINES=sqlite` is for whoever has no servers at hand.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use futures_util::future::join_all;
use secrecy::SecretString;
use sqlx::migrate::MigrateError;
use sqlx::{ConnectOptions, Executor, SqlSafeStr};
use tempfile::TempDir;
use tokio::sync::Barrier;

use super::pool::{Engine, on};
use super::sql::{Sql, statements};
use super::*;
use crate::config::{Config, Sources, VaultConfig, environment};
use crate::model::Millis;

/// What a test runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum On {
    Sqlite,
    Postgres,
    MySql,
}

impl On {
    /// Every engine; SQLite alone when the environment says so.
    pub(in crate::store) fn all() -> Vec<Self> {
        match environment("WAGATE_TEST_ENGINES").unwrap().as_deref() {
            None => vec![Self::Sqlite, Self::Postgres, Self::MySql],
            Some("sqlite") => vec![Self::Sqlite],
            Some(other) => panic!("WAGATE_TEST_ENGINES is {other}; it can only be sqlite, or not set"),
        }
    }

    /// A database nobody has used; on SQLite a file in this directory.
    pub(in crate::store) async fn database(self, directory: &TempDir) -> DatabaseConfig {
        match self {
            Self::Sqlite => DatabaseConfig::Sqlite { path: directory.path().join("wagate.db") },
            Self::Postgres => fresh_database("WAGATE_TEST_POSTGRES").await,
            Self::MySql => fresh_database("WAGATE_TEST_MYSQL").await,
        }
    }

    /// The engines that are servers, which several gateways can share.
    pub(in crate::store) fn servers() -> Vec<Self> {
        Self::all().into_iter().filter(|engine| *engine != Self::Sqlite).collect()
    }
}

/// Makes tests that run on every engine, one after the other: `every_engine! { async fn name(at) { … } }`.
macro_rules! every_engine {
    ($($(#[$doc:meta])* async fn $name:ident($at:ident) $body:block)*) => {
        $(
            $(#[$doc])*
            #[tokio::test]
            async fn $name() {
                async fn on_one($at: $crate::store::tests::Fixture) $body
                for engine in $crate::store::tests::On::all() {
                    on_one($crate::store::tests::Fixture::on(engine).await).await;
                }
            }
        )*
    };
}

pub(in crate::store) use every_engine;

/// A store on a database of its own, and a directory; on SQLite the file lies in it.
pub(in crate::store) struct Fixture {
    pub(in crate::store) engine: On,
    pub(in crate::store) store: Store,
    pub(in crate::store) clock: Clock,
    pub(in crate::store) tasks: Tasks,
    pub(in crate::store) directory: TempDir,
    pub(in crate::store) config: DatabaseConfig,
}

impl Fixture {
    /// On SQLite.
    pub(in crate::store) async fn open() -> Self {
        Self::on(On::Sqlite).await
    }

    /// On this engine.
    pub(in crate::store) async fn on(engine: On) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = engine.database(&directory).await;
        let (clock, tasks) = (Clock::manual(Millis(1_700_000_000_000)), Tasks::new());
        let store = open(&config, &clock, &tasks).await.unwrap();
        Self { engine, store, clock, tasks, directory, config }
    }

    /// A second store on the same database, as another gateway opens it, or this one after a restart.
    pub(in crate::store) async fn open_again(&self) -> Result<Store, StoreError> {
        open(&self.config, &self.clock, &self.tasks).await
    }

    /// The same under other master keys.
    pub(in crate::store) async fn open_under(&self, vault: Vault) -> Result<Store, StoreError> {
        Store::open(&self.config, vault, self.clock.clone(), &self.tasks).await
    }
}

async fn open(config: &DatabaseConfig, clock: &Clock, tasks: &Tasks) -> Result<Store, StoreError> {
    let master_key = SecretString::from("AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=");
    let vault = Vault::open(&VaultConfig::given(master_key)).await.unwrap();
    Store::open(config, vault, clock.clone(), tasks).await
}

/// A database nobody has used, on the server this variable names.
async fn fresh_database(variable: &str) -> DatabaseConfig {
    static MADE: AtomicU32 = AtomicU32::new(0);
    let url = environment(variable).unwrap().unwrap_or_else(|| {
        panic!(
            "{variable} names no server to test on; run the tests with `make test`, or set WAGATE_TEST_ENGINES=sqlite"
        )
    });
    let mut sources = Sources::default();
    sources.set("database.url", url.as_str());
    sources.set("database.name", "unit");
    sources.set("whatsapp.url", "ws://127.0.0.1:9/ws/chat");
    let mut config = Config::load(&sources).unwrap().database;
    let name = format!("unit_{}_{}", std::process::id(), MADE.fetch_add(1, Ordering::SeqCst));
    let create = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"));
    match &mut config {
        DatabaseConfig::Sqlite { .. } => panic!("{variable} is the address of a file: {url}"),
        DatabaseConfig::Postgres(server) => {
            let options: sqlx::postgres::PgConnectOptions = url.parse().unwrap();
            options.connect().await.unwrap().execute(create).await.unwrap();
            server.name = name;
        }
        DatabaseConfig::MySql(server) => {
            let options: sqlx::mysql::MySqlConnectOptions = url.parse().unwrap();
            options.connect().await.unwrap().execute(create).await.unwrap();
            server.name = name;
        }
    }
    config
}

/// Every statement of every room.
fn every_statement() -> Vec<(&'static str, Sql)> {
    [
        backup::rows::STATEMENTS,
        deliveries::STATEMENTS,
        deliveries::again::STATEMENTS,
        deliveries::attempts::STATEMENTS,
        deliveries::lanes::STATEMENTS,
        deliveries::look::STATEMENTS,
        deliveries::settle::STATEMENTS,
        endpoints::STATEMENTS,
        endpoints::change::STATEMENTS,
        events::STATEMENTS,
        events::held::STATEMENTS,
        events::look::STATEMENTS,
        events::record::STATEMENTS,
        events::routing::STATEMENTS,
        &keys::statements(),
        leader::STATEMENTS,
        plugin_sends::STATEMENTS,
        plugins::STATEMENTS,
        plugins::bindings::STATEMENTS,
        plugins::effects::STATEMENTS,
        plugins::logs::STATEMENTS,
        plugins::values::STATEMENTS,
        replays::STATEMENTS,
        retention::rows::STATEMENTS,
        sends::STATEMENTS,
        sends::progress::STATEMENTS,
        sessions::STATEMENTS,
        settings::STATEMENTS,
        STATEMENTS,
        users::STATEMENTS,
        vault::checks::STATEMENTS,
        vault::checks::tests::STATEMENTS,
        vault::rotation::tests::STATEMENTS,
        vault::sealed::STATEMENTS,
    ]
    .concat()
}

every_engine! {
    async fn every_statement_prepares(at) {
        for (name, sql) in every_statement() {
            // Where it may write: MariaDB judges some statements by that before they are run.
            let prepared = at.store.write(move |tx| {
                Box::pin(async move {
                    on!(tx, |db, q| { db.prepare(q(sql).into_sql_str()).await?; });
                    Ok(())
                })
            });
            let prepared = prepared.await;
            assert!(prepared.is_ok(), "{name} on {:?}: {prepared:?}", at.engine);
            assert!(!sql.positional.contains('$'), "{name} for MySQL: {}", sql.positional);
        }
    }

    async fn ping_commits_and_reads_back(at) {
        at.store.ping().await.unwrap();
        assert_eq!(at.store.settings().get("store.ping").await.unwrap().as_deref(), Some("1700000000000"));
    }

    async fn a_closed_store_answers_closed_and_leaves_no_task(at) {
        at.store.close().await;
        assert!(matches!(at.store.ping().await, Err(StoreError::Closed)));
        assert!(matches!(at.store.settings().get("x").await, Err(StoreError::Closed)));
        at.store.close().await;
        assert_eq!(at.tasks.stop(std::time::Duration::from_secs(5)).await, 0);
    }

    async fn a_wrong_master_key_is_refused_and_lets_the_database_go(at) {
        at.store.close().await;
        let master_key = SecretString::from("AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=");
        let other = Vault::open(&VaultConfig::given(master_key)).await.unwrap();
        let refused = at.open_under(other).await;
        assert!(matches!(refused, Err(StoreError::KeyLost { .. })), "{refused:?}");
        at.open_again().await.unwrap().close().await;
    }

    /// PostgreSQL takes no NUL in a text; names are cut by none of the three.
    async fn text_of_others_is_kept_on_every_engine(at) {
        let text = "nul \0 naïve \u{1F980} 👩‍👩‍👧‍👦 ' \\ %";
        let (owner, id) = (at.store.users().add("ann", crate::model::Role::User, "x", false).await.unwrap().id, "ses_a");
        let (scope, id) = (Scope::of(owner), id.parse::<SessionId>().unwrap());
        at.store.sessions(scope).create(owner, id.clone(), text, None).await.unwrap();
        let name = at.store.sessions(scope).get(&id).await.unwrap().unwrap().name;
        assert_eq!(name, text.replace('\0', "\u{FFFD}"), "{:?}", at.engine);
        assert!(at.store.users().for_login("ann\0").await.unwrap().is_none());
        let unheard_of = crate::model::MessageId::from(format!("\0{}", "é".repeat(32 * 1024)));
        at.store.sends(scope).advance(&id, &[unheard_of], crate::model::MessageState::Read, None).await.unwrap();
    }
}

/// Every migration's name.
fn names(migrator: &sqlx::migrate::Migrator) -> Vec<(i64, String)> {
    migrator.iter().map(|migration| (migration.version, migration.description.to_string())).collect()
}

#[test]
fn migrations_have_the_same_names_on_every_engine() {
    let [sqlite, postgres, mysql] = dialect::every_schema().map(names);
    assert!(!sqlite.is_empty());
    assert_eq!(sqlite, postgres);
    assert_eq!(sqlite, mysql);
}

/// Table, column, kind of value, whether it may be null: of every table of ours.
pub(in crate::store) async fn columns(at: &Fixture) -> BTreeSet<(String, String, &'static str, bool)> {
    let sqlite = "SELECT m.name, c.name, c.type, CASE WHEN c.\"notnull\" OR c.pk > 0 THEN 'NO' ELSE 'YES' END
        FROM sqlite_master m JOIN pragma_table_info(m.name) c WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite%'";
    let postgres = "SELECT CAST(table_name AS TEXT), CAST(column_name AS TEXT), CAST(data_type AS TEXT),
        CAST(is_nullable AS TEXT) FROM information_schema.columns WHERE table_schema = current_schema()";
    // A generated column holds nothing of its own.
    let mysql = "SELECT table_name, column_name, CAST(data_type AS CHAR), is_nullable FROM information_schema.columns
        WHERE table_schema = DATABASE() AND extra NOT LIKE '% GENERATED'";
    let rows: Vec<(String, String, String, String)> = match at.store.readers() {
        Engine::Sqlite(db) => sqlx::query_as(sqlite).fetch_all(db).await.unwrap(),
        Engine::Postgres(db) => sqlx::query_as(postgres).fetch_all(db).await.unwrap(),
        Engine::MySql(db) => sqlx::query_as(mysql).fetch_all(db).await.unwrap(),
    };
    let kind = |name: &str| match name.to_ascii_lowercase().as_str() {
        "integer" | "bigint" => "number",
        "text" | "varchar" | "longtext" => "text",
        "blob" | "bytea" | "varbinary" | "longblob" => "bytes",
        "boolean" | "tinyint" => "flag",
        other => panic!("a column is of the type {other}"),
    };
    let ours = rows.into_iter().filter(|(table, ..)| table != "_sqlx_migrations");
    ours.map(|(table, column, name, null)| (table, column, kind(&name), null == "YES")).collect()
}

#[tokio::test]
async fn every_engine_has_the_same_columns() {
    let expected = columns(&Fixture::open().await).await;
    assert!(expected.len() > 100, "{expected:?}");
    for engine in On::servers() {
        let found = columns(&Fixture::on(engine).await).await;
        let (lacks, more): (Vec<_>, Vec<_>) =
            (expected.difference(&found).collect(), found.difference(&expected).collect());
        assert!(lacks.is_empty() && more.is_empty(), "{engine:?} lacks {lacks:?} and has {more:?}");
    }
}

#[tokio::test]
async fn gateways_that_start_at_once_do_not_collide() {
    for engine in On::servers() {
        let (clock, tasks) = (Clock::manual(Millis(1_700_000_000_000)), Tasks::new());
        let variable = if engine == On::Postgres { "WAGATE_TEST_POSTGRES" } else { "WAGATE_TEST_MYSQL" };
        let config = fresh_database(variable).await;
        let before = Store::migrations(&config).await.unwrap();
        assert!(before.iter().all(|migration| !migration.applied), "{engine:?}: {before:?}");
        for opened in join_all((0..6).map(|_| open(&config, &clock, &tasks))).await {
            opened.unwrap().ping().await.unwrap();
        }
        let after = Store::migrations(&config).await.unwrap();
        assert!(
            after.len() == before.len() && after.iter().all(|migration| migration.applied),
            "{engine:?}: {after:?}"
        );
    }
}

statements! {
    NEWER = "UPDATE _sqlx_migrations SET version = 9999 WHERE version = 1";
    HALF_DONE = "UPDATE _sqlx_migrations SET success = FALSE WHERE version = 4";
    MORE = "UPDATE settings SET value = value || $1 WHERE name = $2",
        mysql: "UPDATE settings SET value = CONCAT(value, ?) WHERE name = ?";
}

/// Runs a statement without parameters.
async fn run(store: &Store, sql: Sql) {
    store.write(move |tx| Box::pin(async move { Ok(tx.run(sql).await?) })).await.unwrap();
}

every_engine! {
    async fn a_database_of_a_newer_wagate_is_refused(at) {
        run(&at.store, NEWER).await;
        at.store.close().await;
        let refused = at.open_again().await;
        assert!(matches!(refused, Err(StoreError::Newer { found: 9999, .. })), "{:?}: {refused:?}", at.engine);
    }
}

/// MySQL commits each table by itself, so a crash can leave a migration half done.
#[tokio::test]
async fn a_migration_that_was_interrupted_on_mysql_is_run_again() {
    for engine in On::servers().into_iter().filter(|engine| *engine == On::MySql) {
        let at = Fixture::on(engine).await;
        run(&at.store, HALF_DONE).await;
        at.store.close().await;
        at.open_again().await.unwrap().ping().await.unwrap();
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_with_cause_and_fix() {
    for (url, fix) in [("postgres://a:b@127.0.0.1:1/c", "DB_HOST"), ("mysql://a:b@127.0.0.1:1/c", "DB_HOST")] {
        let mut sources = Sources::default();
        sources.set("database.url", url);
        sources.set("whatsapp.url", "ws://127.0.0.1:9/ws/chat");
        let config = Config::load(&sources).unwrap().database;
        let refused = open(&config, &Clock::System, &Tasks::new()).await.unwrap_err();
        assert!(matches!(refused, StoreError::Unreachable { .. }) && refused.is_passing(), "{refused:?}");
        let told = refused.to_string();
        assert!(told.contains("127.0.0.1:1") && told.contains("refused") && told.contains(fix), "{told}");
    }
}

/// A plan that PostgreSQL made while a table was empty is kept for a while when it no longer is.
#[tokio::test]
async fn the_writer_on_postgresql_plans_for_tables_that_will_grow() {
    for engine in On::servers().into_iter().filter(|engine| *engine == On::Postgres) {
        let at = Fixture::on(engine).await;
        for (setting, value) in [("enable_seqscan", "off"), ("jit", "off"), ("synchronous_commit", "on")] {
            let show = at.store.write(move |tx| {
                Box::pin(async move {
                    let Engine::Postgres(db) = tx else { panic!("this is no PostgreSQL") };
                    let set: String =
                        sqlx::query_scalar("SELECT current_setting($1)").bind(setting).fetch_one(db).await?;
                    Ok(set)
                })
            });
            assert_eq!(show.await.unwrap(), value, "{setting}");
        }
    }
}

/// Appends to two rows, and meets the other writer between them when it is run for the first time.
async fn cross(store: &Store, first: &'static str, second: &'static str, meet: Arc<Barrier>) -> Result<(), StoreError> {
    let met = Arc::new(AtomicBool::new(false));
    let work = store.write(move |tx| {
        Box::pin(async move {
            on!(&mut *tx, |db, q| {
                sqlx::query(q(MORE)).bind("x").bind(first).execute(db).await?;
            });
            if !met.swap(true, Ordering::SeqCst) {
                meet.wait().await;
            }
            on!(tx, |db, q| {
                sqlx::query(q(MORE)).bind("x").bind(second).execute(db).await?;
            });
            Ok(())
        })
    });
    work.await
}

/// The server gives up one of two gateways that wait for each other; what it undid is done once more, and only once.
#[tokio::test]
async fn writers_that_wait_for_each_other_both_write_and_neither_twice() {
    for engine in On::servers() {
        let at = Fixture::on(engine).await;
        let other = at.open_again().await.unwrap();
        for row in ["a", "b"] {
            at.store.settings().set(row, "").await.unwrap();
        }
        for round in 1..=3 {
            let (meet, settings) = (Arc::new(Barrier::new(2)), at.store.settings());
            let (here, beside, there) = tokio::join!(
                cross(&at.store, "a", "b", Arc::clone(&meet)),
                settings.set("beside", "kept"),
                cross(&other, "b", "a", meet),
            );
            assert!(here.is_ok() && beside.is_ok() && there.is_ok(), "{engine:?}: {here:?} {beside:?} {there:?}");
            for row in ["a", "b"] {
                let value = at.store.settings().get(row).await.unwrap().unwrap();
                assert_eq!(value, "xx".repeat(round), "{engine:?}: {row}");
            }
        }
    }
}

#[test]
fn tells_a_busy_database_from_a_broken_one() {
    assert!(StoreError::from(sqlx::Error::PoolTimedOut).is_busy());
    assert!(!StoreError::from(sqlx::Error::RowNotFound).is_busy());
    assert!(!StoreError::Closed.is_busy());
}

#[test]
fn tells_what_passes_from_what_somebody_must_mend() {
    let said = |kind| StoreError::from(sqlx::Error::Io(std::io::Error::from(kind)));
    assert!(StoreError::Standby.is_passing() && said(std::io::ErrorKind::ConnectionRefused).is_passing());
    let interrupted = MigrateError::Execute(sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into()));
    assert!(StoreError::from(sqlx::Error::from(interrupted)).is_passing());
    for lasting in [
        said(std::io::ErrorKind::PermissionDenied),
        sqlx::Error::from(MigrateError::VersionMismatch(1)).into(),
        StoreError::Newer { found: 9, known: 8 },
        StoreError::Sealed("x"),
        StoreError::Superseded,
        StoreError::Closed,
    ] {
        assert!(!lasting.is_passing(), "{lasting:?}");
    }
}

/// What the engine means to do for a statement, one line a step.
async fn plan(at: &Fixture, room: &[(&'static str, Sql)], name: &str) -> Vec<String> {
    let sql = room.iter().find(|(known, _)| *known == name).unwrap().1;
    let explain = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {}", sql.numbered));
    let rows: Vec<(i64, i64, i64, String)> =
        on!(at.store.readers(), |db, _q| { sqlx::query_as(explain).fetch_all(db).await.unwrap() });
    rows.into_iter().map(|(.., step)| step).collect()
}

#[tokio::test]
async fn the_queues_are_walked_by_index_without_sorting() {
    let at = Fixture::open().await;
    for (room, name, index) in [
        (deliveries::STATEMENTS, "DUE", "deliveries_due"),
        (deliveries::STATEMENTS, "NEXT_DUE", "deliveries_due"),
        (deliveries::STATEMENTS, "WAITING", "deliveries_due"),
        (deliveries::lanes::STATEMENTS, "OPEN", "deliveries_lanes"),
        (events::STATEMENTS, "UNROUTED", "events_unrouted"),
        (events::held::STATEMENTS, "NEXT_HELD", "routings_due"),
        (plugin_sends::STATEMENTS, "DUE", "plugin_sends_due"),
        (plugin_sends::STATEMENTS, "NEXT_DUE", "plugin_sends_due"),
        (plugin_sends::STATEMENTS, "PROMOTE", "plugin_sends_waiting"),
        (plugin_sends::STATEMENTS, "ABANDONED", "plugin_sends_by_plugin"),
        (retention::rows::STATEMENTS, "EVENTS", "events_by_age"),
        (retention::rows::STATEMENTS, "DIGESTS", "events_by_age"),
        (retention::rows::STATEMENTS, "FLEETING", "events_fleeting"),
        (retention::rows::STATEMENTS, "ATTEMPTS", "attempts_by_age"),
        (retention::rows::STATEMENTS, "SENDS", "sends_by_age"),
        (retention::rows::STATEMENTS, "PLUGIN_SENDS", "plugin_sends_by_age"),
    ] {
        let steps = plan(&at, room, name).await;
        assert!(steps.iter().any(|step| step.contains(index)), "{name}: {steps:#?}");
        assert!(!steps.iter().any(|step| step.contains("TEMP B-TREE")), "{name}: {steps:#?}");
        let scans = ["SCAN s", "SCAN d", "SCAN deliveries"];
        assert!(!steps.iter().any(|step| scans.contains(&step.as_str())), "{name}: {steps:#?}");
    }
}

/// A list of ids, made anew for each event, would cost more the more sessions there are.
#[tokio::test]
async fn what_every_message_passes_reads_single_rows() {
    let at = Fixture::open().await;
    for (room, name) in [
        (events::routing::STATEMENTS, "MARK"),
        (events::routing::STATEMENTS, "OPEN"),
        (events::routing::STATEMENTS, "DELIVER"),
        (events::routing::STATEMENTS, "RECORD"),
        (plugins::values::STATEMENTS, "LOOK"),
        (plugins::effects::STATEMENTS, "RAISE"),
        (plugin_sends::STATEMENTS, "SETTLE"),
        (events::routing::STATEMENTS, "NUMBER"),
        (deliveries::settle::STATEMENTS, "RETRY"),
        (deliveries::again::STATEMENTS, "PLACE"),
        (deliveries::again::STATEMENTS, "AGAIN"),
        (sends::STATEMENTS, "ADVANCE"),
        (sends::progress::STATEMENTS, "BEHIND"),
        (events::record::STATEMENTS, "ADD"),
    ] {
        let steps = plan(&at, room, name).await;
        assert!(!steps.iter().any(|step| step.contains("LIST") || step.starts_with("SCAN")), "{name}: {steps:#?}");
    }
}
