//! What the calls of a passage leave: steps, effects, lines; and what they share: values and the facts of a call.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Fate, Left, fate};
use crate::model::{
    Chat, Effects, EndpointId, Event, EventId, Happening, Hook, Labels, LogLevel, LogLine, Millis, PluginEvent,
    PluginId, QueuedSend, Step,
};
use crate::plugin::api::v1::types::CallContext;
use crate::plugin::call::{Answer, Fault, Input};
use crate::plugin::capability::kv::Keyspace;
use crate::plugin::link::Link;
use crate::plugin::machine::{Done, Machine};
use crate::plugin::state::{Call, Origin};

/// Calls of this process, which makes their ids unique beside the event's.
static CALLS: AtomicU64 = AtomicU64::new(0);

/// Lines kept of one plugin in one passage, which may hold many calls of it.
const LINES: usize = 1_000;

/// The books of one passage.
pub(super) struct Ledger {
    machine: Arc<Machine>,
    event: Option<EventId>,
    attempt: u32,
    /// Attempts before this one that failed.
    pub(super) failures: u32,
    rehearsal: bool,
    /// Where replies go: where the message came from, whatever a patch says.
    chat: Option<Chat>,
    origin: Origin,
    keys: HashMap<PluginId, Keyspace>,
    steps: Vec<Step>,
    sends: Vec<QueuedSend>,
    events: Vec<PluginEvent>,
    logs: Vec<LogLine>,
    /// How many lines of each plugin are kept.
    lines: HashMap<PluginId, usize>,
    /// The chain will run again: nothing is done this time.
    held: bool,
}

/// A call that has answered but not been judged.
pub(super) struct Open {
    call: Call,
    took: Duration,
    memory_kib: u64,
}

/// A verdict as the trace keeps it.
pub(super) struct Said {
    verdict: &'static str,
    detail: Option<String>,
    patch: Option<Value>,
}

impl Said {
    pub(super) fn plain(verdict: &'static str) -> Self {
        Self { verdict, detail: None, patch: None }
    }

    pub(super) fn because(verdict: &'static str, detail: String) -> Self {
        Self { verdict, detail: Some(detail), patch: None }
    }

    pub(super) fn patch(patch: Value) -> Self {
        Self { verdict: "modify", detail: None, patch: Some(patch) }
    }
}

impl Ledger {
    pub(super) fn new(
        machine: Arc<Machine>,
        event: Option<&Event>,
        attempt: u32,
        rehearsal: bool,
        chat: Option<Chat>,
    ) -> Self {
        Self {
            machine,
            event: event.map(|event| event.id.clone()),
            attempt,
            failures: attempt.saturating_sub(1),
            rehearsal,
            chat,
            origin: event.map_or(Origin::Others, |event| origin(&event.what)),
            keys: HashMap::new(),
            steps: Vec::new(),
            sends: Vec::new(),
            events: Vec::new(),
            logs: Vec::new(),
            lines: HashMap::new(),
            held: false,
        }
    }

    /// Calls a hook. What it answers must be judged and closed.
    pub(super) async fn call(&mut self, link: &Link, input: Input) -> (Result<Answer, Fault>, Open) {
        let now = self.machine.outside.clock.now();
        let deadline = Instant::now() + link.wall();
        let mut call = Call::idle(Arc::clone(&link.place), Arc::clone(&self.machine.outside), deadline);
        call.id = self.call_id();
        call.rehearsal = self.rehearsal;
        if link.place.grants.reply {
            call.chat.clone_from(&self.chat);
        }
        call.origin = self.origin;
        if !self.keys.is_empty() {
            call.keys = self.keys.remove(&link.place.plugin).unwrap_or_default();
        }
        if let Err(fault) = link.admit(now) {
            return (Err(fault), Open { call, took: Duration::ZERO, memory_kib: 0 });
        }
        let context = CallContext {
            call_id: call.id.clone(),
            plugin_id: link.place.plugin.as_str().to_owned(),
            attempt: self.attempt,
            now: u64::try_from(now.0).unwrap_or_default(),
            deadline_ms: 0,
            dry_run: self.rehearsal,
        };
        let Done { answer, took, memory_kib, call } = self.machine.call(link, context, input, call).await;
        (answer, Open { call, took, memory_kib })
    }

    /// Writes a judged call down: its effects when it went well, its failure when not.
    pub(super) fn close<T>(
        &mut self,
        open: Open,
        link: &Link,
        hook: Hook,
        endpoint: Option<&EndpointId>,
        judged: Result<(T, Said), Fault>,
    ) -> Result<T, Fault> {
        let Open { mut call, took, memory_kib } = open;
        let (place, now) = (&link.place, || self.machine.outside.clock.now());
        if !call.lines.is_empty() {
            let lines = call.lines.finish(&place.plugin, now(), &call.id);
            let kept = self.lines.entry(place.plugin.clone()).or_default();
            self.logs.extend(bounded(lines, kept));
        }
        if let Some(record) = link.record.as_ref().filter(|_| !matches!(judged, Err(Fault::Suspended(_)))) {
            record.took(took);
        }
        let (value, said) = match judged {
            Ok((value, said)) => {
                link.succeeded();
                call.keys.keep();
                self.sends.append(&mut call.sends);
                self.events.append(&mut call.events);
                (Ok(value), said)
            }
            Err(fault) => {
                let now = now();
                link.failed(&fault, &call.id, now);
                call.keys.discard();
                let detail = fault.to_string();
                self.logs.push(failure(place.plugin.clone(), now, detail.clone(), &call.id));
                (Err(fault), Said::because("failed", detail))
            }
        };
        if !call.keys.is_untouched() {
            self.keys.insert(place.plugin.clone(), call.keys);
        }
        self.steps.push(Step {
            plugin: place.plugin.clone(),
            name: place.name.clone(),
            version: place.version,
            binding: place.binding.clone(),
            hook,
            endpoint: endpoint.cloned(),
            verdict: said.verdict.to_owned(),
            detail: said.detail,
            patch: said.patch,
            took_us: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            memory_kib,
        });
        value
    }

    /// What becomes of the message after a failure.
    pub(super) fn fate(&self, link: &Link, fault: &Fault) -> Fate {
        let left = match fault {
            Fault::Suspended(until) => Some(until.since(self.machine.outside.clock.now())),
            _ => None,
        };
        fate(link, fault, self.failures.saturating_add(1), left)
    }

    /// The chain will run again.
    pub(super) fn hold(&mut self) {
        self.held = true;
    }

    pub(super) fn finish(self, labels: Labels) -> Left {
        let Self { keys, sends, events, steps, logs, held, .. } = self;
        let effects = if held {
            Effects::default()
        } else {
            let writes = keys.into_iter().flat_map(|(plugin, keys)| keys.into_writes(&plugin).collect::<Vec<_>>());
            Effects { writes: writes.collect(), sends, events }
        };
        Left { steps, labels, effects, logs }
    }

    fn call_id(&self) -> String {
        let number = CALLS.fetch_add(1, Ordering::Relaxed);
        let mut id = String::with_capacity(64);
        let _cannot_fail = match &self.event {
            Some(event) => write!(id, "{}.{}.{number:x}", event.as_str(), self.attempt),
            None => write!(id, "out.{:x}.{number:x}", self.machine.outside.clock.now().0),
        };
        id
    }
}

fn origin(what: &Happening) -> Origin {
    match what {
        Happening::Plugin(_) => Origin::Plugin,
        Happening::Message(message) if message.from_me => Origin::Account,
        Happening::Ack(_) => Origin::Account,
        _ => Origin::Others,
    }
}

/// As many lines as there is room for beside those `kept`; the last one for which there is room says so.
fn bounded(mut lines: Vec<LogLine>, kept: &mut usize) -> Vec<LogLine> {
    lines.truncate(LINES.saturating_sub(*kept));
    *kept += lines.len();
    if *kept == LINES
        && let Some(last) = lines.last_mut()
    {
        "further lines of this passage are dropped".clone_into(&mut last.message);
        (last.level, last.fields) = (LogLevel::Warn, Labels::new());
    }
    lines
}

fn failure(plugin: PluginId, at: Millis, message: String, call: &str) -> LogLine {
    LogLine { plugin, at, level: LogLevel::Error, message, fields: Labels::new(), call: call.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passage_keeps_so_many_lines_of_a_plugin() {
        let lines = |count| vec![failure(PluginId::new(), Millis(0), "said".to_owned(), "call"); count];
        let mut kept = 0;
        assert!(bounded(lines(LINES - 1), &mut kept).iter().all(|line| line.message == "said"));
        let last = bounded(lines(5), &mut kept);
        assert!(last.len() == 1 && last[0].message.starts_with("further lines"), "{last:?}");
        assert!(bounded(lines(5), &mut kept).is_empty());
    }
}
