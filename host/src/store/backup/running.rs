//! The copy that a running gateway makes of its own SQLite file, which nobody else can open.
//!
//! It lies beside the database, as `NAME.backup`, until whoever asked for it takes it away; the next one replaces it.

use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use super::draft::{beside, clear};
use super::{BackupError, Contents, file};
use crate::app::tasks::Tasks;
use crate::store::Store;
use crate::store::pool::Engine;

/// Calls on backups of the open store.
#[derive(Clone, Copy, Debug)]
pub struct Backups<'a>(pub(in crate::store) &'a Store);

/// How far the backup is, or how the last one ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Whether one is under way.
    pub state: State,
    /// Where it lies, when it is done.
    pub file: Option<PathBuf>,
    /// How many rows it has.
    pub rows: Option<u64>,
    /// Why it failed.
    pub error: Option<String>,
}

/// Where a backup stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// None was asked for since the gateway started.
    #[default]
    Idle,
    /// It is under way.
    Running,
    /// It is verified and on disk.
    Done,
    /// There is none.
    Failed,
}

impl Backups<'_> {
    /// Begins to copy the database file, and answers before that is done. One of `tasks` goes on with it. Databases on
    /// servers are read from outside.
    pub fn start(self, tasks: &Tasks) -> Result<(), BackupError> {
        let Engine::Sqlite(pool) = self.0.readers() else { return Err(BackupError::OnServer) };
        let from = pool.connect_options().get_filename().to_owned();
        let turn = Turn::take(self.0)?;
        let group = tasks.clone();
        tasks.spawn("backup", async move { turn.run(&from, &group).await });
        Ok(())
    }

    /// How far it is, or how the last one ended.
    pub fn progress(self) -> Progress {
        self.0.0.backup.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The right to copy the file: one has it at a time. Whoever drops it half way is seen to have failed.
struct Turn(Store);

impl Turn {
    fn take(store: &Store) -> Result<Self, BackupError> {
        let mut progress = store.0.backup.lock().unwrap_or_else(PoisonError::into_inner);
        if progress.state == State::Running {
            return Err(BackupError::UnderWay);
        }
        *progress = Progress { state: State::Running, ..Progress::default() };
        Ok(Self(store.clone()))
    }

    async fn run(self, from: &Path, tasks: &Tasks) {
        let to = beside(from, ".backup");
        let copied = tokio::select! {
            copied = anew(from, &to) => copied,
            () = tasks.stopping() => Err(BackupError::Stopped),
        };
        self.note(match copied {
            Ok(contents) => {
                let rows = contents.rows();
                tracing::info!(file = %to.display(), rows, "the database is backed up");
                Progress { state: State::Done, file: Some(to), rows: Some(rows), error: None }
            }
            Err(error) => {
                tracing::warn!(%error, "the database could not be backed up");
                Progress { state: State::Failed, error: Some(error.to_string()), ..Progress::default() }
            }
        });
    }

    fn note(&self, progress: Progress) {
        *self.0.0.backup.lock().unwrap_or_else(PoisonError::into_inner) = progress;
    }
}

/// Set to failed only where nobody has said how it ended.
impl Drop for Turn {
    fn drop(&mut self) {
        let mut progress = self.0.0.backup.lock().unwrap_or_else(PoisonError::into_inner);
        if progress.state == State::Running {
            let error = Some(BackupError::Stopped.to_string());
            *progress = Progress { state: State::Failed, error, ..Progress::default() };
        }
    }
}

/// Copies the file in place of the copy before. What is there is ours: the database is open here and nowhere else.
async fn anew(from: &Path, to: &Path) -> Result<Contents, BackupError> {
    clear(to)?;
    file::copy_open(from, to).await
}
