//! What `ProtocolStore` promises, part two: what single messages leave behind.

use whatsapp_rust::wacore::store::traits::{Backend, PendingInboundKey, PendingInboundRow};
use whatsapp_rust::wacore::time::now_secs;

use super::{ODD_NAMES, long_name};

const CHAT: &str = "120363021033254949@g.us";
const BOB: &str = "15550000002@s.whatsapp.net";

pub(crate) async fn a_sent_message_is_taken_once(b: &dyn Backend) {
    assert_eq!(b.take_sent_message(CHAT, "m").await.unwrap(), None);
    let payload: Vec<u8> = (0..200_000_u32).map(|n| n.to_be_bytes()[3]).collect();
    b.store_sent_message(CHAT, "m", b"old").await.unwrap();
    b.store_sent_message(CHAT, "m", &payload).await.unwrap();
    b.store_sent_message(CHAT, "M", b"").await.unwrap();
    b.store_sent_message(BOB, "m", b"bob's").await.unwrap();
    assert_eq!(b.take_sent_message(CHAT, "m").await.unwrap(), Some(payload));
    assert_eq!(b.take_sent_message(CHAT, "m").await.unwrap(), None);
    assert_eq!(b.take_sent_message(CHAT, "M").await.unwrap(), Some(vec![]));
    assert_eq!(b.take_sent_message(BOB, "m").await.unwrap(), Some(b"bob's".to_vec()));
}

pub(crate) async fn of_many_takers_one_gets_the_sent_message(b: &dyn Backend) {
    for round in 0..10_u8 {
        b.store_sent_message(CHAT, "m", &[round]).await.unwrap();
        let takers = (0..8).map(|_| b.take_sent_message(CHAT, "m"));
        let got: Vec<_> = futures_util::future::join_all(takers).await.into_iter().filter_map(Result::unwrap).collect();
        assert_eq!(got, [[round]]);
    }
}

pub(crate) async fn sweeps_sent_messages_stored_before_the_cutoff(b: &dyn Backend) {
    assert_eq!(b.delete_expired_sent_messages(now_secs()).await.unwrap(), 0);
    let before = now_secs();
    b.store_sent_message(CHAT, "a", b"1").await.unwrap();
    b.store_sent_message(CHAT, "b", b"2").await.unwrap();
    b.store_pending_inbound(CHAT, BOB, "c", b"another kind").await.unwrap();
    assert_eq!(b.delete_expired_sent_messages(before).await.unwrap(), 0, "a time equal to the cutoff stays");
    assert_eq!(b.delete_expired_sent_messages(now_secs() + 1).await.unwrap(), 2);
    assert_eq!(b.take_sent_message(CHAT, "a").await.unwrap(), None);
    assert!(b.get_pending_inbound(CHAT, BOB, "c").await.unwrap().is_some());
}

pub(crate) async fn buffers_received_messages_until_they_are_committed(b: &dyn Backend) {
    assert_eq!(b.get_pending_inbound(CHAT, BOB, "m").await.unwrap(), None);
    b.store_pending_inbound(CHAT, BOB, "m", b"\0first").await.unwrap();
    b.store_pending_inbound(CHAT, BOB, "m", b"\0again").await.unwrap();
    b.store_pending_inbound(BOB, BOB, "m", b"other chat").await.unwrap();
    b.store_pending_inbound(CHAT, CHAT, "m", b"other sender").await.unwrap();
    for _ in 0..2 {
        assert_eq!(b.get_pending_inbound(CHAT, BOB, "m").await.unwrap().as_deref(), Some(&b"\0again"[..]));
    }
    b.delete_pending_inbound(CHAT, BOB, "m").await.unwrap();
    b.delete_pending_inbound(CHAT, BOB, "m").await.unwrap();
    assert_eq!(b.get_pending_inbound(CHAT, BOB, "m").await.unwrap(), None);
    assert_eq!(b.get_pending_inbound(BOB, BOB, "m").await.unwrap().as_deref(), Some(&b"other chat"[..]));
    assert_eq!(b.get_pending_inbound(CHAT, CHAT, "m").await.unwrap().as_deref(), Some(&b"other sender"[..]));
}

pub(crate) async fn buffers_received_messages_in_batches(b: &dyn Backend) {
    b.store_pending_inbound_batch(&[]).await.unwrap();
    b.delete_pending_inbound_batch(&[]).await.unwrap();
    let long = long_name('m');
    let ids: Vec<&str> = ODD_NAMES.iter().copied().chain([&*long, "x"]).collect();
    let rows: Vec<_> =
        ids.iter().map(|id| PendingInboundRow { chat: CHAT, sender: BOB, id, message: id.as_bytes() }).collect();
    b.store_pending_inbound_batch(&rows).await.unwrap();
    for id in &ids {
        let found = b.get_pending_inbound(CHAT, BOB, id).await.unwrap();
        assert_eq!(found.as_deref(), Some(id.as_bytes()), "{id:.40?}");
    }
    let keys: Vec<_> = ids[1..].iter().map(|id| PendingInboundKey { chat: CHAT, sender: BOB, id }).collect();
    b.delete_pending_inbound_batch(&keys).await.unwrap();
    b.delete_pending_inbound_batch(&keys).await.unwrap();
    assert_eq!(b.get_pending_inbound(CHAT, BOB, "x").await.unwrap(), None);
    assert!(b.get_pending_inbound(CHAT, BOB, ids[0]).await.unwrap().is_some());
}

pub(crate) async fn sweeps_received_messages_buffered_before_the_cutoff(b: &dyn Backend) {
    assert_eq!(b.delete_expired_pending_inbound(now_secs()).await.unwrap(), 0);
    let before = now_secs();
    b.store_pending_inbound(CHAT, BOB, "a", b"1").await.unwrap();
    b.store_sent_message(CHAT, "a", b"another kind").await.unwrap();
    assert_eq!(b.delete_expired_pending_inbound(before).await.unwrap(), 0, "a time equal to the cutoff stays");
    assert!(b.get_pending_inbound(CHAT, BOB, "a").await.unwrap().is_some());
    assert_eq!(b.delete_expired_pending_inbound(now_secs() + 1).await.unwrap(), 1);
    assert_eq!(b.get_pending_inbound(CHAT, BOB, "a").await.unwrap(), None);
    assert!(b.take_sent_message(CHAT, "a").await.unwrap().is_some());
}
