//! `wagate deliveries`: what was posted and what came of it, posting it again, and giving it up.

use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};
use url::form_urlencoded::Serializer;

use super::door::Request;
use super::gateway::Gateway;
use super::say;
use crate::config::Config;
use crate::model::{DeliveryId, EndpointId, EventId, SessionId};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List deliveries, newest first.
    List {
        #[command(flatten)]
        which: Which,
        /// How many, 1 to 500.
        #[arg(long, default_value_t = 50)]
        limit: u32,
        /// Those older than this one.
        #[arg(long, value_name = "DELIVERY")]
        before: Option<DeliveryId>,
        #[command(flatten)]
        output: Output,
    },
    /// Show a delivery: what is posted, and every attempt.
    Show {
        /// The delivery, the header `webhook-id`.
        delivery: DeliveryId,
        #[command(flatten)]
        output: Output,
    },
    /// Post one delivery again, or all that a filter names, so many a second.
    Replay {
        /// The delivery; a filter in its place for many.
        delivery: Option<DeliveryId>,
        #[command(flatten)]
        which: Which,
        /// How many a second.
        #[arg(long, default_value_t = 50)]
        per_second: u32,
        /// Only count them.
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        output: Output,
    },
    /// List the replays that were begun, newest first.
    Replays {
        #[command(flatten)]
        output: Output,
    },
    /// Give up a delivery that waits; at a strict endpoint the next of its chat goes on.
    Skip {
        /// The delivery.
        delivery: DeliveryId,
        #[command(flatten)]
        output: Output,
    },
}

/// Which deliveries are meant.
#[derive(Debug, Args)]
pub(super) struct Which {
    /// Of this session.
    #[arg(long, value_name = "ID")]
    session: Option<SessionId>,
    /// To this endpoint.
    #[arg(long, value_name = "ID")]
    endpoint: Option<EndpointId>,
    /// Of this event.
    #[arg(long, value_name = "ID")]
    event: Option<EventId>,
    /// In this state: waiting, delivered or dead; several separated by commas.
    #[arg(long, value_name = "STATE")]
    state: Option<String>,
    /// Created then or later, milliseconds since 1970.
    #[arg(long, value_name = "MILLIS")]
    from: Option<i64>,
    /// Created before then, milliseconds since 1970.
    #[arg(long, value_name = "MILLIS")]
    until: Option<i64>,
}

/// How a result is written.
#[derive(Debug, Args)]
pub(super) struct Output {
    /// Write the gateway's answer as JSON.
    #[arg(long)]
    json: bool,
}

impl Output {
    /// Writes an answer: as it is, or by `write`.
    pub(super) fn show(&self, answer: &Value, write: impl FnOnce(&Value)) {
        if self.json { say::line(&answer.to_string()) } else { write(answer) }
    }
}

impl Which {
    /// As members of a request.
    fn members(&self) -> Map<String, Value> {
        let text = |value: Option<String>| value.map(Value::from);
        let pairs = [
            ("session", text(self.session.as_ref().map(ToString::to_string))),
            ("endpoint", text(self.endpoint.as_ref().map(ToString::to_string))),
            ("event", text(self.event.as_ref().map(ToString::to_string))),
            ("state", text(self.state.clone())),
            ("from", self.from.map(Value::from)),
            ("until", self.until.map(Value::from)),
        ];
        pairs.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }
}

pub(super) async fn run(request: Request<Command>, config: &Config) -> Result<()> {
    let gateway = request.credentials.demand(config).await?;
    match request.command {
        Command::List { which, limit, before, output } => list(&gateway, &which, limit, before, &output).await,
        Command::Show { delivery, output } => {
            let found: Value = gateway.get(&format!("/api/deliveries/{delivery}")).await?;
            output.show(&found, show);
            Ok(())
        }
        Command::Replay { delivery: Some(delivery), output, .. } => {
            let done: Value = gateway.post(&format!("/api/deliveries/{delivery}/replay"), None).await?;
            output.show(&done, |_| say::line(&format!("{delivery} is due again")));
            Ok(())
        }
        Command::Replay { delivery: None, which, per_second, dry_run, output } => {
            let mut body = which.members();
            body.extend([("per_second".to_owned(), json!(per_second)), ("dry_run".to_owned(), json!(dry_run))]);
            let answer: Value = gateway.post("/api/replays", Some(Value::Object(body))).await?;
            output.show(&answer, |answer| match answer["count"].as_u64() {
                Some(count) => say::line(&format!("{count} deliveries would be posted again")),
                None => replay(answer),
            });
            Ok(())
        }
        Command::Replays { output } => {
            let replays: Value = gateway.get("/api/replays").await?;
            output.show(&replays, |replays| replays.as_array().into_iter().flatten().for_each(replay));
            Ok(())
        }
        Command::Skip { delivery, output } => {
            let done: Value = gateway.post(&format!("/api/deliveries/{delivery}/skip"), None).await?;
            output.show(&done, |_| say::line(&format!("{delivery} is given up")));
            Ok(())
        }
    }
}

async fn list(gateway: &Gateway, which: &Which, limit: u32, before: Option<DeliveryId>, output: &Output) -> Result<()> {
    let mut query = Serializer::new(String::new());
    for (name, value) in which.members() {
        query.append_pair(&name, &word(&value));
    }
    query.append_pair("limit", &limit.to_string());
    if let Some(before) = before {
        query.append_pair("before", before.as_str());
    }
    let page: Value = gateway.get(&format!("/api/deliveries?{}", query.finish())).await?;
    output.show(&page, |page| {
        let rows = page["deliveries"].as_array().into_iter().flatten();
        let cells = |row: &Value| {
            ["id", "state", "attempts", "kind", "endpoint", "created_at"].map(|member| word(&row[member]))
        };
        say::table(["DELIVERY", "STATE", "ATTEMPTS", "KIND", "ENDPOINT", "CREATED"], rows.map(cells));
        if let Some(next) = page["next"].as_str() {
            say::aside(&format!("there are more: --before {next}"));
        }
    });
    Ok(())
}

/// A delivery with its attempts, for a reader.
fn show(found: &Value) {
    for member in ["id", "state", "dead_why", "kind", "event_id", "session_id", "endpoint", "sequence", "due_at"] {
        if !found[member].is_null() {
            say::line(&format!("{member:10} {}", word(&found[member])));
        }
    }
    let request = &found["request"];
    say::line(&format!("posts      {} {}", word(&request["content_type"]), word(&request["path_suffix"])));
    say::line(&format!("           {}", word(request.get("body").unwrap_or(&request["body_base64"]))));
    attempts(found, "");
}

/// The attempts of a delivery, a line each.
pub(super) fn attempts(delivery: &Value, indent: &str) {
    for (attempt, number) in delivery["attempts"].as_array().into_iter().flatten().zip(1..) {
        let outcome = match attempt["status"].as_u64() {
            Some(status) => format!("answered {status}"),
            None => format!("{}: {}", word(&attempt["class"]), word(&attempt["error"])),
        };
        let phases = ["dns_us", "connect_us", "tls_us", "first_byte_us"].into_iter().filter_map(|phase| {
            let name = phase.trim_end_matches("_us").replace('_', " ");
            Some(format!(", {name} {} µs", attempt[phase].as_i64()?))
        });
        let at = attempt["address"].as_str().map(|address| format!(" at {address}")).unwrap_or_default();
        let took = word(&attempt["took_ms"]);
        say::line(&format!("{indent}attempt {number}{at}: {outcome} ({took} ms{})", phases.collect::<String>()));
        if let Some(answer) = attempt["answer"].as_str() {
            say::line(&format!("{indent}  {}", answer.escape_debug()));
        }
    }
}

fn replay(replay: &Value) {
    let [id, state, done, total, rate] =
        ["id", "state", "done", "total", "per_second"].map(|member| word(&replay[member]));
    say::line(&format!("{id} {state}: {done} of {total}, {rate} a second"));
}

/// A value as a word of a line.
pub(super) fn word(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
