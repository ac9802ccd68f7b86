//! Compiling components in a process of their own, and keeping the result.
//!
//! A compiler is large and its input hostile: the child has its own limits on memory, time and output, and dies with
//! them. Its output goes straight into the cache, under the component's digest and the engine's fingerprint, with a
//! digest of the code beside it. What does not fit is compiled again; nothing is ever taken from outside. The cache has
//! a budget: what was not taken from it for the longest time goes first.

mod child;

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub use child::{compile, confine};

use super::PluginError;
use super::capability::log::cut;
use super::refusal::Refusal;
use crate::config::PluginConfig;
use crate::model::Clock;

/// The hidden command of the child.
pub(super) const COMMAND: &str = "plugin-compiler";
/// Time a compilation may take; its processor time is limited by the child itself.
const PATIENCE: Duration = Duration::from_mins(2);
/// Bytes of compiled code in the cache.
const BUDGET: u64 = 4 * child::OUTPUT;
/// Kept of what the child says about a failure.
const COMPLAINT: u64 = 4 << 10;
/// What ends a child that uses too much: no more memory, processor time, output.
const ABORTED: i32 = 6;
const TIMED_OUT: i32 = 24;
const TOO_LONG: i32 = 25;

/// Compiles, one component at a time.
pub(super) struct Compiler {
    program: PathBuf,
    folder: PathBuf,
    reservation: u64,
    fingerprint: String,
    turn: Arc<Semaphore>,
}

impl Compiler {
    /// Takes the folder in use and clears what an earlier engine left in it.
    pub(super) fn open(config: &PluginConfig, reservation: u64, fingerprint: &str) -> Result<Self, PluginError> {
        let folder = config.cache_dir.clone();
        let opened = fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
        let opened = opened.and_then(|()| sweep(&folder, fingerprint));
        opened.map_err(|error| PluginError::Cache { path: folder.display().to_string(), reason: error.to_string() })?;
        let program = config.compiler.clone().map_or_else(own_program, Ok);
        let program = program.map_err(|error| PluginError::Engine(format!("this program's own path: {error}")))?;
        let fingerprint = fingerprint.to_owned();
        Ok(Self { program, folder, reservation, fingerprint, turn: Arc::new(Semaphore::new(1)) })
    }

    /// The compiled code of a component, when it lies in the cache unharmed. Reads the whole file.
    pub(super) fn cached(&self, sha256: &str) -> Option<PathBuf> {
        let code = self.place(sha256);
        let known = fs::read_to_string(seal(&code)).ok()?;
        let ours = fs::symlink_metadata(&code).ok().filter(|meta| meta.is_file() && meta.mode() & 0o777 == 0o600)?;
        let same_user = fs::metadata(&self.folder).is_ok_and(|folder| folder.uid() == ours.uid());
        let sound = same_user && digest(&code).ok()? == known;
        if sound {
            let _as_old_as_before = renew(&code);
        }
        sound.then_some(code)
    }

    /// Waits for the turn to compile. Meanwhile others may have compiled the same.
    pub(super) async fn turn(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        Arc::clone(&self.turn).acquire_owned().await.map_err(|closed| Refusal::Unavailable(closed.to_string()))
    }

    /// Compiles a component into the cache. Answers where, and how long it took.
    pub(super) async fn compile(
        &self,
        _turn: OwnedSemaphorePermit,
        sha256: &str,
        component: &[u8],
    ) -> Result<(PathBuf, Duration), Refusal> {
        let unavailable = |error: io::Error| Refusal::Unavailable(format!("the compiler cannot be run: {error}"));
        let started = Instant::now();
        let code = self.place(sha256);
        let part = Part(code.with_extension("part"));
        let output = part.create().map_err(unavailable)?;
        let child = self.start(output).map_err(unavailable)?;
        tokio::time::timeout(PATIENCE, run(child, component))
            .await
            .map_err(|_elapsed| Refusal::TooCostly(format!("{} s", PATIENCE.as_secs())))??;
        let (folder, from, to) = (self.folder.clone(), part.0.clone(), code.clone());
        let kept = tokio::task::spawn_blocking(move || {
            make_room(&folder, fs::metadata(&from)?.len(), BUDGET)?;
            fs::write(seal(&to), digest(&from)?)?;
            fs::rename(&from, &to)
        });
        kept.await.map_err(io::Error::other).flatten().map_err(unavailable)?;
        Ok((code, started.elapsed()))
    }

    fn start(&self, output: File) -> io::Result<Child> {
        Command::new(&self.program)
            .arg(COMMAND)
            .arg(self.reservation.to_string())
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::from(output))
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
    }

    fn place(&self, sha256: &str) -> PathBuf {
        self.folder.join(format!("{sha256}-{}.cwasm", self.fingerprint))
    }
}

/// Output under way; gone with whoever made it.
struct Part(PathBuf);

impl Part {
    fn create(&self) -> io::Result<File> {
        let _left_by_a_crash = fs::remove_file(&self.0);
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.0)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let _renamed = fs::remove_file(&self.0);
    }
}

/// Hands the component over and waits for the end.
async fn run(mut child: Child, component: &[u8]) -> Result<(), Refusal> {
    let unavailable = |error: io::Error| Refusal::Unavailable(format!("the compiler cannot be run: {error}"));
    let (mut input, errors) = (child.stdin.take(), child.stderr.take());
    let feed = async {
        if let Some(input) = &mut input {
            // A child that has enough of it closes the pipe, and says why by its end.
            let _closed = input.write_all(component).await;
        }
        drop(input);
    };
    let mut complaint = Vec::new();
    let listen = async {
        if let Some(errors) = errors {
            let _cut = errors.take(COMPLAINT).read_to_end(&mut complaint).await;
        }
    };
    let ((), (), ended) = tokio::join!(feed, listen, child.wait());
    let ended = ended.map_err(unavailable)?;
    if ended.success() { Ok(()) } else { Err(refusal(ended, &String::from_utf8_lossy(&complaint))) }
}

fn refusal(ended: ExitStatus, complaint: &str) -> Refusal {
    let complaint = complaint.trim().trim_start_matches("error: ").replace('\n', " ");
    match ended.signal() {
        Some(TIMED_OUT) => Refusal::TooCostly(format!("{} s of processor time", child::SECONDS)),
        Some(TOO_LONG) => Refusal::TooCostly(format!("{} MiB of machine code", child::OUTPUT >> 20)),
        Some(ABORTED) => Refusal::TooCostly(format!("{} MiB of memory", child::MEMORY >> 20)),
        Some(signal) => Refusal::Compile(format!("the compiler was ended by signal {signal}")),
        None if complaint.is_empty() => Refusal::Compile(format!("the compiler ended with {ended}")),
        None => Refusal::Compile(cut(complaint, 1_000)),
    }
}

/// This program, even when its file was replaced by an upgrade meanwhile.
fn own_program() -> io::Result<PathBuf> {
    let running = Path::new("/proc/self/exe");
    if running.exists() { Ok(running.to_owned()) } else { std::env::current_exe() }
}

/// Removes code of other engines and output that was never finished.
fn sweep(folder: &Path, fingerprint: &str) -> io::Result<()> {
    fs::set_permissions(folder, Permissions::from_mode(0o700))?;
    let current = format!("-{fingerprint}.");
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // A command beside the gateway may be compiling.
        let abandoned =
            || fs::metadata(&path).and_then(|meta| Ok(meta.modified()? + 2 * PATIENCE < now())).unwrap_or(true);
        if !name.contains(&current) || path.extension().is_some_and(|extension| extension == "part") && abandoned() {
            let _kept_by_the_system = fs::remove_file(&path);
        }
    }
    Ok(())
}

/// Makes a file as young as one that was just written.
fn renew(file: &Path) -> io::Result<()> {
    File::open(file)?.set_modified(now())
}

/// The system's own clock, by which it dates files.
fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(Clock::System.now().0).unwrap_or_default())
}

/// Removes the oldest code until so many bytes fit into the budget. Whoever has mapped it keeps it.
fn make_room(folder: &Path, bytes: u64, budget: u64) -> io::Result<()> {
    let mut kept = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.path().extension().is_some_and(|extension| extension == "cwasm") {
            let meta = entry.metadata()?;
            kept.push((meta.modified()?, meta.len(), entry.path()));
        }
    }
    kept.sort();
    let mut used = kept.iter().fold(bytes, |used, (_, size, _)| used.saturating_add(*size));
    for (_, size, code) in kept {
        if used <= budget {
            break;
        }
        fs::remove_file(&code)?;
        let _unsealed = fs::remove_file(seal(&code));
        used = used.saturating_sub(size);
    }
    Ok(())
}

/// Where the digest of compiled code lies.
fn seal(code: &Path) -> PathBuf {
    code.with_extension("sum")
}

fn digest(file: &Path) -> io::Result<String> {
    let mut digest = Sha256::new();
    let mut file = File::open(file)?;
    let mut chunk = vec![0; 64 << 10];
    loop {
        match io::Read::read(&mut file, &mut chunk)? {
            0 => return Ok(hex(&digest.finalize())),
            read => digest.update(&chunk[..read]),
        }
    }
}

/// Bytes as lower-case hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compiler(folder: &Path) -> Compiler {
        let config = PluginConfig {
            compiler: Some("/nowhere/wagate".into()),
            max_component_mib: 1,
            concurrency: 1,
            warm: 0,
            cache_dir: folder.to_owned(),
        };
        Compiler::open(&config, 64 << 20, "f00").unwrap()
    }

    fn put(compiler: &Compiler, sha256: &str, code: &[u8], mode: u32) {
        let place = compiler.place(sha256);
        fs::write(&place, code).unwrap();
        fs::set_permissions(&place, Permissions::from_mode(mode)).unwrap();
        fs::write(seal(&place), digest(&place).unwrap()).unwrap();
    }

    #[test]
    fn takes_from_the_cache_what_it_put_there() {
        let folder = tempfile::tempdir().unwrap();
        let compiler = compiler(folder.path());
        assert_eq!(compiler.cached("a"), None);
        put(&compiler, "a", b"code", 0o600);
        assert_eq!(compiler.cached("a"), Some(compiler.place("a")));
    }

    #[test]
    fn refuses_code_that_was_changed_or_is_not_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let compiler = compiler(folder.path());
        put(&compiler, "changed", b"code", 0o600);
        fs::write(compiler.place("changed"), b"evil").unwrap();
        put(&compiler, "shared", b"code", 0o666);
        put(&compiler, "unsealed", b"code", 0o600);
        fs::remove_file(seal(&compiler.place("unsealed"))).unwrap();
        put(&compiler, "target", b"code", 0o600);
        std::os::unix::fs::symlink(compiler.place("target"), compiler.place("link")).unwrap();
        fs::copy(seal(&compiler.place("target")), seal(&compiler.place("link"))).unwrap();
        for name in ["changed", "shared", "unsealed", "link"] {
            assert_eq!(compiler.cached(name), None, "{name}");
        }
    }

    #[test]
    fn clears_what_another_engine_left() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["x-0ld.cwasm", "x-0ld.sum", "x-f00.part", "x-f00.cwasm"] {
            fs::write(folder.path().join(name), b"").unwrap();
        }
        File::open(folder.path().join("x-f00.part")).unwrap().set_modified(now() - 3 * PATIENCE).unwrap();
        compiler(folder.path());
        let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["x-f00.cwasm"]);
    }

    #[tokio::test]
    async fn a_compiler_that_is_missing_is_no_fault_of_the_component() {
        let folder = tempfile::tempdir().unwrap();
        let compiler = compiler(folder.path());
        let refused = compiler.compile(compiler.turn().await.unwrap(), "a", b"").await.unwrap_err();
        assert!(refused.is_ours(), "{refused}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_was_not_taken_for_the_longest_time_makes_room() {
        let folder = tempfile::tempdir().unwrap();
        let compiler = compiler(folder.path());
        for (age, name) in ["taken", "oldest", "newest"].into_iter().enumerate() {
            put(&compiler, name, b"code", 0o600);
            let then = SystemTime::UNIX_EPOCH + Duration::from_secs(age as u64);
            File::open(compiler.place(name)).unwrap().set_modified(then).unwrap();
        }
        assert!(compiler.cached("taken").is_some());
        make_room(folder.path(), 4, 12).unwrap();
        let left = ["taken", "oldest", "newest"].map(|name| compiler.cached(name).is_some());
        assert_eq!(left, [true, false, true]);
        assert!(!seal(&compiler.place("oldest")).exists());
    }

    #[test]
    fn says_what_was_too_much() {
        let ended = ExitStatus::from_raw;
        assert!(matches!(refusal(ended(TIMED_OUT), ""), Refusal::TooCostly(_)));
        assert!(matches!(refusal(ended(ABORTED), "memory allocation failed"), Refusal::TooCostly(_)));
        assert_eq!(refusal(ended(1 << 8), "error: bad\n"), Refusal::Compile("bad".to_owned()));
    }
}
