//! The API's description: OpenAPI 3.1, made from the handlers. `api-docs.yaml` at the top of the repository is this text.

pub(super) mod answers;
mod happenings;
mod webhook;

use std::sync::LazyLock;

use axum::http::header;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, InfoBuilder, License, OpenApi, OpenApiBuilder, SecurityRequirement, ServerBuilder, Tag,
};
use utoipa::{PartialSchema, ToSchema};

use super::error::ErrorBody;
use super::router;

/// The description as YAML.
pub fn openapi() -> String {
    let mut api = router::documented().into_openapi();
    api.webhooks = Some(webhook::paths());
    if let Some(components) = &mut api.components {
        components.schemas.insert(ErrorBody::name().into_owned(), ErrorBody::schema());
        components.schemas.extend(webhook::schemas());
    }
    // Serialising a value of ours to YAML cannot fail; if it did, an empty text would fail the test on the file.
    api.to_yaml().unwrap_or_default()
}

/// This description
#[utoipa::path(get, path = "/api-docs.yaml", operation_id = "getApiDocs", tag = "Health", security(()),
    responses((status = 200, description = "OpenAPI 3.1", body = String, content_type = "application/yaml")))]
pub(super) async fn yaml() -> ([(header::HeaderName, &'static str); 1], &'static str) {
    static TEXT: LazyLock<String> = LazyLock::new(openapi);
    ([(header::CONTENT_TYPE, "application/yaml")], TEXT.as_str())
}

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
    for (name, answer) in answers::all() {
        components = components.response(name, answer);
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
seconds, every `…_at` and `since` milliseconds since 1970. Errors carry `error`, `message`, `code` and \
`request_id`; any address answers 405 to a method it does not take.";

const TAGS: [(&str, &str); 12] = [
    ("Users", "Logging in; who may use the gateway"),
    ("Sessions", "One WhatsApp account each, linked or to be linked"),
    ("Pairing", "Linking a session to an account"),
    ("Messages", "Sending"),
    ("Contacts", "Numbers and groups"),
    ("Webhooks", "Where what arrives is posted"),
    ("Deliveries", "What was posted, what came of it, and posting it again"),
    ("Events", "What happened, as it is stored and as it happens"),
    ("Plugins", "Code of yours on every incoming message and every outgoing webhook"),
    ("Vault", "The master keys that secrets in the database are sealed with"),
    ("Backup", "Copies of the database file"),
    ("Health", "Whether the gateway lives, and what it is"),
];
