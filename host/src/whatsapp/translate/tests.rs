//! What people write, what machines say to each other, and who is who.

use whatsapp_rust::wacore::types::message::MessageSource;

use super::*;

fn info(chat: &str, sender: &str) -> MessageInfo {
    let (chat, sender): (Jid, Jid) = (chat.parse().unwrap(), sender.parse().unwrap());
    let is_group = chat.server == Server::Group;
    let source = MessageSource { chat, sender, is_group, ..Default::default() };
    MessageInfo { id: "3EB0".into(), source, ..Default::default() }
}

fn text(text: &str) -> wa::Message {
    wa::Message { conversation: Some(text.to_owned()), ..Default::default() }
}

/// The account's own addresses.
fn own() -> Person {
    Person::of("15550000001".parse().unwrap(), Some("100000000000001@lid".parse().unwrap()))
}

fn kind(message: &wa::Message) -> Option<(MessageKind, Option<String>)> {
    let info = info("15550000002@s.whatsapp.net", "15550000002@s.whatsapp.net");
    let at = addresses(message, &info, |_| None).unwrap();
    incoming(message, &info, at, &own()).map(|incoming| (incoming.kind, incoming.text))
}

#[test]
fn knows_people_by_number_wherever_the_number_is_known() {
    let number: Jid = "15550000002@s.whatsapp.net".parse().unwrap();
    let told = |mut info: MessageInfo| {
        info.source.sender_alt = Some(number.clone());
        info
    };
    // (case, info, whether the store knows the other address) → chat, sender, the sender's other address
    let lid = "100000000000002@lid";
    let person = "15550000002@s.whatsapp.net";
    let group = "120363000000000001@g.us";
    let table = [
        ("by number", info(person, "15550000002:7@s.whatsapp.net"), false, person, person, None),
        ("by LID, number told", told(info(lid, lid)), false, person, person, Some(lid)),
        ("by LID, number stored", info(lid, lid), true, person, person, Some(lid)),
        ("by LID alone", info(lid, lid), false, lid, lid, None),
        ("group member by LID", told(info(group, lid)), false, group, person, Some(lid)),
        ("by number, LID stored", info(person, person), true, person, person, Some(lid)),
    ];
    let known = |jid: &Jid| Some(if jid.is_lid() { number.clone() } else { lid.parse().unwrap() });
    for (case, info, stored, chat, sender, alt) in table {
        let found = addresses(&text("x"), &info, |jid| known(jid).filter(|_| stored)).unwrap();
        assert_eq!((found.place.chat.jid(), found.sender.chat.jid()), (chat, sender), "{case}");
        assert_eq!(found.sender.alt.as_ref().map(Chat::jid), alt, "{case}");
    }
}

#[test]
fn a_message_of_our_own_stands_in_the_recipients_chat() {
    let mut info = info("100000000000002@lid", "15550000001@s.whatsapp.net");
    info.source.is_from_me = true;
    info.source.recipient_alt = Some("15550000002@s.whatsapp.net".parse().unwrap());
    let at = addresses(&text("x"), &info, |_| None).unwrap();
    let found = incoming(&text("x"), &info, at, &own()).unwrap();
    assert_eq!(found.chat.jid(), "15550000002@s.whatsapp.net");
    assert_eq!(found.chat_alt.as_ref().map(Chat::jid), Some("100000000000002@lid"));
    assert_eq!(found.sender.jid(), "15550000001@s.whatsapp.net");
}

/// A reaction to this message, as its writer sees it.
fn reaction(from_me: bool, participant: Option<&str>) -> wa::Message {
    let key = wa::MessageKey {
        id: Some("3EB1".to_owned()),
        from_me: Some(from_me),
        participant: participant.map(str::to_owned),
        ..Default::default()
    };
    let reaction = wa::message::ReactionMessage {
        key: MessageField::some(key),
        text: Some("👍".to_owned()),
        ..Default::default()
    };
    wa::Message { reaction_message: MessageField::some(reaction), ..Default::default() }
}

#[test]
fn says_whose_message_a_reaction_is_about() {
    let (friend, group) = ("15550000002@s.whatsapp.net", "120363000000000001@g.us");
    let mine = |mut info: MessageInfo| {
        info.source.is_from_me = true;
        info
    };
    let own_jid = "15550000001@s.whatsapp.net";
    // (case, info, the key) → who wrote the message, whether that is the account
    let table = [
        ("friend to ours", info(friend, friend), reaction(false, None), Some(own_jid), true),
        ("friend to their own", info(friend, friend), reaction(true, None), Some(friend), false),
        ("we to theirs", mine(info(friend, own_jid)), reaction(false, None), Some(friend), false),
        ("we to ours", mine(info(friend, own_jid)), reaction(true, None), Some(own_jid), true),
        ("in a group, to ours", info(group, friend), reaction(false, Some("100000000000001@lid")), Some(own_jid), true),
        ("in a group, to nobody's", info(group, friend), reaction(false, None), None, false),
    ];
    let known = |jid: &Jid| (jid.user == "100000000000001").then(|| own_jid.parse().unwrap());
    for (case, info, message, sender, from_me) in table {
        let at = addresses(&message, &info, known).unwrap();
        let target = incoming(&message, &info, at, &own()).unwrap().target.unwrap();
        let found = target.sender.as_ref().map(|sender| sender.chat.jid());
        assert_eq!((target.id.as_str(), found, target.from_me), ("3EB1", sender, from_me), "{case}");
    }
}

#[test]
fn what_people_send_has_a_kind() {
    use wa::message::{ExtendedTextMessage, ImageMessage, LocationMessage, OrderMessage, ReactionMessage};
    let some = |text: &str| Some(text.to_owned());
    let extended = ExtendedTextMessage { text: some("bold"), ..Default::default() };
    let image = ImageMessage { caption: some("look"), ..Default::default() };
    let order = OrderMessage { order_title: some("shoes"), ..Default::default() };
    let reaction = ReactionMessage { text: some("👍"), ..Default::default() };
    let table = [
        (text("hello"), MessageKind::Text, some("hello")),
        (
            wa::Message { extended_text_message: MessageField::some(extended), ..Default::default() },
            MessageKind::Text,
            some("bold"),
        ),
        (
            wa::Message { image_message: MessageField::some(image), ..Default::default() },
            MessageKind::Image,
            some("look"),
        ),
        (
            wa::Message { location_message: MessageField::some(LocationMessage::default()), ..Default::default() },
            MessageKind::Location,
            None,
        ),
        (
            wa::Message { reaction_message: MessageField::some(reaction), ..Default::default() },
            MessageKind::Reaction,
            some("👍"),
        ),
        (wa::Message { order_message: MessageField::some(order), ..Default::default() }, MessageKind::Other, None),
    ];
    for (message, expected, text) in table {
        assert_eq!(kind(&message), Some((expected, text)));
    }
}

#[test]
fn edits_and_revocations_are_for_people_and_key_shares_are_not() {
    use wa::message::ProtocolMessage;
    use wa::message::protocol_message::Type;
    let protocol = |r#type, edited: Option<wa::Message>| wa::Message {
        protocol_message: MessageField::some(ProtocolMessage {
            r#type: Some(r#type),
            edited_message: edited.map(MessageField::some).unwrap_or_default(),
            ..Default::default()
        }),
        ..Default::default()
    };
    assert_eq!(kind(&protocol(Type::REVOKE, None)), Some((MessageKind::Revoke, None)));
    assert_eq!(
        kind(&protocol(Type::MESSAGE_EDIT, Some(text("better")))),
        Some((MessageKind::Edit, Some("better".to_owned())))
    );
    for machine in [Type::APP_STATE_SYNC_KEY_SHARE, Type::HISTORY_SYNC_NOTIFICATION, Type::EPHEMERAL_SETTING] {
        assert_eq!(kind(&protocol(machine, None)), None);
    }
    let key = wa::message::SenderKeyDistributionMessage::default();
    let only_a_key = wa::Message { sender_key_distribution_message: MessageField::some(key), ..Default::default() };
    assert_eq!(kind(&only_a_key), None);
}

#[test]
fn leaves_out_peer_traffic_and_status_posts() {
    let mut peer = info("15550000001@s.whatsapp.net", "15550000001@s.whatsapp.net");
    peer.category = MessageCategory::Peer;
    let status = info("status@broadcast", "15550000002@s.whatsapp.net");
    for info in [peer, status] {
        let at = addresses(&text("x"), &info, |_| None).unwrap();
        assert_eq!(incoming(&text("x"), &info, at, &own()), None);
    }
}

#[test]
fn a_linking_code_is_shown_in_two_groups() {
    for (given, shown) in [("ABCD1234", "ABCD-1234"), ("ABCD-1234", "ABCD-1234"), ("AB", "AB"), ("", "")] {
        assert_eq!(pair_code(given), shown);
    }
}
