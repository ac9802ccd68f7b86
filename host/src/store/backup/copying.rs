//! A gateway that runs copies its database file: one copy at a time, beside everything else it does.
//!
//! Copies lie in a folder of their own until somebody takes them away; nothing here deletes a whole one.
//!
//! Invariant: a copy under way is seen as running, and one that was cut off as failed.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use super::BackupError;
use crate::app::tasks::Tasks;
use crate::store::Store;

/// Calls on copies of the database file.
#[derive(Clone, Copy, Debug)]
pub struct Copying<'a>(pub(in crate::store) &'a Store);

/// How far the copy is, or how the last one ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Whether one is under way.
    pub state: State,
    /// Where it is once it is done.
    pub file: Option<PathBuf>,
    /// Why it failed.
    pub error: Option<String>,
}

/// Where a copy stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// None was asked for since the gateway started.
    #[default]
    Idle,
    /// It is under way.
    Running,
    /// It is whole, verified and on disk.
    Done,
    /// There is none.
    Failed,
}

impl Copying<'_> {
    /// How far the copy is, or how the last one ended.
    pub fn progress(self) -> Progress {
        self.0.0.copying.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Begins a copy in this folder, which is made when it is missing; answers before it is done. One of `tasks` makes
    /// it, and leaves off when they stop.
    pub fn start(self, folder: &Path, tasks: &Tasks) -> Result<Progress, BackupError> {
        if self.0.file().is_none() {
            return Err(BackupError::OnServer);
        }
        let folder = std::path::absolute(folder).map_err(|error| BackupError::file(folder, &error))?;
        let turn = Turn::take(self.0, folder.join(format!("wagate-{}.db", self.0.clock().now())))?;
        if let Err(error) = clear(&folder) {
            return Err(turn.fail(BackupError::file(&folder, &error)));
        }
        let begun = self.progress();
        let stopping = tasks.stopping();
        tasks.spawn("backup", async move {
            let copied = tokio::select! {
                copied = turn.store.copy_to(&turn.to) => copied.map(drop),
                () = stopping => Err(BackupError::Stopped),
            };
            match copied {
                Ok(()) => turn.note(|progress| progress.state = State::Done),
                Err(error) => {
                    tracing::warn!(%error, "the database was not copied");
                    turn.fail(error);
                }
            }
        });
        Ok(begun)
    }
}

/// Makes the folder, and removes what a copy left there that was killed half way: nobody else writes into it.
fn clear(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "part") {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// The right to copy: one has it at a time. Whoever drops it half way is seen to have failed.
struct Turn {
    store: Store,
    to: PathBuf,
}

impl Turn {
    fn take(store: &Store, to: PathBuf) -> Result<Self, BackupError> {
        let mut progress = store.0.copying.lock().unwrap_or_else(PoisonError::into_inner);
        if progress.state == State::Running {
            return Err(BackupError::UnderWay);
        }
        *progress = Progress { state: State::Running, file: Some(to.clone()), error: None };
        Ok(Self { store: store.clone(), to })
    }

    fn fail(&self, error: BackupError) -> BackupError {
        self.note(|progress| {
            progress.state = State::Failed;
            progress.error = Some(error.to_string());
        });
        error
    }

    fn note(&self, change: impl FnOnce(&mut Progress)) {
        change(&mut self.store.0.copying.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Set to failed only where nobody has said how it ended.
impl Drop for Turn {
    fn drop(&mut self) {
        self.note(|progress| {
            if progress.state == State::Running {
                progress.state = State::Failed;
                progress.error = Some(BackupError::Stopped.to_string());
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::store::backup::inspect;
    use crate::store::tests::{Fixture, On};

    async fn end(store: &Store) -> Progress {
        for _ in 0..1000 {
            let progress = store.copying().progress();
            if progress.state != State::Running {
                return progress;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("the copy does not end");
    }

    #[tokio::test]
    async fn one_copies_at_a_time_and_says_where_to() {
        let at = Fixture::open().await;
        let (folder, tasks) = (at.directory.path().join("backups"), Tasks::new());
        assert_eq!(at.store.copying().progress(), Progress::default());
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("wagate-1.db.part"), "killed half way").unwrap();
        let begun = at.store.copying().start(&folder, &tasks).unwrap();
        let again = at.store.copying().start(&folder, &tasks);
        assert!(matches!(again, Err(BackupError::UnderWay)), "{again:?}");
        let done = end(&at.store).await;
        assert_eq!((begun.state, done.state, &begun.file), (State::Running, State::Done, &done.file));
        let file = done.file.unwrap();
        assert!(inspect(&file).await.unwrap().rows() > 0);
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1, "what was cut off is gone");

        // In the same moment the name is taken, and what is there stays.
        at.store.copying().start(&folder, &tasks).unwrap();
        let failed = end(&at.store).await;
        assert!(failed.state == State::Failed && failed.error.unwrap().contains("exists"));
        inspect(&file).await.unwrap();
        at.clock.advance(Duration::from_millis(1));
        at.store.copying().start(&folder, &tasks).unwrap();
        assert_eq!(end(&at.store).await.state, State::Done);
    }

    #[tokio::test]
    async fn a_copy_that_is_cut_off_has_failed_and_leaves_nothing() {
        let at = Fixture::open().await;
        let folder = at.directory.path().join("backups");
        let tasks = Tasks::new();
        assert_eq!(tasks.stop(Duration::from_secs(1)).await, 0);
        let turn = Turn::take(&at.store, folder.join("wagate-1.db")).unwrap();
        drop(turn);
        let progress = at.store.copying().progress();
        assert!(progress.state == State::Failed && progress.error.unwrap().contains("stopped"));
        assert!(!folder.exists());
    }

    #[tokio::test]
    async fn a_server_has_no_file_to_copy() {
        for engine in On::servers() {
            let at = Fixture::on(engine).await;
            let refused = at.store.copying().start(&at.directory.path().join("backups"), &at.tasks);
            assert!(matches!(refused, Err(BackupError::OnServer)), "{engine:?}: {refused:?}");
            assert_eq!(at.store.copying().progress(), Progress::default());
        }
    }
}
