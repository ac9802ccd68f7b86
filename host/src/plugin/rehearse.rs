//! Rehearsals: a chain is run on an event as it would be in earnest, and what would have happened is shown instead of
//! done. A replay rehearses many events through two chains and shows where they differ.
//!
//! Invariant: a rehearsal stores nothing, sends nothing and raises nothing.

mod difference;
mod sample;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

pub use self::difference::{Change, differences};
pub use self::sample::Sample;
use super::{Filtered, Left, Passage, Plugins, Shaped, admits};
use crate::model::{
    Binding, Bound, Endpoint, Event, EventId, Happening, Labels, Millis, Plugin, PluginVersion, SessionId, Shape,
};

/// Bytes of changes that a replay shows.
const SHOWN: usize = 4 << 20;

/// A plugin as it is to be tried: a version of it, where it is bound.
#[derive(Clone, Debug)]
pub struct Trial {
    /// The plugin.
    pub plugin: Plugin,
    /// The version.
    pub version: PluginVersion,
    /// Where it stands in the chain, with which configuration.
    pub bindings: Vec<Binding>,
}

/// What a chain would have made of an event.
#[derive(Clone, Debug)]
pub struct Rehearsal {
    /// What the filters decided.
    pub filtered: Filtered,
    /// Each endpoint the event would have gone to, and what would have been posted there.
    pub deliveries: Vec<(Endpoint, Shaped)>,
    /// Where the message came out otherwise than it went in.
    pub patch: Vec<Change>,
    /// Steps, labels, effects and logs.
    pub left: Left,
}

/// How two chains fared on the same events.
#[derive(Clone, Debug, Default)]
pub struct Replay {
    /// Events that were run through both.
    pub events: usize,
    /// Those that came out differently, newest first.
    pub differing: Vec<Differing>,
    /// Whether all were run; `false` when there was no time or room left.
    pub complete: bool,
}

/// An event that two chains treat differently.
#[derive(Clone, Debug)]
pub struct Differing {
    /// The event.
    pub event: EventId,
    /// When it was stored.
    pub occurred_at: Millis,
    /// Where the outcomes differ.
    pub changes: Vec<Change>,
}

/// What a session's events meet: the chain as it is, the chain as it might be, and the endpoints.
#[derive(Clone, Debug)]
pub struct Stages {
    /// The chain as it is.
    pub before: Arc<[Bound]>,
    /// The chain as it might be.
    pub after: Arc<[Bound]>,
    /// The session's endpoints.
    pub endpoints: Vec<Endpoint>,
}

/// Runs an event through a chain.
pub async fn rehearse(plugins: &Plugins, chain: &[Bound], event: &Event, endpoints: &[Endpoint]) -> Rehearsal {
    run(plugins.passage_through(chain, event, 1, true), event, endpoints).await
}

async fn run(mut passage: Passage, event: &Event, endpoints: &[Endpoint]) -> Rehearsal {
    let filtered = passage.filter().await;
    let mut deliveries = Vec::new();
    if let Filtered::Forward { route_to } = &filtered {
        for endpoint in endpoints.iter().filter(|endpoint| admits(route_to.as_deref(), endpoint)) {
            deliveries.push((endpoint.clone(), passage.shape(endpoint).await));
        }
    }
    let message = passage.message().cloned();
    let left = passage.finish();
    let patch = message.map(|message| {
        let after = Event { what: Happening::Message(message), ..event.clone() };
        differences(&shown(event, &Labels::new()), &shown(&after, &left.labels))
    });
    Rehearsal { filtered, deliveries, patch: patch.unwrap_or_default(), left }
}

/// The message of an event as plugins see it.
fn shown(event: &Event, labels: &Labels) -> Value {
    let mut document: Value = serde_json::from_str(&event.document(labels)).unwrap_or_default();
    document["message"].take()
}

/// Runs events through the chain as it is and as it might be, for at most `time`.
pub async fn replay(
    plugins: &Plugins,
    events: &[Event],
    stages: &BTreeMap<SessionId, Stages>,
    time: Duration,
) -> Replay {
    let started = Instant::now();
    let mut replay = Replay { complete: true, ..Replay::default() };
    let (mut links, mut shown) = (BTreeMap::new(), 0);
    for event in events {
        let Some(stages) = stages.get(&event.session) else { continue };
        if started.elapsed() > time || shown > SHOWN {
            replay.complete = false;
            break;
        }
        let both = || (plugins.links(&stages.before), plugins.links(&stages.after));
        let (before, after) = links.entry(&event.session).or_insert_with(both);
        let before = run(plugins.rehearsal(before, event), event, &stages.endpoints).await.summary();
        let after = run(plugins.rehearsal(after, event), event, &stages.endpoints).await.summary();
        let found = differences(&before, &after).into_iter().map(Change::shortened);
        let (changes, bytes): (Vec<_>, Vec<usize>) = found.unzip();
        shown += bytes.iter().sum::<usize>();
        replay.events += 1;
        if !changes.is_empty() {
            let (event, occurred_at) = (event.id.clone(), event.stored_at);
            replay.differing.push(Differing { event, occurred_at, changes });
        }
    }
    replay
}

/// The chain with the plugin of the trial standing in it as it is to be tried, and in no other way.
pub fn staged(chain: &[Bound], trial: &Trial) -> Arc<[Bound]> {
    let Trial { plugin, version, bindings } = trial;
    let others = chain.iter().filter(|bound| bound.plugin.id != plugin.id).cloned();
    let ours = bindings.iter().cloned().map(|binding| {
        let plugin = Plugin { current: version.number, ..plugin.clone() };
        Bound { binding, plugin, version: version.clone() }
    });
    let mut staged: Vec<Bound> = others.chain(ours).collect();
    staged.sort_by_key(|bound| bound.binding.position);
    staged.into()
}

impl Rehearsal {
    /// What became of the event, in one word: `forwarded`, `dropped`, `deferred` or `parked`.
    pub fn outcome(&self) -> &'static str {
        let waits = self.deliveries.iter().any(|(_, shaped)| matches!(shaped, Shaped::Park { .. }));
        match &self.filtered {
            Filtered::Forward { .. } if waits => "parked",
            Filtered::Forward { .. } => "forwarded",
            Filtered::Drop { .. } => "dropped",
            Filtered::Defer { .. } => "deferred",
            Filtered::Park { .. } => "parked",
        }
    }

    /// Why it was dropped or has to wait, in words.
    pub fn detail(&self) -> Option<String> {
        match &self.filtered {
            Filtered::Forward { .. } => self.deliveries.iter().find_map(|(_, shaped)| match shaped {
                Shaped::Park { why, .. } => Some(why.clone()),
                _ => None,
            }),
            Filtered::Drop { code, detail: Some(detail) } => Some(format!("{code}: {detail}")),
            Filtered::Drop { code, detail: None } => Some(code.clone()),
            Filtered::Defer { after, .. } => Some(format!("for {} ms", after.as_millis())),
            Filtered::Park { why, .. } => Some(why.clone()),
        }
    }

    /// All that counts when two rehearsals are compared: times and ids that are new in each are left out.
    fn summary(&self) -> Value {
        let effects = &self.left.effects;
        let deliveries: Map<_, _> =
            self.deliveries.iter().map(|(endpoint, shaped)| (endpoint.name.clone(), posted(shaped))).collect();
        let patch: Map<_, _> = self.patch.iter().map(|change| (change.path.clone(), json!(change.to))).collect();
        let failures = self.left.steps.iter().filter(|step| step.verdict == "failed");
        let writes = effects.writes.iter().map(|write| {
            (format!("{}/{}", write.plugin, write.key), write.value.as_deref().map_or(Value::Null, text_or_base64))
        });
        json!({
            "outcome": self.outcome(),
            "detail": self.detail(),
            "failures": failures.map(|step| json!([step.name, step.detail])).collect::<Vec<_>>(),
            "message": patch,
            "deliveries": deliveries,
            "writes": writes.collect::<Map<_, _>>(),
            "sends": effects.sends.iter().map(|send| json!({ "to": send.to, "text": send.text })).collect::<Vec<_>>(),
            "events": effects.events.iter().map(|event| json!({ "type": event.kind, "payload": event.payload }))
                .collect::<Vec<_>>(),
        })
    }
}

/// A webhook as JSON, its body parsed where it is JSON, so that differences are found in its members.
fn posted(shaped: &Shaped) -> Value {
    match shaped {
        Shaped::Send(Shape { body, content_type, headers, path_suffix }) => {
            let parsed = serde_json::from_slice(body).unwrap_or_else(|_| text_or_base64(body));
            let headers: Map<_, _> = headers.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
            json!({ "body": parsed, "content_type": content_type, "headers": headers, "path_suffix": path_suffix })
        }
        Shaped::Cancel(why) => json!({ "cancelled": why }),
        Shaped::Park { why, .. } => json!({ "parked": why }),
    }
}

/// Bytes as text where they are, else as base64 behind a word that says so.
fn text_or_base64(bytes: &[u8]) -> Value {
    std::str::from_utf8(bytes).map_or_else(|_| json!(format!("base64:{}", STANDARD.encode(bytes))), |text| json!(text))
}

#[cfg(test)]
mod tests;
