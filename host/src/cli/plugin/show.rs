//! What is found and what is tried, for a reader at a terminal.

use crate::cli::say;
use crate::model::{Hook, Report, Reuse, Shape};
use crate::plugin::Shaped;
use crate::plugin::rehearse::Rehearsal;

/// Prints a report, and what to do next.
pub(super) fn report(report: &Report) {
    let hooks: Vec<_> = report.hooks.iter().map(|hook: &Hook| hook.name()).collect();
    let run = match report.reuse {
        Reuse::Fresh => "a fresh instance a call",
        Reuse::Warm => "warm instances",
    };
    let wants = if report.wants.is_empty() { "nothing".to_owned() } else { report.wants.join(" ") };
    for (name, value) in [
        ("name", format!("{} {}", report.name, report.version)),
        ("about", report.description.clone()),
        ("contract", format!("wagate:plugin@{}", report.contract)),
        ("hooks", hooks.join(" ")),
        ("wants", wants),
        ("imports", report.imports.join(" ")),
        ("size", format!("{} bytes, sha256 {}", report.size, report.sha256)),
        ("run", format!("{run}; compiled in {} ms", report.compile_ms)),
    ] {
        say::line(&format!("{name:9} {value}"));
    }
}

/// Prints what would have happened.
pub(super) fn rehearsal(rehearsal: &Rehearsal) {
    for line in lines(rehearsal) {
        say::line(&line);
    }
}

fn lines(rehearsal: &Rehearsal) -> Vec<String> {
    let mut lines = Vec::new();
    let left = &rehearsal.left;
    for step in &left.steps {
        let (hook, detail) = (step.hook.name(), step.detail.as_deref().map(|text| format!(": {text}")));
        let (took, memory, detail) = (step.took_us, step.memory_kib, detail.unwrap_or_default());
        lines.push(format!("{} {hook} → {}{detail} ({took} µs, {memory} KiB)", step.name, step.verdict));
    }
    let detail = rehearsal.detail().map(|text| format!(": {text}")).unwrap_or_default();
    lines.push(format!("the message would be {}{detail}", rehearsal.outcome()));
    for change in &rehearsal.patch {
        let shown = |value: &Option<serde_json::Value>| value.as_ref().map_or("-".to_owned(), ToString::to_string);
        lines.push(format!("  {}: {} → {}", change.path, shown(&change.from), shown(&change.to)));
    }
    for line in &left.logs {
        let fields = line.fields.iter().fold(String::new(), |text, (name, value)| format!("{text} {name}={value}"));
        lines.push(format!("log {}: {}{fields}", line.level.name(), line.message));
    }
    let effects = &left.effects;
    for write in &effects.writes {
        let value = write.value.as_deref().map(String::from_utf8_lossy);
        lines.push(format!("keep {} = {}", write.key, value.unwrap_or("nothing".into())));
    }
    for send in &effects.sends {
        lines.push(format!("send to {}: {}", send.to, send.text));
    }
    for event in &effects.events {
        lines.push(format!("raise plugin.{}: {}", event.kind, event.payload));
    }
    for (endpoint, shaped) in &rehearsal.deliveries {
        lines.extend(webhook(&endpoint.name, shaped));
    }
    lines
}

fn webhook(name: &str, shaped: &Shaped) -> Vec<String> {
    match shaped {
        Shaped::Send(Shape { body, content_type, headers, path_suffix }) => {
            let mut lines = vec![format!("webhook to {name}{path_suffix} as {content_type}")];
            lines.extend(headers.iter().map(|(name, value)| format!("  {name}: {value}")));
            let text = std::str::from_utf8(body);
            lines.push(
                text.map_or_else(|_| format!("  {} bytes that are no text", body.len()), |text| format!("  {text}")),
            );
            lines
        }
        Shaped::Cancel(why) => vec![format!("webhook to {name}: cancelled: {why}")],
        Shaped::Park { why, .. } => vec![format!("webhook to {name}: would wait: {why}")],
    }
}
