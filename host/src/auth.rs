//! Logging in and being recognised: users, passwords, tokens.
//!
//! The way of a login: limits → argon2 → token. The way of every other request: token → user (seen within five
//! seconds, else read) → token version → [`access::may`].
//!
//! Invariant: an unknown user and a wrong password are told apart neither by answer nor by time.

pub mod access;
mod first_start;
mod known;
mod limits;
mod password;
mod token;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use crate::config::AuthConfig;
use crate::model::{Clock, Millis, Role, User, UserId};
use crate::store::{Store, StoreError};

use known::Known;
use limits::LoginLimits;
use password::{HashError, Passwords, Verdict};
use token::Tokens;

pub use first_start::OneTimePassword;
pub use password::PasswordFault;
pub use token::Reach;

/// Everything about users. Cheap to clone.
#[derive(Clone)]
pub struct Auth(Arc<Inner>);

struct Inner {
    store: Store,
    clock: Clock,
    passwords: Passwords,
    tokens: Tokens,
    limits: LoginLimits,
    known: Known,
    data_dir: PathBuf,
    admin_password: Option<SecretString>,
    demo: bool,
}

/// A login that succeeded.
#[derive(Clone, Debug)]
pub struct Login {
    /// The token for every further request.
    pub token: SecretString,
    /// When the token expires.
    pub expires_at: Millis,
    /// Who logged in.
    pub user: User,
}

/// Who stands behind a token, and what the token is good for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recognised {
    /// The user.
    pub user: User,
    /// The token's reach.
    pub reach: Reach,
}

/// What can go wrong with users, passwords and tokens.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// `JWT_SECRET` is a published example.
    #[error(
        "JWT_SECRET is a published example, so anybody could forge tokens; unset it and a key is made at first start, \
         or set it to the output of: openssl rand -base64 48"
    )]
    KnownSecret,
    /// `JWT_SECRET` is too short or too simple.
    #[error(
        "JWT_SECRET needs at least 32 random bytes; unset it and a key is made at first start, or set it to the output \
         of: openssl rand -base64 48"
    )]
    WeakSecret,
    /// A file of secrets could not be read or written.
    #[error("the file {path}: {reason}; mend or delete it (deleting jwt.key logs everybody out)")]
    KeyFile {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// `ADMIN_PASSWORD` may not be a password.
    #[error("ADMIN_PASSWORD: {0}")]
    AdminPassword(PasswordFault),
    /// The user does not exist, the password is wrong, or the one-time password is too old.
    #[error("invalid username or password")]
    Credentials,
    /// The token is missing, not ours, changed, expired or revoked.
    #[error("invalid or missing authentication token")]
    Unrecognised,
    /// The new password is not acceptable.
    #[error(transparent)]
    Password(#[from] PasswordFault),
    /// The new password is the old one.
    #[error("the new password is the present one; choose another")]
    Unchanged,
    /// The name cannot be a username.
    #[error("a username has 1 to 64 letters, digits or any of . _ - @ +")]
    Username,
    /// The name belongs to somebody.
    #[error("this username is taken")]
    UsernameTaken,
    /// The user still owns sessions.
    #[error("the user still owns sessions; delete them first")]
    OwnsSessions,
    /// Too many tries.
    #[error("too many login attempts; try again in {} s", .0.as_secs().max(1))]
    TooMany(Duration),
    /// A token could not be made.
    #[error("a token could not be signed: {0}")]
    Token(String),
    /// A password could not be hashed.
    #[error("{0}")]
    Hash(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<HashError> for AuthError {
    fn from(error: HashError) -> Self {
        match error {
            HashError::Busy => Self::TooMany(Duration::from_secs(1)),
            HashError::Failed(reason) => Self::Hash(reason),
        }
    }
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Auth").field("demo", &self.0.demo).finish_non_exhaustive()
    }
}

impl Auth {
    /// Opens the door, making the signing key `data_dir/jwt.key` when none is configured and none was made before.
    pub fn open(config: &AuthConfig, data_dir: &Path, store: Store, clock: Clock) -> Result<Self, AuthError> {
        Self::with(config, data_dir, store, clock, false)
    }

    /// The same for the demo: the first administrator is `admin` with the password `admin`. Only for a gateway that
    /// listens on loopback; the caller sees to that.
    pub fn open_demo(config: &AuthConfig, data_dir: &Path, store: Store, clock: Clock) -> Result<Self, AuthError> {
        Self::with(config, data_dir, store, clock, true)
    }

    fn with(config: &AuthConfig, data_dir: &Path, store: Store, clock: Clock, demo: bool) -> Result<Self, AuthError> {
        let key = token::key(config.jwt_secret.as_ref(), &data_dir.join("jwt.key"))?;
        Ok(Self(Arc::new(Inner {
            store,
            clock,
            passwords: Passwords::new()?,
            tokens: Tokens::new(&key, config.token_lifetime),
            limits: LoginLimits::new(),
            known: Known::default(),
            data_dir: data_dir.to_owned(),
            admin_password: config.admin_password.clone(),
            demo,
        })))
    }

    /// Checks a username and password that came from this address.
    pub async fn login(&self, username: &str, password: &SecretString, from: IpAddr) -> Result<Login, AuthError> {
        self.0.limits.check(username, from).map_err(AuthError::TooMany)?;
        let found = self.0.store.users().for_login(username.trim()).await?;
        let user = self.verify(found, password).await?;
        if user.must_change_password && self.one_time_is_stale(user.id).await? {
            tracing::warn!(user = %user.id, "a one-time password was used after its day; reset it");
            return Err(AuthError::Credentials);
        }
        self.welcome(user)
    }

    /// Who a token belongs to, when it is good.
    pub async fn recognise(&self, token: &str) -> Result<Recognised, AuthError> {
        let now = self.0.clock.now();
        let passport = self.0.tokens.read(token, now).ok_or(AuthError::Unrecognised)?;
        let user = match self.0.known.get(passport.user, now) {
            Some(user) => user,
            None => self.look_up(passport.user, now).await?.ok_or(AuthError::Unrecognised)?,
        };
        if user.token_version != passport.version {
            return Err(AuthError::Unrecognised);
        }
        Ok(Recognised { user, reach: passport.reach })
    }

    /// Replaces a user's own password, revokes every token given out so far and answers a fresh one.
    pub async fn change_password(
        &self,
        user: &User,
        current: &SecretString,
        new: &SecretString,
        from: IpAddr,
    ) -> Result<Login, AuthError> {
        self.0.limits.check(&user.username, from).map_err(AuthError::TooMany)?;
        let found = self.0.store.users().for_login(&user.username).await?;
        let user = self.verify(found.filter(|(found, _)| found.id == user.id), current).await?;
        password::check(new.expose_secret(), &user.username)?;
        if current.expose_secret() == new.expose_secret() {
            return Err(AuthError::Unchanged);
        }
        let hash = self.0.passwords.hash(new).await?;
        self.0.store.users().set_password(user.id, &hash, false).await?;
        self.0.known.forget(user.id);
        if user.must_change_password {
            self.0.drop_first_password();
        }
        let user = self.0.store.users().get(user.id).await?.ok_or(AuthError::Unrecognised)?;
        self.welcome(user)
    }

    /// Adds a user, with this password or else with a one-time password, which is answered.
    pub async fn add_user(
        &self,
        username: &str,
        role: Role,
        password: Option<&SecretString>,
    ) -> Result<(User, Option<OneTimePassword>), AuthError> {
        let username = username.trim();
        check_username(username)?;
        let one_time = password.is_none().then(first_start::random);
        if let Some(chosen) = password {
            password::check(chosen.expose_secret(), username)?;
        }
        let Some(password) = password.or(one_time.as_ref()) else { return Err(AuthError::Credentials) };
        let hash = self.0.passwords.hash(password).await?;
        let added = self.0.store.users().add(username, role, &hash, one_time.is_some()).await;
        let user = added.map_err(|error| match error {
            StoreError::Taken(_) => AuthError::UsernameTaken,
            error => error.into(),
        })?;
        let Some(password) = one_time else { return Ok((user, None)) };
        let expires_at = self.note_expiry(user.id).await?;
        let username = user.username.clone();
        Ok((user, Some(OneTimePassword { username, password, expires_at, file: None })))
    }

    /// Gives a user a one-time password and revokes their tokens; `None` when there is no such user.
    pub async fn reset_password(&self, id: UserId) -> Result<Option<OneTimePassword>, AuthError> {
        match self.0.store.users().get(id).await? {
            Some(user) => self.give_one_time(&user).await.map(Some),
            None => Ok(None),
        }
    }

    /// Removes a user who owns no sessions; whether there was one.
    pub async fn remove_user(&self, id: UserId) -> Result<bool, AuthError> {
        let removed = self.0.store.users().remove(id).await.map_err(|error| match error {
            StoreError::Taken(_) => AuthError::OwnsSessions,
            error => error.into(),
        })?;
        self.0.known.forget(id);
        Ok(removed)
    }

    /// All users.
    pub async fn users(&self) -> Result<Vec<User>, AuthError> {
        Ok(self.0.store.users().list().await?)
    }

    /// The user with this name.
    pub async fn user_named(&self, username: &str) -> Result<Option<User>, AuthError> {
        Ok(self.0.store.users().for_login(username.trim()).await?.map(|(user, _)| user))
    }

    /// The user, when the password is right. Hashes once whatever is found, so that nothing shows in the time.
    async fn verify(&self, found: Option<(User, String)>, password: &SecretString) -> Result<User, AuthError> {
        let text = password.expose_secret();
        // A password too short or long to have been set: the demo's `admin` stays useless once the demo is over.
        let possible = text.len() <= 512 && (self.0.demo || text.chars().count() >= 8);
        let stored = found.as_ref().filter(|_| possible).map(|(_, hash)| hash.as_str());
        let asked = if text.len() <= 512 { password } else { &SecretString::default() };
        let verdict = self.0.passwords.verify(asked, stored).await?;
        let (Verdict::Right { outdated }, Some((user, stored))) = (verdict, found) else {
            return Err(AuthError::Credentials);
        };
        if outdated {
            let hash = self.0.passwords.hash(password).await?;
            self.0.store.users().rehash(user.id, &stored, &hash).await?;
        }
        Ok(user)
    }

    fn welcome(&self, user: User) -> Result<Login, AuthError> {
        let (token, expires_at) = self.0.tokens.issue(&user, self.0.clock.now())?;
        Ok(Login { token: SecretString::from(token), expires_at, user })
    }

    async fn look_up(&self, id: UserId, now: Millis) -> Result<Option<User>, AuthError> {
        let user = self.0.store.users().get(id).await?;
        if let Some(user) = &user {
            self.0.known.remember(user.clone(), now);
        }
        Ok(user)
    }
}

impl Inner {
    fn first_password_file(&self) -> PathBuf {
        self.data_dir.join("first-password")
    }

    /// The printed password has been exchanged: its file has nothing left to say.
    fn drop_first_password(&self) {
        let file = self.first_password_file();
        if file.exists()
            && let Err(error) = std::fs::remove_file(&file)
        {
            tracing::warn!(file = %file.display(), %error, "the used first password could not be deleted");
        }
    }
}

fn check_username(username: &str) -> Result<(), AuthError> {
    let sound = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '@' | '+');
    let length = username.chars().count();
    if (1..=64).contains(&length) && username.chars().all(sound) { Ok(()) } else { Err(AuthError::Username) }
}
