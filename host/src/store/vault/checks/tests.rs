use std::time::Duration;

use tokio::time::sleep;

use super::super::new_key;
use super::super::tests::{key, under};
use super::*;
use crate::app::tasks::Tasks;
use crate::config::VaultConfig;
use crate::store::sql::{Sql, statements};
use crate::store::tests::{Fixture, On, every_engine};

statements! {
    FORGET = "DELETE FROM settings WHERE name = 'vault.canary'";
    SPOIL = "UPDATE settings SET value = 'broken' WHERE name = 'vault.canary'";
}

async fn run(store: &Store, sql: Sql) {
    store.write(move |tx| Box::pin(async move { Ok(tx.run(sql).await?) })).await.unwrap();
}

/// Takes the lead; whoever had it has only just let it go.
async fn lead(store: &Store, tasks: &Tasks) {
    for _ in 0..200 {
        match store.lead(tasks).await {
            Err(StoreError::Standby) => sleep(Duration::from_millis(50)).await,
            led => return led.unwrap(),
        }
    }
    panic!("nobody leads, and yet the lead is not free");
}

every_engine! {
    async fn a_damaged_check_value_is_not_taken_for_a_lost_key(at) {
        run(&at.store, SPOIL).await;
        at.store.close().await;
        let refused = at.open_again().await;
        assert!(matches!(refused, Err(StoreError::Sealed(_))), "{refused:?}");
    }
}

/// Two gateways that make a key each, on a database nobody has used: one has it, the other is told so.
#[tokio::test]
async fn of_two_keys_on_a_new_database_one_is_taken() {
    for engine in On::servers() {
        let at = Fixture::on(engine).await;
        run(&at.store, FORGET).await;
        let (one, other) = (under(2, &[]).await, under(3, &[]).await);
        let opened = tokio::join!(at.open_under(one), at.open_under(other));
        let (store, refused) = match opened {
            (Ok(store), Err(refused)) | (Err(refused), Ok(store)) => (store, refused),
            both => panic!("{engine:?}: {both:?}"),
        };
        let needed = store.vault().ring().current();
        assert!(matches!(&refused, StoreError::KeyLost { needed: lost, .. } if *lost == needed), "{refused:?}");
        store.close().await;
    }
}

/// A gateway that stood by while another one changed the master key goes over to it as it takes the lead.
#[tokio::test]
async fn whoever_takes_the_lead_takes_the_keys_up_anew() {
    for engine in On::servers() {
        let at = Fixture::on(engine).await;
        at.store.close().await;
        let in_file = VaultConfig::in_file(at.directory.path().join("master.key"));
        let config = VaultConfig { old_keys: vec![key(1)], ..in_file };
        let active = at.open_under(Vault::open(&config).await.unwrap()).await.unwrap();
        lead(&active, &at.tasks).await;
        let next = at.open_under(Vault::open(&config).await.unwrap()).await.unwrap();
        assert!(matches!(next.lead(&at.tasks).await, Err(StoreError::Standby)), "{engine:?}");
        let before = next.vault().ring().current();
        let changed = new_key(&config).unwrap();
        assert_eq!(changed.from, before);
        active.sealing().rotate(&Tasks::new()).await.unwrap();
        active.close().await;
        lead(&next, &at.tasks).await;
        assert_eq!(next.vault().ring().current(), changed.to, "{engine:?}");
        next.close().await;
    }
}
