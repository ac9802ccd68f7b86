//! One-time passwords: the first administrator's at first start, and anybody's after a reset.
//!
//! Invariant: a one-time password is random, good for a day, and a login with it can only choose a lasting one.

use std::path::PathBuf;
use std::time::Duration;

use rand::RngExt;
use secrecy::{ExposeSecret, SecretString};

use super::{Auth, AuthError, token};
use crate::model::{Millis, Role, User, UserId};

/// How long a one-time password works.
const LIFETIME: Duration = Duration::from_hours(24);
const LENGTH: usize = 24;
/// Letters and digits without those that look alike.
const ALPHABET: &[u8] = b"ABCDEFGHJKMNPQRSTUVWXYZabcdefghjkmnpqrstuvwxyz23456789";
/// The first administrator.
const ADMIN: &str = "admin";

/// A password that can only be exchanged for a lasting one. Show it once.
#[derive(Clone, Debug)]
pub struct OneTimePassword {
    /// Who logs in with it.
    pub username: String,
    /// The password.
    pub password: SecretString,
    /// When it stops working.
    pub expires_at: Millis,
    /// Where it was also written, readable only by the owner of the process.
    pub file: Option<PathBuf>,
}

impl Auth {
    /// Makes the administrator `admin` when no user exists: with `ADMIN_PASSWORD`, else with a one-time password,
    /// which is returned and written to `DATA_DIR/first-password`. Makes a fresh one when the last one went stale
    /// unused, so that a restart always lets the owner in.
    pub async fn first_start(&self) -> Result<Option<OneTimePassword>, AuthError> {
        let users = self.0.store.users().list().await?;
        match users.as_slice() {
            [] => self.make_admin().await,
            [only] if only.must_change_password && self.one_time_is_stale(only.id).await? => {
                let fresh = self.give_one_time(only).await?;
                Ok(Some(self.keep_in_file(fresh)?))
            }
            _ => Ok(None),
        }
    }

    async fn make_admin(&self) -> Result<Option<OneTimePassword>, AuthError> {
        let given = if self.0.demo { Some(SecretString::from(ADMIN)) } else { self.0.admin_password.clone() };
        if let Some(password) = given {
            if !self.0.demo {
                super::password::check(password.expose_secret(), "").map_err(AuthError::AdminPassword)?;
            }
            let hash = self.0.passwords.hash(&password).await?;
            self.0.store.users().add(ADMIN, Role::Admin, &hash, false).await?;
            return Ok(None);
        }
        let (_, one_time) = self.add_user(ADMIN, Role::Admin, None).await?;
        one_time.map(|one_time| self.keep_in_file(one_time)).transpose()
    }

    /// Replaces the user's password by a one-time password and revokes their tokens.
    pub(super) async fn give_one_time(&self, user: &User) -> Result<OneTimePassword, AuthError> {
        let password = random();
        let hash = self.0.passwords.hash(&password).await?;
        let expires_at = self.note_expiry(user.id).await?;
        self.0.store.users().set_password(user.id, &hash, true).await?;
        self.0.known.forget(user.id);
        Ok(OneTimePassword { username: user.username.clone(), password, expires_at, file: None })
    }

    /// Whether the user's one-time password is older than a day.
    pub(super) async fn one_time_is_stale(&self, user: UserId) -> Result<bool, AuthError> {
        let noted = self.0.store.settings().get(&setting(user)).await?;
        let until = noted.and_then(|text| text.parse().ok()).map_or(Millis(0), Millis);
        Ok(self.0.clock.now() >= until)
    }

    /// Starts the day of a user's one-time password.
    pub(super) async fn note_expiry(&self, user: UserId) -> Result<Millis, AuthError> {
        let expires_at = self.0.clock.now().after(LIFETIME);
        self.0.store.settings().set(&setting(user), &expires_at.to_string()).await?;
        Ok(expires_at)
    }

    fn keep_in_file(&self, mut one_time: OneTimePassword) -> Result<OneTimePassword, AuthError> {
        let file = self.0.first_password_file();
        token::write_private(&file, one_time.password.expose_secret())
            .map_err(|error| AuthError::KeyFile { path: file.display().to_string(), reason: error.to_string() })?;
        one_time.file = Some(file);
        Ok(one_time)
    }
}

fn setting(user: UserId) -> String {
    format!("one-time-password:{user}")
}

/// A fresh one-time password, 24 characters, about 138 bits.
pub(super) fn random() -> SecretString {
    let mut rng = rand::rng();
    let text: String = (0..LENGTH).map(|_| char::from(ALPHABET[rng.random_range(0..ALPHABET.len())])).collect();
    SecretString::from(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_time_passwords_are_long_legible_and_different() {
        let (first, second) = (random(), random());
        assert_eq!(first.expose_secret().len(), LENGTH);
        assert!(first.expose_secret().bytes().all(|b| ALPHABET.contains(&b)));
        assert_ne!(first.expose_secret(), second.expose_secret());
    }
}
