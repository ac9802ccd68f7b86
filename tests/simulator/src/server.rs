//! The network's faces on one listener.
//!
//! Invariant: every connection's task is tracked and ends with the network.

mod iq;
mod message;
pub(crate) mod socket;
mod stanza;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State, WebSocketUpgrade};
use axum::response::Response;
use axum::routing::{any, get, post};
use axum::serve::ListenerExt as _;
use tokio::net::TcpListener;

use crate::network::Core;
use crate::{admin, media};

/// The largest WebSocket message and media upload taken.
const MOST_BYTES: usize = 128 * 1024 * 1024;

/// Serves until the network ends.
pub(crate) async fn serve(listener: TcpListener, core: Arc<Core>) {
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a socket keeps small packets back");
        }
    });
    let cancel = core.cancel.clone();
    let served = axum::serve(listener, router(core)).with_graceful_shutdown(cancel.cancelled_owned()).await;
    if let Err(error) = served {
        tracing::error!(%error, "the listener failed");
    }
}

fn router(core: Arc<Core>) -> Router {
    Router::new()
        .route("/ws/chat", any(chat))
        .route("/mms/{kind}/{token}", post(media::upload))
        .route("/v/{bucket}/{file}", get(media::download))
        .merge(admin::routes())
        .layer(DefaultBodyLimit::max(MOST_BYTES))
        .with_state(core)
}

/// `GET /ws/chat`: a WhatsApp Web client connects.
async fn chat(State(core): State<Arc<Core>>, upgrade: WebSocketUpgrade) -> Response {
    upgrade.max_message_size(MOST_BYTES).on_upgrade(move |socket| {
        let tasks = core.tasks.clone();
        tasks.track_future(socket::serve(core, socket))
    })
}
