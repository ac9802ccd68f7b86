use tokio::time::{Instant, sleep, timeout};

use super::*;
use crate::store::Store;
use crate::store::pool::Engine;
use crate::store::tests::{Fixture, On, every_engine};

/// More than the holder takes to notice anything.
const NOTICED: Duration = Duration::from_secs(20);

/// As if somebody else had led in between.
const FORCE: Sql = sql!("UPDATE leadership SET epoch = epoch + 1 WHERE id = 1");

const ROWS: Sql = sql!("SELECT COUNT(*) FROM leadership");

/// Ends every connection to this database but the one that asks.
const CUT_POSTGRES: &str = "SELECT COUNT(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()";

/// Those connections; MySQL ends them one by one.
const OTHERS_MYSQL: &str = "SELECT CAST(id AS SIGNED) FROM information_schema.processlist
    WHERE db = DATABASE() AND id <> CONNECTION_ID()";

/// Runs a statement as somebody who does not lead.
async fn run(at: &Fixture, sql: Sql) {
    let other = at.open_again().await.unwrap();
    other.write(move |tx| Box::pin(async move { Ok(tx.run(sql).await?) })).await.unwrap();
    other.close().await;
}

async fn write(store: &Store, name: &str) -> Result<(), StoreError> {
    store.settings().set(name, "written").await
}

async fn epoch(store: &Store) -> Option<i64> {
    on!(store.readers(), |db, q| { sqlx::query_scalar(q(EPOCH)).fetch_optional(db).await.unwrap() })
}

/// Cuts every connection to the database, as a server does that restarts.
async fn cut(at: &Fixture) {
    match at.store.readers() {
        Engine::Postgres(db) => {
            let cut: i64 = sqlx::query_scalar(CUT_POSTGRES).fetch_one(db).await.unwrap();
            assert!(cut >= 2, "the lock's connection and the writer's were open, not {cut}");
        }
        Engine::MySql(db) => {
            let others: Vec<i64> = sqlx::query_scalar(OTHERS_MYSQL).fetch_all(db).await.unwrap();
            assert!(others.len() >= 2, "the lock's connection and the writer's were open: {others:?}");
            for other in others {
                let kill = AssertSqlSafe(format!("KILL CONNECTION {other}"));
                // One of them may have ended by itself.
                let _gone = sqlx::raw_sql(kill).execute(db).await;
            }
        }
        Engine::Sqlite(_) => panic!("a file has no connections"),
    }
}

every_engine! {
    async fn a_store_that_leads_writes_and_may_be_asked_twice(at) {
        at.store.lead(&at.tasks).await.unwrap();
        at.store.lead(&at.tasks).await.unwrap();
        write(&at.store, "a").await.unwrap();
        at.store.ping().await.unwrap();
        let rows: i64 = on!(at.store.readers(), |db, q| { sqlx::query_scalar(q(ROWS)).fetch_one(db).await.unwrap() });
        assert_eq!(rows, i64::from(at.engine != On::Sqlite), "the file's lock decides on SQLite");
        at.store.close().await;
        assert_eq!(at.tasks.stop(NOTICED).await, 0, "the keeping of the lock ends with the store");
    }
}

#[tokio::test]
async fn a_second_store_stands_by_until_the_first_is_closed() {
    for engine in On::servers() {
        let at = Fixture::on(engine).await;
        let second = at.open_again().await.unwrap();
        at.store.lead(&at.tasks).await.unwrap();
        for _ in 0..2 {
            let refused = second.lead(&at.tasks).await;
            assert!(matches!(refused, Err(StoreError::Standby)), "{engine:?}: {refused:?}");
        }
        write(&at.store, "by the leader").await.unwrap();
        // A command beside the gateway.
        write(&second, "by a store that does not lead").await.unwrap();
        let before = epoch(&second).await.unwrap();
        at.store.close().await;
        second.lead(&at.tasks).await.unwrap();
        assert_eq!(epoch(&second).await.unwrap(), before + 1, "{engine:?}");
        write(&second, "after the change").await.unwrap();
        second.close().await;
    }
}

#[tokio::test]
async fn a_store_that_is_let_go_without_being_closed_lets_the_lock_go() {
    for engine in On::servers() {
        let at = Fixture::on(engine).await;
        let first = at.open_again().await.unwrap();
        first.lead(&at.tasks).await.unwrap();
        drop(first);
        let deadline = Instant::now() + NOTICED;
        while let Err(refused) = at.store.lead(&at.tasks).await {
            assert!(matches!(refused, StoreError::Standby) && Instant::now() < deadline, "{engine:?}: {refused:?}");
            sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test]
async fn a_leader_whose_epoch_was_raised_writes_nothing_more_and_hears_of_it() {
    for engine in On::servers() {
        let at = Fixture::on(engine).await;
        at.store.lead(&at.tasks).await.unwrap();
        write(&at.store, "before").await.unwrap();
        run(&at, FORCE).await;
        for name in ["late", "later"] {
            let refused = write(&at.store, name).await;
            assert!(matches!(refused, Err(StoreError::Superseded)), "{engine:?}: {refused:?}");
        }
        timeout(NOTICED, at.store.superseded()).await.unwrap();
        let seen = at.open_again().await.unwrap();
        assert_eq!(seen.settings().get("late").await.unwrap(), None, "{engine:?}");
        assert!(seen.settings().get("before").await.unwrap().is_some());
        at.store.close().await;
        seen.lead(&at.tasks).await.unwrap();
        write(&seen, "late").await.unwrap();
        seen.close().await;
    }
}

/// Nobody writes here, so that only the look at the lock can notice.
#[tokio::test]
async fn a_leader_that_is_idle_hears_of_it_too() {
    for engine in On::servers() {
        let at = Fixture::on(engine).await;
        at.store.lead(&at.tasks).await.unwrap();
        assert!(timeout(BEAT * 2, at.store.superseded()).await.is_err(), "{engine:?}: it leads");
        run(&at, FORCE).await;
        timeout(NOTICED, at.store.superseded()).await.unwrap();
        at.store.close().await;
    }
}

/// Whoever takes over raises the epoch only when the batch that has read the old one is through.
#[tokio::test]
async fn a_takeover_waits_for_the_batch_under_way() {
    for engine in On::servers() {
        let at = Fixture::on(engine).await;
        at.store.lead(&at.tasks).await.unwrap();
        let (entered, leave) = (Arc::new(tokio::sync::Notify::new()), Arc::new(tokio::sync::Notify::new()));
        let (inside, until) = (Arc::clone(&entered), Arc::clone(&leave));
        let held = at.store.write(move |_tx| {
            Box::pin(async move {
                inside.notify_one();
                until.notified().await;
                Ok(())
            })
        });
        let other = at.open_again().await.unwrap();
        let ((), held) = tokio::join!(
            async {
                entered.notified().await;
                let raising = other.write(|tx| Box::pin(async move { Ok(tx.run(FORCE).await?) }));
                tokio::pin!(raising);
                assert!(timeout(Duration::from_millis(500), &mut raising).await.is_err(), "{engine:?}: it must wait");
                leave.notify_one();
                raising.await.unwrap();
            },
            held,
        );
        held.unwrap();
        let refused = write(&at.store, "late").await;
        assert!(matches!(refused, Err(StoreError::Superseded)), "{engine:?}: {refused:?}");
        other.close().await;
        at.store.close().await;
    }
}

#[tokio::test]
async fn a_leader_that_lost_its_connections_takes_the_lock_again_and_goes_on() {
    for engine in On::servers() {
        let at = Fixture::on(engine).await;
        let second = at.open_again().await.unwrap();
        at.store.lead(&at.tasks).await.unwrap();
        write(&at.store, "before").await.unwrap();
        let before = epoch(&at.store).await;
        cut(&at).await;
        // Long enough to notice and to take the lock again.
        sleep(BEAT * 3).await;
        write(&at.store, "after").await.unwrap();
        let refused = second.lead(&at.tasks).await;
        assert!(matches!(refused, Err(StoreError::Standby)), "{engine:?}: the lock is held again, but {refused:?}");
        assert_eq!(epoch(&at.store).await, before, "{engine:?}");
        second.close().await;
        at.store.close().await;
    }
}
