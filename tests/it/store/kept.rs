//! What a database keeps, what it must not hold, what is left when a session goes.

use std::time::Duration;

use secrecy::ExposeSecret;
use wagate::model::{AttemptOutcome, MessageId, Scope, SessionId};
use wagate::store::Store;
use wagate::store::deliveries::{Settled, Settlement};
use wagate::store::sends::NewSend;
use wagate_tests::haystack;

use super::{Place, attempt, delivery, endpoint, forward, message, new_send, session, shop};

/// A row of every kind a session can have.
async fn fill(store: &Store, id: &SessionId) {
    let scope = Scope::gateway();
    let (events, deliveries) = (store.events(scope), store.deliveries(scope));
    let stored = events.receive(id, &[message("a"), message("b")]).await.unwrap();
    let endpoint = endpoint(store, id).await;
    assert!(forward(store, scope, &stored[0].id, vec![delivery(endpoint.clone(), "{}")]).await);
    let then = Settlement::Retry(stored[0].stored_at.after(Duration::from_hours(1)));
    let due = deliveries.due(&endpoint, 1).await.unwrap().remove(0);
    let attempt = attempt(AttemptOutcome::Refused { status: 500 });
    assert!(deliveries.settle(Settled { delivery: due.id, attempts: 0, attempt, then }).await.unwrap());
    let (sent, to) = (MessageId::from("3EB0".to_owned()), "6281381393739".parse().unwrap());
    store.sends(scope).begin(NewSend { key: Some(("k", &[0; 32])), ..new_send(id, &sent, &to) }).await.unwrap();
}

/// How many rows each table has.
async fn counts(place: &Place) -> Vec<(String, i64)> {
    let (raw, mut counts) = (place.raw().await, Vec::new());
    for table in raw.tables().await.unwrap() {
        let rows = raw.count(&table, "1 = 1").await.unwrap();
        counts.push((table, rows));
    }
    raw.close().await;
    counts
}

#[tokio::test]
async fn a_deleted_session_leaves_no_row_in_any_table_and_its_neighbour_all() {
    let place = Place::new();
    let store = place.open().await;
    let (scope, gone) = shop(&store).await;
    fill(&store, &gone).await;
    store.close().await;
    let one = counts(&place).await;
    for table in ["sessions", "endpoints", "events", "deliveries", "attempts", "sends"] {
        assert!(one.iter().any(|(name, count)| name == table && *count > 0), "{table} is filled: {one:?}");
    }

    let store = place.open().await;
    let stays = session(&store, scope.user().unwrap(), "ses_stays").await.id;
    fill(&store, &stays).await;
    assert!(store.sessions(scope).delete(&gone).await.unwrap());
    store.close().await;
    assert_eq!(counts(&place).await, one, "as many rows as one session has");

    let store = place.open().await;
    assert!(store.sessions(scope).delete(&stays).await.unwrap());
    store.close().await;
    for (table, count) in counts(&place).await {
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
        store.deliveries(scope).waiting_endpoints().await.unwrap(),
    );
    store.close().await;

    let store = place.open().await;
    let after = (
        store.users().list().await.unwrap(),
        store.sessions(scope).list().await.unwrap(),
        store.events(scope).unrouted(None, 10).await.unwrap(),
        store.deliveries(scope).waiting_endpoints().await.unwrap(),
    );
    assert_eq!(after, before);
    assert_eq!((after.0.len(), after.1.len(), after.2.len(), after.3.len()), (1, 1, 1, 1));
    assert_eq!(store.settings().get("wa.version").await.unwrap().as_deref(), Some("2.3000.1"));
    let again = store.sessions(scope).webhook_secret(&id).await.unwrap().unwrap();
    assert_eq!(again.expose_secret(), secret.expose_secret());
    assert!(store.events(scope).receive(&id, &[message("a"), message("b")]).await.unwrap().is_empty());
}

#[tokio::test]
async fn no_file_of_the_engine_holds_a_webhook_secret_in_plain() {
    let place = Place::apart().await;
    let store = place.open().await;
    let (scope, id) = shop(&store).await;
    let secret = store.sessions(scope).webhook_secret(&id).await.unwrap().unwrap();
    let encoded = secret.expose_secret().strip_prefix("whsec_").unwrap().to_owned();
    let bytes = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, &encoded).unwrap();
    let needles: [(&str, &[u8]); 4] = [
        ("the address", b"https://example.org/hook"),
        ("the prefix of a secret", b"whsec_"),
        ("the secret", encoded.as_bytes()),
        ("the key", &bytes),
    ];
    for closed in [false, true] {
        if closed {
            store.close().await;
        }
        let path = place.path();
        let (found, _) = haystack::find(place.database.folder(&path).unwrap(), &needles).unwrap();
        assert!(!found.is_empty(), "the search finds what is there");
        assert!(found.iter().all(|(_, name)| name == needles[0].0), "closed: {closed}: {found:?}");
    }
}

#[tokio::test]
async fn migrations_are_applied_once() {
    let place = Place::new();
    place.open().await.close().await;
    let raw = place.raw().await;
    let applied = "SELECT CONCAT(version, ' ', installed_on) FROM _sqlx_migrations ORDER BY version";
    let first = raw.texts(applied).await.unwrap();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../migrations/sqlite");
    assert_eq!(first.len(), std::fs::read_dir(folder).unwrap().count());
    place.open().await.close().await;
    assert_eq!(raw.texts(applied).await.unwrap(), first);
    raw.close().await;
}
