//! Settings: one typed area a file, each value from a flag, the environment, the file or its default, in that order.
//!
//! An area lists its settings once, as [`Setting`]s; flags, environment names, file keys, `config show` and
//! `examples/gateway.toml` all follow from those lists. To add a setting: a `static` in its area, a line in that area's
//! `SETTINGS`, a field read from it. Nothing else.
//!
//! Invariant: only this room reads the process environment, and only the names its settings have (plus those a caller
//! asks [`environment`] for); a value that is wrong is refused here, with its name, where it came from and what was expected.

mod auth;
mod database;
mod http;
mod nats;
mod plugin;
mod retention;
mod setting;
mod show;
mod source;
mod telemetry;
mod value;
mod vault;
mod webhook;
mod whatsapp;

use std::path::{Path, PathBuf};

pub use auth::AuthConfig;
pub use database::{DatabaseConfig, DatabaseTls, ServerConfig};
pub use http::HttpConfig;
pub use nats::NatsConfig;
pub use plugin::PluginConfig;
pub use retention::RetentionConfig;
pub use setting::Setting;
pub use show::{example, show};
pub use source::{Origin, Sources, environment};
pub use telemetry::TelemetryConfig;
pub use value::{ConfigError, Value, Values};
pub use vault::VaultConfig;
pub use webhook::WebhookConfig;
pub use whatsapp::WhatsappConfig;

/// Everything the gateway can be told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where state lives that is not in the database: the SQLite file, keys made at first start. `DATA_DIR`.
    pub data_dir: PathBuf,
    /// The HTTP side.
    pub http: HttpConfig,
    /// The database.
    pub database: DatabaseConfig,
    /// How long what is in it is kept.
    pub retention: RetentionConfig,
    /// Logging in.
    pub auth: AuthConfig,
    /// The connection to WhatsApp.
    pub whatsapp: WhatsappConfig,
    /// Posting webhooks.
    pub webhook: WebhookConfig,
    /// NATS JetStream as a receiver.
    pub nats: NatsConfig,
    /// Running plugins.
    pub plugin: PluginConfig,
    /// Sealing secrets at rest.
    pub vault: VaultConfig,
    /// Logs.
    pub telemetry: TelemetryConfig,
}

static DATA_DIR: Setting = Setting::new(
    "data_dir",
    "DATA_DIR",
    "a folder",
    "Where state lies: the SQLite database and the keys made at first start. Backups: `wagate backup`, and a copy of the keys.",
)
.default(".wagate");

const SETTINGS: &[&Setting] = &[&DATA_DIR];

/// Every setting, in the order it is shown.
pub fn settings() -> impl Iterator<Item = &'static Setting> {
    let areas: [&[&'static Setting]; 11] = [
        SETTINGS,
        http::SETTINGS,
        database::SETTINGS,
        retention::SETTINGS,
        auth::SETTINGS,
        whatsapp::SETTINGS,
        webhook::SETTINGS,
        nats::SETTINGS,
        plugin::SETTINGS,
        vault::SETTINGS,
        telemetry::SETTINGS,
    ];
    areas.into_iter().flatten().copied()
}

impl Config {
    /// Reads every setting from `sources` and checks it.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        Self::read(&Values::resolve(sources)?)
    }

    /// The typed form of values resolved before.
    pub fn read(values: &Values) -> Result<Self, ConfigError> {
        let data_dir: PathBuf = values.required(&DATA_DIR, value::folder)?;
        Ok(Self {
            http: HttpConfig::read(values)?,
            database: DatabaseConfig::read(values, &data_dir)?,
            retention: RetentionConfig::read(values)?,
            auth: AuthConfig::read(values)?,
            whatsapp: WhatsappConfig::read(values)?,
            webhook: WebhookConfig::read(values)?,
            nats: NatsConfig::read(values)?,
            plugin: PluginConfig::read(values, &data_dir)?,
            vault: VaultConfig::read(values, &data_dir)?,
            telemetry: TelemetryConfig::read(values)?,
            data_dir,
        })
    }

    /// A gateway for a test or a demo: state in `data_dir`, a port the system chooses on loopback, and nobody at the
    /// other end of WhatsApp until [`WhatsappConfig::url`] is set. Reads no environment.
    pub fn for_tests(data_dir: &Path) -> Result<Self, ConfigError> {
        let mut sources = Sources::default();
        sources.set("data_dir", data_dir.to_string_lossy());
        sources.set("http.port", "0");
        sources.set("whatsapp.url", "ws://127.0.0.1:9/ws/chat");
        Self::load(&sources)
    }
}

#[cfg(test)]
mod tests;
