//! Requests that are wrong, slow, large or too many, and what surrounds every answer.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use reqwest::{Method, StatusCode};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{Answer, Site};

#[tokio::test]
async fn a_bad_body_is_a_bad_request_that_names_the_field() -> Result<()> {
    let site = Site::start().await?;
    let token = site.admin().await?;
    site.session(&token, "s").await?;
    let table = [
        ("{", "invalid_json", "EOF while parsing"),
        ("recipient=1&message=x", "invalid_json", "expected value"),
        (r#"{"recipient": "6281381393739", "message": "x"} x"#, "invalid_json", "trailing characters"),
        ("", "invalid_body", "the body is empty"),
        ("[]", "invalid_field", "invalid length 0"),
        ("{}", "invalid_field", "missing field `recipient`"),
        (r#"{"recipient": 6281381393739, "message": "x"}"#, "invalid_field", "recipient: invalid type: integer"),
        (r#"{"recipient": "6281381393739", "message": null}"#, "invalid_field", "message: invalid type: null"),
        (
            r#"{"recipient": "6281381393739", "message": "x", "nonsense": 1}"#,
            "invalid_field",
            "unknown field `nonsense`",
        ),
        (r#"{"recipient": "x", "message": "x"}"#, "invalid_recipient", "recipient: a recipient is a phone number"),
        (r#"{"to": "1@example.org", "message": "x"}"#, "invalid_recipient", "recipient: a recipient is a phone number"),
        (r#"{"recipient": "6281381393739", "message": " "}"#, "invalid_message", "message: "),
    ];
    for (body, code, says) in table {
        let request = site.http.post(format!("{}/api/sessions/s/send", site.base)).bearer_auth(&token).body(body);
        let answer = Answer::of(request.header("content-type", "application/json")).await?;
        answer.refuses(400, code);
        assert!(answer.body["message"].as_str().is_some_and(|said| said.contains(says)), "{body}: {}", answer.body);
    }
    site.stop().await
}

#[tokio::test]
async fn refuses_bodies_that_are_not_json_or_too_large() -> Result<()> {
    let site = Site::start_with(|settings| settings.http.body_limit = 1_000).await?;
    let url = format!("{}/api/login", site.base);
    let plain = site.http.post(&url).header("content-type", "text/plain").body("{}");
    Answer::of(plain).await?.refuses(415, "unsupported_media_type");
    let body = json!({ "username": "x".repeat(1_000), "password": "x" }).to_string();
    Answer::of(site.http.post(&url).body(body.clone())).await?.refuses(413, "body_too_large");
    let pieces: Vec<_> = body.as_bytes().chunks(100).map(|piece| Ok::<_, std::io::Error>(piece.to_vec())).collect();
    let chunked = reqwest::Body::wrap_stream(futures_util::stream::iter(pieces));
    Answer::of(site.http.post(&url).body(chunked)).await?.refuses(413, "body_too_large");
    site.stop().await
}

#[tokio::test]
async fn a_wrong_method_is_told_the_right_ones() -> Result<()> {
    let site = Site::start().await?;
    let table = [
        (Method::GET, "/api/login", "POST"),
        (Method::PATCH, "/api/sessions", "GET,HEAD,POST"),
        (Method::POST, "/api/sessions/s", "GET,HEAD,DELETE"),
        (Method::OPTIONS, "/api/send", "POST"),
    ];
    for (method, path, allow) in table {
        let answer = site.call(method, path, "", None).await?;
        answer.refuses(405, "method_not_allowed");
        assert_eq!(answer.header("allow"), allow, "{path}");
    }
    site.stop().await
}

#[tokio::test]
async fn an_unknown_address_is_a_json_not_found() -> Result<()> {
    let site = Site::start().await?;
    for path in ["/api", "/api/nothing", "/api/sessions/", "/api/sessions/s/nothing", "/.env"] {
        site.get(path, "").await?.refuses(404, "no_such_route");
    }
    site.stop().await
}

#[tokio::test]
async fn an_idempotency_key_is_short_and_visible() -> Result<()> {
    let site = Site::start().await?;
    let token = site.admin().await?;
    site.session(&token, "s").await?;
    let send = async |keys: &[&str]| {
        let message = json!({ "recipient": "6281381393739", "message": "x" });
        let mut request =
            site.http.post(format!("{}/api/sessions/s/send", site.base)).bearer_auth(&token).json(&message);
        for key in keys {
            request = request.header("idempotency-key", *key);
        }
        Answer::of(request).await
    };
    let long = "x".repeat(256);
    for bad in [&["has a blank"][..], &[""], &[&long], &["one", "two"]] {
        send(bad).await?.refuses(400, "invalid_idempotency_key");
    }
    send(&[&long[..255]]).await?.refuses(404, "not_connected");
    site.stop().await
}

#[tokio::test]
async fn every_answer_is_named_and_guarded() -> Result<()> {
    let site = Site::start().await?;
    let mut seen = std::collections::BTreeSet::new();
    for path in ["/livez", "/readyz", "/api/version", "/api/sessions", "/api/nothing", "/api-docs.yaml"] {
        let answer = site.get(path, "").await?;
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("referrer-policy"), "no-referrer", "{path}");
        assert!(answer.header("access-control-allow-origin").is_empty(), "{path}: no foreign page may read this");
        let id = answer.header("x-request-id").to_owned();
        assert!(id.starts_with("req_") && seen.insert(id), "{path}");
    }
    assert_eq!(site.get("/readyz", "").await?.body, json!({ "status": "ok" }));
    assert_eq!(site.get("/api/version", "").await?.body["name"], json!("wagate"));
    site.stop().await
}

#[tokio::test]
async fn is_not_ready_without_its_store() -> Result<()> {
    let site = Site::start().await?;
    let token = site.admin().await?;
    site.store.close().await;
    site.get("/readyz", "").await?.refuses(503, "not_ready");
    site.get("/api/sessions", &token).await?.refuses(503, "stopping");
    assert_eq!(site.get("/livez", "").await?.status, StatusCode::OK, "it lives all the same");
    site.tasks.stop(Duration::from_secs(10)).await;
    Ok(())
}

#[tokio::test]
async fn a_client_that_sends_its_head_slowly_is_cut() -> Result<()> {
    let site = Site::start_with(|settings| settings.http.header_timeout = Duration::from_millis(300)).await?;
    let started = Instant::now();
    let mut slow = TcpStream::connect(site.address).await?;
    slow.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n").await?;
    let dripping = async {
        for _ in 0..100 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            if slow.write_all(b"x-drip: 1\r\n").await.is_err() {
                break;
            }
            let mut byte = [0];
            if slow.try_read(&mut byte).is_ok_and(|read| read == 0) {
                break;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(4), dripping).await.context("it was never cut")?;
    assert!(started.elapsed() >= Duration::from_millis(250), "cut after {:?}", started.elapsed());
    assert_eq!(site.get("/livez", "").await?.status, StatusCode::OK, "others are served");
    site.stop().await
}

#[tokio::test]
async fn a_head_with_too_much_in_it_is_refused() -> Result<()> {
    let site = Site::start().await?;
    for (headers, length) in [(65, 10), (8, 6_000)] {
        let mut request = site.http.get(format!("{}/livez", site.base));
        for n in 0..headers {
            request = request.header(format!("x-{n}"), "y".repeat(length));
        }
        assert_eq!(request.send().await?.status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "{headers} × {length}");
    }
    site.stop().await
}

#[tokio::test]
async fn a_body_that_never_ends_is_answered_in_time() -> Result<()> {
    let site = Site::start_with(|settings| settings.http.request_timeout = Duration::from_millis(300)).await?;
    let stalled = futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>();
    let request = site.http.post(format!("{}/api/login", site.base)).body(reqwest::Body::wrap_stream(stalled));
    Answer::of(request).await?.refuses(503, "timeout");
    site.stop().await
}

#[tokio::test]
async fn connections_beyond_the_cap_wait_their_turn() -> Result<()> {
    let site = Site::start_with(|settings| settings.http.connections = 1).await?;
    let mut holder = TcpStream::connect(site.address).await?;
    holder.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await?;
    let mut start = [0; 12];
    holder.read_exact(&mut start).await?;
    assert_eq!(&start, b"HTTP/1.1 200");
    let mut waiting = Box::pin(site.get("/livez", ""));
    let early = tokio::time::timeout(Duration::from_millis(300), &mut waiting).await;
    assert!(early.is_err(), "the one place is taken");
    drop(holder);
    assert_eq!(waiting.await?.status, StatusCode::OK);
    site.stop().await
}

#[tokio::test]
async fn a_stop_ends_idle_connections_and_frees_the_port() -> Result<()> {
    let site = Site::start().await?;
    let address = site.address;
    let mut idle = TcpStream::connect(address).await?;
    idle.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await?;
    idle.readable().await?;
    let mute = TcpStream::connect(address).await?;
    let started = Instant::now();
    site.stop().await?;
    assert!(started.elapsed() < Duration::from_secs(5), "stopping took {:?}", started.elapsed());
    drop(mute);
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await?;
    assert!(rest.starts_with(b"HTTP/1.1 200"), "what was asked before was answered");
    std::net::TcpListener::bind(address).context("the port is still taken")?;
    Ok(())
}

#[tokio::test]
async fn a_taken_port_is_an_error_at_start() -> Result<()> {
    let site = Site::start().await?;
    let port = site.address.port();
    let error = Site::start_with(|settings| settings.http.port = port).await.err().context("both listen")?;
    let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    assert_eq!(kind, Some(std::io::ErrorKind::AddrInUse), "{error}");
    site.stop().await
}
