//! Where values come from: the command line, the environment, the settings file.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::{ConfigError, settings};

/// The environment name of the settings file, the same as `--config`.
const CONFIG_ENV: &str = "WAGATE_CONFIG";

/// Everything values may come from. Empty means: defaults only. Tests fill it by hand.
///
/// Holds secrets as they were given, so it has no `Debug`.
#[derive(Clone, Default)]
pub struct Sources {
    /// From the command line: setting key to text.
    pub flags: BTreeMap<String, String>,
    /// From the environment: name to text. An empty text counts as not set, which is how compose files pass it on.
    pub environment: BTreeMap<String, String>,
    /// The settings file, when there is one. It must exist.
    pub file: Option<PathBuf>,
}

impl Sources {
    /// The sources of this process: these flags, this file or the one `WAGATE_CONFIG` names, and the environment.
    pub fn of_process(flags: BTreeMap<String, String>, file: Option<PathBuf>) -> Result<Self, ConfigError> {
        let mut sources = Self { flags, environment: BTreeMap::new(), file };
        for name in settings().flat_map(|setting| [Some(setting.env.to_owned()), setting.file_env()]).flatten() {
            if let Some(text) = environment(&name)? {
                sources.environment.insert(name, text);
            }
        }
        if sources.file.is_none() {
            sources.file = environment(CONFIG_ENV)?.map(PathBuf::from);
        }
        Ok(sources)
    }

    /// Sets a value by its key, with the precedence of a flag.
    pub fn set(&mut self, key: &str, text: impl Into<String>) {
        self.flags.insert(key.to_owned(), text.into());
    }

    /// The settings file as flat keys; empty without a file. Keys that are no settings are refused.
    pub(super) fn read_file(&self) -> Result<BTreeMap<String, String>, ConfigError> {
        let Some(path) = &self.file else { return Ok(BTreeMap::new()) };
        let shown = path.display().to_string();
        let text =
            std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable { path: shown.clone(), source })?;
        let table: toml::Table = text
            .parse()
            .map_err(|error: toml::de::Error| ConfigError::Syntax { path: shown.clone(), reason: error.to_string() })?;
        let mut keys = BTreeMap::new();
        flatten("", table, &mut keys);
        match keys.keys().find(|key| !settings().any(|setting| setting.key == key.as_str())) {
            Some(key) => Err(ConfigError::UnknownKey { path: shown, key: key.clone(), hint: nearest(key) }),
            None => Ok(keys),
        }
    }
}

/// A variable of the process environment; `None` when it is not set or empty.
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
pub fn environment(name: &str) -> Result<Option<String>, ConfigError> {
    match std::env::var(name) {
        Ok(text) => Ok(Some(text).filter(|text| !text.is_empty())),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => Err(ConfigError::NotUnicode(name.to_owned())),
    }
}

/// Where a value was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// `--port`.
    Flag(String),
    /// `PORT`.
    Environment(&'static str),
    /// A file of its own, named by `JWT_SECRET_FILE`.
    SecretFile {
        /// The variable.
        env: String,
        /// The file.
        path: PathBuf,
    },
    /// The settings file, at this key.
    File {
        /// The file.
        path: PathBuf,
        /// `http.port`.
        key: &'static str,
    },
    /// Nobody set it.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |path: &Path| path.display().to_string();
        match self {
            Self::Flag(flag) => write!(f, "flag --{flag}"),
            Self::Environment(env) => write!(f, "environment {env}"),
            Self::SecretFile { env, path } => write!(f, "file {} named by {env}", name(path)),
            Self::File { path, key } => write!(f, "file {}: {key}", name(path)),
            Self::Default => f.write_str("default"),
        }
    }
}

/// Brings nested tables to dotted keys, and every value to the text a flag would have.
fn flatten(prefix: &str, table: toml::Table, into: &mut BTreeMap<String, String>) {
    for (name, value) in table {
        let key = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
        match value {
            toml::Value::Table(inner) => flatten(&key, inner, into),
            toml::Value::Array(items) => {
                into.insert(key, items.into_iter().map(text).collect::<Vec<_>>().join(","));
            }
            plain => {
                into.insert(key, text(plain));
            }
        }
    }
}

fn text(value: toml::Value) -> String {
    match value {
        toml::Value::String(text) => text,
        other => other.to_string(),
    }
}

/// The setting a mistyped key was probably meant to be.
fn nearest(key: &str) -> Option<&'static str> {
    let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    let likeness = |known: &str| strsim::jaro_winkler(key, known).max(strsim::jaro_winkler(&last(key), &last(known)));
    let (likeness, known) = settings()
        .map(|setting| (likeness(setting.key), setting.key))
        .reduce(|best, next| if next.0 > best.0 { next } else { best })?;
    (likeness > 0.8).then_some(known)
}
