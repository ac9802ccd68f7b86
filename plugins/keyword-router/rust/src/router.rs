//! Where a text goes. Plain values, so that it is tested without WebAssembly.

use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Router {
    routes: Vec<Route>,
    otherwise: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with words and endpoints")]
struct Route {
    words: Vec<String>,
    endpoints: Vec<String>,
}

impl Router {
    /// Reads the configuration; the error names the member and what it must be.
    pub(crate) fn read(json: &str) -> Result<Self, String> {
        let mut reader = serde_json::Deserializer::from_str(json);
        let mut router: Self = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
            let what = format!("{}: {}", error.path(), error.inner());
            what.split(" at line ").next().unwrap_or_default().trim_start_matches(".: ").to_owned()
        })?;
        for (at, route) in router.routes.iter_mut().enumerate() {
            for (nth, word) in route.words.iter_mut().enumerate() {
                *word = words_of(word);
                if word.trim().is_empty() {
                    return Err(format!("routes[{at}].words[{nth}]: must have a letter or a digit"));
                }
            }
        }
        Ok(router)
    }

    /// The endpoints a text goes to; `None` when it is left to go to all.
    pub(crate) fn route(&self, text: &str) -> Option<&[String]> {
        let text = words_of(text);
        let has_word = |route: &&Route| route.words.iter().any(|word| text.contains(word.as_str()));
        let route = self.routes.iter().find(has_word).map(|route| &route.endpoints);
        route.or(self.otherwise.as_ref()).map(Vec::as_slice)
    }
}

/// The words of a text in lower case, each with a blank before and after it: `" credit note "`. A phrase occurs in a
/// text when its words do, blanks included.
fn words_of(text: &str) -> String {
    let mut words = String::from(" ");
    for char in text.chars() {
        if char.is_alphanumeric() {
            words.extend(char.to_lowercase());
        } else if !words.ends_with(' ') {
            words.push(' ');
        }
    }
    if !words.ends_with(' ') {
        words.push(' ');
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTES: &str = r#"{"routes":[
        {"words":["invoice","Rechnung","credit note"],"endpoints":["billing"]},
        {"words":["Überweisung","e-mail"],"endpoints":["bank","archive"]}
    ],"otherwise":["support"]}"#;

    #[test]
    fn routes_by_whole_words_in_any_case() {
        let router = Router::read(ROUTES).unwrap();
        for (text, endpoints) in [
            ("Where is my INVOICE?", "billing"),
            ("invoice", "billing"),
            ("(rechnung)", "billing"),
            ("a credit\n note, please", "billing"),
            ("my invoices", "support"),
            ("preinvoice", "support"),
            ("credit. Then a notebook", "support"),
            ("ÜBERWEISUNG heute", "bank,archive"),
            ("by E-Mail", "bank,archive"),
            ("by e mail", "bank,archive"),
            ("email", "support"),
            ("überweisung einer rechnung", "billing"),
            ("", "support"),
            ("👋", "support"),
        ] {
            assert_eq!(router.route(text).unwrap().join(","), endpoints, "{text}");
        }
    }

    #[test]
    fn without_otherwise_the_rest_goes_everywhere() {
        let router = Router::read(r#"{"routes":[{"words":["a"],"endpoints":[]}]}"#).unwrap();
        assert_eq!(router.route("b"), None);
        assert_eq!(router.route("a"), Some(&[][..]));
    }

    #[test]
    fn refuses_a_configuration_with_the_member_s_name() {
        for (json, words) in [
            ("{}", "missing field `routes`"),
            (
                r#"{"routes":["a"]}"#,
                "routes[0]: invalid type: string \"a\", expected an object with words and endpoints",
            ),
            (r#"{"routes":{}}"#, "routes: invalid type: map, expected a sequence"),
            (r#"{"routes":[{"words":["a"]}]}"#, "routes[0]: missing field `endpoints`"),
            (
                r#"{"routes":[{"words":[1],"endpoints":[]}]}"#,
                "routes[0].words[0]: invalid type: integer `1`, expected a string",
            ),
            (
                r#"{"routes":[{"words":["a","?!"],"endpoints":[]}]}"#,
                "routes[0].words[1]: must have a letter or a digit",
            ),
            (r#"{"routes":[],"else":[]}"#, "else: unknown field `else`, expected `routes` or `otherwise`"),
        ] {
            assert!(Router::read(json).unwrap_err().ends_with(words), "{json}: {}", Router::read(json).unwrap_err());
        }
    }
}
