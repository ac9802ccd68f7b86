//! Users, for administrators.

use axum::Json as Answer;
use axum::extract::State;
use axum::http::StatusCode;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::Shared;
use super::super::caller::Admin;
use super::super::docs::answers::{Body, Guarded, Named, Standing};
use super::super::error::ApiError;
use super::super::extract::{Json, UserPath};
use super::Done;
use crate::auth::OneTimePassword;
use crate::auth::Reach;
use crate::auth::access::{self, Action};
use crate::model::{Role, User};

/// A user.
#[derive(Serialize, ToSchema)]
#[schema(as = User)]
pub(in crate::http) struct UserBody {
    /// Their number.
    #[schema(example = 1)]
    id: i64,
    /// The name they log in with.
    #[schema(example = "admin")]
    username: String,
    /// `admin` or `user`.
    #[schema(value_type = RoleName)]
    role: Role,
    /// Whether they must choose a password before anything else.
    must_change_password: bool,
    /// When they were added, milliseconds since 1970.
    #[schema(example = 1_700_000_000_000_i64)]
    created_at: i64,
}

/// What a user is allowed.
#[derive(ToSchema)]
#[schema(as = Role, rename_all = "snake_case")]
#[expect(dead_code, reason = "describes model::Role, which knows nothing of OpenAPI")]
pub(in crate::http) enum RoleName {
    /// Manages users; their own sessions apart like everybody's.
    Admin,
    /// Uses their own sessions.
    User,
}

/// A user to be added.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct UserRequest {
    /// 1 to 64 letters, digits or any of `. _ - @ +`.
    #[schema(example = "user2", min_length = 1, max_length = 64)]
    username: String,
    /// Their password; a one-time password is answered when it is left out.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = Password)]
    password: Option<SecretString>,
    /// What they are allowed; `user` when left out.
    #[serde(default)]
    #[schema(value_type = Option<RoleName>)]
    role: Option<Role>,
}

/// A user, with the one-time password when one was made.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct AddedUser {
    #[serde(flatten)]
    user: UserBody,
    /// Shown once. Good for a day, to choose a lasting one.
    #[serde(skip_serializing_if = "Option::is_none")]
    one_time_password: Option<OneTimeBody>,
}

/// A one-time password.
#[derive(Serialize, ToSchema)]
#[schema(as = OneTimePassword)]
pub(in crate::http) struct OneTimeBody {
    /// Who logs in with it.
    username: String,
    /// The password. Shown once.
    password: String,
    /// When it stops working, milliseconds since 1970.
    expires_at: i64,
}

/// List users
#[utoipa::path(get, path = "/api/users", operation_id = "listUsers", tag = "Users",
    responses((status = 200, description = "All users", body = [UserBody]), Guarded))]
pub(in crate::http) async fn list(State(site): Shared, _admin: Admin) -> Result<Answer<Vec<UserBody>>, ApiError> {
    let users = site.parts.auth.users().await?;
    Ok(Answer(users.iter().map(UserBody::from).collect()))
}

/// Add a user
#[utoipa::path(post, path = "/api/users", operation_id = "addUser", tag = "Users",
    request_body = UserRequest,
    responses((status = 201, description = "Added", body = AddedUser), Body, Guarded, Standing))]
pub(in crate::http) async fn add(
    State(site): Shared,
    Admin(admin): Admin,
    Json(request): Json<UserRequest>,
) -> Result<(StatusCode, Answer<AddedUser>), ApiError> {
    let role = request.role.unwrap_or(Role::User);
    let (user, one_time) = site.parts.auth.add_user(&request.username, role, request.password.as_ref()).await?;
    tracing::info!(by = %admin.id, user = %user.id, role = role.name(), "user added");
    let added = AddedUser { user: UserBody::from(&user), one_time_password: one_time.map(OneTimeBody::from) };
    Ok((StatusCode::CREATED, Answer(added)))
}

/// Give a user a one-time password
///
/// Their password and every token stop working at once.
#[utoipa::path(post, path = "/api/users/{id}/reset", operation_id = "resetPassword", tag = "Users",
    params(("id" = i64, Path, description = "The user's number", example = 2)),
    responses((status = 200, description = "Reset", body = OneTimeBody), Guarded, Named))]
pub(in crate::http) async fn reset(
    State(site): Shared,
    Admin(admin): Admin,
    UserPath(id): UserPath,
) -> Result<Answer<OneTimeBody>, ApiError> {
    let one_time = site.parts.auth.reset_password(id).await?;
    let one_time = one_time.ok_or_else(|| ApiError::not_found("no user with this id"))?;
    tracing::info!(by = %admin.id, user = %id, "password reset");
    Ok(Answer(one_time.into()))
}

/// Remove a user
///
/// Refused while the user owns sessions, and for oneself.
#[utoipa::path(delete, path = "/api/users/{id}", operation_id = "removeUser", tag = "Users",
    params(("id" = i64, Path, description = "The user's number", example = 2)),
    responses((status = 200, description = "Removed", body = Done), Guarded, Named, Standing))]
pub(in crate::http) async fn remove(
    State(site): Shared,
    Admin(admin): Admin,
    UserPath(id): UserPath,
) -> Result<Answer<Done>, ApiError> {
    access::may(&admin, Reach::Everything, Action::RemoveUser(id))?;
    if !site.parts.auth.remove_user(id).await? {
        return Err(ApiError::not_found("no user with this id"));
    }
    tracing::info!(by = %admin.id, user = %id, "user removed");
    Ok(Answer(Done::new("User removed successfully")))
}

impl From<&User> for UserBody {
    fn from(user: &User) -> Self {
        Self {
            id: user.id.0,
            username: user.username.clone(),
            role: user.role,
            must_change_password: user.must_change_password,
            created_at: user.created_at.0,
        }
    }
}

impl From<OneTimePassword> for OneTimeBody {
    fn from(one_time: OneTimePassword) -> Self {
        let password = one_time.password.expose_secret().to_owned();
        Self { username: one_time.username, password, expires_at: one_time.expires_at.0 }
    }
}
