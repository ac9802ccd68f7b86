//! What the gateway posts besides received messages, for the description's section `webhooks`: every kind of event with
//! what it carries.
//!
//! The types are never built: they describe what `model/happening.rs` writes and the plugin `forward` frames, and
//! `tests/it/events.rs` compares what arrives with what is described.

use utoipa::ToSchema;
use utoipa::openapi::path::Operation;
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::{
    AllOfBuilder, ContentBuilder, HttpMethod, ObjectBuilder, Paths, Ref, RefOr, Required, Schema, Type,
};

/// Somebody on WhatsApp, or a group: the address to write to, the number and the hidden address. Null is what is unknown.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a body made elsewhere")]
struct Person {
    /// The address to write to: by number where the number is known.
    #[schema(example = "6281381393739@s.whatsapp.net")]
    chat: String,
    /// The number.
    #[schema(example = "6281381393739")]
    phone: Option<String>,
    /// The hidden address (LID).
    #[schema(example = "100000000000001@lid")]
    lid: Option<String>,
}

/// The message that a reaction, an edit or a revocation is about.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a body made elsewhere")]
struct MessageTarget {
    /// Its id.
    #[schema(example = "3EB0BEDDE45EF384377BD7")]
    id: String,
    /// Who wrote it, as far as WhatsApp told it.
    sender: Option<Person>,
    /// Whether the account itself wrote it.
    #[schema(example = true)]
    from_me: bool,
}

/// A message that the account sent has come further, or was refused.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a body made elsewhere")]
struct MessageAck {
    /// The message, as it was answered when it was sent.
    #[schema(example = "3EB0BEDDE45EF384377BD7")]
    id: String,
    /// Whom it went to: a person or a group.
    to: Person,
    /// `delivered`, `read`, `played` or `refused`. Each comes once; one may be left out.
    #[schema(example = "read")]
    state: String,
    /// WhatsApp's code, when it refused.
    #[schema(example = 463)]
    code: Option<u16>,
    /// Who received or read it; in a group the first member who did.
    from: Option<Person>,
    /// When, milliseconds since 1970.
    #[schema(example = 1_643_723_400_000_i64)]
    at: i64,
}

/// Somebody came online or went away.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a body made elsewhere")]
struct PresenceUpdate {
    /// Who.
    from: Person,
    /// `available` or `unavailable`.
    #[schema(example = "unavailable")]
    state: String,
    /// When they were last there, milliseconds since 1970, if they let it be known.
    #[schema(example = 1_643_723_400_000_i64)]
    last_seen: Option<i64>,
}

/// Somebody types in a chat, records a voice note, or stopped.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a body made elsewhere")]
struct ChatPresence {
    /// The chat: the person or the group.
    #[schema(example = "6281381393739@s.whatsapp.net")]
    chat: String,
    /// Who.
    from: Person,
    /// Whether the chat is a group.
    #[schema(example = false)]
    is_group: bool,
    /// `typing`, `recording` or `paused`.
    #[schema(example = "typing")]
    state: String,
}

/// A group was changed. What belongs to another action is absent.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a body made elsewhere")]
struct GroupUpdate {
    /// WhatsApp's id of its notice.
    #[schema(example = "3A2F8C01")]
    id: Option<String>,
    /// The place of this change among those of the notice, from 0.
    #[schema(example = 0)]
    place: u32,
    /// The group.
    #[schema(example = "120363302171476233@g.us")]
    chat: String,
    /// Who changed it, when WhatsApp tells.
    from: Option<Person>,
    /// When, milliseconds since 1970.
    #[schema(example = 1_643_723_400_000_i64)]
    at: i64,
    /// `created`, `deleted`, `subject`, `description`, `added`, `removed`, `promoted`, `demoted`, `renumbered`,
    /// `requested`, `unrequested`, `setting`, `disappearing`, `invite_revoked` or `other`.
    #[schema(example = "added")]
    action: String,
    /// Whom `added`, `removed`, `promoted`, `demoted`, `renumbered`, `requested` and `unrequested` are about.
    #[schema(required = false)]
    participants: Vec<Person>,
    /// The name, in `created` and `subject`.
    #[schema(example = "Team", required = false)]
    subject: Option<String>,
    /// The new description, in `description`; null when it was taken away.
    #[schema(example = "Who, what and when", required = false)]
    description: Option<String>,
    /// Which was switched, in `setting`: `locked`, `announcement`, `join_approval`, `admins_add` or
    /// `no_frequently_forwarded`.
    #[schema(example = "announcement", required = false)]
    setting: String,
    /// Whether it holds now, in `setting`.
    #[schema(example = true, required = false)]
    on: bool,
    /// In `disappearing`: seconds until messages go; 0 when they stay.
    #[schema(example = 86_400, required = false)]
    seconds: u32,
    /// WhatsApp's word, in `other`.
    #[schema(example = "link", required = false)]
    name: String,
}

/// Somebody called.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a body made elsewhere")]
struct CallReceived {
    /// The call's id.
    #[schema(example = "8B4E1C0D5A7F4F6E")]
    id: String,
    /// Who called.
    from: Person,
    /// Where: the person or the group.
    #[schema(example = "6281381393739@s.whatsapp.net")]
    chat: String,
    /// Whether it was to a group.
    #[schema(example = false)]
    is_group: bool,
    /// Whether it was with pictures, when told.
    #[schema(example = false)]
    video: Option<bool>,
    /// Whether it rang while the session was away, and is over.
    #[schema(example = false)]
    missed: bool,
    /// When, milliseconds since 1970.
    #[schema(example = 1_643_723_400_000_i64)]
    at: i64,
}

/// The session has come to another state.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a body made elsewhere")]
struct SessionStatus {
    /// `stopped`, `connecting`, `pairing`, `connected`, `pairing_expired`, `logged_out` or `failed`.
    #[schema(example = "connected")]
    state: String,
    /// Why, where there is a reason.
    #[schema(example = "the account removed this device")]
    reason: Option<String>,
    /// The linked account; null before one is linked.
    account: Option<Person>,
}

/// An endpoint gets nothing any more, until somebody enables it.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a body made elsewhere")]
struct EndpointDisabled {
    /// The endpoint.
    #[schema(example = "end_0198c0ffee007000800000000000c0de")]
    id: String,
    /// Its name.
    #[schema(example = "crm")]
    name: String,
    /// Its address.
    #[schema(example = "https://crm.example/hook")]
    url: String,
    /// `gone`: it answered 410; `failing`: nothing was delivered for five days; `by_user`: somebody disabled it.
    #[schema(example = "failing")]
    why: String,
    /// When, milliseconds since 1970.
    #[schema(example = 1_643_723_400_000_i64)]
    at: i64,
}

/// Somebody wanted to see whether an endpoint works.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a body made elsewhere")]
struct WebhookTest {
    /// The endpoint.
    #[schema(example = "end_0198c0ffee007000800000000000c0de")]
    endpoint_id: String,
    /// A word to whoever reads it.
    #[schema(example = "This is a test of your webhook.")]
    text: String,
}

/// A kind of event, its operation's id, what it says in a line, and what it carries.
type Kind = (&'static str, &'static str, &'static str, Carries);

enum Carries {
    /// The founding body.
    Message,
    /// The founding body, with the message that this one is about in it.
    Reference,
    /// This schema, under `data`.
    Data(&'static str),
    /// Whatever a plugin wrote, under `payload`.
    Payload,
}

const KINDS: [Kind; 13] = [
    ("message.sent", "messageSent", "WhatsApp accepted a message of the account's own", Carries::Message),
    ("message.reaction", "messageReaction", "Somebody reacted to a message, or took it back", Carries::Reference),
    ("message.edited", "messageEdited", "Somebody changed a message of theirs", Carries::Reference),
    ("message.revoked", "messageRevoked", "Somebody took a message back", Carries::Reference),
    ("message.ack", "messageAck", "A sent message came further, or was refused", Carries::Data("MessageAck")),
    ("presence.update", "presenceUpdate", "Somebody came online or went away", Carries::Data("PresenceUpdate")),
    ("chat.presence", "chatPresence", "Somebody types, or stopped", Carries::Data("ChatPresence")),
    ("group.update", "groupUpdate", "A group was changed", Carries::Data("GroupUpdate")),
    ("call.received", "callReceived", "Somebody called", Carries::Data("CallReceived")),
    ("session.status", "sessionStatus", "The session came to another state", Carries::Data("SessionStatus")),
    ("endpoint.disabled", "endpointDisabled", "An endpoint was disabled", Carries::Data("EndpointDisabled")),
    ("webhook.test", "webhookTest", "Somebody tests an endpoint", Carries::Data("WebhookTest")),
    ("plugin.*", "pluginEvent", "A plugin raised an event of its own", Carries::Payload),
];

const ABOUT: &str = "Posted to endpoints whose filter admits this kind, and signed like `message.received`.";

/// Adds every kind; `like` is how a received message is described.
pub(super) fn add(paths: &mut Paths, like: &Operation) {
    for (kind, id, summary, carries) in KINDS {
        let mut operation = like.clone();
        operation.operation_id = Some(id.to_owned());
        operation.summary = Some(summary.to_owned());
        operation.description = Some(ABOUT.to_owned());
        let content = ContentBuilder::new().schema(Some(body(kind, &carries))).build();
        let body =
            RequestBodyBuilder::new().content("application/json", content).required(Some(Required::True)).build();
        operation.request_body = Some(RefOr::T(body));
        paths.add_path_operation(kind, vec![HttpMethod::Post], operation);
    }
}

/// The schemas they refer to.
pub(super) fn schemas() -> Vec<(String, RefOr<Schema>)> {
    fn of<T: ToSchema>() -> (String, RefOr<Schema>) {
        (T::name().into_owned(), T::schema())
    }
    vec![
        of::<Person>(),
        of::<MessageTarget>(),
        of::<MessageAck>(),
        of::<PresenceUpdate>(),
        of::<ChatPresence>(),
        of::<GroupUpdate>(),
        of::<CallReceived>(),
        of::<SessionStatus>(),
        of::<EndpointDisabled>(),
        of::<WebhookTest>(),
    ]
}

fn body(kind: &str, carries: &Carries) -> RefOr<Schema> {
    let message = || Ref::from_schema_name("WebhookMessage");
    match carries {
        Carries::Message => message().into(),
        Carries::Reference => {
            let target = ObjectBuilder::new().property("target", Ref::from_schema_name("MessageTarget"));
            let more = ObjectBuilder::new().property("message", target.required("target"));
            AllOfBuilder::new().item(message()).item(more).into()
        }
        Carries::Data(schema) => {
            let when = ObjectBuilder::new().schema_type(Type::Integer).description(Some("Milliseconds since 1970."));
            let frame = frame(kind).property("occurred_at", when).required("occurred_at");
            frame.property("data", Ref::from_schema_name(*schema)).required("data").into()
        }
        Carries::Payload => {
            let payload = ObjectBuilder::new().description(Some("What the plugin wrote."));
            frame(kind).property("payload", payload).required("payload").into()
        }
    }
}

/// What every event has.
fn frame(kind: &str) -> ObjectBuilder {
    let text = |about: &str| ObjectBuilder::new().schema_type(Type::String).description(Some(about));
    ObjectBuilder::new()
        .property("session_id", text("The session it happened on."))
        .required("session_id")
        .property("event", text("What happened.").examples([kind]))
        .required("event")
        .property("event_id", text("The event's id; the same in every delivery of it."))
        .required("event_id")
}
