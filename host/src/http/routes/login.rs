//! Logging in, choosing a password, and who one is.

use axum::Json as Answer;
use axum::extract::State;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::Shared;
use super::super::caller::{Address, Caller, Newcomer};
use super::super::docs::answers::{Always, Body, Credentials, Guarded, Limited};
use super::super::error::ApiError;
use super::super::extract::Json;
use super::users::UserBody;
use crate::auth::Login;

/// Who logs in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct LoginRequest {
    /// The name, in any case.
    #[schema(example = "admin")]
    username: String,
    /// The password.
    #[schema(value_type = String, format = Password, example = "correct horse battery")]
    password: SecretString,
}

/// A login that succeeded.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct LoginAnswer {
    /// Always true.
    #[schema(example = true)]
    success: bool,
    /// Send it with every further request: `Authorization: Bearer <token>`.
    #[schema(example = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9...")]
    token: String,
    /// When the token expires, milliseconds since 1970.
    #[schema(example = 1_700_000_000_000_i64)]
    expires_at: i64,
    /// Who logged in.
    user: UserBody,
    /// Whether the password was a one-time password: then the token is good only for `POST /api/password`.
    must_change_password: bool,
}

/// A change of one's own password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct PasswordRequest {
    /// The password in use, or the one-time password.
    #[schema(value_type = String, format = Password)]
    current_password: SecretString,
    /// The new one: 8 to 128 characters, none of the usual ones, without the username.
    #[schema(value_type = String, format = Password)]
    new_password: SecretString,
}

/// Log in
///
/// Ten tries at once and twenty a minute for one account, sixty a minute from one network; then 429 with `Retry-After`.
#[utoipa::path(post, path = "/api/login", operation_id = "login", tag = "Users", security(()),
    request_body = LoginRequest,
    responses((status = 200, description = "Logged in", body = LoginAnswer), Body, Credentials, Limited, Always))]
pub(in crate::http) async fn login(
    State(site): Shared,
    Address(address): Address,
    Json(request): Json<LoginRequest>,
) -> Result<Answer<LoginAnswer>, ApiError> {
    let login = site.parts.auth.login(&request.username, &request.password, address).await?;
    Ok(Answer(login.into()))
}

/// Choose a new password
///
/// Revokes every token given out so far and answers a fresh one.
#[utoipa::path(post, path = "/api/password", operation_id = "changePassword", tag = "Users",
    request_body = PasswordRequest,
    responses((status = 200, description = "Changed", body = LoginAnswer), Body, Guarded, Limited))]
pub(in crate::http) async fn password(
    State(site): Shared,
    Newcomer(user): Newcomer,
    Address(address): Address,
    Json(request): Json<PasswordRequest>,
) -> Result<Answer<LoginAnswer>, ApiError> {
    let (current, new) = (&request.current_password, &request.new_password);
    let login = site.parts.auth.change_password(&user, current, new, address).await?;
    Ok(Answer(login.into()))
}

/// Who the token belongs to
#[utoipa::path(get, path = "/api/me", operation_id = "getMe", tag = "Users",
    responses((status = 200, description = "The caller", body = UserBody), Guarded))]
pub(in crate::http) async fn me(caller: Caller) -> Answer<UserBody> {
    Answer(UserBody::from(&caller.user))
}

impl From<Login> for LoginAnswer {
    fn from(login: Login) -> Self {
        Self {
            success: true,
            token: login.token.expose_secret().to_owned(),
            expires_at: login.expires_at.0,
            must_change_password: login.user.must_change_password,
            user: UserBody::from(&login.user),
        }
    }
}
