//! Who is online, who types: told to those who watch, at once or never.
//!
//! An account is online while its phone shows so or one of its devices said `available`. Invariant: nothing here is
//! queued; a client that is away misses it, as on WhatsApp.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::account::{Account, Family, lock};
use crate::directory::Chat;
use crate::network::Core;
use crate::server::socket::Session;
use crate::wire::{Node, NodeBuilder, Stanza as _, unix_seconds};

/// Takes in a `<presence>` of a linked device.
pub(crate) fn take(core: &Core, session: &Session, presence: &Node) {
    let to = presence.jid("to").and_then(|to| Some((Family::of(&to), core.directory.resolve(&to)?.account)));
    match presence.text("type").as_deref() {
        None | Some("available") => set_available(core, session, true),
        Some("unavailable") => set_available(core, session, false),
        Some("subscribe") => {
            if let Some((family, other)) = to {
                lock(&session.companion.presence).subscriptions.insert(other.number.clone());
                lock(&other.watching).insert((session.account.number.clone(), session.companion.id, family));
                session.reply(state(&other, family));
            }
        }
        Some("unsubscribe") => {
            if let Some((family, other)) = to {
                lock(&session.companion.presence).subscriptions.remove(&other.number);
                lock(&other.watching).remove(&(session.account.number.clone(), session.companion.id, family));
            }
        }
        Some(other) => core.unanswered(format!("presence:{other}")),
    }
}

fn set_available(core: &Core, session: &Session, available: bool) {
    lock(&session.companion.presence).available = available;
    core.tell_presence(&session.account);
}

impl Core {
    /// Tells those who watch an account whether it is online.
    pub(crate) fn tell_presence(&self, account: &Account) {
        let watching: Vec<_> = lock(&account.watching).iter().cloned().collect();
        for (number, device, family) in watching {
            let companion = self.directory.by_number(&number).and_then(|watcher| watcher.companion(device));
            if let Some(companion) = companion {
                companion.mailbox.whisper(state(account, family));
            }
        }
    }
}

fn state(account: &Account, family: Family) -> Node {
    let online = account.handset.available.load(Ordering::Relaxed)
        || account
            .companions()
            .iter()
            .any(|companion| companion.mailbox.is_connected() && lock(&companion.presence).available);
    let node = NodeBuilder::new("presence").attr("from", account.jid(family));
    if online { node.build() } else { node.attr("type", "unavailable").attr("last", unix_seconds()).build() }
}

/// Takes in a `<chatstate>` of a linked device.
pub(crate) fn take_typing(core: &Core, session: &Session, chatstate: &Node) {
    let Some(to) = chatstate.jid("to") else { return };
    let Some(place) = core.directory.chat(&to.to_string()) else { return };
    if let Some(state) = chatstate.all().first() {
        show_typing(&session.account, session.companion.id, &place, Family::of(&to), state);
    }
}

/// Shows what `writer` does (`<composing/>`, `<paused/>`) to everyone else in a chat.
pub(crate) fn show_typing(writer: &Account, device: u16, place: &Chat, family: Family, state: &Node) {
    let typing = state.tag == "composing";
    let from = writer.jid(Family::Number).to_string();
    match place {
        Chat::Person(person) => {
            person.handset.see_typing(from.clone(), from, typing);
            let stanza = NodeBuilder::new("chatstate").attr("from", writer.device_jid(family, device));
            whisper_to(person, &stanza.children([state.clone()]).build());
        }
        Chat::Group(group) => {
            let family = group.addressing.family();
            let stanza = NodeBuilder::new("chatstate")
                .attr("from", group.jid())
                .attr("participant", writer.device_jid(family, device))
                .children([state.clone()])
                .build();
            for member in group.members().iter().filter(|member| member.account.number != writer.number) {
                member.account.handset.see_typing(group.jid().to_string(), from.clone(), typing);
                whisper_to(&member.account, &stanza);
            }
        }
    }
}

fn whisper_to(account: &Arc<Account>, stanza: &Node) {
    for companion in account.companions() {
        companion.mailbox.whisper(stanza.clone());
    }
}
