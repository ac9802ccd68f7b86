//! Secrets in a binding's configuration: hidden when it is shown, kept when what was shown is sent back. Pure.
//!
//! Invariant: a value under a secret's name never leaves the gateway, whatever its type and however deep it lies.

use serde_json::{Map, Value};

/// What stands for a secret.
pub const MASK: &str = "***";
/// Names that end like this, in any case, name a secret: `api_key`, `webhookSecret`, `PASSWORD`.
const ENDINGS: [&str; 4] = ["secret", "token", "password", "key"];

/// A masked value came back where nothing is stored; `0` is the path to it.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("config: {0} is masked (***) and nothing is stored for it; send the value itself")]
pub struct NothingBehind(pub String);

/// The configuration with every secret replaced by [`MASK`].
pub fn masked(config: &Value) -> Value {
    match config {
        Value::Object(members) => {
            let mask = |(name, value): (&String, &Value)| {
                let hidden = is_secret(name) && !value.is_null();
                (name.clone(), if hidden { Value::from(MASK) } else { masked(value) })
            };
            Value::Object(members.iter().map(mask).collect())
        }
        Value::Array(items) => items.iter().map(masked).collect(),
        other => other.clone(),
    }
}

/// The configuration that was meant: what is masked in `given` is what `stored` has in the same place.
pub fn unmasked(given: Value, stored: &Value) -> Result<Value, NothingBehind> {
    uncover(given, stored, "")
}

fn uncover(given: Value, stored: &Value, path: &str) -> Result<Value, NothingBehind> {
    match given {
        Value::Object(members) => {
            let members = members.into_iter().map(|(name, value)| {
                let (behind, path) = (&stored[name.as_str()], format!("{path}{name}"));
                let hidden = is_secret(&name) && value == MASK;
                let value = match (hidden, behind) {
                    (true, Value::Null) => return Err(NothingBehind(path)),
                    (true, behind) => behind.clone(),
                    (false, behind) => uncover(value, behind, &format!("{path}."))?,
                };
                Ok((name, value))
            });
            members.collect::<Result<Map<_, _>, _>>().map(Value::Object)
        }
        Value::Array(items) => {
            let items = items.into_iter().enumerate();
            items.map(|(at, item)| uncover(item, &stored[at], &format!("{path}{at}."))).collect()
        }
        other => Ok(other),
    }
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ENDINGS.iter().any(|ending| name.ends_with(ending))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn hides_what_is_named_like_a_secret_at_any_depth() {
        let config = json!({
            "text": "hello", "apiKey": "k", "PASSWORD": 7, "empty_secret": null,
            "smtp": { "user": "u", "token": { "a": 1 } }, "hooks": [{ "secret": "s" }, "plain"]
        });
        let shown = json!({
            "text": "hello", "apiKey": "***", "PASSWORD": "***", "empty_secret": null,
            "smtp": { "user": "u", "token": "***" }, "hooks": [{ "secret": "***" }, "plain"]
        });
        assert_eq!(masked(&config), shown);
    }

    #[test]
    fn what_was_shown_can_be_sent_back() {
        let stored = json!({ "text": "a", "api_key": "k", "hooks": [{ "secret": "s" }] });
        assert_eq!(unmasked(masked(&stored), &stored), Ok(stored.clone()));
        let changed = json!({ "text": "b", "api_key": "***", "hooks": [{ "secret": "new" }] });
        let meant = json!({ "text": "b", "api_key": "k", "hooks": [{ "secret": "new" }] });
        assert_eq!(unmasked(changed, &stored), Ok(meant));
    }

    #[test]
    fn a_mask_with_nothing_behind_it_is_refused() {
        let given = json!({ "smtp": { "password": "***" } });
        assert_eq!(unmasked(given, &json!({ "smtp": "none" })), Err(NothingBehind("smtp.password".to_owned())));
        let text = json!({ "text": "***" });
        assert_eq!(unmasked(text.clone(), &json!({})), Ok(text), "only a secret's name makes three stars a mask");
    }
}
