//! Linking a session to an account: connect, QR code, code to type.

use std::time::Duration;

use axum::Json as Answer;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use utoipa::ToSchema;

use super::super::caller::Caller;
use super::super::docs::answers::{Asking, Body, Guarded, Named, Parameter, Standing};
use super::super::error::ApiError;
use super::super::extract::{Json, Query, SessionPath};
use super::super::peer::{self, Peer};
use super::super::{Shared, live, qr};
use super::sessions::socket_url;
use crate::model::{Millis, Pairing, Phone, Status};
use crate::session::SessionError;

/// How long the QR endpoint waits for the first code.
const FIRST_CODE: Duration = Duration::from_secs(5);

/// A session that is starting.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct Connecting {
    /// Always true.
    #[schema(example = true)]
    success: bool,
    /// What was done.
    #[schema(example = "Connection started")]
    message: &'static str,
    /// Where to follow it; add `?token=<token>`.
    #[schema(example = "ws://localhost:8080/api/ws/1234567890")]
    websocket_url: String,
}

/// The number to link.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct PairCodeRequest {
    /// The account's number with country code.
    #[schema(example = "6282260790996")]
    phone: String,
}

/// A code to type on the phone.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct PairCode {
    /// Always true.
    #[schema(example = true)]
    success: bool,
    /// Type it in WhatsApp: Linked devices, Link with phone number.
    #[schema(example = "ABCD-1234")]
    code: String,
}

/// How the code is to be drawn.
#[derive(Deserialize)]
pub(in crate::http) struct QrQuery {
    format: Option<String>,
}

/// A code to scan.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct QrAnswer {
    /// Always true.
    #[schema(example = true)]
    success: bool,
    /// The code.
    data: QrData,
}

/// A code to scan, and how long it is good for.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct QrData {
    /// The text to draw as a QR code. Whoever sees it can link the account: draw it yourself.
    #[schema(example = "2@BAxEFSgFCONIGGPQVR8DBxC...")]
    qr: String,
    /// Seconds until another code replaces it.
    #[schema(example = 20)]
    timeout: u64,
}

/// The code as a picture.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
#[expect(dead_code, reason = "describes bytes")]
struct Picture(Vec<u8>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Json,
    Png,
    Svg,
}

/// Start a session
///
/// Links it when it is not linked yet (follow `websocket_url` for QR codes), reconnects it when it is.
#[utoipa::path(post, path = "/api/sessions/{id}/connect", operation_id = "connectSession", tag = "Pairing",
    params(("id" = String, Path, description = "The session", example = "1234567890")),
    responses((status = 200, description = "Started", body = Connecting), Guarded, Named))]
pub(in crate::http) async fn connect(
    State(site): Shared,
    caller: Caller,
    SessionPath(id): SessionPath,
    peer: Option<axum::Extension<Peer>>,
    headers: HeaderMap,
) -> Result<Answer<Connecting>, ApiError> {
    site.parts.sessions.connect(caller.scope, &id).await?;
    let trusted = &site.parts.config.trusted_proxies;
    let secure = peer.is_some_and(|axum::Extension(Peer(from))| peer::is_secure(from.ip(), &headers, trusted));
    let websocket_url = socket_url(&headers, secure, &id);
    Ok(Answer(Connecting { success: true, message: "Connection started", websocket_url }))
}

/// Ask for a code to type instead of a QR code
#[utoipa::path(post, path = "/api/sessions/{id}/pair-code", operation_id = "requestPairCode", tag = "Pairing",
    params(("id" = String, Path, description = "The session", example = "1234567890")),
    request_body = PairCodeRequest,
    responses((status = 200, description = "The code", body = PairCode), Body, Guarded, Named, Standing, Asking))]
pub(in crate::http) async fn pair_code(
    State(site): Shared,
    caller: Caller,
    SessionPath(id): SessionPath,
    Json(request): Json<PairCodeRequest>,
) -> Result<Answer<PairCode>, ApiError> {
    let phone: Phone = request
        .phone
        .parse()
        .map_err(|error: crate::model::PhoneError| ApiError::bad_request("invalid_phone", format!("phone: {error}")))?;
    let code = site.parts.sessions.pair_code(caller.scope, &id, &phone).await?;
    Ok(Answer(PairCode { success: true, code }))
}

/// The present QR code
///
/// Waits up to five seconds for the first code after a connect. As JSON, or drawn: `?format=png`, `?format=svg`, or the
/// matching `Accept` header.
#[utoipa::path(get, path = "/api/sessions/{id}/qr", operation_id = "getQr", tag = "Pairing",
    params(("id" = String, Path, description = "The session", example = "1234567890"),
           ("format" = Option<String>, Query, description = "`json`, `png` or `svg`", example = "json")),
    responses((status = 200, description = "The code", content(
        (QrAnswer = "application/json"), (Picture = "image/png"), (String = "image/svg+xml"))), Parameter, Guarded, Named, Standing))]
pub(in crate::http) async fn qr_code(
    State(site): Shared,
    caller: Caller,
    SessionPath(id): SessionPath,
    Query(query): Query<QrQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let form = form(query.format.as_deref(), &headers)?;
    let session = site.parts.store.sessions(caller.scope).get(&id).await?.ok_or_else(ApiError::no_session)?;
    if session.link.is_some() {
        return Err(SessionError::AlreadyLinked.into());
    }
    let (code, expires_at) = first_code(site.parts.sessions.watch(&id), FIRST_CODE).await?;
    draw(form, code, expires_at, site.parts.clock.now())
}

/// Waits for a code to scan, as long as one can still come.
async fn first_code(mut status: watch::Receiver<Status>, patience: Duration) -> Result<(String, Millis), ApiError> {
    let late = || {
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "qr_pending", "WhatsApp has sent no code yet")
            .retry_after(Duration::from_secs(2))
    };
    let settled = |status: &Status| !matches!(status, Status::Connecting { .. });
    let newest = tokio::time::timeout(patience, status.wait_for(settled)).await.map_err(|_| late())?;
    let newest = newest.map_err(|_| ApiError::no_session())?.clone();
    match newest {
        Status::Pairing(Pairing::Qr { code, expires_at }) => Ok((code, expires_at)),
        Status::Connected { .. } => Err(SessionError::AlreadyLinked.into()),
        Status::Pairing(_) => {
            Err(ApiError::conflict("pairing_otherwise", "the session is being linked in another way")
                .hint("follow /api/ws/{id}, or disconnect and connect again for a QR code"))
        }
        Status::Connecting { .. } => Err(late()),
        Status::Stopped | Status::PairingExpired | Status::LoggedOut { .. } | Status::Failed { .. } => {
            Err(ApiError::conflict("not_started", "the session is not waiting to be linked")
                .hint("call POST /api/sessions/{id}/connect first"))
        }
    }
}

fn draw(form: Form, code: String, expires_at: Millis, now: Millis) -> Result<Response, ApiError> {
    let fault = |error: qr::DrawError| {
        tracing::error!(%error, "a pairing code could not be drawn");
        ApiError::internal()
    };
    Ok(match form {
        Form::Json => {
            let data = QrData { qr: code, timeout: live::seconds_left(expires_at, now) };
            Answer(QrAnswer { success: true, data }).into_response()
        }
        Form::Png => ([(header::CONTENT_TYPE, "image/png")], qr::png(&code).map_err(fault)?).into_response(),
        Form::Svg => ([(header::CONTENT_TYPE, "image/svg+xml")], qr::svg(&code).map_err(fault)?).into_response(),
    })
}

fn form(asked: Option<&str>, headers: &HeaderMap) -> Result<Form, ApiError> {
    match asked {
        Some("json") => return Ok(Form::Json),
        Some("png") => return Ok(Form::Png),
        Some("svg") => return Ok(Form::Svg),
        Some(_) => return Err(ApiError::bad_request("invalid_format", "format: one of json, png, svg")),
        None => {}
    }
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let wanted = accept.split(',').find_map(|kind| match kind.split(';').next().unwrap_or_default().trim() {
        "application/json" => Some(Form::Json),
        "image/png" => Some(Form::Png),
        "image/svg+xml" => Some(Form::Svg),
        _ => None,
    });
    Ok(wanted.unwrap_or(Form::Json))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_asked_for_by_query_then_by_header() {
        let table = [
            (Some("svg"), "image/png", Some(Form::Svg)),
            (None, "image/png, */*;q=0.5", Some(Form::Png)),
            (None, "text/html, image/svg+xml;q=0.9", Some(Form::Svg)),
            (None, "*/*", Some(Form::Json)),
            (None, "", Some(Form::Json)),
            (Some("gif"), "", None),
        ];
        for (asked, accept, expected) in table {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, accept.parse().unwrap());
            assert_eq!(form(asked, &headers).ok(), expected, "{asked:?} {accept}");
        }
    }

    #[tokio::test]
    async fn waits_for_the_first_code_after_a_connect() {
        let (sender, status) = watch::channel(Status::Connecting { attempt: 1, last_error: None });
        let code = Status::Pairing(Pairing::Qr { code: "2@x".to_owned(), expires_at: Millis(9) });
        let (found, ()) = tokio::join!(first_code(status, FIRST_CODE), async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            sender.send_replace(code);
        });
        assert_eq!(found.ok().unwrap(), ("2@x".to_owned(), Millis(9)));
    }

    #[tokio::test]
    async fn says_so_when_no_code_can_come() {
        let connecting = Status::Connecting { attempt: 1, last_error: None };
        let table = [
            (Status::Stopped, "not_started"),
            (Status::PairingExpired, "not_started"),
            (Status::Connected { since: Millis(1) }, "already_linked"),
            (Status::Pairing(Pairing::PasskeyConfirm { code: None }), "pairing_otherwise"),
            (connecting, "qr_pending"),
        ];
        for (status, code) in table {
            let (_sender, receiver) = watch::channel(status);
            let error = format!("{:?}", first_code(receiver, Duration::from_millis(20)).await.unwrap_err());
            assert!(error.contains(code), "{error}");
        }
    }
}
