//! What came of the messages: webhooks at the receiver, answers at the phones.
//!
//! A phone tells messages apart by their ids: the same one sent again is no second one. Two ids under one text are.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use wagate_simulator::Phone;
use wagate_tests::figures::figure;
use wagate_tests::receiver::Recorded;

use crate::plugin::{ANSWER, LABEL};
use crate::victim::Kill;
use crate::{HOLD, text};

/// How long it may take until an answered webhook is written down as delivered.
const SETTLED: Duration = Duration::from_secs(1);

/// So many kills have met something.
const ENOUGH: usize = 5;

/// What was counted.
#[derive(Debug, Default)]
pub(crate) struct Found {
    kills: usize,
    messages: usize,
    lost: usize,
    duplicates: usize,
    unequal: usize,
    /// Duplicates of webhooks that were not in flight at a kill.
    unexplained: usize,
    /// Webhooks that waited for their answer at a kill.
    in_flight: usize,
    /// Rows of the database that do not say: delivered, by one attempt.
    unsettled: usize,
    /// Webhooks that are not as the plugin wanted them.
    astray: usize,
    replies: usize,
    /// Answers that came again under their id, which a phone does not show twice.
    replies_again: usize,
    replies_lost: usize,
    replies_doubled: usize,
}

impl Found {
    /// Counts what is there.
    pub(crate) fn count(requests: &[Recorded], phones: &[Phone], messages: usize, kills: &[Kill]) -> Result<Self> {
        let mut found = Self { kills: kills.len(), messages, ..Self::default() };
        found.webhooks(requests, kills)?;
        found.answers(phones);
        Ok(found)
    }

    /// The same with what the database says in the end.
    pub(crate) fn with_unsettled(self, rows: i64) -> Result<Self> {
        Ok(Self { unsettled: rows.try_into()?, ..self })
    }

    /// Webhooks and answers that have not come.
    pub(crate) fn missing(&self) -> usize {
        self.lost + self.replies_lost
    }

    /// Prints the figures of this trial.
    pub(crate) fn print(&self, trial: &str) {
        for (name, count) in [
            ("kills", self.kills),
            ("messages", self.messages),
            ("lost", self.lost),
            ("duplicates", self.duplicates),
            ("duplicates_unequal", self.unequal),
            ("duplicates_unexplained", self.unexplained),
            ("in_flight", self.in_flight),
            ("unsettled", self.unsettled),
            ("replies", self.replies),
            ("replies_again", self.replies_again),
            ("replies_lost", self.replies_lost),
            ("replies_doubled", self.replies_doubled),
        ] {
            figure(&format!("{trial}.{name}"), count, "count");
        }
    }

    /// Complains about what may not be.
    pub(crate) fn judge(&self) -> Result<()> {
        ensure!(self.lost == 0, "{} messages were lost", self.lost);
        ensure!(self.in_flight > 0 || self.kills < ENOUGH, "no kill met a delivery in flight");
        ensure!(self.unequal == 0, "{} duplicates differ from their first", self.unequal);
        ensure!(self.unexplained == 0, "{} webhooks came again, and no kill says why", self.unexplained);
        ensure!(self.unsettled == 0, "{} deliveries are not delivered by exactly one attempt", self.unsettled);
        ensure!(self.astray == 0, "{} webhooks are not labelled and routed as the plugin said", self.astray);
        ensure!(self.replies_lost == 0, "{} messages were not answered", self.replies_lost);
        ensure!(self.replies_doubled == 0, "{} messages were answered once more", self.replies_doubled);
        Ok(())
    }

    fn webhooks(&mut self, requests: &[Recorded], kills: &[Kill]) -> Result<()> {
        let mut latest: HashMap<String, &Recorded> = HashMap::new();
        for request in requests {
            let body = request.json()?;
            let message = &body["message"];
            let text = message["message"].as_str().context("a webhook without a message")?.to_owned();
            let (name, value) = LABEL;
            self.astray += usize::from(message["labels"][name] != value || request.path != "/hook");
            self.in_flight += usize::from(kills.iter().any(|kill| kill.meets(request.at)));
            if let Some(earlier) = latest.insert(text, request) {
                self.duplicates += 1;
                self.unequal += usize::from(earlier.id() != request.id() || earlier.body != request.body);
                self.unexplained += usize::from(!kills.iter().any(|kill| kill.explains(earlier.at, request.at)));
            }
        }
        self.lost = (0..self.messages).filter(|n| !latest.contains_key(&text(*n))).count();
        Ok(())
    }

    fn answers(&mut self, phones: &[Phone]) {
        let mut ids: HashMap<String, HashSet<(usize, String)>> = HashMap::new();
        for (nth, phone) in phones.iter().enumerate() {
            for received in phone.inbox() {
                let text = received.text.unwrap_or_default();
                let is_new = ids.entry(text).or_default().insert((nth, received.id));
                self.replies_again += usize::from(!is_new);
            }
        }
        for n in 0..self.messages {
            let answers = ids.get(&format!("{ANSWER}{}", text(n))).map_or(0, HashSet::len);
            self.replies += answers;
            self.replies_lost += usize::from(answers == 0);
            self.replies_doubled += answers.saturating_sub(1);
        }
    }
}

impl Kill {
    /// Whether a webhook that came at this moment waited for its answer.
    fn meets(&self, came: Instant) -> bool {
        came <= self.from && self.from <= came + HOLD
    }

    /// Whether a webhook may come again because of this: its answer was not yet written down.
    fn explains(&self, came: Instant, again: Instant) -> bool {
        came <= self.until && self.from <= came + HOLD + SETTLED && self.from <= again
    }
}
