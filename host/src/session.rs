//! The running sessions: one task each (`lifecycle`), driven by a pure state machine (`state`), which also has told what
//! happens on them besides received messages (`telling`).
//!
//! A session's task owns only its life: connect, link, reconnect, stop. Sends and questions go straight to the
//! running account, which is shared and safe to call concurrently.
//!
//! Invariant: starting, stopping and deleting one session happen one after the other (`Slot::running` is locked).

mod lifecycle;
mod state;
mod telling;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex as AsyncMutex, Semaphore, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::lifecycle::Lifecycle;
use self::telling::{HandOn, Teller};
use crate::app::tasks::Tasks;
use crate::model::{
    Chat, Clock, Event, GroupSummary, MessageId, NumberCheck, Outgoing, Person, Phone, Scope, Sent, Session, SessionId,
    Status,
};
use crate::store::{Store, StoreError};
use crate::whatsapp::{Account, AccountError, Whatsapp};

/// How long a linked session that is not running may take to come up, so that its device can be logged out.
const LOGOUT_PATIENCE: Duration = Duration::from_secs(10);

/// The table of running sessions. Cheap to clone.
#[derive(Clone)]
pub struct Sessions {
    shared: Arc<Shared>,
}

struct Shared {
    whatsapp: Whatsapp,
    store: Store,
    clock: Clock,
    tasks: Tasks,
    starting: Arc<Semaphore>,
    hand_on: HandOn,
    slots: Mutex<HashMap<SessionId, Arc<Slot>>>,
}

/// What is kept of a session while the gateway runs.
struct Slot {
    status: watch::Sender<Status>,
    account: watch::Sender<Option<Arc<Account>>>,
    running: AsyncMutex<Option<Running>>,
}

struct Running {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// Why a session could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// No such session among the caller's.
    #[error("no session with this id")]
    NotFound,
    /// Linked to no account, or not connected.
    #[error("the session is not connected to WhatsApp ({0}); call POST /api/sessions/{{id}}/connect and link it first")]
    NotConnected(&'static str),
    /// Already linked: there is nothing to pair.
    #[error("the session is already linked; delete it and create another to link a different account")]
    AlreadyLinked,
    /// WhatsApp refused, with its code.
    #[error("WhatsApp refused it with code {code}: {meaning}")]
    Refused {
        /// WhatsApp's code.
        code: u16,
        /// What the code means.
        meaning: &'static str,
    },
    /// WhatsApp did not answer in time; the message may or may not have gone out.
    #[error("WhatsApp did not answer in time")]
    Unanswered,
    /// Anything else the library reports.
    #[error("{0}")]
    Whatsapp(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Sessions {
    /// An empty table. `starting_at_once` bounds how many sessions may be connecting at a time; `hand_on` is called with
    /// events that were stored and are to be routed.
    pub fn new(
        whatsapp: Whatsapp,
        store: Store,
        clock: Clock,
        tasks: Tasks,
        starting_at_once: usize,
        hand_on: impl Fn(Vec<Event>) + Send + Sync + 'static,
    ) -> Self {
        let (starting, hand_on) = (Arc::new(Semaphore::new(starting_at_once.max(1))), Arc::new(hand_on));
        let shared = Shared { whatsapp, store, clock, tasks, starting, hand_on, slots: Mutex::default() };
        Self { shared: Arc::new(shared) }
    }

    /// Starts every session that was running when the gateway stopped and is still linked. Answers how many.
    pub async fn resume(&self) -> Result<usize, StoreError> {
        let sessions = self.shared.store.sessions(Scope::gateway()).list().await?;
        let mut resumed = 0;
        for session in sessions.iter().filter(|session| session.wanted && session.link.is_some()) {
            self.start(&session.id).await;
            resumed += 1;
        }
        Ok(resumed)
    }

    /// Starts the session: links it when it is not linked yet, reconnects it when it is. Idempotent.
    pub async fn connect(&self, scope: Scope, id: &SessionId) -> Result<(), SessionError> {
        if !self.shared.store.sessions(scope).set_wanted(id, true).await? {
            return Err(SessionError::NotFound);
        }
        self.start(id).await;
        Ok(())
    }

    /// Stops the session and keeps it linked. Idempotent.
    pub async fn disconnect(&self, scope: Scope, id: &SessionId) -> Result<(), SessionError> {
        if !self.shared.store.sessions(scope).set_wanted(id, false).await? {
            return Err(SessionError::NotFound);
        }
        self.stop(id).await;
        self.teller(id).turn(&self.slot(id).status, Status::Stopped, None).await;
        Ok(())
    }

    /// Logs the device out of the account, then wipes every row of the session. When WhatsApp cannot be reached
    /// the rows go all the same, and the phone keeps listing the device until its user removes it.
    pub async fn delete(&self, scope: Scope, id: &SessionId) -> Result<(), SessionError> {
        let session = self.get(scope, id).await?;
        if session.link.is_some() {
            self.log_out(id).await;
        }
        self.stop(id).await;
        self.shared.store.sessions(scope).delete(id).await?;
        let slot = self.slots().remove(id);
        if let Some(slot) = slot {
            slot.status.send_replace(Status::Stopped);
        }
        Ok(())
    }

    /// How the session fares now.
    pub fn status(&self, id: &SessionId) -> Status {
        self.slots().get(id).map(|slot| slot.status.borrow().clone()).unwrap_or_default()
    }

    /// Every change of the status; the present one first.
    pub fn watch(&self, id: &SessionId) -> watch::Receiver<Status> {
        self.slot(id).status.subscribe()
    }

    /// When the server was last heard of, milliseconds since the epoch; `None` while not running or never heard.
    pub fn last_heard_ms(&self, id: &SessionId) -> Option<u64> {
        let account = self.slots().get(id)?.account.borrow().clone()?;
        Some(account.last_frame_ms()).filter(|at| *at > 0)
    }

    /// Asks for an eight-character code to link by number instead of by QR. Starts the session when needed.
    pub async fn pair_code(&self, scope: Scope, id: &SessionId, phone: &Phone) -> Result<String, SessionError> {
        if self.get(scope, id).await?.link.is_some() {
            return Err(SessionError::AlreadyLinked);
        }
        self.connect(scope, id).await?;
        let mut account = self.slot(id).account.subscribe();
        let opened = tokio::time::timeout(LOGOUT_PATIENCE, account.wait_for(Option::is_some)).await;
        let account = opened.ok().and_then(Result::ok).and_then(|account| account.clone());
        let account = account.ok_or(SessionError::NotConnected("it could not be opened in time"))?;
        Ok(account.pair_code(phone).await?)
    }

    /// Sends, and returns when WhatsApp's server has accepted the message. The caller has checked the scope.
    pub async fn send(
        &self,
        id: &SessionId,
        message: &MessageId,
        to: &Chat,
        what: &Outgoing,
    ) -> Result<Sent, SessionError> {
        Ok(self.account(id)?.send(message, to, what).await?)
    }

    /// Somebody by every address the session's account knows; `None` for what is no person, or while it does not run.
    pub async fn person(&self, id: &SessionId, chat: &Chat) -> Option<Person> {
        let account = self.slots().get(id)?.account.borrow().clone().filter(|_| chat.is_person())?;
        Some(account.person(Person::of(chat.clone(), None)).await)
    }

    /// Whether a number is on WhatsApp.
    pub async fn check_number(
        &self,
        scope: Scope,
        id: &SessionId,
        number: &Phone,
    ) -> Result<NumberCheck, SessionError> {
        self.get(scope, id).await?;
        Ok(self.account(id)?.check_number(number).await?)
    }

    /// The groups the account is a member of, by name.
    pub async fn groups(&self, scope: Scope, id: &SessionId) -> Result<Vec<GroupSummary>, SessionError> {
        self.get(scope, id).await?;
        Ok(self.account(id)?.groups().await?)
    }

    /// Asks WhatsApp to tell when somebody comes online or goes away. Forgotten when the session stops.
    pub async fn follow_presence(&self, scope: Scope, id: &SessionId, chat: &Chat) -> Result<(), SessionError> {
        self.get(scope, id).await?;
        Ok(self.account(id)?.follow(chat).await?)
    }

    /// Stops every session, each flushing what it holds. They stay wanted.
    pub async fn stop_all(&self) {
        let ids: Vec<_> = self.slots().keys().cloned().collect();
        futures_util::future::join_all(ids.iter().map(|id| self.stop(id))).await;
    }

    async fn get(&self, scope: Scope, id: &SessionId) -> Result<Session, SessionError> {
        self.shared.store.sessions(scope).get(id).await?.ok_or(SessionError::NotFound)
    }

    fn account(&self, id: &SessionId) -> Result<Arc<Account>, SessionError> {
        let slot = self.slot(id);
        let why = match &*slot.status.borrow() {
            Status::Connected { .. } => None,
            Status::Connecting { .. } => Some("connecting"),
            Status::Pairing(_) => Some("waiting to be linked"),
            Status::PairingExpired => Some("the QR codes expired"),
            Status::LoggedOut { .. } => Some("logged out by the phone"),
            Status::Failed { .. } => Some("failed"),
            Status::Stopped => Some("stopped"),
        };
        if let Some(why) = why {
            return Err(SessionError::NotConnected(why));
        }
        let account = slot.account.borrow().clone();
        account.ok_or(SessionError::NotConnected("stopping"))
    }

    async fn start(&self, id: &SessionId) {
        let slot = self.slot(id);
        let mut running = slot.running.lock().await;
        if running.as_ref().is_some_and(|running| !running.task.is_finished()) && !slot.status.borrow().is_final() {
            return;
        }
        finish(running.take()).await;
        let before = slot.status.send_replace(Status::Connecting { attempt: 0, last_error: None }).state();
        let stop = CancellationToken::new();
        let lifecycle = Lifecycle {
            id: id.clone(),
            whatsapp: self.shared.whatsapp.clone(),
            store: self.shared.store.clone(),
            clock: self.shared.clock.clone(),
            starting: Arc::clone(&self.shared.starting),
            status: slot.status.clone(),
            account: slot.account.clone(),
            stop: stop.clone(),
            teller: self.teller(id),
            before,
        };
        *running = Some(Running { stop, task: self.shared.tasks.spawn("session", lifecycle.run()) });
    }

    async fn stop(&self, id: &SessionId) {
        let Some(slot) = self.slots().get(id).cloned() else { return };
        let mut running = slot.running.lock().await;
        finish(running.take()).await;
    }

    async fn log_out(&self, id: &SessionId) {
        self.start(id).await;
        let slot = self.slot(id);
        let mut status = slot.status.subscribe();
        let up = status.wait_for(|status| status.is_connected() || status.is_final());
        // Whether it came up or not is seen below.
        let _ = tokio::time::timeout(LOGOUT_PATIENCE, up).await.is_ok();
        let account = slot.account.borrow().clone().filter(|_| slot.status.borrow().is_connected());
        if let Some(account) = account {
            account.log_out().await;
        } else {
            tracing::warn!(session = %id, "deleted without logging out: WhatsApp could not be reached");
        }
    }

    fn teller(&self, id: &SessionId) -> Teller {
        let Shared { store, hand_on, .. } = &*self.shared;
        Teller { id: id.clone(), store: store.clone(), hand_on: Arc::clone(hand_on) }
    }

    fn slot(&self, id: &SessionId) -> Arc<Slot> {
        let mut slots = self.slots();
        Arc::clone(slots.entry(id.clone()).or_insert_with(|| {
            Arc::new(Slot {
                status: watch::Sender::new(Status::Stopped),
                account: watch::Sender::new(None),
                running: AsyncMutex::new(None),
            })
        }))
    }

    fn slots(&self) -> std::sync::MutexGuard<'_, HashMap<SessionId, Arc<Slot>>> {
        self.shared.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn finish(running: Option<Running>) {
    if let Some(running) = running {
        running.stop.cancel();
        // A panic in it has been logged where it was spawned.
        let _ = running.task.await;
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").field("known", &self.slots().len()).finish_non_exhaustive()
    }
}

impl From<AccountError> for SessionError {
    fn from(error: AccountError) -> Self {
        match error {
            AccountError::NotConnected => Self::NotConnected("the connection was lost"),
            AccountError::Refused { code, meaning } => Self::Refused { code, meaning },
            AccountError::Unanswered => Self::Unanswered,
            AccountError::Library(reason) => Self::Whatsapp(reason),
        }
    }
}
