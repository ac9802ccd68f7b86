//! Sealing secrets at rest: where the master keys come from.

use std::path::{Path, PathBuf};

use secrecy::SecretString;

use super::value::secret;
use super::{ConfigError, Setting, Values};

/// Where the master keys come from. The one that seals has exactly one source: the first two exclude each other, and
/// either of them excludes the file.
#[derive(Clone, Debug)]
pub struct VaultConfig {
    /// The master key, 32 bytes as base64. `MASTER_KEY`.
    pub master_key: Option<SecretString>,
    /// A program that prints it, and its arguments. `MASTER_KEY_COMMAND`.
    pub key_command: Option<Vec<String>>,
    /// The file it lies in when neither is given, made at first start: `DATA_DIR/master.key`, mode 0600.
    pub key_file: PathBuf,
    /// Keys that seal no more and still open. `MASTER_KEYS_OLD`.
    pub old_keys: Vec<SecretString>,
    /// More of them, one a line, when the file is there: `DATA_DIR/master.key.old`.
    pub old_keys_file: PathBuf,
}

impl VaultConfig {
    /// The key in this file, made when it is missing, and old ones beside it.
    pub fn in_file(key_file: PathBuf) -> Self {
        let mut old = key_file.clone().into_os_string();
        old.push(".old");
        Self { master_key: None, key_command: None, key_file, old_keys: Vec::new(), old_keys_file: old.into() }
    }

    /// This key; files are looked for nowhere.
    pub fn given(master_key: SecretString) -> Self {
        let nowhere = PathBuf::new();
        let master_key = Some(master_key);
        Self { master_key, key_command: None, key_file: nowhere.clone(), old_keys: Vec::new(), old_keys_file: nowhere }
    }

    pub(super) fn read(values: &Values, data_dir: &Path) -> Result<Self, ConfigError> {
        let master_key = values.optional(&MASTER_KEY, secret)?;
        let key_command = values.optional(&KEY_COMMAND, words)?;
        if master_key.is_some() && key_command.is_some() {
            let other = values.iter().find(|value| value.setting.key == MASTER_KEY.key);
            let other = other.map(|value| value.origin.to_string()).unwrap_or_default();
            let reason = format!("{} is set as well ({other}); keep one of the two", MASTER_KEY.key);
            return Err(values.refuse(&KEY_COMMAND, reason));
        }
        let old_keys = values.optional(&OLD_KEYS, keys)?.unwrap_or_default();
        Ok(Self { master_key, key_command, old_keys, ..Self::in_file(data_dir.join("master.key")) })
    }
}

/// A program and its arguments. Nothing quotes a blank.
fn words(text: &str) -> Option<Vec<String>> {
    let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    (!words.is_empty()).then_some(words)
}

/// Keys with commas or line ends between them.
fn keys(text: &str) -> Option<Vec<SecretString>> {
    let keys = text.split(|c: char| c == ',' || c.is_whitespace()).filter(|key| !key.is_empty());
    let keys: Vec<SecretString> = keys.map(SecretString::from).collect();
    (!keys.is_empty()).then_some(keys)
}

pub(super) const SETTINGS: &[&Setting] = &[&MASTER_KEY, &KEY_COMMAND, &OLD_KEYS];

static MASTER_KEY: Setting = Setting::new(
    "vault.master_key",
    "MASTER_KEY",
    "32 bytes as base64, for example from `openssl rand -base64 32`",
    "Key that secrets in the database are sealed with. Made at first start as master.key in the data folder when not set.",
)
.secret();

static KEY_COMMAND: Setting = Setting::new(
    "vault.key_command",
    "MASTER_KEY_COMMAND",
    "a program and its arguments, separated by blanks",
    "Program that prints the master key, in place of MASTER_KEY. Run without a shell, at start and by `wagate vault rotate`; it has 10 s.",
)
.sample("systemd-creds decrypt /etc/wagate/master.key.cred -");

static OLD_KEYS: Setting = Setting::new(
    "vault.old_keys",
    "MASTER_KEYS_OLD",
    "keys as base64, separated by commas or line ends",
    "Master keys that seal no more and still open, until `wagate vault rotate` has run. Besides those in master.key.old in the data folder.",
)
.secret();
