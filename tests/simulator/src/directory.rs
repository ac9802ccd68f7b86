//! Who exists on the network: accounts by number and LID, groups by id, linkings in progress.
//!
//! Invariant: one std lock over plain maps, held for a look-up only; what is found is an `Arc` used after release.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, Weak};

use crate::account::{Account, Family, lock};
use crate::group::GroupState;
use crate::linking::{LinkCode, Linking};
use crate::wire::{Jid, JidExt as _, Server};

/// The first phone number that is given out.
const FIRST_NUMBER: u64 = 15_550_000_001;
/// The first LID that is given out.
const FIRST_LID: u64 = 100_000_000_000_001;
/// The first group id that is given out.
const FIRST_GROUP: u64 = 120_363_000_000_000_001;

/// Everyone and everything with an address.
#[derive(Default)]
pub(crate) struct Directory {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    order: Vec<Arc<Account>>,
    by_number: HashMap<String, Arc<Account>>,
    by_lid: HashMap<String, Arc<Account>>,
    groups: BTreeMap<String, Arc<GroupState>>,
    numbers_given: u64,
    lids_given: u64,
    groups_given: u64,
    refs: HashMap<String, Weak<Linking>>,
    codes: HashMap<String, LinkCode>,
}

/// A device on the network.
#[derive(Clone)]
pub(crate) struct Address {
    pub(crate) account: Arc<Account>,
    /// 0 is the phone.
    pub(crate) device: u16,
}

/// Where a message can be sent.
pub(crate) enum Chat {
    Person(Arc<Account>),
    Group(Arc<GroupState>),
}

impl Chat {
    /// How inboxes name the chat: a person's JID by phone number, or a group's.
    pub(crate) fn jid(&self) -> String {
        match self {
            Self::Person(person) => person.jid(Family::Number).to_string(),
            Self::Group(group) => group.jid().to_string(),
        }
    }
}

impl Directory {
    /// A phone number nobody has.
    pub(crate) fn free_number(&self) -> String {
        let mut inner = lock(&self.inner);
        loop {
            let number = (FIRST_NUMBER + inner.numbers_given).to_string();
            inner.numbers_given += 1;
            if !inner.by_number.contains_key(&number) {
                return number;
            }
        }
    }

    /// A LID nobody has.
    pub(crate) fn free_lid(&self) -> String {
        let mut inner = lock(&self.inner);
        inner.lids_given += 1;
        (FIRST_LID + inner.lids_given - 1).to_string()
    }

    /// A group id nobody has.
    pub(crate) fn free_group(&self) -> String {
        let mut inner = lock(&self.inner);
        inner.groups_given += 1;
        (FIRST_GROUP + inner.groups_given - 1).to_string()
    }

    /// Enters an account; `false` if its number is taken.
    pub(crate) fn enter(&self, account: &Arc<Account>) -> bool {
        let mut inner = lock(&self.inner);
        if inner.by_number.contains_key(&account.number) {
            return false;
        }
        inner.by_number.insert(account.number.clone(), Arc::clone(account));
        inner.by_lid.insert(account.lid.clone(), Arc::clone(account));
        inner.order.push(Arc::clone(account));
        true
    }

    /// The account of a phone number.
    pub(crate) fn by_number(&self, number: &str) -> Option<Arc<Account>> {
        lock(&self.inner).by_number.get(number).map(Arc::clone)
    }

    /// The first account of that name.
    pub(crate) fn by_name(&self, name: &str) -> Option<Arc<Account>> {
        lock(&self.inner).order.iter().find(|account| account.name == name).map(Arc::clone)
    }

    /// All accounts in the order they were made.
    pub(crate) fn accounts(&self) -> Vec<Arc<Account>> {
        lock(&self.inner).order.clone()
    }

    /// The device a person's JID names, in either family.
    pub(crate) fn resolve(&self, jid: &Jid) -> Option<Address> {
        let inner = lock(&self.inner);
        let account = match jid.server {
            Server::Pn | Server::Legacy => inner.by_number.get(jid.user.as_str()),
            Server::Lid => inner.by_lid.get(jid.user.as_str()),
            _ => None,
        }?;
        Some(Address { account: Arc::clone(account), device: jid.device })
    }

    /// The chat a user wrote: digits (a leading `+` is fine) are a person, anything with `@` is a JID.
    pub(crate) fn chat(&self, text: &str) -> Option<Chat> {
        let text = text.trim();
        if !text.contains('@') {
            return self.by_number(text.trim_start_matches('+')).map(Chat::Person);
        }
        let jid: Jid = text.parse().ok()?;
        if jid.is_group() {
            return self.group(jid.user.as_str()).map(Chat::Group);
        }
        self.resolve(&jid).map(|address| Chat::Person(address.account))
    }

    /// Enters a group.
    pub(crate) fn enter_group(&self, group: &Arc<GroupState>) {
        lock(&self.inner).groups.insert(group.id.clone(), Arc::clone(group));
    }

    /// The group of an id.
    pub(crate) fn group(&self, id: &str) -> Option<Arc<GroupState>> {
        lock(&self.inner).groups.get(id).map(Arc::clone)
    }

    /// All groups in the order of their ids.
    pub(crate) fn groups(&self) -> Vec<Arc<GroupState>> {
        lock(&self.inner).groups.values().map(Arc::clone).collect()
    }

    /// Makes a linking findable by the references in its QR codes.
    pub(crate) fn offer_linking(&self, linking: &Arc<Linking>) {
        let mut inner = lock(&self.inner);
        for reference in &linking.refs {
            inner.refs.insert(reference.clone(), Arc::downgrade(linking));
        }
    }

    /// The linking a QR reference belongs to, while its socket is open.
    pub(crate) fn linking(&self, reference: &str) -> Option<Arc<Linking>> {
        lock(&self.inner).refs.get(reference).and_then(Weak::upgrade)
    }

    /// Forgets a linking whose socket closed.
    pub(crate) fn withdraw_linking(&self, linking: &Arc<Linking>) {
        let mut inner = lock(&self.inner);
        for reference in &linking.refs {
            inner.refs.remove(reference);
        }
        inner.codes.retain(|_, code| !std::ptr::eq(code.linking.as_ptr(), Arc::as_ptr(linking)));
    }

    /// Notes that a client waits for its code to be typed on the phone of `number`. As on WhatsApp, the newest
    /// request for a number replaces an older one: a code cannot be told from another before the keys are agreed.
    pub(crate) fn offer_code(&self, number: &str, code: LinkCode) {
        lock(&self.inner).codes.insert(number.to_owned(), code);
    }

    /// Takes the request for a code out, to be answered.
    pub(crate) fn take_code(&self, number: &str) -> Option<LinkCode> {
        lock(&self.inner).codes.remove(number)
    }
}
