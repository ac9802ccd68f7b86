//! A running network: one listener on loopback, and everyone behind it.
//!
//! Invariant: the network lives as long as a [`Network`] handle does, or until [`Network::stop`]; phones and groups
//! held after that are inert.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::account::{Account, Registration, lock};
use crate::directory::Directory;
use crate::faults::{FaultTable, Faults};
use crate::group::{Addressing, Founding, Group, GroupState};
use crate::media::MediaStore;
use crate::phone::Phone;
use crate::server;
use crate::wire::certificate::Authority;
use crate::wire::{Node, NodeContent};

/// How many different unanswered stanzas are remembered.
const MOST_UNANSWERED: usize = 1_000;
/// How long [`Network::stop`] waits for connections to end.
const FAREWELL: Duration = Duration::from_secs(5);

/// How a network is set up.
#[derive(Debug, Clone)]
pub struct NetworkConfig {
    /// The address to listen on; it must be loopback. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// How long after a client signed its link it is told to restart. whatsapp-rust 0.7.0 marks the restart as
    /// expected only after it sent its signature, so an answer within 100 ms makes it log in twice.
    pub restart_delay: Duration,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        Self { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), restart_delay: Duration::from_millis(150) }
    }
}

/// Why a network did not start, or an account was not made.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The network is for this machine only.
    #[error("{0} is not a loopback address: the simulator has no access control and listens on loopback only")]
    NotLoopback(SocketAddr),
    /// The address cannot be listened on.
    #[error("cannot listen on {0}")]
    Listen(SocketAddr, #[source] std::io::Error),
    /// The number is not 5 to 15 digits.
    #[error("{0} is not a phone number: 5 to 15 digits are")]
    BadNumber(String),
    /// Someone has this number.
    #[error("the number {0} is taken")]
    NumberTaken(String),
    /// Keys cannot be made.
    #[error("keys cannot be made: {0}")]
    Keys(String),
}

/// What is needed to make a phone.
#[derive(Debug, Clone, Default)]
pub struct PhoneSpec {
    /// The push name.
    pub name: String,
    /// The phone number, digits only; the next free one if there is none.
    pub number: Option<String>,
    /// The verified name of a business account.
    pub business: Option<String>,
}

/// What is needed to make a group.
#[derive(Debug, Clone, Default)]
pub struct GroupSpec {
    /// The id, the part of the JID before `@g.us`; the next free one if there is none. Older groups have the form
    /// `NUMBER-SECONDS`. An id that is taken replaces that group.
    pub id: Option<String>,
    /// The name members see.
    pub subject: String,
    /// The description.
    pub topic: String,
    /// How members are named in its stanzas.
    pub addressing: Addressing,
}

/// Everything the faces of the server share.
pub(crate) struct Core {
    pub(crate) addr: SocketAddr,
    pub(crate) restart_delay: Duration,
    pub(crate) authority: Authority,
    pub(crate) directory: Directory,
    pub(crate) faults: FaultTable,
    pub(crate) media: MediaStore,
    pub(crate) tasks: TaskTracker,
    pub(crate) cancel: CancellationToken,
    connections: AtomicU64,
    handshakes: Mutex<Vec<&'static str>>,
    unanswered: Mutex<Vec<String>>,
}

impl Core {
    /// A number for a new connection.
    pub(crate) fn next_connection(&self) -> u64 {
        self.connections.fetch_add(1, Ordering::Relaxed)
    }

    /// Notes which handshake a connection used.
    pub(crate) fn count_handshake(&self, pattern: &'static str) {
        let mut handshakes = lock(&self.handshakes);
        if handshakes.len() < MOST_UNANSWERED {
            handshakes.push(pattern);
        }
    }

    /// Notes a stanza nobody handled.
    pub(crate) fn unanswered(&self, what: String) {
        tracing::warn!(stanza = %what, "a stanza was not handled");
        let mut unanswered = lock(&self.unanswered);
        if unanswered.len() < MOST_UNANSWERED {
            unanswered.push(what);
        }
    }

    /// The stanzas nobody handled.
    pub(crate) fn unanswered_stanzas(&self) -> Vec<String> {
        lock(&self.unanswered).clone()
    }

    /// Notes an `<iq>` nobody handled.
    pub(crate) fn unanswered_iq(&self, namespace: &str, kind: &str, iq: &Node) {
        let child = match &iq.content {
            Some(NodeContent::Nodes(nodes)) => nodes.first().map_or("", |node| node.tag.as_ref()),
            _ => "",
        };
        self.unanswered(format!("iq:{namespace}:{kind}:{child}"));
    }
}

/// A running network.
#[derive(Clone)]
pub struct Network {
    pub(crate) core: Arc<Core>,
    _life: Arc<Life>,
}

/// Ends the network with the last handle.
struct Life(CancellationToken);

impl Drop for Life {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl Network {
    /// Starts a network of nobody.
    pub async fn start(config: NetworkConfig) -> Result<Self, NetworkError> {
        if !config.listen.ip().is_loopback() {
            return Err(NetworkError::NotLoopback(config.listen));
        }
        let listening = |error| NetworkError::Listen(config.listen, error);
        let listener = TcpListener::bind(config.listen).await.map_err(listening)?;
        let addr = listener.local_addr().map_err(listening)?;
        let core = Arc::new(Core {
            addr,
            restart_delay: config.restart_delay,
            authority: Authority::generate().map_err(|error| NetworkError::Keys(error.to_string()))?,
            directory: Directory::default(),
            faults: FaultTable::default(),
            media: MediaStore::default(),
            tasks: TaskTracker::new(),
            cancel: CancellationToken::new(),
            connections: AtomicU64::new(0),
            handshakes: Mutex::default(),
            unanswered: Mutex::default(),
        });
        core.tasks.spawn(server::serve(listener, Arc::clone(&core)));
        tracing::info!(%addr, "a simulated network is up");
        let life = Arc::new(Life(core.cancel.clone()));
        Ok(Self { core, _life: life })
    }

    /// The address it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.core.addr
    }

    /// The address clients connect to.
    pub fn ws_url(&self) -> String {
        format!("ws://{}/ws/chat", self.core.addr)
    }

    /// The address of media, the admin API and the page.
    pub fn http_url(&self) -> String {
        format!("http://{}", self.core.addr)
    }

    /// The public key at the root of the certificate chain, for clients that check it.
    pub fn root_key(&self) -> [u8; 32] {
        self.core.authority.root_key()
    }

    /// Makes a phone with the next free number.
    ///
    /// # Panics
    /// If the system's random generator fails.
    pub fn add_phone(&self, name: &str) -> Phone {
        self.core
            .add_phone(PhoneSpec { name: name.to_owned(), ..PhoneSpec::default() })
            .expect("a free number is taken by nobody")
    }

    /// Makes a phone.
    pub fn add_phone_with(&self, spec: PhoneSpec) -> Result<Phone, NetworkError> {
        self.core.add_phone(spec)
    }

    /// The phone of a number.
    pub fn phone(&self, number: &str) -> Option<Phone> {
        let account = self.core.directory.by_number(number)?;
        Some(Phone { core: Arc::clone(&self.core), account })
    }

    /// All phones in the order they were made.
    pub fn phones(&self) -> Vec<Phone> {
        let accounts = self.core.directory.accounts();
        accounts.into_iter().map(|account| Phone { core: Arc::clone(&self.core), account }).collect()
    }

    /// Makes a group; the owner becomes its super admin. All members' devices are notified.
    pub fn create_group(&self, subject: &str, topic: &str, owner: &Phone, members: &[&Phone]) -> Group {
        let spec = GroupSpec { subject: subject.to_owned(), topic: topic.to_owned(), ..GroupSpec::default() };
        self.create_group_with(&spec, owner, members)
    }

    /// Makes a group, with a choice of id and addressing.
    pub fn create_group_with(&self, spec: &GroupSpec, owner: &Phone, members: &[&Phone]) -> Group {
        let members = members.iter().map(|phone| Arc::clone(&phone.account)).collect();
        let id = spec.id.clone().unwrap_or_else(|| self.core.directory.free_group());
        let founding = Founding {
            subject: &spec.subject,
            topic: &spec.topic,
            addressing: spec.addressing,
            creator: &owner.account,
            members,
        };
        Group { state: self.core.found_group_as(id, founding) }
    }

    /// All groups.
    pub fn groups(&self) -> Vec<Group> {
        self.core.directory.groups().into_iter().map(|state| Group { state }).collect()
    }

    /// The handle for faults.
    pub fn faults(&self) -> Faults {
        Faults { core: Arc::clone(&self.core) }
    }

    /// How often companions of an account logged in.
    pub fn logins(&self, number: &str) -> u64 {
        self.core.directory.by_number(number).map_or(0, |account| account.logins())
    }

    /// Which handshakes were completed, oldest first: `XX`, `IK` or `XXfallback`.
    pub fn handshakes(&self) -> Vec<&'static str> {
        lock(&self.core.handshakes).clone()
    }

    /// The stanzas nobody handled, as `iq:namespace:type:child` and the like.
    pub fn unanswered(&self) -> Vec<String> {
        self.core.unanswered_stanzas()
    }

    /// Ends all connections and stops listening.
    pub async fn stop(&self) {
        self.core.cancel.cancel();
        self.core.tasks.close();
        if tokio::time::timeout(FAREWELL, self.core.tasks.wait()).await.is_err() {
            tracing::warn!("some connections did not end in time");
        }
    }
}

impl Core {
    /// Makes a phone.
    pub(crate) fn add_phone(self: &Arc<Self>, spec: PhoneSpec) -> Result<Phone, NetworkError> {
        let number = match spec.number {
            Some(number) => check_number(number)?,
            None => self.directory.free_number(),
        };
        let registration =
            Registration { number, lid: self.directory.free_lid(), name: spec.name, business: spec.business };
        let account = Account::new(registration).map_err(|error| NetworkError::Keys(error.to_string()))?;
        let account = Arc::new(account);
        if !self.directory.enter(&account) {
            return Err(NetworkError::NumberTaken(account.number.clone()));
        }
        Ok(Phone { core: Arc::clone(self), account })
    }

    /// Makes a group with the next free id and notifies its members' devices.
    pub(crate) fn found_group(&self, founding: Founding<'_>) -> Arc<GroupState> {
        self.found_group_as(self.directory.free_group(), founding)
    }

    /// Makes a group and notifies its members' devices.
    pub(crate) fn found_group_as(&self, id: String, founding: Founding<'_>) -> Arc<GroupState> {
        let creator = Arc::clone(founding.creator);
        let group = Arc::new(GroupState::new(id, founding));
        self.directory.enter_group(&group);
        group.announce(&creator, &crate::wire::parent("create", [group.describe()]), &[]);
        group
    }
}

fn check_number(number: String) -> Result<String, NetworkError> {
    let digits = number.trim_start_matches('+').to_owned();
    let fits = (5..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    if fits { Ok(digits) } else { Err(NetworkError::BadNumber(number)) }
}
