//! Where master keys come from: a file made at first start, the environment, or a program that prints one.
//!
//! Invariant: a key that may have sealed something is never overwritten: it stands in the list of old keys, on the disk,
//! before another takes its place.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use secrecy::ExposeSecret as _;
use zeroize::Zeroizing;

use super::command;
use super::keyring::{KeyId, Keyring, MasterKey};
use crate::config::VaultConfig;

/// Permissions that somebody else would have.
const OTHERS: u32 = 0o077;

/// Why there is no vault.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// A key is not 32 bytes of base64.
    #[error("the master key in {0} is not 32 bytes of base64")]
    Malformed(String),
    /// A key file could not be read or written.
    #[error("the master key file {path}: {reason}")]
    File {
        /// The file.
        path: String,
        /// What the system said.
        reason: String,
    },
    /// A key file can be read by others.
    #[error("the master key file {path} is open to others (mode {mode:03o}); run: chmod 600 {path}")]
    Exposed {
        /// The file.
        path: String,
        /// Its permissions.
        mode: u32,
    },
    /// The master key has two sources.
    #[error(
        "{setting} is set and there is the master key file {path} too; keep one of them: unset {setting}, or move the \
         file away (what its key has sealed opens while the key is in MASTER_KEYS_OLD)"
    )]
    Twice {
        /// The setting.
        setting: &'static str,
        /// The file.
        path: String,
    },
    /// The program that prints the master key failed.
    #[error("MASTER_KEY_COMMAND ({program}) gave no master key: {reason}")]
    Command {
        /// The program.
        program: String,
        /// How it failed.
        reason: String,
    },
    /// The master key is not in a file that could be replaced.
    #[error(
        "the master key comes from {0}, not from a file that this command could change; put the present key into \
         MASTER_KEYS_OLD and another, for example from `openssl rand -base64 32`, in its place, restart the gateway, \
         then run: wagate vault rotate"
    )]
    NotInFile(&'static str),
    /// There is no master key yet, or no longer.
    #[error("there is no master key file {0}; the first start makes one, a lost one must be put back")]
    Missing(String),
    /// Somebody else's file.
    #[error("the master key file {path} belongs to the user {owner}; run this as that user")]
    Foreign {
        /// The file.
        path: String,
        /// The number of the user.
        owner: u32,
    },
    /// Two change the master key at the same time, or one was interrupted.
    #[error(
        "{0} is there: another `wagate vault new-key` is at work, or one was interrupted; in the latter case delete the \
         file, nothing is sealed under the key in it"
    )]
    AtWork(String),
}

impl VaultError {
    fn file(path: &Path, error: &io::Error) -> Self {
        Self::File { path: path.display().to_string(), reason: error.to_string() }
    }
}

/// The keys as they were found.
pub(super) struct Found {
    pub(super) ring: Keyring,
    /// The current key, when it was made just now.
    pub(super) unwritten: Option<Unwritten>,
}

/// A key that was made, and the file it belongs into.
pub(super) struct Unwritten {
    path: PathBuf,
    text: Zeroizing<String>,
}

impl Unwritten {
    /// The error for whoever cannot do with a key that was made.
    pub(super) fn missing(&self) -> VaultError {
        VaultError::Missing(self.path.display().to_string())
    }

    /// Writes the file, with its directory when that is missing (modes 0600 and 0700).
    pub(super) fn write(&self) -> Result<(), VaultError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(directory(&self.path));
        let written = made.and_then(|()| write_new(&self.path, &self.text)).and_then(|()| sync_directory(&self.path));
        written.map_err(|error| VaultError::file(&self.path, &error))?;
        tracing::info!(path = %self.path.display(), "made the master key; keep a copy apart from the database");
        Ok(())
    }
}

/// Reads the keys from where the settings say. Makes one when it is to lie in a file and the file is not there.
pub(super) async fn read(config: &VaultConfig) -> Result<Found, VaultError> {
    let old = old_keys(config)?;
    let (current, unwritten) = current(config).await?;
    Ok(Found { ring: Keyring::new(current, old), unwritten })
}

async fn current(config: &VaultConfig) -> Result<(MasterKey, Option<Unwritten>), VaultError> {
    let path = &config.key_file;
    if let Some(setting) = setting(config)
        && path.exists()
    {
        return Err(VaultError::Twice { setting, path: path.display().to_string() });
    }
    if let Some(given) = &config.master_key {
        return Ok((MasterKey::read(given.expose_secret(), "MASTER_KEY".to_owned())?, None));
    }
    if let Some(words) = &config.key_command {
        let printed = command::ask(words).await?;
        return Ok((MasterKey::read(&printed, "the output of MASTER_KEY_COMMAND".to_owned())?, None));
    }
    let origin = path.display().to_string();
    if let Some(text) = secret_file(path)? {
        return Ok((MasterKey::read(&text, origin)?, None));
    }
    let text = MasterKey::generate();
    let key = MasterKey::read(&text, format!("{origin}, which was not there and would be made"))?;
    Ok((key, Some(Unwritten { path: path.clone(), text })))
}

/// The setting that takes the place of the key file.
fn setting(config: &VaultConfig) -> Option<&'static str> {
    match (&config.master_key, &config.key_command) {
        (Some(_), _) => Some("MASTER_KEY"),
        (None, Some(_)) => Some("MASTER_KEY_COMMAND"),
        (None, None) => None,
    }
}

fn old_keys(config: &VaultConfig) -> Result<Vec<MasterKey>, VaultError> {
    let mut keys = Vec::new();
    for (at, key) in config.old_keys.iter().enumerate() {
        keys.push(MasterKey::read(key.expose_secret(), format!("MASTER_KEYS_OLD (key {})", at + 1))?);
    }
    let path = &config.old_keys_file;
    let text = secret_file(path)?.unwrap_or_default();
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        keys.push(MasterKey::read(line, format!("{} (line {})", path.display(), at + 1))?);
    }
    Ok(keys)
}

/// What a change of the master key did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changed {
    /// The key that sealed until now.
    pub from: KeyId,
    /// The key that seals from now on.
    pub to: KeyId,
}

/// Puts a new master key into the key file, and the one in it into the list of old keys. A running gateway takes it up
/// when it is told to rotate, or at its next start.
pub fn new_key(config: &VaultConfig) -> Result<Changed, VaultError> {
    if let Some(setting) = setting(config) {
        return Err(VaultError::NotInFile(setting));
    }
    let path = &config.key_file;
    // Made first, because only one can make it: of two that change the key at once, the other stops here.
    let fresh = beside(path, ".new");
    check_owner(path)?;
    let text = MasterKey::generate();
    let to = MasterKey::read(&text, fresh.display().to_string())?.id();
    write_new(&fresh, &text).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => VaultError::AtWork(fresh.display().to_string()),
        _ => VaultError::file(&fresh, &error),
    })?;
    let replaced = replace(config, &fresh);
    if replaced.is_err() {
        let _nothing_is_sealed_under_it = std::fs::remove_file(&fresh);
    }
    Ok(Changed { from: replaced?, to })
}

/// Moves the present key into the list of old ones and `fresh` into its place. Answers the former.
fn replace(config: &VaultConfig, fresh: &Path) -> Result<KeyId, VaultError> {
    let path = &config.key_file;
    let present = secret_file(path)?.ok_or_else(|| VaultError::Missing(path.display().to_string()))?;
    let from = MasterKey::read(&present, path.display().to_string())?.id();
    // What is in the list must be sound before it is written anew.
    old_keys(config)?;
    let list = &config.old_keys_file;
    let mut lines = secret_file(list)?.unwrap_or_default();
    if !lines.is_empty() && !lines.ends_with('\n') {
        lines.push('\n');
    }
    lines.push_str(present.trim());
    let longer = beside(list, ".new");
    put(&longer, &lines, list).map_err(|error| VaultError::file(list, &error))?;
    let placed = std::fs::rename(fresh, path).and_then(|()| sync_directory(path));
    placed.map_err(|error| VaultError::file(path, &error))?;
    Ok(from)
}

/// A file that only its owner may read; `None` when it is not there.
fn secret_file(path: &Path) -> Result<Option<Zeroizing<String>>, VaultError> {
    let failed = |error: io::Error| VaultError::file(path, &error);
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(failed)?,
    };
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
    if mode & OTHERS != 0 {
        return Err(VaultError::Exposed { path: path.display().to_string(), mode });
    }
    let mut text = Zeroizing::new(String::new());
    file.read_to_string(&mut text).map_err(failed)?;
    Ok(Some(text))
}

/// Refuses to replace somebody else's file: the gateway could not read what stands there afterwards.
fn check_owner(path: &Path) -> Result<(), VaultError> {
    let owner = match path.metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(VaultError::Missing(path.display().to_string()));
        }
        found => found.map_err(|error| VaultError::file(path, &error))?.uid(),
    };
    if owner == rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    Err(VaultError::Foreign { path: path.display().to_string(), owner })
}

/// Writes a file that is not there yet, for its owner only, down to the disk. What could not be written leaves no file.
fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let written = writeln!(file, "{text}").and_then(|()| file.sync_all());
    if written.is_err() {
        let _half_a_key = std::fs::remove_file(path);
    }
    written
}

/// Writes a file whole or not at all, by way of `beside`, which an interrupted call may have left.
fn put(beside: &Path, text: &str, path: &Path) -> io::Result<()> {
    match std::fs::remove_file(beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    write_new(beside, text)?;
    std::fs::rename(beside, path)?;
    sync_directory(path)
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(directory(path))?.sync_all()
}

#[cfg(test)]
mod tests;
