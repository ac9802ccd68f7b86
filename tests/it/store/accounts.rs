//! Users, sessions and the first webhook of a session.

use std::time::Duration;

use futures_util::future::join_all;
use secrecy::ExposeSecret;
use wagate::model::{Link, Role, Scope, UserId};
use wagate::store::StoreError;

use super::{Place, hook, session, shop, user};

#[tokio::test]
async fn a_username_is_taken_whatever_its_case() {
    let place = Place::new();
    let store = place.open().await;
    let added = store.users().add("Ämilia", Role::Admin, "hash", true).await.unwrap();
    assert_eq!((added.role, added.token_version, added.must_change_password), (Role::Admin, 0, true));
    for again in ["Ämilia", "ämilia", "ÄMILIA"] {
        let refused = store.users().add(again, Role::User, "other", false).await;
        assert!(matches!(refused, Err(StoreError::Taken(_))), "{again}: {refused:?}");
        assert_eq!(store.users().for_login(again).await.unwrap(), Some((added.clone(), "hash".to_owned())));
    }
    assert_eq!(store.users().for_login("amilia").await.unwrap(), None);
    assert_eq!(store.users().list().await.unwrap(), [added]);
}

#[tokio::test]
async fn of_many_who_want_one_name_one_gets_it_and_nobody_else_suffers() {
    let place = Place::new();
    let store = place.open().await;
    let users = store.users();
    let names: Vec<String> = (0..100).map(|n| format!("user{}", n / 2)).collect();
    let answers = join_all(names.iter().map(|name| users.add(name, Role::User, "hash", false))).await;
    for pair in answers.chunks(2) {
        assert_eq!(pair.iter().filter(|answer| answer.is_ok()).count(), 1, "{pair:?}");
    }
    assert_eq!(users.list().await.unwrap().len(), 50);
}

#[tokio::test]
async fn a_new_password_revokes_tokens_and_a_rehash_does_not() {
    let place = Place::new();
    let store = place.open().await;
    let id = store.users().add("ann", Role::User, "first", true).await.unwrap().id;
    store.users().rehash(id, "first", "rehashed").await.unwrap();
    let (user, hash) = store.users().for_login("ann").await.unwrap().unwrap();
    assert_eq!((hash.as_str(), user.token_version, user.must_change_password), ("rehashed", 0, true));
    assert!(store.users().set_password(id, "second", false).await.unwrap());
    let (user, hash) = store.users().for_login("ann").await.unwrap().unwrap();
    assert_eq!((hash.as_str(), user.token_version, user.must_change_password), ("second", 1, false));
    assert!(!store.users().set_password(UserId(99), "x", false).await.unwrap());
    assert_eq!(store.users().get(id).await.unwrap(), Some(user));
}

#[tokio::test]
async fn a_rehash_does_not_undo_a_password_change_of_the_same_moment() {
    let place = Place::new();
    let store = place.open().await;
    let id = store.users().add("ann", Role::User, "old", false).await.unwrap().id;
    // A login has compared with the old hash; before it stores the better one, the password changes.
    assert!(store.users().set_password(id, "new", false).await.unwrap());
    store.users().rehash(id, "old", "old, rehashed").await.unwrap();
    assert_eq!(store.users().for_login("ann").await.unwrap().unwrap().1, "new");
}

#[tokio::test]
async fn a_user_is_removed_only_without_sessions_and_the_number_is_not_given_out_again() {
    let place = Place::new();
    let store = place.open().await;
    let (scope, id) = shop(&store).await;
    let owner = scope.user().unwrap();
    assert!(matches!(store.users().remove(owner).await, Err(StoreError::Taken(_))));
    assert!(store.sessions(scope).delete(&id).await.unwrap());
    assert!(store.users().remove(owner).await.unwrap());
    assert!(!store.users().remove(owner).await.unwrap());
    assert!(user(&store, "bob").await > owner);
}

#[tokio::test]
async fn a_session_is_made_found_changed_and_listed_in_order() {
    let place = Place::new();
    let store = place.open().await;
    let (scope, id) = shop(&store).await;
    let owner = scope.user().unwrap();
    let sessions = store.sessions(scope);
    let second = sessions.create(owner, "a_second".parse().unwrap(), "Zwei", None).await.unwrap();
    let taken = sessions.create(owner, id.clone(), "Again", None).await;
    assert!(matches!(taken, Err(StoreError::Taken(_))), "{taken:?}");

    let found = sessions.get(&id).await.unwrap().unwrap();
    assert_eq!(found.webhook_url, Some(hook("https://example.org/hook")));
    assert_eq!((found.name.as_str(), found.wanted, &found.link), ("Shop", false, &None));
    assert!(sessions.rename(&id, "Kiosk 🛒").await.unwrap());
    assert!(sessions.set_wanted(&id, true).await.unwrap());
    let found = sessions.get(&id).await.unwrap().unwrap();
    assert_eq!((found.name.as_str(), found.wanted), ("Kiosk 🛒", true));
    assert_eq!(sessions.list().await.unwrap(), [found, second]);

    let missing = "missing".parse().unwrap();
    assert!(!sessions.rename(&missing, "x").await.unwrap());
    assert!(!sessions.set_webhook(&missing, None).await.unwrap());
    assert!(!sessions.delete(&missing).await.unwrap());
}

#[tokio::test]
async fn a_link_is_remembered_found_by_number_and_forgotten() {
    let place = Place::new();
    let store = place.open().await;
    let (scope, first) = shop(&store).await;
    let second = session(&store, scope.user().unwrap(), "ses_second").await.id;
    let sessions = store.sessions(scope);
    let phone = "6282260790996".parse().unwrap();
    let mut link = Link {
        phone,
        device_jid: "6282260790996:3@s.whatsapp.net".to_owned(),
        lid: Some("100000000000002@lid".parse().unwrap()),
        linked_at: place.clock.now(),
    };
    assert!(sessions.set_link(&first, Some(&link)).await.unwrap());
    assert_eq!(sessions.get(&first).await.unwrap().unwrap().link.as_ref(), Some(&link));
    place.clock.advance(Duration::from_mins(1));
    (link.linked_at, link.lid) = (place.clock.now(), None);
    assert!(sessions.set_link(&second, Some(&link)).await.unwrap());

    let found = sessions.by_phone(&link.phone).await.unwrap();
    assert_eq!(found.iter().map(|session| &session.id).collect::<Vec<_>>(), [&second, &first], "newest link first");
    assert!(sessions.set_link(&second, None).await.unwrap());
    assert_eq!(sessions.get(&second).await.unwrap().unwrap().link, None);
    assert_eq!(sessions.by_phone(&link.phone).await.unwrap().len(), 1);
}

#[tokio::test]
async fn the_webhook_secret_stays_with_a_new_address_and_goes_with_the_webhook() {
    let place = Place::new();
    let store = place.open().await;
    let (scope, id) = shop(&store).await;
    let sessions = store.sessions(scope);
    let secret = async || sessions.webhook_secret(&id).await.unwrap().map(|secret| secret.expose_secret().to_owned());

    let first = secret().await.unwrap();
    assert_eq!(standardwebhooks::Webhook::new(&first).map(|_| ()).ok(), Some(()), "a Standard Webhooks secret");
    assert_eq!(first.len(), "whsec_".len() + 44, "32 bytes of base64");
    assert!(sessions.set_webhook(&id, Some(&hook("https://example.org/moved"))).await.unwrap());
    assert_eq!(secret().await.as_ref(), Some(&first));
    let endpoints = store.endpoints(scope).list(Some(&id)).await.unwrap();
    assert_eq!(endpoints.len(), 1);
    assert_eq!(endpoints[0].url, hook("https://example.org/moved"));
    assert_eq!(endpoints[0].keys.secret().unwrap().expose_secret(), first);

    assert!(sessions.set_webhook(&id, None).await.unwrap());
    assert!(sessions.set_webhook(&id, None).await.unwrap(), "removing twice changes nothing");
    assert_eq!((secret().await, sessions.get(&id).await.unwrap().unwrap().webhook_url), (None, None));
    assert!(store.endpoints(scope).list(Some(&id)).await.unwrap().is_empty());

    assert!(sessions.set_webhook(&id, Some(&hook("https://example.org/again"))).await.unwrap());
    assert_ne!(secret().await.unwrap(), first);
}

#[tokio::test]
async fn nobody_creates_a_session_for_somebody_else() {
    let place = Place::new();
    let store = place.open().await;
    let (ann, bob) = (user(&store, "ann").await, user(&store, "bob").await);
    let made = store.sessions(Scope::of(bob)).create(ann, "ses_x".parse().unwrap(), "x", None).await;
    assert!(made.is_err());
    assert!(store.sessions(Scope::gateway()).list().await.unwrap().is_empty());
}
