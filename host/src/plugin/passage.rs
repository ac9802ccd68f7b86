//! One event's way through a chain of plugins: filtered once, then shaped once for each endpoint.
//!
//! Invariant: nothing a plugin asked for is done here; it is collected in [`Left`], and only what calls that went well
//! asked for. A deferred or parked passage leaves no effects, because the whole chain will run again.

mod ledger;
mod outgoing;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use self::ledger::{Ledger, Said};
use super::api::v1::message_filter::Verdict;
use super::api::v1::types::Message;
use super::api::v1::webhook_transform::{Body, Delivery, Outcome};
use super::breaker::pause;
use super::call::{Answer, Fault, Input};
use super::capability::log::cut;
use super::chains::Chain;
use super::document;
use super::link::Link;
use super::machine::Machine;
use super::patch::{delivery, message};
use crate::model::{
    Chat, Effects, Endpoint, Event, FailurePolicy, Happening, Hook, Incoming, Labels, LogLine, PluginId, Shape, Step,
};

pub(super) use outgoing::outgoing;

/// Tries a plugin can ask for before its failure policy decides.
const TRIES: u32 = 10;
/// The content type of an event that no plugin has shaped.
const JSON: &str = "application/json";
/// What a message is dropped for when its plugin failed and its policy is closed.
const FAILED: &str = "plugin-failed";
/// Longest reason of a cancelled webhook.
const LONGEST_REASON: usize = 1_000;

/// The passage of one event.
pub struct Passage {
    chain: Chain,
    event: Event,
    labels: Labels,
    routing: message::Routing,
    /// The event as webhooks carry it, made after the filters.
    document: Option<String>,
    ledger: Ledger,
}

/// What the filters decided about a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filtered {
    /// It goes on.
    Forward {
        /// Names or ids of the only endpoints it goes to; `None` for all of the session's.
        route_to: Option<Vec<String>>,
    },
    /// It goes nowhere.
    Drop {
        /// A short name to count by.
        code: String,
        /// More, for the reader of the trace.
        detail: Option<String>,
    },
    /// A plugin wants the whole chain run again.
    Defer {
        /// The plugin.
        plugin: PluginId,
        /// When to run it again.
        after: Duration,
    },
    /// A plugin failed whose policy is to wait, or that asked for another try.
    Park {
        /// The plugin.
        plugin: PluginId,
        /// What happened.
        why: String,
        /// When to try again.
        after: Duration,
    },
}

/// Whether an endpoint is among those a filter named, by name or id; without a word from a filter, all are.
pub fn admits(route_to: Option<&[String]>, endpoint: &Endpoint) -> bool {
    route_to.is_none_or(|names| names.iter().any(|name| *name == endpoint.name || name == endpoint.id.as_str()))
}

/// What became of a webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shaped {
    /// To be posted like this.
    Send(Shape),
    /// Not to be sent to this endpoint, for this reason.
    Cancel(String),
    /// As in [`Filtered::Park`]: the whole passage waits.
    Park {
        /// The plugin.
        plugin: PluginId,
        /// What happened.
        why: String,
        /// When to try again.
        after: Duration,
    },
}

/// What the filters decided about a message that is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutgoingVerdict {
    /// It is sent, perhaps elsewhere or with other words.
    Send {
        /// Where to.
        to: Chat,
        /// The text.
        text: String,
    },
    /// It is not sent.
    Drop {
        /// A short name to count by.
        code: String,
        /// More, for whoever wanted to send it.
        detail: Option<String>,
    },
    /// A plugin without which it is not sent cannot judge it now.
    Wait {
        /// What happened.
        why: String,
        /// When to ask again.
        after: Duration,
    },
}

/// What a passage leaves to be committed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Left {
    /// Every call, in order.
    pub steps: Vec<Step>,
    /// The labels the message came out with.
    pub labels: Labels,
    /// What the calls want done.
    pub effects: Effects,
    /// What they said, and their failures.
    pub logs: Vec<LogLine>,
}

/// What becomes of a message or webhook whose plugin failed.
enum Fate {
    /// As if the plugin had passed it.
    On,
    /// Dropped or cancelled, for this reason.
    Over(String),
    /// Tried again.
    Again { why: String, after: Duration },
}

impl Passage {
    pub(super) fn new(machine: Arc<Machine>, chain: Chain, event: &Event, attempt: u32, rehearsal: bool) -> Self {
        let ledger = Ledger::new(machine, Some(event), attempt, rehearsal, event.chat().cloned());
        Self { chain, event: event.clone(), labels: Labels::new(), routing: None, document: None, ledger }
    }

    /// The passage of an event that was parked so often before. Without a word, every attempt before this one failed.
    #[must_use]
    pub fn having_failed(mut self, failures: u32) -> Self {
        self.ledger.failures = failures;
        self
    }

    /// Runs the filters. Once a passage, before the first [`Passage::shape`]. They judge what others write: an event that
    /// is no message has none, and neither has a message of the account's own, or a bot would answer itself.
    pub async fn filter(&mut self) -> Filtered {
        let Self { chain, event, labels, routing, ledger, .. } = self;
        let Event { id, session, what, .. } = event;
        let forward = |routing: &message::Routing| Filtered::Forward { route_to: routing.clone() };
        let Happening::Message(incoming) = what else { return forward(routing) };
        if incoming.from_me {
            return forward(routing);
        }
        let mut said: Option<Arc<Message>> = None;
        for link in chain.iter().filter(|link| link.has(Hook::MessageFilter)) {
            let message = said.get_or_insert_with(|| Arc::new(document::incoming(id, session, incoming, labels)));
            let (answer, open) = ledger.call(link, Input::Filter(Arc::clone(message))).await;
            let verdict = answer.and_then(|answer| match answer {
                Answer::Verdict(verdict) => Ok(verdict),
                Answer::Outcome(_) => Err(Fault::Unloadable("it answered for another hook".to_owned())),
            });
            let judged = verdict.and_then(|verdict| judge(verdict, incoming, labels, routing));
            let judged = ledger.close(open, link, Hook::MessageFilter, None, judged);
            let ended = match judged {
                Ok(Judged::On) => None,
                Ok(Judged::Changed) => {
                    // Said anew when there is another to hear it.
                    said = None;
                    None
                }
                Ok(Judged::Accept) => Some(forward(routing)),
                Ok(Judged::Drop { code, detail }) => Some(Filtered::Drop { code, detail }),
                Ok(Judged::Defer(after)) => {
                    ledger.hold();
                    Some(Filtered::Defer { plugin: link.place.plugin.clone(), after })
                }
                Err(fault) => match ledger.fate(link, &fault) {
                    Fate::On => None,
                    Fate::Over(why) => Some(Filtered::Drop { code: FAILED.to_owned(), detail: Some(why) }),
                    Fate::Again { why, after } => {
                        ledger.hold();
                        Some(Filtered::Park { plugin: link.place.plugin.clone(), why, after })
                    }
                },
            };
            if let Some(ended) = ended {
                return ended;
            }
        }
        forward(routing)
    }

    /// Shapes the webhook for one endpoint.
    pub async fn shape(&mut self, endpoint: &Endpoint) -> Shaped {
        let Self { chain, event, labels, document, ledger, .. } = self;
        let document = document.get_or_insert_with(|| event.document(labels));
        let mut suffix = String::new();
        let mut delivery: Option<Arc<Delivery>> = None;
        for link in chain.iter().filter(|link| link.has(Hook::WebhookTransform)) {
            let delivery = delivery.get_or_insert_with(|| Arc::new(written(event, endpoint, document)));
            let (answer, open) = ledger.call(link, Input::Transform(Arc::clone(delivery))).await;
            let outcome = answer.and_then(|answer| match answer {
                Answer::Outcome(outcome) => Ok(outcome),
                Answer::Verdict(_) => Err(Fault::Unloadable("it answered for another hook".to_owned())),
            });
            let judged = outcome.and_then(|outcome| weigh(outcome, Arc::make_mut(delivery), &mut suffix));
            match ledger.close(open, link, Hook::WebhookTransform, Some(&endpoint.id), judged) {
                Ok(None) => {}
                Ok(Some(reason)) => return Shaped::Cancel(reason),
                Err(fault) => match ledger.fate(link, &fault) {
                    Fate::On => {}
                    Fate::Over(why) => return Shaped::Cancel(why),
                    Fate::Again { why, after } => {
                        ledger.hold();
                        return Shaped::Park { plugin: link.place.plugin.clone(), why, after };
                    }
                },
            }
        }
        Shaped::Send(match delivery {
            Some(delivery) => posted(Arc::unwrap_or_clone(delivery), suffix),
            None => Shape::json(document.clone()),
        })
    }

    /// The message as the filters have changed it, when the event is one.
    pub fn message(&self) -> Option<&Incoming> {
        self.event.message()
    }

    /// Ends the passage.
    pub fn finish(self) -> Left {
        self.ledger.finish(self.labels)
    }
}

impl fmt::Debug for Passage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passage")
            .field("event", &self.event.id)
            .field("links", &self.chain.len())
            .finish_non_exhaustive()
    }
}

/// A verdict that keeps the contract.
enum Judged {
    On,
    Changed,
    Accept,
    Drop { code: String, detail: Option<String> },
    Defer(Duration),
}

fn judge(
    verdict: Verdict,
    incoming: &mut Incoming,
    labels: &mut Labels,
    routing: &mut message::Routing,
) -> Result<(Judged, Said), Fault> {
    Ok(match verdict {
        Verdict::Pass => (Judged::On, Said::plain("pass")),
        Verdict::Accept => (Judged::Accept, Said::plain("accept")),
        Verdict::Modify(patch) => {
            let shown = message::shown(&patch);
            message::apply(patch, message::Direction::Incoming, incoming, labels, routing)?;
            (Judged::Changed, Said::patch(shown))
        }
        Verdict::Drop(reason) => {
            let (code, detail) = message::dropped(reason)?;
            let told = detail.as_ref().map_or_else(|| code.clone(), |detail| format!("{code}: {detail}"));
            (Judged::Drop { code, detail }, Said::because("drop", told))
        }
        Verdict::Defer(ms) => {
            let span = message::deferred(ms);
            (Judged::Defer(span), Said::because("defer", format!("{} ms", span.as_millis())))
        }
    })
}

/// What an outcome does to the webhook; the reason when it is cancelled.
fn weigh(outcome: Outcome, webhook: &mut Delivery, suffix: &mut String) -> Result<(Option<String>, Said), Fault> {
    Ok(match outcome {
        Outcome::Pass => (None, Said::plain("pass")),
        Outcome::Modify(patch) => {
            let shown = delivery::shown(&patch);
            delivery::shape(patch, webhook, suffix)?;
            (None, Said::patch(shown))
        }
        Outcome::Cancel(reason) => {
            let reason = cut(reason, LONGEST_REASON);
            (Some(reason.clone()), Said::because("cancel", reason))
        }
    })
}

/// The webhook before the first plugin: the event as it is.
fn written(event: &Event, endpoint: &Endpoint, document: &str) -> Delivery {
    Delivery {
        event_type: event.kind(),
        event_id: event.id.to_string(),
        session: event.session.to_string(),
        endpoint_id: endpoint.id.to_string(),
        endpoint_name: Some(endpoint.name.clone()),
        occurred_at: u64::try_from(event.stored_at.0).unwrap_or_default(),
        event: document.to_owned(),
        body: Body::Text(document.to_owned()),
        content_type: JSON.to_owned(),
        headers: Vec::new(),
    }
}

fn posted(delivery: Delivery, path_suffix: String) -> Shape {
    let Delivery { body, content_type, headers, .. } = delivery;
    let body = match body {
        Body::Text(text) => Bytes::from(text),
        Body::Binary(bytes) => Bytes::from(bytes),
    };
    let headers = headers.into_iter().map(|header| (header.name, header.value)).collect();
    Shape { body, content_type, headers, path_suffix }
}

/// What the failure policy makes of a failure; `times` counts it and those before.
fn fate(link: &Link, fault: &Fault, times: u32, left: Option<Duration>) -> Fate {
    let why = format!("{}: {fault}", link.place.name);
    let after = left.unwrap_or_else(|| pause(times));
    if fault.is_passing() && times < TRIES {
        return Fate::Again { why, after };
    }
    match link.place.policy {
        FailurePolicy::Open => Fate::On,
        FailurePolicy::Closed => Fate::Over(why),
        FailurePolicy::Park => Fate::Again { why, after },
    }
}
