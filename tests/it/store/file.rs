//! What is SQLite's alone: its file, and the files it refuses, each with its own error, and none with a panic.

use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;

use wagate::store::StoreError;

use super::refusals::{refusal, written};
use super::{Place, message, shop};

#[tokio::test]
async fn what_was_answered_is_in_the_file_before_the_store_is_closed() {
    let place = Place::sqlite();
    let store = place.open().await;
    let (scope, id) = shop(&store).await;
    let stored = store.events(scope).receive(&id, &[message("a")]).await.unwrap();
    // A copy taken now is what a killed process leaves behind.
    let after_kill = Place::sqlite();
    std::fs::create_dir(after_kill.directory.path().join("data")).unwrap();
    for name in ["data/wagate.db", "data/wagate.db-wal", "master.key"] {
        std::fs::copy(place.directory.path().join(name), after_kill.directory.path().join(name)).unwrap();
    }
    let survivor = after_kill.open().await;
    assert_eq!(survivor.events(scope).unrouted(None, 10).await.unwrap(), stored);
}

#[tokio::test]
async fn files_are_for_their_owner_only() {
    let place = Place::sqlite();
    let store = place.open().await;
    shop(&store).await;
    let mode = |name: &str| std::fs::metadata(place.directory.path().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("data"), 0o700);
    for name in ["data/wagate.db", "data/wagate.db-wal", "data/wagate.db-shm", "data/wagate.db.lock", "master.key"] {
        assert_eq!(mode(name), 0o600, "{name}");
    }
}

#[tokio::test]
async fn refuses_a_second_store_on_the_same_file_by_any_path() {
    let place = written(Place::sqlite()).await;
    let store = place.open().await;
    assert!(matches!(refusal(&place).await, StoreError::InUse(_)));
    let link = Place::sqlite();
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
        let place = Place::sqlite();
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
    let place = written(Place::sqlite()).await;
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
    let place = Place::sqlite();
    std::fs::create_dir(place.directory.path().join("data")).unwrap();
    std::fs::write(place.path(), "").unwrap();
    let raw = place.raw().await;
    raw.run("CREATE TABLE bookmarks (url TEXT)").await.unwrap();
    raw.close().await;
    let refused = refusal(&place).await;
    assert!(
        matches!(&refused, StoreError::Damaged { reason, .. } if reason.contains("another program")),
        "{refused:?}"
    );
}

#[tokio::test]
async fn says_which_file_cannot_be_made() {
    let place = Place::sqlite();
    std::fs::write(place.directory.path().join("data"), "a file where a directory should be").unwrap();
    let refused = refusal(&place).await;
    assert!(matches!(refused, StoreError::Unavailable { .. }), "{refused:?}");
}
