//! Compiled code of `plugins/dist`, handed from one gateway's cache to the next.
//!
//! The script engine takes seconds to compile, and most tests begin with an empty folder. What a gateway compiled itself
//! is kept beside the test programs and lent to others as their own cache would hold it: they check it as they check
//! that, and what does not suit them they compile again.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

use crate::process::target_dir;

/// Puts what is kept into the cache of the gateway that is to start on `data`.
pub fn lend(data: &Path) -> Result<()> {
    let cache = data.join("plugins");
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&cache)?;
    hand_over(&kept()?, &cache)
}

/// Keeps what the gateway on `data` has compiled. What cannot be kept is compiled again.
pub fn keep(data: &Path) {
    let handed = || {
        let kept = kept()?;
        fs::create_dir_all(&kept)?;
        hand_over(&data.join("plugins"), &kept)
    };
    if let Err(error) = handed() {
        tracing::warn!(%error, "compiled code is not kept");
    }
}

fn kept() -> Result<PathBuf> {
    Ok(target_dir()?.join("compiled"))
}

/// Copies code of `plugins/dist` that is not there yet, with the digest beside it; whole or not at all.
fn hand_over(from: &Path, to: &Path) -> Result<()> {
    let Ok(entries) = fs::read_dir(from) else { return Ok(()) };
    for entry in entries {
        let code = entry?.path();
        let name = code.file_name().context("no name")?.to_string_lossy().into_owned();
        let is_code = code.extension().is_some_and(|extension| extension == "cwasm");
        let ours = is_code && components()?.iter().any(|sha256| name.starts_with(sha256));
        if ours && !to.join(&name).exists() {
            for file in [code.with_extension("sum"), code] {
                copy(&file, to)?;
            }
        }
    }
    Ok(())
}

fn copy(file: &Path, to: &Path) -> Result<()> {
    let part = tempfile::NamedTempFile::new_in(to)?;
    fs::copy(file, part.path())?;
    fs::set_permissions(part.path(), fs::Permissions::from_mode(0o600))?;
    part.persist(to.join(file.file_name().context("no name")?))?;
    Ok(())
}

/// The digests of `plugins/dist`, as the cache names them.
fn components() -> Result<&'static [String]> {
    static COMPONENTS: OnceLock<Vec<String>> = OnceLock::new();
    if let Some(known) = COMPONENTS.get() {
        return Ok(known);
    }
    let mut digests = Vec::new();
    for entry in fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../plugins/dist"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "wasm") {
            let digest = Sha256::digest(fs::read(path)?);
            digests.push(
                digest.iter().try_fold(String::new(), |mut text, byte| write!(text, "{byte:02x}").map(|()| text))?,
            );
        }
    }
    Ok(COMPONENTS.get_or_init(|| digests))
}
