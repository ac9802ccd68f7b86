//! What the gateway posts to webhooks, for the description's section `webhooks`.
//!
//! These types are never built: the body is made by the plugin `forward`, and `tests/it/plugin/journey.rs` compares what
//! arrives with what is described.

use utoipa::openapi::{HttpMethod, Paths, RefOr, Schema};
use utoipa::{PartialSchema, Path, ToSchema};

use super::happenings;

/// A message posted to a webhook. More fields may be added; none is ever renamed or removed.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a body made elsewhere")]
struct WebhookMessage {
    /// The session it reached.
    #[schema(example = "1234567890")]
    session_id: String,
    /// The message.
    message: WebhookMessageContent,
    /// What happened: `message.received`, `message.sent`, `message.reaction`, `message.edited` or `message.revoked`.
    #[schema(example = "message.received")]
    event: String,
    /// The event's id; the same in every delivery of it.
    #[schema(example = "evt_0198c0ffee007000800000000000c0de")]
    event_id: String,
}

/// What arrived.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a body made elsewhere")]
struct WebhookMessageContent {
    /// Its id on WhatsApp; unique only together with chat and writer.
    #[schema(example = "3EB0BEDDE45EF384377BD7")]
    id: String,
    /// Who wrote it.
    #[schema(example = "6281381393739@s.whatsapp.net")]
    from: String,
    /// The account that received it; when the account itself wrote it, the chat it wrote to.
    #[schema(example = "6282260790996@s.whatsapp.net")]
    to: String,
    /// Its text or caption; empty when it has none.
    #[schema(example = "Hello!")]
    message: String,
    /// When it was sent, seconds since 1970.
    #[schema(example = 1_643_723_400)]
    timestamp: i64,
    /// The chat it stands in: the person or the group.
    #[schema(example = "6281381393739@s.whatsapp.net")]
    chat: String,
    /// What it carries: `text`, `image`, `video`, `audio`, `document`, `sticker`, `location`, `contact`, `reaction`,
    /// `poll`, `edit`, `revoke` or `other`.
    #[schema(example = "text")]
    kind: String,
    /// Whether the account itself wrote it, on its phone or another linked device.
    #[schema(example = false)]
    from_me: bool,
    /// Whether the chat is a group.
    #[schema(example = false)]
    is_group: bool,
    /// The name the writer goes by.
    #[schema(example = "Ana")]
    push_name: Option<String>,
    /// The number of the other side, when it is known: the writer's or, of a message of the account's own, the person's it
    /// went to.
    #[schema(example = "6281381393739")]
    phone: Option<String>,
    /// The hidden address (LID) of the other side, when it is known.
    #[schema(example = "100000000000001@lid")]
    lid: Option<String>,
    /// Whether it waited at WhatsApp while the session was away.
    #[schema(example = false)]
    backfill: bool,
    /// Labels that plugins put on it, by name; absent when there are none.
    labels: Option<std::collections::BTreeMap<String, String>>,
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

/// The section `webhooks`.
pub(super) fn paths() -> Paths {
    let mut paths = Paths::new();
    let operation = <__path_message_received as Path>::operation();
    happenings::add(&mut paths, &operation);
    paths.add_path_operation("message.received", vec![HttpMethod::Post], operation);
    paths
}

/// The schemas it refers to.
pub(super) fn schemas() -> Vec<(String, RefOr<Schema>)> {
    let mut schemas = vec![(WebhookMessage::name().into_owned(), WebhookMessage::schema())];
    WebhookMessage::schemas(&mut schemas);
    schemas.extend(happenings::schemas());
    schemas
}
