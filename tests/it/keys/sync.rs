//! What `AppSyncStore` promises: sync keys, collection versions and mutation MACs.

use std::collections::HashMap;

use whatsapp_rust::wacore::appstate::hash::HashState;
use whatsapp_rust::wacore::appstate::processor::AppStateMutationMAC;
use whatsapp_rust::wacore::store::traits::{AppStateSyncKey, Backend};

use super::{json, long_name};

fn key(n: u8) -> AppStateSyncKey {
    AppStateSyncKey { key_data: vec![n, 0, 255], fingerprint: vec![], timestamp: i64::from(n) - 5 }
}

fn mac(index: &[u8], value: &[u8]) -> AppStateMutationMAC {
    AppStateMutationMAC { index_mac: index.to_vec(), value_mac: value.to_vec() }
}

pub(crate) async fn keeps_sync_keys_by_binary_id(b: &dyn Backend) {
    assert!(b.get_sync_key(b"\0\x01").await.unwrap().is_none());
    for (id, n) in [(&b"\0\x01"[..], 1), (b"\0\x01\0", 2), (b"", 3), (&[255; 40], 4), (b"\0\x01", 5)] {
        b.set_sync_key(id, key(n)).await.unwrap();
    }
    let found = b.get_sync_key(b"\0\x01").await.unwrap().unwrap();
    assert_eq!(json(&found), json(&key(5)));
    assert_eq!(json(&b.get_sync_key(b"\0\x01\0").await.unwrap().unwrap()), json(&key(2)));
    assert_eq!(json(&b.get_sync_key(b"").await.unwrap().unwrap()), json(&key(3)));
    assert_eq!(json(&b.get_sync_key(&[255; 40]).await.unwrap().unwrap()), json(&key(4)));
}

pub(crate) async fn remembers_the_sync_key_stored_last(b: &dyn Backend) {
    assert_eq!(b.get_latest_sync_key_id().await.unwrap(), None);
    b.set_sync_key(b"newer by its own time", key(200)).await.unwrap();
    b.set_sync_key(b"older", key(1)).await.unwrap();
    assert_eq!(b.get_latest_sync_key_id().await.unwrap().as_deref(), Some(&b"older"[..]));
    b.set_sync_key(b"newer by its own time", key(2)).await.unwrap();
    assert_eq!(b.get_latest_sync_key_id().await.unwrap().as_deref(), Some(&b"newer by its own time"[..]));
}

pub(crate) async fn keeps_a_version_per_collection(b: &dyn Backend) {
    assert_eq!(json(&b.get_version("regular").await.unwrap()), json(&HashState::default()), "unknown is the beginning");
    let state = HashState {
        version: u64::MAX,
        hash: [200; 128],
        index_value_map: HashMap::from([("ключ\0".to_owned(), vec![0, 1, 255])]),
        mac_mismatch_fatal: true,
    };
    b.set_version("regular", state.clone()).await.unwrap();
    assert_eq!(json(&b.get_version("regular").await.unwrap()), json(&state));
    assert_eq!(json(&b.get_version("Regular").await.unwrap()), json(&HashState::default()));
    b.set_version("regular", HashState::default()).await.unwrap();
    assert_eq!(json(&b.get_version("regular").await.unwrap()), json(&HashState::default()));
}

pub(crate) async fn keeps_mutation_macs_by_collection_and_index(b: &dyn Backend) {
    b.put_mutation_macs("regular", 1, &[]).await.unwrap();
    assert_eq!(b.get_mutation_mac("regular", &[1]).await.unwrap(), None);
    b.put_mutation_macs("regular", 5, &[mac(&[1], b"a"), mac(&[1, 0], b"b"), mac(b"", b"c"), mac(&[1], b"\0")])
        .await
        .unwrap();
    b.put_mutation_macs("regular_high", 1, &[mac(&[1], b"high")]).await.unwrap();
    assert_eq!(b.get_mutation_mac("regular", &[1]).await.unwrap().as_deref(), Some(&b"\0"[..]), "the last one wins");
    assert_eq!(b.get_mutation_mac("regular", &[1, 0]).await.unwrap().as_deref(), Some(&b"b"[..]));
    assert_eq!(b.get_mutation_mac("regular", b"").await.unwrap().as_deref(), Some(&b"c"[..]));
    assert_eq!(b.get_mutation_mac("regular_high", &[1]).await.unwrap().as_deref(), Some(&b"high"[..]));
    b.put_mutation_macs("regular", 2, &[mac(&[1], b"older version")]).await.unwrap();
    assert_eq!(
        b.get_mutation_mac("regular", &[1]).await.unwrap().as_deref(),
        Some(&b"older version"[..]),
        "the version is not compared"
    );
}

pub(crate) async fn fetches_many_mutation_macs_at_once(b: &dyn Backend) {
    assert!(b.get_mutation_macs("regular", &[]).await.unwrap().is_empty());
    let index = |n: u16| {
        let mut index = [0; 32];
        index[..2].copy_from_slice(&n.to_le_bytes());
        index
    };
    let macs: Vec<_> = (0..300).map(|n| mac(&index(n), &n.to_le_bytes())).collect();
    b.put_mutation_macs("regular", 1, &macs).await.unwrap();
    let asked: Vec<[u8; 32]> = (250..350).map(index).chain([index(251)]).collect();
    let found = b.get_mutation_macs("regular", &asked).await.unwrap();
    assert_eq!(found.len(), 50);
    assert_eq!(found[&index(299)], 299_u16.to_le_bytes());
    assert!(!found.contains_key(&index(300)));
    assert!(b.get_mutation_macs("critical", &asked).await.unwrap().is_empty());
}

pub(crate) async fn deletes_and_clears_mutation_macs_of_one_collection(b: &dyn Backend) {
    let long = long_name('c');
    for name in ["regular", "regular_high", &long] {
        b.put_mutation_macs(name, 1, &[mac(&[1], b"a"), mac(&[2], b"b"), mac(&[3], b"c")]).await.unwrap();
    }
    b.delete_mutation_macs("regular", &[]).await.unwrap();
    b.delete_mutation_macs("regular", &[vec![1], vec![9], vec![2]]).await.unwrap();
    assert_eq!(b.get_mutation_mac("regular", &[1]).await.unwrap(), None);
    assert_eq!(b.get_mutation_mac("regular", &[2]).await.unwrap(), None);
    assert!(b.get_mutation_mac("regular", &[3]).await.unwrap().is_some());
    b.clear_mutation_macs("regular").await.unwrap();
    b.clear_mutation_macs("never seen").await.unwrap();
    assert_eq!(b.get_mutation_mac("regular", &[3]).await.unwrap(), None);
    assert!(b.get_mutation_mac("regular_high", &[1]).await.unwrap().is_some());
    b.clear_mutation_macs(&long).await.unwrap();
    assert_eq!(b.get_mutation_mac(&long, &[1]).await.unwrap(), None);
}
