//! The store as a whole: a fixture on a real file, and what holds for every room.

use std::path::PathBuf;

use secrecy::SecretString;
use sqlx::{Executor, SqlSafeStr};
use tempfile::TempDir;

use super::pool::on;
use super::sql::Sql;
use super::*;
use crate::config::VaultConfig;
use crate::model::Millis;

/// A store on a file in a directory of its own.
pub(in crate::store) struct Fixture {
    pub(in crate::store) store: Store,
    pub(in crate::store) clock: Clock,
    pub(in crate::store) tasks: Tasks,
    pub(in crate::store) directory: TempDir,
}

impl Fixture {
    pub(in crate::store) async fn open() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (clock, tasks) = (Clock::manual(Millis(1_700_000_000_000)), Tasks::new());
        let store = open(directory.path().join("wagate.db"), &clock, &tasks).await.unwrap();
        Self { store, clock, tasks, directory }
    }

    pub(in crate::store) fn path(&self) -> PathBuf {
        self.directory.path().join("wagate.db")
    }
}

pub(in crate::store) async fn open(path: PathBuf, clock: &Clock, tasks: &Tasks) -> Result<Store, StoreError> {
    let master_key = SecretString::from("AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=");
    let vault = Vault::open(&VaultConfig { master_key: Some(master_key), key_file: PathBuf::new() }).unwrap();
    Store::open(&DatabaseConfig::Sqlite { path }, vault, clock.clone(), tasks).await
}

/// Every statement of every room.
fn statements() -> Vec<(&'static str, Sql)> {
    [
        deliveries::STATEMENTS,
        endpoints::STATEMENTS,
        events::STATEMENTS,
        events::held::STATEMENTS,
        events::routing::STATEMENTS,
        &keys::statements(),
        plugin_sends::STATEMENTS,
        plugins::STATEMENTS,
        plugins::bindings::STATEMENTS,
        plugins::effects::STATEMENTS,
        plugins::logs::STATEMENTS,
        plugins::values::STATEMENTS,
        retention::rows::STATEMENTS,
        sends::STATEMENTS,
        sessions::STATEMENTS,
        settings::STATEMENTS,
        users::STATEMENTS,
    ]
    .concat()
}

#[tokio::test]
async fn every_statement_prepares() {
    let at = Fixture::open().await;
    for (name, sql) in statements() {
        let prepared = on!(at.store.readers(), |db, q| { db.prepare(q(sql).into_sql_str()).await.map(|_| ()) });
        assert!(prepared.is_ok(), "{name}: {prepared:?}");
        assert!(!sql.positional.contains('$'), "{name} for MySQL: {}", sql.positional);
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
        (deliveries::STATEMENTS, "CLAIM", "deliveries_due"),
        (deliveries::STATEMENTS, "NEXT_DUE", "deliveries_due"),
        (events::STATEMENTS, "UNROUTED", "events_unrouted"),
        (events::held::STATEMENTS, "NEXT_HELD", "routings_due"),
        (plugin_sends::STATEMENTS, "DUE", "plugin_sends_due"),
        (plugin_sends::STATEMENTS, "NEXT_DUE", "plugin_sends_due"),
        (plugin_sends::STATEMENTS, "PROMOTE", "plugin_sends_waiting"),
        (plugin_sends::STATEMENTS, "ABANDONED", "plugin_sends_by_plugin"),
        (retention::rows::STATEMENTS, "EVENTS", "events_by_age"),
        (retention::rows::STATEMENTS, "DIGESTS", "events_by_age"),
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
        (events::STATEMENTS, "STORE"),
        (events::routing::STATEMENTS, "MARK"),
        (events::routing::STATEMENTS, "OPEN"),
        (events::routing::STATEMENTS, "DELIVER"),
        (events::routing::STATEMENTS, "RECORD"),
        (plugins::values::STATEMENTS, "LOOK"),
        (plugins::effects::STATEMENTS, "RAISE"),
        (plugin_sends::STATEMENTS, "SETTLE"),
        (deliveries::STATEMENTS, "CLAIMED"),
        (deliveries::STATEMENTS, "SETTLE"),
        (sends::STATEMENTS, "ADVANCE"),
    ] {
        let steps = plan(&at, room, name).await;
        assert!(!steps.iter().any(|step| step.contains("LIST") || step.starts_with("SCAN")), "{name}: {steps:#?}");
    }
}

#[tokio::test]
async fn ping_commits_and_reads_back() {
    let at = Fixture::open().await;
    at.store.ping().await.unwrap();
    assert_eq!(at.store.settings().get("store.ping").await.unwrap().as_deref(), Some("1700000000000"));
}

#[tokio::test]
async fn a_closed_store_answers_closed_and_leaves_no_task() {
    let at = Fixture::open().await;
    at.store.close().await;
    assert!(matches!(at.store.ping().await, Err(StoreError::Closed)));
    assert!(matches!(at.store.settings().get("x").await, Err(StoreError::Closed)));
    at.store.close().await;
    assert_eq!(at.tasks.stop(std::time::Duration::from_secs(5)).await, 0);
}

#[tokio::test]
async fn a_wrong_master_key_is_refused_and_lets_the_file_go() {
    let at = Fixture::open().await;
    at.store.close().await;
    let master_key = Some(SecretString::from("AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI="));
    let other = Vault::open(&VaultConfig { master_key, key_file: PathBuf::new() }).unwrap();
    let refused = Store::open(&DatabaseConfig::Sqlite { path: at.path() }, other, at.clock.clone(), &at.tasks).await;
    assert!(matches!(refused, Err(StoreError::Sealed(_))), "{refused:?}");
    open(at.path(), &at.clock, &at.tasks).await.unwrap().close().await;
}
