//! The file itself: what it keeps, what it must not hold, what is left when a session goes.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use secrecy::ExposeSecret;
use sqlx::{AssertSqlSafe, SqliteConnection};
use wagate::model::{Attempt, AttemptOutcome, MessageId, Scope, SessionId};
use wagate::store::Store;
use wagate::store::deliveries::Settlement;
use wagate::store::sends::NewSend;

use super::{Place, delivery, endpoint, forward, message, new_send, session, shop};

/// A row of every kind a session can have.
async fn fill(store: &Store, id: &SessionId) {
    let scope = Scope::gateway();
    let (events, deliveries) = (store.events(scope), store.deliveries(scope));
    let stored = events.receive(id, &[message("a"), message("b")]).await.unwrap();
    let endpoint = endpoint(store, id).await;
    assert!(forward(store, scope, &stored[0].id, vec![delivery(endpoint, "{}")]).await);
    let claimed = deliveries.claim(1, Duration::from_secs(30)).await.unwrap().remove(0);
    let attempt =
        Attempt { started_at: stored[0].stored_at, took_ms: 3, outcome: AttemptOutcome::Refused { status: 500 } };
    let then = Settlement::Retry(stored[0].stored_at.after(Duration::from_hours(1)));
    assert!(deliveries.settle(&claimed.id, claimed.epoch, &attempt, then).await.unwrap());
    let (sent, to) = (MessageId::from("3EB0".to_owned()), "6281381393739".parse().unwrap());
    store.sends(scope).begin(NewSend { key: Some(("k", &[0; 32])), ..new_send(id, &sent, &to) }).await.unwrap();
}

/// How many rows each table of the product has.
async fn counts(raw: &mut SqliteConnection) -> Vec<(String, i64)> {
    let names: Vec<String> = sqlx::query_scalar(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name <> '_sqlx_migrations'",
    )
    .fetch_all(&mut *raw)
    .await
    .unwrap();
    let mut counts = Vec::new();
    for name in names {
        let count = sqlx::query_scalar(AssertSqlSafe(format!("SELECT COUNT(*) FROM {name}")));
        counts.push((name, count.fetch_one(&mut *raw).await.unwrap()));
    }
    counts
}

#[tokio::test]
async fn a_deleted_session_leaves_no_row_in_any_table_and_its_neighbour_all() {
    let place = Place::new();
    let store = place.open().await;
    let (scope, gone) = shop(&store).await;
    fill(&store, &gone).await;
    store.close().await;
    let one = counts(&mut place.raw().await).await;
    for table in ["sessions", "endpoints", "events", "deliveries", "attempts", "sends"] {
        assert!(one.iter().any(|(name, count)| name == table && *count > 0), "{table} is filled: {one:?}");
    }

    let store = place.open().await;
    let stays = session(&store, scope.user().unwrap(), "ses_stays").await.id;
    fill(&store, &stays).await;
    assert!(store.sessions(scope).delete(&gone).await.unwrap());
    store.close().await;
    assert_eq!(counts(&mut place.raw().await).await, one, "as many rows as one session has");

    let store = place.open().await;
    assert!(store.sessions(scope).delete(&stays).await.unwrap());
    store.close().await;
    for (table, count) in counts(&mut place.raw().await).await {
        let kept = matches!(table.as_str(), "users" | "settings");
        assert_eq!(count > 0, kept, "{table} has {count} rows");
    }
}

#[tokio::test]
async fn a_restart_keeps_everything() {
    let place = Place::new();
    let store = place.open().await;
    let (scope, id) = shop(&store).await;
    fill(&store, &id).await;
    store.settings().set("wa.version", "2.3000.1").await.unwrap();
    let secret = store.sessions(scope).webhook_secret(&id).await.unwrap().unwrap();
    let before = (
        store.users().list().await.unwrap(),
        store.sessions(scope).list().await.unwrap(),
        store.events(scope).unrouted(None, 10).await.unwrap(),
        store.deliveries(scope).next_due().await.unwrap(),
    );
    store.close().await;

    let store = place.open().await;
    let after = (
        store.users().list().await.unwrap(),
        store.sessions(scope).list().await.unwrap(),
        store.events(scope).unrouted(None, 10).await.unwrap(),
        store.deliveries(scope).next_due().await.unwrap(),
    );
    assert_eq!(after, before);
    assert_eq!((after.0.len(), after.1.len(), after.2.len(), after.3.is_some()), (1, 1, 1, true));
    assert_eq!(store.settings().get("wa.version").await.unwrap().as_deref(), Some("2.3000.1"));
    let again = store.sessions(scope).webhook_secret(&id).await.unwrap().unwrap();
    assert_eq!(again.expose_secret(), secret.expose_secret());
    assert!(store.events(scope).receive(&id, &[message("a"), message("b")]).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_was_answered_is_in_the_file_before_the_store_is_closed() {
    let place = Place::new();
    let store = place.open().await;
    let (scope, id) = shop(&store).await;
    let stored = store.events(scope).receive(&id, &[message("a")]).await.unwrap();
    // A copy taken now is what a killed process leaves behind.
    let after_kill = Place::new();
    std::fs::create_dir(after_kill.directory.path().join("data")).unwrap();
    for name in ["data/wagate.db", "data/wagate.db-wal", "master.key"] {
        std::fs::copy(place.directory.path().join(name), after_kill.directory.path().join(name)).unwrap();
    }
    let survivor = after_kill.open().await;
    assert_eq!(survivor.events(scope).unrouted(None, 10).await.unwrap(), stored);
}

#[tokio::test]
async fn the_file_holds_no_webhook_secret_in_plain() {
    let place = Place::new();
    let store = place.open().await;
    let (scope, id) = shop(&store).await;
    let secret = store.sessions(scope).webhook_secret(&id).await.unwrap().unwrap();
    let encoded = secret.expose_secret().strip_prefix("whsec_").unwrap().to_owned();
    let bytes = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, &encoded).unwrap();
    let holds = |needle: &[u8]| {
        let directory = place.path().parent().unwrap().to_owned();
        let files = std::fs::read_dir(directory).unwrap().map(|file| std::fs::read(file.unwrap().path()).unwrap());
        files.into_iter().any(|file| file.windows(needle.len()).any(|window| window == needle))
    };
    for closed in [false, true] {
        if closed {
            store.close().await;
        }
        assert!(holds(b"https://example.org/hook"), "the search finds what is there");
        assert!(!holds(b"whsec_") && !holds(encoded.as_bytes()) && !holds(&bytes), "closed: {closed}");
    }
}

#[tokio::test]
async fn migrations_are_applied_once() {
    let place = Place::new();
    place.open().await.close().await;
    let applied = "SELECT version, installed_on FROM _sqlx_migrations ORDER BY version";
    let first: Vec<(i64, String)> = sqlx::query_as(applied).fetch_all(&mut place.raw().await).await.unwrap();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../migrations/sqlite");
    assert_eq!(first.len(), std::fs::read_dir(folder).unwrap().count());
    place.open().await.close().await;
    let second: Vec<(i64, String)> = sqlx::query_as(applied).fetch_all(&mut place.raw().await).await.unwrap();
    assert_eq!(first, second);
}

#[tokio::test]
async fn files_are_for_their_owner_only() {
    let place = Place::new();
    let store = place.open().await;
    shop(&store).await;
    let mode = |name: &str| std::fs::metadata(place.directory.path().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("data"), 0o700);
    for name in ["data/wagate.db", "data/wagate.db-wal", "data/wagate.db-shm", "data/wagate.db.lock", "master.key"] {
        assert_eq!(mode(name), 0o600, "{name}");
    }
}
