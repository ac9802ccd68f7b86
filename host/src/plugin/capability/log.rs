//! `log`: the plugin's own log. Not granted, its lines are dropped; above its limits, they are counted and dropped.

use crate::model::{Labels, LogLevel, LogLine, Millis, PluginId};
use crate::plugin::api::v1::log::{Host, Level};
use crate::plugin::api::v1::types::Pair;
use crate::plugin::state::State;

/// Longest line in bytes, and longest fields of it, names and values together.
const LONGEST: usize = 4 << 10;
/// Fields of a line.
const FIELDS: usize = 32;

/// The lines of one call.
#[derive(Debug, Default)]
pub(in crate::plugin) struct Lines {
    kept: Vec<LogLine>,
    dropped: u32,
}

impl Lines {
    pub(in crate::plugin) fn is_empty(&self) -> bool {
        self.kept.is_empty() && self.dropped == 0
    }

    /// The lines, and one more that says how many were dropped.
    pub(in crate::plugin) fn finish(self, plugin: &PluginId, at: Millis, call: &str) -> Vec<LogLine> {
        let Self { mut kept, dropped } = self;
        if dropped > 0 {
            kept.push(LogLine {
                plugin: plugin.clone(),
                at,
                level: LogLevel::Warn,
                message: format!("{dropped} more lines of this call were dropped; its limit is log_lines"),
                fields: Labels::new(),
                call: call.to_owned(),
            });
        }
        kept
    }
}

impl Host for State {
    fn log(&mut self, level: Level, message: String, fields: Vec<Pair>) {
        let call = &mut self.call;
        if !call.place.grants.log {
            return;
        }
        if call.lines.kept.len() >= call.place.limits.log_lines as usize {
            call.lines.dropped = call.lines.dropped.saturating_add(1);
            return;
        }
        call.lines.kept.push(LogLine {
            plugin: call.place.plugin.clone(),
            at: call.outside.clock.now(),
            level: weight(level),
            message: cut(message, LONGEST),
            fields: bounded(fields),
            call: call.id.clone(),
        });
    }
}

const fn weight(level: Level) -> LogLevel {
    match level {
        Level::Trace => LogLevel::Trace,
        Level::Debug => LogLevel::Debug,
        Level::Info => LogLevel::Info,
        Level::Warn => LogLevel::Warn,
        Level::Error => LogLevel::Error,
    }
}

/// As many fields as there is room for.
fn bounded(fields: Vec<Pair>) -> Labels {
    let mut room = LONGEST;
    let mut fits = |pair: &Pair| {
        let size = pair.name.len() + pair.value.len();
        size <= room && {
            room -= size;
            true
        }
    };
    fields.into_iter().take(FIELDS).filter(|pair| fits(pair)).map(|pair| (pair.name, pair.value)).collect()
}

/// The text, at most so many bytes of it, never half a character.
pub(in crate::plugin) fn cut(mut text: String, longest: usize) -> String {
    if text.len() > longest {
        text.truncate(text.floor_char_boundary(longest.saturating_sub('…'.len_utf8())));
        text.push('…');
        // What was cut off would stay allocated for as long as the text lives.
        text.shrink_to_fit();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(cut("short".to_owned(), 5), "short");
        assert_eq!(cut("ääää".to_owned(), 6), "ä…");
        assert!(cut("x".repeat(10_000), LONGEST).len() <= LONGEST);
    }

    #[test]
    fn fields_above_the_limit_are_left_out() {
        let pair = |name: &str, size: usize| Pair { name: name.to_owned(), value: "x".repeat(size) };
        let kept = bounded(vec![pair("a", 4_000), pair("b", 4_000), pair("c", 10)]);
        assert_eq!(kept.keys().collect::<Vec<_>>(), ["a", "c"]);
        assert_eq!(bounded((0..100).map(|n| pair(&n.to_string(), 1)).collect()).len(), FIELDS);
    }

    #[test]
    fn what_was_dropped_is_told() {
        let lines = Lines { kept: Vec::new(), dropped: 7 }.finish(&PluginId::new(), Millis(0), "call");
        assert!(lines.len() == 1 && lines[0].message.starts_with("7 more lines"));
        assert!(Lines::default().finish(&PluginId::new(), Millis(0), "call").is_empty());
    }
}
