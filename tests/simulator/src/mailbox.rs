//! The offline queue of one linked device: whatever was sent to it and not yet acknowledged, in order.
//!
//! WhatsApp's server keeps a stanza until the device settles it: a message by a receipt (or `<ack class="message">`),
//! anything else by an `<ack>` of its class (whatsapp-rust 0.7.0 `src/receipt.rs`, `Client::should_ack`). After a
//! login it announces the backlog with `<ib><offline_preview/>`, sends a short primer, then what the client asks for
//! with `<ib><offline_batch/>`, and closes with `<ib><offline/>` (`src/client/offline_resume.rs`).
//!
//! Invariant: a stanza leaves the queue only by being settled, and redelivery repeats the very same node, so that a
//! ciphertext is never made twice for one message.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc::UnboundedSender;

use crate::wire::{Jid, Node, NodeBuilder, SERVER, Stanza, parent};

/// How many backlog stanzas go out before the client asks for any.
const PRIMER: usize = 5;

/// What a socket task is told to do.
#[derive(Debug)]
pub(crate) enum Out {
    /// Write a stanza.
    Stanza(Arc<Node>),
    /// Say goodbye and close.
    Close,
    /// Cut the connection without a word.
    Cut,
}

/// The way into a socket task. Sending to a finished one is harmless.
pub(crate) type Outlet = UnboundedSender<Out>;

/// Sends `node` into a socket, if it is still there.
pub(crate) fn post(outlet: &Outlet, node: Node) {
    let _ = outlet.send(Out::Stanza(Arc::new(node)));
}

/// What kind of stanza waits, and so what settles it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Class {
    /// `<message>`
    Message,
    /// `<receipt>`
    Receipt,
    /// `<notification>`
    Notification,
    /// `<call>`
    Call,
}

impl Class {
    /// The class named in `<ack class="…">` or by a stanza's tag.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        match name {
            "message" => Some(Self::Message),
            "receipt" => Some(Self::Receipt),
            "notification" => Some(Self::Notification),
            "call" => Some(Self::Call),
            _ => None,
        }
    }
}

/// The queue of one device and the line to its socket, if it has one.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    next: u64,
    waiting: BTreeMap<u64, Parcel>,
    by_id: HashMap<(Class, String), Vec<u64>>,
    line: Option<Line>,
}

#[derive(Debug)]
struct Parcel {
    class: Class,
    node: Arc<Node>,
}

#[derive(Debug)]
struct Line {
    connection: u64,
    outlet: Outlet,
    flow: Flow,
}

/// What the connected client may be sent from the queue.
#[derive(Debug)]
enum Flow {
    /// Logged in, but passive: nothing yet.
    Passive,
    /// The backlog below `end` is being handed out, as far as `credit` goes.
    Draining { cursor: u64, end: u64, credit: usize, announced: usize },
    /// Everything, at once.
    Live,
}

impl Mailbox {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connects a socket; answers the outlet of the one it replaces.
    pub(crate) fn attach(&self, connection: u64, outlet: Outlet) -> Option<Outlet> {
        let line = Line { connection, outlet, flow: Flow::Passive };
        self.lock().line.replace(line).map(|older| older.outlet)
    }

    /// Disconnects `connection`, unless another has taken its place; answers whether it was the current one.
    pub(crate) fn detach(&self, connection: u64) -> bool {
        let mut inner = self.lock();
        let current = inner.line.as_ref().is_some_and(|line| line.connection == connection);
        if current {
            inner.line = None;
        }
        current
    }

    /// The outlet of the connected socket.
    pub(crate) fn outlet(&self) -> Option<Outlet> {
        self.lock().line.as_ref().map(|line| line.outlet.clone())
    }

    /// Whether a socket is logged in.
    pub(crate) fn is_connected(&self) -> bool {
        self.lock().line.is_some()
    }

    /// How many stanzas wait to be settled, sent or not.
    pub(crate) fn len(&self) -> usize {
        self.lock().waiting.len()
    }

    /// How many of them are messages.
    pub(crate) fn messages(&self) -> usize {
        self.lock().count(Class::Message)
    }

    /// Queues a stanza for the device and sends it if the device is live.
    pub(crate) fn deliver(&self, node: Node) {
        let (Some(class), Some(id)) = (Class::parse(&node.tag), node.text("id").map(std::borrow::Cow::into_owned))
        else {
            tracing::error!(tag = %node.tag, "a stanza without class or id cannot be queued");
            return;
        };
        let node = Arc::new(node);
        let mut inner = self.lock();
        let sequence = inner.next;
        inner.next += 1;
        inner.by_id.entry((class, id)).or_default().push(sequence);
        inner.waiting.insert(sequence, Parcel { class, node: Arc::clone(&node) });
        if let Some(Line { outlet, flow: Flow::Live, .. }) = &inner.line {
            let _ = outlet.send(Out::Stanza(node));
        }
    }

    /// Sends a stanza that is worth nothing later (typing, presence), if the device is there to see it.
    pub(crate) fn whisper(&self, node: Node) {
        if let Some(Line { outlet, flow: Flow::Live, .. }) = &self.lock().line {
            post(outlet, node);
        }
    }

    /// The client went active: announces the backlog and starts to hand it out.
    pub(crate) fn activate(&self) {
        let mut inner = self.lock();
        let end = inner.next;
        let announced = inner.waiting.len();
        let preview = (announced > 0).then(|| inner.preview());
        let Some(line) = &mut inner.line else { return };
        if !matches!(line.flow, Flow::Passive) {
            return;
        }
        if let Some(preview) = preview {
            post(&line.outlet, preview);
        }
        line.flow = Flow::Draining { cursor: 0, end, credit: PRIMER, announced };
        inner.drain();
    }

    /// The client asked for `count` more stanzas of its backlog.
    pub(crate) fn grant(&self, count: usize) {
        let mut inner = self.lock();
        if let Some(Line { flow: Flow::Draining { credit, .. }, .. }) = &mut inner.line {
            *credit = credit.saturating_add(count);
            inner.drain();
        }
    }

    /// Takes a stanza out of the queue. `to` tells apart stanzas of several senders that share an id.
    pub(crate) fn settle(&self, class: Class, id: &str, to: Option<&Jid>) -> bool {
        let mut inner = self.lock();
        let key = (class, id.to_owned());
        let Some(sequences) = inner.by_id.get(&key) else { return false };
        let addressed = sequences.iter().copied().find(|sequence| {
            let from = inner.waiting.get(sequence).and_then(|parcel| parcel.node.jid("from"));
            matches!((from, to), (Some(from), Some(to)) if from.user == to.user)
        });
        let Some(sequence) = addressed.or_else(|| sequences.first().copied()) else { return false };
        if let Some(sequences) = inner.by_id.get_mut(&key) {
            sequences.retain(|other| *other != sequence);
            if sequences.is_empty() {
                inner.by_id.remove(&key);
            }
        }
        inner.waiting.remove(&sequence);
        // A client that asks only once (Baileys) is carried on by what it settles.
        if let Some(Line { flow: Flow::Draining { credit, .. }, .. }) = &mut inner.line {
            *credit += 1;
            inner.drain();
        }
        true
    }

    /// Forgets the queue: the device is no longer linked.
    pub(crate) fn clear(&self) {
        let mut inner = self.lock();
        inner.waiting.clear();
        inner.by_id.clear();
    }
}

impl Inner {
    /// Sends backlog while there is credit; at its end, the end marker and what arrived meanwhile.
    fn drain(&mut self) {
        let Some(line) = &mut self.line else { return };
        let Flow::Draining { cursor, end, credit, announced } = &mut line.flow else { return };
        while *credit > 0 {
            let Some((&sequence, parcel)) = self.waiting.range(*cursor..*end).next() else { break };
            *cursor = sequence + 1;
            *credit -= 1;
            let mut repeated = (*parcel.node).clone();
            repeated.attrs.insert("offline", "1");
            post(&line.outlet, repeated);
        }
        if self.waiting.range(*cursor..*end).next().is_some() {
            return;
        }
        let count = u64::try_from(*announced).unwrap_or(u64::MAX);
        let marker = NodeBuilder::new("offline").attr("count", count).build();
        post(&line.outlet, information(marker));
        for (_, parcel) in self.waiting.range(*end..) {
            let _ = line.outlet.send(Out::Stanza(Arc::clone(&parcel.node)));
        }
        line.flow = Flow::Live;
    }

    fn count(&self, class: Class) -> usize {
        self.waiting.values().filter(|parcel| parcel.class == class).count()
    }

    fn preview(&self) -> Node {
        let count = |class| self.count(class) as u64;
        let preview = NodeBuilder::new("offline_preview")
            .attr("count", self.waiting.len() as u64)
            .attr("message", count(Class::Message))
            .attr("receipt", count(Class::Receipt))
            .attr("notification", count(Class::Notification))
            .attr("appdata", 0u64)
            .attr("call", count(Class::Call));
        information(preview.build())
    }
}

fn information(child: Node) -> Node {
    let mut node = parent("ib", [child]);
    node.attrs.insert("from", SERVER);
    node
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

    fn message(id: &str, from: &str) -> Node {
        NodeBuilder::new("message").attr("id", id).attr("from", from.parse::<Jid>().unwrap()).build()
    }

    fn connect(mailbox: &Mailbox, connection: u64) -> UnboundedReceiver<Out> {
        let (outlet, outbox) = unbounded_channel();
        mailbox.attach(connection, outlet);
        outbox
    }

    fn sent(outbox: &mut UnboundedReceiver<Out>) -> Vec<String> {
        std::iter::from_fn(|| outbox.try_recv().ok())
            .filter_map(|out| match out {
                Out::Stanza(node) if node.tag == "ib" => node.all().first().map(|child| child.tag.to_string()),
                Out::Stanza(node) => {
                    let mark = if node.text("offline").is_some() { "*" } else { "" };
                    Some(format!("{}{mark}", node.text("id").unwrap()))
                }
                _ => None,
            })
            .collect()
    }

    #[test]
    fn sends_nothing_before_the_client_is_active() {
        let mailbox = Mailbox::default();
        let mut outbox = connect(&mailbox, 1);
        mailbox.deliver(message("A", "1@s.whatsapp.net"));
        assert!(sent(&mut outbox).is_empty());
        mailbox.activate();
        assert_eq!(sent(&mut outbox), ["offline_preview", "A*", "offline"]);
    }

    #[test]
    fn redelivers_in_order_until_settled() {
        let mailbox = Mailbox::default();
        for id in ["A", "B", "C"] {
            mailbox.deliver(message(id, "1@s.whatsapp.net"));
        }
        let mut first = connect(&mailbox, 1);
        mailbox.activate();
        assert_eq!(sent(&mut first), ["offline_preview", "A*", "B*", "C*", "offline"]);
        assert!(mailbox.settle(Class::Message, "B", None));
        assert!(!mailbox.settle(Class::Message, "B", None));

        let mut second = connect(&mailbox, 2);
        assert!(!mailbox.detach(1), "the newer connection stays");
        mailbox.activate();
        assert_eq!(sent(&mut second), ["offline_preview", "A*", "C*", "offline"]);
        mailbox.deliver(message("D", "1@s.whatsapp.net"));
        assert_eq!(sent(&mut second), ["D"]);
        assert_eq!(mailbox.len(), 3);
    }

    #[test]
    fn hands_out_a_long_backlog_by_batches() {
        let mailbox = Mailbox::default();
        for number in 0..12 {
            mailbox.deliver(message(&format!("M{number}"), "1@s.whatsapp.net"));
        }
        let mut outbox = connect(&mailbox, 1);
        mailbox.activate();
        assert_eq!(sent(&mut outbox).len(), 1 + PRIMER);
        mailbox.deliver(message("live", "1@s.whatsapp.net"));
        mailbox.grant(4);
        assert_eq!(sent(&mut outbox), ["M5*", "M6*", "M7*", "M8*"]);
        mailbox.settle(Class::Message, "M0", None);
        assert_eq!(sent(&mut outbox), ["M9*"]);
        mailbox.grant(200);
        assert_eq!(sent(&mut outbox), ["M10*", "M11*", "offline", "live"]);
    }

    #[test]
    fn counts_messages_apart_from_what_else_waits() {
        let mailbox = Mailbox::default();
        mailbox.deliver(message("A", "1@s.whatsapp.net"));
        mailbox.deliver(NodeBuilder::new("receipt").attr("id", "B").build());
        assert_eq!((mailbox.len(), mailbox.messages()), (2, 1));
        mailbox.settle(Class::Message, "A", None);
        assert_eq!((mailbox.len(), mailbox.messages()), (1, 0));
    }

    #[test]
    fn settles_the_stanza_of_the_sender_that_is_meant() {
        let mailbox = Mailbox::default();
        mailbox.deliver(message("X", "1@s.whatsapp.net"));
        mailbox.deliver(message("X", "2@s.whatsapp.net"));
        assert!(mailbox.settle(Class::Message, "X", Some(&Jid::pn("2"))));
        let mut outbox = connect(&mailbox, 1);
        mailbox.activate();
        assert_eq!(sent(&mut outbox), ["offline_preview", "X*", "offline"]);
        assert!(mailbox.settle(Class::Message, "X", Some(&Jid::pn("1"))));
        assert_eq!(mailbox.len(), 0);
    }
}
