//! The errors as the description shows them, named once and referred to by every operation that may answer them.
//!
//! An operation lists the groups below that apply to it. Not listed, because every address may answer it: 405 with the
//! header `Allow`.

use std::collections::BTreeMap;

use utoipa::openapi::{Content, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoResponses, ToSchema};

use crate::http::error::ErrorBody;

/// One documented error: its name, status, what it means, and an example's code and message.
struct Answer(&'static str, u16, &'static str, &'static str, &'static str);

const ANSWERS: [Answer; 13] = [
    Answer(
        "BadRequest",
        400,
        "A parameter or the body does not fit; the message names the field",
        "invalid_field",
        "recipient: invalid type: integer `62`, expected a string",
    ),
    Answer(
        "Unauthorized",
        401,
        "Who is asking is not known",
        "invalid_token",
        "invalid or missing authentication token",
    ),
    Answer(
        "Forbidden",
        403,
        "The token is good, but not for this",
        "password_change_due",
        "this password is good only for choosing your own; change it with POST /api/password first",
    ),
    Answer(
        "NotFound",
        404,
        "Nothing of yours has this name. Code `not_connected`: the session is there, but not logged in",
        "not_found",
        "no session with this id",
    ),
    Answer(
        "Conflict",
        409,
        "It does not go with what is there",
        "id_taken",
        "a session with this id exists; choose another id",
    ),
    Answer("TooLarge", 413, "The body is too large", "body_too_large", "the body is larger than this gateway takes"),
    Answer(
        "UnsupportedMediaType",
        415,
        "The body is not JSON",
        "unsupported_media_type",
        "the body must be JSON; send the header: Content-Type: application/json",
    ),
    Answer(
        "RefusedByWhatsapp",
        422,
        "WhatsApp refused it, with its code in the message, or a plugin dropped it. Do not repeat it unchanged",
        "refused_by_whatsapp",
        "WhatsApp refused it with code 463: this account may not write to new contacts for now",
    ),
    Answer(
        "TooManyRequests",
        429,
        "Wait as long as the header `Retry-After` says",
        "too_many_attempts",
        "too many login attempts; try again in 3 s",
    ),
    Answer(
        "InternalError",
        500,
        "Ours to mend; the log knows more under the `request_id`",
        "internal",
        "something went wrong here; the log knows more",
    ),
    Answer("WhatsappFailed", 502, "The connection to WhatsApp failed", "whatsapp_failed", "the connection was lost"),
    Answer("Unavailable", 503, "Not ready, stopping or out of time", "stopping", "the gateway is stopping"),
    Answer(
        "Unanswered",
        504,
        "WhatsApp did not answer in time: a message may or may not have gone out",
        "unanswered",
        "WhatsApp did not answer in time",
    ),
];

macro_rules! group {
    ($(#[$doc:meta])* $name:ident: $($status:literal)+) => {
        $(#[$doc])*
        pub(in crate::http) struct $name;

        impl IntoResponses for $name {
            fn responses() -> BTreeMap<String, RefOr<Response>> {
                named(&[$($status),+])
            }
        }
    };
}

group!(
    /// Whatever is asked.
    Always: 500 503
);
group!(
    /// Asked with a token.
    Guarded: 401 403 500 503
);
group!(
    /// Asked with a JSON body.
    Body: 400 413 415
);
group!(
    /// Asked with a parameter that may not fit.
    Parameter: 400
);
group!(
    /// A login.
    Credentials: 401
);
group!(
    /// Asked about something with an id.
    Named: 404
);
group!(
    /// Asked to change something that may stand against it.
    Standing: 409
);
group!(
    /// Counted.
    Limited: 429
);
group!(
    /// Needs WhatsApp's answer.
    Asking: 422 502 504
);

/// Every error by its name, for the components of the description.
pub(super) fn all() -> impl Iterator<Item = (&'static str, Response)> {
    ANSWERS.iter().map(|answer| (answer.0, describe(answer)))
}

fn named(statuses: &[u16]) -> BTreeMap<String, RefOr<Response>> {
    let wanted = ANSWERS.iter().filter(|Answer(_, status, ..)| statuses.contains(status));
    wanted.map(|Answer(name, status, ..)| (status.to_string(), RefOr::Ref(Ref::from_response_name(*name)))).collect()
}

fn describe(Answer(_, status, about, code, message): &Answer) -> Response {
    let status = axum::http::StatusCode::from_u16(*status).ok();
    let error = status.and_then(|status| status.canonical_reason()).unwrap_or_default();
    let mut content = Content::new(Some(Ref::from_schema_name(ErrorBody::name())));
    content.example = Some(serde_json::json!({
        "error": error, "message": message, "code": code, "request_id": "req_0198c0ffee007000800000000000c0de",
    }));
    ResponseBuilder::new().description(*about).content("application/json", content).build()
}
