//! A gateway that runs, spoken to by its own API as any client would.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::config::Config;
use crate::model::SessionId;

/// Time a call may take: installing a plugin waits for its compilation.
const PATIENCE: Duration = Duration::from_secs(90);

/// Time a command lets itself be put off, in all.
const POLITENESS: Duration = Duration::from_secs(10);

/// The gateway, and the token once logged in.
#[derive(Clone, Debug)]
pub(super) struct Gateway {
    client: Client,
    listen: SocketAddr,
    token: Option<SecretString>,
    newcomer: bool,
}

impl Gateway {
    /// The gateway that listens where the settings say; `None` when nothing listens there.
    pub(super) async fn find(config: &Config) -> Result<Option<Self>> {
        let listen = reachable(config.http.listen());
        if listen.port() == 0 || tokio::net::TcpStream::connect(listen).await.is_err() {
            return Ok(None);
        }
        // Clear text on this machine; the library wants a cryptography provider all the same.
        let _installed_before = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().no_proxy().timeout(PATIENCE).build()?;
        let gateway = Self { client, listen, token: None, newcomer: false };
        let version: Result<Value> = gateway.get("/api/version").await;
        if version.is_ok_and(|version| version["name"] == env!("CARGO_PKG_NAME")) {
            return Ok(Some(gateway));
        }
        bail!("something else than wagate listens at {listen}; give the gateway another port (--port or PORT)")
    }

    /// The same gateway, with this user logged in.
    pub(super) async fn login(mut self, username: &str, password: &SecretString) -> Result<Self> {
        let body = json!({ "username": username, "password": password.expose_secret() });
        let answer: Value = self.post("/api/login", Some(body)).await.context("the login failed")?;
        let token =
            answer["token"].as_str().ok_or_else(|| anyhow!("the gateway answered the login without a token"))?;
        self.token = Some(SecretString::from(token));
        self.newcomer = answer["must_change_password"] == true;
        Ok(self)
    }

    /// Where it is, for a reader.
    pub(super) fn address(&self) -> String {
        format!("http://{}", self.listen)
    }

    /// Whether the user came with a one-time password and must choose a lasting one before anything else.
    pub(super) fn newcomer(&self) -> bool {
        self.newcomer
    }

    /// `GET`, answered in JSON.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.ask(Method::GET, path, None).await
    }

    /// `POST`, answered in JSON.
    pub(super) async fn post<T: DeserializeOwned>(&self, path: &str, body: Option<Value>) -> Result<T> {
        self.ask(Method::POST, path, body).await
    }

    /// `PATCH`, answered in JSON.
    pub(super) async fn patch<T: DeserializeOwned>(&self, path: &str, body: Value) -> Result<T> {
        self.ask(Method::PATCH, path, Some(body)).await
    }

    /// `POST` of a WebAssembly component, answered in JSON.
    pub(super) async fn upload<T: DeserializeOwned>(&self, path: &str, component: Bytes) -> Result<T> {
        let request = self.client.post(format!("{}{path}", self.address()));
        let answer = self.send(request.header(CONTENT_TYPE, "application/wasm").body(component)).await?;
        understood(path, answer).await
    }

    /// `DELETE`, answered in JSON.
    pub(super) async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.ask(Method::DELETE, path, None).await
    }

    /// The frames of a session's pairing socket. Opening it starts a session that is not running.
    pub(super) async fn follow(&self, session: &SessionId) -> Result<impl Stream<Item = Result<Value>> + use<>> {
        let mut request = format!("ws://{}/api/ws/{session}", self.listen).into_client_request()?;
        if let Some(token) = &self.token {
            let mut bearer = HeaderValue::from_str(&format!("Bearer {}", token.expose_secret()))?;
            bearer.set_sensitive(true);
            request.headers_mut().insert(AUTHORIZATION, bearer);
        }
        let (socket, _) = tokio_tungstenite::connect_async(request).await.context("the pairing socket did not open")?;
        Ok(socket.filter_map(async |message| match message {
            Ok(Message::Text(text)) => Some(serde_json::from_str(&text).context("a frame that is no JSON")),
            Ok(Message::Close(Some(reason))) => Some(Err(anyhow!("the gateway closed the socket: {}", reason.reason))),
            Ok(_) => None,
            Err(error) => Some(Err(error.into())),
        }))
    }

    async fn ask<T: DeserializeOwned>(&self, method: Method, path: &str, body: Option<Value>) -> Result<T> {
        let mut request = self.client.request(method, format!("{}{path}", self.address()));
        if let Some(body) = body {
            request = request.json(&body);
        }
        understood(path, self.send(request).await?).await
    }

    async fn send(&self, mut request: RequestBuilder) -> Result<Response> {
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose_secret());
        }
        let began = Instant::now();
        loop {
            let again = request.try_clone();
            let answer = request.send().await;
            let answer = answer.with_context(|| format!("the gateway at {} did not answer", self.listen))?;
            let status = answer.status();
            if status.is_success() {
                return Ok(answer);
            }
            // Each command logs in, so a script of several soon asks too often.
            match (again, pause(&answer)) {
                (Some(next), Some(pause)) if began.elapsed() + pause <= POLITENESS => {
                    tokio::time::sleep(pause).await;
                    request = next;
                }
                _ => return Err(refusal(status, &answer.json().await.unwrap_or_default())),
            }
        }
    }
}

async fn understood<T: DeserializeOwned>(path: &str, answer: Response) -> Result<T> {
    answer.json().await.with_context(|| format!("{path} gave an answer this wagate does not understand"))
}

/// How long to wait before asking again, where the gateway was asked too often.
fn pause(answer: &Response) -> Option<Duration> {
    let seconds = answer.headers().get(RETRY_AFTER).filter(|_| answer.status() == StatusCode::TOO_MANY_REQUESTS)?;
    seconds.to_str().ok()?.parse().ok().map(Duration::from_secs)
}

/// What the gateway says against a call: its own words, and its hint where it gave one.
fn refusal(status: StatusCode, body: &Value) -> anyhow::Error {
    match (body["message"].as_str(), body["hint"].as_str()) {
        (Some(message), Some(hint)) => anyhow!("{message}; {hint}"),
        (Some(message), None) => anyhow!("{message}"),
        _ => anyhow!("the gateway answered {status}"),
    }
}

/// An address that listens on every interface is called on this machine's own.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let host = match listen.ip() {
        IpAddr::V4(any) if any.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(any) if any.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        given => given,
    };
    SocketAddr::new(host, listen.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_a_gateway_on_every_interface_at_this_machine() {
        let table = [("0.0.0.0:80", "127.0.0.1:80"), ("[::]:80", "[::1]:80"), ("10.0.0.1:80", "10.0.0.1:80")];
        for (listen, called) in table {
            assert_eq!(reachable(listen.parse().unwrap()), called.parse().unwrap());
        }
    }

    #[test]
    fn gives_the_gateways_own_words() {
        let body = json!({ "error": "Not Found", "message": "no such user", "hint": "see `wagate user list`" });
        assert_eq!(refusal(StatusCode::NOT_FOUND, &body).to_string(), "no such user; see `wagate user list`");
        assert_eq!(refusal(StatusCode::BAD_GATEWAY, &Value::Null).to_string(), "the gateway answered 502 Bad Gateway");
    }
}
