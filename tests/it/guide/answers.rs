//! Answers held against what the guide prints. An answer may have more fields; it must have these.

use anyhow::{Result, ensure};
use serde_json::Value;

/// How close an answer must come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Close {
    /// The same fields with the same types.
    Type,
    /// The same values too.
    Value,
}

/// Every field the guide prints is there, with the type it prints.
pub(super) fn same_types(printed: &Value, answer: &Value) -> Result<()> {
    judge(printed, answer, Close::Type)
}

/// Every field the guide prints is there, with the value it prints.
pub(super) fn same_values(printed: &Value, answer: &Value) -> Result<()> {
    judge(printed, answer, Close::Value)
}

fn judge(printed: &Value, answer: &Value, close: Close) -> Result<()> {
    let mut faults = Vec::new();
    compare("$", printed, answer, close, &mut faults);
    ensure!(faults.is_empty(), "not as the guide prints it: {}; the answer was {answer}", faults.join("; "));
    Ok(())
}

fn compare(at: &str, printed: &Value, answer: &Value, close: Close, faults: &mut Vec<String>) {
    match (printed, answer) {
        (Value::Object(printed), Value::Object(answer)) => {
            for (name, value) in printed {
                match answer.get(name) {
                    Some(found) => compare(&format!("{at}.{name}"), value, found, close, faults),
                    None => faults.push(format!("{at}.{name} is missing")),
                }
            }
        }
        (Value::Array(printed), Value::Array(answer)) => {
            if printed.len() != answer.len() {
                faults.push(format!("{at} has {} elements, not {}", answer.len(), printed.len()));
            }
            for (n, (value, found)) in printed.iter().zip(answer).enumerate() {
                compare(&format!("{at}[{n}]"), value, found, close, faults);
            }
        }
        _ if kind(printed) != kind(answer) => faults.push(format!("{at} is {answer}, not a {}", kind(printed))),
        _ if close == Close::Value && printed != answer => faults.push(format!("{at} is {answer}, not {printed}")),
        _ => {}
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "fraction",
        Value::Number(_) => "whole number",
        Value::String(_) => "string",
        Value::Array(_) => "list",
        Value::Object(_) => "object",
    }
}

#[test]
fn tells_answers_apart_that_differ_from_the_guide() {
    use serde_json::json;
    let printed = json!({ "id": 1, "name": "a", "on": true, "list": [{ "n": 1 }] });
    let more = json!({ "id": 1, "name": "a", "on": true, "list": [{ "n": 1, "m": 2 }], "extra": null });
    assert!(same_values(&printed, &more).is_ok());
    let other = json!({ "id": 2, "name": "b", "on": false, "list": [{ "n": 3 }] });
    assert!(same_types(&printed, &other).is_ok());
    assert!(same_values(&printed, &other).is_err());
    for wrong in [
        json!({ "id": "1", "name": "a", "on": true, "list": [{ "n": 1 }] }),
        json!({ "id": 1.5, "name": "a", "on": true, "list": [{ "n": 1 }] }),
        json!({ "id": 1, "name": "a", "on": true, "list": [{}] }),
        json!({ "id": 1, "name": "a", "on": true, "list": [] }),
        json!({ "id": 1, "name": null, "on": true, "list": [{ "n": 1 }] }),
        json!([1]),
    ] {
        assert!(same_types(&printed, &wrong).is_err(), "{wrong}");
    }
}
