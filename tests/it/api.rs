//! The REST API and the pairing socket over a real connection: every part is real but WhatsApp, which nobody answers
//! for here (`tests/it/contract.rs` and its kin pair against the simulator).

mod description;
mod login;
mod requests;
mod sessions;
mod socket;
mod streams;
mod users;
mod vault;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Once};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use wagate::app::tasks::Tasks;
use wagate::auth::{Auth, OneTimePassword};
use wagate::config::{AuthConfig, HttpConfig, PluginConfig, VaultConfig, WebhookConfig, WhatsappConfig};
use wagate::egress::Egress;
use wagate::http::{Parts, Server};
use wagate::model::{Clock, Millis};
use wagate::outbound::Outbound;
use wagate::plugin::Plugins;
use wagate::plugin::catalog::Catalog;
use wagate::session::Sessions;
use wagate::store::{Store, Vault};
use wagate::webhook::Webhooks;
use wagate::whatsapp::Whatsapp;
use wagate_tests::database::Database;
use wagate_tests::process::demo_binary;

/// The administrator's password, where the test does not choose another.
const PASSWORD: &str = "correct horse battery";
/// The key tokens are signed with, known so that tests can forge some.
const JWT_SECRET: &str = "5f0c1e77d2a94b8896c3e1f0a7b2d4c6";

/// A gateway without WhatsApp behind it, and a client.
pub(crate) struct Site {
    pub(crate) base: String,
    address: SocketAddr,
    pub(crate) http: reqwest::Client,
    clock: Clock,
    tasks: Tasks,
    /// The store's own, because its writer ends last.
    writer: Tasks,
    pub(crate) store: Store,
    sessions: Sessions,
    first_password: Option<OneTimePassword>,
    dir: Arc<Home>,
}

/// What outlives a stop. The database goes before the folder.
struct Home {
    database: Database,
    folder: TempDir,
}

impl Home {
    fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// What a test may change before the start.
struct Settings {
    http: HttpConfig,
    auth: AuthConfig,
    demo: bool,
    dir: Arc<Home>,
}

/// An answer: status, headers and JSON body (`null` when there is none).
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    headers: reqwest::header::HeaderMap,
    pub(crate) body: Value,
}

impl Site {
    pub(crate) async fn start() -> Result<Self> {
        Self::start_with(|_| ()).await
    }

    async fn start_with(change: impl FnOnce(&mut Settings)) -> Result<Self> {
        let mut settings = Settings::usual()?;
        change(&mut settings);
        let Settings { http, auth, demo, dir } = settings;
        let clock = Clock::manual(Millis(1_700_000_000_000));
        let (tasks, writer) = (Tasks::new(), Tasks::new());
        let vault = Vault::open(&VaultConfig::in_file(dir.path().join("master.key"))).await?;
        let store =
            Store::open(&dir.database.config(&dir.path().join("wagate.db"))?, vault, clock.clone(), &writer).await?;
        let webhook = WebhookConfig { timeout: Duration::from_secs(5), concurrency: 4, allow: Vec::new() };
        let egress = Egress::new(&webhook, false)?;
        let whatsapp = Whatsapp::new(
            whatsapp()?,
            store.clone(),
            egress.clone(),
            clock.clone(),
            tasks.clone(),
            Arc::new(|_, _| Box::pin(async { Ok(()) })),
        )?;
        let sessions = Sessions::new(whatsapp, store.clone(), clock.clone(), tasks.clone(), 4, |_| ());
        let plugin = PluginConfig {
            compiler: Some(demo_binary()?),
            max_component_mib: 32,
            concurrency: 16,
            warm: 4,
            cache_dir: dir.path().join("plugins"),
        };
        let plugins = Plugins::start(plugin, store.clone(), egress.clone(), clock.clone(), &tasks)?;
        let catalog = Catalog::new(plugins.clone(), store.clone(), || ());
        let outbound = Outbound::new(store.clone(), sessions.clone(), plugins, clock.clone(), |_| ());
        let open = if demo { Auth::open_demo } else { Auth::open };
        let auth = open(&auth, dir.path(), store.clone(), clock.clone())?;
        let first_password = auth.first_start().await?;
        let webhook = WebhookConfig { timeout: Duration::from_secs(1), concurrency: 4, allow: Vec::new() };
        let (webhooks, _disabled) = Webhooks::start(store.clone(), egress.clone(), clock.clone(), webhook, &tasks);
        let parts = Parts {
            store: store.clone(),
            sessions: sessions.clone(),
            outbound,
            catalog,
            auth,
            egress,
            webhooks,
            backups: dir.path().join("backups"),
            clock: clock.clone(),
            config: http,
        };
        let server = Server::bind(parts.config.clone(), &tasks)?;
        server.open(parts, &tasks);
        let address = server.addr();
        let base = format!("http://{address}");
        Ok(Self { base, address, http: client()?, clock, tasks, writer, store, sessions, first_password, dir })
    }

    /// Stops in good order; fails when anything was left running.
    pub(crate) async fn stop(self) -> Result<()> {
        self.sessions.stop_all().await;
        let mut left = self.tasks.stop(Duration::from_secs(10)).await;
        self.store.close().await;
        left += self.writer.stop(Duration::from_secs(10)).await;
        ensure!(left == 0, "{left} tasks did not stop");
        Ok(())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// One request; an empty token sends none.
    pub(crate) async fn call(&self, method: Method, path: &str, token: &str, body: Option<Value>) -> Result<Answer> {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if !token.is_empty() {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        Answer::of(request).await
    }

    pub(crate) async fn get(&self, path: &str, token: &str) -> Result<Answer> {
        self.call(Method::GET, path, token, None).await
    }

    pub(crate) async fn post(&self, path: &str, token: &str, body: Value) -> Result<Answer> {
        self.call(Method::POST, path, token, Some(body)).await
    }

    pub(crate) async fn put(&self, path: &str, token: &str, body: Value) -> Result<Answer> {
        self.call(Method::PUT, path, token, Some(body)).await
    }

    pub(crate) async fn delete(&self, path: &str, token: &str) -> Result<Answer> {
        self.call(Method::DELETE, path, token, None).await
    }

    async fn try_login(&self, username: &str, password: &str) -> Result<Answer> {
        self.post("/api/login", "", json!({ "username": username, "password": password })).await
    }

    /// Logs in; answers the token.
    async fn login(&self, username: &str, password: &str) -> Result<String> {
        let answer = self.try_login(username, password).await?;
        ensure!(answer.status == StatusCode::OK, "{} {}", answer.status, answer.body);
        Ok(answer.body["token"].as_str().context("no token")?.to_owned())
    }

    /// The administrator's token.
    pub(crate) async fn admin(&self) -> Result<String> {
        self.login("admin", PASSWORD).await
    }

    /// Adds a user with a password of their own; answers their token.
    pub(crate) async fn user(&self, admin: &str, username: &str) -> Result<String> {
        let password = format!("lasting secret {}", username.len());
        let body = json!({ "username": username, "password": password });
        let added = self.post("/api/users", admin, body).await?;
        ensure!(added.status == StatusCode::CREATED, "{} {}", added.status, added.body);
        self.login(username, &password).await
    }

    /// Creates a session with this id.
    pub(crate) async fn session(&self, token: &str, id: &str) -> Result<()> {
        let created = self.post("/api/sessions", token, json!({ "name": id, "id": id })).await?;
        ensure!(created.status == StatusCode::CREATED, "{} {}", created.status, created.body);
        Ok(())
    }
}

impl Settings {
    fn usual() -> Result<Self> {
        let http = HttpConfig {
            host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 0,
            body_limit: 262_144,
            header_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_mins(1),
            connections: 256,
            trusted_proxies: Vec::new(),
        };
        let auth = AuthConfig {
            jwt_secret: Some(JWT_SECRET.into()),
            token_lifetime: Duration::from_hours(12),
            admin_password: Some(PASSWORD.into()),
        };
        Ok(Self {
            http,
            auth,
            demo: false,
            dir: Arc::new(Home { database: Database::of_run()?, folder: TempDir::new()? }),
        })
    }
}

impl Answer {
    pub(crate) async fn of(request: reqwest::RequestBuilder) -> Result<Self> {
        let response = request.send().await?;
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await?;
        Ok(Self { status, headers, body: serde_json::from_str(&text).unwrap_or(Value::Null) })
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Fails unless this is the founding error object with this status and code.
    #[track_caller]
    pub(crate) fn refuses(&self, status: u16, code: &str) {
        assert_eq!((self.status.as_u16(), self.body["code"].as_str()), (status, Some(code)), "{}", self.body);
        assert_eq!(self.body["error"].as_str(), self.status.canonical_reason());
        assert!(self.body["message"].as_str().is_some_and(|message| message.len() > 8), "{}", self.body);
        let id = self.body["request_id"].as_str().unwrap_or_default();
        assert!(id.starts_with("req_") && id == self.header("x-request-id"), "{}", self.body);
    }
}

fn client() -> Result<reqwest::Client> {
    static PROVIDER: Once = Once::new();
    // It is installed already when another test of this process was first.
    PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
    Ok(reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(30)).build()?)
}

/// A WhatsApp nobody answers for: the discard port of this machine.
fn whatsapp() -> Result<WhatsappConfig> {
    Ok(WhatsappConfig {
        url: "ws://127.0.0.1:9/ws/chat".parse()?,
        version: Some((2, 3000, 1)),
        device_name: "wagate".to_owned(),
        ack_timeout: Duration::from_secs(2),
        starting_at_once: 4,
    })
}

/// A file's text.
fn text(file: &Path) -> Result<String> {
    std::fs::read_to_string(file).with_context(|| file.display().to_string())
}
