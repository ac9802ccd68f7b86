//! Secrets of single messages: what opens later edits, votes and reactions to them.

use async_trait::async_trait;
use whatsapp_rust::wacore::store::error::Result;
use whatsapp_rust::wacore::store::traits::{MsgSecretEntry, MsgSecretStore};

use super::{KeyStore, read, told};
use crate::store::keys::{MessageKey, Secret};

#[async_trait]
impl MsgSecretStore for KeyStore {
    /// Merges with what is there as the library's `merge_msg_secret_expiry` and `merge_msg_secret_message_ts` do, in
    /// the statement itself.
    async fn put_msg_secrets(&self, entries: Vec<MsgSecretEntry>) -> Result<usize> {
        let secrets: Vec<Secret<'_>> = entries
            .iter()
            .map(|entry| Secret {
                of: MessageKey { chat: &entry.chat, sender: &entry.sender, id: &entry.msg_id },
                secret: &entry.secret,
                expires_at: entry.expires_at,
                message_at: entry.message_ts,
            })
            .collect();
        self.keys()?.put_secrets(&secrets).await.map_err(told)?;
        Ok(secrets.len())
    }

    async fn get_msg_secret(&self, chat: &str, sender: &str, msg_id: &str) -> Result<Option<Vec<u8>>> {
        Ok(self.get_msg_secret_with_ts(chat, sender, msg_id).await?.map(|(secret, _)| secret))
    }

    async fn get_msg_secret_with_ts(&self, chat: &str, sender: &str, msg_id: &str) -> Result<Option<(Vec<u8>, i64)>> {
        Ok(read!(self.secret(MessageKey { chat, sender, id: msg_id })))
    }

    async fn delete_expired_msg_secrets(&self, cutoff_timestamp: i64) -> Result<u32> {
        self.keys()?.sweep_secrets(cutoff_timestamp).await.map_err(told)
    }
}
