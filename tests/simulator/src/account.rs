//! A WhatsApp account: its names, its phone, its linked devices.
//!
//! Invariant: the std locks here guard plain data for a few instructions; none is held across an await or while
//! another account's lock is taken.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use whatsapp_rust::wacore::libsignal::protocol::{IdentityKeyPair, SignalProtocolError};

use crate::appstate::AppState;
use crate::mailbox::Mailbox;
use crate::phone::handset::Handset;
use crate::wire::{Jid, Protobuf as _, rng, unix_seconds, wa};

/// Locks `mutex`; a panic elsewhere does not make the network unusable.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Which of the two families of JID names a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Family {
    /// By phone number: `15550000001@s.whatsapp.net`.
    Number,
    /// By LID: `100000000000001@lid`.
    Lid,
}

impl Family {
    /// The family `jid` belongs to.
    pub(crate) fn of(jid: &Jid) -> Self {
        if jid.is_lid() { Self::Lid } else { Self::Number }
    }

    /// The other one.
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Number => Self::Lid,
            Self::Lid => Self::Number,
        }
    }
}

/// One account.
pub(crate) struct Account {
    pub(crate) number: String,
    pub(crate) lid: String,
    pub(crate) name: String,
    /// The verified name of a business account.
    pub(crate) business: Option<String>,
    /// Identifies this account's device list in its signed records.
    pub(crate) raw_id: u32,
    pub(crate) registration: u32,
    pub(crate) identity: IdentityKeyPair,
    pub(crate) handset: Handset,
    pub(crate) appstate: Mutex<AppState>,
    companions: Mutex<Companions>,
    logins: AtomicU64,
    /// Accounts that asked for this one's devices or spoke with it, by number: they learn of changes.
    watchers: Mutex<HashSet<String>>,
    about: Mutex<String>,
    /// Devices that asked to be told of this account's presence: number, device, and how they named it.
    pub(crate) watching: Mutex<HashSet<(String, u16, Family)>>,
}

#[derive(Default)]
struct Companions {
    linked: BTreeMap<u16, Arc<Companion>>,
    last: u16,
    changed_at: u64,
}

/// What is needed to make an account.
pub(crate) struct Registration {
    pub(crate) number: String,
    pub(crate) lid: String,
    pub(crate) name: String,
    pub(crate) business: Option<String>,
}

impl Account {
    /// A new account with fresh keys and no linked device.
    pub(crate) fn new(registration: Registration) -> Result<Self, SignalProtocolError> {
        let identity = IdentityKeyPair::generate(&mut rng());
        let id = 1 + rand::random::<u32>() % 0x3FFE;
        Ok(Self {
            handset: Handset::new(identity.clone(), id)?,
            appstate: Mutex::new(AppState::new(&registration.name)),
            number: registration.number,
            lid: registration.lid,
            name: registration.name,
            business: registration.business,
            raw_id: 1 + (rand::random::<u32>() >> 1),
            registration: id,
            identity,
            companions: Mutex::new(Companions { changed_at: unix_seconds(), ..Companions::default() }),
            logins: AtomicU64::new(0),
            watchers: Mutex::default(),
            about: Mutex::new("Hey there! I am using a simulated WhatsApp.".to_owned()),
            watching: Mutex::default(),
        })
    }

    /// The account's JID in a family, without a device.
    pub(crate) fn jid(&self, family: Family) -> Jid {
        match family {
            Family::Number => Jid::pn(self.number.as_str()),
            Family::Lid => Jid::lid(self.lid.as_str()),
        }
    }

    /// The JID of one of its devices; 0 is the phone.
    pub(crate) fn device_jid(&self, family: Family, device: u16) -> Jid {
        self.jid(family).with_device(device)
    }

    /// The public identity key, without its type byte.
    pub(crate) fn identity_key(&self) -> Vec<u8> {
        self.identity.public_key().public_key_bytes().to_vec()
    }

    /// A linked device.
    pub(crate) fn companion(&self, device: u16) -> Option<Arc<Companion>> {
        lock(&self.companions).linked.get(&device).map(Arc::clone)
    }

    /// All linked devices, oldest first.
    pub(crate) fn companions(&self) -> Vec<Arc<Companion>> {
        lock(&self.companions).linked.values().map(Arc::clone).collect()
    }

    /// Takes the next device id. Ids are never given twice.
    pub(crate) fn next_device(&self) -> u16 {
        let mut companions = lock(&self.companions);
        companions.last = companions.last.saturating_add(1);
        companions.last
    }

    /// Links a device.
    pub(crate) fn link(&self, companion: Arc<Companion>) {
        let mut companions = lock(&self.companions);
        companions.changed_at = unix_seconds().max(companions.changed_at + 1);
        companions.linked.insert(companion.id, companion);
    }

    /// Unlinks a device.
    pub(crate) fn unlink(&self, device: u16) -> Option<Arc<Companion>> {
        let mut companions = lock(&self.companions);
        companions.changed_at = unix_seconds().max(companions.changed_at + 1);
        companions.linked.remove(&device)
    }

    /// When the list of linked devices last changed, in seconds since 1970.
    pub(crate) fn devices_changed_at(&self) -> u64 {
        lock(&self.companions).changed_at
    }

    /// The device list as the phone vouches for it (`ADVSignedKeyIndexList`): the signature is over `06 02` and the
    /// details (wacore 0.7.0 `src/adv.rs`).
    pub(crate) fn signed_device_list(&self) -> Result<Vec<u8>, SignalProtocolError> {
        let (valid, changed_at) = {
            let companions = lock(&self.companions);
            let valid: Vec<u32> = std::iter::once(0).chain(companions.linked.keys().map(|id| u32::from(*id))).collect();
            (valid, companions.changed_at)
        };
        let details = wa::ADVKeyIndexList {
            raw_id: Some(self.raw_id),
            timestamp: Some(changed_at),
            current_index: valid.last().copied(),
            valid_indexes: valid,
            ..Default::default()
        }
        .encode_to_vec();
        let signed = [&[6, 2], details.as_slice()].concat();
        let signature = self.identity.private_key().calculate_signature(&signed, &mut rng())?;
        let list = wa::ADVSignedKeyIndexList {
            details: Some(details),
            account_signature: Some(signature.to_vec()),
            ..Default::default()
        };
        Ok(list.encode_to_vec())
    }

    /// Counts a successful login of a companion.
    pub(crate) fn count_login(&self) {
        self.logins.fetch_add(1, Ordering::Relaxed);
    }

    /// How often companions of this account logged in.
    pub(crate) fn logins(&self) -> u64 {
        self.logins.load(Ordering::Relaxed)
    }

    /// Notes that `other` knows this account's devices.
    pub(crate) fn watched_by(&self, other: &Account) {
        if other.number != self.number {
            let mut watchers = lock(&self.watchers);
            if !watchers.contains(&other.number) {
                watchers.insert(other.number.clone());
            }
        }
    }

    /// The numbers of those who know this account's devices.
    pub(crate) fn watchers(&self) -> Vec<String> {
        lock(&self.watchers).iter().cloned().collect()
    }

    /// The "about" text.
    pub(crate) fn about(&self) -> String {
        lock(&self.about).clone()
    }

    /// Changes the "about" text.
    pub(crate) fn set_about(&self, text: String) {
        *lock(&self.about) = text;
    }
}

/// The one-time and signed pre-keys a companion published.
#[derive(Debug, Default)]
pub(crate) struct Published {
    pub(crate) signed: SignedPreKey,
    pub(crate) one_time: VecDeque<(u32, Vec<u8>)>,
}

/// A signed pre-key as published.
#[derive(Debug, Clone, Default)]
pub(crate) struct SignedPreKey {
    pub(crate) id: u32,
    pub(crate) public: Vec<u8>,
    pub(crate) signature: Vec<u8>,
}

/// A linked device as the server knows it.
pub(crate) struct Companion {
    pub(crate) id: u16,
    pub(crate) identity: [u8; 32],
    pub(crate) registration: u32,
    /// `ADVSignedDeviceIdentity` with both signatures.
    pub(crate) device_identity: Vec<u8>,
    pub(crate) keys: Mutex<Published>,
    pub(crate) mailbox: Mailbox,
    pub(crate) presence: Mutex<Presence>,
}

/// What a companion said of its presence, and whose it asked for.
#[derive(Debug, Default)]
pub(crate) struct Presence {
    pub(crate) available: bool,
    pub(crate) subscriptions: HashSet<String>,
}
