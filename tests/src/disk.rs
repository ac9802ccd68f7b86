//! A disk that fails on request, under a gateway in a process of its own.
//!
//! No disk is filled and none is broken: `tests/disk/fault.c` stands between the gateway and the system, and answers
//! writes and flushes of SQLite's files as a full or a broken disk would.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use crate::process::Setup;

/// The disk. Sound until something else is said.
#[derive(Debug)]
pub struct Disk {
    folder: TempDir,
}

impl Disk {
    /// Makes it; takes a C compiler.
    pub fn new() -> Result<Self> {
        let folder = TempDir::new()?;
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("disk/fault.c");
        let mut compiler = Command::new("cc");
        compiler.args(["-O1", "-shared", "-fPIC", "-o"]).arg(folder.path().join("fault.so")).arg(source);
        let made = compiler.output().context("cannot run cc")?;
        ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let disk = Self { folder };
        disk.mend()?;
        Ok(disk)
    }

    /// The gateway of `setup`, on this disk.
    pub fn under(&self, setup: Setup) -> Setup {
        let setup = setup.with("LD_PRELOAD", self.folder.path().join("fault.so"));
        setup.with("WAGATE_TEST_DISK", self.folder.path().join("fault"))
    }

    /// It takes no more bytes.
    pub fn fill(&self) -> Result<()> {
        self.be("full")
    }

    /// What it took it cannot keep: flushes fail.
    pub fn spoil(&self) -> Result<()> {
        self.be("broken")
    }

    /// It is sound again.
    pub fn mend(&self) -> Result<()> {
        self.be("sound")
    }

    fn be(&self, state: &str) -> Result<()> {
        // In one step, so that nobody reads half of it.
        let next = self.folder.path().join("next");
        fs::write(&next, state)?;
        Ok(fs::rename(next, self.folder.path().join("fault"))?)
    }
}
