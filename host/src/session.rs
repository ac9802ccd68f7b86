//! The running sessions: one task each, driven by a pure state machine.

use tokio::sync::watch;

use crate::model::{Chat, GroupSummary, MessageId, NumberCheck, Outgoing, Phone, Scope, Sent, SessionId, Status};

/// The table of running sessions. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Sessions;

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
    #[error("the session is already linked; disconnect and delete it to link another account")]
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
    Store(#[from] crate::store::StoreError),
}

impl Sessions {
    /// Starts the session: links it when it is not linked yet, reconnects it when it is. Idempotent.
    pub async fn connect(&self, _scope: Scope, _id: &SessionId) -> Result<(), SessionError> {
        unimplemented!()
    }

    /// Stops the session and keeps it linked. Idempotent.
    pub async fn disconnect(&self, _scope: Scope, _id: &SessionId) -> Result<(), SessionError> {
        unimplemented!()
    }

    /// Logs the device out of the account, then wipes every row of the session.
    pub async fn delete(&self, _scope: Scope, _id: &SessionId) -> Result<(), SessionError> {
        unimplemented!()
    }

    /// How the session fares now.
    pub fn status(&self, _id: &SessionId) -> Status {
        unimplemented!()
    }

    /// Every change of the status; the present one first.
    pub fn watch(&self, _id: &SessionId) -> watch::Receiver<Status> {
        unimplemented!()
    }

    /// Asks for an eight-character code to link by number instead of by QR. Starts the session when needed.
    pub async fn pair_code(&self, _scope: Scope, _id: &SessionId, _phone: &Phone) -> Result<String, SessionError> {
        unimplemented!()
    }

    /// Sends, and returns when WhatsApp's server has accepted the message.
    pub async fn send(
        &self,
        _id: &SessionId,
        _message: &MessageId,
        _to: &Chat,
        _what: &Outgoing,
    ) -> Result<Sent, SessionError> {
        unimplemented!()
    }

    /// Whether a number is on WhatsApp.
    pub async fn check_number(
        &self,
        _scope: Scope,
        _id: &SessionId,
        _number: &Phone,
    ) -> Result<NumberCheck, SessionError> {
        unimplemented!()
    }

    /// The groups the account is a member of, by name.
    pub async fn groups(&self, _scope: Scope, _id: &SessionId) -> Result<Vec<GroupSummary>, SessionError> {
        unimplemented!()
    }
}
