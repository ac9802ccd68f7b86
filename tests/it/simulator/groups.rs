//! Groups: sender keys, metadata, membership.

use wagate_simulator::{Addressing, GroupSpec, Network, Phone, Rank};
use whatsapp_rust::Jid;
use whatsapp_rust::wacore::types::events::Event;

use super::client::{Device, PATIENCE, network};

async fn three() -> (Network, [Phone; 3]) {
    let network = network().await;
    let phones = ["Ada", "Ben", "Cleo"].map(|name| network.add_phone(name));
    (network, phones)
}

#[tokio::test]
async fn exchanges_group_messages_by_sender_keys() {
    let (network, [ada, ben, cleo]) = three().await;
    let at_ada = Device::linked(&network, &ada).await;
    let at_ben = Device::linked(&network, &ben).await;
    let group = network.create_group("Club", "We meet", &ada, &[&ben, &cleo]);
    let chat: Jid = group.jid().parse().unwrap();

    for text in ["first", "second"] {
        let id = at_ada.send(chat.clone(), text).await;
        let received = at_ben.message(text).await;
        assert_eq!(received.info.source.chat, chat);
        let at_cleo = cleo.wait_for(PATIENCE, |message| message.id == id).await.unwrap();
        assert_eq!((at_cleo.chat, at_cleo.text.as_deref(), at_cleo.from), (group.jid(), Some(text), ada.jid()));
    }
    for text in ["third", "fourth"] {
        cleo.send_text(&group.jid(), text).await.unwrap();
        assert_eq!(at_ada.message(text).await.info.source.sender.user.as_str(), cleo.number());
        at_ben.message(text).await;
    }
    assert_eq!(network.unanswered(), Vec::<String>::new());
}

#[tokio::test]
async fn exchanges_messages_in_a_lid_group() {
    let (network, [ada, ben, cleo]) = three().await;
    let at_ada = Device::linked(&network, &ada).await;
    let spec = GroupSpec { subject: "New".into(), addressing: Addressing::Lid, ..GroupSpec::default() };
    let group = network.create_group_with(&spec, &ben, &[&ada, &cleo]);
    let id = at_ada.send(group.jid().parse().unwrap(), "by LID").await;
    cleo.wait_for(PATIENCE, |message| message.id == id).await.unwrap();
    cleo.send_text(&group.jid(), "back").await.unwrap();
    assert_eq!(at_ada.message("back").await.info.source.sender.user.as_str(), cleo.lid());
}

#[tokio::test]
async fn lists_groups_with_ranks() {
    let (network, [ada, ben, cleo]) = three().await;
    let device = Device::linked(&network, &ben).await;
    let group = network.create_group("Club", "We meet", &ada, &[&ben, &cleo]);
    assert!(group.set_admin(&cleo, true));
    network.create_group("Not Ben's", "", &ada, &[&cleo]);
    let groups = device.client.groups().get_participating().await.unwrap();
    assert_eq!(groups.len(), 1);
    let listed = groups.values().next().unwrap();
    assert_eq!(listed.subject, "Club");
    assert_eq!(listed.description.as_deref(), Some("We meet"));
    assert_eq!(listed.creator.as_ref().unwrap().user.as_str(), ada.number());
    assert_eq!(listed.size, Some(3));
    let rank = |phone: &Phone| {
        let found = listed.participants.iter().find(|member| member.jid.user.as_str() == phone.number()).unwrap();
        (found.is_admin(), found.is_super_admin())
    };
    assert_eq!((rank(&ada).1, rank(&ben).0, rank(&cleo)), (true, false, (true, false)));
}

#[tokio::test]
async fn notifies_of_creation_and_membership() {
    let (network, [ada, ben, cleo]) = three().await;
    let device = Device::linked(&network, &ben).await;
    let action = |event: &Event| match event {
        Event::GroupUpdate(update) => Some(update.action.tag_name().to_owned()),
        _ => None,
    };
    let group = network.create_group("Club", "", &ada, &[&ben]);
    assert_eq!(device.wait("a creation", action).await, "create");
    assert!(group.add(&cleo));
    assert_eq!(device.wait("an addition", action).await, "add");
    group.rename("Club 2");
    assert_eq!(device.wait("a renaming", action).await, "subject");
    assert!(group.remove(&cleo));
    assert_eq!(device.wait("a removal", action).await, "remove");
    assert_eq!(group.members(), [(ada.number().to_owned(), Rank::SuperAdmin), (ben.number().to_owned(), Rank::Member)]);
}

#[tokio::test]
async fn a_client_makes_and_changes_a_group() {
    use whatsapp_rust::features::{GroupCreateOptions, GroupParticipantOptions};
    let (network, [ada, ben, _]) = three().await;
    let device = Device::linked(&network, &ada).await;
    let member = GroupParticipantOptions::new(Jid::pn(ben.number()));
    let options = GroupCreateOptions::builder().subject("Mine").participants(vec![member]).build();
    device.client.groups().create_group(options).await.unwrap();
    let group = network.groups().remove(0);
    assert_eq!((group.subject().as_str(), group.members().len()), ("Mine", 2));
    let jid: Jid = group.jid().parse().unwrap();
    ben.send_text(&group.jid(), "thanks").await.unwrap();
    device.message("thanks").await;
    device.client.groups().remove_participants(&jid, &[Jid::pn(ben.number())]).await.unwrap();
    assert_eq!(group.members().len(), 1);
    assert!(ben.send_text(&group.jid(), "still here?").await.is_err());
}
