//! The guide itself: its fenced samples, found by a text that only one of them holds.
//!
//! Invariant: what is handed out is the guide's text to the letter; only [`fill`] changes it, and only where it says.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// The founding guide as the user wrote it.
const GUIDE: &str = include_str!("../../fixtures/founding-guide.md");
/// The address of the gateway in the guide, without its scheme.
const GATEWAY: &str = "localhost:8080";
/// The address of the reader's own program in the guide.
const READERS_APP: &str = "https://myapp.com";

/// A fenced block of the guide.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) language: &'static str,
    pub(super) text: &'static str,
}

/// Every sample, in order.
pub(super) fn samples() -> Vec<Sample> {
    let mut samples = Vec::new();
    let mut rest = GUIDE;
    while let Some((_, fence)) = rest.split_once("\n```") {
        let (language, body) = fence.split_once('\n').unwrap_or((fence, ""));
        let (text, after) = body.split_once("\n```").unwrap_or((body, ""));
        samples.push(Sample { language, text });
        rest = after;
    }
    samples
}

/// The one sample in `language` that holds `mark`.
pub(super) fn sample(language: &str, mark: &str) -> Result<&'static str> {
    let holding: Vec<_> =
        samples().into_iter().filter(|sample| sample.language == language && sample.text.contains(mark)).collect();
    ensure!(holding.len() == 1, "{} {language} samples of the guide hold {mark:?}", holding.len());
    Ok(holding[0].text)
}

/// The JSON the guide prints that holds `mark`.
pub(super) fn printed(mark: &str) -> Result<Value> {
    serde_json::from_str(sample("json", mark)?).with_context(|| format!("the JSON with {mark:?} does not parse"))
}

/// A sample as its reader would use it: the gateway at `base` (`http://HOST:PORT`), the reader's own program at `app`,
/// and `placeholders` filled in. Nothing else changes.
pub(super) fn fill(text: &str, base: &str, app: &str, placeholders: &[(&str, &str)]) -> String {
    let address = base.trim_start_matches("http://");
    let mut text = text.replace(GATEWAY, address).replace(READERS_APP, app);
    for (placeholder, value) in placeholders {
        text = text.replace(placeholder, value);
    }
    text
}
