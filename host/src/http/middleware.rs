//! What happens around every handler, as one ordered list with a reason each: see [`around`].

use std::any::Any;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use tower_http::catch_panic::CatchPanicLayer;

use super::error::ApiError;
use crate::config::HttpConfig;
use crate::model::RequestId;

tokio::task_local! {
    static REQUEST: RequestId;
}

/// The id of the request this task is answering.
pub(super) fn current_request() -> Option<RequestId> {
    REQUEST.try_with(RequestId::clone).ok()
}

/// Wraps the routes, outermost first.
pub(super) fn around<S>(routes: Router<S>, config: &HttpConfig) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    let limit = config.request_timeout;
    routes.layer((
        // Names the request, so that a user's report, the answer and the log meet. First, because all below use it.
        from_fn(identify),
        // One line a request with the matched route, never the path or query: those hold ids and tokens.
        from_fn(trace),
        // Set on every answer, errors and panics included.
        from_fn(secure),
        // A bug in a handler is a 500 for one caller, not a dropped connection.
        CatchPanicLayer::custom(panicked),
        // Bounds what a slow body or a stuck room can hold. Inside the panic net, outside everything that waits.
        from_fn(move |request: Request, next: Next| in_time(limit, request, next)),
        // Read by the body extractors.
        DefaultBodyLimit::max(config.body_limit),
    ))
}

async fn identify(request: Request, next: Next) -> Response {
    let id = RequestId::new();
    let value = HeaderValue::from_str(id.as_str());
    let mut response = REQUEST.scope(id, next.run(request)).await;
    if let Ok(value) = value {
        response.headers_mut().insert("x-request-id", value);
    }
    response
}

async fn trace(request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let response = next.run(request).await;
    let route = route.as_ref().map_or("unmatched", MatchedPath::as_str);
    let request = current_request().map(String::from);
    let status = response.status().as_u16();
    let ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    match status {
        // Asked every few seconds, and a gateway that stands by is not ready for days.
        _ if matches!(route, "/livez" | "/readyz") => tracing::debug!(request, %method, route, status, ms, "answered"),
        500.. => tracing::warn!(request, %method, route, status, ms, "answered"),
        _ => tracing::info!(request, %method, route, status, ms, "answered"),
    }
    response
}

async fn secure(request: Request, next: Next) -> Response {
    const HEADERS: [(HeaderName, HeaderValue); 2] = [
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    let private = request.uri().path().starts_with("/api");
    let mut response = next.run(request).await;
    response.headers_mut().extend(HEADERS);
    if private {
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

#[expect(clippy::needless_pass_by_value, reason = "the signature the layer asks for")]
fn panicked(cause: Box<dyn Any + Send>) -> Response {
    let said = cause.downcast_ref::<String>().map(String::as_str).or(cause.downcast_ref::<&str>().copied());
    tracing::error!(request = current_request().map(String::from), cause = said, "a handler panicked");
    ApiError::internal().into_response()
}

async fn in_time(limit: Duration, request: Request, next: Next) -> Response {
    let answer = tokio::time::timeout(limit, next.run(request)).await;
    answer.unwrap_or_else(|_| {
        let message = format!("no answer within {} s", limit.as_secs());
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "timeout", message)
            .hint("what was asked may still happen; repeat it with the same Idempotency-Key")
            .into_response()
    })
}
