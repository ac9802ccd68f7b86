//! The library's words and ours, both ways. Pure.
//!
//! Invariant: what is no message to a person (key shares, history notices, sender keys, status posts) is
//! answered with `None` and nowhere else; everything else becomes an [`Incoming`], known kind or not.

mod happening;

use whatsapp_rust::Jid;
use whatsapp_rust::buffa::MessageField;
use whatsapp_rust::wacore::proto_helpers::MessageExt as _;
use whatsapp_rust::wacore::types::message::{MessageCategory, MessageInfo};
use whatsapp_rust::wacore_binary::Server;
use whatsapp_rust::waproto::whatsapp as wa;

use crate::model::{Chat, Incoming, MessageId, MessageKind, Millis, Outgoing, Person, Target};

pub(super) use happening::{happening, receipt};

/// Where a received message stands and who is named in it, by both addresses where both are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Addresses {
    /// The chat; of a person, with their other address.
    pub(super) place: Person,
    pub(super) sender: Person,
    /// Who wrote the message that a reaction, an edit or a revocation is about, where it names them.
    pub(super) target: Option<Person>,
}

/// A library address as ours, device part dropped; `None` for the kinds no message comes from.
pub(super) fn chat(jid: &Jid) -> Option<Chat> {
    let jid = match jid.server {
        Server::Hosted => Jid::pn(jid.user.clone()),
        Server::HostedLid => Jid::lid(jid.user.clone()),
        _ => jid.to_non_ad(),
    };
    jid.to_string().parse().ok()
}

/// Our address as the library's.
pub(super) fn jid(chat: &Chat) -> Option<Jid> {
    chat.jid().parse().ok()
}

/// Where a message stands and who is named in it, by number wherever the number is known.
///
/// `known` answers somebody's other address (the number behind a LID, or the reverse) that the stanza itself did not tell.
pub(super) fn addresses(
    message: &wa::Message,
    info: &MessageInfo,
    known: impl Fn(&Jid) -> Option<Jid>,
) -> Option<Addresses> {
    let source = &info.source;
    let person = |jid: &Jid, told: Option<&Jid>| {
        let told = told.filter(|told| is_other(jid, told)).cloned();
        let other = told.or_else(|| known(jid)).as_ref().and_then(chat);
        chat(jid).map(|address| Person::of(address, other))
    };
    let sender = person(&source.sender, source.sender_alt.as_ref())?;
    let place = if source.is_group {
        Person::of(chat(&source.chat)?, None)
    } else if source.is_from_me {
        person(&source.chat, source.recipient_alt.as_ref())?
    } else if source.chat.is_lid() {
        sender.clone()
    } else {
        Person::of(chat(&source.chat)?, None)
    };
    let target = target_author(message).and_then(|author| person(&author, None));
    Some(Addresses { place, sender, target })
}

/// Whether these two can be the addresses of one person.
pub(super) fn is_other(jid: &Jid, told: &Jid) -> bool {
    if matches!(jid.server, Server::Lid | Server::HostedLid) { told.is_pn() } else { told.is_lid() }
}

/// Whom a reaction or a revocation in a group names as the writer of the message it is about.
pub(super) fn target_author(message: &wa::Message) -> Option<Jid> {
    let (key, _) = target_key(message)?;
    key.participant.as_deref().filter(|participant| !participant.is_empty())?.parse().ok()
}

/// A received message in our words; `None` when it is no message to a person. `own` is the account that received it.
pub(super) fn incoming(message: &wa::Message, info: &MessageInfo, at: Addresses, own: &Person) -> Option<Incoming> {
    if info.category == MessageCategory::Peer || info.source.chat.server == Server::Broadcast {
        return None;
    }
    let (kind, text) = content(message)?;
    let target = target(message, info, &at, own);
    let from_me = info.source.is_from_me;
    Some(Incoming {
        id: MessageId::from(info.id.clone()),
        kind,
        chat: at.place.chat,
        sender: at.sender.chat,
        sender_alt: at.sender.alt,
        to: own.chat.clone(),
        from_me,
        text,
        push_name: Some(info.push_name.clone()).filter(|name| !name.is_empty()),
        sent_at: Millis(info.timestamp.timestamp_millis()),
        backfill: info.is_offline,
        chat_alt: at.place.alt.filter(|_| from_me),
        target,
    })
}

/// The key of the message that this one is about, and whether only its own writer can say so.
fn target_key(message: &wa::Message) -> Option<(&wa::MessageKey, bool)> {
    let base = message.get_base_message();
    if let Some(protocol) = base.protocol_message.as_option() {
        let is_edit = protocol.r#type == Some(wa::message::protocol_message::Type::MESSAGE_EDIT);
        return protocol.key.as_option().map(|key| (key, is_edit));
    }
    base.reaction_message.as_option().and_then(|reaction| reaction.key.as_option()).map(|key| (key, false))
}

/// The message that this one is about. A key says whose it is as the writer of this one sees it.
fn target(message: &wa::Message, info: &MessageInfo, at: &Addresses, own: &Person) -> Option<Target> {
    let (key, by_writer) = target_key(message)?;
    let id = key.id.clone().filter(|id| !id.is_empty())?;
    let source = &info.source;
    let sender = if by_writer || key.from_me.unwrap_or(false) {
        Some(at.sender.clone())
    } else if at.target.is_some() {
        at.target.clone()
    } else if source.is_group {
        None
    } else if source.is_from_me {
        Some(at.place.clone())
    } else {
        Some(own.clone())
    };
    let from_me = match &sender {
        Some(sender) if *sender == at.sender => source.is_from_me,
        Some(sender) => own.has(&sender.chat) || sender.alt.as_ref().is_some_and(|alt| own.has(alt)),
        None => false,
    };
    Some(Target { id: MessageId::from(id), sender, from_me })
}

/// A linking code as WhatsApp shows it on the phone: two groups of four, `ABCD-1234`.
pub(super) fn pair_code(code: &str) -> String {
    let plain: String = code.chars().filter(|c| *c != '-').collect();
    match plain.split_at_checked(4) {
        Some((left, right)) if !right.is_empty() => format!("{left}-{right}"),
        _ => plain,
    }
}

/// A message to be sent, in the library's words.
pub(super) fn outgoing(what: &Outgoing) -> wa::Message {
    match what {
        Outgoing::Text(text) => wa::Message { conversation: Some(text.clone()), ..Default::default() },
    }
}

fn content(message: &wa::Message) -> Option<(MessageKind, Option<String>)> {
    let base = message.get_base_message();
    if let Some(protocol) = base.protocol_message.as_option() {
        return protocol_content(protocol);
    }
    if message.edited_message.is_set() {
        return Some((MessageKind::Edit, text_of(base)));
    }
    if let Some(text) = base.text_content() {
        return Some((MessageKind::Text, Some(text.to_owned())));
    }
    media(base).or_else(|| rest(base))
}

/// Of the protocol messages only edits and revocations are for people.
fn protocol_content(protocol: &wa::message::ProtocolMessage) -> Option<(MessageKind, Option<String>)> {
    use wa::message::protocol_message::Type;
    match protocol.r#type.unwrap_or(Type::REVOKE) {
        Type::REVOKE => Some((MessageKind::Revoke, None)),
        Type::MESSAGE_EDIT => Some((MessageKind::Edit, protocol.edited_message.as_option().and_then(text_of))),
        _ => None,
    }
}

fn media(base: &wa::Message) -> Option<(MessageKind, Option<String>)> {
    let caption = || base.get_caption().map(str::to_owned);
    let kinds = [
        (base.image_message.is_set(), MessageKind::Image),
        (base.video_message.is_set() || base.ptv_message.is_set(), MessageKind::Video),
        (base.audio_message.is_set(), MessageKind::Audio),
        (base.document_message.is_set(), MessageKind::Document),
        (base.sticker_message.is_set() || base.lottie_sticker_message.is_set(), MessageKind::Sticker),
        (base.location_message.is_set() || base.live_location_message.is_set(), MessageKind::Location),
        (base.contact_message.is_set() || base.contacts_array_message.is_set(), MessageKind::Contact),
    ];
    kinds.into_iter().find(|(set, _)| *set).map(|(_, kind)| (kind, caption()))
}

fn rest(base: &wa::Message) -> Option<(MessageKind, Option<String>)> {
    if let Some(reaction) = base.reaction_message.as_option() {
        return Some((MessageKind::Reaction, reaction.text.clone()));
    }
    if let Some(poll) = poll(base) {
        return Some((MessageKind::Poll, poll.name.clone()));
    }
    // A stanza that only hands over a sender key or context is no message.
    let mut bare = base.clone();
    bare.sender_key_distribution_message = MessageField::none();
    bare.fast_ratchet_key_sender_key_distribution_message = MessageField::none();
    bare.message_context_info = MessageField::none();
    if bare == wa::Message::default() { None } else { Some((MessageKind::Other, None)) }
}

fn poll(base: &wa::Message) -> Option<&wa::message::PollCreationMessage> {
    base.poll_creation_message
        .as_option()
        .or_else(|| base.poll_creation_message_v2.as_option())
        .or_else(|| base.poll_creation_message_v3.as_option())
        .or_else(|| base.poll_creation_message_v5.as_option())
}

fn text_of(message: &wa::Message) -> Option<String> {
    message.text_content().or_else(|| message.get_caption()).map(str::to_owned)
}

#[cfg(test)]
mod tests;
