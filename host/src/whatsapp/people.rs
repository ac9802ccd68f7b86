//! Who is who: the other address of somebody, as far as the account has ever learnt it.
//!
//! WhatsApp names people by number, by LID, or by both, and not always the same way. What is told outside states both,
//! so the account's memory of them is asked.
//!
//! Invariant: asks the account's own rows only, never WhatsApp.

use whatsapp_rust::{Client, Jid};

use super::translate;
use crate::model::{Happening, Person};

/// The number behind a LID, or the reverse.
pub(super) async fn other(client: &Client, jid: &Jid) -> Option<Jid> {
    let known = client.get_lid_pn_entry(jid).await.ok().flatten()?;
    Some(if jid.is_lid() { Jid::pn(&*known.phone_number) } else { Jid::lid(&*known.lid) })
}

/// The account itself; `None` before it is linked.
pub(super) fn own(client: &Client) -> Option<Person> {
    let number = client.pn().as_ref().and_then(translate::chat)?;
    Some(Person::of(number, client.lid().as_ref().and_then(translate::chat)))
}

/// Somebody with the other address, too, when it is known.
pub(super) async fn known(client: &Client, person: Person) -> Person {
    if person.alt.is_some() || !person.chat.is_person() {
        return person;
    }
    let other = match translate::jid(&person.chat) {
        Some(jid) => other(client, &jid).await,
        None => None,
    };
    Person::of(person.chat, other.as_ref().and_then(translate::chat))
}

/// Adds the other address of everybody in it, and names chats with one person as that person is named.
pub(super) async fn introduce(client: &Client, what: &mut Happening) {
    for person in what.people_mut() {
        *person = known(client, person.clone()).await;
    }
    match what {
        Happening::Typing(typing) if !typing.is_group => typing.chat.clone_from(&typing.from.chat),
        Happening::Call(call) if !call.is_group => call.chat.clone_from(&call.from.chat),
        _ => {}
    }
}
