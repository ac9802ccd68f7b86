//! What differs between two JSON values, one line a place. Pure.

use serde_json::Value;

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

/// Every place where the two differ, as deep as possible, in the order of the names.
pub fn differences(from: &Value, to: &Value) -> Vec<Change> {
    let mut found = Vec::new();
    compare("", Some(from), Some(to), &mut found);
    found
}

fn compare(path: &str, from: Option<&Value>, to: Option<&Value>, found: &mut Vec<Change>) {
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
        (from, to) => found.push(Change { path: path.to_owned(), from: from.cloned(), to: to.cloned() }),
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
}
