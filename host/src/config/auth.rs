//! Logging in.

use std::time::Duration;

use secrecy::SecretString;

use super::value::{duration, secret};
use super::{ConfigError, Setting, Values};

/// Logging in.
#[derive(Clone, Debug)]
pub struct AuthConfig {
    /// The key tokens are signed with, at least 32 bytes (`auth` checks). `JWT_SECRET`; made at first start when not given.
    pub jwt_secret: Option<SecretString>,
    /// How long a token is good for. Default 12 h.
    pub token_lifetime: Duration,
    /// The first administrator's password. `ADMIN_PASSWORD`; a one-time password is printed when not given.
    pub admin_password: Option<SecretString>,
}

impl AuthConfig {
    pub(super) fn read(values: &Values) -> Result<Self, ConfigError> {
        Ok(Self {
            jwt_secret: values.optional(&JWT_SECRET, secret)?,
            token_lifetime: values.required(&TOKEN_LIFETIME, duration)?,
            admin_password: values.optional(&ADMIN_PASSWORD, secret)?,
        })
    }
}

pub(super) const SETTINGS: &[&Setting] = &[&JWT_SECRET, &TOKEN_LIFETIME, &ADMIN_PASSWORD];

static JWT_SECRET: Setting = Setting::new(
    "auth.jwt_secret",
    "JWT_SECRET",
    "at least 32 bytes, for example from `openssl rand -base64 32`",
    "Key that login tokens are signed with. Made at first start and kept in the data folder when not set.",
)
.secret();

static TOKEN_LIFETIME: Setting =
    Setting::new("auth.token_lifetime", "TOKEN_LIFETIME", "a time such as 12h", "How long a login token is good for.")
        .default("12h");

static ADMIN_PASSWORD: Setting = Setting::new(
    "auth.admin_password",
    "ADMIN_PASSWORD",
    "at least 8 characters",
    "Password of the first administrator, `admin`. A one-time password is printed at first start when not set.",
)
.secret();
