//! The commands that a running gateway answers.

use anyhow::{Context, Result, anyhow, bail};
use serde::Deserialize;
use serde_json::{Value, json};
use url::form_urlencoded::Serializer;

use super::{Command, Place, grants, json, source};
use crate::cli::gateway::Gateway;
use crate::cli::say;
use crate::plugin::catalog::Source;

/// What these commands need to know of a plugin.
#[derive(Debug, Deserialize)]
struct Known {
    id: String,
    name: String,
    enabled: bool,
    current: u32,
    report: Report,
    grants: Vec<String>,
    ungranted: Vec<String>,
    bindings: Vec<Binding>,
    health: Health,
}

#[derive(Debug, Deserialize)]
struct Report {
    version: String,
}

#[derive(Debug, Deserialize)]
struct Binding {
    id: String,
    session_id: Option<String>,
    enabled: bool,
}

#[derive(Debug, Deserialize)]
struct Health {
    calls: u64,
    failures: u64,
    suspended_until: Option<i64>,
    p99_us: u64,
}

#[derive(Debug, Deserialize)]
struct Version {
    number: u32,
}

#[derive(Debug, Deserialize)]
struct Line {
    at: i64,
    level: String,
    message: String,
    fields: serde_json::Map<String, Value>,
}

pub(super) async fn run(command: Command, gateway: &Gateway) -> Result<()> {
    match command {
        // Answered without a gateway, before this.
        Command::Check { .. } | Command::Run { .. } => Ok(()),
        Command::Install { name, file, grants: words, accept_ungranted, place, unbound } => {
            let mut query = vec![("name", name.as_str())];
            query.extend(wishes(&words, accept_ungranted)?);
            let place = (!unbound).then_some(place);
            install(gateway, &name, &source(&file)?, &query, place.as_ref()).await
        }
        Command::Update { plugin, file, grants: words, accept_ungranted, inactive } => {
            let mut query = wishes(&words, accept_ungranted)?;
            let plugin = find(gateway, &plugin).await?;
            query.push(("activate", if inactive { "false" } else { "true" }));
            let path = format!("/api/plugins/{}/versions?{}", plugin.id, encoded(&query));
            let added: Version = upload(gateway, &path, &source(&file)?).await?;
            say::line(&format!("{} has version {}.", plugin.name, added.number));
            Ok(())
        }
        Command::List => {
            list(gateway.get("/api/plugins").await?);
            Ok(())
        }
        Command::Logs { plugin, limit } => {
            let plugin = find(gateway, &plugin).await?;
            logs(gateway.get(&format!("/api/plugins/{}/logs?limit={limit}", plugin.id)).await?);
            Ok(())
        }
        Command::Enable { plugin } => change(gateway, &plugin, json!({ "enabled": true }), "is on").await,
        Command::Disable { plugin } => change(gateway, &plugin, json!({ "enabled": false }), "is off").await,
        Command::Rollback { plugin, version } => rollback(gateway, &plugin, version).await,
        Command::Bind { plugin, place } => {
            let plugin = find(gateway, &plugin).await?;
            bind(gateway, &plugin, &place).await
        }
        Command::Unbind { plugin, binding } => {
            let plugin = find(gateway, &plugin).await?;
            let _done: Value = gateway.delete(&format!("/api/plugins/{}/bindings/{binding}", plugin.id)).await?;
            say::line(&format!("{} no longer runs there.", plugin.name));
            Ok(())
        }
        Command::Remove { plugin } => {
            let plugin = find(gateway, &plugin).await?;
            let _done: Value = gateway.delete(&format!("/api/plugins/{}", plugin.id)).await?;
            say::line(&format!("{} is removed.", plugin.name));
            Ok(())
        }
    }
}

/// Installs and binds; what cannot be bound is not kept, so that the command can be given again.
async fn install(
    gateway: &Gateway,
    name: &str,
    source: &Source,
    query: &[(&str, &str)],
    place: Option<&Place>,
) -> Result<()> {
    let plugin: Known = upload(gateway, &format!("/api/plugins?{}", encoded(query)), source).await?;
    if let Some(place) = place
        && let Err(error) = bind(gateway, &plugin, place).await
    {
        let _done: Value = gateway.delete(&format!("/api/plugins/{}", plugin.id)).await?;
        return Err(error.context("nothing was installed"));
    }
    say::line(&plugin.id);
    if !plugin.ungranted.is_empty() {
        say::aside(&format!("It would also like, and was not granted: {}.", plugin.ungranted.join(" ")));
    }
    if place.is_none() {
        say::aside(&format!("It runs nowhere yet: wagate plugin bind {name}"));
    }
    Ok(())
}

async fn bind(gateway: &Gateway, plugin: &Known, place: &Place) -> Result<()> {
    let mut body = json!({ "session_id": place.session });
    if let Some(file) = &place.configuration {
        body["config"] = json(file)?;
    }
    if let Some(policy) = place.policy {
        body["policy"] = json!(policy);
    }
    if let Some(position) = place.position {
        body["position"] = json!(position);
    }
    let bound: Binding = gateway.post(&format!("/api/plugins/{}/bindings", plugin.id), Some(body)).await?;
    say::aside(&format!("{} runs on {} ({}).", plugin.name, ground(&bound), bound.id));
    Ok(())
}

async fn change(gateway: &Gateway, plugin: &str, body: Value, done: &str) -> Result<()> {
    let plugin = find(gateway, plugin).await?;
    let _changed: Value = gateway.patch(&format!("/api/plugins/{}", plugin.id), body).await?;
    say::line(&format!("{} {done}.", plugin.name));
    Ok(())
}

async fn rollback(gateway: &Gateway, plugin: &str, version: Option<u32>) -> Result<()> {
    let plugin = find(gateway, plugin).await?;
    let versions: Vec<Version> = gateway.get(&format!("/api/plugins/{}/versions", plugin.id)).await?;
    let earlier = || versions.iter().map(|version| version.number).filter(|number| *number < plugin.current).max();
    let Some(version) = version.or_else(earlier) else {
        bail!("{} has no version before {}", plugin.name, plugin.current);
    };
    change(gateway, &plugin.id, json!({ "current": version }), &format!("runs version {version}")).await
}

fn list(plugins: Vec<Known>) {
    let row = |plugin: Known| {
        let state = match (plugin.enabled, plugin.health.suspended_until) {
            (false, _) => "off",
            (true, Some(_)) => "suspended",
            (true, None) => "on",
        };
        let bound = plugin.bindings.iter().filter(|binding| binding.enabled).map(ground);
        let bound = bound.collect::<Vec<_>>().join(" ");
        let Health { calls, failures, p99_us, .. } = plugin.health;
        let version = format!("{} ({})", plugin.current, plugin.report.version);
        let (calls, failures, p99) = (calls.to_string(), failures.to_string(), format!("{p99_us} µs"));
        [plugin.id, plugin.name, version, state.to_owned(), bound, plugin.grants.join(" "), calls, failures, p99]
    };
    let heading = ["ID", "NAME", "VERSION", "STATE", "RUNS ON", "GRANTS", "CALLS", "FAILED", "P99"];
    say::table(heading, plugins.into_iter().map(row));
}

fn logs(mut lines: Vec<Line>) {
    lines.reverse();
    for Line { at, level, message, fields } in lines {
        let fields = fields.iter().map(|(name, value)| format!(" {name}={}", value.as_str().unwrap_or_default()));
        say::line(&format!("{at} {level:5} {message}{}", fields.collect::<String>()));
    }
}

fn ground(binding: &Binding) -> String {
    binding.session_id.clone().unwrap_or_else(|| "all sessions".to_owned())
}

/// The plugin of this name or id.
async fn find(gateway: &Gateway, plugin: &str) -> Result<Known> {
    let plugins: Vec<Known> = gateway.get("/api/plugins").await?;
    let found = plugins.into_iter().find(|known| known.name == plugin || known.id == plugin);
    found.ok_or_else(|| anyhow!("there is no plugin {plugin}; see `wagate plugin list`"))
}

async fn upload<T: serde::de::DeserializeOwned>(gateway: &Gateway, path: &str, source: &Source) -> Result<T> {
    match source {
        Source::Component(bytes) => gateway.upload(path, bytes.clone()).await,
        Source::Script(script) => gateway.post(path, Some(json!({ "script": script }))).await,
    }
    .context("the plugin was not taken")
}

/// What is asked for beside the upload.
fn wishes(words: &[String], accept_ungranted: bool) -> Result<Vec<(&'static str, &str)>> {
    grants(words)?;
    let words = words.iter().map(|word| ("grant", word.as_str()));
    Ok(words.chain(accept_ungranted.then_some(("accept_ungranted", "true"))).collect())
}

fn encoded(query: &[(&str, &str)]) -> String {
    Serializer::new(String::new()).extend_pairs(query).finish()
}
