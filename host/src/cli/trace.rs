//! `wagate trace`: the whole way of one message, in one answer.

use anyhow::Result;
use clap::Args;
use serde_json::Value;
use url::form_urlencoded::byte_serialize;

use super::deliveries::{Output, attempts, word};
use super::door::Credentials;
use super::say;
use crate::config::Config;
use crate::model::SessionId;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// WhatsApp's id of the message, or an event's id (`evt_…`).
    message: String,
    /// The session it is of.
    #[arg(long, value_name = "ID")]
    session: Option<SessionId>,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    credentials: Credentials,
}

pub(super) async fn run(arguments: Arguments, config: &Config) -> Result<()> {
    let gateway = arguments.credentials.demand(config).await?;
    let id: String = byte_serialize(arguments.message.as_bytes()).collect();
    let traces: Value = if arguments.message.starts_with("evt_") {
        Value::Array(vec![gateway.get(&format!("/api/events/{id}/trace")).await?])
    } else {
        let session = arguments.session.map(|session| format!("?session={session}")).unwrap_or_default();
        gateway.get(&format!("/api/messages/{id}/trace{session}")).await?
    };
    arguments.output.show(&traces, |traces| traces.as_array().into_iter().flatten().for_each(show));
    Ok(())
}

fn show(trace: &Value) {
    let event = &trace["event"];
    let [id, kind, session, at] = ["id", "type", "session_id", "occurred_at"].map(|member| word(&event[member]));
    say::line(&format!("{id} {kind} on {session}, stored {at}"));
    let routing = &trace["routing"];
    for step in routing["steps"].as_array().into_iter().flatten() {
        let [name, hook, verdict, took] = ["name", "hook", "verdict", "took_us"].map(|member| word(&step[member]));
        say::line(&format!("  {name} {hook} → {verdict} ({took} µs)"));
    }
    if let Some(outcome) = routing["outcome"].as_str() {
        let detail = routing["detail"].as_str().map(|detail| format!(": {detail}")).unwrap_or_default();
        say::line(&format!("  {outcome}{detail}"));
    }
    for delivery in trace["deliveries"].as_array().into_iter().flatten() {
        let [id, state, endpoint] = ["id", "state", "endpoint"].map(|member| word(&delivery[member]));
        say::line(&format!("  {id} to {endpoint}: {state}"));
        attempts(delivery, "    ");
    }
    for send in trace["sends"].as_array().into_iter().flatten() {
        let [id, to, state] = ["message_id", "to", "state"].map(|member| word(&send[member]));
        say::line(&format!("  {id} to {to}: {state}"));
    }
}
