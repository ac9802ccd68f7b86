//! Settings: one typed area a file, each value from a flag, the environment, the file or its default.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

/// Everything the gateway can be told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where state lives that is not in the database: the SQLite file, keys made at first start. `DATA_DIR`.
    pub data_dir: PathBuf,
    /// The HTTP side.
    pub http: HttpConfig,
    /// The database.
    pub database: DatabaseConfig,
    /// Logging in.
    pub auth: AuthConfig,
    /// The connection to WhatsApp.
    pub whatsapp: WhatsappConfig,
    /// Posting webhooks.
    pub webhook: WebhookConfig,
    /// Sealing secrets at rest.
    pub vault: VaultConfig,
    /// Logs.
    pub telemetry: TelemetryConfig,
}

/// The HTTP listener and its limits.
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// Address to listen on. `HOST`, default 127.0.0.1.
    pub host: IpAddr,
    /// Port to listen on; 0 lets the system choose. `PORT`, default 8080.
    pub port: u16,
    /// Longest request body, bytes. Default 262,144.
    pub body_limit: usize,
    /// Time a client has to send its request head. Default 10 s.
    pub header_timeout: Duration,
    /// Time a request may take in all. Default 60 s.
    pub request_timeout: Duration,
    /// Connections open at once. Default 4,096.
    pub connections: usize,
    /// Proxies whose `X-Forwarded-For` is believed. Default none.
    pub trusted_proxies: Vec<IpAddr>,
}

impl HttpConfig {
    /// The address to listen on.
    pub fn listen(&self) -> SocketAddr {
        SocketAddr::new(self.host, self.port)
    }
}

/// Which engine, and where it is. `DB_TYPE DB_HOST DB_PORT DB_USER DB_PASS DB_NAME`.
#[derive(Clone, Debug)]
pub enum DatabaseConfig {
    /// One file, nothing to install. The file is `DATA_DIR/wagate.db` unless `DB_NAME` is a path.
    Sqlite {
        /// The database file.
        path: PathBuf,
    },
}

/// Logging in.
#[derive(Clone, Debug)]
pub struct AuthConfig {
    /// The key tokens are signed with, at least 32 bytes. `JWT_SECRET`; made at first start when not given.
    pub jwt_secret: Option<SecretString>,
    /// How long a token is good for. Default 12 h.
    pub token_lifetime: Duration,
    /// The first administrator's password. `ADMIN_PASSWORD`; a one-time password is printed when not given.
    pub admin_password: Option<SecretString>,
}

/// The connection to WhatsApp.
#[derive(Clone, Debug)]
pub struct WhatsappConfig {
    /// The server. `WHATSAPP_URL`, default `wss://web.whatsapp.com/ws/chat`.
    pub url: url::Url,
    /// The web client version to present; fetched and cached when not given. `WHATSAPP_VERSION` as `2.3000.1`.
    pub version: Option<(u32, u32, u32)>,
    /// The name shown in the phone's list of linked devices. Default `wagate`.
    pub device_name: String,
    /// Time the server has to accept a send. Default 20 s.
    pub ack_timeout: Duration,
    /// Sessions that may be connecting at once after a start. Default 20.
    pub starting_at_once: usize,
}

/// Posting webhooks.
#[derive(Clone, Debug)]
pub struct WebhookConfig {
    /// Time an attempt may take in all. Default 15 s.
    pub timeout: Duration,
    /// Attempts running at once. Default 64.
    pub concurrency: usize,
    /// Private networks webhooks may go to, as `10.0.0.0/8`. `WEBHOOK_ALLOW`, default none.
    pub allow: Vec<String>,
}

/// Sealing secrets at rest.
#[derive(Clone, Debug)]
pub struct VaultConfig {
    /// The master key, 32 bytes as base64. `MASTER_KEY`; else the file below, made at first start.
    pub master_key: Option<SecretString>,
    /// Where the master key lies when not given. Default `DATA_DIR/master.key`, mode 0600.
    pub key_file: PathBuf,
}

/// Logs.
#[derive(Clone, Debug)]
pub struct TelemetryConfig {
    /// Filter, as `info` or `wagate=debug,info`. `LOG`, default `info`.
    pub log: String,
    /// One JSON object a line instead of text. `LOG_FORMAT=json`.
    pub json: bool,
}
