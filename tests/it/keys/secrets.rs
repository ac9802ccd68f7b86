//! What `MsgSecretStore` promises: 32-byte secrets of messages, with deadlines that never shrink.

use whatsapp_rust::wacore::store::traits::{Backend, MsgSecretEntry};

use super::{ODD_NAMES, arc, long_name};

const CHAT: &str = "120363021033254949@g.us";
const BOB: &str = "15550000002@s.whatsapp.net";

pub(crate) fn entry(id: &str, secret: u8, expires_at: i64, message_ts: i64) -> MsgSecretEntry {
    MsgSecretEntry { chat: arc(CHAT), sender: arc(BOB), msg_id: arc(id), secret: [secret; 32], expires_at, message_ts }
}

async fn secret(b: &dyn Backend, id: &str) -> Option<(u8, i64)> {
    let (secret, ts) = b.get_msg_secret_with_ts(CHAT, BOB, id).await.unwrap()?;
    assert_eq!(b.get_msg_secret(CHAT, BOB, id).await.unwrap().as_ref(), Some(&secret), "both getters agree");
    assert_eq!(secret.len(), 32);
    Some((secret[0], ts))
}

pub(crate) async fn keeps_secrets_by_chat_sender_and_id(b: &dyn Backend) {
    assert_eq!(secret(b, "M1").await, None);
    assert_eq!(b.get_msg_secret(CHAT, BOB, "M1").await.unwrap(), None);
    b.put_msg_secret(CHAT, BOB, "M1", &[1; 32]).await.unwrap();
    assert_eq!(secret(b, "M1").await, Some((1, 0)));
    assert_eq!(secret(b, "m1").await, None);
    assert_eq!(b.get_msg_secret(BOB, BOB, "M1").await.unwrap(), None);
    assert_eq!(b.get_msg_secret(CHAT, CHAT, "M1").await.unwrap(), None);
    b.put_msg_secret(CHAT, BOB, "M1", &[2; 32]).await.unwrap();
    assert_eq!(secret(b, "M1").await, Some((2, 0)));
}

pub(crate) async fn stores_secrets_in_batches_and_counts_them(b: &dyn Backend) {
    assert_eq!(b.put_msg_secrets(vec![]).await.unwrap(), 0);
    let batch = vec![entry("a", 1, 0, 10), entry("b", 2, 0, 0), entry("a", 3, 0, 5)];
    assert_eq!(b.put_msg_secrets(batch).await.unwrap(), 3, "rows written, repeated ones too");
    assert_eq!(secret(b, "a").await, Some((3, 10)), "the newest secret, the latest time");
    assert_eq!(secret(b, "b").await, Some((2, 0)));
    for id in ODD_NAMES.iter().copied().chain([&*long_name('i')]) {
        b.put_msg_secrets(vec![entry(id, 4, 0, 1)]).await.unwrap();
        assert_eq!(secret(b, id).await, Some((4, 1)), "{id:.40?}");
    }
}

pub(crate) async fn an_unknown_message_time_never_replaces_a_known_one(b: &dyn Backend) {
    for (ts, kept) in [(0, 0), (50, 50), (0, 50), (40, 50), (60, 60)] {
        b.put_msg_secrets(vec![entry("m", 1, 0, ts)]).await.unwrap();
        assert_eq!(secret(b, "m").await, Some((1, kept)));
    }
}

pub(crate) async fn deadlines_of_secrets_never_shrink(b: &dyn Backend) {
    for (id, deadlines) in [("grows", [100, 200]), ("stays", [200, 100]), ("for ever", [100, 0]), ("always", [0, 100])]
    {
        for deadline in deadlines {
            b.put_msg_secrets(vec![entry(id, 1, deadline, 0)]).await.unwrap();
        }
    }
    assert_eq!(b.delete_expired_msg_secrets(199).await.unwrap(), 0);
    assert_eq!(b.delete_expired_msg_secrets(200).await.unwrap(), 2, "a deadline that is now has passed");
    assert_eq!(secret(b, "grows").await, None);
    assert_eq!(secret(b, "stays").await, None);
    assert_eq!(b.delete_expired_msg_secrets(i64::MAX).await.unwrap(), 0, "0 means never");
    assert!(secret(b, "for ever").await.is_some());
    assert!(secret(b, "always").await.is_some());
}
