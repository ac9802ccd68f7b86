//! The pairing socket, `WS /api/ws/{id}`: QR codes as they appear, then success or an error; afterwards every change.
//!
//! Invariant: only the newest status waits for a client that reads slowly.

use std::sync::Arc;

use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{WebSocketUpgrade, close_code};
use axum::http::HeaderMap;
use axum::response::Response;
use tokio::sync::watch;

use super::frame::{self, Frame};
use super::{Goodbye, Line, Source, Ticket};
use crate::http::docs::answers::{Guarded, Limited, Named, Parameter};
use crate::http::error::ApiError;
use crate::http::extract::{Query, SessionPath};
use crate::http::routes::sessions::view;
use crate::http::{Shared, Site};
use crate::model::{Scope, SessionId, Status};
use crate::session::SessionError;

/// The changes of a session.
struct Changes {
    site: Arc<Site>,
    scope: Scope,
    session: SessionId,
    status: watch::Receiver<Status>,
}

/// Follow a session while it is linked
///
/// Starts the session when it is not running. Frames are JSON objects with `type` and `data`: `qr` (`qr`, `timeout` in
/// seconds, `expires_at`), `code` (a code to type on the phone), `passkey`, `passkey_confirm`, `status`, `success` (the
/// session) and `error` (`error`). The token is taken from the query or from the `Authorization` header. At most sixteen
/// sockets and streams a user; several may follow one session. Pings come every 20 s.
#[utoipa::path(get, path = "/api/ws/{id}", operation_id = "openSocket", tag = "Pairing",
    params(("id" = String, Path, description = "The session", example = "1234567890"),
           ("token" = Option<String>, Query, description = "The token, for clients that cannot set headers")),
    security((), ("BearerAuth" = [])),
    responses((status = 101, description = "Switching to WebSocket"), Parameter, Guarded, Named, Limited))]
pub(in crate::http) async fn socket(
    State(site): Shared,
    SessionPath(session): SessionPath,
    Query(Ticket { token }): Query<Ticket>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    let line = Line::open(Arc::clone(&site), &headers, token, Some(session.clone())).await?;
    let (scope, sessions) = (line.caller.scope, &site.parts.sessions);
    if upgrade.is_ok() && matches!(sessions.status(&session), Status::Stopped | Status::PairingExpired) {
        sessions.connect(scope, &session).await?;
    }
    let mut status = sessions.watch(&session);
    status.mark_changed();
    line.upgrade(upgrade, Changes { site, scope, session, status })
}

impl Source for Changes {
    async fn next(&mut self) -> Result<String, Goodbye> {
        let ended = |_| (close_code::NORMAL, "the session was deleted");
        self.status.changed().await.map_err(ended)?;
        // Seen only once it is told: until then it can be given up.
        self.status.mark_changed();
        let newest = self.status.borrow().clone();
        let frame = match view(&self.site, self.scope, &self.session).await {
            Ok(Some(session)) => frame::of(&newest, &session.with_status(&newest), self.site.parts.clock.now()),
            Ok(None) => Frame::error(&SessionError::NotFound.to_string()),
            Err(error) => {
                tracing::warn!(%error, "a socket could not read its session");
                Frame::error("the gateway could not read the session; try again")
            }
        };
        if *self.status.borrow() == newest {
            self.status.mark_unchanged();
        }
        Ok(frame.text())
    }
}
