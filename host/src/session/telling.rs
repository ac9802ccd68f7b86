//! What happens on a session besides received messages, told: stored as an event, then handed on to be routed.
//!
//! Invariant: what is handed on is stored. What cannot be stored is not told, and the log says so; a session goes on
//! living without its database.

use std::sync::Arc;

use tokio::sync::watch;

use crate::model::{
    Chat, Event, Happening, Link, MessageId, MessageState, Person, Receipt, ReceiptKind, Scope, SessionId,
    SessionState, Status, StatusChange,
};
use crate::store::sends::Progress;
use crate::store::{Store, StoreError};

/// Has stored events routed. Given by whoever builds the gateway.
pub(super) type HandOn = Arc<dyn Fn(Vec<Event>) + Send + Sync>;

/// Tells what happens on one session. Cheap to clone.
#[derive(Clone)]
pub(super) struct Teller {
    pub(super) id: SessionId,
    pub(super) store: Store,
    pub(super) hand_on: HandOn,
}

impl Teller {
    /// Stores what happened and hands it on.
    pub(super) async fn tell(&self, what: Happening) -> Result<(), StoreError> {
        let events = self.store.events(Scope::gateway()).record(&[(self.id.clone(), what)]).await?;
        self.hand_on(events);
        Ok(())
    }

    /// Stores what the server made of a sent message.
    pub(super) async fn advance(
        &self,
        message: MessageId,
        to: MessageState,
        code: Option<u16>,
    ) -> Result<(), StoreError> {
        let sends = self.store.sends(Scope::gateway());
        self.hand_on(sends.advance(&self.id, &[message], to, code).await?);
        Ok(())
    }

    /// Stores how far sent messages have come.
    pub(super) async fn confirm(&self, receipt: Receipt) -> Result<(), StoreError> {
        let Receipt { ids, from, kind, at, .. } = receipt;
        let to = match kind {
            ReceiptKind::Delivered => MessageState::Delivered,
            ReceiptKind::Read => MessageState::Read,
            ReceiptKind::Played => MessageState::Played,
        };
        let progress = Progress { by: Some(from), at: Some(at), ..Progress::to(to) };
        let sends = self.store.sends(Scope::gateway());
        self.hand_on(sends.confirm(&self.id, &ids, progress).await?);
        Ok(())
    }

    /// Changes the status, and tells when it is another than before, particulars aside. `account` is the one linked, as
    /// far as the caller knows.
    pub(super) async fn turn(&self, status: &watch::Sender<Status>, next: Status, account: Option<Person>) {
        let before = status.send_replace(next.clone()).state();
        self.came_to(before, &next, account).await;
    }

    /// Tells that the session came from one state to another, if it did.
    pub(super) async fn came_to(&self, before: SessionState, next: &Status, account: Option<Person>) {
        if next.state() == before {
            return;
        }
        let account = match account {
            Some(account) => Some(account),
            None => self.account().await,
        };
        let (state, reason) = (next.state(), next.reason().map(str::to_owned));
        if let Err(error) = self.tell(Happening::Status(StatusChange { state, reason, account })).await {
            tracing::warn!(session = %self.id, %error, "a change of the session could not be told");
        }
    }

    /// The account the session is linked to.
    pub(super) async fn account(&self) -> Option<Person> {
        let session = self.store.sessions(Scope::gateway()).get(&self.id).await.ok().flatten()?;
        session.link.map(|Link { phone, lid, .. }| Person::of(Chat::person(&phone), lid))
    }

    fn hand_on(&self, events: Vec<Event>) {
        if !events.is_empty() {
            (self.hand_on)(events);
        }
    }
}
