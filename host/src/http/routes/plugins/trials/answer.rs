//! What a trial would have done, as the API shows it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::http::routes::plugins::answer::{LogBody, StepBody};
use crate::model::{Effects, Endpoint, Labels, PluginId, Shape, Step};
use crate::plugin::rehearse::{Change, Differing, Rehearsal};
use crate::plugin::{Filtered, Left, Shaped};
use crate::webhook::below;

/// What would have happened. Nothing of it has.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct DryRun {
    /// What this plugin said first: `pass`, `modify`, `accept`, `drop`, `defer`, `cancel` or `failed`; null when it was
    /// not asked, because an earlier one dropped the message for instance.
    #[schema(example = "modify")]
    verdict: Option<String>,
    /// What would have become of the event: `forwarded`, `dropped`, `deferred` or `parked`.
    #[schema(example = "forwarded")]
    outcome: &'static str,
    /// Why, when it was not forwarded.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    /// The only endpoints it was routed to, by name or id; absent for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    route_to: Option<Vec<String>>,
    /// Where the message came out otherwise than it went in.
    patch: Vec<ChangeBody>,
    /// The labels it came out with.
    #[schema(value_type = Object)]
    labels: Labels,
    /// Every call, in order.
    steps: Vec<StepBody>,
    /// What the plugins asked for.
    effects: EffectsBody,
    /// What they logged.
    logs: Vec<LogBody>,
    /// What would have been posted, endpoint by endpoint.
    deliveries: Vec<ShapedBody>,
    /// Microseconds this plugin's calls took.
    took_us: u64,
    /// KiB of memory its largest instance had at the end.
    memory_kib: u64,
}

/// A place where two values differ.
#[derive(Serialize, ToSchema)]
#[schema(as = Change)]
pub(in crate::http) struct ChangeBody {
    /// Names of members, and places in lists, with dots between.
    #[schema(example = "text")]
    path: String,
    /// What was there; absent for nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<Value>,
    /// What is there now; absent for nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<Value>,
}

/// What plugins asked for.
#[derive(Default, Serialize, ToSchema)]
#[schema(as = Effects)]
pub(in crate::http) struct EffectsBody {
    /// Values they would have kept.
    writes: Vec<WriteBody>,
    /// Messages they would have sent.
    sends: Vec<SendBody>,
    /// Events they would have raised.
    events: Vec<RaisedBody>,
}

/// A value a plugin would have kept.
#[derive(Serialize, ToSchema)]
#[schema(as = KeyWrite)]
pub(in crate::http) struct WriteBody {
    plugin: String,
    key: String,
    /// The value, when it is text; absent when the key was deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    /// The value, when it is no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
    /// When its time would have been over, milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<i64>,
}

/// A message a plugin would have sent.
#[derive(Serialize, ToSchema)]
#[schema(as = PluginSend)]
pub(in crate::http) struct SendBody {
    plugin: String,
    to: String,
    text: String,
}

/// An event a plugin would have raised.
#[derive(Serialize, ToSchema)]
#[schema(as = RaisedEvent)]
pub(in crate::http) struct RaisedBody {
    plugin: String,
    /// Its type, as webhooks carry it.
    #[schema(example = "plugin.order")]
    r#type: String,
    payload: Value,
}

/// A webhook as it would have been posted.
#[derive(Default, Serialize, ToSchema)]
#[schema(as = ShapedWebhook)]
pub(in crate::http) struct ShapedBody {
    /// The endpoint.
    endpoint: String,
    /// Its name.
    #[schema(example = "default")]
    name: String,
    /// `send`, `cancel` or `park`.
    #[schema(example = "send")]
    verdict: &'static str,
    /// Why it was cancelled or has to wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    /// The address with the path suffix.
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    /// The content type.
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<String>,
    /// Headers beside the gateway's own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    headers: Vec<HeaderBody>,
    /// The body, when it is text.
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    /// The body, when it is no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
}

/// A header.
#[derive(Serialize, ToSchema)]
#[schema(as = Header)]
pub(in crate::http) struct HeaderBody {
    name: String,
    value: String,
}

/// What would have gone another way.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct ReplayBody {
    /// Messages that were run through both chains.
    #[schema(example = 100)]
    pub(super) events: usize,
    /// Those that came out the same.
    #[schema(example = 97)]
    pub(super) same: usize,
    /// Whether all were run; false when there was no time or room for the rest.
    pub(super) complete: bool,
    /// Those that came out differently, newest first. `from` is the chain as it is, `to` the one to be tried.
    pub(super) differing: Vec<DifferingBody>,
}

/// An event that would have gone another way.
#[derive(Serialize, ToSchema)]
#[schema(as = Differing)]
pub(in crate::http) struct DifferingBody {
    /// The event.
    event_id: String,
    /// When it was stored, milliseconds since 1970.
    occurred_at: i64,
    /// Where the outcomes differ, the first 200 places. Of a value of more than 4 KiB the beginning of its JSON is shown.
    changes: Vec<ChangeBody>,
}

impl DryRun {
    pub(super) fn new(rehearsal: Rehearsal, plugin: &PluginId) -> Self {
        let (outcome, detail) = (rehearsal.outcome(), rehearsal.detail());
        let Rehearsal { filtered, deliveries, patch, left } = rehearsal;
        let Left { steps, labels, effects, logs } = left;
        let own = || steps.iter().filter(|step| step.plugin == *plugin);
        let largest = own().map(|step| step.memory_kib).max();
        Self {
            verdict: own().next().map(|step: &Step| step.verdict.clone()),
            outcome,
            detail,
            route_to: if let Filtered::Forward { route_to } = filtered { route_to } else { None },
            patch: patch.into_iter().map(ChangeBody::from).collect(),
            labels,
            took_us: own().map(|step| step.took_us).sum(),
            memory_kib: largest.unwrap_or_default(),
            steps: steps.into_iter().map(StepBody::from).collect(),
            effects: effects.into(),
            logs: logs.into_iter().map(LogBody::from).collect(),
            deliveries: deliveries.into_iter().map(ShapedBody::from).collect(),
        }
    }
}

impl From<Change> for ChangeBody {
    fn from(Change { path, from, to }: Change) -> Self {
        Self { path, from, to }
    }
}

impl From<Differing> for DifferingBody {
    fn from(differing: Differing) -> Self {
        Self {
            event_id: differing.event.into(),
            occurred_at: differing.occurred_at.0,
            changes: differing.changes.into_iter().map(ChangeBody::from).collect(),
        }
    }
}

impl From<Effects> for EffectsBody {
    fn from(effects: Effects) -> Self {
        let writes = effects.writes.into_iter().map(|write| {
            let (value, value_base64) = write.value.map(text_or_base64).unwrap_or_default();
            let expires_at = write.expires_at.map(|at| at.0);
            WriteBody { plugin: write.plugin.into(), key: write.key, value, value_base64, expires_at }
        });
        let sends = effects.sends.into_iter().map(|send| SendBody {
            plugin: send.plugin.into(),
            to: send.to.into(),
            text: send.text,
        });
        let events = effects.events.into_iter().map(|event| RaisedBody {
            plugin: event.plugin.into(),
            r#type: format!("plugin.{}", event.kind),
            payload: event.payload,
        });
        Self { writes: writes.collect(), sends: sends.collect(), events: events.collect() }
    }
}

impl From<(Endpoint, Shaped)> for ShapedBody {
    fn from((endpoint, shaped): (Endpoint, Shaped)) -> Self {
        let plain = |verdict| Self { verdict, endpoint: endpoint.id.into(), name: endpoint.name, ..Self::default() };
        match shaped {
            Shaped::Send(Shape { body, content_type, headers, path_suffix }) => {
                let (body, body_base64) = text_or_base64(body.into());
                let url = below(endpoint.url.url(), &path_suffix);
                Self {
                    url: Some(url.into()),
                    content_type: Some(content_type),
                    headers: headers.into_iter().map(|(name, value)| HeaderBody { name, value }).collect(),
                    body,
                    body_base64,
                    ..plain("send")
                }
            }
            Shaped::Cancel(why) => Self { detail: Some(why), ..plain("cancel") },
            Shaped::Park { why, .. } => Self { detail: Some(why), ..plain("park") },
        }
    }
}

/// Bytes as text where they are, else as base64.
fn text_or_base64(bytes: Vec<u8>) -> (Option<String>, Option<String>) {
    match String::from_utf8(bytes) {
        Ok(text) => (Some(text), None),
        Err(bytes) => (None, Some(STANDARD.encode(bytes.as_bytes()))),
    }
}
