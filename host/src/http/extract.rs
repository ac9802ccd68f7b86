//! What handlers read from a request, each with an error that names the field.

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;

use super::Site;
use super::error::ApiError;
use crate::model::{BindingId, DeliveryId, EndpointId, EventId, MessageId, PluginId, ReplayId, SessionId, UserId};

/// A JSON body.
///
/// A body without a content type is taken as JSON, and so is curl's default for `-d`
/// (`application/x-www-form-urlencoded`), because the founding guide posts JSON that way. Authentication never rides on
/// a cookie, so a foreign page gains nothing from that.
pub(super) struct Json<T>(pub(super) T);

/// A session's id from the path. A text that cannot be one names no session, which is a 404.
pub(super) struct SessionPath(pub(super) SessionId);

/// A user's number from the path.
pub(super) struct UserPath(pub(super) UserId);

/// A plugin's id from the path.
pub(super) struct PluginPath(pub(super) PluginId);

/// A plugin's id and one of its bindings'.
pub(super) struct BindingPath(pub(super) PluginId, pub(super) BindingId);

/// A session's id and one of its endpoints'.
pub(super) struct EndpointPath(pub(super) SessionId, pub(super) EndpointId);

/// An event's id from the path.
pub(super) struct EventPath(pub(super) EventId);

/// An endpoint's id alone.
pub(super) struct LoneEndpointPath(pub(super) EndpointId);

/// A delivery's id from the path.
pub(super) struct DeliveryPath(pub(super) DeliveryId);

/// A replay's id from the path.
pub(super) struct ReplayPath(pub(super) ReplayId);

/// A WhatsApp message's id from the path.
pub(super) struct MessagePath(pub(super) MessageId);

/// The query string.
pub(super) struct Query<T>(pub(super) T);

/// The header `Idempotency-Key`: 1 to 255 visible ASCII characters.
pub(super) struct IdempotencyKey(pub(super) Option<String>);

impl<T: DeserializeOwned> FromRequest<Arc<Site>> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, site: &Arc<Site>) -> Result<Self, ApiError> {
        check_content_type(request.headers())?;
        let bytes = Bytes::from_request(request, site).await.map_err(|rejection| unreadable(&rejection))?;
        parse(&bytes).map(Self)
    }
}

impl FromRequestParts<Arc<Site>> for SessionPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, site: &Arc<Site>) -> Result<Self, ApiError> {
        let id = path(parts, site).await.and_then(|id| id.parse().ok());
        id.map(Self).ok_or_else(ApiError::no_session)
    }
}

impl FromRequestParts<Arc<Site>> for UserPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, site: &Arc<Site>) -> Result<Self, ApiError> {
        let id = path(parts, site).await.and_then(|id| id.parse().ok());
        id.map(|id| Self(UserId(id))).ok_or_else(|| ApiError::not_found("no user with this id"))
    }
}

impl FromRequestParts<Arc<Site>> for PluginPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, site: &Arc<Site>) -> Result<Self, ApiError> {
        let ids = paths(parts, site).await;
        id(&ids, "id").map(Self).ok_or_else(|| ApiError::not_found("no plugin with this id"))
    }
}

impl FromRequestParts<Arc<Site>> for BindingPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, site: &Arc<Site>) -> Result<Self, ApiError> {
        let ids = paths(parts, site).await;
        let plugin = id(&ids, "id").ok_or_else(|| ApiError::not_found("no plugin with this id"))?;
        let binding = id(&ids, "binding").ok_or_else(|| ApiError::not_found("no binding with this id"))?;
        Ok(Self(plugin, binding))
    }
}

impl FromRequestParts<Arc<Site>> for EndpointPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, site: &Arc<Site>) -> Result<Self, ApiError> {
        let ids = paths(parts, site).await;
        let session = id(&ids, "id").ok_or_else(ApiError::no_session)?;
        let endpoint = id(&ids, "endpoint").ok_or_else(|| ApiError::not_found("no endpoint with this id"))?;
        Ok(Self(session, endpoint))
    }
}

impl FromRequestParts<Arc<Site>> for EventPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, site: &Arc<Site>) -> Result<Self, ApiError> {
        let ids = paths(parts, site).await;
        id(&ids, "id").map(Self).ok_or_else(|| ApiError::not_found("no event with this id"))
    }
}

impl FromRequestParts<Arc<Site>> for LoneEndpointPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, site: &Arc<Site>) -> Result<Self, ApiError> {
        let ids = paths(parts, site).await;
        id(&ids, "endpoint").map(Self).ok_or_else(|| ApiError::not_found("no endpoint with this id"))
    }
}

impl FromRequestParts<Arc<Site>> for DeliveryPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, site: &Arc<Site>) -> Result<Self, ApiError> {
        let ids = paths(parts, site).await;
        id(&ids, "id").map(Self).ok_or_else(|| ApiError::not_found("no delivery with this id"))
    }
}

impl FromRequestParts<Arc<Site>> for ReplayPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, site: &Arc<Site>) -> Result<Self, ApiError> {
        let ids = paths(parts, site).await;
        id(&ids, "id").map(Self).ok_or_else(|| ApiError::not_found("no replay with this id"))
    }
}

impl FromRequestParts<Arc<Site>> for MessagePath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, site: &Arc<Site>) -> Result<Self, ApiError> {
        let ids = paths(parts, site).await;
        let id = ids.get("message").map(|id| MessageId::from(id.clone()));
        id.map(Self).ok_or_else(|| ApiError::not_found("no message with this id"))
    }
}

impl<T: DeserializeOwned> FromRequestParts<Arc<Site>> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _site: &Arc<Site>) -> Result<Self, ApiError> {
        let query = axum::extract::Query::try_from_uri(&parts.uri);
        let said = |rejection: axum::extract::rejection::QueryRejection| {
            ApiError::bad_request("invalid_query", rejection.body_text())
        };
        query.map(|axum::extract::Query(query)| Self(query)).map_err(said)
    }
}

impl FromRequestParts<Arc<Site>> for IdempotencyKey {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _site: &Arc<Site>) -> Result<Self, ApiError> {
        let mut lines = parts.headers.get_all("idempotency-key").iter();
        let (key, more) = (lines.next(), lines.next());
        let Some(key) = key else { return Ok(Self(None)) };
        let key = key.to_str().unwrap_or_default();
        let sound = (1..=255).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic());
        if !sound || more.is_some() {
            let message = "Idempotency-Key has 1 to 255 visible ASCII characters and is sent once";
            return Err(ApiError::bad_request("invalid_idempotency_key", message));
        }
        Ok(Self(Some(key.to_owned())))
    }
}

async fn path(parts: &mut Parts, site: &Arc<Site>) -> Option<String> {
    axum::extract::Path::<String>::from_request_parts(parts, site).await.ok().map(|axum::extract::Path(text)| text)
}

/// The path's parameters by name; none of them when one is no text.
async fn paths(parts: &mut Parts, site: &Arc<Site>) -> HashMap<String, String> {
    let paths = axum::extract::Path::<HashMap<String, String>>::from_request_parts(parts, site).await;
    paths.map(|axum::extract::Path(paths)| paths).unwrap_or_default()
}

fn id<T: FromStr>(paths: &HashMap<String, String>, name: &str) -> Option<T> {
    paths.get(name)?.parse().ok()
}

fn check_content_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(given) = headers.get(header::CONTENT_TYPE) else { return Ok(()) };
    let given = given.to_str().unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let json = essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"));
    if json || essence == "application/x-www-form-urlencoded" {
        return Ok(());
    }
    let message = "the body must be JSON; send the header: Content-Type: application/json";
    Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message))
}

fn unreadable(rejection: &BytesRejection) -> ApiError {
    if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
        return ApiError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body_too_large",
            "the body is larger than this gateway takes",
        );
    }
    ApiError::bad_request("invalid_body", "the body could not be read to its end")
}

/// Reads one JSON value and names the field that does not fit.
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(ApiError::bad_request("invalid_body", "the body is empty; it must be a JSON object"));
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let field = error.path().to_string();
        let cause = error.into_inner();
        let message = if cause.is_data() && field != "." { format!("{field}: {cause}") } else { cause.to_string() };
        let code = if cause.is_data() { "invalid_field" } else { "invalid_json" };
        ApiError::bad_request(code, message)
    })?;
    reader.end().map_err(|error| ApiError::bad_request("invalid_json", error.to_string()))?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Order {
        #[serde(alias = "to")]
        recipient: String,
        count: Option<u8>,
    }

    fn fault(body: &str) -> String {
        format!("{:?}", parse::<Order>(body.as_bytes()).unwrap_err())
    }

    #[test]
    fn names_the_field_that_does_not_fit() {
        let table = [
            (r#"{"recipient": 62}"#, "recipient: invalid type: integer `62`, expected a string"),
            (r#"{"recipient": "a", "count": "b"}"#, "count: invalid type: string \\\"b\\\", expected u8"),
            (r#"{"recipient": "a", "nonsense": 1}"#, "unknown field `nonsense`"),
            (r"{}", "missing field `recipient`"),
            (r#"{"recipient": "a", "to": "b"}"#, "duplicate field `recipient`"),
            (r#"{"recipient": "a""#, "EOF while parsing"),
            (r#"{"recipient": "a"} {"#, "trailing characters"),
            ("recipient=a&count=1", "expected value at line 1"),
            ("", "the body is empty"),
        ];
        for (body, expected) in table {
            let said = fault(body);
            assert!(said.contains(expected), "{body}: {said}");
        }
    }

    #[test]
    fn takes_the_alias() {
        let order: Order = parse(br#"{"to": "a", "count": 1}"#).ok().unwrap();
        assert_eq!((order.recipient.as_str(), order.count), ("a", Some(1)));
    }

    #[test]
    fn takes_json_under_the_content_types_of_the_guide() {
        let table = [
            (None, true),
            (Some("application/json"), true),
            (Some("Application/JSON; charset=utf-8"), true),
            (Some("application/vnd.api+json"), true),
            (Some("application/x-www-form-urlencoded"), true),
            (Some("text/plain"), false),
            (Some("multipart/form-data; boundary=x"), false),
            (Some("image/svg+xml"), false),
        ];
        for (given, taken) in table {
            let mut headers = HeaderMap::new();
            headers.extend(given.map(|given| (header::CONTENT_TYPE, HeaderValue::from_static(given))));
            assert_eq!(check_content_type(&headers).is_ok(), taken, "{given:?}");
        }
    }
}
