//! Errors as the API shows them: the only place where something that went wrong gets a status and a body.
//!
//! The founding guide fixes `error` (the status in words) and `message`; `code` is for programs, `request_id` for the
//! log, `hint` for what to do. A room's error is mapped once, by a `From` below.
//!
//! Invariant: what is ours to mend (500) is logged with its cause and answered without it.

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::middleware::current_request;
use super::waiting::WaitsFor;
use crate::auth::AuthError;
use crate::auth::access::Denied;
use crate::egress::EgressError;
use crate::outbound::SendError;
use crate::plugin::Refusal;
use crate::plugin::catalog::CatalogError;
use crate::session::SessionError;
use crate::store::StoreError;
use crate::store::backup::BackupError;
use crate::store::vault::rotation::RotationError;

/// An error on its way to the caller.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
    hint: Option<&'static str>,
    retry_after: Option<Duration>,
}

/// What every error looks like.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Error)]
pub(super) struct ErrorBody {
    /// The kind of error: the HTTP status in words.
    #[schema(example = "Not Found")]
    error: String,
    /// What is wrong, for people.
    #[schema(example = "no session with this id")]
    message: String,
    /// What is wrong, for programs. Stable.
    #[schema(example = "not_found")]
    code: String,
    /// Find it in the log under this id. Also in the header `x-request-id`.
    #[schema(example = "req_0198c0ffee007000800000000000c0de")]
    request_id: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), hint: None, retry_after: None }
    }

    pub(super) fn bad_request(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    pub(super) fn unauthorized() -> Self {
        AuthError::Unrecognised.into()
    }

    pub(super) fn not_found(message: &'static str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    pub(super) fn no_session() -> Self {
        Self::not_found("no session with this id")
    }

    pub(super) fn conflict(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, message)
    }

    /// Something that is ours to mend; the caller learns the request id and nothing else.
    pub(super) fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "something went wrong here; the log knows more")
            .hint("look for the request_id in the gateway's log")
    }

    #[must_use]
    pub(super) fn hint(mut self, hint: &'static str) -> Self {
        self.hint = Some(hint);
        self
    }

    #[must_use]
    pub(super) fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    fn logged(error: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(request = current_request().map(String::from), error, "a request failed");
        Self::internal()
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = ErrorBody {
            error: self.status.canonical_reason().unwrap_or("Error").to_owned(),
            message: self.message,
            code: self.code.to_owned(),
            request_id: current_request().map(String::from).unwrap_or_default(),
            hint: self.hint.map(str::to_owned),
        };
        let mut response = (self.status, axum::Json(body)).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(wait) = self.retry_after {
            let seconds = wait.as_secs_f64().ceil().max(1.0);
            response
                .headers_mut()
                .extend(HeaderValue::from_str(&format!("{seconds}")).map(|s| (header::RETRY_AFTER, s)));
        }
        response
    }
}

impl From<AuthError> for ApiError {
    fn from(error: AuthError) -> Self {
        let message = error.to_string();
        match error {
            AuthError::Credentials => Self::new(StatusCode::UNAUTHORIZED, "invalid_credentials", message),
            AuthError::Unrecognised => Self::new(StatusCode::UNAUTHORIZED, "invalid_token", message)
                .hint("log in with POST /api/login and send the header: Authorization: Bearer <token>"),
            AuthError::Password(_) | AuthError::Unchanged => Self::bad_request("unsuitable_password", message),
            AuthError::Username => Self::bad_request("invalid_username", message),
            AuthError::UsernameTaken => Self::conflict("username_taken", message),
            AuthError::OwnsSessions => Self::conflict("owns_sessions", message),
            AuthError::TooMany(wait) => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_attempts", message).retry_after(wait)
            }
            AuthError::Store(error) => error.into(),
            AuthError::KnownSecret
            | AuthError::WeakSecret
            | AuthError::KeyFile { .. }
            | AuthError::AdminPassword(_)
            | AuthError::Token(_)
            | AuthError::Hash(_) => Self::logged(&error),
        }
    }
}

impl From<Denied> for ApiError {
    fn from(denied: Denied) -> Self {
        let message = denied.to_string();
        match denied {
            Denied::PasswordChangeDue => Self::new(StatusCode::FORBIDDEN, "password_change_due", message),
            Denied::AdminOnly => Self::new(StatusCode::FORBIDDEN, "admin_only", message),
            Denied::Yourself => Self::conflict("yourself", message),
        }
    }
}

impl From<SessionError> for ApiError {
    fn from(error: SessionError) -> Self {
        let message = error.to_string();
        match error {
            SessionError::NotFound => Self::no_session(),
            // The founding guide: 404 is "Session not found or not logged in".
            SessionError::NotConnected(_) => Self::new(StatusCode::NOT_FOUND, "not_connected", message),
            SessionError::AlreadyLinked => Self::conflict("already_linked", message),
            // Not 5xx: clients repeat those by themselves, and repeating what WhatsApp refuses gets accounts banned.
            SessionError::Refused { .. } => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "refused_by_whatsapp", message)
                .hint("do not repeat it unchanged; the message says what WhatsApp objects to"),
            SessionError::Unanswered => Self::new(StatusCode::GATEWAY_TIMEOUT, "unanswered", message)
                .hint("the message may have gone out; repeat it with the same Idempotency-Key"),
            SessionError::Whatsapp(_) => Self::new(StatusCode::BAD_GATEWAY, "whatsapp_failed", message),
            SessionError::Store(error) => error.into(),
        }
    }
}

impl From<SendError> for ApiError {
    fn from(error: SendError) -> Self {
        let message = error.to_string();
        match error {
            SendError::NoSuchPhone => Self::new(StatusCode::NOT_FOUND, "no_such_phone", message),
            // Not the founding 404, which tells clients that the session is not logged in.
            SendError::NoSuchRecipient(_) => Self::bad_request("recipient_not_on_whatsapp", message),
            SendError::Dropped(_) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "dropped_by_plugin", message),
            SendError::Undecided { after, .. } => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "plugin_unavailable", message).retry_after(after)
            }
            SendError::KeyReused => Self::conflict("idempotency_key_reused", message),
            SendError::InFlight => {
                Self::conflict("idempotency_key_in_flight", message).retry_after(Duration::from_secs(1))
            }
            SendError::Session(error) => error.into(),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Closed => Self::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", "the gateway is stopping")
                .retry_after(Duration::from_secs(5)),
            StoreError::Superseded => Self::new(StatusCode::SERVICE_UNAVAILABLE, "superseded", error.to_string())
                .hint("this one is stopping; ask the other")
                .retry_after(Duration::from_secs(5)),
            StoreError::Contended => Self::new(StatusCode::SERVICE_UNAVAILABLE, "contended", error.to_string())
                .retry_after(Duration::from_secs(1)),
            StoreError::Taken(what) => Self::conflict("taken", format!("{what} is already taken")),
            error => Self::logged(&error),
        }
    }
}

impl From<RotationError> for ApiError {
    fn from(error: RotationError) -> Self {
        let message = error.to_string();
        match error {
            RotationError::UnderWay => Self::conflict("rotation_under_way", message),
            RotationError::Vault(_) | RotationError::Store(StoreError::KeyLost { .. }) => {
                Self::conflict("master_key_unusable", message)
            }
            RotationError::Store(error) => error.into(),
            RotationError::Stopped | RotationError::Unreadable(_) | RotationError::Left(_) => Self::logged(&error),
        }
    }
}

impl From<BackupError> for ApiError {
    fn from(error: BackupError) -> Self {
        match error {
            BackupError::OnServer => Self::conflict("no_file", error.to_string()),
            BackupError::UnderWay => Self::conflict("backup_under_way", error.to_string()),
            BackupError::Store(error) => error.into(),
            error => Self::logged(&error),
        }
    }
}

impl From<WaitsFor> for ApiError {
    fn from(waits_for: WaitsFor) -> Self {
        let (code, message, hint, seconds) = match waits_for {
            WaitsFor::Start => ("starting", "the gateway is starting", "ask again in a moment", 1),
            WaitsFor::Database => (
                "database_unreachable",
                "waiting for the database: its server cannot be reached",
                "the gateway's log says why; it tries again by itself",
                5,
            ),
            WaitsFor::Lead => (
                "standby",
                "another gateway is active on this database; this one stands by and takes over when that one is gone",
                "ask the other one",
                5,
            ),
        };
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, message).hint(hint).retry_after(Duration::from_secs(seconds))
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let (code, message) = (refusal.code(), refusal.to_string());
        match refusal {
            Refusal::TooLarge { .. } => Self::new(StatusCode::PAYLOAD_TOO_LARGE, code, message),
            refusal if refusal.is_ours() => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, code, message).retry_after(Duration::from_secs(5))
            }
            _ => Self::bad_request(code, message),
        }
    }
}

impl From<CatalogError> for ApiError {
    fn from(error: CatalogError) -> Self {
        let message = error.to_string();
        match error {
            CatalogError::Missing(_) => Self::new(StatusCode::NOT_FOUND, "not_found", message),
            CatalogError::NoVersion(_) => Self::new(StatusCode::NOT_FOUND, "no_such_version", message),
            CatalogError::Name => Self::bad_request("invalid_name", message),
            CatalogError::NameTaken(_) => Self::conflict("name_taken", message),
            CatalogError::Replaying => Self::conflict("replay_under_way", message),
            CatalogError::Full(_) | CatalogError::Crowded => Self::conflict("too_many", message),
            CatalogError::Config(_) | CatalogError::Masked(_) => Self::bad_request("invalid_config", message),
            CatalogError::Limits { .. } => Self::bad_request("invalid_limits", message),
            CatalogError::Refused(refusal) => refusal.into(),
            CatalogError::Unfit { refusal, .. } => Self { message, ..Self::from(refusal) },
            CatalogError::Store(error) => error.into(),
        }
    }
}

impl From<EgressError> for ApiError {
    fn from(error: EgressError) -> Self {
        let code = if matches!(error, EgressError::NoNats) { "no_nats" } else { "webhook_forbidden" };
        Self::bad_request(code, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_hold() {
        let table: [(ApiError, u16, &str); 21] = [
            (BackupError::OnServer.into(), 409, "no_file"),
            (BackupError::UnderWay.into(), 409, "backup_under_way"),
            (RotationError::UnderWay.into(), 409, "rotation_under_way"),
            (SessionError::NotFound.into(), 404, "not_found"),
            (SessionError::NotConnected("stopped").into(), 404, "not_connected"),
            (SessionError::AlreadyLinked.into(), 409, "already_linked"),
            (SessionError::Refused { code: 463, meaning: "x" }.into(), 422, "refused_by_whatsapp"),
            (SessionError::Unanswered.into(), 504, "unanswered"),
            (SendError::NoSuchPhone.into(), 404, "no_such_phone"),
            (SendError::Undecided { why: "x".to_owned(), after: Duration::ZERO }.into(), 503, "plugin_unavailable"),
            (AuthError::Credentials.into(), 401, "invalid_credentials"),
            (AuthError::Unrecognised.into(), 401, "invalid_token"),
            (CatalogError::Missing("plugin").into(), 404, "not_found"),
            (CatalogError::Replaying.into(), 409, "replay_under_way"),
            (Refusal::NotWasm.into(), 400, "not_wasm"),
            (Refusal::TooLarge { size: 2, limit: 1 }.into(), 413, "component_too_large"),
            (Refusal::Unavailable("x".to_owned()).into(), 503, "plugin_unavailable"),
            (WaitsFor::Start.into(), 503, "starting"),
            (WaitsFor::Database.into(), 503, "database_unreachable"),
            (WaitsFor::Lead.into(), 503, "standby"),
            (StoreError::Superseded.into(), 503, "superseded"),
        ];
        for (error, status, code) in table {
            assert_eq!((error.status.as_u16(), error.code), (status, code));
        }
    }

    #[test]
    fn what_is_ours_to_mend_keeps_its_cause_to_itself() {
        let error = ApiError::from(StoreError::Sealed("webhook secret"));
        assert_eq!(error.status, StatusCode::INTERNAL_SERVER_ERROR);
        assert!(!error.message.contains("webhook secret"), "{}", error.message);
    }

    #[test]
    fn waits_are_whole_seconds_rounded_up() {
        let error = ApiError::from(AuthError::TooMany(Duration::from_millis(1200)));
        let response = error.into_response();
        assert_eq!(response.headers()[header::RETRY_AFTER], "2");
    }
}
