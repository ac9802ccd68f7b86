//! Messages, receipts, presence between phones and clients.

use std::time::Duration;

use wagate_simulator::{PhoneSpec, Ticks};
use whatsapp_rust::Jid;
use whatsapp_rust::wacore::store::traits::SignalStore as _;
use whatsapp_rust::wacore::types::events::Event;
use whatsapp_rust::wacore::types::presence::ReceiptType;

use super::client::{Device, PATIENCE, jid, network};

#[tokio::test]
async fn exchanges_texts_with_a_phone() {
    let network = network().await;
    let (ada, ben) = (network.add_phone("Ada"), network.add_phone("Ben"));
    let device = Device::linked(&network, &ada).await;

    ben.send_text(ada.number(), "hello Ada").await.unwrap();
    let received = device.message("hello Ada").await;
    assert_eq!(received.info.source.chat, jid(&ben));
    assert_eq!(received.info.push_name, "Ben");
    assert_eq!(received.info.source.sender_alt.as_ref().unwrap().user.as_str(), ben.lid());

    let id = device.send(jid(&ben), "hello Ben").await;
    let at_ben = ben.wait_for(PATIENCE, |message| message.id == id).await.unwrap();
    assert_eq!((at_ben.text.as_deref(), at_ben.from, at_ben.from_me), (Some("hello Ben"), ada.jid(), false));
    let at_ada = ada.wait_for(PATIENCE, |message| message.id == id).await.unwrap();
    assert_eq!((at_ada.chat, at_ada.from_me), (ben.jid(), true));
    assert_eq!(network.unanswered(), Vec::<String>::new());
}

#[tokio::test]
async fn shows_what_the_phone_itself_sent_on_its_devices() {
    let network = network().await;
    let (ada, ben) = (network.add_phone("Ada"), network.add_phone("Ben"));
    let device = Device::linked(&network, &ada).await;
    ada.send_text(ben.number(), "from the phone").await.unwrap();
    let seen = device.message("from the phone").await;
    assert!(seen.info.source.is_from_me);
    assert_eq!(seen.info.source.chat, jid(&ben));
}

#[tokio::test]
async fn exchanges_texts_between_companions() {
    let network = network().await;
    let (ada, ben) = (network.add_phone("Ada"), network.add_phone("Ben"));
    let at_ada = Device::linked(&network, &ada).await;
    let at_ben = Device::linked(&network, &ben).await;
    at_ada.send(jid(&ben), "one").await;
    at_ben.message("one").await;
    at_ben.send(jid(&ada), "two").await;
    at_ada.message("two").await;
    assert!(ben.wait_for(PATIENCE, |message| message.text.as_deref() == Some("two")).await.unwrap().from_me);
}

#[tokio::test]
async fn a_device_linked_later_is_written_to_as_well() {
    let network = network().await;
    let (ada, ben) = (network.add_phone("Ada"), network.add_phone("Ben"));
    let at_ada = Device::linked(&network, &ada).await;
    at_ada.send(jid(&ben), "before").await;
    let at_ben = Device::linked(&network, &ben).await;
    at_ada.wait("the news of Ben's device", |event| matches!(event, Event::DeviceListUpdate(_)).then_some(())).await;
    at_ada.send(jid(&ben), "after").await;
    at_ben.message("after").await;
}

#[tokio::test]
async fn ticks_rise_with_receipts_in_both_directions() {
    let network = network().await;
    let (ada, ben) = (network.add_phone("Ada"), network.add_phone("Ben"));
    let device = Device::linked(&network, &ada).await;

    let id = device.send(jid(&ben), "tick").await;
    receipt(&device, &id, &ReceiptType::Delivered).await;
    ben.read(ada.number(), &id).await.unwrap();
    receipt(&device, &id, &ReceiptType::Read).await;

    let id = ben.send_text(ada.number(), "tock").await.unwrap();
    device.message("tock").await;
    assert_eq!(ben.ticks(&id), Ticks::Delivered);
    device.client.mark_as_read(&jid(&ben), None, &[id.as_str()]).await.unwrap();
    until("blue ticks", || ben.ticks(&id) == Ticks::Read).await;
    assert_eq!(ben.ticks("unknown"), Ticks::None);
}

#[tokio::test]
async fn writes_from_a_lid() {
    let network = network().await;
    let (ada, ben) = (network.add_phone("Ada"), network.add_phone("Ben"));
    let device = Device::linked(&network, &ada).await;
    ben.write_from_lid(true);
    ben.send_text(ada.number(), "migrated").await.unwrap();
    let received = device.message("migrated").await;
    assert_eq!(received.info.source.chat, Jid::lid(ben.lid()));
    let id = device.send(Jid::lid(ben.lid()), "to the LID").await;
    ben.wait_for(PATIENCE, |message| message.id == id).await.unwrap();
}

#[tokio::test]
async fn checks_numbers() {
    let network = network().await;
    let ada = network.add_phone("Ada");
    let acme = PhoneSpec { name: "Acme".into(), business: Some("Acme Ltd".into()), ..PhoneSpec::default() };
    let acme = network.add_phone_with(acme).unwrap();
    let device = Device::linked(&network, &ada).await;
    let found = device.client.contacts().is_on_whatsapp(&[jid(&acme), Jid::pn("19998887777")]).await.unwrap();
    let of = |number: &str| found.iter().find(|result| result.jid.user.as_str() == number);
    let known = of(acme.number()).unwrap();
    assert!(known.is_registered);
    assert_eq!(known.verified_name.as_ref().unwrap().name.as_deref(), Some("Acme Ltd"));
    assert!(of("19998887777").is_none_or(|unknown| !unknown.is_registered));
}

#[tokio::test]
async fn shows_presence_and_typing() {
    let network = network().await;
    let (ada, ben) = (network.add_phone("Ada"), network.add_phone("Ben"));
    let device = Device::linked(&network, &ada).await;
    device.client.presence().subscribe(jid(&ben)).await.unwrap();
    let state = |event: &Event| match event {
        Event::Presence(presence) if presence.from == jid(&ben) => Some(presence.unavailable),
        _ => None,
    };
    assert!(device.wait("Ben's absence", state).await);
    ben.set_available(true);
    assert!(!device.wait("Ben's presence", state).await);

    ben.typing(ada.number()).await.unwrap();
    device.wait("Ben's typing", |event| matches!(event, Event::ChatPresence(_)).then_some(())).await;
    device.client.chatstate().send_composing(&jid(&ben)).await.unwrap();
    until("Ada's typing", || ben.typing_in(ada.number()) == [ada.jid()]).await;
}

#[tokio::test]
async fn makes_a_message_again_for_a_device_that_cannot_read_it() {
    let network = network().await;
    let (ada, ben) = (network.add_phone("Ada"), network.add_phone("Ben"));
    let device = Device::linked(&network, &ada).await;
    ben.send_text(ada.number(), "first").await.unwrap();
    device.message("first").await;
    device.send(jid(&ben), "second").await;
    ben.wait_for(PATIENCE, |message| message.text.as_deref() == Some("second")).await.unwrap();
    ben.send_text(ada.number(), "third").await.unwrap();
    device.message("third").await;

    let backend = device.stop().await;
    let address = format!("{}@lid.0", ben.lid());
    assert!(backend.has_session(&address).await.unwrap());
    backend.delete_session(&address).await.unwrap();
    let device = Device::start_on(&network, backend, None).await;
    device.connected().await;
    ben.send_text(ada.number(), "again").await.unwrap();
    let unread = |event: &Event| matches!(event, Event::UndecryptableMessage(_)).then_some(());
    device.wait("an unreadable message", unread).await;
    device.message("again").await;
    until("an empty queue", || ada.unacked() == 0).await;
}

#[tokio::test]
async fn a_phone_asks_again_for_what_it_cannot_read() {
    let network = network().await;
    let [ada, ben, cleo] = ["Ada", "Ben", "Cleo"].map(|name| network.add_phone(name));
    let device = Device::linked(&network, &ada).await;
    device.send(jid(&ben), "before").await;
    ben.send_text(ada.number(), "answer").await.unwrap();
    device.message("answer").await;
    ben.lose_sessions().await;
    let id = device.send(jid(&ben), "after").await;
    let received = ben.wait_for(PATIENCE, |message| message.id == id).await.unwrap();
    assert_eq!(received.text.as_deref(), Some("after"));

    let group = network.create_group("Club", "", &ada, &[&ben, &cleo]);
    let chat: Jid = group.jid().parse().unwrap();
    device.send(chat.clone(), "one").await;
    ben.lose_sessions().await;
    let id = device.send(chat.clone(), "two").await;
    ben.wait_for(PATIENCE, |message| message.id == id).await.unwrap();
    let id = device.send(chat, "three").await;
    ben.wait_for(PATIENCE, |message| message.id == id).await.unwrap();
}

async fn receipt(device: &Device, id: &str, kind: &ReceiptType) {
    device
        .wait("a receipt", |event| match event {
            Event::Receipt(receipt) if receipt.message_ids.iter().any(|known| known == id) => {
                (receipt.r#type == *kind).then_some(())
            }
            _ => None,
        })
        .await;
}

/// Waits until `done`.
pub(super) async fn until(what: &str, done: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !done() {
        assert!(tokio::time::Instant::now() < deadline, "{what} did not come");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
