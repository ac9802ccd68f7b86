//! `wagate endpoint`: where events are posted, how that goes, and what it is signed with.

use anyhow::Result;
use clap::Subcommand;
use serde_json::{Value, json};

use super::deliveries::{Output, word};
use super::door::Request;
use super::say;
use crate::config::Config;
use crate::model::{EndpointId, SessionId};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List endpoints and how their receivers fare.
    List {
        /// Those of this session; all of the account when left out.
        #[arg(long, value_name = "ID")]
        session: Option<SessionId>,
        #[command(flatten)]
        output: Output,
    },
    /// Add an endpoint to a session, or to all sessions of the account.
    Add {
        /// The name plugins route to.
        name: String,
        /// The address.
        url: String,
        /// The session; all sessions of the account when left out.
        #[arg(long, value_name = "ID")]
        session: Option<SessionId>,
        /// An event kind, a family such as `message.*`, or `*`; once for each. Received messages and what plugins raise
        /// when left out.
        #[arg(long = "event", value_name = "KIND")]
        events: Vec<String>,
        /// Deliver the messages of a chat one after the other.
        #[arg(long)]
        strict: bool,
        /// Sign with ed25519 besides.
        #[arg(long)]
        ed25519: bool,
        #[command(flatten)]
        output: Output,
    },
    /// Post a test event there.
    Test {
        /// The endpoint.
        endpoint: EndpointId,
        #[command(flatten)]
        output: Output,
    },
    /// Give it a new signing key; the old one signs beside it for a while.
    Rotate {
        /// The endpoint.
        endpoint: EndpointId,
        /// Rotate the ed25519 key.
        #[arg(long)]
        ed25519: bool,
        /// Seconds for which the old key goes on signing, 0 to 604,800.
        #[arg(long, value_name = "SECONDS", default_value_t = 86_400)]
        keep_old_for: u64,
        #[command(flatten)]
        output: Output,
    },
    /// Put it back into use.
    Enable {
        /// The endpoint.
        endpoint: EndpointId,
        #[command(flatten)]
        output: Output,
    },
    /// Put it out of use.
    Disable {
        /// The endpoint.
        endpoint: EndpointId,
        #[command(flatten)]
        output: Output,
    },
    /// Remove it, with the deliveries that wait for it.
    Remove {
        /// The endpoint.
        endpoint: EndpointId,
        #[command(flatten)]
        output: Output,
    },
}

pub(super) async fn run(request: Request<Command>, config: &Config) -> Result<()> {
    let gateway = request.credentials.demand(config).await?;
    match request.command {
        Command::List { session, output } => {
            let session = session.map(|session| format!("?session={session}")).unwrap_or_default();
            let endpoints: Value = gateway.get(&format!("/api/endpoints{session}")).await?;
            output.show(&endpoints, |endpoints| {
                let rows = endpoints.as_array().into_iter().flatten().map(|row| {
                    let [id, name, session, url] = ["id", "name", "session_id", "url"].map(|member| word(&row[member]));
                    [id, name, session, url, word(&row["health"]["words"])]
                });
                say::table(["ENDPOINT", "NAME", "SESSION", "URL", "HEALTH"], rows);
            });
        }
        Command::Add { name, url, session, events, strict, ed25519, output } => {
            let order = if strict { "strict" } else { "parallel" };
            let mut body = json!({ "name": name, "url": url, "order": order, "ed25519": ed25519 });
            if !events.is_empty() {
                body["events"] = json!(events);
            }
            let path = session.map_or("/api/endpoints".to_owned(), |id| format!("/api/sessions/{id}/endpoints"));
            let added: Value = gateway.post(&path, Some(body)).await?;
            output.show(&added, |added| {
                say::line(&word(&added["id"]));
                keys(added);
            });
        }
        Command::Test { endpoint, output } => {
            let sent: Value = gateway.post(&format!("/api/endpoints/{endpoint}/test"), None).await?;
            output.show(&sent, |sent| {
                say::line(&format!("on its way: wagate deliveries show {}", word(&sent["delivery_id"])));
            });
        }
        Command::Rotate { endpoint, ed25519, keep_old_for, output } => {
            let algorithm = if ed25519 { "ed25519" } else { "hmac" };
            let body = json!({ "algorithm": algorithm, "keep_old_for": keep_old_for });
            let rotated: Value = gateway.post(&format!("/api/endpoints/{endpoint}/rotate"), Some(body)).await?;
            output.show(&rotated, keys);
        }
        Command::Enable { endpoint, output } => {
            let now: Value = gateway.post(&format!("/api/endpoints/{endpoint}/enable"), None).await?;
            output.show(&now, |_| say::line(&format!("{endpoint} is in use")));
        }
        Command::Disable { endpoint, output } => {
            let now: Value = gateway.post(&format!("/api/endpoints/{endpoint}/disable"), None).await?;
            output.show(&now, |_| say::line(&format!("{endpoint} is out of use")));
        }
        Command::Remove { endpoint, output } => {
            let done: Value = gateway.delete(&format!("/api/endpoints/{endpoint}")).await?;
            output.show(&done, |_| say::line(&format!("{endpoint} is removed")));
        }
    }
    Ok(())
}

/// What requests are signed with.
fn keys(shown: &Value) {
    for key in shown["keys"].as_array().into_iter().flatten() {
        let secret = key.get("secret").or(key.get("public_key")).map(word).unwrap_or_default();
        let until = key["until"].as_i64().map(|until| format!(" until {until}")).unwrap_or_default();
        say::line(&format!("{} {secret}{until}", word(&key["algorithm"])));
    }
}
