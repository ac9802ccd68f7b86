//! One event's way through a chain of plugins: filtered once, then shaped once for each endpoint.
//!
//! Invariant: nothing a plugin asked for is done here; it is collected in [`Left`], and only what calls that went well
//! asked for. A deferred or parked passage leaves no effects, because the whole chain will run again.

use std::time::Duration;

use bytes::Bytes;

use crate::model::{Chat, Effects, Endpoint, Event, Incoming, Labels, LogLine, PluginId, Shape, Step};

/// The passage of one event.
#[derive(Debug)]
pub struct Passage {
    event: Event,
    left: Left,
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
    /// The whole chain is run again after this time.
    Defer(Duration),
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

impl Passage {
    pub(super) fn new(event: &Event) -> Self {
        Self { event: event.clone(), left: Left::default() }
    }

    /// Runs the filters. Once a passage, before the first [`Passage::shape`]. An event that is no message has none.
    pub async fn filter(&mut self) -> Filtered {
        tokio::task::yield_now().await;
        Filtered::Forward { route_to: None }
    }

    /// Shapes the webhook for one endpoint.
    pub async fn shape(&mut self, _endpoint: &Endpoint) -> Shaped {
        tokio::task::yield_now().await;
        Shaped::Send(Shape {
            body: Bytes::from(self.event.document(&self.left.labels)),
            content_type: "application/json".to_owned(),
            headers: Vec::new(),
            path_suffix: String::new(),
        })
    }

    /// The message as the filters have changed it, when the event is one.
    pub fn message(&self) -> Option<&Incoming> {
        self.event.message()
    }

    /// Ends the passage.
    pub fn finish(self) -> Left {
        self.left
    }
}
