//! What `ProtocolStore` promises, part one: groups, addresses, devices, tokens.

use whatsapp_rust::wacore::store::traits::{Backend, DeviceInfo, DeviceListRecord, LidPnMappingEntry, TcTokenEntry};

use super::{ODD_NAMES, json, sorted};

const GROUP: &str = "120363021033254949@g.us";
const OTHER: &str = "120363021033254950@g.us";

async fn senders(b: &dyn Backend, group: &str) -> Vec<(String, bool)> {
    sorted(b.get_sender_key_devices(group).await.unwrap())
}

fn row(device: &str, has_key: bool) -> (String, bool) {
    (device.to_owned(), has_key)
}

pub(crate) async fn tracks_which_devices_hold_our_sender_key(b: &dyn Backend) {
    assert_eq!(senders(b, GROUP).await, []);
    b.set_sender_key_status(GROUP, &[]).await.unwrap();
    assert_eq!(senders(b, GROUP).await, []);
    b.set_sender_key_status(GROUP, &[("a:1@lid", true), ("b@lid", false), ("b@lid", true)]).await.unwrap();
    b.set_sender_key_status(OTHER, &[("a:1@lid", true)]).await.unwrap();
    assert_eq!(senders(b, GROUP).await, [row("a:1@lid", true), row("b@lid", true)]);
    b.set_sender_key_status(GROUP, &[("a:1@lid", false), ("A:1@lid", true)]).await.unwrap();
    assert_eq!(senders(b, GROUP).await, [row("A:1@lid", true), row("a:1@lid", false), row("b@lid", true)]);
    assert_eq!(senders(b, OTHER).await, [row("a:1@lid", true)]);
}

pub(crate) async fn forgets_sender_key_devices_by_group_by_device_and_all(b: &dyn Backend) {
    for group in [GROUP, OTHER, "third@g.us"] {
        b.set_sender_key_status(group, &[("a@lid", true), ("a:1@lid", true), ("b@lid", true)]).await.unwrap();
    }
    b.delete_sender_key_device_rows(&[]).await.unwrap();
    assert_eq!(senders(b, GROUP).await.len(), 3);
    b.delete_sender_key_device_rows(&["a@lid", "b@lid", "nobody@lid"]).await.unwrap();
    assert_eq!(senders(b, GROUP).await, [row("a:1@lid", true)]);
    assert_eq!(senders(b, OTHER).await, [row("a:1@lid", true)]);
    b.clear_sender_key_devices(GROUP).await.unwrap();
    b.clear_sender_key_devices("never seen@g.us").await.unwrap();
    assert_eq!(senders(b, GROUP).await, []);
    assert_eq!(senders(b, OTHER).await.len(), 1);
    b.clear_all_sender_key_devices().await.unwrap();
    assert_eq!(senders(b, OTHER).await, []);
    assert_eq!(senders(b, "third@g.us").await, []);
    b.clear_all_sender_key_devices().await.unwrap();
}

fn mapping(lid: &str, phone: &str, at: i64) -> LidPnMappingEntry {
    LidPnMappingEntry {
        lid: lid.to_owned(),
        phone_number: phone.to_owned(),
        created_at: at - 1,
        updated_at: at,
        learning_source: "usync".to_owned(),
    }
}

async fn lid_of(b: &dyn Backend, phone: &str) -> Option<String> {
    b.get_pn_mapping(phone).await.unwrap().map(|entry| entry.lid)
}

pub(crate) async fn maps_hidden_addresses_to_numbers_and_back(b: &dyn Backend) {
    assert!(b.get_lid_mapping("L1").await.unwrap().is_none());
    assert!(b.get_pn_mapping("P1").await.unwrap().is_none());
    assert!(b.get_all_lid_mappings().await.unwrap().is_empty());
    b.put_lid_mapping(&mapping("L1", "P1", 100)).await.unwrap();
    assert_eq!(json(&b.get_lid_mapping("L1").await.unwrap()), json(&mapping("L1", "P1", 100)));
    assert_eq!(json(&b.get_pn_mapping("P1").await.unwrap()), json(&mapping("L1", "P1", 100)));
    assert!(b.get_lid_mapping("P1").await.unwrap().is_none());
    assert!(b.get_lid_mapping("l1").await.unwrap().is_none());
    let again = LidPnMappingEntry { learning_source: "peer_pn_message".to_owned(), ..mapping("L1", "P1", 200) };
    b.put_lid_mapping(&again).await.unwrap();
    assert_eq!(json(&b.get_lid_mapping("L1").await.unwrap()), json(&again));
    assert_eq!(b.get_all_lid_mappings().await.unwrap().len(), 1);
}

pub(crate) async fn the_newest_hidden_address_of_a_number_wins(b: &dyn Backend) {
    b.put_lid_mappings(&[]).await.unwrap();
    b.put_lid_mappings(&[mapping("L1", "P1", 100), mapping("L2", "P2", 100), mapping("L3", "P1", 100)]).await.unwrap();
    assert_eq!(lid_of(b, "P1").await.as_deref(), Some("L3"), "of the same second, the one stored last");
    b.put_lid_mapping(&mapping("L1", "P1", 200)).await.unwrap();
    assert_eq!(lid_of(b, "P1").await.as_deref(), Some("L1"));
    assert_eq!(lid_of(b, "P2").await.as_deref(), Some("L2"));
    let lids: Vec<String> = b.get_all_lid_mappings().await.unwrap().into_iter().map(|entry| entry.lid).collect();
    assert_eq!(sorted(lids), ["L1", "L2", "L3"], "older ones are still known");
    b.put_lid_mapping(&mapping("L2", "P9", 300)).await.unwrap();
    assert_eq!(lid_of(b, "P2").await, None, "an address has one number");
    assert_eq!(lid_of(b, "P9").await.as_deref(), Some("L2"));
}

pub(crate) async fn compares_base_keys_of_a_retried_message(b: &dyn Backend) {
    assert!(!b.has_same_base_key("a", "m", b"").await.unwrap(), "nothing stored is not the same as empty");
    b.save_base_key("a", "m", b"\0key").await.unwrap();
    assert!(b.has_same_base_key("a", "m", b"\0key").await.unwrap());
    for (address, message, key) in
        [("a", "m", &b"\0ke"[..]), ("a", "M", b"\0key"), ("am", "", b"\0key"), ("", "am", b"\0key")]
    {
        assert!(!b.has_same_base_key(address, message, key).await.unwrap());
    }
    b.save_base_key("a", "m", b"").await.unwrap();
    assert!(b.has_same_base_key("a", "m", b"").await.unwrap());
    assert!(!b.has_same_base_key("a", "m", b"\0key").await.unwrap());
    b.save_base_key("a", "other", b"k").await.unwrap();
    b.delete_base_key("a", "m").await.unwrap();
    b.delete_base_key("a", "m").await.unwrap();
    assert!(!b.has_same_base_key("a", "m", b"").await.unwrap());
    assert!(b.has_same_base_key("a", "other", b"k").await.unwrap());
}

fn devices(user: &str, count: u32) -> DeviceListRecord {
    DeviceListRecord {
        user: user.to_owned(),
        devices: (0..count).map(|id| DeviceInfo::new(id, id.checked_sub(1)).with_hosting(id == 2)).collect(),
        timestamp: i64::from(count),
        phash: (count > 1).then(|| "2:abc".to_owned()),
        raw_id: (count > 1).then_some(u32::MAX),
    }
}

pub(crate) async fn keeps_the_device_list_of_a_user(b: &dyn Backend) {
    assert!(b.get_devices("u").await.unwrap().is_none());
    b.update_device_list(devices("u", 3)).await.unwrap();
    assert_eq!(json(&b.get_devices("u").await.unwrap()), json(&devices("u", 3)));
    b.update_device_list(devices("u", 0)).await.unwrap();
    assert_eq!(json(&b.get_devices("u").await.unwrap()), json(&devices("u", 0)));
    b.update_device_lists(vec![]).await.unwrap();
    b.update_device_lists(vec![devices("v", 1), devices("u", 2), devices("v", 3)]).await.unwrap();
    assert_eq!(json(&b.get_devices("u").await.unwrap()), json(&devices("u", 2)));
    assert_eq!(json(&b.get_devices("v").await.unwrap()), json(&devices("v", 3)));
    b.delete_devices("u").await.unwrap();
    b.delete_devices("u").await.unwrap();
    assert!(b.get_devices("u").await.unwrap().is_none());
    assert!(b.get_devices("v").await.unwrap().is_some());
}

pub(crate) async fn keeps_group_metadata_as_it_was_given(b: &dyn Backend) {
    assert_eq!(b.get_group_metadata(GROUP).await.unwrap(), None);
    let large = vec![7; 100_000];
    for blob in [&large[..], b"\0v2", b""] {
        b.put_group_metadata(GROUP, blob).await.unwrap();
        assert_eq!(b.get_group_metadata(GROUP).await.unwrap().as_deref(), Some(blob));
    }
    assert_eq!(b.get_group_metadata(OTHER).await.unwrap(), None);
    b.delete_group_metadata(GROUP).await.unwrap();
    b.delete_group_metadata(GROUP).await.unwrap();
    assert_eq!(b.get_group_metadata(GROUP).await.unwrap(), None);
}

fn token(bytes: &[u8], token_timestamp: i64, sender_timestamp: Option<i64>) -> TcTokenEntry {
    TcTokenEntry { token: bytes.to_vec(), token_timestamp, sender_timestamp }
}

async fn stored(b: &dyn Backend, jid: &str) -> (Vec<u8>, i64, Option<i64>) {
    let entry = b.get_tc_token(jid).await.unwrap().unwrap();
    (entry.token, entry.token_timestamp, entry.sender_timestamp)
}

pub(crate) async fn keeps_trusted_contact_tokens(b: &dyn Backend) {
    assert!(b.get_tc_token("a@lid").await.unwrap().is_none());
    assert_eq!(b.get_all_tc_token_jids().await.unwrap(), Vec::<String>::new());
    for entry in [token(b"\0tok", 10, Some(5)), token(b"older", 1, None), token(b"", 7, Some(0))] {
        b.put_tc_token("a@lid", &entry).await.unwrap();
        assert_eq!(json(&b.get_tc_token("a@lid").await.unwrap()), json(&Some(entry)), "a put replaces everything");
    }
    b.put_tc_token("A@lid", &token(b"x", 1, None)).await.unwrap();
    assert_eq!(sorted(b.get_all_tc_token_jids().await.unwrap()), ["A@lid", "a@lid"]);
    b.delete_tc_token("a@lid").await.unwrap();
    b.delete_tc_token("a@lid").await.unwrap();
    assert_eq!(b.get_all_tc_token_jids().await.unwrap(), ["A@lid"]);
}

pub(crate) async fn a_sender_time_only_moves_forward(b: &dyn Backend) {
    b.touch_tc_token_sender_timestamp("new@lid", 50).await.unwrap();
    assert_eq!(stored(b, "new@lid").await, (vec![], 50, Some(50)), "a placeholder without a token");
    b.put_tc_token("old@lid", &token(b"tok", 10, None)).await.unwrap();
    for (touch, kept) in [(30, 30), (20, 30), (40, 40)] {
        b.touch_tc_token_sender_timestamp("old@lid", touch).await.unwrap();
        assert_eq!(stored(b, "old@lid").await, (b"tok".to_vec(), 10, Some(kept)), "the token stays");
    }
}

pub(crate) async fn a_received_token_replaces_only_an_older_one(b: &dyn Backend) {
    b.store_received_tc_token("a@lid", b"first", 100).await.unwrap();
    assert_eq!(stored(b, "a@lid").await, (b"first".to_vec(), 100, None));
    b.touch_tc_token_sender_timestamp("a@lid", 70).await.unwrap();
    b.store_received_tc_token("a@lid", b"stale", 99).await.unwrap();
    assert_eq!(stored(b, "a@lid").await, (b"first".to_vec(), 100, Some(70)));
    b.store_received_tc_token("a@lid", b"same second", 100).await.unwrap();
    assert_eq!(stored(b, "a@lid").await, (b"same second".to_vec(), 100, Some(70)));
    b.touch_tc_token_sender_timestamp("placeholder@lid", 500).await.unwrap();
    b.store_received_tc_token("placeholder@lid", b"real", 1).await.unwrap();
    let found = stored(b, "placeholder@lid").await;
    assert_eq!(found, (b"real".to_vec(), 1, Some(500)), "a placeholder never holds back a token, however old");
}

pub(crate) async fn a_token_goes_when_both_its_times_are_past(b: &dyn Backend) {
    assert_eq!(b.delete_expired_tc_tokens(100, 100).await.unwrap(), 0);
    for (jid, entry) in [
        ("token live", token(b"t", 100, None)),
        ("sender live", token(b"t", 1, Some(50))),
        ("placeholder live", token(b"", 1, Some(50))),
        ("token past", token(b"t", 99, None)),
        ("both past", token(b"t", 99, Some(49))),
        ("placeholder past", token(b"", 1000, Some(49))),
        ("placeholder bare", token(b"", 1000, None)),
    ] {
        b.put_tc_token(jid, &entry).await.unwrap();
    }
    assert_eq!(b.delete_expired_tc_tokens(100, 50).await.unwrap(), 4);
    let left = sorted(b.get_all_tc_token_jids().await.unwrap());
    assert_eq!(left, ["placeholder live", "sender live", "token live"], "a time equal to its cutoff is live");
    assert_eq!(b.delete_expired_tc_tokens(100, 50).await.unwrap(), 0);
}

pub(crate) async fn lists_names_as_they_were_given(b: &dyn Backend) {
    for name in ODD_NAMES.iter().copied().chain([&*"n".repeat(255)]) {
        b.put_tc_token(name, &token(b"t", 1, None)).await.unwrap();
        assert!(b.get_all_tc_token_jids().await.unwrap().iter().any(|jid| jid == name), "{name:.40?}");
        b.set_sender_key_status(GROUP, &[(name, true)]).await.unwrap();
        assert!(senders(b, GROUP).await.contains(&row(name, true)), "{name:.40?}");
        b.put_lid_mapping(&mapping(name, "phone", 1)).await.unwrap();
        assert_eq!(b.get_lid_mapping(name).await.unwrap().unwrap().lid, name);
        assert_eq!(lid_of(b, "phone").await.as_deref(), Some(name));
    }
}
