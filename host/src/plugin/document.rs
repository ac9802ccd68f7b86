//! A message in the words of the contract.

use crate::model::{EventId, Incoming, Labels, MessageKind, SessionId};
use crate::plugin::api::v1::types::{
    Content, Direction, MediaContent, Message, OtherContent, Pair, ReactionContent, TextContent,
};

/// A message that reached the account.
pub(super) fn incoming(event: &EventId, session: &SessionId, message: &Incoming, labels: &Labels) -> Message {
    Message {
        id: message.id.as_str().to_owned(),
        event_id: event.as_str().to_owned(),
        direction: Direction::Incoming,
        ..document(session, message, labels)
    }
}

/// A message that is to be sent: it has neither id nor event yet.
pub(super) fn outgoing(session: &SessionId, message: &Incoming, labels: &Labels) -> Message {
    document(session, message, labels)
}

fn document(session: &SessionId, message: &Incoming, labels: &Labels) -> Message {
    Message {
        id: String::new(),
        event_id: String::new(),
        session: session.as_str().to_owned(),
        chat: message.chat.jid().to_owned(),
        sender: message.sender.jid().to_owned(),
        sender_alt: message.sender_alt.as_ref().map(ToString::to_string),
        sender_name: message.push_name.clone(),
        direction: Direction::Outgoing,
        is_group: message.chat.is_group(),
        backfill: message.backfill,
        sent_at: u64::try_from(message.sent_at.0).unwrap_or_default(),
        content: content(message),
        labels: pairs(labels),
    }
}

/// Brings what a patch may have changed up to date.
pub(super) fn refresh(document: &mut Message, message: &Incoming, labels: &Labels) {
    message.chat.jid().clone_into(&mut document.chat);
    document.is_group = message.chat.is_group();
    document.content = content(message);
    document.labels = pairs(labels);
}

fn pairs(labels: &Labels) -> Vec<Pair> {
    labels.iter().map(|(name, value)| Pair { name: name.clone(), value: value.clone() }).collect()
}

fn content(message: &Incoming) -> Content {
    use MessageKind as Kind;
    let text = message.text.clone();
    let media = |kind: &str, caption| {
        Content::Media(MediaContent { kind: kind.to_owned(), mime: None, size: None, file_name: None, caption })
    };
    let other = |kind: &str, text| Content::Other(OtherContent { kind: kind.to_owned(), text });
    match message.kind {
        Kind::Text => Content::Text(TextContent { body: text.unwrap_or_default() }),
        Kind::Image => media("image", text),
        Kind::Video => media("video", text),
        Kind::Audio => media("audio", text),
        Kind::Document => media("document", text),
        Kind::Sticker => media("sticker", text),
        Kind::Reaction => Content::Reaction(ReactionContent { emoji: text.unwrap_or_default() }),
        Kind::Location => other("location", text),
        Kind::Contact => other("contact", text),
        Kind::Poll => other("poll", text),
        Kind::Edit => other("edit", text),
        Kind::Revoke => other("revoke", text),
        Kind::Other => other("other", text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Millis;

    fn message(kind: MessageKind, text: Option<&str>) -> Incoming {
        Incoming {
            id: "3EB0".to_owned().into(),
            kind,
            chat: "62813@g.us".parse().unwrap(),
            sender: "6281381393739".parse().unwrap(),
            sender_alt: Some("100@lid".parse().unwrap()),
            to: "6282260790996".parse().unwrap(),
            from_me: false,
            text: text.map(str::to_owned),
            push_name: Some("Budi".to_owned()),
            sent_at: Millis(1_643_723_400_000),
            backfill: true,
            chat_alt: None,
            target: None,
        }
    }

    #[test]
    fn says_what_the_gateway_knows() {
        let (event, session) = ("evt_1".parse().unwrap(), "ses_1".parse().unwrap());
        let labels = Labels::from([("a".to_owned(), "b".to_owned())]);
        let said = incoming(&event, &session, &message(MessageKind::Text, Some("Hi")), &labels);
        assert_eq!((said.id.as_str(), said.event_id.as_str(), said.session.as_str()), ("3EB0", "evt_1", "ses_1"));
        assert_eq!((said.chat.as_str(), said.is_group, said.backfill), ("62813@g.us", true, true));
        assert_eq!(said.sender_alt.as_deref(), Some("100@lid"));
        assert_eq!((said.sent_at, said.labels.len()), (1_643_723_400_000, 1));
        assert!(matches!(said.content, Content::Text(TextContent { body }) if body == "Hi"));
    }

    #[test]
    fn every_kind_has_its_case() {
        let case = |kind, text| content(&message(kind, text));
        assert!(matches!(case(MessageKind::Image, Some("c")), Content::Media(m) if m.caption.as_deref() == Some("c")));
        assert!(matches!(case(MessageKind::Reaction, None), Content::Reaction(r) if r.emoji.is_empty()));
        assert!(matches!(case(MessageKind::Poll, Some("q")), Content::Other(o) if o.kind == "poll"));
    }

    #[test]
    fn a_message_to_be_sent_has_no_id_yet() {
        let said = outgoing(&"ses_1".parse().unwrap(), &message(MessageKind::Text, Some("Hi")), &Labels::new());
        assert!(said.id.is_empty() && said.event_id.is_empty() && said.direction == Direction::Outgoing);
    }
}
