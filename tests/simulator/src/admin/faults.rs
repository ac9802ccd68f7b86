//! `/admin/faults`: making the network misbehave, and ending it.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use serde::Deserialize;
use serde_json::json;

use super::{Answer, Net, parse};
use crate::faults::{Faults, StreamFault};

/// A fault; `phone` is a number, `number:device`, or `*`.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum Fault {
    RefuseSends {
        #[serde(default = "everyone")]
        phone: String,
        code: u16,
        #[serde(default = "always")]
        count: usize,
    },
    DelayAcks {
        #[serde(default = "everyone")]
        phone: String,
        ms: u64,
    },
    DropAcks {
        #[serde(default = "everyone")]
        phone: String,
        #[serde(default = "always")]
        count: usize,
    },
    DropSockets {
        #[serde(default = "everyone")]
        phone: String,
    },
    Freeze {
        #[serde(default = "everyone")]
        phone: String,
    },
    Thaw {
        #[serde(default = "everyone")]
        phone: String,
    },
    StreamError {
        #[serde(default = "everyone")]
        phone: String,
        fault: StreamFault,
    },
    FailLogin {
        #[serde(default = "everyone")]
        phone: String,
        reason: u16,
        #[serde(default = "always")]
        count: usize,
    },
    RequirePasskey {
        #[serde(default = "once")]
        count: usize,
    },
}

fn everyone() -> String {
    "*".to_owned()
}

fn always() -> usize {
    usize::MAX
}

fn once() -> usize {
    1
}

pub(super) async fn set(State(core): Net, body: Bytes) -> Answer {
    let faults = Faults { core: Arc::clone(&core) };
    match parse(&body)? {
        Fault::RefuseSends { phone, code, count } => faults.refuse_sends(&phone, code, count),
        Fault::DelayAcks { phone, ms } => faults.delay_acks(&phone, Duration::from_millis(ms)),
        Fault::DropAcks { phone, count } => faults.drop_acks(&phone, count),
        Fault::DropSockets { phone } => faults.drop_sockets(&phone),
        Fault::Freeze { phone } => faults.freeze(&phone),
        Fault::Thaw { phone } => faults.thaw(&phone),
        Fault::StreamError { phone, fault } => faults.stream_error(&phone, fault),
        Fault::FailLogin { phone, reason, count } => faults.fail_login(&phone, reason, count),
        Fault::RequirePasskey { count } => faults.require_passkey(count),
    }
    Ok(Json(json!({ "ok": true })))
}

pub(super) async fn clear(State(core): Net) -> Answer {
    Faults { core: Arc::clone(&core) }.clear();
    Ok(Json(json!({ "ok": true })))
}
