//! What is uploaded: a component's bytes, or a script as JSON; and what beside it stands in the query.
//!
//! Invariant: a body is read only after its sender is known, and never beyond the longest component.

use std::sync::Arc;

use axum::body::to_bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::http::Site;
use crate::http::caller::Caller;
use crate::http::error::ApiError;
use crate::http::extract::Json;
use crate::model::{GrantError, Grants};
use crate::plugin::Refusal;
use crate::plugin::catalog::Source;

/// A component or a script, what it is to be called and what it may do.
pub(in crate::http) struct Upload {
    /// Who uploads it.
    pub(super) caller: Caller,
    /// The component or script.
    pub(super) source: Source,
    /// Name, grants, whether it may import more, and whether it is to run at once.
    pub(super) wishes: Wishes,
}

/// What may be said about an upload.
#[derive(Debug, Default, PartialEq)]
pub(in crate::http) struct Wishes {
    pub(super) name: Option<String>,
    pub(super) grants: Option<Grants>,
    pub(super) accept_ungranted: bool,
    pub(super) activate: Option<bool>,
}

/// A script to be installed. A component is sent as it is, with the content type `application/wasm`, and what stands
/// here beside the script stands in the query: `?name=…&grant=log&grant=kv`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct ScriptRequest {
    /// JavaScript that defines `onMessage(message, api)` or `transform(delivery, api)` or both.
    #[schema(example = "function onMessage(m) { if (/invoice/i.test(m.text)) return { routeTo: ['billing'] } }")]
    script: String,
    /// Its name in your catalog: 1 to 64 of `A-Z a-z 0-9 . _ -`.
    #[serde(default)]
    #[schema(example = "invoices")]
    name: Option<String>,
    /// What it may do: `log`, `kv`, `outbox.reply`, `outbox.send`, `outbox.emit`, `outgoing`, `http:HOST`.
    #[serde(default)]
    #[schema(example = json!(["log"]))]
    grants: Option<Vec<String>>,
    /// For a further version: whether it is to run at once; true when left out.
    #[serde(default)]
    activate: Option<bool>,
}

impl FromRequest<Arc<Site>> for Upload {
    type Rejection = ApiError;

    async fn from_request(request: Request, site: &Arc<Site>) -> Result<Self, ApiError> {
        let (mut parts, body) = request.into_parts();
        let caller = Caller::from_request_parts(&mut parts, site).await?;
        let asked = wishes(parts.uri.query().unwrap_or_default())?;
        if is_wasm(&parts.headers) {
            let limit = site.parts.catalog.max_component();
            let too_large = |size| ApiError::from(Refusal::TooLarge { size, limit });
            if let Some(size) = length(&parts).filter(|size| *size > limit) {
                return Err(too_large(size));
            }
            let bytes = to_bytes(body, limit).await.map_err(|error| unread(&error, || too_large(limit + 1)))?;
            return Ok(Self { caller, source: Source::Component(bytes), wishes: asked });
        }
        let Json(request) = Json::<ScriptRequest>::from_request(Request::from_parts(parts, body), site).await?;
        let ScriptRequest { script, name, grants, activate } = request;
        let grants = grants.map(|words| Grants::parse(&words)).transpose().map_err(|error| no_grant(&error))?;
        let wishes = Wishes {
            name: name.or(asked.name),
            grants: grants.or(asked.grants),
            accept_ungranted: asked.accept_ungranted,
            activate: activate.or(asked.activate),
        };
        Ok(Self { caller, source: Source::Script(script), wishes })
    }
}

/// The query by hand, because `grant` may stand in it several times.
fn wishes(query: &str) -> Result<Wishes, ApiError> {
    let (mut wishes, mut words) = (Wishes::default(), Vec::new());
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        match (name.as_ref(), value.as_ref()) {
            ("name", name) => wishes.name = Some(name.to_owned()),
            ("grant", "") => words.extend(None),
            ("grant", word) => words.push(word.to_owned()),
            ("activate", "true") => wishes.activate = Some(true),
            ("activate", "false") => wishes.activate = Some(false),
            ("accept_ungranted", "true") => wishes.accept_ungranted = true,
            ("accept_ungranted", "false") => wishes.accept_ungranted = false,
            (name @ ("activate" | "accept_ungranted"), _) => {
                return Err(ApiError::bad_request("invalid_query", format!("{name} must be true or false")));
            }
            (other, _) => {
                let message =
                    format!("unknown parameter {other:?}; there are name, grant, accept_ungranted and activate");
                return Err(ApiError::bad_request("invalid_query", message));
            }
        }
    }
    let given = query.split('&').any(|pair| pair == "grant" || pair.starts_with("grant="));
    let grants = given.then(|| Grants::parse(&words)).transpose();
    wishes.grants = grants.map_err(|error| no_grant(&error))?;
    Ok(wishes)
}

fn no_grant(error: &GrantError) -> ApiError {
    ApiError::bad_request("unknown_grant", error.to_string())
}

fn is_wasm(headers: &HeaderMap) -> bool {
    let given = headers.get(header::CONTENT_TYPE).and_then(|given| given.to_str().ok()).unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    matches!(essence.as_str(), "application/wasm" | "application/octet-stream")
}

fn length(parts: &Parts) -> Option<usize> {
    parts.headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn unread(error: &axum::Error, too_large: impl FnOnce() -> ApiError) -> ApiError {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        if error.is::<http_body_util::LengthLimitError>() {
            return too_large();
        }
        cause = error.source();
    }
    ApiError::bad_request("invalid_body", "the body could not be read to its end")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_grants_that_stand_in_the_query_several_times() {
        let read = wishes("name=a%2Db&grant=log&grant=http%3Aapi.example.org&activate=false").ok().unwrap();
        assert_eq!((read.name.as_deref(), read.activate), (Some("a-b"), Some(false)));
        assert_eq!(read.grants.unwrap().words(), ["log", "http:api.example.org"]);
        assert!(!read.accept_ungranted && wishes("accept_ungranted=true").ok().unwrap().accept_ungranted);
    }

    #[test]
    fn no_word_on_grants_is_not_the_same_as_none() {
        assert_eq!(wishes("").ok().unwrap(), Wishes::default());
        assert_eq!(wishes("grant=").ok().unwrap().grants, Some(Grants::default()));
    }

    #[test]
    fn refuses_parameters_it_does_not_know() {
        for bad in ["grants=log", "activate=1", "accept_ungranted=yes", "grant=LOG", "grant=http:"] {
            assert!(wishes(bad).is_err(), "{bad}");
        }
    }
}
