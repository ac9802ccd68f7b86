//! A user of the gateway's REST API, as a program of theirs would be.

use std::sync::Once;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use wagate_simulator::Phone;

/// How long the gateway may take for anything a test waits for. The slowest is noticing a connection that died without
/// a word: the library asks every 15 to 30 s and waits 20 s for an answer.
pub const PATIENCE: Duration = Duration::from_mins(1);
/// The administrator's password in tests.
pub const PASSWORD: &str = "correct horse battery staple";

/// Somebody logged in.
#[derive(Clone, Debug)]
pub struct Api {
    base: String,
    token: String,
    http: reqwest::Client,
}

/// An answer: status and JSON body (`null` when there is none).
pub type Answer = (StatusCode, Value);

/// A client for plain HTTP on loopback.
pub fn http_client() -> Result<reqwest::Client> {
    static PROVIDER: Once = Once::new();
    // It is installed already when a gateway runs in this process.
    PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
    Ok(reqwest::Client::builder().no_proxy().timeout(Duration::from_mins(2)).build()?)
}

impl Api {
    /// Logs in at `base` (`http://127.0.0.1:PORT`).
    pub async fn login(base: &str, username: &str, password: &str) -> Result<Self> {
        let http = http_client()?;
        let mut api = Self { base: base.to_owned(), token: String::new(), http };
        let body = json!({ "username": username, "password": password });
        let (status, answer) = api.call(Method::POST, "/api/login", Some(body)).await?;
        ensure!(status == StatusCode::OK, "login failed: {status} {answer}");
        answer["token"].as_str().context("no token")?.clone_into(&mut api.token);
        Ok(api)
    }

    /// The same user at another address, after a restart.
    #[must_use]
    pub fn at(&self, base: &str) -> Self {
        Self { base: base.to_owned(), ..self.clone() }
    }

    /// The gateway's address.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The token.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// One request.
    pub async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Result<Answer> {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if !self.token.is_empty() {
            request = request.bearer_auth(&self.token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        answer(request).await
    }

    /// Installs a component as a plugin of this name; answers its id.
    pub async fn install_plugin(&self, name: &str, component: Vec<u8>, grants: &[&str]) -> Result<String> {
        let grants: String = grants.iter().flat_map(|grant| ["&grant=", grant]).collect();
        let url = format!("{}/api/plugins?name={name}{grants}", self.base);
        let request = self.http.post(url).bearer_auth(&self.token).header("content-type", "application/wasm");
        let (status, plugin) = answer(request.body(component)).await?;
        ensure!(status == StatusCode::CREATED, "install failed: {status} {plugin}");
        Ok(plugin["id"].as_str().context("no id")?.to_owned())
    }

    /// Binds a plugin; `binding` is what the API takes.
    pub async fn bind_plugin(&self, plugin: &str, binding: Value) -> Result<()> {
        let (status, bound) = self.post(&format!("/api/plugins/{plugin}/bindings"), binding).await?;
        ensure!(status == StatusCode::CREATED, "bind failed: {status} {bound}");
        Ok(())
    }

    /// Adds a user with the usual password and logs them in.
    pub async fn user(&self, username: &str) -> Result<Self> {
        let body = json!({ "username": username, "password": PASSWORD });
        let (status, user) = self.post("/api/users", body).await?;
        ensure!(status == StatusCode::CREATED, "no user: {status} {user}");
        Self::login(&self.base, username, PASSWORD).await
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Result<Answer> {
        self.call(Method::GET, path, None).await
    }

    /// POST.
    pub async fn post(&self, path: &str, body: Value) -> Result<Answer> {
        self.call(Method::POST, path, Some(body)).await
    }

    /// PUT.
    pub async fn put(&self, path: &str, body: Value) -> Result<Answer> {
        self.call(Method::PUT, path, Some(body)).await
    }

    /// DELETE.
    pub async fn delete(&self, path: &str) -> Result<Answer> {
        self.call(Method::DELETE, path, None).await
    }

    /// Creates a session; answers its id.
    pub async fn create_session(&self, name: &str, webhook: Option<&str>) -> Result<String> {
        let (status, answer) = self.post("/api/sessions", json!({ "name": name, "webhook_url": webhook })).await?;
        ensure!(status == StatusCode::CREATED, "create failed: {status} {answer}");
        Ok(answer["id"].as_str().context("no id")?.to_owned())
    }

    /// Starts a session.
    pub async fn connect(&self, id: &str) -> Result<()> {
        let (status, answer) = self.post(&format!("/api/sessions/{id}/connect"), json!({})).await?;
        ensure!(status == StatusCode::OK, "connect failed: {status} {answer}");
        Ok(())
    }

    /// The QR text to scan now.
    pub async fn qr(&self, id: &str) -> Result<String> {
        let (status, answer) = self.get(&format!("/api/sessions/{id}/qr")).await?;
        ensure!(status == StatusCode::OK, "no QR: {status} {answer}");
        Ok(answer["data"]["qr"].as_str().context("no qr")?.to_owned())
    }

    /// Creates a session, starts it, has `phone` scan its QR and waits until it is connected; answers its id.
    pub async fn link(&self, phone: &Phone, webhook: Option<&str>) -> Result<String> {
        let id = self.create_session(&phone.name(), webhook).await?;
        self.connect(&id).await?;
        phone.scan(&self.qr(&id).await?).await?;
        self.wait_connected(&id).await?;
        Ok(id)
    }

    /// Waits until the session is connected.
    pub async fn wait_connected(&self, id: &str) -> Result<()> {
        self.wait_status(id, |session| session["connected"] == true).await.map(drop)
    }

    /// Waits until the session object satisfies `wanted`; answers it.
    pub async fn wait_status(&self, id: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let (_, session) = self.get(&format!("/api/sessions/{id}")).await?;
            if wanted(&session) {
                return Ok(session);
            }
            if tokio::time::Instant::now() > deadline {
                bail!("the session did not get there: {session}");
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }

    /// Waits until the session's status has this name; answers the session.
    pub async fn wait_state(&self, id: &str, state: &str) -> Result<Value> {
        self.wait_status(id, |session| session["status"]["state"] == state).await
    }

    /// Sends a text; answers the message id on WhatsApp.
    pub async fn send_text(&self, id: &str, to: &str, text: &str) -> Result<String> {
        let body = json!({ "recipient": to, "message": text });
        let (status, answer) = self.post(&format!("/api/sessions/{id}/send"), body).await?;
        ensure!(status == StatusCode::OK, "send failed: {status} {answer}");
        Ok(answer["message_id"].as_str().context("no message_id")?.to_owned())
    }
}

async fn answer(request: reqwest::RequestBuilder) -> Result<Answer> {
    let response = request.send().await?;
    let status = response.status();
    let text = response.text().await?;
    Ok((status, serde_json::from_str(&text).unwrap_or(Value::Null)))
}
