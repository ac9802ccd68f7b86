//! One running account: send, ask, link by code, stop, log out.
//!
//! Invariant: a client is never used again after it stopped, and touches no row after that; the session opens a new
//! account on the same rows.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OnceCell, oneshot, watch};
use whatsapp_rust::pair_code::PairCodeOptions;
use whatsapp_rust::send::SendError;
use whatsapp_rust::{Client, ClientError, Jid, SendOptions};

use super::acks::{self, Acks};
use super::keys::KeyStore;
use super::{people, translate};
use crate::model::{Chat, Clock, GroupSummary, Happening, MessageId, NumberCheck, Outgoing, Person, Phone, Sent};

/// Time a stopping account has to flush and leave; the library bounds its own steps to about 5 s each.
const PATIENCE: Duration = Duration::from_secs(15);

/// The issuer in a certificate that a business made for itself, with a name of its choice (WhatsApp Business app).
const SELF_ISSUED: &str = "smb:wa";

/// A running account. Calls may be made concurrently.
pub struct Account {
    pub(super) client: Arc<Client>,
    pub(super) acks: Arc<Acks>,
    pub(super) ack_timeout: Duration,
    pub(super) clock: Clock,
    pub(super) ended: watch::Receiver<bool>,
    pub(super) keys: KeyStore,
    pub(super) stopped: OnceCell<()>,
}

/// Why an account could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// Not logged in at the moment.
    #[error("not connected to WhatsApp")]
    NotConnected,
    /// The server refused, with a code.
    #[error("WhatsApp refused it with code {code}: {meaning}")]
    Refused {
        /// WhatsApp's code.
        code: u16,
        /// What the code means, as far as is known.
        meaning: &'static str,
    },
    /// The server did not answer in time. A message may have gone out.
    #[error("WhatsApp did not answer in time")]
    Unanswered,
    /// Anything else the library reports.
    #[error("{0}")]
    Library(String),
}

impl Account {
    /// Sends under the given id and returns when the server has accepted the message.
    pub async fn send(&self, id: &MessageId, to: &Chat, what: &Outgoing) -> Result<Sent, AccountError> {
        let jid = translate::jid(to).ok_or_else(|| AccountError::Library(format!("{to} is no address")))?;
        let answer = self.acks.expect(id.as_str());
        let outcome = self.send_and_wait(id, jid, what, answer).await;
        if outcome.is_err() {
            self.acks.forget(id.as_str());
        }
        outcome.map(|()| Sent { id: id.clone(), to: to.clone(), at: self.clock.now() })
    }

    async fn send_and_wait(
        &self,
        id: &MessageId,
        to: Jid,
        what: &Outgoing,
        answer: oneshot::Receiver<Option<u16>>,
    ) -> Result<(), AccountError> {
        let options = SendOptions::default().with_message_id(id.as_str());
        let exchange = async {
            self.client.send_message_with_options(to, translate::outgoing(what), options).await.map_err(send_error)?;
            answer.await.map_err(|_| AccountError::Unanswered)
        };
        match tokio::time::timeout(self.ack_timeout, exchange).await {
            Err(_) => Err(AccountError::Unanswered),
            Ok(Err(error)) => Err(error),
            Ok(Ok(None)) => Ok(()),
            Ok(Ok(Some(code))) => Err(AccountError::Refused { code, meaning: acks::meaning(code) }),
        }
    }

    /// Asks for a code to link by number. The code also arrives as news.
    pub async fn pair_code(&self, phone: &Phone) -> Result<String, AccountError> {
        let ready = self.client.wait_for_socket(Duration::from_secs(20)).await;
        ready.map_err(|_| AccountError::NotConnected)?;
        let options = PairCodeOptions { phone_number: phone.to_string(), ..Default::default() };
        let code = self.client.pair_with_code(options).await;
        code.map(|code| translate::pair_code(&code)).map_err(|error| AccountError::Library(error.to_string()))
    }

    /// Whether a number is on WhatsApp.
    pub async fn check_number(&self, number: &Phone) -> Result<NumberCheck, AccountError> {
        let jid = Jid::pn(number.as_str());
        let answers = self.answer(self.client.contacts().is_on_whatsapp(&[jid])).await?;
        // A number missing from the answer is not on WhatsApp.
        let found = answers.into_iter().find(|answer| answer.is_registered);
        let on_whatsapp = found.is_some();
        let business = found.and_then(|answer| answer.verified_name);
        let issuer = business.as_ref().and_then(|business| business.issuer.as_deref());
        Ok(NumberCheck {
            number: number.clone(),
            on_whatsapp,
            verified: issuer.is_some_and(|issuer| issuer != SELF_ISSUED),
            verified_name: business.and_then(|business| business.name),
        })
    }

    /// The groups the account is a member of, by name.
    pub async fn groups(&self) -> Result<Vec<GroupSummary>, AccountError> {
        let groups = self.answer(self.client.groups().get_participating()).await?;
        let own = [self.client.pn(), self.client.lid()].map(|jid| jid.map(|jid| jid.to_non_ad()));
        let is_own = |jid: &Jid| own.iter().flatten().any(|own| *own == jid.to_non_ad());
        let mut summaries: Vec<_> = groups
            .values()
            .filter_map(|group| {
                let us = group.participants.iter().find(|member| {
                    [Some(&member.jid), member.phone_number.as_ref(), member.lid.as_ref()]
                        .into_iter()
                        .flatten()
                        .any(is_own)
                });
                Some(GroupSummary {
                    chat: translate::chat(&group.id)?,
                    name: group.subject.clone(),
                    topic: group.description.clone().unwrap_or_default(),
                    owner: group.creator_pn.as_ref().or(group.creator.as_ref()).and_then(translate::chat),
                    participant_count: group.size.map_or(group.participants.len(), |size| size as usize),
                    is_admin: us.is_some_and(whatsapp_rust::GroupParticipant::is_admin),
                    is_super_admin: us.is_some_and(whatsapp_rust::GroupParticipant::is_super_admin),
                })
            })
            .collect();
        summaries.sort_by(|a, b| (&a.name, &a.chat).cmp(&(&b.name, &b.chat)));
        Ok(summaries)
    }

    /// Somebody by every address the account knows.
    pub async fn person(&self, person: Person) -> Person {
        people::known(&self.client, person).await
    }

    /// Names everybody in it by every address the account knows.
    pub async fn introduce(&self, what: &mut Happening) {
        people::introduce(&self.client, what).await;
    }

    /// Asks WhatsApp to tell when somebody comes online or goes away, for as long as this account runs.
    pub async fn follow(&self, chat: &Chat) -> Result<(), AccountError> {
        let jid = translate::jid(chat).ok_or_else(|| AccountError::Library(format!("{chat} is no address")))?;
        self.answer(self.client.presence().subscribe(jid)).await
    }

    /// Resolves when the account has stopped, for whatever reason.
    pub async fn ended(&self) {
        // An error means the task is gone, which is an end too.
        let _ = self.ended.clone().wait_for(|ended| *ended).await;
    }

    /// Flushes and stops, once; then takes the keys away from whatever lingers. The account stays linked.
    pub async fn stop(&self) {
        let stopping = async {
            self.client.disconnect().await;
            self.ended().await;
        };
        let stop = async || {
            if tokio::time::timeout(PATIENCE, stopping).await.is_err() {
                tracing::warn!("an account did not stop in time and was left behind");
            }
            self.keys.retire();
        };
        self.stopped.get_or_init(stop).await;
    }

    /// Removes this device from the account, then stops.
    pub async fn log_out(&self) {
        if tokio::time::timeout(PATIENCE, self.client.logout()).await.is_err() {
            tracing::warn!("WhatsApp did not confirm the logout in time");
        }
        self.stop().await;
    }

    /// When the last frame came from the server, milliseconds since the epoch; 0 for never.
    pub fn last_frame_ms(&self) -> u64 {
        self.client.stats().last_data_received_ms
    }

    /// Waits for the answer to a question, as long as for the word on a send; the library would wait 75 s.
    async fn answer<T, E: std::error::Error>(
        &self,
        question: impl Future<Output = Result<T, E>>,
    ) -> Result<T, AccountError> {
        let answer = tokio::time::timeout(self.ack_timeout, question).await.map_err(|_| AccountError::Unanswered)?;
        answer.map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &dyn std::error::Error) -> AccountError {
        if self.client.is_logged_in() { AccountError::Library(error.to_string()) } else { AccountError::NotConnected }
    }
}

fn send_error(error: SendError) -> AccountError {
    match error {
        SendError::NotLoggedIn | SendError::Client(ClientError::NotConnected | ClientError::NotLoggedIn) => {
            AccountError::NotConnected
        }
        other => AccountError::Library(other.to_string()),
    }
}
