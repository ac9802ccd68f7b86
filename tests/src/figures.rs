//! Figures: one a line, name, tab, value, tab, unit. And the arithmetic and readings behind them.

use std::fmt::Display;
use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// Prints one figure. A reader who has gone away is no error.
pub fn figure(name: &str, value: impl Display, unit: &str) {
    let _gone = writeln!(std::io::stdout(), "{name}\t{value}\t{unit}");
}

/// The value below which `share` (0 to 1) of the samples lie; zero for none.
pub fn quantile(samples: &mut [Duration], share: f64) -> Duration {
    samples.sort_unstable();
    let last = samples.len().saturating_sub(1);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "an index"
    )]
    let index = (last as f64 * share).round() as usize;
    samples.get(index).copied().unwrap_or_default()
}

/// Milliseconds with two decimals.
pub fn ms(span: Duration) -> String {
    format!("{:.2}", span.as_secs_f64() * 1000.0)
}

/// So many in this time, as whole ones a second.
pub fn per_s(count: usize, took: Duration) -> String {
    #[expect(clippy::cast_precision_loss, reason = "counts are small")]
    let rate = count as f64 / took.as_secs_f64();
    format!("{rate:.0}")
}

/// Resident memory of a process, MiB (`VmRSS` of `/proc/PID/status`).
pub fn rss_mib(pid: u32) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
    let kib: f64 = line.split_whitespace().nth(1).context("no value")?.parse()?;
    Ok(kib / 1024.0)
}

/// Processor time a process has used so far, user and system, seconds (fields 14 and 15 of `/proc/PID/stat`).
pub fn cpu_s(pid: u32) -> Result<f64> {
    const TICKS_PER_S: f64 = 100.0;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = stat.rsplit(')').next().context("no fields")?.split_whitespace().collect();
    let ticks = |n: usize| -> Result<f64> { Ok(fields.get(n).context("too few fields")?.parse()?) };
    Ok((ticks(11)? + ticks(12)?) / TICKS_PER_S)
}
