//! Files the store refuses, each with its own error, and none with a panic.

use std::io::{Read, Seek, SeekFrom, Write};

use sqlx::Connection;
use wagate::store::StoreError;

use super::{Place, message, shop};

/// A closed database with some pages in it.
async fn written() -> Place {
    let place = Place::new();
    let store = place.open().await;
    let (scope, id) = shop(&store).await;
    let batch: Vec<_> = (0..500).map(|n| message(format!("m{n}"))).collect();
    store.events(scope).receive(&id, &batch).await.unwrap();
    store.close().await;
    place
}

async fn refusal(place: &Place) -> StoreError {
    match place.try_open("master.key").await {
        Err(error) => error,
        Ok(_) => panic!("the file was opened"),
    }
}

#[tokio::test]
async fn refuses_a_second_store_on_the_same_file_by_any_path() {
    let place = written().await;
    let store = place.open().await;
    assert!(matches!(refusal(&place).await, StoreError::InUse(_)));
    let link = Place::new();
    std::fs::create_dir(link.directory.path().join("data")).unwrap();
    std::os::unix::fs::symlink(place.path(), link.path()).unwrap();
    assert!(matches!(refusal(&link).await, StoreError::InUse(_)));
    store.ping().await.unwrap();
    store.close().await;
    place.open().await.ping().await.unwrap();
}

#[tokio::test]
async fn refuses_a_file_that_is_no_database() {
    for content in [&b"This is a letter, not a database. ".repeat(100)[..], b"x", b"SQLite format 3\0"] {
        let place = Place::new();
        std::fs::create_dir(place.directory.path().join("data")).unwrap();
        std::fs::write(place.path(), content).unwrap();
        let refused = refusal(&place).await;
        assert!(matches!(refused, StoreError::Damaged { .. }), "{refused:?}");
        assert!(refused.to_string().contains("wagate.db"), "{refused}");
        assert_eq!(std::fs::read(place.path()).unwrap(), content, "left as it was");
    }
}

#[tokio::test]
async fn refuses_a_damaged_page_and_a_cut_off_file() {
    let place = written().await;
    let whole = std::fs::read(place.path()).unwrap();
    assert!(whole.len() > 40 * 4096, "{} bytes", whole.len());
    let mut file = std::fs::OpenOptions::new().read(true).write(true).open(place.path()).unwrap();
    file.seek(SeekFrom::Start(20 * 4096)).unwrap();
    file.write_all(&[0xa5; 3 * 4096]).unwrap();
    let refused = refusal(&place).await;
    assert!(matches!(refused, StoreError::Damaged { .. }), "{refused:?}");

    std::fs::write(place.path(), &whole[..whole.len() / 2]).unwrap();
    let refused = refusal(&place).await;
    assert!(matches!(refused, StoreError::Damaged { .. }), "{refused:?}");

    std::fs::write(place.path(), &whole).unwrap();
    place.open().await.ping().await.unwrap();
    let mut head = [0; 16];
    std::fs::File::open(place.path()).unwrap().read_exact(&mut head).unwrap();
    assert_eq!(&head, b"SQLite format 3\0");
}

#[tokio::test]
async fn refuses_another_programs_database() {
    let place = Place::new();
    std::fs::create_dir(place.directory.path().join("data")).unwrap();
    std::fs::write(place.path(), "").unwrap();
    let mut raw = place.raw().await;
    sqlx::query("CREATE TABLE bookmarks (url TEXT)").execute(&mut raw).await.unwrap();
    raw.close().await.unwrap();
    let refused = refusal(&place).await;
    assert!(
        matches!(&refused, StoreError::Damaged { reason, .. } if reason.contains("another program")),
        "{refused:?}"
    );
}

#[tokio::test]
async fn refuses_the_file_of_a_newer_wagate() {
    let place = written().await;
    let mut raw = place.raw().await;
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
        VALUES (9001, 'of tomorrow', TRUE, x'00', 1)",
    )
    .execute(&mut raw)
    .await
    .unwrap();
    raw.close().await.unwrap();
    let refused = refusal(&place).await;
    assert!(matches!(refused, StoreError::Newer { found: 9001, known } if known < 9001), "{refused:?}");
}

#[tokio::test]
async fn refuses_another_master_key_and_opens_again_under_the_first() {
    let place = written().await;
    let refused = place.try_open("other.key").await;
    assert!(matches!(refused, Err(StoreError::Sealed(_))), "{refused:?}");
    place.open().await.ping().await.unwrap();
}

#[tokio::test]
async fn says_which_file_cannot_be_made() {
    let place = Place::new();
    std::fs::write(place.directory.path().join("data"), "a file where a directory should be").unwrap();
    let refused = refusal(&place).await;
    assert!(matches!(refused, StoreError::Unavailable { .. }), "{refused:?}");
}
