//! What a store carries: the limits of its instance, and the call it is at.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use super::capability::kv::Keyspace;
use super::capability::log::Lines;
use super::meter::{Memory, Meter};
use super::spoken::Spoken;
use crate::egress::Egress;
use crate::model::{BindingId, Bound, Chat, Clock, FailurePolicy, Grants, Limits, PluginEvent, PluginId, QueuedSend};
use crate::store::Store;

/// What host functions reach beyond the instance.
pub(super) struct Outside {
    pub(super) store: Store,
    pub(super) egress: Egress,
    pub(super) clock: Clock,
}

/// One binding, as its calls see it.
pub(super) struct Place {
    pub(super) plugin: PluginId,
    pub(super) name: String,
    pub(super) version: u32,
    pub(super) binding: BindingId,
    pub(super) grants: Grants,
    pub(super) limits: Limits,
    pub(super) policy: FailurePolicy,
    pub(super) settings: Settings,
}

/// A binding's configuration, the pasted script in it.
#[derive(Default)]
pub(super) struct Settings {
    json: SecretString,
    members: Map<String, Value>,
}

/// A configuration that is no JSON object.
#[derive(Debug, thiserror::Error)]
#[error("the configuration is not a JSON object")]
pub(super) struct SettingsError;

/// What a store carries.
pub(super) struct State {
    pub(super) memory: Memory,
    pub(super) meter: Meter,
    pub(super) call: Call,
    wasi: Option<Box<Wasi>>,
}

/// The call an instance is at.
pub(super) struct Call {
    pub(super) id: String,
    pub(super) place: Arc<Place>,
    pub(super) outside: Arc<Outside>,
    /// When it is ended, whatever it waits for.
    pub(super) deadline: Instant,
    /// Nothing leaves the gateway.
    pub(super) rehearsal: bool,
    /// Where a reply goes.
    pub(super) chat: Option<Chat>,
    /// Whose doing the event is.
    pub(super) origin: Origin,
    pub(super) keys: Keyspace,
    pub(super) sends: Vec<QueuedSend>,
    pub(super) events: Vec<PluginEvent>,
    pub(super) requests: u32,
    pub(super) lines: Lines,
}

/// Whose doing an event is, which decides what a plugin may answer it with, so that none goes in circles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// Somebody wrote, called or came online.
    Others,
    /// It is about what the account itself sent.
    Account,
    /// A plugin raised it.
    Plugin,
}

struct Wasi {
    ctx: WasiCtx,
    table: ResourceTable,
    spoken: Spoken,
}

impl Place {
    pub(super) fn of(bound: &Bound, settings: Settings) -> Self {
        let Bound { binding, plugin, version } = bound;
        Self {
            plugin: plugin.id.clone(),
            name: plugin.name.clone(),
            version: version.number,
            binding: binding.id.clone(),
            grants: version.grants.clone(),
            limits: binding.limits,
            policy: binding.policy,
            settings,
        }
    }
}

impl Settings {
    /// Reads a configuration; a pasted script becomes its member `script`.
    pub(super) fn read(config: &SecretString, script: Option<&str>) -> Result<Self, SettingsError> {
        let mut members: Map<String, Value> =
            serde_json::from_str(config.expose_secret()).map_err(|_said_elsewhere| SettingsError)?;
        let Some(script) = script else { return Ok(Self { json: config.clone(), members }) };
        members.insert("script".to_owned(), Value::from(script));
        let json = serde_json::to_string(&members).map_err(|_unreachable| SettingsError)?;
        Ok(Self { json: SecretString::from(json), members })
    }

    /// One member: a text as it is, anything else as JSON.
    pub(super) fn get(&self, key: &str) -> Option<String> {
        self.members.get(key).map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    }

    /// The whole object.
    pub(super) fn json(&self) -> &str {
        self.json.expose_secret()
    }
}

impl Call {
    /// What a warm instance carries between two calls.
    pub(super) fn idle(place: Arc<Place>, outside: Arc<Outside>, deadline: Instant) -> Self {
        Self {
            id: String::new(),
            place,
            outside,
            deadline,
            rehearsal: false,
            chat: None,
            origin: Origin::Others,
            keys: Keyspace::default(),
            sends: Vec::new(),
            events: Vec::new(),
            requests: 0,
            lines: Lines::default(),
        }
    }
}

impl State {
    pub(super) fn new(call: Call) -> Self {
        let limits = &call.place.limits;
        Self { memory: Memory::new(limits.memory_mib), meter: Meter::new(limits.cpu_ms), call, wasi: None }
    }

    /// What the call wrote to standard output and error, when it wrote anything.
    pub(super) fn spoken(&self) -> Option<String> {
        self.wasi.as_ref()?.spoken.text()
    }

    /// The call has ended: the next one speaks anew.
    pub(super) fn hush(&self) {
        if let Some(wasi) = &self.wasi {
            wasi.spoken.forget();
        }
    }
}

impl Wasi {
    /// No files, no sockets, no environment, no arguments; clocks and random numbers, and a pipe to speak into.
    fn denied() -> Self {
        let spoken = Spoken::default();
        let mut builder = WasiCtx::builder();
        builder.allow_tcp(false).allow_udp(false).allow_ip_name_lookup(false).max_random_size(64 << 10);
        let ctx = builder.stdout(spoken.clone()).stderr(spoken.clone()).build();
        let mut table = ResourceTable::new();
        table.set_max_capacity(256);
        Self { ctx, table, spoken }
    }
}

impl WasiView for State {
    /// Made at the first WASI call: most compiled plugins make none.
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let Wasi { ctx, table, .. } = &mut **self.wasi.get_or_insert_with(|| Box::new(Wasi::denied()));
        WasiCtxView { ctx, table }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(json: &str, script: Option<&str>) -> Result<Settings, SettingsError> {
        Settings::read(&SecretString::from(json), script)
    }

    #[test]
    fn texts_are_given_as_they_are_and_the_rest_as_json() {
        let settings = settings(r#"{"a":"b","n":3,"o":{"x":[1]}}"#, None).unwrap();
        let get = |key| settings.get(key);
        assert_eq!((get("a"), get("n")), (Some("b".to_owned()), Some("3".to_owned())));
        assert_eq!((get("o"), get("z")), (Some(r#"{"x":[1]}"#.to_owned()), None));
    }

    #[test]
    fn a_script_is_a_member() {
        let settings = settings("{}", Some("let \"x\";")).unwrap();
        assert_eq!(settings.get("script").unwrap(), "let \"x\";");
        assert_eq!(settings.json(), r#"{"script":"let \"x\";"}"#);
    }

    #[test]
    fn refuses_what_is_no_object() {
        for bad in ["", "[]", "1", "{"] {
            assert!(settings(bad, None).is_err(), "{bad}");
        }
    }
}
