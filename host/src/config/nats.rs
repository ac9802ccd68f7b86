//! NATS JetStream, for endpoints with a `nats:` address.

use std::path::PathBuf;

use secrecy::SecretString;
use url::Url;

use super::value::list;
use super::{ConfigError, Setting, Values};

/// NATS JetStream, for endpoints with a `nats:` address.
#[derive(Clone, Debug)]
pub struct NatsConfig {
    /// The servers; none for no NATS. `NATS_URL`.
    pub servers: Vec<Url>,
    /// User and password, when the first server's address has them.
    pub login: Option<(String, SecretString)>,
    /// A file with credentials. `NATS_CREDENTIALS`.
    pub credentials: Option<PathBuf>,
    /// What every subject begins with. `NATS_SUBJECT`, default `wagate`.
    pub subject: String,
}

impl NatsConfig {
    pub(super) fn read(values: &Values) -> Result<Self, ConfigError> {
        let mut servers = values.optional(&URL, |text| list(text, server))?.unwrap_or_default();
        if !servers.is_empty() && !cfg!(feature = "nats") {
            let reason = "this wagate was built without NATS; build it with `--features nats`, or leave this unset";
            return Err(values.refuse(&URL, reason));
        }
        let login = servers.first().filter(|server| !server.username().is_empty()).map(|server| {
            let text = |part: &str| percent_encoding::percent_decode_str(part).decode_utf8_lossy().into_owned();
            (text(server.username()), SecretString::from(text(server.password().unwrap_or_default())))
        });
        for server in &mut servers {
            // An address with a host, which these have, takes both.
            let _plain = (server.set_username(""), server.set_password(None));
        }
        let credentials = values.optional(&CREDENTIALS, |text| Some(PathBuf::from(text)))?;
        Ok(Self { servers, login, credentials, subject: values.required(&SUBJECT, subject)? })
    }
}

fn server(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    (matches!(url.scheme(), "nats" | "tls") && url.has_host()).then_some(url)
}

/// Words with dots between them, which NATS takes for nothing else.
fn subject(text: &str) -> Option<String> {
    let sound = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    let word = |word: &str| !word.is_empty() && word.bytes().all(sound);
    (text.len() <= 128 && text.split('.').all(word)).then(|| text.to_owned())
}

pub(super) const SETTINGS: &[&Setting] = &[&URL, &CREDENTIALS, &SUBJECT];

static URL: Setting = Setting::new(
    "nats.url",
    "NATS_URL",
    "addresses such as nats://user:password@nats:4222 or tls://nats:4222, separated by commas",
    "NATS servers with JetStream, for endpoints with an address such as nats:orders. Needs a build with the feature nats.",
)
.sample("nats://nats:4222")
.secret();

static CREDENTIALS: Setting = Setting::new(
    "nats.credentials",
    "NATS_CREDENTIALS",
    "a file",
    "File with the credentials for NATS (a .creds file), where user and password in NATS_URL are not used.",
)
.sample("/etc/wagate/nats.creds");

static SUBJECT: Setting = Setting::new(
    "nats.subject",
    "NATS_SUBJECT",
    "words of letters, digits, - and _ with dots between them",
    "What every subject begins with: nats:orders on session 42 publishes to wagate.42.orders.",
)
.default("wagate");

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::super::Sources;
    use super::*;

    fn read(pairs: &[(&'static str, &str)]) -> Result<NatsConfig, ConfigError> {
        let mut sources = Sources::default();
        for (key, value) in pairs {
            sources.set(key, *value);
        }
        NatsConfig::read(&Values::resolve(&sources)?)
    }

    #[cfg(feature = "nats")]
    #[test]
    fn addresses_lose_their_login() {
        let config = read(&[("nats.url", "nats://ann:p%40ss@one:4222, tls://two")]).unwrap();
        assert_eq!(config.servers.iter().map(Url::as_str).collect::<Vec<_>>(), ["nats://one:4222", "tls://two"]);
        let (user, password) = config.login.unwrap();
        assert_eq!((user.as_str(), password.expose_secret()), ("ann", "p@ss"));
    }

    #[cfg(not(feature = "nats"))]
    #[test]
    fn a_build_without_nats_says_so() {
        let refused = read(&[("nats.url", "nats://one:4222")]).unwrap_err().to_string();
        assert!(refused.contains("built without NATS"), "{refused}");
    }

    #[test]
    fn what_nats_could_not_take_is_refused() {
        assert!(read(&[]).unwrap().servers.is_empty());
        for (key, value) in [
            ("nats.url", "http://one"),
            ("nats.url", "nats:one"),
            ("nats.subject", "a..b"),
            ("nats.subject", "a.>"),
            ("nats.subject", ""),
        ] {
            assert!(read(&[(key, value)]).is_err(), "{key} = {value}");
        }
    }
}
