//! What differs between two JSON values, one line a place. Pure.

use serde_json::Value;

use crate::plugin::capability::log::cut;

/// Places that are named.
const MOST: usize = 200;
const LONGEST_PATH: usize = 1 << 10;
/// Longest value that is shown whole, in bytes.
const LONGEST_VALUE: usize = 4 << 10;

/// One place where two values differ.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Where: names of members, and places in lists, with dots between.
    pub path: String,
    /// What the first has there; `None` for nothing.
    pub from: Option<Value>,
    /// What the second has there; `None` for nothing.
    pub to: Option<Value>,
}

impl Change {
    /// The same with only the beginning of long values, and the bytes that it takes to show it.
    pub(super) fn shortened(self) -> (Self, usize) {
        let Self { path, from, to } = self;
        let (from, to) = (from.map(short), to.map(short));
        let size = |value: &Option<Value>| value.as_ref().map_or(0, |value| value.to_string().len());
        let bytes = path.len() + size(&from) + size(&to);
        (Self { path, from, to }, bytes)
    }
}

/// A value that is short; the beginning of its JSON, where it is not.
fn short(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(cut(text, LONGEST_VALUE)),
        Value::Array(_) | Value::Object(_) => {
            let text = value.to_string();
            if text.len() > LONGEST_VALUE { Value::String(cut(text, LONGEST_VALUE)) } else { value }
        }
        plain => plain,
    }
}

/// The first 200 places where the two differ, as deep as possible, in the order of the names.
pub fn differences(from: &Value, to: &Value) -> Vec<Change> {
    let mut found = Vec::new();
    compare("", Some(from), Some(to), &mut found);
    found
}

fn compare(path: &str, from: Option<&Value>, to: Option<&Value>, found: &mut Vec<Change>) {
    if found.len() >= MOST {
        return;
    }
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match (from, to) {
        (Some(Value::Object(from)), Some(Value::Object(to))) => {
            for (name, value) in from {
                compare(&below(name), Some(value), to.get(name), found);
            }
            for (name, value) in to.iter().filter(|(name, _)| !from.contains_key(*name)) {
                compare(&below(name), None, Some(value), found);
            }
        }
        (Some(Value::Array(from)), Some(Value::Array(to))) => {
            for at in 0..from.len().max(to.len()) {
                compare(&below(&at.to_string()), from.get(at), to.get(at), found);
            }
        }
        (from, to) if from == to => {}
        (from, to) => {
            let path = cut(path.to_owned(), LONGEST_PATH);
            found.push(Change { path, from: from.cloned(), to: to.cloned() });
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lines(from: &Value, to: &Value) -> Vec<String> {
        let shown = |value: Option<Value>| value.map_or("-".to_owned(), |value| value.to_string());
        let line = |change: Change| format!("{} {} {}", change.path, shown(change.from), shown(change.to));
        differences(from, to).into_iter().map(line).collect()
    }

    #[test]
    fn names_each_place_as_deep_as_it_can() {
        let from = json!({ "a": 1, "b": { "c": "x", "d": [1, 2] }, "gone": true });
        let to = json!({ "a": 1, "b": { "c": "y", "d": [1, 3, 4] }, "new": null });
        let expected = ["b.c \"x\" \"y\"", "b.d.1 2 3", "b.d.2 - 4", "gone true -", "new - null"];
        assert_eq!(lines(&from, &to), expected);
    }

    #[test]
    fn equal_values_differ_nowhere_and_others_at_the_top() {
        assert!(differences(&json!({ "a": [1] }), &json!({ "a": [1] })).is_empty());
        assert_eq!(lines(&json!("text"), &json!({ "a": 1 })), [" \"text\" {\"a\":1}"]);
    }
    #[test]
    fn floods_are_cut() {
        let many = |text: &str| json!(vec![text; 10_000]);
        assert_eq!(differences(&many("a"), &many("b")).len(), MOST);
        let name = "x".repeat(100_000);
        let long = json!({ (name.as_str()): name.as_str() });
        let found = differences(&json!({ (name.as_str()): ["y".repeat(100_000)] }), &long).remove(0);
        let (change, bytes) = found.shortened();
        assert!(change.path.len() <= LONGEST_PATH && bytes <= LONGEST_PATH + 2 * LONGEST_VALUE + 16, "{bytes}");
        assert!(change.to.unwrap().as_str().is_some_and(|to| to.starts_with("xxx")));
        let small = Change { path: "a".to_owned(), from: Some(json!([1])), to: None };
        assert_eq!(small.clone().shortened(), (small, 4));
    }
}
