//! Linking, logging in and out.

use whatsapp_rust::pair_code::PairCodeOptions;
use whatsapp_rust::wacore::types::events::Event;

use wagate_simulator::{LinkError, PhoneError};

use super::client::{Device, network};

#[tokio::test]
async fn links_by_qr_and_knows_its_name() {
    let network = network().await;
    let ada = network.add_phone("Ada");
    let device = Device::start(&network).await;
    let id = device.link(&ada).await;
    assert_eq!((id, ada.devices(), ada.online()), (1, vec![1], vec![1]));
    assert_eq!(device.client.pn().unwrap().user.as_str(), ada.number());
    assert_eq!(device.client.lid().unwrap().user.as_str(), ada.lid());
    assert_eq!(device.client.push_name(), "Ada");
    assert_eq!(network.unanswered(), Vec::<String>::new());
}

#[tokio::test]
async fn links_by_code_several_at_once() {
    let network = network().await;
    let phones = [network.add_phone("Ada"), network.add_phone("Ben")];
    let mut waiting = Vec::new();
    for phone in &phones {
        let device = Device::start(&network).await;
        device.qr().await;
        let options = PairCodeOptions { phone_number: phone.number().to_owned(), ..PairCodeOptions::default() };
        let code = device.client.pair_with_code(options).await.unwrap();
        waiting.push((phone, device, code));
    }
    for (phone, device, code) in waiting {
        assert_eq!(phone.enter_code(&code).await.unwrap(), 1);
        device.connected().await;
        assert_eq!(device.client.pn().unwrap().user.as_str(), phone.number());
    }
}

#[tokio::test]
async fn refuses_qr_texts_and_codes_that_are_not_waiting() {
    let network = network().await;
    let ada = network.add_phone("Ada");
    assert!(matches!(ada.scan("hello").await, Err(PhoneError::Link(LinkError::MalformedQr(_)))));
    assert_eq!(ada.enter_code("ABCD-1234").await, Err(PhoneError::Link(LinkError::UnknownCode)));
    assert_eq!(ada.enter_code("short").await, Err(PhoneError::Link(LinkError::MalformedCode)));
    let device = Device::start(&network).await;
    let qr = device.qr().await;
    ada.scan(&qr).await.unwrap();
    assert!(ada.scan(&qr).await.is_err(), "a QR text is good for one link");
}

#[tokio::test]
async fn unlinks_from_the_phone_and_refuses_the_next_login() {
    let network = network().await;
    let ada = network.add_phone("Ada");
    let device = Device::linked(&network, &ada).await;
    ada.unlink(1).await.unwrap();
    device.wait("a logout", |event| matches!(event, Event::LoggedOut(_)).then_some(())).await;
    assert!(ada.devices().is_empty());

    let again = Device::start_on(&network, device.kill().await, None).await;
    again.wait("a refused login", |event| matches!(event, Event::LoggedOut(_)).then_some(())).await;
    assert_eq!(ada.unlink(1).await, Err(PhoneError::UnknownDevice(1)));
}

#[tokio::test]
async fn unlinks_when_the_client_logs_out() {
    let network = network().await;
    let ada = network.add_phone("Ada");
    let device = Device::linked(&network, &ada).await;
    device.client.logout().await;
    assert!(ada.devices().is_empty());
}

#[tokio::test]
async fn reconnects_by_ik_and_replaces_an_older_connection() {
    let network = network().await;
    let ada = network.add_phone("Ada");
    let device = Device::linked(&network, &ada).await;
    network.faults().drop_sockets(ada.number());
    device.wait("a reconnect", |event| matches!(event, Event::Connected(_)).then_some(())).await;
    assert_eq!(network.handshakes().last(), Some(&"IK"));

    let twin = Device::start_on(&network, std::sync::Arc::clone(&device.backend), None).await;
    device.wait("a replacement", |event| matches!(event, Event::StreamReplaced(_)).then_some(())).await;
    twin.connected().await;
    assert_eq!(ada.online(), vec![1]);
}
