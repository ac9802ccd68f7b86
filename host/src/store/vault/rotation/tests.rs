use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use secrecy::{ExposeSecret, SecretString};

use super::super::tests::{key, under};
use super::super::{Vault, new_key};
use super::*;
use crate::config::VaultConfig;
use crate::model::{FailurePolicy, Grants, Hook, Limits, PluginId, Report, Reuse, Role, Scope, SessionId};
use crate::store::endpoints::NewEndpoint;
use crate::store::keys::{Kind, MessageKey, Secret, Token};
use crate::store::plugins::{NewBinding, NewVersion};
use crate::store::pool::on;
use crate::store::sql::statements;
use crate::store::tests::{Fixture, every_engine};

/// More than fit on two pages.
const PREKEYS: u32 = 250;
const WRITERS: u32 = 8;
const JID: &str = "6281381393739@s.whatsapp.net";

statements! {
    SPOIL = "UPDATE whatsapp_tokens SET value = $1 WHERE jid = $2";
    TOKEN = "SELECT value FROM whatsapp_tokens WHERE jid = $1";
}

/// A session that has something sealed by every room.
pub(in crate::store) struct Filled {
    pub(in crate::store) session: SessionId,
    plugin: PluginId,
    webhook: String,
}

impl Filled {
    pub(in crate::store) async fn fill(store: &Store) -> Self {
        let owner = store.users().add("ann", Role::User, "no hash", false).await.unwrap().id;
        let (scope, url) = (Scope::of(owner), "https://example.org/hook".parse().unwrap());
        let session: SessionId = "ses_shop".parse().unwrap();
        store.sessions(scope).create(owner, session.clone(), "Shop", Some(&url)).await.unwrap();
        let mut billing = NewEndpoint::plain(session.clone(), "billing", url.clone());
        billing.headers = vec![("authorization".to_owned(), SecretString::from("Bearer geheim"))];
        store.endpoints(scope).add(billing).await.unwrap().unwrap();
        // A removed one keeps an empty value.
        let removed =
            store.endpoints(scope).add(NewEndpoint::plain(session.clone(), "archive", url)).await.unwrap().unwrap();
        assert!(store.endpoints(scope).remove(&removed.id).await.unwrap());
        let plugin = bind(store, owner, &session).await;
        let keys = store.keys(session.clone());
        keys.put(&[(Kind::Device.key(b""), b"device"), (Kind::BaseKey.within(b"a", b"b"), b"base")]).await.unwrap();
        let prekeys: Vec<(u32, [u8; 32])> = (0..PREKEYS).map(|id| (id, [7; 32])).collect();
        keys.put_prekeys(&prekeys, false).await.unwrap();
        keys.put_token(JID, &Token { token: b"token".to_vec(), token_at: 1, sender_at: None }).await.unwrap();
        // One without a token has null.
        keys.touch_token("100000000000001@lid", 5).await.unwrap();
        keys.put_sent(JID, "3EB0", b"payload").await.unwrap();
        keys.put_pending(&[(Self::message(), b"received")]).await.unwrap();
        keys.put_secrets(&[Secret { of: Self::message(), secret: b"secret", expires_at: 0, message_at: 1 }])
            .await
            .unwrap();
        let webhook = store.sessions(scope).webhook_secret(&session).await.unwrap().unwrap();
        Self { session, plugin, webhook: webhook.expose_secret().to_owned() }
    }

    /// Makes sure that everything opens and is what it was.
    pub(in crate::store) async fn check(&self, store: &Store) {
        let (scope, keys) = (Scope::gateway(), store.keys(self.session.clone()));
        let endpoints = store.endpoints(scope).list(Some(&self.session)).await.unwrap();
        let [_, billing] = &endpoints[..] else { panic!("{endpoints:?}") };
        assert_eq!(billing.headers[0].1.expose_secret(), "Bearer geheim");
        let webhook = store.sessions(scope).webhook_secret(&self.session).await.unwrap().unwrap();
        assert_eq!(webhook.expose_secret(), self.webhook);
        let binding = store.plugins(scope).bindings(&self.plugin).await.unwrap().remove(0);
        assert_eq!(binding.config.expose_secret(), r#"{"token":"geheim"}"#);
        assert_eq!(keys.get(Kind::Device.key(b"")).await.unwrap().as_deref(), Some(&b"device"[..]));
        assert_eq!(keys.get(Kind::BaseKey.within(b"a", b"b")).await.unwrap().as_deref(), Some(&b"base"[..]));
        let prekeys = keys.all(Kind::PreKey).await.unwrap();
        assert_eq!(prekeys.len(), usize::try_from(PREKEYS).unwrap());
        assert!(prekeys.iter().all(|(_, record)| record[..] == [7; 32]));
        assert_eq!(keys.token(JID).await.unwrap().unwrap().token, b"token");
        assert_eq!(keys.token("100000000000001@lid").await.unwrap().unwrap().sender_at, Some(5));
        assert_eq!(keys.pending(Self::message()).await.unwrap().as_deref(), Some(&b"received"[..]));
        assert_eq!(keys.secret(Self::message()).await.unwrap(), Some((b"secret".to_vec(), 1)));
        assert_eq!(keys.take_sent(JID, "3EB0").await.unwrap().as_deref(), Some(&b"payload"[..]));
        keys.put_sent(JID, "3EB0", b"payload").await.unwrap();
    }

    fn message() -> MessageKey<'static> {
        MessageKey { chat: JID, sender: JID, id: "3A01" }
    }
}

async fn bind(store: &Store, owner: crate::model::UserId, session: &SessionId) -> PluginId {
    let calls = store.plugins(Scope::of(owner));
    let component = calls.add_component(b"\0asm").await.unwrap();
    let report = Report {
        name: "router".to_owned(),
        version: "1.0.0".to_owned(),
        description: String::new(),
        wants: Vec::new(),
        hooks: vec![Hook::MessageFilter],
        contract: "1.0.0".to_owned(),
        imports: Vec::new(),
        exports: Vec::new(),
        size: 4,
        sha256: component.clone(),
        reuse: Reuse::Fresh,
        compile_ms: 1,
    };
    let version = NewVersion { component, script: None, grants: Grants::parse(&["log"]).unwrap(), report };
    let plugin = calls.install(owner, "router", version).await.unwrap().0.id;
    let binding = NewBinding {
        plugin: plugin.clone(),
        session: Some(session.clone()),
        position: 1,
        config: SecretString::from(r#"{"token":"geheim"}"#),
        limits: Limits::default(),
        policy: FailurePolicy::Park,
        enabled: true,
    };
    calls.bind(binding).await.unwrap().unwrap();
    plugin
}

/// The keys that anything is sealed under.
async fn in_use(store: &Store) -> Vec<KeyId> {
    let mut keys: Vec<_> =
        store.sealing().status().await.unwrap().counts.iter().map(|count| count.key.unwrap()).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

async fn id(seed: u8) -> KeyId {
    under(seed, &[]).await.ring().current()
}

every_engine! {
    async fn everything_is_sealed_anew_and_opens_under_the_new_key_alone(at) {
        let filled = Filled::fill(&at.store).await;
        assert_eq!(in_use(&at.store).await, [id(1).await]);
        at.store.close().await;

        let store = at.open_under(under(2, &[1]).await).await.unwrap();
        filled.check(&store).await;
        store.sealing().rotate(&Tasks::new()).await.unwrap();
        let status = store.sealing().status().await.unwrap();
        assert_eq!((status.current, status.keys), (id(2).await, vec![id(2).await, id(1).await]));
        assert_eq!(in_use(&store).await, [id(2).await], "{:?}", status.counts);
        let count = |table: &str| status.counts.iter().find(|count| count.table == table).map(|count| count.values);
        assert_eq!(count("endpoints"), Some(2), "the removed one has no secret");
        assert_eq!(count("plugin_bindings"), Some(1));
        assert_eq!(count("whatsapp_keys"), Some(u64::from(PREKEYS) + 2));
        assert_eq!(count("whatsapp_tokens"), Some(1), "one has no token");
        assert_eq!(count("whatsapp_messages"), Some(3));
        let progress = store.sealing().progress();
        assert_eq!(progress.state, State::Done);
        // The check has put one of the messages under the new key already.
        assert!(progress.resealed >= u64::from(PREKEYS) + 8, "{progress:?}");
        filled.check(&store).await;
        store.sealing().rotate(&Tasks::new()).await.unwrap();
        assert_eq!(store.sealing().progress().resealed, 0, "nothing is left to do");
        store.close().await;

        let store = at.open_under(under(2, &[]).await).await.unwrap();
        filled.check(&store).await;
        store.close().await;
        let refused = at.open_again().await;
        let needed = id(2).await;
        assert!(matches!(&refused, Err(StoreError::KeyLost { needed: lost, .. }) if *lost == needed), "{refused:?}");
        let told = refused.unwrap_err().to_string();
        assert!(told.contains(&needed.to_string()) && told.contains("from MASTER_KEY"), "{told}");
    }

    async fn until_then_both_keys_are_needed(at) {
        let filled = Filled::fill(&at.store).await;
        at.store.close().await;
        at.open_under(under(2, &[1]).await).await.unwrap().close().await;
        for (seed, lacks) in [(2, 1), (1, 2)] {
            let (refused, lacks) = (at.open_under(under(seed, &[3]).await).await, id(lacks).await);
            assert!(matches!(&refused, Err(StoreError::KeyLost { needed, .. }) if *needed == lacks), "{refused:?}");
        }
        let store = at.open_under(under(1, &[2]).await).await.unwrap();
        filled.check(&store).await;
        store.sealing().rotate(&Tasks::new()).await.unwrap();
        store.close().await;
        at.open_again().await.unwrap().close().await;
    }

    async fn what_is_written_meanwhile_stays(at) {
        Filled::fill(&at.store).await;
        let (store, ring) = (&at.store, under(2, &[1]).await.ring());
        let column = COLUMNS.iter().find(|column| column.table == "whatsapp_tokens").unwrap();
        let (mut page, more) = column.page(store.readers(), "ses_shop", ring.current(), None).await.unwrap();
        assert_eq!((page.len(), more), (1, false));
        let swap = column.reseal(&ring, "ses_shop", page.remove(0)).unwrap();
        let keys = store.keys("ses_shop".parse().unwrap());
        keys.put_token(JID, &Token { token: b"newer".to_vec(), token_at: 2, sender_at: None }).await.unwrap();
        let (done, rest) = slice(store, column, "ses_shop".to_owned(), vec![swap]).await.unwrap();
        assert_eq!((done, rest.len()), (0, 0), "the value read is no longer there");
        assert_eq!(keys.token(JID).await.unwrap().unwrap().token, b"newer");
    }

    async fn a_damaged_value_is_left_as_it_is_and_the_old_key_with_it(at) {
        let filled = Filled::fill(&at.store).await;
        let read = async |store: &Store| -> Vec<u8> {
            on!(store.readers(), |db, q| {
                sqlx::query_scalar(q(TOKEN)).bind(JID.as_bytes()).fetch_one(db).await.unwrap()
            })
        };
        let sound = read(&at.store).await;
        let mut damaged = sound.clone();
        *damaged.last_mut().unwrap() ^= 1;
        write_token(&at.store, damaged.clone()).await;
        at.store.close().await;

        let store = at.open_under(under(2, &[1]).await).await.unwrap();
        let failed = store.sealing().rotate(&Tasks::new()).await;
        assert!(matches!(failed, Err(RotationError::Unreadable(1))), "{failed:?}");
        assert_eq!(store.sealing().progress().state, State::Failed);
        assert_eq!(read(&store).await, damaged);
        assert_eq!(in_use(&store).await.len(), 2);
        write_token(&store, sound).await;
        filled.check(&store).await;
        store.close().await;
        let refused = at.open_under(under(2, &[]).await).await;
        assert!(matches!(refused, Err(StoreError::KeyLost { .. })), "the old key is still needed: {refused:?}");
        let store = at.open_under(under(2, &[1]).await).await.unwrap();
        store.sealing().rotate(&Tasks::new()).await.unwrap();
        store.close().await;
        at.open_under(under(2, &[]).await).await.unwrap().close().await;
    }
}

async fn write_token(store: &Store, value: Vec<u8>) {
    let work = store.write(move |tx| {
        Box::pin(async move {
            on!(tx, |db, q| {
                sqlx::query(q(SPOIL)).bind(value).bind(JID.as_bytes()).execute(db).await?;
            });
            Ok(())
        })
    });
    work.await.unwrap();
}

#[tokio::test]
async fn goes_on_where_it_was_stopped() {
    let at = Fixture::open().await;
    let filled = Filled::fill(&at.store).await;
    at.store.close().await;
    let store = at.open_under(under(2, &[1]).await).await.unwrap();
    let tasks = Tasks::new();
    store.sealing().start(&tasks).await.unwrap();
    while store.sealing().progress().resealed == 0 {
        sleep(Duration::from_millis(1)).await;
    }
    assert!(matches!(store.sealing().rotate(&tasks).await, Err(RotationError::UnderWay)));
    assert_eq!(tasks.stop(Duration::from_secs(10)).await, 0);
    let stopped = store.sealing().progress();
    assert_eq!(stopped.state, State::Failed, "{stopped:?}");
    assert_eq!(in_use(&store).await.len(), 2);
    filled.check(&store).await;
    store.close().await;

    let refused = at.open_under(under(2, &[]).await).await;
    assert!(matches!(refused, Err(StoreError::KeyLost { .. })), "half of it needs the old key: {refused:?}");
    let store = at.open_under(under(2, &[1]).await).await.unwrap();
    assert_eq!(store.sealing().progress(), Progress::default());
    store.sealing().rotate(&Tasks::new()).await.unwrap();
    assert!(store.sealing().progress().resealed < u64::from(PREKEYS) + 9, "what was done stayed done");
    assert_eq!(in_use(&store).await, [id(2).await]);
    filled.check(&store).await;
}

#[tokio::test]
async fn one_rotates_at_a_time_and_who_leaves_makes_room() {
    let at = Fixture::open().await;
    let turn = Turn::take(&at.store).unwrap();
    assert!(matches!(at.store.sealing().rotate(&Tasks::new()).await, Err(RotationError::UnderWay)));
    drop(turn);
    assert_eq!(at.store.sealing().progress().state, State::Failed);
    at.store.sealing().rotate(&Tasks::new()).await.unwrap();
    assert_eq!(at.store.sealing().progress().state, State::Done);
}

/// A gateway with its key in a file: the key is changed again and again under writers that never rest.
#[tokio::test]
async fn keys_change_under_writers_that_never_rest() {
    let at = Fixture::open().await;
    let filled = Filled::fill(&at.store).await;
    at.store.close().await;
    let in_file = VaultConfig::in_file(at.directory.path().join("master.key"));
    let config = VaultConfig { old_keys: vec![key(1)], ..in_file };
    let store = at.open_under(Vault::open(&config).await.unwrap()).await.unwrap();
    let (resting, written, rested) = <(Arc<AtomicBool>, Arc<AtomicU32>, Arc<AtomicU32>)>::default();
    let writers = Tasks::new();
    for writer in 0..WRITERS {
        let (resting, written, rested) = (Arc::clone(&resting), Arc::clone(&written), Arc::clone(&rested));
        let keys = store.keys(filled.session.clone());
        writers.spawn("writes", async move {
            let mut round = 0_u32;
            while !resting.load(Ordering::SeqCst) {
                let (name, value) = (writer.to_be_bytes(), round.to_be_bytes());
                keys.put(&[(Kind::Session.key(&name), &value)]).await.unwrap();
                let read = keys.get(Kind::Session.key(&name)).await.unwrap();
                assert_eq!(read.as_deref(), Some(&value[..]), "what was written is read, whatever key it is under");
                round += 1;
                written.fetch_add(1, Ordering::SeqCst);
            }
            rested.fetch_add(1, Ordering::SeqCst);
        });
    }
    for _ in 0..4 {
        let changed = new_key(&config).unwrap();
        let before = written.load(Ordering::SeqCst);
        store.sealing().rotate(&Tasks::new()).await.unwrap();
        assert_eq!(in_use(&store).await, [changed.to]);
        assert!(written.load(Ordering::SeqCst) > before, "nobody waited for the end");
        filled.check(&store).await;
    }
    resting.store(true, Ordering::SeqCst);
    assert_eq!(writers.stop(Duration::from_secs(10)).await, 0);
    assert_eq!(rested.load(Ordering::SeqCst), WRITERS, "no writer failed");
    assert_eq!(in_use(&store).await.len(), 1);
    store.close().await;
    std::fs::remove_file(&config.old_keys_file).unwrap();
    let alone = Vault::open(&VaultConfig { old_keys: Vec::new(), ..config }).await.unwrap();
    filled.check(&at.open_under(alone).await.unwrap()).await;
}

/// A key that the database needs is not let go, though it stands nowhere any more.
#[tokio::test]
async fn a_running_store_does_not_take_up_keys_that_would_not_open_everything() {
    let at = Fixture::open().await;
    let filled = Filled::fill(&at.store).await;
    at.store.close().await;
    let in_file = VaultConfig::in_file(at.directory.path().join("master.key"));
    let config = VaultConfig { old_keys: vec![key(1)], ..in_file };
    let store = at.open_under(Vault::open(&config).await.unwrap()).await.unwrap();
    store.sealing().rotate(&Tasks::new()).await.unwrap();
    new_key(&config).unwrap();
    std::fs::remove_file(&config.old_keys_file).unwrap();
    let refused = store.sealing().rotate(&Tasks::new()).await;
    assert!(matches!(refused, Err(RotationError::Store(StoreError::KeyLost { .. }))), "{refused:?}");
    let progress = store.sealing().progress();
    assert!(progress.state == State::Failed && progress.error.is_some(), "{progress:?}");
    filled.check(&store).await;
}
