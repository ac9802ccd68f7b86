//! App state: sync keys, how far each collection is, and the MACs of its entries.

use std::collections::HashMap;

use async_trait::async_trait;
use whatsapp_rust::wacore::appstate::hash::HashState;
use whatsapp_rust::wacore::appstate::processor::AppStateMutationMAC;
use whatsapp_rust::wacore::store::error::Result;
use whatsapp_rust::wacore::store::traits::{AppStateSyncKey, AppSyncStore};

use super::{KeyStore, encode, told};
use crate::store::keys::{Key, Kind};

/// The name of a record of which there is one.
const ONLY: &[u8] = b"";

#[async_trait]
impl AppSyncStore for KeyStore {
    async fn get_sync_key(&self, key_id: &[u8]) -> Result<Option<AppStateSyncKey>> {
        self.get_json(Kind::SyncKey.key(key_id)).await
    }

    async fn set_sync_key(&self, key_id: &[u8], key: AppStateSyncKey) -> Result<()> {
        let key = encode(&key)?;
        let records = [(Kind::SyncKey.key(key_id), &key[..]), (Kind::LatestSyncKey.key(ONLY), key_id)];
        self.keys()?.put(&records).await.map_err(told)
    }

    async fn get_version(&self, name: &str) -> Result<HashState> {
        Ok(self.get_json(Kind::SyncVersion.key(name.as_bytes())).await?.unwrap_or_default())
    }

    async fn set_version(&self, name: &str, state: HashState) -> Result<()> {
        self.put_json(Kind::SyncVersion.key(name.as_bytes()), &state).await
    }

    /// The version is not stored: a MAC belongs to its index whatever the version, and nothing asks by version.
    async fn put_mutation_macs(&self, name: &str, _version: u64, mutations: &[AppStateMutationMAC]) -> Result<()> {
        let record = |mac| mac_record(name, mac);
        self.keys()?.put(&mutations.iter().map(record).collect::<Vec<_>>()).await.map_err(told)
    }

    async fn get_mutation_mac(&self, name: &str, index_mac: &[u8]) -> Result<Option<Vec<u8>>> {
        self.get(Kind::MutationMac.within(name.as_bytes(), index_mac)).await
    }

    async fn get_mutation_macs(&self, name: &str, index_macs: &[[u8; 32]]) -> Result<HashMap<[u8; 32], Vec<u8>>> {
        let names: Vec<&[u8]> = index_macs.iter().map(<[u8; 32]>::as_slice).collect();
        let found = self.keys()?.get_many(Kind::MutationMac, name.as_bytes(), &names).await.map_err(told)?;
        Ok(index_macs.iter().zip(found).filter_map(|(index, mac)| Some((*index, mac?))).collect())
    }

    async fn delete_mutation_macs(&self, name: &str, index_macs: &[Vec<u8>]) -> Result<()> {
        let key = |index| Kind::MutationMac.within(name.as_bytes(), index);
        let keys: Vec<Key<'_>> = index_macs.iter().map(|index| key(index)).collect();
        self.keys()?.delete(&keys).await.map_err(told)
    }

    async fn clear_mutation_macs(&self, name: &str) -> Result<()> {
        self.keys()?.clear(Kind::MutationMac, name.as_bytes()).await.map_err(told)
    }

    async fn get_latest_sync_key_id(&self) -> Result<Option<Vec<u8>>> {
        self.get(Kind::LatestSyncKey.key(ONLY)).await
    }
}

fn mac_record<'a>(name: &'a str, mac: &'a AppStateMutationMAC) -> (Key<'a>, &'a [u8]) {
    (Kind::MutationMac.within(name.as_bytes(), &mac.index_mac), &mac.value_mac)
}
