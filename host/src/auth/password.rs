//! Passwords: what may be one, and hashing on the blocking pool with a bounded queue.
//!
//! Argon2id with m = 19,456 KiB, t = 2, p = 1 (OWASP Password Storage Cheat Sheet), kept as PHC strings, so that
//! parameters can be raised later: a login with an outdated hash answers [`Verdict::Right`] with `outdated`.
//!
//! Invariant: a try for a user who does not exist costs the same as one for a user who does.

use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Semaphore;

/// Memory in KiB, passes, lanes.
const COST: (u32, u32, u32) = (19_456, 2, 1);
/// Hashes that may wait for a core; more are turned away.
const QUEUE: usize = 64;

/// Why a text may not be a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordFault {
    /// Too few characters.
    #[error("a password has at least 8 characters; 15 or more are better")]
    TooShort,
    /// Too many characters.
    #[error("a password has at most 128 characters")]
    TooLong,
    /// Among the first that attackers try.
    #[error("this password is among the first that attackers try; choose another")]
    Common,
    /// Holds the user's name.
    #[error("a password must not contain the username")]
    HoldsUsername,
}

/// What a hash says about a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Wrong,
    Right { outdated: bool },
}

/// Why a hash was not computed.
#[derive(Debug, thiserror::Error)]
pub(super) enum HashError {
    #[error("too many logins at once")]
    Busy,
    #[error("the password could not be hashed: {0}")]
    Failed(String),
}

/// Hashes and compares passwords, as many at once as there are cores.
pub(super) struct Passwords {
    cores: Arc<Semaphore>,
    queue: Arc<Semaphore>,
    /// What a password of an unknown user is compared with.
    dummy: String,
}

impl Passwords {
    pub(super) fn new() -> Result<Self, HashError> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            cores: Arc::new(Semaphore::new(cores)),
            queue: Arc::new(Semaphore::new(cores + QUEUE)),
            dummy: hash(&uuid::Uuid::new_v4().to_string())?,
        })
    }

    /// The PHC string of a password.
    pub(super) async fn hash(&self, password: &SecretString) -> Result<String, HashError> {
        let password = password.clone();
        self.run(move || hash(password.expose_secret())).await?
    }

    /// Compares a password with a stored hash; without one, takes as long and answers [`Verdict::Wrong`].
    pub(super) async fn verify(&self, password: &SecretString, stored: Option<&str>) -> Result<Verdict, HashError> {
        let known = stored.is_some();
        let against = stored.unwrap_or(&self.dummy).to_owned();
        let password = password.clone();
        let verdict = self.run(move || verify(password.expose_secret(), &against)).await??;
        Ok(if known { verdict } else { Verdict::Wrong })
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, HashError> {
        let place = Arc::clone(&self.queue).try_acquire_owned().map_err(|_| HashError::Busy)?;
        let core = Arc::clone(&self.cores).acquire_owned().await.map_err(|_| HashError::Busy)?;
        // The permits go with the work: a client that hangs up must not free a core that is still hashing.
        let done = tokio::task::spawn_blocking(move || {
            let result = work();
            drop((core, place));
            result
        });
        done.await.map_err(|error| HashError::Failed(error.to_string()))
    }
}

/// Whether a text may be this user's password.
pub(super) fn check(password: &str, username: &str) -> Result<(), PasswordFault> {
    let characters = password.chars().count();
    if characters < 8 {
        return Err(PasswordFault::TooShort);
    }
    if characters > 128 || password.len() > 512 {
        return Err(PasswordFault::TooLong);
    }
    let folded = password.to_lowercase();
    if COMMON.contains(&folded.as_str()) || is_one_character(&folded) {
        return Err(PasswordFault::Common);
    }
    if username.len() >= 4 && folded.contains(&username.to_lowercase()) {
        return Err(PasswordFault::HoldsUsername);
    }
    Ok(())
}

fn is_one_character(text: &str) -> bool {
    let mut characters = text.chars();
    let first = characters.next();
    characters.all(|c| Some(c) == first)
}

fn argon2() -> Result<Argon2<'static>, HashError> {
    let (memory, passes, lanes) = COST;
    let params = Params::new(memory, passes, lanes, None).map_err(|error| HashError::Failed(error.to_string()))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn hash(password: &str) -> Result<String, HashError> {
    let hashed = argon2()?.hash_password(password.as_bytes());
    hashed.map(|hash| hash.to_string()).map_err(|error| HashError::Failed(error.to_string()))
}

fn verify(password: &str, stored: &str) -> Result<Verdict, HashError> {
    let unreadable = |error: argon2::password_hash::phc::Error| HashError::Failed(error.to_string());
    let stored = PasswordHash::new(stored).map_err(unreadable)?;
    if argon2()?.verify_password(password.as_bytes(), &stored).is_err() {
        return Ok(Verdict::Wrong);
    }
    Ok(Verdict::Right { outdated: is_outdated(&stored) })
}

fn is_outdated(stored: &PasswordHash) -> bool {
    let cost = Params::try_from(stored).map(|params| (params.m_cost(), params.t_cost(), params.p_cost()));
    stored.algorithm.as_str() != "argon2id" || cost.ok() != Some(COST)
}

/// Of the most used passwords in published leaks, those of eight characters or more.
const COMMON: [&str; 48] = [
    "00000000",
    "11223344",
    "123123123",
    "12341234",
    "12344321",
    "12345678",
    "123456789",
    "1234567890",
    "1234qwer",
    "147258369",
    "1q2w3e4r",
    "1q2w3e4r5t",
    "1qaz2wsx",
    "87654321",
    "987654321",
    "9876543210",
    "a1234567",
    "aa123456",
    "abc12345",
    "abcd1234",
    "abcdefgh",
    "admin123",
    "admin1234",
    "administrator",
    "asdfasdf",
    "asdfghjkl",
    "baseball",
    "changeme",
    "changeme123",
    "computer",
    "football",
    "iloveyou",
    "internet",
    "letmein123",
    "password",
    "password1",
    "password12",
    "password123",
    "password1234",
    "princess",
    "q1w2e3r4",
    "qwer1234",
    "qwerty123",
    "qwertyuiop",
    "sunshine",
    "superman",
    "trustno1",
    "welcome123",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> SecretString {
        SecretString::from(text)
    }

    #[tokio::test]
    async fn knows_the_right_password_from_a_wrong_one() {
        let passwords = Passwords::new().unwrap();
        let stored = passwords.hash(&secret("correct horse")).await.unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
        let right = passwords.verify(&secret("correct horse"), Some(&stored)).await.unwrap();
        assert_eq!(right, Verdict::Right { outdated: false });
        assert_eq!(passwords.verify(&secret("correct house"), Some(&stored)).await.unwrap(), Verdict::Wrong);
        assert_eq!(passwords.verify(&secret("correct horse"), None).await.unwrap(), Verdict::Wrong);
    }

    #[tokio::test]
    async fn notices_a_hash_made_with_other_parameters() {
        let weak = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(8192, 1, 1, None).unwrap());
        let stored = weak.hash_password(b"correct horse").unwrap().to_string();
        let verdict = Passwords::new().unwrap().verify(&secret("correct horse"), Some(&stored)).await.unwrap();
        assert_eq!(verdict, Verdict::Right { outdated: true });
    }

    #[tokio::test]
    async fn refuses_at_once_when_too_many_wait() {
        let passwords = Passwords::new().unwrap();
        let all = u32::try_from(passwords.queue.available_permits()).unwrap();
        let held = passwords.queue.try_acquire_many(all).unwrap();
        assert!(matches!(passwords.hash(&secret("correct horse")).await, Err(HashError::Busy)));
        drop(held);
        assert!(passwords.hash(&secret("correct horse")).await.is_ok());
    }

    #[test]
    fn refuses_weak_passwords() {
        let table = [
            ("short", Err(PasswordFault::TooShort)),
            ("Password123", Err(PasswordFault::Common)),
            ("aaaaaaaaaaaa", Err(PasswordFault::Common)),
            ("my-anastasia-pw", Err(PasswordFault::HoldsUsername)),
            ("correct horse", Ok(())),
            ("пароль-подлиннее", Ok(())),
        ];
        for (password, decision) in table {
            assert_eq!(check(password, "Anastasia"), decision, "{password}");
        }
        assert_eq!(check(&"ab".repeat(65), "ana"), Err(PasswordFault::TooLong));
    }

    #[test]
    fn the_common_passwords_are_sorted_and_long_enough_to_matter() {
        assert!(COMMON.is_sorted());
        assert!(COMMON.iter().all(|password| password.len() >= 8));
    }
}
