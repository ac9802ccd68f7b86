//! What the admin API answers when it cannot do as asked. The one place that maps errors to HTTP.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::linking::LinkError;
use crate::network::NetworkError;
use crate::phone::PhoneError;

/// `{error, message}` with a status.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    /// 400: the request makes no sense.
    pub(super) fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    /// 404: no such phone.
    pub(super) fn no_phone(number: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "unknown_phone", format!("no phone has the number {number}"))
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, Json(json!({ "error": self.code, "message": self.message }))).into_response()
    }
}

impl From<PhoneError> for ApiError {
    fn from(error: PhoneError) -> Self {
        let (status, code) = match &error {
            PhoneError::Link(link) => link_status(link),
            PhoneError::UnknownChat(_) => (StatusCode::NOT_FOUND, "unknown_chat"),
            PhoneError::NotAMember => (StatusCode::FORBIDDEN, "not_a_member"),
            PhoneError::UnknownMessage(_) => (StatusCode::NOT_FOUND, "unknown_message"),
            PhoneError::UnknownDevice(_) => (StatusCode::NOT_FOUND, "unknown_device"),
            PhoneError::Key(_) => (StatusCode::INTERNAL_SERVER_ERROR, "key_failure"),
        };
        Self::new(status, code, error.to_string())
    }
}

fn link_status(error: &LinkError) -> (StatusCode, &'static str) {
    match error {
        LinkError::MalformedQr(_) => (StatusCode::BAD_REQUEST, "malformed_qr"),
        LinkError::MalformedCode => (StatusCode::BAD_REQUEST, "malformed_code"),
        LinkError::UnknownQr => (StatusCode::NOT_FOUND, "unknown_qr"),
        LinkError::UnknownCode => (StatusCode::NOT_FOUND, "unknown_code"),
        LinkError::ForeignQr => (StatusCode::CONFLICT, "foreign_qr"),
        LinkError::WrongCode => (StatusCode::CONFLICT, "wrong_code"),
        LinkError::Busy => (StatusCode::CONFLICT, "busy"),
        LinkError::Refused => (StatusCode::CONFLICT, "refused"),
        LinkError::TimedOut => (StatusCode::GATEWAY_TIMEOUT, "timed_out"),
        LinkError::Key(_) => (StatusCode::BAD_REQUEST, "key_failure"),
    }
}

impl From<NetworkError> for ApiError {
    fn from(error: NetworkError) -> Self {
        let (status, code) = match &error {
            NetworkError::BadNumber(_) => (StatusCode::BAD_REQUEST, "bad_number"),
            NetworkError::NumberTaken(_) => (StatusCode::CONFLICT, "number_taken"),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        };
        Self::new(status, code, error.to_string())
    }
}
