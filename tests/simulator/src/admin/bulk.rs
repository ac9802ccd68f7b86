//! `/admin/bulk`: many phones and many messages at once, for benches.

use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::error::ApiError;
use super::phones::{phone, show};
use super::{Answer, Net, parse};
use crate::network::PhoneSpec;
use crate::wire::unix_millis;

/// How many phones one call makes at most.
const MOST_PHONES: usize = 10_000;
/// How often a paced run sends.
const BEAT: Duration = Duration::from_millis(10);

#[derive(Deserialize)]
struct ManyPhones {
    count: usize,
    #[serde(default)]
    name: Option<String>,
}

#[derive(Deserialize)]
struct ManyMessages {
    /// The number of the phone that writes.
    from: String,
    /// Numbers or JIDs, written to in turn.
    to: Vec<String>,
    /// How many messages in all.
    count: usize,
    /// The pace; as fast as it goes, if there is none.
    #[serde(default)]
    rate_per_s: Option<u32>,
    /// The text; `{n}` and `{ms}` become the message's number and the time of its making.
    #[serde(default)]
    text: Option<String>,
}

pub(super) async fn phones(State(core): Net, body: Bytes) -> Answer {
    let ManyPhones { count, name } = parse(&body)?;
    if count > MOST_PHONES {
        return Err(ApiError::bad(format!("at most {MOST_PHONES} phones are made at once")));
    }
    let name = name.unwrap_or_else(|| "Phone".to_owned());
    let mut made: Vec<Value> = Vec::with_capacity(count);
    for number in 1..=count {
        let spec = PhoneSpec { name: format!("{name} {number}"), ..PhoneSpec::default() };
        made.push(show(&core.add_phone(spec)?));
        if number % 50 == 0 {
            tokio::task::yield_now().await;
        }
    }
    Ok(Json(made.into()))
}

/// Sends and answers when all are sent: ids, and how long it took.
pub(super) async fn send(State(core): Net, body: Bytes) -> Answer {
    let ManyMessages { from, to, count, rate_per_s, text } = parse(&body)?;
    let phone = phone(&core, &from)?;
    if to.is_empty() {
        return Err(ApiError::bad("to is empty: name at least one number or JID"));
    }
    if rate_per_s == Some(0) {
        return Err(ApiError::bad("rate_per_s is a positive number; leave it out to send as fast as it goes"));
    }
    let template = text.unwrap_or_else(|| "message {n} at {ms}".to_owned());
    let started = Instant::now();
    let mut beat = interval(BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut ids = Vec::with_capacity(count);
    for (number, chat) in to.iter().cycle().take(count).enumerate() {
        if let Some(rate) = rate_per_s {
            let due = Duration::from_secs(1) * u32::try_from(number).unwrap_or(u32::MAX) / rate;
            while started.elapsed() < due {
                beat.tick().await;
            }
        }
        let text = template.replace("{n}", &number.to_string()).replace("{ms}", &unix_millis().to_string());
        ids.push(phone.send_text(chat, &text).await?);
    }
    let took = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(Json(json!({ "sent": ids.len(), "took_ms": took, "ids": ids })))
}
