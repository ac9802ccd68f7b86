//! Users and their password hashes.
//!
//! Names are shown as they were given and compared without case, in every script: `username_key` holds the lower case.

use sqlx::FromRow;

use super::column::text;
use super::pool::on;
use super::sql::statements;
use super::{Store, StoreError};
use crate::model::{Millis, Role, User, UserId};

statements! {
    ADD = "INSERT INTO users (username, username_key, role, password_hash, token_version, must_change_password, created_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7)";
    GET = "SELECT id, username, role, password_hash, token_version, must_change_password, created_at
        FROM users WHERE id = $1";
    BY_NAME = "SELECT id, username, role, password_hash, token_version, must_change_password, created_at
        FROM users WHERE username_key = $1";
    LIST = "SELECT id, username, role, password_hash, token_version, must_change_password, created_at
        FROM users ORDER BY id";
    SET_PASSWORD = "UPDATE users SET password_hash = $1, must_change_password = $2, token_version = token_version + 1
        WHERE id = $3";
    REHASH = "UPDATE users SET password_hash = $1 WHERE id = $2 AND password_hash = $3";
    REMOVE = "DELETE FROM users WHERE id = $1";
}

/// Calls on the users table.
#[derive(Debug)]
pub struct Users<'a>(pub(super) &'a Store);

impl Users<'_> {
    /// Adds a user; [`StoreError::Taken`] when the name exists (compared without case).
    pub async fn add(
        &self,
        username: &str,
        role: Role,
        password_hash: &str,
        must_change: bool,
    ) -> Result<User, StoreError> {
        let username = text(username).into_owned();
        let (key, hash) = (username.to_lowercase(), password_hash.to_owned());
        let now = self.0.clock().now();
        let work = self.0.write(move |tx| {
            Box::pin(async move {
                let row: sqlx::Result<UserRow> = on!(tx, |db, q| {
                    let add = sqlx::query(q(ADD)).bind(username).bind(&key).bind(role.name()).bind(hash).bind(0_i64);
                    match add.bind(must_change).bind(now).execute(&mut *db).await {
                        Ok(_) => sqlx::query_as(q(BY_NAME)).bind(&key).fetch_one(db).await,
                        Err(error) => Err(error),
                    }
                });
                let taken =
                    |error| StoreError::taken(error, sqlx::error::DatabaseError::is_unique_violation, "the username");
                Ok(row.map_err(taken)?.split()?.0)
            })
        });
        work.await
    }

    /// One user.
    pub async fn get(&self, id: UserId) -> Result<Option<User>, StoreError> {
        let row: Option<UserRow> =
            on!(self.0.readers(), |db, q| { sqlx::query_as(q(GET)).bind(id).fetch_optional(db).await? });
        Ok(row.map(UserRow::split).transpose()?.map(|(user, _)| user))
    }

    /// A user and the password hash, by name.
    pub async fn for_login(&self, username: &str) -> Result<Option<(User, String)>, StoreError> {
        let key = text(username).to_lowercase();
        let row: Option<UserRow> =
            on!(self.0.readers(), |db, q| { sqlx::query_as(q(BY_NAME)).bind(key).fetch_optional(db).await? });
        row.map(UserRow::split).transpose()
    }

    /// All users, by id.
    pub async fn list(&self) -> Result<Vec<User>, StoreError> {
        let rows: Vec<UserRow> = on!(self.0.readers(), |db, q| { sqlx::query_as(q(LIST)).fetch_all(db).await? });
        rows.into_iter().map(|row| row.split().map(|(user, _)| user)).collect()
    }

    /// Sets a new password hash and revokes every token; whether the user exists.
    pub async fn set_password(&self, id: UserId, password_hash: &str, must_change: bool) -> Result<bool, StoreError> {
        let hash = password_hash.to_owned();
        let work = self.0.write(move |tx| {
            Box::pin(async move {
                let done = on!(tx, |db, q| {
                    sqlx::query(q(SET_PASSWORD))
                        .bind(hash)
                        .bind(must_change)
                        .bind(id)
                        .execute(db)
                        .await?
                        .rows_affected()
                });
                Ok(done == 1)
            })
        });
        work.await
    }

    /// Replaces the hash `from` of outdated parameters after a login; tokens stay good. Nothing is done when the user has
    /// another hash by now: the password was changed since.
    pub async fn rehash(&self, id: UserId, from: &str, to: &str) -> Result<(), StoreError> {
        let (from, to) = (from.to_owned(), to.to_owned());
        let work = self.0.write(move |tx| {
            Box::pin(async move {
                on!(tx, |db, q| {
                    sqlx::query(q(REHASH)).bind(to).bind(id).bind(from).execute(db).await?;
                });
                Ok(())
            })
        });
        work.await
    }

    /// Removes a user who has no sessions; whether it existed. [`StoreError::Taken`] while sessions remain.
    pub async fn remove(&self, id: UserId) -> Result<bool, StoreError> {
        let work = self.0.write(move |tx| {
            Box::pin(async move {
                let done = on!(tx, |db, q| {
                    sqlx::query(q(REMOVE)).bind(id).execute(db).await.map(|done| done.rows_affected())
                });
                let held = |error| {
                    StoreError::taken(
                        error,
                        sqlx::error::DatabaseError::is_foreign_key_violation,
                        "a session of this user",
                    )
                };
                Ok(done.map_err(held)? == 1)
            })
        });
        work.await
    }
}

#[derive(FromRow)]
struct UserRow {
    id: UserId,
    username: String,
    role: String,
    password_hash: String,
    token_version: i64,
    must_change_password: bool,
    created_at: Millis,
}

impl UserRow {
    /// The user and the password hash.
    fn split(self) -> Result<(User, String), StoreError> {
        let Self { id, username, role, password_hash, token_version, must_change_password, created_at } = self;
        let role = Role::named(&role)
            .ok_or_else(|| sqlx::Error::Decode(format!("user {id} has the unknown role {role}").into()))?;
        Ok((User { id, username, role, token_version, must_change_password, created_at }, password_hash))
    }
}
