//! The API's description: OpenAPI 3.1, made from the handlers. `api-docs.yaml` at the top of the repository is this text.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::http::header;
use serde::Serialize;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, Content, HttpMethod, InfoBuilder, License, OpenApi, OpenApiBuilder, Paths, Ref, RefOr, Response,
    ResponseBuilder, SecurityRequirement, ServerBuilder, Tag,
};
use utoipa::{IntoResponses, PartialSchema, Path, ToSchema};

use super::error::ErrorBody;
use super::router;

/// The description as YAML.
pub fn openapi() -> String {
    let mut api = router::documented().into_openapi();
    api.webhooks = Some(webhooks());
    if let Some(components) = &mut api.components {
        for (name, schema) in webhook_schemas() {
            components.schemas.insert(name, schema);
        }
    }
    // Serialising a value of ours to YAML cannot fail; if it did, an empty text would fail the test on the file.
    api.to_yaml().unwrap_or_default()
}

/// The errors every endpoint may answer.
pub(super) struct ErrorAnswers;

/// The errors of endpoints that talk to WhatsApp.
pub(super) struct SendErrorAnswers;

/// A message posted to a webhook. More fields may be added; none is ever renamed or removed.
#[derive(Serialize, ToSchema)]
pub(super) struct WebhookMessage {
    /// The session it reached.
    #[schema(example = "1234567890")]
    session_id: String,
    /// The message.
    message: WebhookMessageContent,
}

/// What arrived.
#[derive(Serialize, ToSchema)]
pub(super) struct WebhookMessageContent {
    /// Its id on WhatsApp.
    #[schema(example = "3EB0BEDDE45EF384377BD7")]
    id: String,
    /// Who wrote it.
    #[schema(example = "6281381393739@s.whatsapp.net")]
    from: String,
    /// The account or group it was sent to.
    #[schema(example = "6282260790996@s.whatsapp.net")]
    to: String,
    /// Its text or caption.
    #[schema(example = "Hello!")]
    message: String,
    /// When it was sent, seconds since 1970.
    #[schema(example = 1_643_723_400)]
    timestamp: i64,
}

/// This description
#[utoipa::path(get, path = "/api-docs.yaml", operation_id = "getApiDocs", tag = "Health", security(()),
    responses((status = 200, description = "OpenAPI 3.1", body = String, content_type = "application/yaml")))]
pub(super) async fn yaml() -> ([(header::HeaderName, &'static str); 1], &'static str) {
    static TEXT: LazyLock<String> = LazyLock::new(openapi);
    ([(header::CONTENT_TYPE, "application/yaml")], TEXT.as_str())
}

/// A message arrived
///
/// Posted to a session's `webhook_url` and signed after Standard Webhooks 1.0 (headers `webhook-id`,
/// `webhook-timestamp`, `webhook-signature`). Answer 2xx; anything else is tried again for three days. The same
/// `webhook-id` may come twice: remember it.
#[utoipa::path(post, path = "message.received", operation_id = "messageReceived", tag = "Webhooks", security(()),
    request_body = WebhookMessage,
    params(("webhook-id" = String, Header, description = "The delivery; the same on every attempt"),
           ("webhook-timestamp" = String, Header, description = "When this attempt was signed, seconds since 1970"),
           ("webhook-signature" = String, Header, description = "`v1,` and the base64 of an HMAC-SHA256")),
    responses((status = "2XX", description = "Received")))]
#[expect(dead_code, reason = "describes what the gateway posts; nothing calls it")]
fn message_received() {}

/// The description without its paths.
pub(super) fn frame() -> OpenApi {
    let mut info = InfoBuilder::new()
        .title("wagate")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(ABOUT))
        .license(Some(License::builder().name("AGPL-3.0-only").identifier(Some("AGPL-3.0-only")).build()))
        .build();
    info.contact = None;
    let bearer = SecurityScheme::Http(Http::builder().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build());
    let mut components = ComponentsBuilder::new().security_scheme("BearerAuth", bearer);
    for answer in ANSWERS.iter().chain(&SEND_ANSWERS) {
        components = components.response(answer.name, answer.describe());
    }
    OpenApiBuilder::new()
        .info(info)
        .servers(Some([ServerBuilder::new().url("/").description(Some("this gateway")).build()]))
        .components(Some(components.build()))
        .security(Some([SecurityRequirement::new("BearerAuth", Vec::<String>::new())]))
        .tags(Some(TAGS.map(|(name, about)| Tag::builder().name(name).description(Some(about)).build())))
        .build()
}

const ABOUT: &str = "A self-hosted gateway to WhatsApp: many linked accounts (sessions) over REST and WebSocket, \
webhooks for what arrives.\n\nLog in with `POST /api/login` and send the token with every request. `timestamp` counts \
seconds, every `…_at` and `since` milliseconds since 1970. Errors carry `error`, `message`, `code` and `request_id`.";

const TAGS: [(&str, &str); 7] = [
    ("Users", "Logging in; who may use the gateway"),
    ("Sessions", "One WhatsApp account each, linked or to be linked"),
    ("Pairing", "Linking a session to an account"),
    ("Messages", "Sending"),
    ("Contacts", "Numbers and groups"),
    ("Webhooks", "Where what arrives is posted"),
    ("Health", "Whether the gateway lives, and what it is"),
];

/// One documented error.
struct ErrorAnswer {
    name: &'static str,
    status: &'static str,
    error: &'static str,
    about: &'static str,
    code: &'static str,
    message: &'static str,
}

const ANSWERS: [ErrorAnswer; 11] = [
    answer(
        "BadRequest",
        "400",
        "Bad Request",
        "A parameter or the body does not fit",
        "invalid_field",
        "recipient: invalid type: integer `62`, expected a string",
    ),
    answer(
        "Unauthorized",
        "401",
        "Unauthorized",
        "No token, or one that is not good",
        "invalid_token",
        "invalid or missing authentication token",
    ),
    answer(
        "Forbidden",
        "403",
        "Forbidden",
        "The token is good, but not for this",
        "admin_only",
        "only an administrator may manage users",
    ),
    answer(
        "NotFound",
        "404",
        "Not Found",
        "Not among your things; for a send also: the session is not connected",
        "not_found",
        "no session with this id",
    ),
    answer(
        "MethodNotAllowed",
        "405",
        "Method Not Allowed",
        "See the header `Allow`",
        "method_not_allowed",
        "this address does not take this method",
    ),
    answer(
        "Conflict",
        "409",
        "Conflict",
        "Does not go with what is there",
        "id_taken",
        "a session with this id exists; choose another id",
    ),
    answer(
        "TooLarge",
        "413",
        "Payload Too Large",
        "The body is too large",
        "body_too_large",
        "the body is larger than this gateway takes",
    ),
    answer(
        "UnsupportedMediaType",
        "415",
        "Unsupported Media Type",
        "The body is not JSON",
        "unsupported_media_type",
        "the body must be JSON; send the header: Content-Type: application/json",
    ),
    answer(
        "TooManyRequests",
        "429",
        "Too Many Requests",
        "See the header `Retry-After`",
        "too_many_attempts",
        "too many login attempts; try again in 3 s",
    ),
    answer(
        "InternalError",
        "500",
        "Internal Server Error",
        "Ours to mend; the log knows more under the `request_id`",
        "internal",
        "something went wrong here; the log knows more",
    ),
    answer(
        "Unavailable",
        "503",
        "Service Unavailable",
        "Starting, stopping or out of time",
        "stopping",
        "the gateway is stopping",
    ),
];

const SEND_ANSWERS: [ErrorAnswer; 3] = [
    answer(
        "RefusedByWhatsapp",
        "422",
        "Unprocessable Entity",
        "WhatsApp refused it; do not repeat it unchanged",
        "refused_by_whatsapp",
        "WhatsApp refused it with code 463: this account may not write to new contacts for now",
    ),
    answer("WhatsappFailed", "502", "Bad Gateway", "WhatsApp failed", "whatsapp_failed", "the connection was lost"),
    answer(
        "Unanswered",
        "504",
        "Gateway Timeout",
        "WhatsApp did not answer in time: it may or may not have gone out",
        "unanswered",
        "WhatsApp did not answer in time",
    ),
];

const fn answer(
    name: &'static str,
    status: &'static str,
    error: &'static str,
    about: &'static str,
    code: &'static str,
    message: &'static str,
) -> ErrorAnswer {
    ErrorAnswer { name, status, error, about, code, message }
}

impl ErrorAnswer {
    fn describe(&self) -> Response {
        let example = serde_json::json!({
            "error": self.error, "message": self.message, "code": self.code,
            "request_id": "req_0198c0ffee007000800000000000c0de",
        });
        let mut content = Content::new(Some(Ref::from_schema_name(ErrorBody::name())));
        content.example = Some(example);
        ResponseBuilder::new().description(self.about).content("application/json", content).build()
    }
}

fn named(answers: &[ErrorAnswer]) -> BTreeMap<String, RefOr<Response>> {
    answers.iter().map(|a| (a.status.to_owned(), RefOr::Ref(Ref::from_response_name(a.name)))).collect()
}

impl IntoResponses for ErrorAnswers {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        named(&ANSWERS)
    }
}

impl IntoResponses for SendErrorAnswers {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        named(&SEND_ANSWERS)
    }
}

fn webhooks() -> Paths {
    let mut paths = Paths::new();
    let operation = <__path_message_received as Path>::operation();
    paths.add_path_operation("message.received", vec![HttpMethod::Post], operation);
    paths
}

fn webhook_schemas() -> Vec<(String, RefOr<utoipa::openapi::Schema>)> {
    let mut schemas = vec![
        (ErrorBody::name().into_owned(), ErrorBody::schema()),
        (WebhookMessage::name().into_owned(), WebhookMessage::schema()),
    ];
    ErrorBody::schemas(&mut schemas);
    WebhookMessage::schemas(&mut schemas);
    schemas
}
