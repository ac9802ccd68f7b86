//! What came of the messages: webhooks at the receiver, answers at the phones.
//!
//! A phone tells messages apart by their ids: the same one sent again is no second one. Two ids under one text are.

use std::collections::{HashMap, HashSet};

use anyhow::{Context as _, Result, ensure};
use wagate_simulator::Phone;
use wagate_tests::figures::figure;
use wagate_tests::receiver::Recorded;

use crate::plugin::{ANSWER, LABEL};
use crate::text;

/// What was counted.
#[derive(Debug, Default)]
pub(crate) struct Found {
    messages: usize,
    lost: usize,
    duplicates: usize,
    unequal: usize,
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
    pub(crate) fn count(requests: &[Recorded], phones: &[Phone], messages: usize) -> Result<Self> {
        let mut found = Self { messages, ..Self::default() };
        found.webhooks(requests)?;
        found.answers(phones);
        Ok(found)
    }

    /// Webhooks and answers that have not come.
    pub(crate) fn missing(&self) -> usize {
        self.lost + self.replies_lost
    }

    /// Prints the figures of this trial.
    pub(crate) fn print(&self, trial: &str, kills: usize) {
        for (name, count) in [
            ("kills", kills),
            ("messages", self.messages),
            ("lost", self.lost),
            ("duplicates", self.duplicates),
            ("duplicates_unequal", self.unequal),
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
        ensure!(self.unequal == 0, "{} duplicates differ from their first", self.unequal);
        ensure!(self.astray == 0, "{} webhooks are not labelled and routed as the plugin said", self.astray);
        ensure!(self.replies_lost == 0, "{} messages were not answered", self.replies_lost);
        ensure!(self.replies_doubled == 0, "{} messages were answered once more", self.replies_doubled);
        Ok(())
    }

    fn webhooks(&mut self, requests: &[Recorded]) -> Result<()> {
        let mut first: HashMap<String, &Recorded> = HashMap::new();
        for request in requests {
            let body = request.json()?;
            let message = &body["message"];
            let text = message["message"].as_str().context("a webhook without a message")?.to_owned();
            let (name, value) = LABEL;
            self.astray += usize::from(message["labels"][name] != value || request.path != "/hook");
            match first.get(&text) {
                None => drop(first.insert(text, request)),
                Some(earlier) => {
                    self.duplicates += 1;
                    self.unequal += usize::from(earlier.id() != request.id() || earlier.body != request.body);
                }
            }
        }
        self.lost = (0..self.messages).filter(|n| !first.contains_key(&text(*n))).count();
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
