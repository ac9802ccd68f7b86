//! What `SignalStore` promises: identities, sessions, pre-keys, signed pre-keys and sender keys.

use std::sync::Arc;

use bytes::Bytes;
use whatsapp_rust::wacore::store::traits::Backend;

use super::{ODD_NAMES, arc, long_name, sorted};

const ALICE: &str = "15550000001@s.whatsapp.net.0";

pub(crate) async fn keeps_identities_by_exact_address(b: &dyn Backend) {
    assert_eq!(b.load_identity(ALICE).await.unwrap(), None);
    b.delete_identity(ALICE).await.unwrap();
    b.put_identity(ALICE, [1; 32]).await.unwrap();
    b.put_identity("15550000001:7@s.whatsapp.net.0", [7; 32]).await.unwrap();
    assert_eq!(b.load_identity(ALICE).await.unwrap(), Some([1; 32]));
    assert_eq!(b.load_identity(&ALICE.to_uppercase()).await.unwrap(), None);
    b.put_identity(ALICE, [0; 32]).await.unwrap();
    assert_eq!(b.load_identity(ALICE).await.unwrap(), Some([0; 32]));
    b.delete_identity(ALICE).await.unwrap();
    assert_eq!(b.load_identity(ALICE).await.unwrap(), None);
    assert_eq!(b.load_identity("15550000001:7@s.whatsapp.net.0").await.unwrap(), Some([7; 32]));
}

pub(crate) async fn stores_identities_in_batches(b: &dyn Backend) {
    b.put_identities_batch(&[]).await.unwrap();
    b.put_identity(ALICE, [9; 32]).await.unwrap();
    let batch = [(arc("b"), [1; 32]), (arc("B"), [2; 32]), (arc("b"), [3; 32]), (arc(ALICE), [4; 32])];
    b.put_identities_batch(&batch).await.unwrap();
    assert_eq!(b.load_identity("b").await.unwrap(), Some([3; 32]), "the last of two equal names wins");
    assert_eq!(b.load_identity("B").await.unwrap(), Some([2; 32]));
    assert_eq!(b.load_identity(ALICE).await.unwrap(), Some([4; 32]));
}

pub(crate) async fn keeps_sessions_of_any_size_and_content(b: &dyn Backend) {
    assert_eq!(b.get_session(ALICE).await.unwrap(), None);
    assert!(!b.has_session(ALICE).await.unwrap());
    let large: Vec<u8> = (0..70_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    for record in [&large[..], b"short", b"\0a\0", b""] {
        b.put_session(ALICE, record).await.unwrap();
        assert_eq!(b.get_session(ALICE).await.unwrap().as_deref(), Some(record));
        assert!(b.has_session(ALICE).await.unwrap());
    }
    b.delete_session(ALICE).await.unwrap();
    b.delete_session(ALICE).await.unwrap();
    assert_eq!(b.get_session(ALICE).await.unwrap(), None);
    assert!(!b.has_session(ALICE).await.unwrap());
}

pub(crate) async fn stores_sessions_in_batches(b: &dyn Backend) {
    b.put_sessions_batch(&[]).await.unwrap();
    b.put_session("s1", b"old and longer").await.unwrap();
    let batch = [
        (arc("s1"), Bytes::from_static(b"new")),
        (arc("s2"), Bytes::from_static(b"first")),
        (arc("s2"), Bytes::from_static(b"second")),
        (arc("s3"), Bytes::new()),
    ];
    b.put_sessions_batch(&batch).await.unwrap();
    assert_eq!(b.get_session("s1").await.unwrap().as_deref(), Some(&b"new"[..]));
    assert_eq!(b.get_session("s2").await.unwrap().as_deref(), Some(&b"second"[..]));
    assert_eq!(b.get_session("s3").await.unwrap().as_deref(), Some(&b""[..]));
}

pub(crate) async fn tells_whether_a_user_has_signal_state(b: &dyn Backend) {
    assert!(!b.has_signal_state_for_user("1555").await.unwrap());
    b.put_session("15551@s.whatsapp.net.0", b"x").await.unwrap();
    b.put_sender_key("1555@s.whatsapp.net", b"another kind").await.unwrap();
    b.put_session("0@1555@x", b"x").await.unwrap();
    assert!(
        !b.has_signal_state_for_user("1555").await.unwrap(),
        "a longer user, another kind and a later @ do not count"
    );
    assert!(b.has_signal_state_for_user("15551").await.unwrap());
    b.put_session("1555:33@lid.0", b"x").await.unwrap();
    assert!(b.has_signal_state_for_user("1555").await.unwrap(), "any device counts");
    b.delete_session("1555:33@lid.0").await.unwrap();
    assert!(!b.has_signal_state_for_user("1555").await.unwrap());
    b.put_identity("1555@s.whatsapp.net.0", [1; 32]).await.unwrap();
    assert!(b.has_signal_state_for_user("1555").await.unwrap(), "an identity counts");
    for odd in ["15_5", "15%", "", "1555;"] {
        assert!(!b.has_signal_state_for_user(odd).await.unwrap(), "{odd:?}");
    }
}

pub(crate) async fn keeps_prekeys_and_knows_the_highest(b: &dyn Backend) {
    assert_eq!(b.get_max_prekey_id().await.unwrap(), 0);
    assert_eq!(b.load_prekey(1).await.unwrap(), None);
    for id in [255, 1, 256, u32::MAX, 0] {
        b.store_prekey(id, &id.to_be_bytes(), id == 1).await.unwrap();
    }
    assert_eq!(b.get_max_prekey_id().await.unwrap(), u32::MAX);
    b.remove_prekey(u32::MAX).await.unwrap();
    b.remove_prekey(u32::MAX).await.unwrap();
    assert_eq!(b.get_max_prekey_id().await.unwrap(), 256, "ids are compared as numbers");
    b.store_prekey(1, b"again", false).await.unwrap();
    assert_eq!(b.load_prekey(1).await.unwrap().as_deref(), Some(&b"again"[..]));
    assert_eq!(b.load_prekey(0).await.unwrap().as_deref(), Some(&[0; 4][..]));
    assert_eq!(b.load_prekey(u32::MAX).await.unwrap(), None);
}

pub(crate) async fn stores_and_loads_prekeys_in_batches(b: &dyn Backend) {
    b.store_prekeys_batch(&[], false).await.unwrap();
    assert_eq!(b.load_prekeys_batch(&[]).await.unwrap(), []);
    assert_eq!(b.load_prekeys_batch(&[1, 2]).await.unwrap(), []);
    let keys: Vec<(u32, Bytes)> = (1..=812).map(|id: u32| (id, Bytes::from(format!("record {id}")))).collect();
    b.store_prekeys_batch(&keys, false).await.unwrap();
    assert_eq!(b.get_max_prekey_id().await.unwrap(), 812);
    let ids: Vec<u32> = (1..=812).collect();
    assert_eq!(b.load_prekeys_batch(&ids).await.unwrap(), keys, "all, in the order asked for");
    let some = b.load_prekeys_batch(&[700, 5000, 3, 700]).await.unwrap();
    let found: Vec<u32> = some.iter().map(|(id, _)| *id).collect();
    assert_eq!(found, [700, 3, 700], "in the order asked for, without those that do not exist");
    assert_eq!(some[1].1, "record 3");
    b.store_prekeys_batch(&[(3, Bytes::from_static(b"a")), (3, Bytes::from_static(b"b"))], true).await.unwrap();
    assert_eq!(b.load_prekey(3).await.unwrap().as_deref(), Some(&b"b"[..]));
}

/// The oracle keeps no uploaded flag, so all it can show is that nothing comes back.
pub(crate) async fn marking_uploaded_never_brings_a_prekey_back(b: &dyn Backend) {
    b.mark_prekeys_uploaded(&[]).await.unwrap();
    b.mark_prekeys_uploaded(&[1, 2, 3]).await.unwrap();
    assert_eq!(b.get_max_prekey_id().await.unwrap(), 0);
    b.store_prekeys_batch(&[(1, Bytes::from_static(b"one")), (2, Bytes::from_static(b"two"))], false).await.unwrap();
    b.remove_prekey(2).await.unwrap();
    b.mark_prekeys_uploaded(&[1, 2, 99]).await.unwrap();
    assert_eq!(b.load_prekey(1).await.unwrap().as_deref(), Some(&b"one"[..]), "the record is untouched");
    assert_eq!(b.load_prekey(2).await.unwrap(), None);
    assert_eq!(b.get_max_prekey_id().await.unwrap(), 1);
}

pub(crate) async fn keeps_signed_prekeys(b: &dyn Backend) {
    assert_eq!(b.load_signed_prekey(1).await.unwrap(), None);
    assert_eq!(b.load_all_signed_prekeys().await.unwrap(), []);
    b.store_signed_prekey(1, b"one").await.unwrap();
    b.store_signed_prekey(16_777_215, b"\0last\0").await.unwrap();
    b.store_signed_prekey(1, b"uno").await.unwrap();
    b.store_prekey(5, b"another kind", false).await.unwrap();
    let all = sorted(b.load_all_signed_prekeys().await.unwrap());
    assert_eq!(all, [(1, b"uno".to_vec()), (16_777_215, b"\0last\0".to_vec())]);
    b.remove_signed_prekey(1).await.unwrap();
    b.remove_signed_prekey(1).await.unwrap();
    assert_eq!(b.load_signed_prekey(1).await.unwrap(), None);
    assert_eq!(b.load_signed_prekey(16_777_215).await.unwrap(), Some(b"\0last\0".to_vec()));
    assert_eq!(b.load_prekey(5).await.unwrap().as_deref(), Some(&b"another kind"[..]));
}

pub(crate) async fn keeps_sender_keys(b: &dyn Backend) {
    let name = "120363021033254949@g.us:15550000001:2@lid.0";
    assert_eq!(b.get_sender_key(name).await.unwrap(), None);
    b.put_sender_key(name, b"longer record").await.unwrap();
    b.put_sender_keys_batch(&[]).await.unwrap();
    let batch = [
        (arc(name), Bytes::from_static(b"new")),
        (arc("other"), Bytes::from_static(b"1")),
        (arc("other"), Bytes::from_static(b"2")),
    ];
    b.put_sender_keys_batch(&batch).await.unwrap();
    assert_eq!(b.get_sender_key(name).await.unwrap().as_deref(), Some(&b"new"[..]));
    assert_eq!(b.get_sender_key("other").await.unwrap().as_deref(), Some(&b"2"[..]));
    b.delete_sender_key(name).await.unwrap();
    b.delete_sender_key(name).await.unwrap();
    assert_eq!(b.get_sender_key(name).await.unwrap(), None);
    assert_eq!(b.get_sender_key("other").await.unwrap().as_deref(), Some(&b"2"[..]));
}

pub(crate) async fn does_not_mix_kinds_of_equal_name(b: &dyn Backend) {
    b.put_identity("n", [1; 32]).await.unwrap();
    b.put_session("n", b"session").await.unwrap();
    b.put_sender_key("n", b"sender key").await.unwrap();
    b.put_group_metadata("n", b"group").await.unwrap();
    b.delete_session("n").await.unwrap();
    assert_eq!(b.load_identity("n").await.unwrap(), Some([1; 32]));
    assert_eq!(b.get_sender_key("n").await.unwrap().as_deref(), Some(&b"sender key"[..]));
    assert_eq!(b.get_group_metadata("n").await.unwrap().as_deref(), Some(&b"group"[..]));
}

pub(crate) async fn takes_names_of_any_shape(b: &dyn Backend) {
    let long = long_name('a');
    let names: Vec<Arc<str>> = ODD_NAMES.iter().copied().chain([&*long, &*long_name('b')]).map(Arc::from).collect();
    let batch: Vec<(Arc<str>, Bytes)> = names.iter().map(|n| (Arc::clone(n), Bytes::from(format!("of {n}")))).collect();
    b.put_sessions_batch(&batch).await.unwrap();
    for (name, record) in &batch {
        assert_eq!(b.get_session(name).await.unwrap().as_ref(), Some(record), "{name:.40?}");
    }
    for name in &names {
        b.delete_session(name).await.unwrap();
        assert!(!b.has_session(name).await.unwrap(), "{name:.40?}");
    }
}
