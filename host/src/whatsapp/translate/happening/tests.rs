//! What the library tells, and what becomes of it.

use whatsapp_rust::NodeBuilder;
use whatsapp_rust::chrono::DateTime;
use whatsapp_rust::wacore::stanza::groups::MembershipRequestMethod;
use whatsapp_rust::wacore::types::call::MissedReason;
use whatsapp_rust::wacore::types::message::MessageSource;

use super::*;
use crate::model::Chat;

const NUMBER: &str = "15550000002@s.whatsapp.net";
const LID: &str = "100000000000002@lid";
const GROUP: &str = "120363000000000001@g.us";

fn jid(text: &str) -> Jid {
    text.parse().unwrap()
}

fn friend() -> Person {
    Person::of(NUMBER.parse().unwrap(), Some(LID.parse().unwrap()))
}

fn source(chat: &str) -> MessageSource {
    let (sender, sender_alt) = (jid("15550000002:4@s.whatsapp.net"), Some(jid(LID)));
    MessageSource { chat: jid(chat), sender, sender_alt, is_group: chat == GROUP, ..Default::default() }
}

fn member() -> GroupParticipantInfo {
    GroupParticipantInfo {
        jid: jid(LID),
        phone_number: Some(jid(NUMBER)),
        display_name: None,
        r#type: None,
        lid: None,
        username: None,
        join_time: None,
        group_history_sent_state: None,
    }
}

fn changed(action: Action) -> GroupChange {
    let update = RawUpdate::builder()
        .group_jid(jid(GROUP))
        .notification_id("N1".to_owned())
        .action_index(1)
        .participant(jid(LID))
        .participant_pn(jid(NUMBER))
        .timestamp(DateTime::UNIX_EPOCH)
        .is_lid_addressing_mode(true)
        .action(action)
        .build();
    let Some(Happening::Group(update)) = happening(&Event::GroupUpdate(update)) else { panic!("no update") };
    assert_eq!((update.id.as_deref(), update.place, update.chat.jid()), (Some("N1"), 1, GROUP));
    assert_eq!(update.from, Some(friend()));
    update.change
}

#[test]
fn receipts_name_the_reader_by_both_addresses() {
    let told = |kind| {
        let raw = RawReceipt::builder()
            .source(source(GROUP))
            .message_ids(vec!["A".to_owned(), "B".to_owned()])
            .timestamp(DateTime::UNIX_EPOCH)
            .r#type(kind)
            .offline(false)
            .build();
        receipt(&raw)
    };
    let read = told(ReceiptType::Read).unwrap();
    assert_eq!((read.ids.len(), read.chat.jid(), read.kind), (2, GROUP, ReceiptKind::Read));
    assert_eq!(read.from, friend());
    for machine in [ReceiptType::Retry, ReceiptType::Sender, ReceiptType::ReadSelf, ReceiptType::PeerMsg] {
        assert_eq!(told(machine), None);
    }
}

#[test]
fn changes_of_groups_have_words() {
    let people = || vec![friend()];
    let group = NodeBuilder::new("group").attr("subject", "Team").build();
    let created = NodeBuilder::new("create").children([group]).build();
    let table = [
        (Action::Create { raw: created }, GroupChange::Created { subject: Some("Team".to_owned()) }),
        (Action::Add { participants: vec![member()], reason: None }, GroupChange::Added { participants: people() }),
        (Action::Promote { participants: vec![member()] }, GroupChange::Promoted { participants: people() }),
        (
            Action::MembershipApprovalRequest {
                request_method: MembershipRequestMethod::InviteLink,
                parent_group_jid: None,
            },
            GroupChange::Requested { participants: people() },
        ),
        (Action::NotAnnounce, GroupChange::Setting { setting: GroupSetting::Announcement, on: false }),
        (Action::Ephemeral { expiration: 60, trigger: None }, GroupChange::Disappearing { seconds: 60 }),
        (Action::Suspended, GroupChange::Other { name: "suspended".to_owned() }),
    ];
    for (action, change) in table {
        assert_eq!(changed(action), change);
    }
}

#[test]
fn a_call_rings_once_and_is_missed_when_it_is_over() {
    let offer = CallAction::Offer {
        call_id: "C1".to_owned(),
        call_creator: jid(LID),
        caller_pn: Some(jid(NUMBER)),
        caller_country_code: None,
        device_class: None,
        joinable: false,
        is_video: true,
        audio: Vec::new(),
        group_jid: None,
    };
    let ringing = IncomingCall::builder()
        .from(jid(LID))
        .stanza_id("S1".to_owned())
        .timestamp(DateTime::UNIX_EPOCH)
        .offline(false)
        .action(offer)
        .build();
    let Some(Happening::Call(call)) = happening(&Event::IncomingCall(ringing)) else { panic!("no call") };
    assert_eq!((call.id.as_str(), &call.from, call.chat.jid()), ("C1", &friend(), NUMBER));
    assert_eq!((call.video, call.is_group, call.missed), (Some(true), false, false));
    let missed = MissedCall::new(jid(LID), "C2".to_owned(), DateTime::UNIX_EPOCH, MissedReason::Offline);
    let Some(Happening::Call(call)) = happening(&Event::MissedCall(missed)) else { panic!("no call") };
    assert_eq!((call.id.as_str(), call.from.lid().map(Chat::jid), call.missed), ("C2", Some(LID), true));
}

#[test]
fn who_types_and_who_is_there() {
    let states = [
        (ChatPresence::Composing, ChatPresenceMedia::Text, TypingState::Typing),
        (ChatPresence::Composing, ChatPresenceMedia::Audio, TypingState::Recording),
        (ChatPresence::Paused, ChatPresenceMedia::Text, TypingState::Paused),
    ];
    for (state, media, expected) in states {
        let update = ChatPresenceUpdate::builder().source(source(GROUP)).state(state).media(media).build();
        let Some(Happening::Typing(typing)) = happening(&Event::ChatPresence(update)) else { panic!("nobody types") };
        let found = (typing.chat.jid(), typing.from, typing.is_group, typing.state);
        assert_eq!(found, (GROUP, friend(), true, expected));
    }
    let update = PresenceUpdate::builder().from(jid(NUMBER)).unavailable(true).last_seen(DateTime::UNIX_EPOCH).build();
    let Some(Happening::Presence(presence)) = happening(&Event::Presence(update)) else { panic!("nobody") };
    assert_eq!((presence.state, presence.last_seen), (Availability::Unavailable, Some(Millis(0))));
}
