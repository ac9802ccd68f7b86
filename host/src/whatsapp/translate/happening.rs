//! What the library tells besides messages, in our words: receipts, presence, typing, changes of groups, calls. Pure.
//!
//! People are named by the addresses the stanza tells; whoever asks the library's memory adds the rest (`people.rs`).
//!
//! Invariant: what WhatsApp tells about machines is answered with `None`.

use whatsapp_rust::Jid;
use whatsapp_rust::wacore::stanza::groups::{GroupNotificationAction as Action, GroupParticipantInfo};
use whatsapp_rust::wacore::types::call::{CallAction, IncomingCall, MissedCall};
use whatsapp_rust::wacore::types::events::{
    ChatPresenceUpdate, Event, GroupUpdate as RawUpdate, PresenceUpdate, Receipt as RawReceipt,
};
use whatsapp_rust::wacore::types::presence::{ChatPresence, ChatPresenceMedia, ReceiptType};
use whatsapp_rust::wacore_binary::Node;

use super::chat;
use crate::model::{
    Availability, Call, Chat, GroupChange, GroupSetting, GroupUpdate, Happening, MessageId, Millis, Person, Presence,
    Receipt, ReceiptKind, Typing, TypingState,
};

/// News about messages we sent; `None` for what devices tell each other.
pub(in crate::whatsapp) fn receipt(receipt: &RawReceipt) -> Option<Receipt> {
    let kind = match receipt.r#type {
        ReceiptType::Delivered => ReceiptKind::Delivered,
        ReceiptType::Read => ReceiptKind::Read,
        ReceiptType::Played => ReceiptKind::Played,
        _ => return None,
    };
    Some(Receipt {
        ids: receipt.message_ids.iter().map(|id| MessageId::from(id.clone())).collect(),
        chat: chat(&receipt.source.chat)?,
        from: person(&receipt.source.sender, receipt.source.sender_alt.as_ref())?,
        kind,
        at: Millis(receipt.timestamp.timestamp_millis()),
    })
}

/// What happened; `None` for what nobody outside needs to know.
pub(in crate::whatsapp) fn happening(event: &Event) -> Option<Happening> {
    Some(match event {
        Event::Presence(update) => Happening::Presence(presence(update)?),
        Event::ChatPresence(update) => Happening::Typing(typing(update)?),
        Event::GroupUpdate(update) => Happening::Group(group(update)?),
        Event::IncomingCall(incoming) => Happening::Call(call(incoming)?),
        Event::MissedCall(call) => Happening::Call(missed(call)?),
        _ => return None,
    })
}

fn person(jid: &Jid, other: Option<&Jid>) -> Option<Person> {
    chat(jid).map(|address| Person::of(address, other.and_then(chat)))
}

fn presence(update: &PresenceUpdate) -> Option<Presence> {
    let state = if update.unavailable { Availability::Unavailable } else { Availability::Available };
    let last_seen = update.last_seen.map(|at| Millis(at.timestamp_millis()));
    Some(Presence { from: person(&update.from, None)?, state, last_seen })
}

fn typing(update: &ChatPresenceUpdate) -> Option<Typing> {
    let state = match (update.state, update.media) {
        (ChatPresence::Composing, ChatPresenceMedia::Text) => TypingState::Typing,
        (ChatPresence::Composing, ChatPresenceMedia::Audio) => TypingState::Recording,
        (ChatPresence::Paused, _) => TypingState::Paused,
    };
    let source = &update.source;
    let from = person(&source.sender, source.sender_alt.as_ref())?;
    Some(Typing { chat: chat(&source.chat)?, from, is_group: source.is_group, state })
}

fn call(call: &IncomingCall) -> Option<Call> {
    let (id, from, video, group, is_group) = match &call.action {
        CallAction::Offer { call_id, call_creator, caller_pn, is_video, group_jid, .. } => {
            let from = person(call_creator, caller_pn.as_ref())?;
            (call_id, from, *is_video, group_jid.as_ref(), group_jid.is_some() || call.group.is_some())
        }
        CallAction::OfferNotice { call_id, call_creator, is_video, is_group } => {
            (call_id, person(call_creator, None)?, *is_video, None, *is_group)
        }
        _ => return None,
    };
    let place = group.or(Some(&call.from)).and_then(chat).filter(Chat::is_group);
    let (is_group, at) = (is_group || place.is_some(), Millis(call.timestamp.timestamp_millis()));
    let chat = place.unwrap_or_else(|| from.chat.clone());
    Some(Call { id: id.clone(), from, chat, is_group, video: Some(video), missed: call.offline, at })
}

fn missed(call: &MissedCall) -> Option<Call> {
    let (from, at) = (person(&call.from, None)?, Millis(call.timestamp.timestamp_millis()));
    let (chat, is_group) = (from.chat.clone(), from.chat.is_group());
    Some(Call { id: call.call_id.clone(), from, chat, is_group, video: None, missed: true, at })
}

fn group(update: &RawUpdate) -> Option<GroupUpdate> {
    let from = update.participant.as_ref().and_then(|jid| person(jid, update.participant_pn.as_ref()));
    Some(GroupUpdate {
        id: update.notification_id.clone(),
        place: update.action_index,
        chat: chat(&update.group_jid)?,
        change: change(&update.action, from.as_ref()),
        from,
        at: Millis(update.timestamp.timestamp_millis()),
    })
}

/// `author` asks to join where the library names nobody.
fn change(action: &Action, author: Option<&Person>) -> GroupChange {
    match action {
        Action::Create { raw } => GroupChange::Created { subject: subject(raw) },
        Action::Delete { .. } => GroupChange::Deleted,
        Action::Subject { subject, .. } => GroupChange::Subject { subject: subject.clone() },
        Action::Description { description, .. } => GroupChange::Description { description: description.clone() },
        Action::Add { participants, .. } => GroupChange::Added { participants: people(participants) },
        Action::Remove { participants, .. } => GroupChange::Removed { participants: people(participants) },
        Action::Promote { participants } => GroupChange::Promoted { participants: people(participants) },
        Action::Demote { participants } => GroupChange::Demoted { participants: people(participants) },
        Action::Modify { participants } => GroupChange::Renumbered { participants: people(participants) },
        Action::CreatedMembershipRequests { requests, .. } => GroupChange::Requested { participants: people(requests) },
        Action::MembershipApprovalRequest { .. } => {
            GroupChange::Requested { participants: author.cloned().into_iter().collect() }
        }
        Action::RevokedMembershipRequests { participants } => {
            let participants = participants.iter().filter_map(|jid| person(jid, None)).collect();
            GroupChange::Unrequested { participants }
        }
        Action::Ephemeral { expiration, .. } => GroupChange::Disappearing { seconds: *expiration },
        Action::RevokeInvite => GroupChange::InviteRevoked,
        other => switched(other).unwrap_or_else(|| GroupChange::Other { name: other.wire_tag().to_owned() }),
    }
}

fn switched(action: &Action) -> Option<GroupChange> {
    let (setting, on) = match action {
        Action::Locked { .. } => (GroupSetting::Locked, true),
        Action::Unlocked => (GroupSetting::Locked, false),
        Action::Announce => (GroupSetting::Announcement, true),
        Action::NotAnnounce => (GroupSetting::Announcement, false),
        Action::MembershipApprovalMode { enabled } => (GroupSetting::JoinApproval, *enabled),
        Action::MemberAddMode { mode } => (GroupSetting::AdminsAdd, mode == "admin_add"),
        Action::NoFrequentlyForwarded => (GroupSetting::NoFrequentlyForwarded, true),
        Action::FrequentlyForwardedOk => (GroupSetting::NoFrequentlyForwarded, false),
        _ => return None,
    };
    Some(GroupChange::Setting { setting, on })
}

fn people(participants: &[GroupParticipantInfo]) -> Vec<Person> {
    let of = |info: &GroupParticipantInfo| {
        let other = if info.jid.is_lid() { info.phone_number.as_ref() } else { info.lid.as_ref() };
        person(&info.jid, other)
    };
    participants.iter().filter_map(of).collect()
}

/// A new group's name, which stands on the element or on the group in it.
fn subject(created: &Node) -> Option<String> {
    let group = created.get_optional_child("group").unwrap_or(created);
    group.attrs.get("subject").map(|subject| subject.as_str().into_owned())
}

#[cfg(test)]
mod tests;
