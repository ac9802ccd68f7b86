//! Databases the store refuses, each with its own error, and none with a panic.

use wagate::store::StoreError;

use super::{Place, message, shop};

/// A closed database with some pages in it.
pub(super) async fn written(place: Place) -> Place {
    let store = place.open().await;
    let (scope, id) = shop(&store).await;
    let batch: Vec<_> = (0..500).map(|n| message(format!("m{n}"))).collect();
    store.events(scope).receive(&id, &batch).await.unwrap();
    store.close().await;
    place
}

pub(super) async fn refusal(place: &Place) -> StoreError {
    match place.try_open("master.key").await {
        Err(error) => error,
        Ok(_) => panic!("the database was opened"),
    }
}

#[tokio::test]
async fn refuses_the_database_of_a_newer_wagate() {
    let place = written(Place::new()).await;
    let raw = place.raw().await;
    let checksum = raw.literal(b"\0");
    raw.run(format!(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
        VALUES (9001, 'of tomorrow', TRUE, {checksum}, 1)"
    ))
    .await
    .unwrap();
    raw.close().await;
    let refused = refusal(&place).await;
    assert!(matches!(refused, StoreError::Newer { found: 9001, known } if known < 9001), "{refused:?}");
}

#[tokio::test]
async fn refuses_another_master_key_and_opens_again_under_the_first() {
    let place = written(Place::new()).await;
    let refused = place.try_open("other.key").await;
    assert!(matches!(refused, Err(StoreError::KeyLost { .. })), "{refused:?}");
    assert!(!place.directory.path().join("other.key").exists(), "no key is made that the database does not take");
    place.open().await.ping().await.unwrap();
}
