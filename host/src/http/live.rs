//! What goes on for as long as its client listens: sockets that follow a session ([`pairing`]) or events ([`events`]),
//! and the stream of events over plain HTTP.
//!
//! Invariant: a line outlives neither its token nor its session by more than a minute, and no client that stops reading can
//! hold anything.

pub(super) mod events;
mod frame;
pub(super) mod pairing;
mod seats;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Deserialize;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use super::Site;
use super::caller::{self, Caller};
use super::error::ApiError;
use crate::auth::AuthError;
use crate::model::SessionId;

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

/// The token, for clients that cannot set headers.
#[derive(Deserialize)]
pub(super) struct Ticket {
    token: Option<String>,
}

/// Who listens, and to which session, when it is to one.
struct Line {
    site: Arc<Site>,
    caller: Caller,
    token: String,
    session: Option<SessionId>,
    seat: seats::Seat,
}

/// Why a socket is closed: the code and its words.
type Goodbye = (u16, &'static str);

/// Where the frames of a socket come from.
trait Source: Send {
    /// The next frame. Nothing is lost when it is given up midway.
    fn next(&mut self) -> impl Future<Output = Result<String, Goodbye>> + Send;
}

impl Line {
    /// The line of whoever this token names, on a session of theirs or on none.
    async fn open(
        site: Arc<Site>,
        headers: &HeaderMap,
        token: Option<String>,
        session: Option<SessionId>,
    ) -> Result<Self, ApiError> {
        let token = caller::bearer(headers).map(str::to_owned).or(token).ok_or_else(ApiError::unauthorized)?;
        let caller = Caller::of(site.parts.auth.recognise(&token).await?)?;
        if let Some(session) = &session {
            site.parts.store.sessions(caller.scope).get(session).await?.ok_or_else(ApiError::no_session)?;
        }
        let seat = site.sockets.take(caller.user.id).ok_or_else(|| {
            ApiError::new(
                StatusCode::TOO_MANY_REQUESTS,
                "too_many_sockets",
                "at most 16 sockets and streams a user; close one",
            )
        })?;
        Ok(Self { site, caller, token, session, seat })
    }

    /// Switches to WebSocket and sends what the source says.
    fn upgrade(
        self,
        upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
        source: impl Source + 'static,
    ) -> Result<Response, ApiError> {
        let upgrade = upgrade.map_err(|rejection| {
            ApiError::bad_request("not_a_websocket", format!("this address speaks WebSocket: {rejection}"))
        })?;
        let tasks = self.site.tasks.clone();
        let upgrade = upgrade.max_message_size(MESSAGE_BYTES).max_frame_size(MESSAGE_BYTES);
        Ok(upgrade.on_upgrade(async move |socket| {
            // Handed to the gateway's tasks, so that a stop waits until the socket has said goodbye.
            tasks.spawn("websocket", self.follow(socket, source));
        }))
    }

    async fn follow(self, mut socket: WebSocket, mut source: impl Source) {
        let bye = self.converse(&mut socket, &mut source).await;
        if let Some((code, reason)) = bye {
            let close = Message::Close(Some(CloseFrame { code, reason: reason.into() }));
            // The client may be gone already; then there is nobody to tell.
            let _ = timeout(SEND_TIMEOUT, socket.send(close)).await;
        }
        drop(self.seat);
    }

    /// Talks until there is a reason to stop; `None` when the client left.
    async fn converse(&self, socket: &mut WebSocket, source: &mut impl Source) -> Option<Goodbye> {
        let mut stopping = pin!(self.site.tasks.stopping());
        let mut ping = every(PING_EVERY);
        let mut recheck = every(RECHECK_EVERY);
        let mut heard = Instant::now();
        let mut chatter = 0;
        loop {
            tokio::select! {
                frame = source.next() => match frame {
                    Ok(frame) => send(socket, Message::Text(frame.into())).await?,
                    Err(bye) => return Some(bye),
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

    /// Whether the token still is good and the session still its user's. A store that fails is no reason to hang up.
    async fn may_stay(&self) -> bool {
        let parts = &self.site.parts;
        let is_good = match parts.auth.recognise(&self.token).await {
            Ok(recognised) => Caller::of(recognised).is_ok(),
            Err(AuthError::Store(_)) => true,
            Err(_) => false,
        };
        let Some(session) = &self.session else { return is_good };
        if !is_good {
            return false;
        }
        !matches!(parts.store.sessions(self.caller.scope).get(session).await, Ok(None))
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
