//! Reads a plugin's configuration, and says in words what is wrong with it.

use serde::de::DeserializeOwned;

/// Reads the configuration, a JSON object, into what the plugin expects.
///
/// The error names the member (`routes[0].words`) and what it must be; `init` answers it as `plugin-error.config`.
pub fn read<T: DeserializeOwned>(json: &str) -> Result<T, String> {
    let mut reader = serde_json::Deserializer::from_str(json);
    serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let what = format!("{}: {}", error.path(), error.inner());
        // The place in the text says nothing to an operator who filled in a form; neither does `.`, the whole of it.
        what.split(" at line ").next().unwrap_or_default().trim_start_matches(".: ").to_owned()
    })
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Settings {
        #[expect(dead_code, reason = "only its reading is tested")]
        words: Vec<String>,
    }

    #[test]
    fn says_which_member_and_what_it_must_be() {
        let refused = |json| super::read::<Settings>(json).unwrap_err();
        assert_eq!(refused("{}"), "missing field `words`");
        assert_eq!(refused(r#"{"words":"one"}"#), "words: invalid type: string \"one\", expected a sequence");
        assert_eq!(refused(r#"{"words":["a",2]}"#), "words[1]: invalid type: integer `2`, expected a string");
        assert_eq!(refused(r#"{"word":[]}"#), "word: unknown field `word`, expected `words`");
    }
}
