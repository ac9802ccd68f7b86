//! The limit: webhooks from a bare hyper client. It signs each and waits for its answer, and does nothing else.

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};
use axum::body::{Body, to_bytes};
use hyper::client::conn::http1;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use standardwebhooks::Webhook;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use wagate_tests::receiver::{Receiver, Recorded};

/// Bytes read of an answer at most.
const ANSWER: usize = 64 * 1024;

/// Posts the requests once more, to this receiver, over so many connections; how long it took.
pub(crate) async fn post(
    receiver: &Receiver,
    requests: Vec<Recorded>,
    secret: &str,
    connections: usize,
) -> Result<Duration> {
    let share = requests.len().div_ceil(connections.max(1)).max(1);
    let shares: Vec<_> = requests.chunks(share).map(<[Recorded]>::to_vec).collect();
    let begun = Instant::now();
    let mut posting = JoinSet::new();
    for share in shares {
        posting.spawn(post_all(receiver.address(), share, secret.to_owned()));
    }
    while let Some(posted) = posting.join_next().await {
        posted??;
    }
    Ok(begun.elapsed())
}

/// Over one connection, one after the other.
async fn post_all(receiver: SocketAddr, requests: Vec<Recorded>, secret: String) -> Result<()> {
    let webhook = Webhook::new(&secret)?;
    let socket = TcpStream::connect(receiver).await?;
    socket.set_nodelay(true)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await?;
    let mut driving = JoinSet::new();
    driving.spawn(connection);
    let host = receiver.to_string();
    for Recorded { path, headers, body, .. } in requests {
        let id = headers.get("webhook-id").and_then(|id| id.to_str().ok()).unwrap_or_default();
        let timestamp = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?;
        let signature = webhook.sign(id, timestamp, &body)?;
        let request = Request::post(path)
            .header("host", &host)
            .header("content-type", "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signature)
            .body(Body::from(body))?;
        sender.ready().await?;
        let answer = sender.send_request(request).await?;
        ensure!(answer.status() == StatusCode::OK, "{}", answer.status());
        to_bytes(Body::new(answer.into_body()), ANSWER).await?;
    }
    Ok(())
}
