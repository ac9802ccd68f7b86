//! What `DeviceStore` promises: one device, whole again after a load.

use whatsapp_rust::wacore::store::Device;
use whatsapp_rust::wacore::store::device::{CachedNoiseCert, CachedServerCertChain};
use whatsapp_rust::wacore::store::traits::Backend;
use whatsapp_rust::waproto::whatsapp as wa;

use super::json;

fn linked() -> Device {
    let cert = |n: u8| CachedNoiseCert { key: [n; 32], not_before: i64::from(n), not_after: i64::MAX };
    Device {
        pn: Some("15550000001:3@s.whatsapp.net".parse().unwrap()),
        lid: Some("100000012345678:3@lid".parse().unwrap()),
        account: Some(std::sync::Arc::new(wa::ADVSignedDeviceIdentity {
            details: Some(vec![0, 1, 2]),
            account_signature: Some(vec![9; 64]),
            ..Default::default()
        })),
        push_name: "Zoë \u{1F980}".to_owned(),
        edge_routing_info: Some(vec![0, 255]),
        props_hash: Some("hash".to_owned()),
        next_pre_key_id: 813,
        first_unupload_pre_key_id: 812,
        server_has_prekeys: true,
        nct_salt: Some(vec![]),
        server_cert_chain: Some(CachedServerCertChain { intermediate: cert(1), leaf: cert(2) }),
        login_counter: i32::MAX,
        lid_migrated: true,
        read_receipts_disabled: true,
        ..Device::new()
    }
}

pub(crate) async fn saves_and_loads_a_device(b: &dyn Backend) {
    assert!(!b.exists().await.unwrap());
    assert!(b.load().await.unwrap().is_none());
    let device = linked();
    b.save(&device).await.unwrap();
    assert!(b.exists().await.unwrap());
    let loaded = b.load().await.unwrap().unwrap();
    assert_eq!(json(&loaded), json(&device));
    assert_eq!(loaded.account, device.account);
    assert_eq!(loaded.get_client_payload(), device.get_client_payload());
    let newer = Device { push_name: "Zoë 2".to_owned(), pn: None, ..device };
    b.save(&newer).await.unwrap();
    assert_eq!(json(&b.load().await.unwrap().unwrap()), json(&newer));
}

/// What the library leaves out of a serialised device (its properties, its profile) must be there after a load, or
/// a device would register without a name.
pub(crate) async fn a_created_device_registers_like_a_new_one(b: &dyn Backend) {
    b.create().await.unwrap();
    let loaded = b.load().await.unwrap().unwrap();
    assert_eq!(loaded.device_props, Device::new().device_props);
    let pairing = loaded.get_client_payload().device_pairing_data.into_option().unwrap();
    assert!(!pairing.device_props.unwrap().is_empty());
    b.save(&loaded).await.unwrap();
    assert_eq!(b.load().await.unwrap().unwrap().get_client_payload(), loaded.get_client_payload());
}

/// The oracle numbers each call; a store that holds one device has one number. Both keep the device there is.
pub(crate) async fn creating_twice_keeps_the_first_device(b: &dyn Backend) {
    assert!(b.create().await.unwrap() > 0);
    let first = b.load().await.unwrap().unwrap();
    assert!(b.create().await.unwrap() > 0);
    assert_eq!(json(&b.load().await.unwrap().unwrap()), json(&first));
    b.save(&linked()).await.unwrap();
    b.create().await.unwrap();
    assert_eq!(b.load().await.unwrap().unwrap().push_name, linked().push_name);
}

/// Snapshots are a debugging aid behind a feature that is off; both answer `Ok`. Neither counts its memory as more than it is.
pub(crate) async fn snapshots_and_reports_do_no_harm(b: &dyn Backend) {
    b.save(&linked()).await.unwrap();
    b.snapshot_db("name", Some(b"extra")).await.unwrap();
    assert_eq!(b.resource_report().await.total_bytes(), 0);
    assert!(b.exists().await.unwrap());
}
