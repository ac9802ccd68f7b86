//! Signal state: identities, sessions, pre-keys, sender keys.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use whatsapp_rust::wacore::store::error::Result;
use whatsapp_rust::wacore::store::traits::SignalStore;

use super::{KeyStore, read, told, unreadable};
use crate::store::keys::{Key, Kind};

#[async_trait]
impl SignalStore for KeyStore {
    async fn put_identity(&self, address: &str, key: [u8; 32]) -> Result<()> {
        self.put(Kind::Identity.key(address.as_bytes()), &key).await
    }

    async fn put_identities_batch(&self, identities: &[(Arc<str>, [u8; 32])]) -> Result<()> {
        self.put_all(Kind::Identity, identities).await
    }

    async fn load_identity(&self, address: &str) -> Result<Option<[u8; 32]>> {
        let key = self.get(Kind::Identity.key(address.as_bytes())).await?;
        key.map(|key| key.try_into().map_err(|_| unreadable("an identity key has 32 bytes"))).transpose()
    }

    async fn delete_identity(&self, address: &str) -> Result<()> {
        self.delete(Kind::Identity.key(address.as_bytes())).await
    }

    async fn get_session(&self, address: &str) -> Result<Option<Bytes>> {
        Ok(self.get(Kind::Session.key(address.as_bytes())).await?.map(Bytes::from))
    }

    async fn put_session(&self, address: &str, session: &[u8]) -> Result<()> {
        self.put(Kind::Session.key(address.as_bytes()), session).await
    }

    async fn put_sessions_batch(&self, sessions: &[(Arc<str>, Bytes)]) -> Result<()> {
        self.put_all(Kind::Session, sessions).await
    }

    async fn delete_session(&self, address: &str) -> Result<()> {
        self.delete(Kind::Session.key(address.as_bytes())).await
    }

    async fn has_session(&self, address: &str) -> Result<bool> {
        Ok(read!(self.has(Kind::Session.key(address.as_bytes()))))
    }

    async fn has_signal_state_for_user(&self, user: &str) -> Result<bool> {
        for kind in [Kind::Session, Kind::Identity] {
            for end in ['@', ':'] {
                if read!(self.begins(kind, format!("{user}{end}").as_bytes())) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    async fn store_prekey(&self, id: u32, record: &[u8], uploaded: bool) -> Result<()> {
        self.keys()?.put_prekeys(&[(id, record)], uploaded).await.map_err(told)
    }

    async fn store_prekeys_batch(&self, keys: &[(u32, Bytes)], uploaded: bool) -> Result<()> {
        self.keys()?.put_prekeys(keys, uploaded).await.map_err(told)
    }

    async fn load_prekey(&self, id: u32) -> Result<Option<Bytes>> {
        Ok(self.get(Kind::PreKey.key(&id.to_be_bytes())).await?.map(Bytes::from))
    }

    async fn load_prekeys_batch(&self, ids: &[u32]) -> Result<Vec<(u32, Bytes)>> {
        let names: Vec<[u8; 4]> = ids.iter().map(|id| id.to_be_bytes()).collect();
        let names: Vec<&[u8]> = names.iter().map(<[u8; 4]>::as_slice).collect();
        let records = read!(self.get_many(Kind::PreKey, b"", &names));
        Ok(ids.iter().zip(records).filter_map(|(id, record)| Some((*id, record?.into()))).collect())
    }

    async fn mark_prekeys_uploaded(&self, ids: &[u32]) -> Result<()> {
        self.keys()?.mark_uploaded(ids).await.map_err(told)
    }

    async fn remove_prekey(&self, id: u32) -> Result<()> {
        self.delete(Kind::PreKey.key(&id.to_be_bytes())).await
    }

    async fn get_max_prekey_id(&self) -> Result<u32> {
        Ok(self.keys()?.last_prekey().await.map_err(told)?.unwrap_or(0))
    }

    async fn store_signed_prekey(&self, id: u32, record: &[u8]) -> Result<()> {
        self.put(Kind::SignedPreKey.key(&id.to_be_bytes()), record).await
    }

    async fn load_signed_prekey(&self, id: u32) -> Result<Option<Vec<u8>>> {
        self.get(Kind::SignedPreKey.key(&id.to_be_bytes())).await
    }

    async fn load_all_signed_prekeys(&self) -> Result<Vec<(u32, Vec<u8>)>> {
        Ok(read!(self.signed_prekeys()))
    }

    async fn remove_signed_prekey(&self, id: u32) -> Result<()> {
        self.delete(Kind::SignedPreKey.key(&id.to_be_bytes())).await
    }

    async fn put_sender_key(&self, address: &str, record: &[u8]) -> Result<()> {
        self.put(Kind::SenderKey.key(address.as_bytes()), record).await
    }

    async fn put_sender_keys_batch(&self, sender_keys: &[(Arc<str>, Bytes)]) -> Result<()> {
        self.put_all(Kind::SenderKey, sender_keys).await
    }

    async fn get_sender_key(&self, address: &str) -> Result<Option<Vec<u8>>> {
        self.get(Kind::SenderKey.key(address.as_bytes())).await
    }

    async fn delete_sender_key(&self, address: &str) -> Result<()> {
        self.delete(Kind::SenderKey.key(address.as_bytes())).await
    }
}

impl KeyStore {
    async fn put_all<V: AsRef<[u8]> + Sync>(&self, kind: Kind, records: &[(Arc<str>, V)]) -> Result<()> {
        let records: Vec<(Key<'_>, &[u8])> =
            records.iter().map(|(address, record)| (kind.key(address.as_bytes()), record.as_ref())).collect();
        self.keys()?.put(&records).await.map_err(told)
    }
}
