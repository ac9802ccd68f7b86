//! Who is calling: the bearer token of a request becomes a [`Caller`] with a scope.
//!
//! Invariant: a handler that touches users' data takes a [`Caller`], an [`Admin`] or a [`Newcomer`]; there is no other
//! way to come by a scope.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};

use super::Site;
use super::error::ApiError;
use super::peer::{self, Peer};
use crate::auth::Recognised;
use crate::auth::access::{self, Action};
use crate::model::{Scope, User};

/// A user who may use their sessions.
pub(super) struct Caller {
    /// Who.
    pub(super) user: User,
    /// What they see.
    pub(super) scope: Scope,
}

/// An administrator.
pub(super) struct Admin(pub(super) User);

/// Anybody recognised, a holder of a one-time password included. Good for choosing a password and nothing else.
pub(super) struct Newcomer(pub(super) User);

/// The address the request came from, for limits.
pub(super) struct Address(pub(super) IpAddr);

impl Caller {
    /// The caller behind a recognised token, when it may use sessions.
    pub(super) fn of(recognised: Recognised) -> Result<Self, ApiError> {
        access::may(&recognised.user, recognised.reach, Action::UseSessions)?;
        let scope = Scope::of(recognised.user.id);
        Ok(Self { user: recognised.user, scope })
    }
}

impl FromRequestParts<Arc<Site>> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, site: &Arc<Site>) -> Result<Self, ApiError> {
        Self::of(recognise(parts, site).await?)
    }
}

impl FromRequestParts<Arc<Site>> for Admin {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, site: &Arc<Site>) -> Result<Self, ApiError> {
        let Recognised { user, reach } = recognise(parts, site).await?;
        access::may(&user, reach, Action::ManageUsers)?;
        Ok(Self(user))
    }
}

impl FromRequestParts<Arc<Site>> for Newcomer {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, site: &Arc<Site>) -> Result<Self, ApiError> {
        let Recognised { user, reach } = recognise(parts, site).await?;
        access::may(&user, reach, Action::ChangeOwnPassword)?;
        Ok(Self(user))
    }
}

impl FromRequestParts<Arc<Site>> for Address {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, site: &Arc<Site>) -> Result<Self, ApiError> {
        let Peer(peer) = parts.extensions.get().copied().ok_or_else(ApiError::internal)?;
        Ok(Self(peer::client(peer.ip(), &parts.headers, &site.parts.config.trusted_proxies)))
    }
}

async fn recognise(parts: &Parts, site: &Site) -> Result<Recognised, ApiError> {
    let token = bearer(&parts.headers).ok_or_else(ApiError::unauthorized)?;
    Ok(site.parts.auth.recognise(token).await?)
}

/// The token of `Authorization: Bearer …`; the scheme's name is compared without case (RFC 9110 §11.1).
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_bearer_token() {
        let table = [
            (Some("Bearer abc"), Some("abc")),
            (Some("bearer  abc "), Some("abc")),
            (Some("Basic abc"), None),
            (Some("abc"), None),
            (None, None),
        ];
        for (given, token) in table {
            let mut headers = HeaderMap::new();
            headers.extend(given.map(|given| (header::AUTHORIZATION, given.parse().unwrap())));
            assert_eq!(bearer(&headers), token, "{given:?}");
        }
    }
}
