//! The pairing socket, `WS /api/ws/{id}`: QR codes as they appear, then success or an error; afterwards every change.
//!
//! Invariant: a socket outlives neither its token nor its session by more than a minute, and no client that stops
//! reading can hold anything: only the newest status waits for it.

mod frame;
mod seats;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use super::caller::{self, Caller};
use super::docs::answers::{Guarded, Limited, Named, Parameter};
use super::error::ApiError;
use super::extract::{Query, SessionPath};
use super::routes::sessions::view;
use super::{Shared, Site};
use crate::model::{SessionId, Status};
use crate::session::SessionError;

use frame::Frame;
pub(super) use frame::seconds_left;
pub(super) use seats::Seats;

const PING_EVERY: Duration = Duration::from_secs(20);
/// A client silent for this long, pongs included, is gone.
const SILENCE: Duration = Duration::from_mins(1);
const RECHECK_EVERY: Duration = Duration::from_mins(1);
/// How long one frame may take to leave.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest message taken from a client, bytes.
const MESSAGE_BYTES: usize = 64 * 1024;
/// Most messages taken from a client between two pings.
const CHATTER: u32 = 256;

/// The query of the socket.
#[derive(Deserialize)]
pub(super) struct Ticket {
    token: Option<String>,
}

/// One open socket.
struct Listener {
    site: Arc<Site>,
    caller: Caller,
    token: String,
    session: SessionId,
    seat: seats::Seat,
}

/// Follow a session while it is linked
///
/// Starts the session when it is not running. Frames are JSON objects with `type` and `data`: `qr` (`qr`, `timeout` in
/// seconds, `expires_at`), `code` (a code to type on the phone), `passkey`, `passkey_confirm`, `status`, `success` (the
/// session) and `error` (`error`). The token is taken from the query or from the `Authorization` header. At most eight
/// sockets a user; several may follow one session. Pings come every 20 s.
#[utoipa::path(get, path = "/api/ws/{id}", operation_id = "openSocket", tag = "Pairing",
    params(("id" = String, Path, description = "The session", example = "1234567890"),
           ("token" = Option<String>, Query, description = "The token, for clients that cannot set headers")),
    security((), ("BearerAuth" = [])),
    responses((status = 101, description = "Switching to WebSocket"), Parameter, Guarded, Named, Limited))]
pub(super) async fn socket(
    State(site): Shared,
    SessionPath(session): SessionPath,
    Query(ticket): Query<Ticket>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    let token = caller::bearer(&headers).map(str::to_owned).or(ticket.token).ok_or_else(ApiError::unauthorized)?;
    let caller = Caller::of(site.parts.auth.recognise(&token).await?)?;
    site.parts.store.sessions(caller.scope).get(&session).await?.ok_or_else(ApiError::no_session)?;
    let upgrade = upgrade.map_err(|rejection| {
        ApiError::bad_request("not_a_websocket", format!("this address speaks WebSocket: {rejection}"))
    })?;
    let seat = site.sockets.take(caller.user.id).ok_or_else(|| {
        ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many_sockets", "at most 8 sockets a user; close one")
    })?;
    if matches!(site.parts.sessions.status(&session), Status::Stopped | Status::PairingExpired) {
        site.parts.sessions.connect(caller.scope, &session).await?;
    }
    let tasks = site.tasks.clone();
    let listener = Listener { site, caller, token, session, seat };
    let upgrade = upgrade.max_message_size(MESSAGE_BYTES).max_frame_size(MESSAGE_BYTES);
    Ok(upgrade.on_upgrade(async move |socket| {
        // Handed to the gateway's tasks, so that a stop waits until the socket has said goodbye.
        tasks.spawn("websocket", listener.follow(socket));
    }))
}

impl Listener {
    async fn follow(self, mut socket: WebSocket) {
        let bye = self.converse(&mut socket).await;
        if let Some((code, reason)) = bye {
            let close = Message::Close(Some(CloseFrame { code, reason: reason.into() }));
            // The client may be gone already; then there is nobody to tell.
            let _ = timeout(SEND_TIMEOUT, socket.send(close)).await;
        }
        drop(self.seat);
    }

    /// Talks until there is a reason to stop: the close code and its words, or nothing when the client left.
    async fn converse(&self, socket: &mut WebSocket) -> Option<(u16, &'static str)> {
        let mut status = self.site.parts.sessions.watch(&self.session);
        let mut stopping = pin!(self.site.tasks.stopping());
        let mut ping = every(PING_EVERY);
        let mut recheck = every(RECHECK_EVERY);
        let mut heard = Instant::now();
        let mut chatter = 0;
        status.mark_changed();
        loop {
            tokio::select! {
                changed = status.changed() => match changed {
                    Ok(()) => self.tell(socket, &mut status).await?,
                    Err(_) => return Some((close_code::NORMAL, "the session was deleted")),
                },
                message = socket.recv() => {
                    match message {
                        Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                        Some(Ok(_)) => {}
                    }
                    heard = Instant::now();
                    chatter += 1;
                    if chatter > CHATTER {
                        return Some((close_code::POLICY, "too many messages"));
                    }
                }
                _ = ping.tick() => {
                    chatter = 0;
                    if heard.elapsed() > SILENCE {
                        return None;
                    }
                    send(socket, Message::Ping(bytes::Bytes::new())).await?;
                }
                _ = recheck.tick() => {
                    if !self.may_stay().await {
                        return Some((close_code::POLICY, "the token or the session is no longer good"));
                    }
                }
                () = &mut stopping => return Some((close_code::AWAY, "the gateway is stopping")),
            }
        }
    }

    /// Sends the newest status. `None` when the client cannot be reached.
    async fn tell(&self, socket: &mut WebSocket, status: &mut watch::Receiver<Status>) -> Option<()> {
        let newest = status.borrow_and_update().clone();
        let frame = match view(&self.site, self.caller.scope, &self.session).await {
            Ok(Some(session)) => frame::of(&newest, &session.with_status(&newest), self.site.parts.clock.now()),
            Ok(None) => Frame::error(&SessionError::NotFound.to_string()),
            Err(error) => {
                tracing::warn!(%error, "a socket could not read its session");
                Frame::error("the gateway could not read the session; try again")
            }
        };
        send(socket, Message::Text(frame.text().into())).await
    }

    /// Whether the token still is good and the session still its user's. A store that fails is no reason to hang up.
    async fn may_stay(&self) -> bool {
        let parts = &self.site.parts;
        let recognised = parts.auth.recognise(&self.token).await;
        let session = parts.store.sessions(self.caller.scope).get(&self.session).await;
        match recognised {
            Ok(recognised) => Caller::of(recognised).is_ok() && !matches!(session, Ok(None)),
            Err(crate::auth::AuthError::Store(_)) => true,
            Err(_) => false,
        }
    }
}

async fn send(socket: &mut WebSocket, message: Message) -> Option<()> {
    timeout(SEND_TIMEOUT, socket.send(message)).await.ok()?.ok()
}

fn every(period: Duration) -> tokio::time::Interval {
    let mut ticks = interval_at(Instant::now() + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
