//! What became of a message: its state, and the events that say so, in one transaction.
//!
//! Receipts come more than once and from many devices. Only what moves the state forward is an event, so that each state of
//! a message is told once.
//!
//! Invariant: a message is told as sent before it is told as delivered, whatever of WhatsApp's words is lost.

use serde::{Deserialize, Serialize};
use sqlx::FromRow;

use super::{ADVANCE, Sends, number, numbered};
use crate::model::{
    Ack, Chat, Event, Happening, Incoming, MessageId, MessageKind, MessageState, Millis, Outgoing, Person, Phone,
    Scope, SessionId,
};
use crate::store::StoreError;
use crate::store::column::{parsed, text};
use crate::store::events::record::{self, New};
use crate::store::pool::{Tx, on};
use crate::store::sql::statements;

statements! {
    /// A message that has not come so far, and the account that sent it.
    BEHIND = "SELECT m.chat, m.state, m.content, s.phone, s.lid FROM sends m JOIN sessions s ON s.id = m.session_id
        WHERE s.owner BETWEEN $1 AND $2 AND m.session_id = $3 AND m.message = $4 AND m.state < $5";
}

/// News of messages that were sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// How far they have come.
    pub to: MessageState,
    /// WhatsApp's code, when it refused.
    pub code: Option<u16>,
    /// The person they went to, by every address that is known.
    pub recipient: Option<Person>,
    /// Who received or read them.
    pub by: Option<Person>,
    /// When, by WhatsApp's clock; `None` for now.
    pub at: Option<Millis>,
}

impl Progress {
    /// They have come so far; nothing more is known.
    pub fn to(state: MessageState) -> Self {
        Self { to: state, code: None, recipient: None, by: None, at: None }
    }
}

impl Sends<'_> {
    /// Moves messages on; never backwards. `code` is WhatsApp's refusal code. Unknown messages are ignored. Answers the
    /// events that say so, stored and to be routed.
    pub async fn advance(
        &self,
        session: &SessionId,
        messages: &[MessageId],
        to: MessageState,
        code: Option<u16>,
    ) -> Result<Vec<Event>, StoreError> {
        self.confirm(session, messages, Progress { code, ..Progress::to(to) }).await
    }

    /// The same with all that is known of it.
    pub async fn confirm(
        &self,
        session: &SessionId,
        messages: &[MessageId],
        progress: Progress,
    ) -> Result<Vec<Event>, StoreError> {
        let (scope, now) = (self.1, self.0.clock().now());
        let (session, messages) = (session.clone(), messages.to_vec());
        let work = self.0.write(move |tx| {
            Box::pin(async move {
                let mut told = Vec::new();
                for message in &messages {
                    let Some(behind) = behind(tx, scope, &session, message, progress.to).await? else { continue };
                    if !advance(tx, scope, &session, message, &progress, now).await? {
                        continue;
                    }
                    for what in progress.news(message, behind, now)? {
                        let new = New::of(&session, what)?;
                        told.extend(record::add(tx, scope, &session, new, now).await?);
                    }
                }
                Ok(told)
            })
        });
        work.await
    }
}

/// What a message says, kept until it is an event.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Content {
    kind: MessageKind,
    text: Option<String>,
}

impl Content {
    pub(super) fn of(what: &Outgoing) -> Self {
        Self { kind: what.kind(), text: what.text().map(str::to_owned) }
    }
}

/// A message as it stood.
#[derive(FromRow)]
struct Behind {
    chat: Chat,
    state: i64,
    content: Option<String>,
    /// The account's.
    phone: Option<Phone>,
    lid: Option<Chat>,
}

impl Progress {
    /// What is told of a message that stood like this.
    fn news(&self, id: &MessageId, stood: Behind, now: Millis) -> Result<Vec<Happening>, StoreError> {
        let people = || [self.recipient.as_ref(), self.by.as_ref()].into_iter().flatten();
        let other = people().find_map(|person| person.beside(&stood.chat).cloned());
        let recipient = Person::of(stood.chat.clone(), other);
        let mut news = Vec::new();
        if numbered(stood.state) < MessageState::Sent && self.to >= MessageState::Sent {
            news.extend(stood.sent(id, &recipient, now)?.map(Happening::Message));
        }
        if !matches!(self.to, MessageState::Pending | MessageState::Sent) {
            let (from, at) = (self.by.clone(), self.at.unwrap_or(now));
            news.push(Happening::Ack(Ack { id: id.clone(), to: recipient, state: self.to, code: self.code, from, at }));
        }
        Ok(news)
    }
}

impl Behind {
    /// The message as one of the account's own; `None` when the account is linked no more.
    fn sent(self, id: &MessageId, recipient: &Person, now: Millis) -> Result<Option<Incoming>, StoreError> {
        let Some(phone) = self.phone else { return Ok(None) };
        let unknown = Content { kind: MessageKind::Other, text: None };
        let Content { kind, text } = self.content.as_deref().map(parsed).transpose()?.unwrap_or(unknown);
        let own = Chat::person(&phone);
        Ok(Some(Incoming {
            id: id.clone(),
            kind,
            chat: recipient.chat.clone(),
            sender: own.clone(),
            sender_alt: self.lid,
            to: own,
            from_me: true,
            text,
            push_name: None,
            sent_at: now,
            backfill: false,
            chat_alt: recipient.alt.clone(),
            target: None,
        }))
    }
}

async fn behind(
    tx: &mut Tx,
    scope: Scope,
    session: &SessionId,
    message: &MessageId,
    to: MessageState,
) -> Result<Option<Behind>, StoreError> {
    let (low, high) = scope.owners();
    let found: Option<Behind> = on!(tx, |db, q| {
        let behind = sqlx::query_as(q(BEHIND)).bind(low).bind(high).bind(session).bind(text(message.as_str()));
        behind.bind(number(to)).fetch_optional(db).await?
    });
    Ok(found)
}

/// Moves the message on; whether it still stood behind.
async fn advance(
    tx: &mut Tx,
    scope: Scope,
    session: &SessionId,
    message: &MessageId,
    progress: &Progress,
    now: Millis,
) -> Result<bool, StoreError> {
    let ((low, high), to) = (scope.owners(), number(progress.to));
    let accepted_at = (progress.to >= MessageState::Sent).then_some(now);
    let advanced = on!(tx, |db, q| {
        let step = sqlx::query(q(ADVANCE)).bind(to).bind(progress.code.map(i64::from)).bind(accepted_at);
        let step = step.bind(session).bind(text(message.as_str())).bind(to).bind(low).bind(high);
        step.execute(db).await?.rows_affected()
    });
    Ok(advanced == 1)
}

#[cfg(test)]
mod tests;
