//! Values as found, before they are typed, and the readers that type them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use super::{Origin, Setting, Sources, settings};

/// Why the gateway does not know what it was told.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A value that cannot be.
    #[error("{key} is {shown} ({origin}): {reason}")]
    Refused {
        /// The setting.
        key: &'static str,
        /// The value in quotes; masked when it is a secret.
        shown: String,
        /// Where it was found.
        origin: Origin,
        /// What is wrong, and what was expected.
        reason: String,
    },
    /// The file sets something that does not exist.
    #[error("{path}: {key} is no setting{}", hint.map(|hint| format!("; did you mean {hint}?")).unwrap_or_default())]
    UnknownKey {
        /// The file.
        path: String,
        /// The key in it.
        key: String,
        /// The setting that was probably meant.
        hint: Option<&'static str>,
    },
    /// A file that was named cannot be read.
    #[error("the file {path} cannot be read: {source}")]
    Unreadable {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is no TOML.
    #[error("the file {path} is not valid TOML: {reason}")]
    Syntax {
        /// The file.
        path: String,
        /// Where and why.
        reason: String,
    },
    /// A secret was given twice.
    #[error("{0} and {0}_FILE are both set; keep one of them")]
    Twice(&'static str),
    /// An environment variable is not text.
    #[error("the environment variable {0} is not valid UTF-8")]
    NotUnicode(String),
}

/// The value of one setting, and where it was found.
#[derive(Clone, Debug)]
pub struct Value {
    /// The setting.
    pub setting: &'static Setting,
    /// Where its value was found.
    pub origin: Origin,
    text: Option<SecretString>,
}

impl Value {
    /// The value for a reader: masked when it is a secret, `-` when it is not set.
    pub fn shown(&self) -> &str {
        match &self.text {
            Some(_) if self.setting.secret => "********",
            Some(text) => text.expose_secret(),
            None => "-",
        }
    }
}

/// The value of every setting.
#[derive(Clone, Debug)]
pub struct Values(BTreeMap<&'static str, Value>);

impl Values {
    /// Looks every setting up: flag, environment, file named by the environment, settings file, default.
    pub fn resolve(sources: &Sources) -> Result<Self, ConfigError> {
        let file = sources.read_file()?;
        settings().map(|setting| Ok((setting.key, find(setting, sources, &file)?))).collect::<Result<_, _>>().map(Self)
    }

    /// Every value, in the order of [`settings`].
    pub fn iter(&self) -> impl Iterator<Item = &Value> {
        settings().filter_map(|setting| self.0.get(setting.key))
    }

    /// The typed value of a setting that has a default.
    pub(super) fn required<T>(
        &self,
        setting: &'static Setting,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<T, ConfigError> {
        self.optional(setting, read)?.ok_or_else(|| self.refuse(setting, format!("expected {}", setting.expects)))
    }

    /// The typed value of a setting that may be unset.
    pub(super) fn optional<T>(
        &self,
        setting: &'static Setting,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, ConfigError> {
        let Some(text) = self.0.get(setting.key).and_then(|value| value.text.as_ref()) else { return Ok(None) };
        match read(text.expose_secret().trim()) {
            Some(typed) => Ok(Some(typed)),
            None => Err(self.refuse(setting, format!("expected {}", setting.expects))),
        }
    }

    /// The error for a value that could be read but cannot be used.
    pub(super) fn refuse(&self, setting: &'static Setting, reason: impl Into<String>) -> ConfigError {
        let value = self.0.get(setting.key);
        let shown = value.map_or("-", Value::shown);
        ConfigError::Refused {
            key: setting.key,
            shown: if setting.secret { shown.to_owned() } else { format!("{shown:?}") },
            origin: value.map_or(Origin::Default, |value| value.origin.clone()),
            reason: reason.into(),
        }
    }
}

fn find(setting: &'static Setting, sources: &Sources, file: &BTreeMap<String, String>) -> Result<Value, ConfigError> {
    let named = |name: &str| sources.environment.get(name).filter(|text| !text.is_empty());
    let secret_file = setting.file_env().and_then(|env| named(&env).map(|path| (env, PathBuf::from(path))));
    let (origin, text) = if let Some(text) = sources.flags.get(setting.key) {
        (Origin::Flag(setting.flag().unwrap_or_default()), Some(text.clone()))
    } else if let Some(text) = named(setting.env) {
        if secret_file.is_some() {
            return Err(ConfigError::Twice(setting.env));
        }
        (Origin::Environment(setting.env), Some(text.clone()))
    } else if let Some((env, path)) = secret_file {
        let text = std::fs::read_to_string(&path)
            .map_err(|source| ConfigError::Unreadable { path: path.display().to_string(), source })?;
        (Origin::SecretFile { env, path }, Some(text.trim_end().to_owned()))
    } else if let (Some(text), Some(path)) = (file.get(setting.key), &sources.file) {
        (Origin::File { path: path.clone(), key: setting.key }, Some(text.clone()))
    } else {
        (Origin::Default, setting.default.map(str::to_owned))
    };
    Ok(Value { setting, origin, text: text.map(SecretString::from) })
}

/// Anything with a text form.
pub(super) fn parsed<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

/// A number from 1.
pub(super) fn count(text: &str) -> Option<usize> {
    text.parse().ok().filter(|count| *count > 0)
}

/// Any text but none.
pub(super) fn words(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// A folder that need not exist yet.
pub(super) fn folder(text: &str) -> Option<PathBuf> {
    words(text).map(PathBuf::from)
}

/// A text to be kept to oneself.
pub(super) fn secret(text: &str) -> Option<SecretString> {
    words(text).map(SecretString::from)
}

/// `500ms`, `15s`, `2m`, `12h` or `3d`; longer than nothing.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let (count, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let count: u64 = count.parse().ok().filter(|count| *count > 0)?;
    let unit = match unit {
        "ms" => return Some(Duration::from_millis(count)),
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    count.checked_mul(unit).map(Duration::from_secs)
}

/// Texts separated by commas, each read by `one`.
pub(super) fn list<T>(text: &str, one: impl Fn(&str) -> Option<T>) -> Option<Vec<T>> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(one).collect()
}
