//! Sending: through a session, or through whichever of the caller's sessions is linked to a number.

use axum::Json as Answer;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::Shared;
use super::super::caller::Caller;
use super::super::docs::answers::{Asking, Body, Guarded, Named, Standing};
use super::super::error::ApiError;
use super::super::extract::{IdempotencyKey, Json, SessionPath};
use crate::model::{Chat, Outgoing, Phone, SessionId};
use crate::outbound::{Accepted, Send};

/// Longest text, characters.
const TEXT_CHARACTERS: usize = 65_536;

/// A message to be sent.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct SendRequest {
    /// A number with country code, or a JID (person, group, LID, channel). Also taken as `to`.
    #[serde(alias = "to")]
    #[schema(example = "6281381393739")]
    recipient: String,
    /// The text, 1 to 65,536 characters.
    #[schema(example = "Hello from specific session!", min_length = 1, max_length = 65536)]
    message: String,
}

/// A message to be sent from a number.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct SendFromRequest {
    /// The number one of your sessions is linked to, or the session's id.
    #[schema(example = "6282260790996")]
    phone: String,
    /// A number with country code, or a JID (person, group, LID, channel). Also taken as `to`.
    #[serde(alias = "to")]
    #[schema(example = "6281381393739")]
    recipient: String,
    /// The text, 1 to 65,536 characters.
    #[schema(example = "Hello from selected phone!", min_length = 1, max_length = 65536)]
    message: String,
}

/// A message WhatsApp's server accepted.
#[derive(Serialize, ToSchema)]
#[schema(as = SendAnswer)]
pub(in crate::http) struct SendAnswer {
    /// Always true.
    #[schema(example = true)]
    success: bool,
    /// What was done.
    #[schema(example = "Message sent successfully")]
    message: &'static str,
    /// The message's id on WhatsApp.
    #[schema(example = "3EB0BEDDE45EF384377BD7")]
    message_id: String,
    /// The same, for clients that look for `id`.
    #[schema(example = "3EB0BEDDE45EF384377BD7")]
    id: String,
    /// When the server accepted it, seconds since 1970.
    #[schema(example = 1_643_723_400)]
    timestamp: i64,
    /// The session it went through.
    #[schema(example = "1234567890")]
    session_id: String,
    /// The chat it went to.
    #[schema(example = "6281381393739@s.whatsapp.net")]
    recipient: String,
}

type Answered = (Option<[(&'static str, &'static str); 1]>, Answer<SendAnswer>);

#[derive(Debug, PartialEq, Eq)]
enum Sender {
    Phone(Phone),
    Session(SessionId),
}

/// Send a message through a session
///
/// Answers when WhatsApp's server has accepted the message. With an `Idempotency-Key`, a repeated request within 24 h
/// is answered again (header `Idempotent-Replayed: true`), not sent again.
#[utoipa::path(post, path = "/api/sessions/{id}/send", operation_id = "sendMessage", tag = "Messages",
    params(("id" = String, Path, description = "The session", example = "1234567890"),
           ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters of your choice")),
    request_body = SendRequest,
    responses((status = 200, description = "Accepted by WhatsApp", body = SendAnswer,
               headers(("Idempotent-Replayed" = bool, description = "`true` when this is the answer to an earlier request"))),
              Body, Guarded, Named, Standing, Asking))]
pub(in crate::http) async fn send(
    State(site): Shared,
    caller: Caller,
    SessionPath(id): SessionPath,
    IdempotencyKey(key): IdempotencyKey,
    Json(request): Json<SendRequest>,
) -> Result<Answered, ApiError> {
    let order = order(&request.recipient, request.message, key)?;
    let accepted = site.parts.outbound.send(caller.scope, &id, order).await?;
    Ok(answered(&accepted))
}

/// Send a message from one of your numbers
///
/// Looks only among your own sessions.
#[utoipa::path(post, path = "/api/send", operation_id = "sendMessageFromPhone", tag = "Messages",
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters of your choice")),
    request_body = SendFromRequest,
    responses((status = 200, description = "Accepted by WhatsApp", body = SendAnswer,
               headers(("Idempotent-Replayed" = bool, description = "`true` when this is the answer to an earlier request"))),
              Body, Guarded, Named, Standing, Asking))]
pub(in crate::http) async fn send_from(
    State(site): Shared,
    caller: Caller,
    IdempotencyKey(key): IdempotencyKey,
    Json(request): Json<SendFromRequest>,
) -> Result<Answered, ApiError> {
    let sender = sender(&request.phone)?;
    let order = order(&request.recipient, request.message, key)?;
    let outbound = &site.parts.outbound;
    let accepted = match sender {
        Sender::Phone(phone) => outbound.send_from(caller.scope, &phone, order).await?,
        Sender::Session(id) => outbound.send(caller.scope, &id, order).await?,
    };
    Ok(answered(&accepted))
}

fn order(recipient: &str, message: String, key: Option<String>) -> Result<Send, ApiError> {
    let to: Chat = recipient.parse().map_err(|error: crate::model::ChatError| {
        ApiError::bad_request("invalid_recipient", format!("recipient: {error}"))
    })?;
    let characters = message.chars().count();
    if message.trim().is_empty() || characters > TEXT_CHARACTERS {
        let fault = "message: a text has 1 to 65536 characters, and not only blanks";
        return Err(ApiError::bad_request("invalid_message", fault));
    }
    Ok(Send { to, what: Outgoing::Text(message), key })
}

/// Whom `phone` names: a number, a JID with a number in it (the session object's `actual_phone`), or a session's id.
fn sender(text: &str) -> Result<Sender, ApiError> {
    if let Some(phone) = text.parse::<Chat>().ok().and_then(|chat| chat.phone()) {
        return Ok(Sender::Phone(phone));
    }
    let fault = |_| {
        ApiError::bad_request(
            "invalid_phone",
            "phone: the number one of your sessions is linked to, such as 6282260790996",
        )
    };
    text.parse().map(Sender::Session).map_err(fault)
}

fn answered(accepted: &Accepted) -> Answered {
    let replayed = accepted.replayed.then_some([("idempotent-replayed", "true")]);
    let message_id = accepted.sent.id.to_string();
    let answer = SendAnswer {
        success: true,
        message: "Message sent successfully",
        id: message_id.clone(),
        message_id,
        timestamp: accepted.sent.at.seconds(),
        session_id: accepted.session.to_string(),
        recipient: accepted.sent.to.to_string(),
    };
    (replayed, Answer(answer))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{MessageId, Millis, Sent};

    #[test]
    fn a_sender_is_a_number_its_jid_or_a_session() {
        let phone = |text: &str| Sender::Phone(text.parse().unwrap());
        assert_eq!(sender("6282260790996").ok(), Some(phone("6282260790996")));
        assert_eq!(sender("+62 822-6079-0996").ok(), Some(phone("6282260790996")));
        assert_eq!(sender("6282260790996:3@s.whatsapp.net").ok(), Some(phone("6282260790996")));
        assert_eq!(sender("session_sales").ok(), Some(Sender::Session("session_sales".parse().unwrap())));
        for bad in ["", "120363302171476233@g.us", "a b"] {
            assert!(sender(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_message_needs_a_recipient_and_a_text() {
        let code = |to: &str, text: &str| order(to, text.to_owned(), None).map_err(|error| format!("{error:?}"));
        assert!(code("6281381393739", "Hello").is_ok());
        assert!(code("nobody", "Hello").unwrap_err().contains("invalid_recipient"));
        assert!(code("6281381393739", " \n").unwrap_err().contains("invalid_message"));
        assert!(code("6281381393739", &"x".repeat(65_537)).unwrap_err().contains("invalid_message"));
    }

    #[test]
    fn the_answer_is_the_guides_with_seconds() {
        let sent = Sent {
            id: MessageId::from("3EB0".to_owned()),
            to: "6281381393739".parse().unwrap(),
            at: Millis(1_643_723_400_900),
        };
        let (headers, Answer(answer)) =
            answered(&Accepted { session: "1234567890".parse().unwrap(), sent, replayed: true });
        assert_eq!(headers, Some([("idempotent-replayed", "true")]));
        let shown = serde_json::to_value(&answer).unwrap();
        let expected = serde_json::json!({
            "success": true, "message": "Message sent successfully", "message_id": "3EB0", "id": "3EB0",
            "timestamp": 1_643_723_400, "session_id": "1234567890", "recipient": "6281381393739@s.whatsapp.net"
        });
        assert_eq!(shown, expected);
    }
}
