//! A file that gets its name only when it is whole.
//!
//! It is written beside its place, as `NAME.part`, and renamed when it and its folder are on disk. Dropped before, it
//! goes away.

use std::fs::{OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::fs::File;

use super::BackupError;

/// A file under way.
#[derive(Debug)]
pub(super) struct Draft {
    part: PathBuf,
    to: PathBuf,
    published: bool,
}

impl Draft {
    /// An empty file, readable by its owner only, for a place where nothing is.
    pub(super) fn begin(to: &Path) -> Result<Self, BackupError> {
        if to.symlink_metadata().is_ok() {
            return Err(BackupError::Exists(to.display().to_string()));
        }
        Self::replacing(to)
    }

    /// The same for a place where something may be.
    pub(super) fn replacing(to: &Path) -> Result<Self, BackupError> {
        let to = std::path::absolute(to).map_err(|error| BackupError::file(to, &error))?;
        let mut part = to.clone().into_os_string();
        part.push(".part");
        let part = PathBuf::from(part);
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part);
        made.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => {
                let reason =
                    "exists: another backup is being written there, or one was cut off; in that case remove it";
                BackupError::file(&part, &reason)
            }
            _ => BackupError::file(&part, &error),
        })?;
        Ok(Self { part, to, published: false })
    }

    /// Where it is written.
    pub(super) fn path(&self) -> &Path {
        &self.part
    }

    /// Makes it durable and gives it its name.
    pub(super) async fn publish(mut self) -> Result<(), BackupError> {
        // A copy has the permissions of what it was made from.
        let closed = tokio::fs::set_permissions(&self.part, Permissions::from_mode(0o600)).await;
        closed.map_err(|error| BackupError::file(&self.part, &error))?;
        sync(&self.part).await.map_err(|error| BackupError::file(&self.part, &error))?;
        let named = async {
            tokio::fs::rename(&self.part, &self.to).await?;
            sync(self.to.parent().unwrap_or(Path::new("/"))).await
        };
        named.await.map_err(|error| BackupError::file(&self.to, &error))?;
        self.published = true;
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.published {
            // What cannot be removed says by its name that it is not whole.
            let _left = std::fs::remove_file(&self.part);
        }
    }
}

/// Waits until a file or a folder is on disk.
pub(super) async fn sync(path: &Path) -> io::Result<()> {
    File::open(path).await?.sync_all().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn gets_its_name_when_published_and_leaves_nothing_otherwise() {
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().join("backup");
        drop(Draft::begin(&to).unwrap());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);

        let draft = Draft::begin(&to).unwrap();
        assert!(matches!(Draft::begin(&to), Err(BackupError::File { .. })), "two write the same file");
        std::fs::write(draft.path(), "whole").unwrap();
        std::fs::set_permissions(draft.path(), Permissions::from_mode(0o644)).unwrap();
        assert!(!to.exists());
        draft.publish().await.unwrap();
        assert_eq!(std::fs::read(&to).unwrap(), b"whole");
        assert_eq!(std::fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(Draft::begin(&to), Err(BackupError::Exists(_))));
    }
}
