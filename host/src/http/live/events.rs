//! The live stream of events, as server-sent events and over WebSocket: the same events in the same order, from now on or
//! from one that the client has seen.
//!
//! Invariant: a client gets the events of its own sessions and no others, and every one of them from where it began, or is
//! told how many were left out.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{WebSocketUpgrade, close_code};
use axum::http::HeaderMap;
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::time::Interval;
use tokio_util::sync::WaitForCancellationFutureOwned;
use utoipa::IntoParams;

use super::{Goodbye, Line, PING_EVERY, RECHECK_EVERY, Source, every};
use crate::http::Shared;
use crate::http::docs::answers::{Guarded, Limited, Named, Parameter};
use crate::http::error::ApiError;
use crate::http::extract::Query;
use crate::http::routes::deliveries::parsed;
use crate::http::routes::events::wanted;
use crate::live::{Follower, News};
use crate::model::{EventId, Labels};
use crate::store::events::Wanted;

/// How long a client waits before it comes back.
const COME_BACK: Duration = Duration::from_secs(2);

/// Which events, and from where on.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct Listening {
    /// Those of this session; of all the account's when left out.
    #[param(example = "1234567890")]
    session: Option<String>,
    /// Kinds separated by commas, families included, such as `message.*,session.status`; all when left out.
    #[param(example = "message.*")]
    events: Option<String>,
    /// The last event the client has seen; the stream begins with the one after it.
    after: Option<String>,
    /// The token, for clients that cannot set headers.
    token: Option<String>,
}

/// What a client asks for, checked.
struct Asked {
    wanted: Wanted,
    after: Option<EventId>,
}

impl Listening {
    fn checked(&self, last: Option<&str>) -> Result<Asked, ApiError> {
        // A browser that comes back says where it stood, whatever the address says.
        let after = match last.filter(|last| !last.is_empty()) {
            Some(last) => Some(seen("Last-Event-ID", last)?),
            None => self.after.as_deref().map(|after| seen("after", after)).transpose()?,
        };
        Ok(Asked { wanted: wanted(self.session.as_deref(), self.events.as_deref())?, after })
    }
}

/// The event that a client has seen. It may be gone by now, but what never was one would silently begin anywhere.
fn seen(field: &str, id: &str) -> Result<EventId, ApiError> {
    if !id.starts_with("evt_") {
        return Err(ApiError::bad_request("invalid_query", format!("{field}: {id:?} is no event's id")));
    }
    parsed(field, id)
}

/// Follow events
///
/// Server-sent events. Each has the event's id (`id`), its kind (`event`) and, as `data`, the event as plugins see it,
/// without labels. Begins with what happens from now on, or after the event that `after` or the header `Last-Event-ID`
/// names, so a client that lost its connection misses nothing. An event `missed` with `{"count": n}` says that n events
/// were left out, because the client was more than 10,000 behind; `GET /api/events` has them. At most sixteen streams and
/// sockets a user.
#[utoipa::path(get, path = "/api/events/stream", operation_id = "streamEvents", tag = "Events",
    params(Listening, ("Last-Event-ID" = Option<String>, Header, description = "The last event seen; browsers send it")),
    security((), ("BearerAuth" = [])),
    responses((status = 200, description = "The stream", body = String, content_type = "text/event-stream"),
        Parameter, Guarded, Named, Limited))]
pub(in crate::http) async fn stream(
    State(site): Shared,
    Query(asked): Query<Listening>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let last = headers.get("last-event-id").and_then(|last| last.to_str().ok());
    let Asked { wanted, after } = asked.checked(last)?;
    let line = Line::open(Arc::clone(&site), &headers, asked.token, wanted.session.clone()).await?;
    let follower = Follower::start(site.parts.store.clone(), line.caller.scope, wanted, after.as_ref()).await?;
    let (stopping, recheck) = (Box::pin(site.tasks.stopping()), every(RECHECK_EVERY));
    let flow = Flow { line, follower, stopping, recheck };
    let frames = stream::unfold(flow, async |mut flow| Some((flow.next().await?, flow)));
    // The first words let a client know at once that it is heard.
    let hello = sse::Event::default().retry(COME_BACK).comment("following");
    let frames = stream::StreamExt::chain(stream::once(async { Ok::<_, Infallible>(hello) }), frames);
    Ok(Sse::new(frames).keep_alive(KeepAlive::new().interval(PING_EVERY)).into_response())
}

/// Follow events over WebSocket
///
/// The same as `GET /api/events/stream`. Frames are JSON objects with `type` and `data`: `event` (the event) and `missed`
/// (`count`). After a lost connection go on with `after`, the `id` of the last event seen. Pings come every 20 s.
#[utoipa::path(get, path = "/api/events/ws", operation_id = "openEventSocket", tag = "Events",
    params(Listening), security((), ("BearerAuth" = [])),
    responses((status = 101, description = "Switching to WebSocket"), Parameter, Guarded, Named, Limited))]
pub(in crate::http) async fn socket(
    State(site): Shared,
    Query(asked): Query<Listening>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    let Asked { wanted, after } = asked.checked(None)?;
    let line = Line::open(Arc::clone(&site), &headers, asked.token, wanted.session.clone()).await?;
    let follower = Follower::start(site.parts.store.clone(), line.caller.scope, wanted, after.as_ref()).await?;
    line.upgrade(upgrade, follower)
}

/// One stream of server-sent events.
struct Flow {
    line: Line,
    follower: Follower,
    stopping: Pin<Box<WaitForCancellationFutureOwned>>,
    recheck: Interval,
}

impl Flow {
    /// The next; `None` when the stream ends: the gateway stops, the token is no longer good, or the store cannot be read.
    /// The client comes back and goes on where it stood.
    async fn next(&mut self) -> Option<Result<sse::Event, Infallible>> {
        let Self { line, follower, stopping, recheck } = self;
        loop {
            tokio::select! {
                news = follower.next() => return match news {
                    Ok(news) => Some(Ok(framed(&news))),
                    Err(error) => {
                        tracing::warn!(%error, "a stream could not read events");
                        None
                    }
                },
                _ = recheck.tick() => {
                    if !line.may_stay().await {
                        return None;
                    }
                }
                () = stopping.as_mut() => return None,
            }
        }
    }
}

/// One server-sent event.
fn framed(news: &News) -> sse::Event {
    match news {
        News::Event(event) => {
            sse::Event::default().id(event.id.as_str()).event(event.kind()).data(event.document(&Labels::new()))
        }
        News::Missed(count) => sse::Event::default().event("missed").data(format!("{{\"count\":{count}}}")),
    }
}

/// One frame of the socket.
#[derive(Serialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
enum EventFrame {
    Event(Box<RawValue>),
    Missed { count: u64 },
}

impl Source for Follower {
    async fn next(&mut self) -> Result<String, Goodbye> {
        let unreadable = "events cannot be read at the moment; come back and go on after the last one";
        let news = Self::next(self).await.map_err(|error| {
            tracing::warn!(%error, "a socket could not read events");
            (close_code::ERROR, unreadable)
        })?;
        let frame = match news {
            News::Event(event) => {
                let document = RawValue::from_string(event.document(&Labels::new()));
                EventFrame::Event(document.map_err(|_| (close_code::ERROR, unreadable))?)
            }
            News::Missed(count) => EventFrame::Missed { count },
        };
        serde_json::to_string(&frame).map_err(|_| (close_code::ERROR, unreadable))
    }
}
