//! Logs, set up once at start: lines on standard error, as text or JSON.
//!
//! The WhatsApp library writes phone numbers at every level, warn included, and under targets of its own (`Client/Recv`,
//! `TcToken`), so a list of its names would always have holes. Therefore everything but wagate and a few libraries that
//! know no numbers is silent, and only a target that is named in the filter says more.
//!
//! Invariant: a bare level in the filter speaks of wagate alone.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::config::TelemetryConfig;

/// Why there are no logs.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is not understood.
    #[error(
        "LOG is {filter:?}: {reason}; expected a level (error, warn, info, debug, trace) or targets such as wagate=debug,info"
    )]
    Filter {
        /// The filter.
        filter: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Logs were set up before.
    #[error("logs are set up already: {0}")]
    Twice(#[from] TryInitError),
}

/// Starts logging for the whole process, the `log` crate's lines included. Can be called once.
pub fn start(config: &TelemetryConfig) -> Result<(), TelemetryError> {
    let registry = tracing_subscriber::registry().with(filter(&config.log)?);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    if config.json {
        registry.with(lines.json().flatten_event(true)).try_init()?;
    } else {
        let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
        registry.with(lines.with_ansi(colours)).try_init()?;
    }
    Ok(())
}

/// Libraries whose warnings name no person.
const HARMLESS: &str = "axum=warn,hyper=warn,hyper_util=warn,reqwest=warn,rustls=warn,tokio_util=warn";

/// The filter as configured, with bare levels narrowed to wagate and the rest of the world silent.
fn filter(text: &str) -> Result<EnvFilter, TelemetryError> {
    let parts = || text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let level = |part: &str| part.parse::<LevelFilter>().ok();
    let own = parts().filter_map(level).next_back().map(|level| format!("wagate={level}"));
    let named = parts().filter(|part| level(part).is_none()).map(str::to_owned);
    let directives: Vec<String> = ["off", HARMLESS].map(str::to_owned).into_iter().chain(own).chain(named).collect();
    EnvFilter::builder()
        .parse(directives.join(","))
        .map_err(|error| TelemetryError::Filter { filter: text.to_owned(), reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    /// What a reader of the log sees under `text`.
    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(text: &str) -> String {
        let page = Page::default();
        let writer = page.clone();
        let lines = tracing_subscriber::fmt::layer().with_writer(move || writer.clone()).with_ansi(false);
        let subscriber = tracing_subscriber::registry().with(filter(text).unwrap()).with(lines);
        tracing::subscriber::with_default(subscriber, || {
            tracing::debug!(target: "wagate::webhook", "own-debug");
            tracing::info!(target: "wagate::webhook", "own-info");
            tracing::info!(target: "Client/Recv", "library-info");
            tracing::warn!(target: "Client/Recv", "library-warn");
            tracing::warn!(target: "hyper::proto", "harmless-warn");
        });
        String::from_utf8(page.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn a_bare_level_speaks_of_wagate_alone() {
        let page = logged("info");
        assert!(page.contains("own-info") && !page.contains("own-debug"), "{page}");
        assert!(page.contains("harmless-warn") && !page.contains("library-"), "{page}");
        assert!(!logged("debug").contains("library-info"));
    }

    #[test]
    fn a_named_target_says_what_it_is_asked_for() {
        let page = logged("Client/Recv=info,wagate::webhook=debug,error");
        assert!(page.contains("library-info") && page.contains("own-debug"), "{page}");
    }

    #[test]
    fn refuses_a_filter_that_says_nothing() {
        let error = filter("wagate=loud").unwrap_err().to_string();
        assert!(error.starts_with("LOG is \"wagate=loud\"") && error.contains("expected a level"), "{error}");
    }
}
