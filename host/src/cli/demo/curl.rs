//! REST calls that show themselves: each prints the `curl` that would do the same.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use serde_json::Value;

use crate::cli::say;
use crate::egress::{Egress, Request};

/// The demo's way to the gateway.
pub(super) struct Rest {
    egress: Egress,
    base: String,
    token: Option<String>,
}

impl Rest {
    pub(super) fn new(egress: Egress, base: String) -> Self {
        Self { egress, base, token: None }
    }

    /// Carries this token from now on.
    pub(super) fn carry(&mut self, token: &str) {
        self.token = Some(token.to_owned());
    }

    /// POSTs and shows itself.
    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.show(path, Some(body));
        self.call("POST", path, Some(body)).await
    }

    /// POSTs the bytes of a file and shows itself.
    pub(super) async fn upload(&self, path: &str, file: &str, bytes: &'static [u8]) -> Result<Value> {
        let base = &self.base;
        say::line(&format!(
            "   $ curl -s '{base}{path}' -H \"Authorization: Bearer $TOKEN\" -H 'Content-Type: application/wasm' \\\n       --data-binary @{file}"
        ));
        self.exchange("POST", path, "application/wasm", Bytes::from_static(bytes)).await
    }

    /// GETs and shows itself.
    pub(super) async fn get(&self, path: &str) -> Result<Value> {
        self.show(path, None);
        self.call("GET", path, None).await
    }

    /// Asks quietly until the answer is as wanted.
    pub(super) async fn wait(&self, path: &str, wanted: impl Fn(&Value) -> bool, patience: Duration) -> Result<()> {
        let asking = async {
            while !wanted(&self.call("GET", path, None).await?) {
                tokio::time::sleep(Duration::from_millis(25)).await;
            }
            Ok(())
        };
        tokio::time::timeout(patience, asking).await.context("it took too long")?
    }

    async fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        let body = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        self.exchange(method, path, "application/json", body).await
    }

    async fn exchange(&self, method: &str, path: &str, content_type: &str, body: Bytes) -> Result<Value> {
        let mut headers = vec![("content-type".to_owned(), content_type.to_owned())];
        headers.extend(self.token.iter().map(|token| ("authorization".to_owned(), format!("Bearer {token}"))));
        let answer = self
            .egress
            .exchange(Request {
                method: method.to_owned(),
                url: format!("{}{path}", self.base).parse()?,
                headers,
                body,
                deadline: Duration::from_secs(30),
                answer_limit: 1024 * 1024,
            })
            .await
            .result?;
        let text = String::from_utf8_lossy(&answer.body);
        ensure!((200..300).contains(&answer.status), "{method} {path} was answered {}: {text}", answer.status);
        serde_json::from_str(&text).with_context(|| format!("{method} {path} answered no JSON: {text}"))
    }

    fn show(&self, path: &str, body: Option<&Value>) {
        let token = if self.token.is_some() { " -H \"Authorization: Bearer $TOKEN\"" } else { "" };
        let body = body.map(|body| format!(" -H 'Content-Type: application/json' -d '{body}'")).unwrap_or_default();
        say::line(&format!("   $ curl -s {}{path}{token}{body}", self.base));
    }
}
