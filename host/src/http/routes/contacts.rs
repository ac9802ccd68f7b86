//! Numbers and groups.

use axum::Json as Answer;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::Shared;
use super::super::caller::Caller;
use super::super::docs::answers::{Asking, Body, Guarded, Named};
use super::super::error::ApiError;
use super::super::extract::{Json, SessionPath};
use super::Done;
use crate::model::{Chat, GroupSummary, NumberCheck, Phone};

/// A number to be looked up.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct NumberRequest {
    /// The number with country code.
    #[schema(example = "6281381393739")]
    number: String,
}

/// Somebody whose presence is to be told.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct FollowRequest {
    /// A number with country code, or a person's JID.
    #[schema(example = "6281381393739")]
    contact: String,
}

/// What WhatsApp knows about a number.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct NumberAnswer {
    /// Always true.
    #[schema(example = true)]
    success: bool,
    /// The number, digits only.
    #[schema(example = "6281381393739")]
    number: String,
    /// Whether an account stands behind it.
    #[schema(example = true)]
    on_whatsapp: bool,
    /// Whether WhatsApp stands behind the business name; not for a name the business chose itself.
    #[schema(example = false)]
    verified: bool,
    /// The name of a business account; empty when there is none.
    #[schema(example = "Business Name")]
    verified_name: String,
}

/// The groups of an account.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct GroupsAnswer {
    /// Always true.
    #[schema(example = true)]
    success: bool,
    /// How many.
    #[schema(example = 2)]
    count: usize,
    /// The groups, by name.
    groups: Vec<GroupBody>,
}

/// A group.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Group)]
pub(in crate::http) struct GroupBody {
    /// Its JID; usable as `recipient`.
    #[schema(example = "120363302171476233@g.us")]
    jid: String,
    /// Its name.
    #[schema(example = "Family Group")]
    name: String,
    /// Its description; empty when it has none.
    #[schema(example = "Family chat group")]
    topic: String,
    /// The same as `topic`.
    #[schema(example = "Family chat group")]
    description: String,
    /// Who created it; empty when WhatsApp does not tell.
    #[schema(example = "6281381393739@s.whatsapp.net")]
    owner: String,
    /// How many members it has.
    #[schema(example = 8)]
    participant_count: usize,
    /// Whether the linked account is an admin (a super admin is one too).
    #[schema(example = false)]
    is_admin: bool,
    /// Whether the linked account is the super admin.
    #[schema(example = false)]
    is_super_admin: bool,
}

/// Check whether a number is on WhatsApp
#[utoipa::path(post, path = "/api/sessions/{id}/check-number", operation_id = "checkNumber", tag = "Contacts",
    params(("id" = String, Path, description = "The session to ask through", example = "1234567890")),
    request_body = NumberRequest,
    responses((status = 200, description = "What WhatsApp knows", body = NumberAnswer), Body, Guarded, Named, Asking))]
pub(in crate::http) async fn check_number(
    State(site): Shared,
    caller: Caller,
    SessionPath(id): SessionPath,
    Json(request): Json<NumberRequest>,
) -> Result<Answer<NumberAnswer>, ApiError> {
    let number: Phone = request.number.parse().map_err(|error: crate::model::PhoneError| {
        ApiError::bad_request("invalid_number", format!("number: {error}"))
    })?;
    let check = site.parts.sessions.check_number(caller.scope, &id, &number).await?;
    Ok(Answer(check.into()))
}

/// Follow somebody's presence
///
/// WhatsApp tells whether somebody is online only of those it is asked about. From now on their `presence.update` events
/// come, as far as their privacy settings allow, until the session is disconnected or the gateway stops; then ask again.
#[utoipa::path(post, path = "/api/sessions/{id}/follow-presence", operation_id = "followPresence", tag = "Contacts",
    params(("id" = String, Path, description = "The session to ask through", example = "1234567890")),
    request_body = FollowRequest,
    responses((status = 200, description = "WhatsApp was asked", body = Done), Body, Guarded, Named, Asking))]
pub(in crate::http) async fn follow_presence(
    State(site): Shared,
    caller: Caller,
    SessionPath(id): SessionPath,
    Json(request): Json<FollowRequest>,
) -> Result<Answer<Done>, ApiError> {
    let refused = |why: &str| ApiError::bad_request("invalid_contact", format!("contact: {why}"));
    let contact: Chat =
        request.contact.parse().map_err(|error: crate::model::ChatError| refused(&error.to_string()))?;
    if !contact.is_person() {
        return Err(refused("only people come online; write a number or a person's JID"));
    }
    site.parts.sessions.follow_presence(caller.scope, &id, &contact).await?;
    Ok(Answer(Done::new("Presence is followed")))
}

/// List the account's groups
#[utoipa::path(get, path = "/api/sessions/{id}/groups", operation_id = "listGroups", tag = "Contacts",
    params(("id" = String, Path, description = "The session", example = "1234567890")),
    responses((status = 200, description = "The groups", body = GroupsAnswer), Guarded, Named, Asking))]
pub(in crate::http) async fn groups(
    State(site): Shared,
    caller: Caller,
    SessionPath(id): SessionPath,
) -> Result<Answer<GroupsAnswer>, ApiError> {
    let groups: Vec<GroupBody> =
        site.parts.sessions.groups(caller.scope, &id).await?.into_iter().map(GroupBody::from).collect();
    Ok(Answer(GroupsAnswer { success: true, count: groups.len(), groups }))
}

impl From<NumberCheck> for NumberAnswer {
    fn from(check: NumberCheck) -> Self {
        Self {
            success: true,
            number: check.number.to_string(),
            on_whatsapp: check.on_whatsapp,
            verified: check.verified,
            verified_name: check.verified_name.unwrap_or_default(),
        }
    }
}

impl From<GroupSummary> for GroupBody {
    fn from(group: GroupSummary) -> Self {
        Self {
            jid: group.chat.to_string(),
            name: group.name,
            description: group.topic.clone(),
            topic: group.topic,
            owner: group.owner.map(String::from).unwrap_or_default(),
            participant_count: group.participant_count,
            is_admin: group.is_admin,
            is_super_admin: group.is_super_admin,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_number_check_is_the_guides() {
        let number: Phone = "6281381393739".parse().unwrap();
        let name = Some("Business Name".to_owned());
        let check = NumberCheck { number, on_whatsapp: true, verified: false, verified_name: name };
        let expected = json!({ "success": true, "number": "6281381393739", "on_whatsapp": true, "verified": false,
                               "verified_name": "Business Name" });
        assert_eq!(serde_json::to_value(NumberAnswer::from(check.clone())).unwrap(), expected);
        let nameless = NumberAnswer::from(NumberCheck { verified_name: None, ..check });
        assert_eq!(serde_json::to_value(nameless).unwrap()["verified_name"], "");
    }

    #[test]
    fn a_group_is_the_guides() {
        let group = GroupSummary {
            chat: "120363302171476233@g.us".parse().unwrap(),
            name: "Family Group".to_owned(),
            topic: "Family chat group".to_owned(),
            owner: Some("6281381393739".parse().unwrap()),
            participant_count: 8,
            is_admin: false,
            is_super_admin: false,
        };
        let expected = json!({
            "jid": "120363302171476233@g.us", "name": "Family Group", "topic": "Family chat group",
            "description": "Family chat group", "owner": "6281381393739@s.whatsapp.net", "participant_count": 8,
            "is_admin": false, "is_super_admin": false
        });
        assert_eq!(serde_json::to_value(GroupBody::from(group)).unwrap(), expected);
    }
}
