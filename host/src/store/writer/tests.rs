use futures_util::future::join_all;
use tokio::sync::Notify;

use super::*;
use crate::store::Store;
use crate::store::pool::on;
use crate::store::tests::{Fixture, every_engine};

const PUT: Sql = sql!("INSERT INTO settings (name, value) VALUES ($1, $2)");
const COUNT: Sql = sql!("SELECT COUNT(*) FROM settings WHERE value = $1");

/// Writes `name = value`, then fails if told to.
async fn put(store: &Store, name: String, value: String, fails: bool) -> Result<(), StoreError> {
    let work = store.write(move |tx| {
        Box::pin(async move {
            on!(tx, |db, q| {
                sqlx::query(q(PUT)).bind(name).bind(value).execute(db).await?;
            });
            if fails { Err(StoreError::Taken("on purpose")) } else { Ok(()) }
        })
    });
    work.await
}

async fn count(store: &Store, value: &str) -> i64 {
    on!(store.readers(), |db, q| { sqlx::query_scalar(q(COUNT)).bind(value).fetch_one(db).await.unwrap() })
}

/// Holds the writer inside a job until the returned handle is notified, so that a test can fill the queue.
async fn hold(store: &Store, tasks: &Tasks) -> Arc<Notify> {
    let (entered, leave) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (store, inside, until) = (store.clone(), Arc::clone(&entered), Arc::clone(&leave));
    tasks.spawn("holds the writer", async move {
        let work = store.write(move |_tx| {
            Box::pin(async move {
                inside.notify_one();
                until.notified().await;
                Ok(())
            })
        });
        work.await.unwrap();
    });
    entered.notified().await;
    leave
}

every_engine! {
    async fn one_failing_job_is_undone_alone(at) {
        let jobs = (0..100).map(|n| put(&at.store, format!("n{n}"), "v".to_owned(), n % 10 == 3));
        let answers = join_all(jobs).await;
        for (n, answer) in answers.iter().enumerate() {
            assert_eq!(answer.is_err(), n % 10 == 3, "{n}: {answer:?}");
        }
        assert_eq!(count(&at.store, "v").await, 90);
    }

    async fn a_statement_that_fails_undoes_its_job_only(at) {
        let answers = join_all((0..20).map(|n| put(&at.store, format!("n{}", n % 15), "v".to_owned(), false))).await;
        assert_eq!(answers.iter().filter(|answer| matches!(answer, Err(StoreError::Database(_)))).count(), 5);
        assert_eq!(count(&at.store, "v").await, 15);
    }

    async fn a_caller_that_leaves_disturbs_nobody(at) {
        let leave = hold(&at.store, &at.tasks).await;
        let mut abandoned = Box::pin(put(&at.store, "abandoned".to_owned(), "v".to_owned(), false));
        assert!(futures_util::poll!(&mut abandoned).is_pending());
        drop(abandoned);
        leave.notify_one();
        put(&at.store, "patient".to_owned(), "v".to_owned(), false).await.unwrap();
        assert_eq!(count(&at.store, "v").await, 2, "what was handed over is done");
    }

    async fn a_panicking_job_is_undone_alone(at) {
        let panics = at.store.write(|tx| {
            Box::pin(async move {
                on!(tx, |db, q| {
                    sqlx::query(q(PUT)).bind("p").bind("v").execute(db).await?;
                });
                assert!(std::hint::black_box(false), "on purpose");
                Ok(())
            })
        });
        let (panicked, sound) = tokio::join!(panics, put(&at.store, "s".to_owned(), "v".to_owned(), false));
        assert!(matches!(panicked, Err(StoreError::Panicked)), "{panicked:?}");
        sound.unwrap();
        assert_eq!(count(&at.store, "v").await, 1);
    }

    async fn closing_finishes_what_was_handed_over(at) {
        let leave = hold(&at.store, &at.tasks).await;
        let mut queued: Vec<_> =
            (0..50).map(|n| Box::pin(put(&at.store, format!("n{n}"), "v".to_owned(), false))).collect();
        for job in &mut queued {
            assert!(futures_util::poll!(job).is_pending());
        }
        let ((), answers) = tokio::join!(at.store.close(), async {
            tokio::task::yield_now().await;
            leave.notify_one();
            join_all(queued).await
        });
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        let again = at.open_again().await.unwrap();
        assert_eq!(count(&again, "v").await, 50);
    }

    /// Ends the transaction under the writer's feet, as SQLite does by itself on some failures. Which jobs share its batch
    /// is a matter of timing, so it is done until one did; what was answered must agree with the database every time.
    async fn a_transaction_lost_half_way_fails_its_whole_batch_and_no_later_one(at) {
        let mut shared = false;
        for round in 0..50 {
            let leave = hold(&at.store, &at.tasks).await;
            let breaks = at.store.write(|tx| Box::pin(async move { Ok(tx.run(ROLLBACK).await?) }));
            let early = put(&at.store, format!("early{round}"), format!("early{round}"), false);
            let (early, broken, ()) = tokio::join!(early, breaks, async { leave.notify_one() });
            assert!(matches!(broken, Err(StoreError::Commit(_))), "{broken:?}");
            assert!(matches!(early, Ok(()) | Err(StoreError::Commit(_))), "{early:?}");
            assert_eq!(count(&at.store, &format!("early{round}")).await, i64::from(early.is_ok()));
            put(&at.store, format!("later{round}"), "later".to_owned(), false).await.unwrap();
            assert_eq!(count(&at.store, "later").await, round + 1);
            shared |= early.is_err();
            if shared && round > 5 {
                return;
            }
        }
        panic!("no batch was shared in 50 rounds");
    }
}

#[tokio::test]
async fn a_full_disk_fails_the_write_and_the_next_one_works() {
    let at = Fixture::open().await;
    let limit = |pages: i64| {
        at.store.write(move |tx| {
            Box::pin(async move {
                let pragma = sqlx::AssertSqlSafe(format!("PRAGMA max_page_count = {pages}"));
                on!(tx, |db, _q| {
                    sqlx::query(pragma).execute(db).await?;
                });
                Ok(())
            })
        })
    };
    put(&at.store, "before".to_owned(), "v".to_owned(), false).await.unwrap();
    limit(1).await.unwrap();
    let full = put(&at.store, "big".to_owned(), "x".repeat(1 << 20), false).await;
    assert!(matches!(full, Err(StoreError::Database(_) | StoreError::Commit(_))), "{full:?}");
    limit(1 << 30).await.unwrap();
    put(&at.store, "after".to_owned(), "v".to_owned(), false).await.unwrap();
    assert_eq!(count(&at.store, "v").await, 2);
}
