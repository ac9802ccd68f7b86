//! The demo's webhook receiver: keeps what comes, answers 200, and knows when it did.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::routing::post;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::app::tasks::Tasks;

/// Webhooks kept; a demo that stays up for days forgets the oldest.
const KEPT: usize = 200;

/// A webhook that came.
#[derive(Clone, Debug)]
pub(super) struct Webhook {
    /// The path it came to, `/webhook` or `/billing`.
    pub(super) path: String,
    pub(super) id: String,
    pub(super) signature: String,
    pub(super) body: String,
    pub(super) answered: Instant,
}

type Webhooks = Arc<watch::Sender<Vec<Webhook>>>;

/// The receiver, listening on loopback.
pub(super) struct Receiver {
    address: SocketAddr,
    webhooks: Webhooks,
}

impl Receiver {
    pub(super) async fn start(tasks: &Tasks) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let webhooks = Webhooks::default();
        let app =
            Router::new().route("/webhook", post(take)).route("/billing", post(take)).with_state(Arc::clone(&webhooks));
        let stopping = tasks.stopping();
        tasks.spawn("demo receiver", async move {
            // It ends with the demo; an accept error ends it early and the next step says that no webhook came.
            let _ = axum::serve(listener, app).with_graceful_shutdown(stopping).await.is_ok();
        });
        Ok(Self { address, webhooks })
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/webhook", self.address)
    }

    /// A second address, for what a plugin routes there.
    pub(super) fn billing_url(&self) -> String {
        format!("http://{}/billing", self.address)
    }

    /// Waits for the webhook of a session that carries this text.
    pub(super) async fn wait(&self, session: &str, text: &str, patience: Duration) -> Result<Webhook> {
        self.wait_where(session, |said| said == text, patience).await
    }

    /// Waits for the webhook of a session whose text is as wanted.
    pub(super) async fn wait_where(
        &self,
        session: &str,
        wanted: impl Fn(&str) -> bool,
        patience: Duration,
    ) -> Result<Webhook> {
        let is_it = |webhook: &Webhook| {
            let body: Value = serde_json::from_str(&webhook.body).unwrap_or_default();
            body["session_id"] == session && body["message"]["message"].as_str().is_some_and(&wanted)
        };
        let mut webhooks = self.webhooks.subscribe();
        let came = tokio::time::timeout(patience, webhooks.wait_for(|all| all.iter().any(is_it)));
        let all = came.await.context("it took too long")??;
        all.iter().find(|webhook| is_it(webhook)).cloned().context("it came and went")
    }
}

async fn take(State(webhooks): State<Webhooks>, uri: Uri, headers: HeaderMap, body: String) -> StatusCode {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let webhook = Webhook {
        path: uri.path().to_owned(),
        id: header("webhook-id"),
        signature: header("webhook-signature"),
        body,
        answered: Instant::now(),
    };
    webhooks.send_modify(|all| {
        if all.len() >= KEPT {
            all.remove(0);
        }
        all.push(webhook);
    });
    StatusCode::OK
}
