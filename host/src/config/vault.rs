//! Sealing secrets at rest.

use std::path::{Path, PathBuf};

use secrecy::SecretString;

use super::value::secret;
use super::{ConfigError, Setting, Values};

/// Sealing secrets at rest.
#[derive(Clone, Debug)]
pub struct VaultConfig {
    /// The master key, 32 bytes as base64. `MASTER_KEY`; else the file below, made at first start.
    pub master_key: Option<SecretString>,
    /// Where the master key lies when not given: `DATA_DIR/master.key`, mode 0600.
    pub key_file: PathBuf,
}

impl VaultConfig {
    pub(super) fn read(values: &Values, data_dir: &Path) -> Result<Self, ConfigError> {
        Ok(Self { master_key: values.optional(&MASTER_KEY, secret)?, key_file: data_dir.join("master.key") })
    }
}

pub(super) const SETTINGS: &[&Setting] = &[&MASTER_KEY];

static MASTER_KEY: Setting = Setting::new(
    "vault.master_key",
    "MASTER_KEY",
    "32 bytes as base64, for example from `openssl rand -base64 32`",
    "Key that secrets in the database are sealed with. Made at first start as master.key in the data folder when not set.",
)
.secret();
