//! A gateway that runs, spoken to by its own API as any client would.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use reqwest::{Client, Method, Response, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::config::Config;

/// Time a call may take: a send waits for WhatsApp, nothing here does.
const PATIENCE: Duration = Duration::from_secs(30);

/// The gateway, and the token once logged in.
#[derive(Clone, Debug)]
pub(super) struct Gateway {
    client: Client,
    listen: SocketAddr,
    token: Option<SecretString>,
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
        let gateway = Self { client, listen, token: None };
        let version: Result<Value> = gateway.ask(Method::GET, "/api/version", None).await;
        if version.is_ok_and(|version| version["name"] == env!("CARGO_PKG_NAME")) {
            return Ok(Some(gateway));
        }
        bail!("something else than wagate listens at {listen}; give the gateway another port (--port or PORT)")
    }

    /// The same gateway, with this user logged in.
    pub(super) async fn login(mut self, username: &str, password: &SecretString) -> Result<Self> {
        let body = json!({ "username": username, "password": password.expose_secret() });
        let answer: Value = self.ask(Method::POST, "/api/login", Some(body)).await.context("the login failed")?;
        let token = answer["token"].as_str().ok_or_else(|| anyhow!("the gateway answered the login without a token"))?;
        self.token = Some(SecretString::from(token));
        Ok(self)
    }

    /// Where it is, for a reader.
    pub(super) fn address(&self) -> String {
        format!("http://{}", self.listen)
    }

    /// The address of a session's pairing stream, the token in it.
    pub(super) fn stream(&self, session: &str) -> SecretString {
        let token = self.token.as_ref().map(ExposeSecret::expose_secret).unwrap_or_default();
        SecretString::from(format!("ws://{}/api/ws/{session}?token={token}", self.listen))
    }

    /// One call with an answer in JSON.
    pub(super) async fn ask<T: DeserializeOwned>(&self, method: Method, path: &str, body: Option<Value>) -> Result<T> {
        let answer = self.call(method, path, body).await?;
        answer.json().await.with_context(|| format!("{path} gave an answer this wagate does not understand"))
    }

    /// One call whose answer, if it is good, does not matter.
    pub(super) async fn tell(&self, method: Method, path: &str, body: Option<Value>) -> Result<()> {
        self.call(method, path, body).await.map(|_| ())
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Result<Response> {
        let mut request = self.client.request(method, format!("{}{path}", self.address()));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose_secret());
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.with_context(|| format!("the gateway at {} did not answer", self.listen))?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        Err(refusal(status, answer.json().await.unwrap_or_default()))
    }
}

/// What the gateway says against a call: its own words, and its hint where it gave one.
fn refusal(status: StatusCode, body: Value) -> anyhow::Error {
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
        assert_eq!(refusal(StatusCode::NOT_FOUND, body).to_string(), "no such user; see `wagate user list`");
        assert_eq!(
            refusal(StatusCode::BAD_GATEWAY, Value::Null).to_string(),
            "the gateway answered 502 Bad Gateway"
        );
    }
}
