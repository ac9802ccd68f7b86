//! `/admin/groups`: listing and founding groups.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::ApiError;
use super::phones::phone;
use super::{Net, parse};
use crate::group::{Addressing, Founding, GroupState};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewGroup {
    subject: String,
    #[serde(default)]
    topic: String,
    /// The number of the phone that makes it.
    owner: String,
    /// The numbers of the others.
    members: Vec<String>,
    /// Whether members are named by LID.
    #[serde(default)]
    lid: bool,
}

fn show(group: &GroupState) -> Value {
    let members: Vec<Value> = group
        .members()
        .iter()
        .map(|member| json!({ "number": member.account.number, "rank": member.rank.as_str().unwrap_or("member") }))
        .collect();
    json!({
        "id": group.id,
        "jid": group.jid().to_string(),
        "subject": group.subject(),
        "topic": group.topic(),
        "addressing": group.addressing.as_str(),
        "members": members,
    })
}

pub(super) async fn list(State(core): Net) -> Json<Value> {
    Json(core.directory.groups().iter().map(|group| show(group)).collect::<Vec<_>>().into())
}

pub(super) async fn create(State(core): Net, body: Bytes) -> Result<Response, ApiError> {
    let new: NewGroup = parse(&body)?;
    let owner = phone(&core, &new.owner)?;
    let members: Result<Vec<_>, ApiError> =
        new.members.iter().map(|number| Ok(Arc::clone(&phone(&core, number)?.account))).collect();
    let group = core.found_group(Founding {
        subject: &new.subject,
        topic: &new.topic,
        addressing: if new.lid { Addressing::Lid } else { Addressing::Number },
        creator: &owner.account,
        members: members?,
    });
    Ok((StatusCode::CREATED, Json(show(&group))).into_response())
}
