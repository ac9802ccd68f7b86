//! Sessions: create, look at, rename, start, stop, delete.

use axum::Json as Answer;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::caller::Caller;
use super::super::docs::answers::{Body, Guarded, Named, Standing};
use super::super::error::ApiError;
use super::super::extract::{Json, SessionPath};
use super::super::{Shared, Site};
use super::Done;
use super::webhook;
use crate::model::{Pairing, Phone, Scope, Session, SessionId, Status};
use crate::store::StoreError;

/// Longest name of a session, characters.
const NAME_CHARACTERS: usize = 100;

/// A session. Texts that are not known yet are empty, as the guide's clients expect.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Session)]
pub(in crate::http) struct SessionBody {
    /// Its id. Opaque; chosen by you or by the gateway.
    #[schema(example = "1234567890")]
    id: String,
    /// Its name.
    #[schema(example = "Business Support")]
    name: String,
    /// The linked account's number; empty until a phone has scanned. It is what `POST /api/send` takes as `phone`.
    #[schema(example = "6282260790996")]
    phone: String,
    /// The linked device's JID; empty until a phone has scanned.
    #[schema(example = "6282260790996:3@s.whatsapp.net")]
    actual_phone: String,
    /// Its place among your sessions by age, from 1.
    #[schema(example = 1)]
    position: usize,
    /// Where its messages are posted; empty when nowhere.
    #[schema(example = "https://myapp.com/webhook/business")]
    webhook_url: String,
    /// Whether messages can be sent now.
    connected: bool,
    /// Whether an account is linked.
    logged_in: bool,
    /// How it fares.
    status: StatusBody,
    /// When it was created, milliseconds since 1970.
    #[schema(example = 1_700_000_000_000_i64)]
    created_at: i64,
}

/// How a session fares, without the secrets of pairing.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
#[schema(as = Status)]
pub(in crate::http) struct StatusBody {
    /// `stopped`, `connecting`, `pairing`, `connected`, `pairing_expired`, `logged_out` or `failed`.
    #[schema(example = "connected")]
    state: &'static str,
    /// While connecting: which attempt this is, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
    /// While connecting: why the last attempt failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<String>,
    /// While pairing: `qr`, `code`, `passkey` or `passkey_confirm`.
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'static str>,
    /// While pairing: when the present code stops working, milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<i64>,
    /// While connected: since when, milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<i64>,
    /// After an end: what happened and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// A session to be created.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct SessionRequest {
    /// Its name, 1 to 100 characters; the id when left out.
    #[serde(default)]
    #[schema(example = "Business Support", max_length = 100)]
    name: Option<String>,
    /// Where its messages are to be posted.
    #[serde(default)]
    #[schema(example = "https://myapp.com/webhook/business")]
    webhook_url: Option<String>,
    /// An id of your choice: 1 to 64 of `A-Z a-z 0-9 . _ -`.
    #[serde(default)]
    #[schema(example = "session_sales")]
    id: Option<String>,
    /// A number to be used as the id, when no id is given (older clients).
    #[serde(default)]
    #[schema(example = "6282260790996")]
    phone: Option<String>,
}

/// A session's new name.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct NameRequest {
    /// 1 to 100 characters.
    #[schema(example = "Updated Session Name", min_length = 1, max_length = 100)]
    name: String,
}

/// A session that has been renamed.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct Renamed {
    /// Always true.
    #[schema(example = true)]
    success: bool,
    /// What was done.
    #[schema(example = "Session name updated successfully")]
    message: &'static str,
    /// The new name.
    #[schema(example = "Updated Session Name")]
    name: String,
}

/// List your sessions
#[utoipa::path(get, path = "/api/sessions", operation_id = "listSessions", tag = "Sessions",
    responses((status = 200, description = "Your sessions, oldest first", body = [SessionBody]), Guarded))]
pub(in crate::http) async fn list(State(site): Shared, caller: Caller) -> Result<Answer<Vec<SessionBody>>, ApiError> {
    let sessions = site.parts.store.sessions(caller.scope).list().await?;
    let seen =
        |(at, session): (usize, &Session)| SessionBody::new(session, at + 1, &site.parts.sessions.status(&session.id));
    Ok(Answer(sessions.iter().enumerate().map(seen).collect()))
}

/// Create a session
#[utoipa::path(post, path = "/api/sessions", operation_id = "createSession", tag = "Sessions",
    request_body = SessionRequest,
    responses((status = 201, description = "Created", body = SessionBody), Body, Guarded, Standing))]
pub(in crate::http) async fn create(
    State(site): Shared,
    caller: Caller,
    Json(request): Json<SessionRequest>,
) -> Result<impl IntoResponse, ApiError> {
    let id = chosen_id(request.id.as_deref(), request.phone.as_deref())?;
    let name = match request.name.as_deref() {
        Some(name) => checked_name(name)?,
        None => id.to_string(),
    };
    let webhook = webhook::parse(request.webhook_url.as_deref())?;
    if let Some(url) = &webhook {
        webhook::check(&site, url).await?;
    }
    // Before the first message can arrive: its webhooks are shaped by a plugin of the owner's.
    site.parts.catalog.welcome(caller.user.id).await;
    let sessions = site.parts.store.sessions(caller.scope);
    let created = sessions.create(caller.user.id, id.clone(), &name, webhook.as_ref()).await;
    let session = created.map_err(|error| match error {
        StoreError::Taken(_) => ApiError::conflict("id_taken", "a session with this id exists; choose another id"),
        error => error.into(),
    })?;
    let body = view(&site, caller.scope, &session.id).await?;
    let body = body.unwrap_or_else(|| SessionBody::new(&session, 1, &Status::Stopped));
    let location = [(header::LOCATION, format!("/api/sessions/{id}"))];
    Ok((StatusCode::CREATED, location, Answer(body)))
}

/// Look at a session
#[utoipa::path(get, path = "/api/sessions/{id}", operation_id = "getSession", tag = "Sessions",
    params(("id" = String, Path, description = "The session", example = "1234567890")),
    responses((status = 200, description = "The session", body = SessionBody), Guarded, Named))]
pub(in crate::http) async fn get(
    State(site): Shared,
    caller: Caller,
    SessionPath(id): SessionPath,
) -> Result<Answer<SessionBody>, ApiError> {
    let session = view(&site, caller.scope, &id).await?;
    session.map(Answer).ok_or_else(ApiError::no_session)
}

/// Delete a session
///
/// Logs the device out of the account, then deletes everything stored for the session.
#[utoipa::path(delete, path = "/api/sessions/{id}", operation_id = "deleteSession", tag = "Sessions",
    params(("id" = String, Path, description = "The session", example = "1234567890")),
    responses((status = 200, description = "Deleted", body = Done), Guarded, Named))]
pub(in crate::http) async fn delete(
    State(site): Shared,
    caller: Caller,
    SessionPath(id): SessionPath,
) -> Result<Answer<Done>, ApiError> {
    site.parts.sessions.delete(caller.scope, &id).await?;
    Ok(Answer(Done::new("Session deleted successfully")))
}

/// Rename a session
#[utoipa::path(put, path = "/api/sessions/{id}/name", operation_id = "renameSession", tag = "Sessions",
    params(("id" = String, Path, description = "The session", example = "1234567890")),
    request_body = NameRequest,
    responses((status = 200, description = "Renamed", body = Renamed), Body, Guarded, Named))]
pub(in crate::http) async fn rename(
    State(site): Shared,
    caller: Caller,
    SessionPath(id): SessionPath,
    Json(request): Json<NameRequest>,
) -> Result<Answer<Renamed>, ApiError> {
    let name = checked_name(&request.name)?;
    if !site.parts.store.sessions(caller.scope).rename(&id, &name).await? {
        return Err(ApiError::no_session());
    }
    Ok(Answer(Renamed { success: true, message: "Session name updated successfully", name }))
}

/// Stop a session
///
/// It stays linked; connect it again to go on. Messages that arrive meanwhile wait at WhatsApp.
#[utoipa::path(post, path = "/api/sessions/{id}/disconnect", operation_id = "disconnectSession", tag = "Sessions",
    params(("id" = String, Path, description = "The session", example = "1234567890")),
    responses((status = 200, description = "Stopped", body = Done), Guarded, Named))]
pub(in crate::http) async fn disconnect(
    State(site): Shared,
    caller: Caller,
    SessionPath(id): SessionPath,
) -> Result<Answer<Done>, ApiError> {
    site.parts.sessions.disconnect(caller.scope, &id).await?;
    Ok(Answer(Done::new("Session disconnected successfully")))
}

/// A session of this scope as the API shows it.
pub(in crate::http) async fn view(
    site: &Site,
    scope: Scope,
    id: &SessionId,
) -> Result<Option<SessionBody>, StoreError> {
    // The whole list, because a place among the others is part of the founding session object.
    let sessions = site.parts.store.sessions(scope).list().await?;
    let found = sessions.iter().enumerate().find(|(_, session)| session.id == *id);
    Ok(found.map(|(at, session)| SessionBody::new(session, at + 1, &site.parts.sessions.status(id))))
}

/// Where the socket of a session is, seen from the client.
pub(in crate::http) fn socket_url(headers: &HeaderMap, secure: bool, id: &SessionId) -> String {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).filter(|host| !host.is_empty());
    match host {
        Some(host) => format!("{}://{host}/api/ws/{id}", if secure { "wss" } else { "ws" }),
        None => format!("/api/ws/{id}"),
    }
}

fn chosen_id(id: Option<&str>, phone: Option<&str>) -> Result<SessionId, ApiError> {
    let invalid = |error: crate::model::IdError| ApiError::bad_request("invalid_id", format!("id: {error}"));
    match (id, phone.filter(|phone| !phone.is_empty())) {
        (Some(id), _) => id.parse().map_err(invalid),
        (None, Some(phone)) => {
            let phone: Phone =
                phone.parse().map_err(|error| ApiError::bad_request("invalid_phone", format!("phone: {error}")))?;
            phone.as_str().parse().map_err(invalid)
        }
        (None, None) => Ok(SessionId::new()),
    }
}

fn checked_name(name: &str) -> Result<String, ApiError> {
    let name = name.trim();
    let sound = (1..=NAME_CHARACTERS).contains(&name.chars().count()) && !name.chars().any(char::is_control);
    let fault = || {
        ApiError::bad_request(
            "invalid_name",
            "name: a session's name has 1 to 100 characters, none a control character",
        )
    };
    sound.then(|| name.to_owned()).ok_or_else(fault)
}

impl SessionBody {
    /// The session at this place among its owner's sessions, faring like this.
    pub(in crate::http) fn new(session: &Session, position: usize, status: &Status) -> Self {
        let link = session.link.as_ref();
        Self {
            id: session.id.to_string(),
            name: session.name.clone(),
            phone: link.map(|link| link.phone.to_string()).unwrap_or_default(),
            actual_phone: link.map(|link| link.device_jid.clone()).unwrap_or_default(),
            position,
            webhook_url: session.webhook_url.as_ref().map(ToString::to_string).unwrap_or_default(),
            connected: status.is_connected(),
            logged_in: link.is_some(),
            status: status.into(),
            created_at: session.created_at.0,
        }
    }

    /// The same session, faring like this.
    pub(in crate::http) fn with_status(mut self, status: &Status) -> Self {
        self.connected = status.is_connected();
        self.status = status.into();
        self
    }
}

impl From<&Status> for StatusBody {
    fn from(status: &Status) -> Self {
        let plain = |state| Self { state, ..Self::default() };
        match status {
            Status::Stopped => plain("stopped"),
            Status::Connecting { attempt, last_error } => {
                Self { attempt: Some(*attempt), last_error: last_error.clone(), ..plain("connecting") }
            }
            Status::Pairing(pairing) => {
                let (method, expires_at) = method(pairing);
                Self { method: Some(method), expires_at, ..plain("pairing") }
            }
            Status::Connected { since } => Self { since: Some(since.0), ..plain("connected") },
            Status::PairingExpired => plain("pairing_expired"),
            Status::LoggedOut { reason } => Self { reason: Some(reason.clone()), ..plain("logged_out") },
            Status::Failed { reason } => Self { reason: Some(reason.clone()), ..plain("failed") },
        }
    }
}

fn method(pairing: &Pairing) -> (&'static str, Option<i64>) {
    match pairing {
        Pairing::Qr { expires_at, .. } => ("qr", Some(expires_at.0)),
        Pairing::Code { expires_at, .. } => ("code", Some(expires_at.0)),
        Pairing::Passkey { .. } => ("passkey", None),
        Pairing::PasskeyConfirm { .. } => ("passkey_confirm", None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Millis;

    #[test]
    fn a_status_never_shows_the_code_that_links_the_account() {
        let code = "2@secret".to_owned();
        let statuses = [
            Status::Pairing(Pairing::Qr { code: code.clone(), expires_at: Millis(7) }),
            Status::Pairing(Pairing::Code { code: code.clone(), expires_at: Millis(7) }),
            Status::Pairing(Pairing::Passkey { request: code.clone() }),
            Status::Pairing(Pairing::PasskeyConfirm { code: Some(code.clone()) }),
        ];
        for status in statuses {
            let shown = serde_json::to_string(&StatusBody::from(&status)).unwrap();
            assert!(shown.contains(r#""state":"pairing""#) && !shown.contains(&code), "{shown}");
        }
    }

    #[test]
    fn an_id_is_chosen_given_as_a_number_or_made() {
        let id = |id, phone| chosen_id(id, phone).map(|id| id.to_string()).map_err(|error| format!("{error:?}"));
        assert_eq!(id(Some("session_sales"), None).unwrap(), "session_sales");
        assert_eq!(id(None, Some("+62 822-6079-0996")).unwrap(), "6282260790996");
        assert!(id(None, Some("")).unwrap().starts_with("ses_"));
        assert!(id(Some("a b"), None).unwrap_err().contains("invalid_id"));
        assert!(id(None, Some("abc")).unwrap_err().contains("invalid_phone"));
    }

    #[test]
    fn the_socket_is_where_the_client_sees_us() {
        let id: SessionId = "s".parse().unwrap();
        let mut headers = HeaderMap::new();
        assert_eq!(socket_url(&headers, false, &id), "/api/ws/s");
        headers.insert(header::HOST, "localhost:8080".parse().unwrap());
        assert_eq!(socket_url(&headers, false, &id), "ws://localhost:8080/api/ws/s");
        assert_eq!(socket_url(&headers, true, &id), "wss://localhost:8080/api/ws/s");
    }
}
