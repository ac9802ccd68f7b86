//! What the pairing socket says, as a pure function of a session's status. The types `qr`, `success` and `error` are the
//! founding guide's; `code`, `passkey`, `passkey_confirm` and `status` were added.
//!
//! Invariant: a frame with a secret in it (a QR text, a code) goes only to a socket whose token owns the session.

use serde::Serialize;
use serde_json::{Value, json};

use crate::http::routes::sessions::{SessionBody, StatusBody};
use crate::model::{Millis, Pairing, Status};

/// One frame: `{"type": …, "data": …}`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Frame {
    #[serde(rename = "type")]
    kind: &'static str,
    data: Value,
}

impl Frame {
    /// A frame that tells what went wrong.
    pub(super) fn error(message: &str) -> Self {
        Self { kind: "error", data: json!({ "error": message }) }
    }

    /// The frame as text.
    pub(super) fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// The frame for a status. `session` is the session as it stands, for the frame `success`.
pub(super) fn of(status: &Status, session: &SessionBody, now: Millis) -> Frame {
    match status {
        Status::Pairing(pairing) => pairing_frame(pairing, now),
        Status::Connected { .. } => Frame { kind: "success", data: json!(session) },
        Status::PairingExpired => Frame::error("nobody linked the session in time; connect it again for a fresh code"),
        Status::LoggedOut { reason } | Status::Failed { reason } => Frame::error(reason),
        Status::Stopped | Status::Connecting { .. } => {
            Frame { kind: "status", data: json!({ "status": StatusBody::from(status) }) }
        }
    }
}

fn pairing_frame(pairing: &Pairing, now: Millis) -> Frame {
    match pairing {
        Pairing::Qr { code, expires_at } => {
            let timeout = seconds_left(*expires_at, now);
            Frame { kind: "qr", data: json!({ "qr": code, "timeout": timeout, "expires_at": expires_at }) }
        }
        Pairing::Code { code, expires_at } => {
            let timeout = seconds_left(*expires_at, now);
            Frame { kind: "code", data: json!({ "code": code, "timeout": timeout, "expires_at": expires_at }) }
        }
        Pairing::Passkey { request } => {
            // WhatsApp's options are JSON already; a text that is not is handed over as it came.
            let options = serde_json::from_str(request).unwrap_or_else(|_| Value::String(request.clone()));
            Frame { kind: "passkey", data: json!({ "request": options }) }
        }
        Pairing::PasskeyConfirm { code } => Frame { kind: "passkey_confirm", data: json!({ "code": code }) },
    }
}

/// Whole seconds until `end`, rounded up; 0 when it has passed.
pub(in crate::http) fn seconds_left(end: Millis, now: Millis) -> u64 {
    u64::try_from(end.since(now).as_millis().div_ceil(1000)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Session, UserId};

    fn session() -> SessionBody {
        let session = Session {
            id: "session_sales".parse().unwrap(),
            owner: UserId(1),
            name: "Sales".to_owned(),
            webhook_url: None,
            link: None,
            wanted: true,
            created_at: Millis(5),
        };
        SessionBody::new(&session, 1, &Status::Connected { since: Millis(9) })
    }

    fn frame(status: &Status) -> Value {
        serde_json::from_str(&of(status, &session(), Millis(10_000)).text()).unwrap()
    }

    #[test]
    fn a_qr_code_is_the_guides_frame_with_a_timeout_in_seconds() {
        let status = Status::Pairing(Pairing::Qr { code: "2@x".to_owned(), expires_at: Millis(29_001) });
        let expected = json!({ "type": "qr", "data": { "qr": "2@x", "timeout": 20, "expires_at": 29_001 } });
        assert_eq!(frame(&status), expected);
    }

    #[test]
    fn a_connection_is_a_success_with_the_session() {
        let success = frame(&Status::Connected { since: Millis(9) });
        assert_eq!(success["type"], "success");
        assert_eq!(success["data"]["id"], "session_sales");
        assert_eq!(success["data"]["connected"], true);
    }

    #[test]
    fn an_end_is_an_error_with_its_reason() {
        let gone = frame(&Status::LoggedOut { reason: "removed on the phone".to_owned() });
        assert_eq!(gone, json!({ "type": "error", "data": { "error": "removed on the phone" } }));
        assert_eq!(frame(&Status::PairingExpired)["type"], "error");
    }

    #[test]
    fn other_ways_of_linking_have_their_own_frames() {
        let code = Status::Pairing(Pairing::Code { code: "ABCD-1234".to_owned(), expires_at: Millis(9_000) });
        assert_eq!(frame(&code)["data"], json!({ "code": "ABCD-1234", "timeout": 0, "expires_at": 9_000 }));
        let passkey = Status::Pairing(Pairing::Passkey { request: r#"{"rpId":"whatsapp.com"}"#.to_owned() });
        assert_eq!(frame(&passkey)["data"]["request"]["rpId"], "whatsapp.com");
        let confirm = Status::Pairing(Pairing::PasskeyConfirm { code: None });
        assert_eq!(frame(&confirm), json!({ "type": "passkey_confirm", "data": { "code": null } }));
    }

    #[test]
    fn being_on_the_way_is_a_status() {
        let way = frame(&Status::Connecting { attempt: 2, last_error: None });
        assert_eq!(way, json!({ "type": "status", "data": { "status": { "state": "connecting", "attempt": 2 } } }));
    }
}
