//! What only our key store must do: last, stay apart, stay whole, stay secret, and go when told to.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use wagate::model::{Scope, SessionId};
use wagate_tests::haystack;
use wagate_tests::raw::Raw;
use whatsapp_rust::wacore::appstate::hash::HashState;
use whatsapp_rust::wacore::appstate::processor::AppStateMutationMAC;
use whatsapp_rust::wacore::store::traits::{
    AppStateSyncKey, AppSyncStore, Backend, DeviceListRecord, DeviceStore, LidPnMappingEntry, MsgSecretStore,
    ProtocolStore, SignalStore, TcTokenEntry,
};

use super::{Bed, arc, json};

/// Bytes that stand for a key wherever one is stored; nothing else in a store looks like them.
const KEY: [u8; 32] = *b"\xd1\x07Zq7vB!kX#0wN^t2Lr@Y5e%Gs&J8p\xd1\x07";
const TABLES: [&str; 5] =
    ["whatsapp_keys", "whatsapp_sender_key_devices", "whatsapp_lids", "whatsapp_tokens", "whatsapp_messages"];

/// Puts something into every drawer there is.
async fn fill(b: &dyn Backend) {
    b.create().await.unwrap();
    b.put_identity("address", KEY).await.unwrap();
    b.put_session("address", &KEY).await.unwrap();
    b.store_prekeys_batch(&[(1, Bytes::from_static(&KEY)), (2, Bytes::from_static(&KEY))], false).await.unwrap();
    b.mark_prekeys_uploaded(&[2]).await.unwrap();
    b.store_signed_prekey(1, &KEY).await.unwrap();
    b.put_sender_key("group:address", &KEY).await.unwrap();
    let key = AppStateSyncKey { key_data: KEY.to_vec(), fingerprint: KEY.to_vec(), timestamp: 1 };
    b.set_sync_key(b"id", key).await.unwrap();
    b.set_version("regular", HashState::default()).await.unwrap();
    let mac = AppStateMutationMAC { index_mac: vec![1], value_mac: KEY.to_vec() };
    b.put_mutation_macs("regular", 1, &[mac]).await.unwrap();
    b.set_sender_key_status("group", &[("device", true)]).await.unwrap();
    b.put_lid_mapping(&mapping("lid", "phone", 1)).await.unwrap();
    b.save_base_key("address", "m", &KEY).await.unwrap();
    b.update_device_list(list("user")).await.unwrap();
    b.put_group_metadata("group", &KEY).await.unwrap();
    b.store_received_tc_token("jid", &KEY, 1).await.unwrap();
    b.store_sent_message("chat", "m", &KEY).await.unwrap();
    b.store_pending_inbound("chat", "sender", "m", &KEY).await.unwrap();
    b.put_msg_secret("chat", "sender", "m", &KEY).await.unwrap();
}

fn mapping(lid: &str, phone: &str, at: i64) -> LidPnMappingEntry {
    LidPnMappingEntry {
        lid: lid.to_owned(),
        phone_number: phone.to_owned(),
        created_at: at,
        updated_at: at,
        learning_source: "usync".to_owned(),
    }
}

fn list(user: &str) -> DeviceListRecord {
    DeviceListRecord { user: user.to_owned(), devices: vec![], timestamp: 1, phash: None, raw_id: None }
}

/// Rows of a session in every table of the key store.
async fn rows(raw: &Raw, session: &str) -> Vec<i64> {
    let mut counts = vec![];
    for table in TABLES {
        counts.push(raw.count(table, &format!("session_id = '{session}'")).await.unwrap());
    }
    counts
}

#[tokio::test]
async fn everything_survives_a_reopen() {
    let bed = Bed::new().await;
    let keys = bed.keys("ses_a").await;
    fill(&keys).await;
    let device = keys.load().await.unwrap().unwrap();
    let bed = bed.reopen().await;
    let keys = bed.keys("ses_a").await;
    assert_eq!(json(&keys.load().await.unwrap().unwrap()), json(&device));
    assert_eq!(keys.load_identity("address").await.unwrap(), Some(KEY));
    assert_eq!(keys.get_session("address").await.unwrap().as_deref(), Some(&KEY[..]));
    assert_eq!(keys.get_max_prekey_id().await.unwrap(), 2);
    assert_eq!(keys.load_all_signed_prekeys().await.unwrap(), [(1, KEY.to_vec())]);
    assert_eq!(keys.get_sender_key("group:address").await.unwrap().as_deref(), Some(&KEY[..]));
    assert_eq!(keys.get_latest_sync_key_id().await.unwrap().as_deref(), Some(&b"id"[..]));
    assert_eq!(keys.get_sync_key(b"id").await.unwrap().unwrap().key_data, KEY);
    assert_eq!(keys.get_mutation_mac("regular", &[1]).await.unwrap().as_deref(), Some(&KEY[..]));
    assert_eq!(keys.get_sender_key_devices("group").await.unwrap(), [("device".to_owned(), true)]);
    assert_eq!(keys.get_pn_mapping("phone").await.unwrap().unwrap().lid, "lid");
    assert!(keys.has_same_base_key("address", "m", &KEY).await.unwrap());
    assert_eq!(json(&keys.get_devices("user").await.unwrap()), json(&list("user")));
    assert_eq!(keys.get_group_metadata("group").await.unwrap().as_deref(), Some(&KEY[..]));
    assert_eq!(keys.get_tc_token("jid").await.unwrap().unwrap().token, KEY);
    assert_eq!(keys.take_sent_message("chat", "m").await.unwrap().as_deref(), Some(&KEY[..]));
    assert_eq!(keys.get_pending_inbound("chat", "sender", "m").await.unwrap().as_deref(), Some(&KEY[..]));
    assert_eq!(keys.get_msg_secret("chat", "sender", "m").await.unwrap().as_deref(), Some(&KEY[..]));
}

#[tokio::test]
async fn remembers_which_prekeys_are_uploaded() {
    let bed = Bed::new().await;
    let keys = bed.keys("ses_a").await;
    keys.store_prekeys_batch(&[(1, Bytes::new()), (2, Bytes::new()), (300, Bytes::new())], false).await.unwrap();
    keys.store_prekey(4, b"", true).await.unwrap();
    bed.keys("ses_b").await.store_prekey(2, b"", false).await.unwrap();
    keys.mark_prekeys_uploaded(&[2, 300, 99]).await.unwrap();
    let raw = bed.raw().await;
    let uploaded = |session: &str| {
        let condition = format!("kind = 'prekey' AND uploaded AND session_id = '{session}'");
        raw.bytes(format!("SELECT name FROM whatsapp_keys WHERE {condition} ORDER BY name"))
    };
    assert_eq!(uploaded("ses_a").await.unwrap(), [2, 4, 300_u32].map(|id| id.to_be_bytes().to_vec()));
    assert!(uploaded("ses_b").await.unwrap().is_empty());
}

#[tokio::test]
async fn a_batch_is_all_or_nothing() {
    let bed = Bed::new().await;
    let keys = bed.keys("ses_a").await;
    keys.put_session("ok-1", b"before").await.unwrap();
    let raw = bed.raw().await;
    for (table, column) in [
        ("whatsapp_keys", "name"),
        ("whatsapp_messages", "message_id"),
        ("whatsapp_sender_key_devices", "device"),
        ("whatsapp_lids", "lid"),
    ] {
        raw.refuse(table, Some((column, &b"trap"[..]))).await.unwrap();
    }
    raw.close().await;
    let bed = bed.reopen().await;
    let keys = bed.keys("ses_a").await;
    let record = |name: &str| (arc(name), Bytes::from_static(b"after"));
    let batch = [record("ok-1"), record("ok-2"), record("trap"), record("ok-3")];
    keys.put_sessions_batch(&batch).await.unwrap_err();
    assert_eq!(keys.get_session("ok-1").await.unwrap().as_deref(), Some(&b"before"[..]), "not overwritten");
    assert_eq!(keys.get_session("ok-2").await.unwrap(), None);
    assert_eq!(keys.get_session("ok-3").await.unwrap(), None);
    keys.put_sender_keys_batch(&batch).await.unwrap_err();
    assert_eq!(keys.get_sender_key("ok-1").await.unwrap(), None);
    keys.put_identities_batch(&[(arc("ok-1"), KEY), (arc("trap"), KEY)]).await.unwrap_err();
    assert_eq!(keys.load_identity("ok-1").await.unwrap(), None);
    let trap = u32::from_be_bytes(*b"trap");
    keys.store_prekeys_batch(&[(1, Bytes::new()), (trap, Bytes::new())], false).await.unwrap_err();
    assert_eq!(keys.get_max_prekey_id().await.unwrap(), 0);
    let sync = AppStateSyncKey::default();
    keys.set_sync_key(b"trap", sync).await.unwrap_err();
    assert_eq!(keys.get_latest_sync_key_id().await.unwrap(), None);
    let mac = |index: &[u8]| AppStateMutationMAC { index_mac: index.to_vec(), value_mac: vec![1] };
    keys.put_mutation_macs("regular", 1, &[mac(b"ok"), mac(b"trap")]).await.unwrap_err();
    assert_eq!(keys.get_mutation_mac("regular", b"ok").await.unwrap(), None);
    keys.update_device_lists(vec![list("ok"), list("trap")]).await.unwrap_err();
    assert!(keys.get_devices("ok").await.unwrap().is_none());
    keys.set_sender_key_status("group", &[("ok", true), ("trap", true)]).await.unwrap_err();
    assert_eq!(keys.get_sender_key_devices("group").await.unwrap(), []);
    keys.put_lid_mappings(&[mapping("ok", "p", 1), mapping("trap", "p", 1)]).await.unwrap_err();
    assert!(keys.get_all_lid_mappings().await.unwrap().is_empty());
    let entry = |id: &str| super::secrets::entry(id, 1, 0, 0);
    keys.put_msg_secrets(vec![entry("ok"), entry("trap")]).await.unwrap_err();
    let (chat, sender) = (entry("ok").chat, entry("ok").sender);
    assert_eq!(keys.get_msg_secret(&chat, &sender, "ok").await.unwrap(), None);
    let row =
        |id| whatsapp_rust::wacore::store::traits::PendingInboundRow { chat: "c", sender: "s", id, message: b"m" };
    // Received messages are the exception: they are tried again until they are kept, never given up.
    let keeping = async { keys.store_pending_inbound_batch(&[row("ok"), row("trap")]).await };
    tokio::time::timeout(Duration::from_secs(1), keeping).await.unwrap_err();
    assert_eq!(keys.get_pending_inbound("c", "s", "ok").await.unwrap(), None);
    keys.put_sessions_batch(&batch[..2]).await.unwrap();
    assert_eq!(keys.get_session("ok-2").await.unwrap().as_deref(), Some(&b"after"[..]), "the store works on");
}

#[tokio::test]
async fn no_file_of_the_engine_holds_key_bytes() {
    let bed = Bed::apart().await;
    let keys = bed.keys("ses_a").await;
    fill(&keys).await;
    let device = keys.load().await.unwrap().unwrap();
    bed.store.close().await;
    let (identity, noise) = (device.identity_key.private_key.serialize(), device.noise_key.private_key.serialize());
    let written = json(&device)["noise_key"].to_string();
    let needles: [(&str, &[u8]); 7] = [
        ("the name of a session", b"ses_a"),
        ("a key's beginning", &KEY[..8]),
        ("a key's middle", &KEY[8..20]),
        ("the identity key", &identity[..8]),
        ("the noise key", &noise[..8]),
        ("the linking secret", &device.adv_secret_key[..8]),
        ("the noise key as JSON", &written.as_bytes()[..20]),
    ];
    let (found, looked_at) = haystack::find(bed.database.folder(&bed.file()).unwrap(), &needles).unwrap();
    assert!(looked_at > 20_000, "the files were looked at: {looked_at} bytes");
    assert!(found.iter().any(|(_, name)| name == needles[0].0), "the search finds what is there");
    let secrets: Vec<_> = found.iter().filter(|(_, name)| name != needles[0].0).collect();
    assert!(secrets.is_empty(), "{secrets:?}");
}

#[tokio::test]
async fn a_value_moved_to_another_row_does_not_open() {
    let bed = Bed::new().await;
    let keys = bed.keys("ses_a").await;
    keys.put_session("mine", b"mine").await.unwrap();
    keys.put_session("theirs", b"theirs").await.unwrap();
    bed.keys("ses_b").await.put_session("mine", b"b's").await.unwrap();
    let raw = bed.raw().await;
    let (mine, theirs) = (raw.literal(b"mine"), raw.literal(b"theirs"));
    let value = raw.bytes(format!("SELECT value FROM whatsapp_keys WHERE name = {theirs}")).await.unwrap().remove(0);
    let value = raw.literal(&value);
    raw.run(format!("UPDATE whatsapp_keys SET value = {value} WHERE name = {mine}")).await.unwrap();
    raw.close().await;
    let bed = bed.reopen().await;
    bed.keys("ses_a").await.get_session("mine").await.unwrap_err();
    bed.keys("ses_b").await.get_session("mine").await.unwrap_err();
    assert_eq!(bed.keys("ses_a").await.get_session("theirs").await.unwrap().as_deref(), Some(&b"theirs"[..]));
}

#[tokio::test]
async fn wiping_leaves_no_row_and_touches_no_other_session() {
    let bed = Bed::new().await;
    fill(&bed.keys("ses_a").await).await;
    fill(&bed.keys("ses_b").await).await;
    let id: SessionId = "ses_a".parse().unwrap();
    bed.store.keys(id.clone()).wipe().await.unwrap();
    bed.store.keys(id).wipe().await.unwrap();
    assert!(!bed.keys("ses_a").await.exists().await.unwrap());
    fill(&bed.keys("ses_c").await).await;
    let raw = bed.raw().await;
    assert_eq!(rows(&raw, "ses_a").await, [0; 5]);
    assert!(rows(&raw, "ses_b").await.iter().all(|count| *count > 0));
    assert_eq!(rows(&raw, "ses_b").await, rows(&raw, "ses_c").await);
}

#[tokio::test]
async fn deleting_a_session_takes_its_keys_and_lets_none_in() {
    let bed = Bed::new().await;
    let keys = bed.keys("ses_a").await;
    fill(&keys).await;
    fill(&bed.keys("ses_b").await).await;
    let id: SessionId = "ses_a".parse().unwrap();
    assert!(bed.store.sessions(Scope::gateway()).delete(&id).await.unwrap());
    keys.put_session("late", b"flush of a client that has not stopped yet").await.unwrap_err();
    let raw = bed.raw().await;
    assert_eq!(rows(&raw, "ses_a").await, [0; 5]);
    assert!(rows(&raw, "ses_b").await.iter().all(|count| *count > 0));
}

#[tokio::test]
async fn forgetting_the_link_forgets_the_keys() {
    let bed = Bed::new().await;
    fill(&bed.keys("ses_a").await).await;
    let id: SessionId = "ses_a".parse().unwrap();
    bed.store.sessions(Scope::gateway()).set_link(&id, None).await.unwrap();
    assert_eq!(rows(&bed.raw().await, "ses_a").await, [0; 5]);
}

/// The oracle forgets the number altogether: moving one address away drops the number's entry even when it points
/// to another address by now.
#[tokio::test]
async fn a_number_keeps_its_newest_address_when_an_older_one_moves_away() {
    let bed = Bed::new().await;
    let keys = bed.keys("ses_a").await;
    keys.put_lid_mappings(&[mapping("L1", "P1", 1), mapping("L2", "P1", 2)]).await.unwrap();
    keys.put_lid_mapping(&mapping("L1", "P2", 3)).await.unwrap();
    assert_eq!(keys.get_pn_mapping("P1").await.unwrap().unwrap().lid, "L2");
    assert_eq!(keys.get_pn_mapping("P2").await.unwrap().unwrap().lid, "L1");
}

/// The oracle lets the last write win; the contract says the most recent mapping, and a stale one (history) carries time 0.
#[tokio::test]
async fn a_late_write_of_an_older_mapping_does_not_win() {
    let bed = Bed::new().await;
    let keys = bed.keys("ses_a").await;
    keys.put_lid_mapping(&mapping("fresh", "P1", 100)).await.unwrap();
    keys.put_lid_mapping(&mapping("stale", "P1", 0)).await.unwrap();
    assert_eq!(keys.get_pn_mapping("P1").await.unwrap().unwrap().lid, "fresh");
}

/// Each of two writers owns its own half of the row; neither may undo the other, in whatever order they come.
#[tokio::test]
async fn concurrent_writers_of_a_token_converge() {
    let bed = Bed::new().await;
    let keys = bed.keys("ses_a").await;
    for round in 0..5 {
        let jid = format!("{round}@lid");
        let (keys, jid) = (&keys, &jid);
        join_all((0..40_i64).map(|n| async move {
            let at = 100 + n * 7 % 40;
            if n % 2 == 0 {
                keys.touch_tc_token_sender_timestamp(jid, at).await.unwrap();
            } else {
                keys.store_received_tc_token(jid, format!("token of {at}").as_bytes(), at).await.unwrap();
            }
        }))
        .await;
        let TcTokenEntry { token, token_timestamp, sender_timestamp } = keys.get_tc_token(jid).await.unwrap().unwrap();
        assert_eq!(token, b"token of 139");
        assert_eq!(token_timestamp, 139);
        assert_eq!(sender_timestamp, Some(138));
    }
}
