//! The web client version we present: configured, or fetched once a day for all sessions and kept in the store.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use whatsapp_rust::wacore::version::parse_sw_js;

use crate::egress::{Egress, Request};
use crate::model::{Clock, Millis};
use crate::store::Store;

/// A version, as in `2.3000.1026131876`.
pub(super) type Triple = (u32, u32, u32);

const SETTING: &str = "whatsapp.version";
const GOOD_FOR: Duration = Duration::from_hours(24);
/// Where WhatsApp Web's own service worker names its version (whatsapp-rust 0.7.0 `src/version.rs`).
const SOURCE: &str = "https://web.whatsapp.com/sw.js";
const BROWSER: &str =
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36";

/// Finds the version to present.
#[derive(Debug)]
pub(super) struct Version {
    configured: Option<Triple>,
    known: Mutex<Option<Known>>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Known {
    version: Triple,
    fetched_at: Millis,
}

impl Version {
    pub(super) fn new(configured: Option<Triple>) -> Self {
        Self { configured, known: Mutex::new(None) }
    }

    /// The version to present now. An old one is better than none when fetching fails.
    pub(super) async fn current(&self, store: &Store, egress: &Egress, clock: &Clock) -> Result<Triple, String> {
        if let Some(version) = self.configured {
            return Ok(version);
        }
        let mut known = self.known.lock().await;
        if known.is_none() {
            *known = stored(store).await;
        }
        if let Some(known) = *known
            && clock.now().since(known.fetched_at) < GOOD_FOR
        {
            return Ok(known.version);
        }
        match fetch(egress).await {
            Ok(version) => {
                let fresh = Known { version, fetched_at: clock.now() };
                *known = Some(fresh);
                keep(store, fresh).await;
                Ok(version)
            }
            Err(error) => known.map(|known| known.version).ok_or(error),
        }
    }

    /// The server called the version outdated: fetch again next time.
    pub(super) async fn forget(&self, store: &Store) {
        if let Some(known) = self.known.lock().await.as_mut() {
            known.fetched_at = Millis(0);
            keep(store, *known).await;
        }
    }
}

async fn stored(store: &Store) -> Option<Known> {
    let text = store.settings().get(SETTING).await.ok().flatten()?;
    serde_json::from_str(&text).ok()
}

async fn keep(store: &Store, known: Known) {
    let text = serde_json::to_string(&known).unwrap_or_default();
    if let Err(error) = store.settings().set(SETTING, &text).await {
        tracing::warn!(%error, "the web client version could not be stored; it will be fetched again");
    }
}

async fn fetch(egress: &Egress) -> Result<Triple, String> {
    let request = Request {
        method: "GET".to_owned(),
        url: SOURCE.parse().map_err(|error| format!("{error}"))?,
        headers: vec![("sec-fetch-site".into(), "none".into()), ("user-agent".into(), BROWSER.into())],
        body: Bytes::new(),
        deadline: Duration::from_secs(20),
        answer_limit: 4 * 1024 * 1024,
    };
    let hint = "set WHATSAPP_VERSION, for example 2.3000.1026131876";
    let answer = egress.exchange(request).await.result;
    let answer = answer.map_err(|error| format!("cannot fetch WhatsApp's version: {error}; {hint}"))?;
    parse_sw_js(&String::from_utf8_lossy(&answer.body))
        .ok_or_else(|| format!("WhatsApp's page (status {}) names no version; {hint}", answer.status))
}
