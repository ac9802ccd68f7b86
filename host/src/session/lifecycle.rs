//! One task a session: open the account, follow its news, open it anew when it ended by itself, stop on request.
//!
//! Invariant: the task is the only one that opens accounts of its session, one after the other, so two clients
//! never share the session's rows.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::state::{self, Effect};
use super::telling::Teller;
use crate::model::{Clock, Link, Millis, Person, Receipt, Scope, SessionId, SessionState, Status};
use crate::store::{Store, StoreError};
use crate::whatsapp::{Account, News, Whatsapp};

/// Longest pause between two openings of an account that ends by itself.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// A session that is not connected after this long lets the next one start.
const START_PATIENCE: Duration = Duration::from_secs(30);

/// The running side of one session.
pub(super) struct Lifecycle {
    pub(super) id: SessionId,
    pub(super) whatsapp: Whatsapp,
    pub(super) store: Store,
    pub(super) clock: Clock,
    pub(super) starting: Arc<Semaphore>,
    pub(super) status: watch::Sender<Status>,
    pub(super) account: watch::Sender<Option<Arc<Account>>>,
    pub(super) stop: CancellationToken,
    pub(super) teller: Teller,
    /// The state it was started from.
    pub(super) before: SessionState,
}

/// Why the account is not running any more.
enum Ended {
    /// By a stop or a final status.
    ForGood,
    /// By itself; to be opened anew.
    ByItself,
}

impl Lifecycle {
    /// Runs the session until it is stopped or has come to a final status.
    pub(super) async fn run(self) {
        let starting = self.status.borrow().clone();
        self.teller.came_to(self.before, &starting, None).await;
        let mut pause = Duration::from_secs(1);
        loop {
            let began = self.clock.now();
            if matches!(self.open_and_follow().await, Ended::ForGood) {
                break;
            }
            // An account that ran for a while earns a quick restart.
            if self.clock.now().since(began) > LONGEST_PAUSE {
                pause = Duration::from_secs(1);
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
                () = self.stop.cancelled() => break,
            }
        }
        self.account.send_replace(None);
        if !self.status.borrow().is_final() {
            self.teller.turn(&self.status, Status::Stopped, None).await;
        }
    }

    async fn open_and_follow(&self) -> Ended {
        let turn = tokio::select! {
            turn = Arc::clone(&self.starting).acquire_owned() => turn.ok(),
            () = self.stop.cancelled() => return Ended::ForGood,
        };
        match self.whatsapp.open(&self.id).await {
            Ok((account, mut news)) => {
                let account = Arc::new(account);
                self.account.send_replace(Some(Arc::clone(&account)));
                let ended = self.follow(&account, &mut news, turn).await;
                self.account.send_replace(None);
                account.stop().await;
                self.catch_up(&account, &mut news).await;
                ended
            }
            Err(error) => {
                tracing::warn!(session = %self.id, %error, "the session could not be opened");
                let last_error = Some(error.to_string());
                self.teller.turn(&self.status, Status::Connecting { attempt: 1, last_error }, None).await;
                Ended::ByItself
            }
        }
    }

    async fn follow(
        &self,
        account: &Account,
        news: &mut UnboundedReceiver<News>,
        mut turn: Option<OwnedSemaphorePermit>,
    ) -> Ended {
        let patience = tokio::time::sleep(START_PATIENCE);
        tokio::pin!(patience);
        loop {
            let given_up = state::given_up_at(&self.status.borrow());
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Ended::ForGood,
                Some(news) = news.recv() => {
                    if let Some(ended) = self.happened(account, news).await {
                        return ended;
                    }
                    let waiting = matches!(&*self.status.borrow(), Status::Connecting { .. });
                    turn = turn.filter(|_| waiting);
                }
                () = &mut patience, if turn.is_some() => turn = None,
                () = self.reached(given_up) => {
                    if let Some(ended) = self.carry_out(account, state::give_up()).await {
                        return ended;
                    }
                }
                () = account.ended() => return self.last_words(account, news).await,
            }
        }
    }

    /// The account has ended; what it said last may tell why.
    async fn last_words(&self, account: &Account, news: &mut UnboundedReceiver<News>) -> Ended {
        while let Ok(news) = news.try_recv() {
            if let Some(ended) = self.happened(account, news).await {
                return ended;
            }
        }
        Ended::ByItself
    }

    /// Stores what was heard of messages and of others before the account stopped: WhatsApp will not say it again.
    async fn catch_up(&self, account: &Account, news: &mut UnboundedReceiver<News>) {
        while let Ok(news) = news.try_recv() {
            if matches!(news, News::LateAck(..) | News::Receipt(_) | News::Happened(_)) {
                // Such news ends nothing.
                let _ = self.happened(account, news).await;
            }
        }
    }

    /// Resolves at this time; without one, never.
    async fn reached(&self, at: Option<Millis>) {
        match at {
            Some(at) => tokio::time::sleep(at.since(self.clock.now())).await,
            None => std::future::pending().await,
        }
    }

    async fn happened(&self, account: &Account, news: News) -> Option<Ended> {
        let decision = state::step(&self.status.borrow(), news, self.clock.now());
        self.carry_out(account, decision).await
    }

    async fn carry_out(&self, account: &Account, decision: (Option<Status>, Vec<Effect>)) -> Option<Ended> {
        let (next, effects) = decision;
        let parting = self.parting(next.as_ref()).await;
        // Effects first: whoever sees the new status may rely on what is stored.
        let mut ended = None;
        for effect in effects {
            match self.perform(account, effect).await {
                Ok(None) => {}
                Ok(end) => ended = end,
                Err(error) => {
                    tracing::error!(session = %self.id, %error, "a change of the session could not be stored");
                }
            }
        }
        if let Some(next) = next {
            self.log(&next);
            self.teller.turn(&self.status, next, parting).await;
        }
        ended
    }

    /// The account that the session is about to lose: it is told whose session ended.
    async fn parting(&self, next: Option<&Status>) -> Option<Person> {
        match next {
            Some(Status::LoggedOut { .. }) => self.teller.account().await,
            _ => None,
        }
    }

    async fn perform(&self, account: &Account, effect: Effect) -> Result<Option<Ended>, StoreError> {
        let sessions = self.store.sessions(Scope::gateway());
        match effect {
            Effect::SaveLink { phone, device_jid, lid } => {
                let link = Link { phone, device_jid, lid, linked_at: self.clock.now() };
                sessions.set_link(&self.id, Some(&link)).await?;
            }
            Effect::ForgetLink => {
                // A client that still runs would write its keys back.
                account.stop().await;
                sessions.set_link(&self.id, None).await?;
            }
            Effect::Unwant => {
                sessions.set_wanted(&self.id, false).await?;
            }
            Effect::Advance { message, to, code } => self.teller.advance(message, to, code).await?,
            Effect::Confirm(receipt) => {
                let from = account.person(receipt.from).await;
                self.teller.confirm(Receipt { from, ..receipt }).await?;
            }
            Effect::Tell(mut what) => {
                account.introduce(&mut what).await;
                self.teller.tell(*what).await?;
            }
            Effect::End => return Ok(Some(Ended::ForGood)),
            Effect::RefreshVersion => {
                self.whatsapp.version_is_outdated().await;
                return Ok(Some(Ended::ByItself));
            }
        }
        Ok(None)
    }

    fn log(&self, next: &Status) {
        let session = &self.id;
        match next {
            Status::Connected { .. } => tracing::info!(%session, "connected"),
            Status::Connecting { attempt, last_error: Some(error) } => {
                tracing::warn!(%session, attempt, error, "connecting");
            }
            Status::LoggedOut { reason } | Status::Failed { reason } => tracing::warn!(%session, reason, "ended"),
            Status::PairingExpired => tracing::info!(%session, "nobody linked the session in time"),
            _ => {}
        }
    }
}
