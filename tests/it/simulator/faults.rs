//! Faults: each does what it says, and ends.

use std::time::{Duration, Instant};

use wagate_simulator::{Network, Phone, StreamFault};
use whatsapp_rust::wacore::types::events::Event;

use super::client::{Device, PATIENCE, jid, network};
use super::messages::until;

async fn linked() -> (Network, Phone, Phone, Device) {
    let network = network().await;
    let (ada, ben) = (network.add_phone("Ada"), network.add_phone("Ben"));
    let device = Device::linked(&network, &ada).await;
    (network, ada, ben, device)
}

#[tokio::test]
async fn refuses_a_send_with_a_code() {
    let (network, ada, ben, device) = linked().await;
    network.faults().refuse_sends(ada.number(), 463, 1);
    let id = device.client.send_text(jid(&ben), "refused").await.unwrap().message_id;
    assert!(device.server_ack(&id).await.unwrap().contains("463"));
    let id = device.send(jid(&ben), "accepted").await;
    ben.wait_for(PATIENCE, |message| message.id == id).await.unwrap();
    assert!(ben.inbox().iter().all(|message| message.text.as_deref() != Some("refused")));
}

#[tokio::test]
async fn delays_and_drops_acks() {
    let (network, ada, ben, device) = linked().await;
    network.faults().delay_acks(ada.number(), Duration::from_millis(400));
    let start = Instant::now();
    device.send(jid(&ben), "late").await;
    assert!(start.elapsed() >= Duration::from_millis(400));
    network.faults().clear();

    network.faults().drop_acks(ada.number(), 1);
    let silent = device.client.send_text(jid(&ben), "silent").await.unwrap().message_id;
    ben.wait_for(PATIENCE, |message| message.id == silent).await.unwrap();
    let next = device.client.send_text(jid(&ben), "heard").await.unwrap().message_id;
    let first = device
        .wait("an ack", |event| match event {
            Event::ServerAck(ack) if ack.id == silent || ack.id == next => Some(ack.id.clone()),
            _ => None,
        })
        .await;
    assert_eq!(first, next);
}

#[tokio::test]
async fn drops_a_socket_and_keeps_what_it_missed() {
    let (network, ada, ben, device) = linked().await;
    network.faults().drop_sockets(ada.number());
    until("the end of the connection", || ada.online().is_empty()).await;
    ben.send_text(ada.number(), "while away").await.unwrap();
    device.message("while away").await;
}

#[tokio::test]
async fn freezes_and_thaws() {
    let (network, ada, ben, device) = linked().await;
    network.faults().freeze(ada.number());
    ben.send_text(ada.number(), "frozen").await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(ada.unacked(), 1);
    network.faults().thaw(ada.number());
    device.message("frozen").await;
}

#[tokio::test]
async fn ends_streams_with_errors() {
    let (network, ada, _, device) = linked().await;
    for fault in [StreamFault::Restart, StreamFault::Unavailable] {
        let logins = network.logins(ada.number());
        network.faults().stream_error(ada.number(), fault);
        until("another login", || network.logins(ada.number()) > logins).await;
        device.connected().await;
    }
    network.faults().stream_error(ada.number(), StreamFault::Replaced);
    device.wait("a replacement", |event| matches!(event, Event::StreamReplaced(_)).then_some(())).await;
}

#[tokio::test]
async fn tells_a_client_it_was_removed() {
    let (network, ada, _, device) = linked().await;
    network.faults().stream_error(ada.number(), StreamFault::Removed);
    device.wait("a logout", |event| matches!(event, Event::LoggedOut(_)).then_some(())).await;
    assert_eq!(ada.devices(), [1], "a fault unlinks nothing");
}

#[tokio::test]
async fn refuses_logins_with_a_reason() {
    let (network, ada, _, device) = linked().await;
    network.faults().fail_login(ada.number(), 402, 1);
    network.faults().drop_sockets(ada.number());
    device.wait("a ban", |event| matches!(event, Event::TemporaryBan(_)).then_some(())).await;
}

#[tokio::test]
async fn asks_for_a_passkey() {
    let network = network().await;
    network.faults().require_passkey(1);
    let device = Device::start(&network).await;
    device.wait("a passkey request", |event| matches!(event, Event::PairPasskeyRequest(_)).then_some(())).await;
}
