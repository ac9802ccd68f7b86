//! The guide's curl samples, run by `bash` and `curl` as a reader would paste them.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use reqwest::StatusCode;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use super::document::{fill, sample};

/// What curl does beyond what the samples say comes from its own configuration file, so that they stay unchanged: the
/// status on a line of its own after the body, no progress, no proxy, not for ever.
const CURLRC: &str = "silent\nshow-error\nnoproxy = \"*\"\nmax-time = 60\nwrite-out = \"\\n%{http_code}\"\n";
/// How long one command may take.
const PATIENCE: Duration = Duration::from_secs(90);

/// A status and a JSON body.
pub(super) type Answer = (StatusCode, Value);

/// A reader's shell, who has noted a few values down.
pub(super) struct Shell {
    home: TempDir,
    base: String,
    app: String,
    noted: Vec<(&'static str, String)>,
}

impl Shell {
    /// A shell of a reader with the gateway at `base` and a program of their own at `app`.
    pub(super) fn open(base: &str, app: &str) -> Result<Self> {
        let home = TempDir::new()?;
        std::fs::write(home.path().join(".curlrc"), CURLRC)?;
        Ok(Self { home, base: base.to_owned(), app: app.to_owned(), noted: Vec::new() })
    }

    /// Writes `value` for `placeholder` from now on.
    pub(super) fn note(&mut self, placeholder: &'static str, value: &str) {
        self.noted.retain(|(noted, _)| *noted != placeholder);
        self.noted.push((placeholder, value.to_owned()));
    }

    /// Runs the sample that holds `mark`, which is one command; gives its answer.
    pub(super) async fn curl(&self, mark: &str) -> Result<Answer> {
        let commands = Self::commands(mark)?;
        ensure!(commands.len() == 1, "the sample with {mark:?} has {} commands", commands.len());
        self.run(&commands[0]).await
    }

    /// The commands of the sample that holds `mark`.
    pub(super) fn commands(mark: &str) -> Result<Vec<String>> {
        Ok(split(sample("bash", mark)?))
    }

    /// Runs one command of a sample; gives its answer.
    pub(super) async fn run(&self, command: &str) -> Result<Answer> {
        let noted: Vec<_> = self.noted.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let command = fill(command, &self.base, &self.app, &noted);
        let output = Command::new("bash")
            .args(["-euo", "pipefail", "-c", &command])
            .env("CURL_HOME", self.home.path())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(PATIENCE, output).await.context("the command did not end")??;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{command}\nended with {}: {said}", output.status);
        let text = String::from_utf8(output.stdout)?;
        let (body, status) = text.rsplit_once('\n').context("curl printed no status")?;
        let body = serde_json::from_str(body).with_context(|| format!("{command}\nanswered no JSON: {body}"))?;
        Ok((status.parse()?, body))
    }
}

/// The `curl` commands of a sample. A command goes on after a line that ends in `\` or inside quotes.
fn split(sample: &str) -> Vec<String> {
    let mut commands: Vec<String> = Vec::new();
    let mut open = false;
    for line in sample.lines() {
        match commands.last_mut() {
            Some(command) if open => *command = format!("{command}\n{line}"),
            _ if line.starts_with("curl ") => commands.push(line.to_owned()),
            _ => continue,
        }
        open = commands.last().is_some_and(|command| command.ends_with('\\') || command.matches('\'').count() % 2 == 1);
    }
    commands
}

#[test]
fn a_sample_is_split_into_its_commands() {
    let sample = "# 1.\ncurl -X POST a \\\n  -d '{\n  \"b\": 1\n}'\n# it's 2.\ncurl c\n\ncurl d \\\n  -H 'e'";
    assert_eq!(split(sample), ["curl -X POST a \\\n  -d '{\n  \"b\": 1\n}'", "curl c", "curl d \\\n  -H 'e'"]);
}
