//! The catalog of plugins from outside: over REST and on the command line.

mod api;
mod cli;

use anyhow::Result;
use wagate_tests::component::{Failure, Verdict, Wat};

/// A filter called `small` that would like to log and always says this.
fn filter(verdict: &Verdict<'_>) -> Result<Vec<u8>> {
    Wat::new("small").wants(&["log"]).answering(verdict).build()
}

/// A filter that could keep values and answer.
fn keeper() -> Result<Vec<u8>> {
    Wat::new("keeper").capability("kv.get").capability("outbox.reply").answering(&Verdict::Pass).build()
}

/// A filter that refuses any configuration.
fn picky() -> Result<Vec<u8>> {
    Wat::new("picky").answering(&Verdict::Pass).refusing(&Failure::Config("no good")).build()
}

/// What is dropped as spam.
const DROP: Verdict<'_> = Verdict::Drop("spam", None);
