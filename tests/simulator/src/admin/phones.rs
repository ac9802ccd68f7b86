//! `/admin/phones`: what each phone's owner can do.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::ApiError;
use super::{Answer, Net, parse};
use crate::linking::{LinkError, QrText};
use crate::network::{Core, PhoneSpec};
use crate::phone::{Phone, Received};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewPhone {
    name: String,
    number: Option<String>,
    business: Option<String>,
}

#[derive(Deserialize)]
struct Scan {
    qr: String,
}

#[derive(Deserialize)]
struct EnterCode {
    code: String,
}

#[derive(Deserialize)]
struct Send {
    to: String,
    text: String,
}

#[derive(Deserialize)]
struct Read {
    chat: String,
    id: String,
}

#[derive(Deserialize)]
struct Typing {
    chat: String,
}

#[derive(Deserialize)]
struct Unlink {
    device: u16,
}

/// The phone of a path.
pub(super) fn phone(core: &Arc<Core>, number: &str) -> Result<Phone, ApiError> {
    let account = core.directory.by_number(number.trim_start_matches('+')).ok_or_else(|| ApiError::no_phone(number))?;
    Ok(Phone { core: Arc::clone(core), account })
}

/// A phone as the API shows it.
pub(super) fn show(phone: &Phone) -> Value {
    json!({
        "number": phone.number(),
        "jid": phone.jid(),
        "lid": phone.lid(),
        "name": phone.name(),
        "business": phone.business(),
        "devices": phone.devices(),
        "online": phone.online(),
        "inbox": phone.account.handset.inbox_len(),
        "unacked": phone.unacked(),
    })
}

/// A received message as the API shows it.
fn show_message(message: &Received) -> Value {
    json!({
        "id": message.id,
        "chat": message.chat,
        "from": message.from,
        "from_me": message.from_me,
        "from_device": message.from_device,
        "text": message.text,
        "kind": whatsapp_rust::wacore::send::stanza_type_from_message(&message.message),
        "at_ms": message.at_ms,
    })
}

pub(super) async fn list(State(core): Net) -> Json<Value> {
    let accounts = core.directory.accounts().into_iter();
    let phones: Vec<Value> = accounts.map(|account| show(&Phone { core: Arc::clone(&core), account })).collect();
    Json(phones.into())
}

pub(super) async fn create(State(core): Net, body: Bytes) -> Result<Response, ApiError> {
    let NewPhone { name, number, business } = parse(&body)?;
    let phone = core.add_phone(PhoneSpec { name, number, business })?;
    Ok((StatusCode::CREATED, Json(show(&phone))).into_response())
}

/// Scans a bare QR text; `?phone=` picks the phone, else the client's push name does, else a new one is made.
pub(super) async fn scan_by_push_name(
    State(core): Net,
    Query(query): Query<HashMap<String, String>>,
    qr: String,
) -> Answer {
    let reference =
        QrText::parse(&qr).map_err(|error| ApiError::from(crate::phone::PhoneError::from(error)))?.reference;
    let linking = core.directory.linking(&reference);
    let linking = linking.ok_or_else(|| ApiError::from(crate::phone::PhoneError::from(LinkError::UnknownQr)))?;
    let name = linking.push_name.clone().filter(|name| !name.is_empty());
    drop(linking);
    let phone = match (query.get("phone"), name) {
        (Some(number), _) => phone(&core, number)?,
        (None, name) => {
            let known = name.as_deref().and_then(|name| core.directory.by_name(name));
            match known {
                Some(account) => Phone { core: Arc::clone(&core), account },
                None => core.add_phone(PhoneSpec {
                    name: name.unwrap_or_else(|| "Phone".to_owned()),
                    ..PhoneSpec::default()
                })?,
            }
        }
    };
    let device = phone.scan(&qr).await?;
    Ok(Json(json!({ "device": device, "phone": show(&phone) })))
}

pub(super) async fn scan(State(core): Net, Path(number): Path<String>, body: Bytes) -> Answer {
    let phone = phone(&core, &number)?;
    let Scan { qr } = parse(&body)?;
    Ok(Json(json!({ "device": phone.scan(&qr).await? })))
}

pub(super) async fn enter_code(State(core): Net, Path(number): Path<String>, body: Bytes) -> Answer {
    let phone = phone(&core, &number)?;
    let EnterCode { code } = parse(&body)?;
    Ok(Json(json!({ "device": phone.enter_code(&code).await? })))
}

pub(super) async fn send(State(core): Net, Path(number): Path<String>, body: Bytes) -> Answer {
    let phone = phone(&core, &number)?;
    let Send { to, text } = parse(&body)?;
    Ok(Json(json!({ "id": phone.send_text(&to, &text).await? })))
}

pub(super) async fn read(State(core): Net, Path(number): Path<String>, body: Bytes) -> Answer {
    let phone = phone(&core, &number)?;
    let Read { chat, id } = parse(&body)?;
    phone.read(&chat, &id).await?;
    Ok(Json(json!({ "ok": true })))
}

pub(super) async fn typing(State(core): Net, Path(number): Path<String>, body: Bytes) -> Answer {
    let phone = phone(&core, &number)?;
    let Typing { chat } = parse(&body)?;
    phone.typing(&chat).await?;
    Ok(Json(json!({ "ok": true })))
}

pub(super) async fn unlink(State(core): Net, Path(number): Path<String>, body: Bytes) -> Answer {
    let phone = phone(&core, &number)?;
    let Unlink { device } = parse(&body)?;
    phone.unlink(device).await?;
    Ok(Json(json!({ "ok": true })))
}

/// The inbox; `?after=` leaves out what arrived up to that time in milliseconds.
pub(super) async fn inbox(
    State(core): Net,
    Path(number): Path<String>,
    Query(query): Query<HashMap<String, String>>,
) -> Answer {
    let phone = phone(&core, &number)?;
    let after = match query.get("after") {
        Some(after) => after.parse().map_err(|_| ApiError::bad("after is a time in milliseconds since 1970"))?,
        None => i64::MIN,
    };
    let messages = phone.inbox();
    let messages: Vec<Value> = messages.iter().filter(|message| message.at_ms > after).map(show_message).collect();
    Ok(Json(messages.into()))
}

pub(super) async fn ticks(State(core): Net, Path((number, id)): Path<(String, String)>) -> Answer {
    let phone = phone(&core, &number)?;
    Ok(Json(json!({ "id": id, "ticks": phone.ticks(&id) })))
}
