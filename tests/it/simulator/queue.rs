//! The offline queue: nothing is lost, nothing is out of order.

use std::sync::Arc;

use whatsapp_rust::wacore::store::InMemoryBackend;
use whatsapp_rust::wacore::types::events::Event;

use super::client::{Device, Gate, network, text_of};
use super::messages::until;

/// Collects the texts of received messages until there are `count`.
async fn texts(device: &Device, count: usize) -> Vec<String> {
    let mut texts: Vec<String> = Vec::new();
    device
        .wait("all messages", |event| {
            texts.extend(event.messages().filter_map(|message| text_of(message).map(str::to_owned)));
            (texts.len() >= count).then_some(())
        })
        .await;
    texts
}

#[tokio::test]
async fn queues_for_a_disconnected_device_and_delivers_in_order() {
    let network = network().await;
    let (ada, ben) = (network.add_phone("Ada"), network.add_phone("Ben"));
    let device = Device::linked(&network, &ada).await;
    until("an empty queue", || ada.unacked() == 0).await;
    let backend = device.kill().await;
    until("the end of the connection", || ada.online().is_empty()).await;

    let sent: Vec<String> = (0..300).map(|number| format!("message {number}")).collect();
    for text in &sent {
        ben.send_text(ada.number(), text).await.unwrap();
    }
    assert_eq!(ada.unacked(), 300);
    let device = Device::start_on(&network, backend, None).await;
    assert_eq!(texts(&device, 300).await, sent);
    until("an empty queue", || ada.unacked() == 0).await;
}

#[tokio::test]
async fn redelivers_what_was_not_acknowledged_after_a_kill() {
    let network = network().await;
    let (ada, ben) = (network.add_phone("Ada"), network.add_phone("Ben"));
    let device = Device::linked(&network, &ada).await;
    until("an empty queue", || ada.unacked() == 0).await;
    let backend = device.kill().await;

    let shut = Device::start_on(&network, Arc::clone(&backend), Some(Gate::default())).await;
    shut.connected().await;
    for text in ["one", "two", "three"] {
        ben.send_text(ada.number(), text).await.unwrap();
    }
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    assert_eq!(ada.unacked(), 3, "the hook refused, so nothing was acknowledged");
    let backend = shut.kill().await;

    let gate = Gate::default();
    gate.open();
    let device = Device::start_on(&network, backend, Some(gate)).await;
    assert_eq!(texts(&device, 3).await, ["one", "two", "three"]);
    until("an empty queue", || ada.unacked() == 0).await;
}

#[tokio::test]
async fn announces_the_backlog_and_its_end() {
    let network = network().await;
    let (ada, ben) = (network.add_phone("Ada"), network.add_phone("Ben"));
    let device = Device::linked(&network, &ada).await;
    until("an empty queue", || ada.unacked() == 0).await;
    let backend: Arc<InMemoryBackend> = device.kill().await;
    until("the end of the connection", || ada.online().is_empty()).await;
    for number in 0..7 {
        ben.send_text(ada.number(), &format!("{number}")).await.unwrap();
    }
    let device = Device::start_on(&network, backend, None).await;
    let preview = device
        .wait("a preview", |event| match event {
            Event::OfflineSyncPreview(preview) => Some((preview.total, preview.messages)),
            _ => None,
        })
        .await;
    assert_eq!(preview, (7, 7));
    let count = device
        .wait("the end", |event| match event {
            Event::OfflineSyncCompleted(completed) => Some(completed.count),
            _ => None,
        })
        .await;
    assert_eq!(count, 7);
}
