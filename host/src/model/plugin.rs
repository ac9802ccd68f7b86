//! Plugins: what is installed, where it is bound, what it may do, and what a call of it left behind.
//!
//! The words of the contract (`wit/v1`) in the domain's types, so that the store and the API need no WebAssembly.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::{BindingId, Chat, EndpointId, MessageId, Millis, PluginId, SessionId, UserId};

/// Labels of a message, by name.
pub type Labels = BTreeMap<String, String>;

/// A place in a journey where plugins run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hook {
    /// Judges messages.
    MessageFilter,
    /// Shapes webhooks.
    WebhookTransform,
}

impl Hook {
    /// The hook's name in the contract.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MessageFilter => "message-filter",
            Self::WebhookTransform => "webhook-transform",
        }
    }
}

/// What becomes of a message when a plugin fails on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FailurePolicy {
    /// Goes on as if the plugin had passed it.
    #[default]
    Open,
    /// Is dropped (a webhook: cancelled), with the failure as the reason. It stays stored.
    Closed,
    /// Waits, and is tried again with growing pauses, and at once when the plugin or its binding changes.
    Park,
}

impl FailurePolicy {
    /// The policy's stored name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
            Self::Park => "park",
        }
    }

    /// The policy behind a stored name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Open, Self::Closed, Self::Park].into_iter().find(|policy| policy.name() == name)
    }
}

/// What a version may do beside reading its configuration. As text, one word a grant: see [`Grants::words`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a grant of its own, given or not")]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct Grants {
    /// `log`: write log lines.
    pub log: bool,
    /// `kv`: keep values.
    pub kv: bool,
    /// `outbox.reply`: answer in the message's own chat.
    pub reply: bool,
    /// `outbox.send`: write to any chat of the session.
    pub send: bool,
    /// `outbox.emit`: raise events of its own.
    pub emit: bool,
    /// `outgoing`: filter what the API sends, too.
    pub outgoing: bool,
    /// `http:…`: reach these hosts.
    pub http: Vec<HttpGrant>,
}

/// A host a plugin may reach: `api.example.org`, `*.example.org`, `api.example.org:8443`, or, for clear text,
/// `http://internal.example`. HTTPS and port 443 unless said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpGrant {
    /// Whether clear text is granted instead of TLS.
    pub clear: bool,
    /// The host in lower case, without the wildcard.
    pub host: String,
    /// Whether any name below the host is granted (and not the host itself).
    pub wildcard: bool,
    /// The port.
    pub port: u16,
}

/// A word that is no grant.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "{0:?} is no grant; there are log, kv, outbox.reply, outbox.send, outbox.emit, outgoing, and http:HOST such as \
     http:api.example.org, http:*.example.org:8443 or http:http://internal.example"
)]
pub struct GrantError(pub String);

impl Grants {
    /// The grants as words, in the order of the fields.
    pub fn words(&self) -> Vec<String> {
        let flags = [
            ("log", self.log),
            ("kv", self.kv),
            ("outbox.reply", self.reply),
            ("outbox.send", self.send),
            ("outbox.emit", self.emit),
            ("outgoing", self.outgoing),
        ];
        let words = flags.into_iter().filter(|(_, granted)| *granted).map(|(word, _)| word.to_owned());
        words.chain(self.http.iter().map(|grant| format!("http:{grant}"))).collect()
    }

    /// Reads words.
    pub fn parse<W: AsRef<str>>(words: &[W]) -> Result<Self, GrantError> {
        let mut grants = Self::default();
        for word in words.iter().map(AsRef::as_ref) {
            match word {
                "log" => grants.log = true,
                "kv" => grants.kv = true,
                "outbox.reply" => grants.reply = true,
                "outbox.send" => grants.send = true,
                "outbox.emit" => grants.emit = true,
                "outgoing" => grants.outgoing = true,
                other => {
                    let host = other.strip_prefix("http:").and_then(|host| host.parse().ok());
                    grants.http.push(host.ok_or_else(|| GrantError(other.to_owned()))?);
                }
            }
        }
        Ok(grants)
    }
}

impl TryFrom<Vec<String>> for Grants {
    type Error = GrantError;
    fn try_from(words: Vec<String>) -> Result<Self, GrantError> {
        Self::parse(&words)
    }
}

impl From<Grants> for Vec<String> {
    fn from(grants: Grants) -> Self {
        grants.words()
    }
}

impl HttpGrant {
    /// Whether a request to this place is granted. `host` in lower case.
    pub fn admits(&self, clear: bool, host: &str, port: u16) -> bool {
        let below = |name: &str| {
            name.strip_suffix(self.host.as_str()).is_some_and(|rest| rest.ends_with('.') && rest.len() > 1)
        };
        let named = if self.wildcard { below(host) } else { host == self.host };
        named && clear == self.clear && port == self.port
    }
}

impl FromStr for HttpGrant {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let (clear, rest) = match text.split_once("://") {
            Some(("http", rest)) => (true, rest),
            Some(("https", rest)) => (false, rest),
            Some(_) => return Err(()),
            None => (false, text),
        };
        let (name, port) = match rest.rsplit_once(':') {
            Some((name, port)) if !name.ends_with(']') || !port.is_empty() => (name, port.parse().map_err(|_| ())?),
            _ => (rest, if clear { 80 } else { 443 }),
        };
        let (wildcard, host) = name.strip_prefix("*.").map_or((false, name), |host| (true, host));
        let host = host.to_ascii_lowercase();
        let sound = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
        if host.is_empty() || host.len() > 253 || !host.bytes().all(sound) || port == 0 {
            return Err(());
        }
        Ok(Self { clear, host, wildcard, port })
    }
}

impl fmt::Display for HttpGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.clear { "http://" } else { "" };
        let star = if self.wildcard { "*." } else { "" };
        write!(f, "{scheme}{star}{}", self.host)?;
        if self.port == if self.clear { 80 } else { 443 } { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

/// What a call may use. Above any of these it is ended, and the failure policy decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Processor time in milliseconds, 1 to 1,000. Default 50.
    pub cpu_ms: u32,
    /// Wall-clock time in milliseconds, waiting for the host included, 1 to 30,000. Default 2,000.
    pub wall_ms: u32,
    /// Linear memory in MiB, 1 to 64. Default 64, which an interpreter needs; it is not reserved.
    pub memory_mib: u32,
    /// HTTP requests, 0 to 16. Default 4.
    pub http_requests: u32,
    /// Effects through `outbox`, 0 to 32. Default 5.
    pub effects: u32,
    /// Log lines kept, 0 to 1,000. Default 100.
    pub log_lines: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { cpu_ms: 50, wall_ms: 2_000, memory_mib: 64, http_requests: 4, effects: 5, log_lines: 100 }
    }
}

/// How a component is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reuse {
    /// A fresh instance a call: cheap for compiled languages, and nothing leaks from one call to the next.
    Fresh,
    /// A warm instance, kept for up to 1,000 calls or 10 minutes: for interpreters, which are slow to start.
    Warm,
}

/// What looking at a component found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The name it gives itself.
    pub name: String,
    /// The version it gives itself.
    pub version: String,
    /// What it says it does.
    pub description: String,
    /// The grants it would like, as words.
    pub wants: Vec<String>,
    /// The hooks it exports.
    pub hooks: Vec<Hook>,
    /// The contract it was built for, `1.0.0`.
    pub contract: String,
    /// Everything it imports, `wagate:plugin/kv@1.0.0`.
    pub imports: Vec<String>,
    /// Everything it exports.
    pub exports: Vec<String>,
    /// The component's bytes.
    pub size: u64,
    /// SHA-256 of the component, hex.
    pub sha256: String,
    /// How it will be run.
    pub reuse: Reuse,
    /// Milliseconds it took to compile, 0 when it was compiled before.
    pub compile_ms: u64,
}

/// An installed plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plugin {
    /// Its id.
    pub id: PluginId,
    /// The user it belongs to.
    pub owner: UserId,
    /// Its name in the catalog, unique among its owner's.
    pub name: String,
    /// The version that runs.
    pub current: u32,
    /// Whether it runs at all.
    pub enabled: bool,
    /// When it was installed.
    pub created_at: Millis,
}

/// A version of a plugin. Never changes; rolling back makes an earlier one current.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginVersion {
    /// The plugin.
    pub plugin: PluginId,
    /// 1, 2, 3, …
    pub number: u32,
    /// SHA-256 of the component, hex.
    pub component: String,
    /// The pasted script, when the component is the one that runs scripts.
    pub script: Option<String>,
    /// What it may do.
    pub grants: Grants,
    /// What looking at it found.
    pub report: Report,
    /// When it was installed.
    pub created_at: Millis,
}

/// Where and how a plugin runs.
#[derive(Clone, Debug)]
pub struct Binding {
    /// Its id.
    pub id: BindingId,
    /// The plugin.
    pub plugin: PluginId,
    /// The session whose messages it sees; `None` for all of its owner's.
    pub session: Option<SessionId>,
    /// The place in the chain: lower runs first, equal ones in the order they were made.
    pub position: i64,
    /// A JSON object. Sealed at rest, since secrets are set here.
    pub config: SecretString,
    /// What a call may use.
    pub limits: Limits,
    /// What becomes of a message when a call fails.
    pub policy: FailurePolicy,
    /// Whether it runs.
    pub enabled: bool,
    /// Raised with every change.
    pub revision: i64,
}

/// A binding with the plugin and the version that runs: one link of a session's chain.
#[derive(Clone, Debug)]
pub struct Bound {
    /// The binding.
    pub binding: Binding,
    /// The plugin.
    pub plugin: Plugin,
    /// Its current version.
    pub version: PluginVersion,
}

/// One step of a chain, as the trace keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// The plugin.
    pub plugin: PluginId,
    /// Its name then.
    pub name: String,
    /// Its version then.
    pub version: u32,
    /// The binding.
    pub binding: BindingId,
    /// The hook.
    pub hook: Hook,
    /// The endpoint, when a webhook was shaped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<EndpointId>,
    /// `pass`, `modify`, `accept`, `drop`, `defer`, `cancel`, or `failed`.
    pub verdict: String,
    /// Why it dropped, cancelled or failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// What it changed: an object of what is new, by field.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patch: Option<serde_json::Value>,
    /// Microseconds the call took, instance included.
    pub took_us: u64,
    /// KiB of linear memory the instance had at the end.
    pub memory_kib: u64,
}

/// What stands under a key; `None` for nothing.
pub type Stored = Option<Vec<u8>>;

/// A value a plugin wrote, to be committed with the verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyWrite {
    /// Whose.
    pub plugin: PluginId,
    /// The key, 1 to 256 bytes.
    pub key: String,
    /// The new value; `None` takes it away.
    pub value: Option<Vec<u8>>,
    /// When its time is over; `None` for never.
    pub expires_at: Option<Millis>,
    /// What must be stored for the write to be right (`Some(None)`: nothing), when the call relied on it.
    pub expected: Option<Stored>,
}

/// A message a plugin asked to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuedSend {
    /// The plugin.
    pub plugin: PluginId,
    /// The id it will have on WhatsApp.
    pub message: MessageId,
    /// Where to.
    pub to: Chat,
    /// The text.
    pub text: String,
}

/// An event a plugin raised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginEvent {
    /// The plugin.
    pub plugin: PluginId,
    /// The type, without the `plugin.` before it.
    #[serde(rename = "type")]
    pub kind: String,
    /// JSON.
    pub payload: serde_json::Value,
}

/// How much a log line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Every step.
    Trace,
    /// For its author.
    Debug,
    /// For its operator.
    Info,
    /// Something to look at.
    Warn,
    /// Something failed; failed calls are logged under this level by the gateway.
    Error,
}

impl LogLevel {
    /// The level's stored name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }

    /// The level behind a stored name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Trace, Self::Debug, Self::Info, Self::Warn, Self::Error].into_iter().find(|level| level.name() == name)
    }
}

/// A line of a plugin's log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogLine {
    /// The plugin.
    pub plugin: PluginId,
    /// When it was written.
    pub at: Millis,
    /// How much it matters.
    pub level: LogLevel,
    /// The line, at most 4 KiB.
    pub message: String,
    /// Fields beside it.
    pub fields: Labels,
    /// The call that wrote it.
    pub call: String,
}

/// What the calls of one passage want done, committed together with the verdict or not at all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Effects {
    /// Values written, at most one a key.
    pub writes: Vec<KeyWrite>,
    /// Messages to be sent.
    pub sends: Vec<QueuedSend>,
    /// Events raised.
    pub events: Vec<PluginEvent>,
}

/// A webhook as plugins have shaped it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// The body.
    pub body: bytes::Bytes,
    /// Its content type.
    pub content_type: String,
    /// Headers beside those of the gateway, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Appended to the path of the endpoint's address; empty for nothing.
    pub path_suffix: String,
}

impl Shape {
    /// A webhook with this JSON for a body and nothing else.
    pub fn json(body: impl Into<bytes::Bytes>) -> Self {
        let content_type = "application/json".to_owned();
        Self { body: body.into(), content_type, headers: Vec::new(), path_suffix: String::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_survive_their_words() {
        let words = ["log", "kv", "outbox.reply", "http:api.example.org", "http:*.example.org:8443", "http:http://a.b"];
        let grants = Grants::parse(&words).unwrap();
        assert_eq!(grants.words(), words);
        for bad in ["", "http", "http:", "http:*.", "http:ftp://a", "http:a b", "http:a:0", "http:a:x", "LOG"] {
            assert_eq!(Grants::parse(&[bad]), Err(GrantError(bad.to_owned())), "{bad}");
        }
    }

    #[test]
    fn a_wildcard_admits_what_is_below_it_alone() {
        let grant: HttpGrant = "*.example.org".parse().unwrap();
        assert!(grant.admits(false, "a.example.org", 443) && grant.admits(false, "a.b.example.org", 443));
        for (clear, host, port) in [
            (false, "example.org", 443),
            (false, "badexample.org", 443),
            (false, ".example.org", 443),
            (true, "a.example.org", 443),
            (false, "a.example.org", 8443),
        ] {
            assert!(!grant.admits(clear, host, port), "{host}:{port}");
        }
    }
}
