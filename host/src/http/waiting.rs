//! What is answered before the gateway has its store: it lives, it is not ready, and what it waits for.
//!
//! `/livez` and `/api/version` need no store and answer as ever, the second so that `wagate` finds the gateway and can
//! tell what it waits for. Everything else is a 503 that says so and when to ask again. It names no host and no user:
//! whoever may know those reads them in the log.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::routing::get;

use super::error::ApiError;
use super::{health, middleware};
use crate::config::HttpConfig;

/// What a gateway that listens and is not ready waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WaitsFor {
    /// Its own start.
    #[default]
    Start,
    /// The database server, which cannot be reached.
    Database,
    /// The lead: another gateway is active on the database.
    Lead,
}

/// What is waited for now. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Waiting(Arc<Mutex<WaitsFor>>);

impl Waiting {
    pub(super) fn set(&self, waits_for: WaitsFor) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = waits_for;
    }

    fn get(&self) -> WaitsFor {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The routes while there is no store.
pub(super) fn build(waiting: Waiting, config: &HttpConfig) -> Router {
    let routes = Router::new()
        .route("/livez", get(health::livez))
        .route("/readyz", get(not_yet))
        .route("/api/version", get(health::version))
        .fallback(not_yet)
        .method_not_allowed_fallback(not_yet);
    middleware::around(routes, config).with_state(waiting)
}

async fn not_yet(State(waiting): State<Waiting>) -> ApiError {
    waiting.get().into()
}
