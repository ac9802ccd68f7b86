//! The device itself: who we are to WhatsApp. One per session.

use std::sync::Arc;

use async_trait::async_trait;
use whatsapp_rust::wacore::stats::StorageResourceReport;
use whatsapp_rust::wacore::store::Device;
use whatsapp_rust::wacore::store::device::DEVICE_PROPS;
use whatsapp_rust::wacore::store::error::Result;
use whatsapp_rust::wacore::store::traits::DeviceStore;

use super::{KeyStore, encode, told};
use crate::store::keys::{Key, Kind};

/// The number the library gets for our one device; it only logs it.
const NUMBER: i32 = 1;

const KEY: Key<'static> = Kind::Device.key(b"");

#[async_trait]
impl DeviceStore for KeyStore {
    async fn save(&self, device: &Device) -> Result<()> {
        self.put_json(KEY, device).await
    }

    /// Serde leaves the device's properties out; without the library's own an unlinked device would register with empty
    /// ones. Whoever wants others sets them after loading, as the library does.
    async fn load(&self) -> Result<Option<Device>> {
        let device: Option<Device> = self.get_json(KEY).await?;
        Ok(device.map(|device| Device { device_props: Arc::new(DEVICE_PROPS.clone()), ..device }))
    }

    async fn exists(&self) -> Result<bool> {
        self.keys()?.has(KEY).await.map_err(told)
    }

    /// Keeps the device there is.
    async fn create(&self) -> Result<i32> {
        self.keys()?.put_new(KEY, &encode(&Device::new())?).await.map_err(told)?;
        Ok(NUMBER)
    }

    /// Nothing of a session's keys is held in memory; the page caches belong to the store, whatever the sessions.
    async fn resource_report(&self) -> StorageResourceReport {
        StorageResourceReport { memory_bytes: Some(0), ..StorageResourceReport::default() }
    }
}
