//! The WhatsApp key store. One suite of checks runs against the library's own in-memory store, which is the oracle,
//! and against ours, on two sessions of one database in turn: what holds for the first must hold for the second, so no call
//! of any session sees another's rows. What only ours must do is in `ours`.
//!
//! Where the oracle is wrong (see `ours::a_number_keeps_…` and `ours::a_late_write_…`), the check is not shared.

mod device;
mod messages;
mod ours;
mod protocol;
mod secrets;
mod signal;
mod sync;

use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use serde_json::Value;
use tempfile::TempDir;
use wagate::app::tasks::Tasks;
use wagate::config::VaultConfig;
use wagate::model::{Clock, Role, Scope, SessionId};
use wagate::store::{Store, Vault};
use wagate::whatsapp::keys::KeyStore;
use wagate_tests::database::Database;
use wagate_tests::engine::Engine;
use wagate_tests::raw::Raw;
use whatsapp_rust::wacore::store::InMemoryBackend;

/// Names that trip up collations, patterns, terminators and quoting.
const ODD_NAMES: [&str; 10] =
    ["plain@lid", "PLAIN@lid", "", " ", "plain@lid ", "pla%n@l_d", "nul\0inside", "nul", "'); --", "naïve \u{1F980}"];

/// A name of 64 KiB, such as a peer could choose for a message id.
fn long_name(fill: char) -> String {
    fill.to_string().repeat(65_536)
}

fn arc(text: &str) -> Arc<str> {
    Arc::from(text)
}

fn sorted<T: Ord>(mut list: Vec<T>) -> Vec<T> {
    list.sort();
    list
}

/// The library's records have no equality; what they serialise to has.
fn json<T: serde::Serialize>(value: &T) -> Value {
    serde_json::to_value(value).unwrap()
}

/// A store in a database of its own, gone with the value.
struct Bed {
    store: Store,
    database: Database,
    dir: TempDir,
}

impl Bed {
    async fn new() -> Self {
        Self::on(Database::of_run().unwrap()).await
    }

    /// One whose raw files are nobody else's.
    async fn apart() -> Self {
        Self::on(Database::apart(Engine::of_run().unwrap()).await.unwrap()).await
    }

    async fn on(database: Database) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Self::open(&dir, &database).await;
        Self { store, database, dir }
    }

    async fn open(dir: &TempDir, database: &Database) -> Store {
        let key = base64::engine::general_purpose::STANDARD.encode([42; 32]);
        let vault = Vault::open(&VaultConfig::given(key.into())).await.unwrap();
        let config = database.config(&dir.path().join("wagate.db")).unwrap();
        Store::open(&config, vault, Clock::System, &Tasks::new()).await.unwrap()
    }

    async fn reopen(self) -> Self {
        self.store.close().await;
        Self { store: Self::open(&self.dir, &self.database).await, ..self }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("wagate.db")
    }

    /// Closes the store and answers a way into its database.
    async fn raw(&self) -> Raw {
        self.store.close().await;
        self.database.raw(&self.file()).await.unwrap()
    }

    /// The keys of a session, which is created when it is new.
    async fn keys(&self, id: &str) -> KeyStore {
        let id: SessionId = id.parse().unwrap();
        let sessions = self.store.sessions(Scope::gateway());
        if sessions.get(&id).await.unwrap().is_none() {
            let users = self.store.users();
            let owner = match users.for_login("owner").await.unwrap() {
                Some((user, _)) => user,
                None => users.add("owner", Role::User, "hash", false).await.unwrap(),
            };
            sessions.create(owner.id, id.clone(), "name", None).await.unwrap();
        }
        KeyStore::new(self.store.keys(id))
    }
}

macro_rules! suite {
    ($($part:ident { $($check:ident)+ })+) => {
        mod oracle_conforms {
            $($(
                #[tokio::test]
                async fn $check() {
                    super::$part::$check(&super::InMemoryBackend::new()).await;
                }
            )+)+
        }
        mod ours_conforms {
            $($(
                #[tokio::test]
                async fn $check() {
                    let bed = super::Bed::new().await;
                    for session in ["ses_first", "ses_second"] {
                        super::$part::$check(&bed.keys(session).await).await;
                    }
                }
            )+)+
        }
    };
}

suite! {
    signal {
        keeps_identities_by_exact_address
        stores_identities_in_batches
        keeps_sessions_of_any_size_and_content
        stores_sessions_in_batches
        tells_whether_a_user_has_signal_state
        keeps_prekeys_and_knows_the_highest
        stores_and_loads_prekeys_in_batches
        marking_uploaded_never_brings_a_prekey_back
        keeps_signed_prekeys
        keeps_sender_keys
        does_not_mix_kinds_of_equal_name
        takes_names_of_any_shape
    }
    sync {
        keeps_sync_keys_by_binary_id
        remembers_the_sync_key_stored_last
        keeps_a_version_per_collection
        keeps_mutation_macs_by_collection_and_index
        fetches_many_mutation_macs_at_once
        deletes_and_clears_mutation_macs_of_one_collection
    }
    protocol {
        tracks_which_devices_hold_our_sender_key
        forgets_sender_key_devices_by_group_by_device_and_all
        maps_hidden_addresses_to_numbers_and_back
        the_newest_hidden_address_of_a_number_wins
        compares_base_keys_of_a_retried_message
        keeps_the_device_list_of_a_user
        keeps_group_metadata_as_it_was_given
        keeps_trusted_contact_tokens
        a_sender_time_only_moves_forward
        a_received_token_replaces_only_an_older_one
        a_token_goes_when_both_its_times_are_past
        lists_names_as_they_were_given
    }
    messages {
        a_sent_message_is_taken_once
        of_many_takers_one_gets_the_sent_message
        sweeps_sent_messages_stored_before_the_cutoff
        buffers_received_messages_until_they_are_committed
        buffers_received_messages_in_batches
        sweeps_received_messages_buffered_before_the_cutoff
    }
    secrets {
        keeps_secrets_by_chat_sender_and_id
        stores_secrets_in_batches_and_counts_them
        an_unknown_message_time_never_replaces_a_known_one
        deadlines_of_secrets_never_shrink
    }
    device {
        saves_and_loads_a_device
        a_created_device_registers_like_a_new_one
        creating_twice_keeps_the_first_device
        snapshots_and_reports_do_no_harm
    }
}
