//! The durability hook: WhatsApp is acknowledged only after our commit.
//!
//! Invariant: a batch is answered `Ok` only when every message of it is durable or is no message to a person.
//! The library calls this while it holds the sender's Signal lock, so nothing here may send.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use futures_util::future::BoxFuture;
use whatsapp_rust::wacore::types::events::{Event, EventHandler, EventInterest, EventKind, InboundMessage};
use whatsapp_rust::{Client, InboundDurabilityHook};

use super::{people, translate};
use crate::app::tasks::Tasks;
use crate::model::{Incoming, Person, SessionId};
use crate::store::StoreError;

/// Pauses between two tries at storing what was received: the first, doubled each time, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Makes a batch of a session's messages durable. Given by whoever builds the gateway; `Ok` is the acknowledgement.
pub type Receive = Arc<dyn Fn(SessionId, Vec<Incoming>) -> BoxFuture<'static, Result<(), anyhow::Error>> + Send + Sync>;

/// The hook of one session.
#[derive(Clone)]
pub(super) struct Hook {
    pub(super) session: SessionId,
    pub(super) receive: Receive,
    pub(super) redelivery: Redelivery,
}

#[async_trait]
impl InboundDurabilityHook for Hook {
    async fn on_messages(&self, client: Arc<Client>, batch: &[InboundMessage]) -> anyhow::Result<()> {
        let own = people::own(&client).context("the account has no number yet")?;
        let mut messages = Vec::with_capacity(batch.len());
        for inbound in batch {
            messages.extend(translated(&client, inbound, &own).await);
        }
        if messages.is_empty() {
            return Ok(());
        }
        let outcome = self.store(&messages).await;
        match &outcome {
            Ok(()) => self.redelivery.over(),
            Err(error) => {
                tracing::error!(session = %self.session, %error, "messages could not be stored; WhatsApp keeps them");
                self.redelivery.ask(&client);
            }
        }
        outcome
    }
}

impl Hook {
    /// Stores messages, however long the database is away. An error here has the connection opened anew, and what is on
    /// its way then meets itself when it comes again; so what passes by itself is waited for instead, and the sender's
    /// later messages with it. A failed commit may have reached the disk: messages are known when they come twice.
    async fn store(&self, messages: &[Incoming]) -> anyhow::Result<()> {
        let mut pause = FIRST_PAUSE;
        loop {
            let error = match (self.receive)(self.session.clone(), messages.to_vec()).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            let passing = error.downcast_ref::<StoreError>().is_some_and(StoreError::is_passing);
            if !passing || self.redelivery.tasks.is_stopping() {
                return Err(error);
            }
            tracing::warn!(session = %self.session, %error, "messages wait for the database, unacknowledged");
            tokio::select! {
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
                () = self.redelivery.tasks.stopping() => {}
            }
        }
    }
}

/// Asks WhatsApp for what could not be stored. It delivers again only on a new connection, so the connection is
/// opened anew after a pause that doubles from one failure to the next.
#[derive(Clone)]
pub(super) struct Redelivery {
    tasks: Tasks,
    asked: Arc<AtomicBool>,
    failures: Arc<AtomicU32>,
}

impl Redelivery {
    const FIRST_PAUSE: Duration = Duration::from_secs(1);
    /// The longest pause is the first one doubled this often: about a minute.
    const DOUBLINGS: u32 = 6;

    pub(super) fn new(tasks: Tasks) -> Self {
        Self { tasks, asked: Arc::default(), failures: Arc::default() }
    }

    fn ask(&self, client: &Arc<Client>) {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed);
        if self.asked.swap(true, Ordering::Relaxed) {
            return;
        }
        let pause = Self::FIRST_PAUSE * (1 << failures.min(Self::DOUBLINGS));
        let (asked, client, stopping) = (Arc::clone(&self.asked), Arc::downgrade(client), self.tasks.stopping());
        self.tasks.spawn("redelivery", async move {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stopping => return,
            }
            asked.store(false, Ordering::Relaxed);
            if let Some(client) = client.upgrade() {
                client.reconnect_immediately().await;
            }
        });
    }

    fn over(&self) {
        self.failures.store(0, Ordering::Relaxed);
    }
}

async fn translated(client: &Client, inbound: &InboundMessage, own: &Person) -> Option<Incoming> {
    let source = &inbound.info.source;
    let chat = source.is_from_me.then_some((&source.chat, source.recipient_alt.as_ref()));
    let author = translate::target_author(&inbound.message);
    let named = [(&source.sender, source.sender_alt.as_ref())].into_iter().chain(chat);
    let mut known = HashMap::new();
    for (jid, told) in named.chain(author.as_ref().map(|jid| (jid, None))) {
        if !told.is_some_and(|told| translate::is_other(jid, told)) {
            known.extend(people::other(client, jid).await.map(|other| (jid.clone(), other)));
        }
    }
    let at = translate::addresses(&inbound.message, &inbound.info, |jid| known.get(jid).cloned());
    let Some(at) = at else {
        tracing::warn!(kind = ?source.chat.server, "a message from an unknown kind of address was left out");
        return None;
    };
    translate::incoming(&inbound.message, &inbound.info, at, own)
}

/// Takes the messages that never pass the hook: channel posts, and messages recovered from the phone.
/// They are not redelivered, so they are stored as soon as they are seen.
pub(super) struct Unhooked {
    pub(super) hook: Hook,
    pub(super) tasks: Tasks,
    pub(super) client: Arc<OnceLock<Weak<Client>>>,
}

impl EventHandler for Unhooked {
    fn handle_event(&self, event: Arc<Event>) {
        let Event::Messages(batch) = &*event else { return };
        let Some(client) = self.client.get().and_then(Weak::upgrade).filter(|_| !batch.hook_committed) else { return };
        let (hook, messages) = (self.hook.clone(), Arc::clone(&batch.messages));
        self.tasks.spawn("unhooked messages", async move {
            // The hook has said in the log what went wrong; nobody would redeliver.
            let _ = hook.on_messages(client, &messages).await;
        });
    }

    fn interest(&self) -> EventInterest {
        EventInterest::of(&[EventKind::Messages])
    }
}
