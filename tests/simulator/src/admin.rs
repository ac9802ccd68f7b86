//! The admin HTTP API and the page of phones: the network for scripts and people.
//!
//! JSON in and out; errors are `{error, message}` with a fitting status. `POST /admin/mock-phone/scan-qr` takes the
//! bare QR text and chooses the account by the push name in the client's registration, as the mock server of
//! whatsapp-rust's own end-to-end tests does. Invariant: no input makes a handler panic, and every refusal says why.

mod bulk;
mod error;
mod faults;
mod groups;
mod phones;

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use self::error::ApiError;
use crate::network::Core;

type Answer = Result<Json<Value>, ApiError>;
type Net = State<Arc<Core>>;

/// The routes below `/`.
pub(crate) fn routes() -> Router<Arc<Core>> {
    Router::new()
        .route("/", get(page))
        .route("/page.css", get(style))
        .route("/page.js", get(script))
        .route("/admin/health", get(health))
        .route("/admin/root-key", get(root_key))
        .route("/admin/mock-phone/scan-qr", post(phones::scan_by_push_name))
        .route("/admin/phones", get(phones::list).post(phones::create))
        .route("/admin/phones/{number}/scan", post(phones::scan))
        .route("/admin/phones/{number}/enter-code", post(phones::enter_code))
        .route("/admin/phones/{number}/send", post(phones::send))
        .route("/admin/phones/{number}/read", post(phones::read))
        .route("/admin/phones/{number}/typing", post(phones::typing))
        .route("/admin/phones/{number}/unlink", post(phones::unlink))
        .route("/admin/phones/{number}/inbox", get(phones::inbox))
        .route("/admin/phones/{number}/ticks/{id}", get(phones::ticks))
        .route("/admin/groups", get(groups::list).post(groups::create))
        .route("/admin/faults", post(faults::set).delete(faults::clear))
        .route("/admin/bulk/phones", post(bulk::phones))
        .route("/admin/bulk/send", post(bulk::send))
        .fallback(unknown_path)
        .method_not_allowed_fallback(unknown_method)
}

async fn page() -> Html<&'static str> {
    Html(include_str!("admin/page.html"))
}

async fn style() -> Response {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], include_str!("admin/page.css")).into_response()
}

async fn script() -> Response {
    ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8")], include_str!("admin/page.js")).into_response()
}

async fn health(State(core): Net) -> Json<Value> {
    let accounts = core.directory.accounts();
    let companions: Vec<_> = accounts.iter().flat_map(|account| account.companions()).collect();
    Json(json!({
        "status": "ok",
        "ws_url": format!("ws://{}/ws/chat", core.addr),
        "phones": accounts.len(),
        "devices": companions.len(),
        "online": companions.iter().filter(|companion| companion.mailbox.is_connected()).count(),
        "unacked": companions.iter().map(|companion| companion.mailbox.len()).sum::<usize>(),
        "unanswered": core.unanswered_stanzas(),
    }))
}

/// The root of the certificate chain, in hex.
async fn root_key(State(core): Net) -> String {
    use std::fmt::Write as _;
    core.authority.root_key().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

async fn unknown_path() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "not_found", "there is nothing at this path")
}

async fn unknown_method() -> ApiError {
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this path takes another method")
}

/// Reads a JSON body, whatever content type it claims.
fn parse<T: DeserializeOwned>(body: &Bytes) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|error| ApiError::bad(format!("the body is not what is expected: {error}")))
}
