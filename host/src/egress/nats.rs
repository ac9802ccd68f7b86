//! NATS JetStream: an exchange is one message published and its acknowledgement awaited, so that whoever delivers knows no
//! difference to HTTP.
//!
//! The acknowledgement is a status of 200. JetStream's errors have codes of their own that mean what HTTP's do, and a
//! subject that no stream takes is 503, as NATS itself says it
//! (<https://docs.nats.io/reference/reference-protocols/nats_api_reference#error-response>). `Nats-Msg-Id` is the
//! delivery's id, so a stream keeps one copy of what is attempted again within its duplicate window.
//!
//! Invariant: only the operator's servers are dialled, and every subject lies below the operator's and the sender's.

use async_nats::client::RequestErrorKind;
use async_nats::connection::State;
use async_nats::{Client, ConnectOptions, HeaderMap, HeaderName, HeaderValue, Message, RequestError, ServerAddr};
use bytes::Bytes;
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use tokio::sync::OnceCell;

use super::dial::{CONNECT, Trail};
use super::{Answer, EgressError, Exchange, Request};
use crate::config::NatsConfig;

/// What a header that speaks to JetStream begins with. Some of them change a stream: `Nats-Rollup` empties it.
const THEIRS: &str = "nats-";

/// The operator's servers. Connected to at first use, and again by itself when the connection is lost.
#[derive(Debug)]
pub(super) struct Broker {
    config: NatsConfig,
    client: OnceCell<Client>,
}

/// What JetStream answers.
#[derive(Deserialize)]
#[serde(untagged)]
enum Ack {
    Refused {
        error: Refusal,
    },
    Stored {
        #[serde(rename = "stream")]
        _stream: String,
    },
}

#[derive(Deserialize)]
struct Refusal {
    #[serde(default)]
    code: u16,
}

impl Broker {
    /// `None` when there are no servers.
    pub(super) fn open(config: NatsConfig) -> Option<Self> {
        (!config.servers.is_empty()).then(|| Self { config, client: OnceCell::new() })
    }

    /// Publishes a request to the subject of its address, below the operator's and `place`.
    pub(super) async fn publish(&self, place: &str, request: Request) -> Exchange {
        let mut trail = Trail::begin();
        let deadline = request.deadline;
        let sent = tokio::time::timeout(deadline, self.send(place, request, &mut trail)).await;
        let result = sent.unwrap_or(Err(EgressError::Deadline(deadline)));
        Exchange { result, phases: trail.phases, address: None }
    }

    async fn send(&self, place: &str, request: Request, trail: &mut Trail) -> Result<Answer, EgressError> {
        let message = async_nats::Request::new().headers(headers(&request)?).payload(request.body).timeout(None);
        // A session's id may have dots, which would be further words.
        let subject = [&self.config.subject, &place.replace('.', "%2E"), request.url.path()].join(".");
        let client = self.client.get_or_try_init(|| self.connect()).await?;
        // What is sent now would wait in memory, be given up here, and go out all the same.
        if client.connection_state() != State::Connected {
            return Err(EgressError::Connect("NATS: the connection is lost and is being made again".to_owned()));
        }
        match client.send_request(subject.clone(), message).await {
            Ok(message) => {
                trail.answered();
                answer(message, request.answer_limit)
            }
            Err(error) => unanswered(&error, &subject),
        }
    }

    async fn connect(&self) -> Result<Client, EgressError> {
        let NatsConfig { servers, login, credentials, .. } = &self.config;
        let failed = |error: &dyn std::fmt::Display| EgressError::Connect(format!("NATS: {error}"));
        let servers = servers.iter().map(|server| ServerAddr::from_url(server.clone()));
        let servers = servers.collect::<Result<Vec<_>, _>>().map_err(|error| failed(&error))?;
        let mut options = ConnectOptions::new().name("wagate").connection_timeout(CONNECT);
        if let Some((user, password)) = login {
            options = options.user_and_password(user.clone(), password.expose_secret().to_owned());
        }
        if let Some(file) = credentials {
            let read = options.credentials_file(file).await;
            options = read.map_err(|error| failed(&format!("{}: {error}", file.display())))?;
        }
        options.connect(servers).await.map_err(|error| failed(&error))
    }
}

/// The request's headers, and the id by which a stream knows a message again.
fn headers(request: &Request) -> Result<HeaderMap, EgressError> {
    let malformed = |what: &str| EgressError::Malformed(format!("{what} is not valid in NATS"));
    let mut headers = HeaderMap::new();
    for (name, value) in &request.headers {
        if name.get(..THEIRS.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(THEIRS)) {
            continue;
        }
        let value: HeaderValue = value.parse().map_err(|_| malformed(&format!("the value of {name}")))?;
        if name == "webhook-id" {
            headers.insert(async_nats::header::NATS_MESSAGE_ID, value.clone());
        }
        headers.append(name.parse::<HeaderName>().map_err(|_| malformed("a header name"))?, value);
    }
    Ok(headers)
}

fn answer(message: Message, limit: usize) -> Result<Answer, EgressError> {
    let said = message.payload;
    let ack = serde_json::from_slice(&said);
    let status = match ack {
        Ok(Ack::Stored { .. }) => 200,
        // Whatever the code, it is no reason to put the endpoint out of use.
        Ok(Ack::Refused { error: Refusal { code } }) if (400..600).contains(&code) && code != 410 => code,
        Ok(Ack::Refused { .. }) => 500,
        Err(_) => {
            let reason = "the answer is no acknowledgement of JetStream; somebody else answers on this subject";
            return Err(EgressError::Protocol(reason.to_owned()));
        }
    };
    let cut = said.len() > limit;
    Ok(Answer { status, headers: Vec::new(), body: said.slice(..said.len().min(limit)), cut })
}

fn unanswered(error: &RequestError, subject: &str) -> Result<Answer, EgressError> {
    match error.kind() {
        RequestErrorKind::NoResponders => {
            let body = Bytes::from(format!("no JetStream stream takes the subject {subject}"));
            Ok(Answer { status: 503, headers: Vec::new(), body, cut: false })
        }
        RequestErrorKind::InvalidSubject | RequestErrorKind::MaxPayloadExceeded => {
            Err(EgressError::Malformed(format!("NATS: {error}")))
        }
        RequestErrorKind::TimedOut | RequestErrorKind::Other => Err(EgressError::Broken(format!("NATS: {error}"))),
    }
}
