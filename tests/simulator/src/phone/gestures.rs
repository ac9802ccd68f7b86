//! What a phone's owner does besides writing and reading: listens, records, reacts, edits, takes back, calls.
//!
//! Invariant: a message is named as its owner sees it, `from_me` when this phone wrote it, as on WhatsApp.

use whatsapp_rust::waproto::whatsapp::message::protocol_message::Type;

use super::{Phone, PhoneError};
use crate::account::Family;
use crate::directory::Chat;
use crate::presence;
use crate::wire::{MessageField, NodeBuilder, random_hex, unix_seconds, wa};

impl Phone {
    /// Listens to a received voice note, or watches a received video.
    pub async fn play(&self, chat: &str, id: &str) -> Result<(), PhoneError> {
        self.notice(chat, id, "played").await
    }

    /// Shows "recording…" to the others in a chat.
    pub async fn record(&self, chat: &str) -> Result<(), PhoneError> {
        let place = self.place(chat)?;
        let state = NodeBuilder::new("composing").attr("media", "audio").build();
        presence::show_typing(&self.account, 0, &place, self.family(), &state);
        tokio::task::yield_now().await;
        Ok(())
    }

    /// Reacts to a message in a chat; with no emoji it takes the reaction back. Answers the reaction's id.
    pub async fn react(&self, chat: &str, id: &str, emoji: &str) -> Result<String, PhoneError> {
        let key = MessageField::some(self.key(chat, id)?);
        let reaction = wa::message::ReactionMessage { key, text: Some(emoji.to_owned()), ..Default::default() };
        self.send(chat, wa::Message { reaction_message: MessageField::some(reaction), ..Default::default() }).await
    }

    /// Changes a text of this phone's own. Answers the change's id.
    pub async fn edit(&self, chat: &str, id: &str, text: &str) -> Result<String, PhoneError> {
        let edited = wa::Message { conversation: Some(text.to_owned()), ..Default::default() };
        self.send(chat, self.change(chat, id, Type::MESSAGE_EDIT, MessageField::some(edited))?).await
    }

    /// Takes a message back for everybody. Answers the revocation's id.
    pub async fn revoke(&self, chat: &str, id: &str) -> Result<String, PhoneError> {
        self.send(chat, self.change(chat, id, Type::REVOKE, MessageField::none())?).await
    }

    /// Calls somebody: their devices ring. Nobody answers. Answers the call's id.
    pub async fn call(&self, to: &str, video: bool) -> Result<String, PhoneError> {
        let Chat::Person(person) = self.place(to)? else { return Err(PhoneError::UnknownChat(to.to_owned())) };
        let (id, family) = (random_hex(16), self.family());
        let mut media = vec![NodeBuilder::new("audio").attr("enc", "opus").attr("rate", "16000").build()];
        if video {
            media.push(NodeBuilder::new("video").build());
        }
        let offer = NodeBuilder::new("offer")
            .attr("call-id", id.as_str())
            .attr("call-creator", self.account.device_jid(family, 0))
            .children(media);
        let offer = match family {
            Family::Lid => offer.attr("caller_pn", self.account.jid(Family::Number)),
            Family::Number => offer,
        };
        let call = NodeBuilder::new("call")
            .attr("from", self.account.jid(family))
            .attr("id", random_hex(8))
            .attr("t", unix_seconds())
            .attr("notify", self.account.name.as_str())
            .children([offer.build()])
            .build();
        for companion in person.companions() {
            companion.mailbox.deliver(call.clone());
        }
        tokio::task::yield_now().await;
        Ok(id)
    }

    fn change(
        &self,
        chat: &str,
        id: &str,
        kind: Type,
        edited_message: MessageField<wa::Message>,
    ) -> Result<wa::Message, PhoneError> {
        let key = MessageField::some(self.key(chat, id)?);
        let change = wa::message::ProtocolMessage { key, r#type: Some(kind), edited_message, ..Default::default() };
        Ok(wa::Message { protocol_message: MessageField::some(change), ..Default::default() })
    }

    /// The name of a message that this phone wrote or received.
    fn key(&self, chat: &str, id: &str) -> Result<wa::MessageKey, PhoneError> {
        let place = self.place(chat)?;
        let handset = &self.account.handset;
        let own = handset.outgoing(id).is_some_and(|sent| sent.chat == place.jid());
        let received = handset.find(&place.jid(), id);
        if !own && received.is_none() {
            return Err(PhoneError::UnknownMessage(id.to_owned()));
        }
        let in_group = matches!(place, Chat::Group(_));
        Ok(wa::MessageKey {
            remote_jid: Some(place.jid()),
            from_me: Some(own),
            id: Some(id.to_owned()),
            participant: received.filter(|_| in_group && !own).map(|message| message.from),
        })
    }
}
