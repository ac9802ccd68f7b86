//! What the protocol keeps about chats, contacts and messages on their way.

use async_trait::async_trait;
use whatsapp_rust::wacore::store::error::Result;
use whatsapp_rust::wacore::store::traits::{
    DeviceListRecord, LidPnMappingEntry, PendingInboundKey, PendingInboundRow, ProtocolStore, TcTokenEntry,
};

use super::{KeyStore, encode, read, told};
use crate::store::keys::{Key, Kind, Lid, MessageKey, Token};

#[async_trait]
impl ProtocolStore for KeyStore {
    async fn get_sender_key_devices(&self, group_jid: &str) -> Result<Vec<(String, bool)>> {
        self.keys()?.sender_devices(group_jid).await.map_err(told)
    }

    async fn set_sender_key_status(&self, group_jid: &str, entries: &[(&str, bool)]) -> Result<()> {
        self.keys()?.set_sender_devices(group_jid, entries).await.map_err(told)
    }

    async fn clear_sender_key_devices(&self, group_jid: &str) -> Result<()> {
        self.keys()?.clear_sender_devices(group_jid).await.map_err(told)
    }

    async fn delete_sender_key_device_rows(&self, device_jids: &[&str]) -> Result<()> {
        self.keys()?.forget_sender_devices(device_jids).await.map_err(told)
    }

    async fn clear_all_sender_key_devices(&self) -> Result<()> {
        self.keys()?.clear_all_sender_devices().await.map_err(told)
    }

    async fn get_lid_mapping(&self, lid: &str) -> Result<Option<LidPnMappingEntry>> {
        Ok(read!(self.lid(lid)).map(theirs))
    }

    async fn get_pn_mapping(&self, phone: &str) -> Result<Option<LidPnMappingEntry>> {
        Ok(read!(self.lid_of(phone)).map(theirs))
    }

    async fn put_lid_mapping(&self, entry: &LidPnMappingEntry) -> Result<()> {
        self.keys()?.put_lids(vec![ours(entry)]).await.map_err(told)
    }

    async fn put_lid_mappings(&self, entries: &[LidPnMappingEntry]) -> Result<()> {
        self.keys()?.put_lids(entries.iter().map(ours).collect()).await.map_err(told)
    }

    async fn get_all_lid_mappings(&self) -> Result<Vec<LidPnMappingEntry>> {
        Ok(self.keys()?.lids().await.map_err(told)?.into_iter().map(theirs).collect())
    }

    async fn save_base_key(&self, address: &str, message_id: &str, base_key: &[u8]) -> Result<()> {
        self.put(base(address, message_id), base_key).await
    }

    async fn has_same_base_key(&self, address: &str, message_id: &str, current_base_key: &[u8]) -> Result<bool> {
        Ok(self.get(base(address, message_id)).await?.is_some_and(|saved| saved == current_base_key))
    }

    async fn delete_base_key(&self, address: &str, message_id: &str) -> Result<()> {
        self.delete(base(address, message_id)).await
    }

    async fn update_device_list(&self, record: DeviceListRecord) -> Result<()> {
        self.put_json(Kind::DeviceList.key(record.user.as_bytes()), &record).await
    }

    async fn update_device_lists(&self, records: Vec<DeviceListRecord>) -> Result<()> {
        let encoded = records.iter().map(encode).collect::<Result<Vec<_>>>()?;
        let keys = records.iter().map(|record| Kind::DeviceList.key(record.user.as_bytes()));
        let records: Vec<(Key<'_>, &[u8])> = keys.zip(encoded.iter().map(Vec::as_slice)).collect();
        self.keys()?.put(&records).await.map_err(told)
    }

    async fn get_devices(&self, user: &str) -> Result<Option<DeviceListRecord>> {
        self.get_json(Kind::DeviceList.key(user.as_bytes())).await
    }

    async fn delete_devices(&self, user: &str) -> Result<()> {
        self.delete(Kind::DeviceList.key(user.as_bytes())).await
    }

    async fn get_group_metadata(&self, group_jid: &str) -> Result<Option<Vec<u8>>> {
        self.get(Kind::Group.key(group_jid.as_bytes())).await
    }

    async fn put_group_metadata(&self, group_jid: &str, blob: &[u8]) -> Result<()> {
        self.put(Kind::Group.key(group_jid.as_bytes()), blob).await
    }

    async fn delete_group_metadata(&self, group_jid: &str) -> Result<()> {
        self.delete(Kind::Group.key(group_jid.as_bytes())).await
    }

    async fn get_tc_token(&self, jid: &str) -> Result<Option<TcTokenEntry>> {
        let token = self.keys()?.token(jid).await.map_err(told)?;
        Ok(token.map(|Token { token, token_at, sender_at }| TcTokenEntry {
            token,
            token_timestamp: token_at,
            sender_timestamp: sender_at,
        }))
    }

    async fn put_tc_token(&self, jid: &str, entry: &TcTokenEntry) -> Result<()> {
        let TcTokenEntry { token, token_timestamp: token_at, sender_timestamp: sender_at } = entry.clone();
        self.keys()?.put_token(jid, &Token { token, token_at, sender_at }).await.map_err(told)
    }

    async fn delete_tc_token(&self, jid: &str) -> Result<()> {
        self.keys()?.delete_token(jid).await.map_err(told)
    }

    async fn get_all_tc_token_jids(&self) -> Result<Vec<String>> {
        self.keys()?.token_jids().await.map_err(told)
    }

    async fn delete_expired_tc_tokens(&self, token_cutoff: i64, sender_cutoff: i64) -> Result<u32> {
        self.keys()?.expire_tokens(token_cutoff, sender_cutoff).await.map_err(told)
    }

    async fn touch_tc_token_sender_timestamp(&self, jid: &str, sender_timestamp: i64) -> Result<()> {
        self.keys()?.touch_token(jid, sender_timestamp).await.map_err(told)
    }

    async fn store_received_tc_token(&self, jid: &str, token: &[u8], token_timestamp: i64) -> Result<()> {
        self.keys()?.receive_token(jid, token, token_timestamp).await.map_err(told)
    }

    async fn store_sent_message(&self, chat_jid: &str, message_id: &str, payload: &[u8]) -> Result<()> {
        self.keys()?.put_sent(chat_jid, message_id, payload).await.map_err(told)
    }

    async fn take_sent_message(&self, chat_jid: &str, message_id: &str) -> Result<Option<Vec<u8>>> {
        self.keys()?.take_sent(chat_jid, message_id).await.map_err(told)
    }

    async fn delete_expired_sent_messages(&self, cutoff_timestamp: i64) -> Result<u32> {
        self.keys()?.sweep_sent(cutoff_timestamp).await.map_err(told)
    }

    async fn store_pending_inbound(&self, chat: &str, sender: &str, id: &str, message: &[u8]) -> Result<()> {
        self.keep(&[(MessageKey { chat, sender, id }, message)]).await
    }

    async fn get_pending_inbound(&self, chat: &str, sender: &str, id: &str) -> Result<Option<Vec<u8>>> {
        Ok(read!(self.pending(MessageKey { chat, sender, id })))
    }

    async fn delete_pending_inbound(&self, chat: &str, sender: &str, id: &str) -> Result<()> {
        self.keys()?.delete_pending(&[MessageKey { chat, sender, id }]).await.map_err(told)
    }

    async fn delete_expired_pending_inbound(&self, cutoff_timestamp: i64) -> Result<u32> {
        self.keys()?.sweep_pending(cutoff_timestamp).await.map_err(told)
    }

    async fn store_pending_inbound_batch(&self, rows: &[PendingInboundRow<'_>]) -> Result<()> {
        let messages: Vec<(MessageKey<'_>, &[u8])> = rows
            .iter()
            .map(|row| (MessageKey { chat: row.chat, sender: row.sender, id: row.id }, row.message))
            .collect();
        self.keep(&messages).await
    }

    async fn delete_pending_inbound_batch(&self, keys: &[PendingInboundKey<'_>]) -> Result<()> {
        let messages: Vec<MessageKey<'_>> =
            keys.iter().map(|key| MessageKey { chat: key.chat, sender: key.sender, id: key.id }).collect();
        self.keys()?.delete_pending(&messages).await.map_err(told)
    }
}

fn base<'a>(address: &'a str, message_id: &'a str) -> Key<'a> {
    Kind::BaseKey.within(address.as_bytes(), message_id.as_bytes())
}

fn ours(entry: &LidPnMappingEntry) -> Lid {
    Lid {
        lid: entry.lid.clone(),
        phone: entry.phone_number.clone(),
        created_at: entry.created_at,
        updated_at: entry.updated_at,
        source: entry.learning_source.clone(),
    }
}

fn theirs(lid: Lid) -> LidPnMappingEntry {
    LidPnMappingEntry {
        lid: lid.lid,
        phone_number: lid.phone,
        created_at: lid.created_at,
        updated_at: lid.updated_at,
        learning_source: lid.source,
    }
}
