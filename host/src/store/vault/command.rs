//! Asks a program for the master key.
//!
//! The program is run as it is, without a shell. What it writes to its standard output is the key and is shown to
//! nobody; what it complains of is, without anything in it that could be the key.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};
use zeroize::Zeroizing;

use super::keyring;
use super::source::VaultError;

/// Time it has.
const PATIENCE: Duration = Duration::from_secs(10);
/// Kept of what it writes, to either side.
const OUTPUT: usize = 4 << 10;
/// Characters shown of its complaint.
const COMPLAINT: usize = 500;
/// The shortest text that is taken for a key when it stands in the complaint.
const SHORTEST: usize = 8;

/// What the program wrote to its standard output.
pub(super) async fn ask(words: &[String]) -> Result<Zeroizing<String>, VaultError> {
    ask_within(words, PATIENCE).await
}

async fn ask_within(words: &[String], patience: Duration) -> Result<Zeroizing<String>, VaultError> {
    let Some((program, arguments)) = words.split_first() else {
        return Err(VaultError::Command { program: String::new(), reason: "it names no program".to_owned() });
    };
    let failed = |reason: String| VaultError::Command { program: program.clone(), reason };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let child = command.spawn().map_err(|error| failed(format!("it cannot be run: {error}")))?;
    let Ok(ended) = tokio::time::timeout(patience, listen(child)).await else {
        return Err(failed(format!("it did not end within {patience:?}")));
    };
    let (status, printed, complaint) = ended.map_err(|error| failed(error.to_string()))?;
    let printed = Zeroizing::new(String::from_utf8_lossy(&printed).trim().to_owned());
    if status.success() && !printed.is_empty() {
        return Ok(printed);
    }
    let how = if status.success() { "it printed nothing".to_owned() } else { format!("it ended with {status}") };
    let complaint = tellable(&String::from_utf8_lossy(&complaint), &printed);
    Err(failed(if complaint.is_empty() { how } else { format!("{how}: {complaint}") }))
}

/// What a program wrote to its standard output and to its standard error, once it has ended.
async fn listen(mut child: Child) -> io::Result<(ExitStatus, Zeroizing<Vec<u8>>, Vec<u8>)> {
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let (printed, complaint, status) = tokio::try_join!(read(out), read(err), child.wait())?;
    Ok((status, printed, complaint.to_vec()))
}

/// The first [`OUTPUT`] bytes; the rest is read and forgotten, so that nobody waits for a reader.
async fn read(from: Option<impl AsyncRead + Unpin>) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut kept = Zeroizing::new(Vec::with_capacity(OUTPUT));
    let Some(mut from) = from else { return Ok(kept) };
    let mut part = Zeroizing::new([0_u8; 512]);
    loop {
        let count = from.read(&mut part[..]).await?;
        if count == 0 {
            return Ok(kept);
        }
        let room = OUTPUT - kept.len();
        kept.extend(part.iter().take(count.min(room)));
    }
}

/// The complaint on one line, without what was printed and without anything else that could be a key.
fn tellable(complaint: &str, printed: &str) -> String {
    let known = |line: &&str| line.len() >= SHORTEST;
    let hidden =
        printed.lines().map(str::trim).filter(known).fold(complaint.to_owned(), |text, line| text.replace(line, MASK));
    let words = hidden.split_whitespace().map(|word| if holds_a_key(word) { MASK } else { word });
    words.collect::<Vec<_>>().join(" ").chars().take(COMPLAINT).collect()
}

const MASK: &str = "********";

/// Whether a part of a word could be a key: `MASTER_KEY=…` for instance.
fn holds_a_key(word: &str) -> bool {
    let outside = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '+' | '/'));
    word.split(outside).any(|part| keyring::is_key(&format!("{part}=")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

    /// Runs a script by `sh`, whose text stands in a file because words are not quoted.
    async fn script(text: &str) -> Result<String, String> {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("script");
        std::fs::write(&file, text).unwrap();
        let answer = ask(&["sh".to_owned(), file.to_str().unwrap().to_owned()]).await;
        answer.map(|key| key.to_string()).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn takes_what_is_printed_without_the_blanks_around_it() {
        assert_eq!(script(&format!("echo; echo '  {KEY} '; echo careful >&2")).await.as_deref(), Ok(KEY));
        let much = format!("echo {KEY}; head -c 300000 /dev/zero >&2");
        assert_eq!(script(&much).await.as_deref(), Ok(KEY), "whoever complains at length is heard out");
    }

    #[tokio::test]
    async fn words_reach_the_program_as_they_are() {
        let words = ["echo", "$HOME;", "*"].map(str::to_owned);
        assert_eq!(ask(&words).await.unwrap().as_str(), "$HOME; *", "no shell reads them");
    }

    #[tokio::test]
    async fn tells_how_it_failed_and_never_the_key() {
        let told = script("echo the token has expired >&2; exit 3").await.unwrap_err();
        assert_eq!(
            told,
            "MASTER_KEY_COMMAND (sh) gave no master key: it ended with exit status: 3: the token has expired"
        );
        let told = script("exit 0").await.unwrap_err();
        assert!(told.ends_with("it printed nothing"), "{told}");
        for leak in
            [format!("echo {KEY}; echo {KEY} >&2"), format!("echo got=\"{KEY}\" >&2"), format!("echo {KEY} >&2")]
        {
            let told = script(&format!("{leak}; exit 1")).await.unwrap_err();
            assert!(told.contains(MASK) && !told.contains(&KEY[..20]), "{told}");
        }
        let missing = ask(&["/nowhere/program".to_owned()]).await.unwrap_err().to_string();
        assert!(missing.contains("/nowhere/program") && missing.contains("cannot be run"), "{missing}");
    }

    #[tokio::test]
    async fn does_not_wait_for_ever() {
        let words = ["sleep", "1000"].map(str::to_owned);
        let told = ask_within(&words, Duration::from_millis(50)).await.unwrap_err().to_string();
        assert!(told.ends_with("it did not end within 50ms"), "{told}");
    }
}
