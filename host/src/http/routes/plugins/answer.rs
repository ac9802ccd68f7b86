//! Plugins as the API shows them.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::bindings::BindingBody;
use crate::model::{Hook, Labels, LogLevel, LogLine, PluginVersion, Report, Reuse, Step};
use crate::plugin::catalog::{self, Entry};
use crate::plugin::{Failure, Health};

/// A plugin of yours.
#[derive(Serialize, ToSchema)]
#[schema(as = Plugin)]
pub(in crate::http) struct PluginBody {
    /// Its id.
    #[schema(example = "plg_0198c0ffee007000800000000000c0de")]
    id: String,
    /// Its name in your catalog.
    #[schema(example = "keyword-router")]
    name: String,
    /// Whether it runs at all.
    enabled: bool,
    /// The number of the version that runs.
    #[schema(example = 1)]
    current: u32,
    /// What looking at that version found.
    report: ReportBody,
    /// What that version may do.
    #[schema(example = json!(["log", "kv"]))]
    grants: Vec<String>,
    /// What it would like to do and may not.
    #[schema(example = json!(["http:api.example.org"]))]
    ungranted: Vec<String>,
    /// Where it runs.
    bindings: Vec<BindingBody>,
    /// How it has fared since the gateway was started.
    health: HealthBody,
    /// When it was installed, milliseconds since 1970.
    #[schema(example = 1_700_000_000_000_i64)]
    created_at: i64,
}

/// A version of a plugin.
#[derive(Serialize, ToSchema)]
#[schema(as = PluginVersion)]
pub(in crate::http) struct VersionBody {
    /// 1, 2, 3, …
    #[schema(example = 1)]
    number: u32,
    /// Whether it is the one that runs.
    current: bool,
    /// What looking at it found.
    report: ReportBody,
    /// What it may do.
    #[schema(example = json!(["log", "kv"]))]
    grants: Vec<String>,
    /// What it would like to do and may not.
    ungranted: Vec<String>,
    /// The script, when it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    script: Option<String>,
    /// When it was added, milliseconds since 1970.
    #[schema(example = 1_700_000_000_000_i64)]
    created_at: i64,
}

/// What looking at a component found.
#[derive(Serialize, ToSchema)]
#[schema(as = PluginReport)]
pub(in crate::http) struct ReportBody {
    /// The name it gives itself.
    #[schema(example = "keyword-router")]
    name: String,
    /// The version it gives itself.
    #[schema(example = "1.0.0")]
    version: String,
    /// What it says it does.
    description: String,
    /// The grants it would like.
    #[schema(example = json!(["log", "kv"]))]
    wants: Vec<String>,
    /// The hooks it exports.
    #[schema(value_type = Vec<HookName>)]
    hooks: Vec<Hook>,
    /// The contract it was built for.
    #[schema(example = "1.0.0")]
    contract: String,
    /// Everything it imports.
    #[schema(example = json!(["wagate:plugin/log@1.0.0"]))]
    imports: Vec<String>,
    /// Everything it exports.
    exports: Vec<String>,
    /// The component's bytes.
    #[schema(example = 61_440)]
    size: u64,
    /// SHA-256 of the component, hex.
    sha256: String,
    /// `fresh`: an instance a call. `warm`: instances are kept, for languages that are slow to start.
    #[schema(value_type = String, example = "fresh")]
    reuse: Reuse,
    /// Milliseconds it took to compile; 0 when it was compiled before.
    compile_ms: u64,
}

/// A place where plugins run.
#[derive(ToSchema)]
#[schema(as = Hook, rename_all = "kebab-case")]
#[expect(dead_code, reason = "describes model::Hook, which knows nothing of OpenAPI")]
pub(in crate::http) enum HookName {
    /// Judges messages.
    MessageFilter,
    /// Shapes webhooks.
    WebhookTransform,
}

/// How a plugin has fared since the gateway was started.
#[derive(Serialize, ToSchema)]
#[schema(as = PluginHealth)]
pub(in crate::http) struct HealthBody {
    /// Calls of its hooks.
    calls: u64,
    /// Calls that failed.
    failures: u64,
    /// Failures since the last call that went well.
    in_a_row: u32,
    /// Until when it is not called because it kept failing, milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    suspended_until: Option<i64>,
    /// The time half of its calls stayed below, microseconds.
    p50_us: u64,
    /// The time 99 of 100 calls stayed below, microseconds.
    p99_us: u64,
    /// The last failures, newest first.
    last_failures: Vec<FailureBody>,
}

/// A call that failed.
#[derive(Serialize, ToSchema)]
#[schema(as = PluginFailure)]
pub(in crate::http) struct FailureBody {
    /// When, milliseconds since 1970.
    at: i64,
    /// The call, as in the log.
    call: String,
    /// What happened.
    detail: String,
}

/// A line of a plugin's log.
#[derive(Serialize, ToSchema)]
#[schema(as = LogLine)]
pub(in crate::http) struct LogBody {
    /// The plugin.
    plugin: String,
    /// When, milliseconds since 1970.
    at: i64,
    /// `trace`, `debug`, `info`, `warn` or `error`; the gateway logs failed calls as `error`.
    #[schema(value_type = String, example = "info")]
    level: LogLevel,
    /// The line.
    message: String,
    /// Fields beside it.
    #[schema(value_type = Object)]
    fields: Labels,
    /// The call that wrote it.
    call: String,
}

/// One step of a chain.
#[derive(Serialize, ToSchema)]
#[schema(as = Step)]
pub(in crate::http) struct StepBody {
    /// The plugin.
    plugin: String,
    /// Its name then.
    name: String,
    /// Its version then.
    version: u32,
    /// The binding.
    binding: String,
    /// The hook.
    #[schema(value_type = HookName)]
    hook: Hook,
    /// The endpoint, when a webhook was shaped.
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint: Option<String>,
    /// `pass`, `modify`, `accept`, `drop`, `defer`, `cancel` or `failed`.
    #[schema(example = "modify")]
    verdict: String,
    /// Why it dropped, cancelled or failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    /// What it changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    patch: Option<Value>,
    /// Microseconds the call took.
    took_us: u64,
    /// KiB of memory the instance had at the end.
    memory_kib: u64,
}

impl From<Entry> for PluginBody {
    fn from(entry: Entry) -> Self {
        let Entry { plugin, version, bindings, health } = entry;
        Self {
            id: plugin.id.into(),
            name: plugin.name,
            enabled: plugin.enabled,
            current: plugin.current,
            ungranted: catalog::ungranted(&version.report, &version.grants),
            grants: version.grants.words(),
            report: version.report.into(),
            bindings: bindings.into_iter().map(BindingBody::from).collect(),
            health: health.into(),
            created_at: plugin.created_at.0,
        }
    }
}

impl VersionBody {
    pub(super) fn new(version: PluginVersion, current: u32) -> Self {
        Self {
            number: version.number,
            current: version.number == current,
            ungranted: catalog::ungranted(&version.report, &version.grants),
            grants: version.grants.words(),
            report: version.report.into(),
            script: version.script,
            created_at: version.created_at.0,
        }
    }
}

impl From<Report> for ReportBody {
    fn from(report: Report) -> Self {
        let Report { name, version, description, wants, hooks, contract, .. } = report;
        let Report { imports, exports, size, sha256, reuse, compile_ms, .. } = report;
        Self { name, version, description, wants, hooks, contract, imports, exports, size, sha256, reuse, compile_ms }
    }
}

impl From<Health> for HealthBody {
    fn from(health: Health) -> Self {
        let failure = |Failure { at, call, detail }| FailureBody { at: at.0, call, detail };
        Self {
            calls: health.calls,
            failures: health.failures,
            in_a_row: health.in_a_row,
            suspended_until: health.suspended_until.map(|at| at.0),
            p50_us: health.p50_us,
            p99_us: health.p99_us,
            last_failures: health.last_failures.into_iter().map(failure).collect(),
        }
    }
}

impl From<LogLine> for LogBody {
    fn from(line: LogLine) -> Self {
        let LogLine { plugin, at, level, message, fields, call } = line;
        Self { plugin: plugin.into(), at: at.0, level, message, fields, call }
    }
}

impl From<Step> for StepBody {
    fn from(step: Step) -> Self {
        Self {
            plugin: step.plugin.into(),
            name: step.name,
            version: step.version,
            binding: step.binding.into(),
            hook: step.hook,
            endpoint: step.endpoint.map(String::from),
            verdict: step.verdict,
            detail: step.detail,
            patch: step.patch,
            took_us: step.took_us,
            memory_kib: step.memory_kib,
        }
    }
}
