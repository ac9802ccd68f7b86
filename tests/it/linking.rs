//! Linking an account: by QR text, as a picture, over the socket, by code; and what becomes of it when nobody does.

use anyhow::{Context as _, Result, bail, ensure};
use futures_util::StreamExt as _;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};
use wagate_simulator::{LinkError, Network, NetworkConfig, PhoneError};
use wagate_tests::api::{Api, PATIENCE, http_client};
use wagate_tests::gateway::Gateway;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn start() -> Result<(Network, Gateway)> {
    let network = Network::start(NetworkConfig::default()).await?;
    let gateway = Gateway::start(&network).await?;
    Ok((network, gateway))
}

async fn socket(api: &Api, id: &str) -> Result<Socket> {
    let url = format!("{}/api/ws/{id}?token={}", api.base().replacen("http", "ws", 1), api.token());
    Ok(tokio_tungstenite::connect_async(url).await?.0)
}

/// Reads frames until one has this type; answers its data.
async fn frame(socket: &mut Socket, kind: &str) -> Result<Value> {
    let reading = async {
        while let Some(message) = socket.next().await {
            if let Message::Text(text) = message? {
                let frame: Value = serde_json::from_str(&text)?;
                if frame["type"] == kind {
                    return Ok(frame["data"].clone());
                }
            }
        }
        bail!("the socket closed before a {kind} frame");
    };
    tokio::time::timeout(PATIENCE, reading).await.with_context(|| format!("no {kind} frame came"))?
}

async fn picture(api: &Api, id: &str, format: &str) -> Result<(String, Vec<u8>)> {
    let url = format!("{}/api/sessions/{id}/qr?format={format}", api.base());
    let answer = http_client()?.request(Method::GET, url).bearer_auth(api.token()).send().await?;
    ensure!(answer.status() == StatusCode::OK, "{}", answer.status());
    let kind = answer.headers()["content-type"].to_str()?.to_owned();
    Ok((kind, answer.bytes().await?.to_vec()))
}

#[tokio::test]
async fn a_scanned_qr_code_links_the_session_and_shows_its_number() -> Result<()> {
    let (network, gateway) = start().await?;
    let phone = network.add_phone("Ana");
    let id = gateway.create_session("Support", None).await?;
    gateway.connect(&id).await?;
    let (status, answer) = gateway.get(&format!("/api/sessions/{id}/qr")).await?;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert!((1..=60).contains(&answer["data"]["timeout"].as_u64().unwrap_or(0)), "{answer}");
    let waiting = gateway.wait_state(&id, "pairing").await?;
    assert_eq!((&waiting["logged_in"], &waiting["phone"]), (&json!(false), &json!("")));
    assert_eq!(waiting["status"]["method"], "qr");

    let device = phone.scan(answer["data"]["qr"].as_str().context("no text")?).await?;
    gateway.wait_connected(&id).await?;
    let (_, linked) = gateway.get(&format!("/api/sessions/{id}")).await?;
    assert_eq!((&linked["logged_in"], &linked["phone"]), (&json!(true), &json!(phone.number())));
    assert_eq!(linked["actual_phone"], format!("{}:{device}@s.whatsapp.net", phone.number()));
    assert_eq!(phone.devices(), [device]);
    let (status, answer) = gateway.get(&format!("/api/sessions/{id}/qr")).await?;
    assert_eq!((status, &answer["code"]), (StatusCode::CONFLICT, &json!("already_linked")));
    gateway.stop().await;
    assert_eq!(network.unanswered(), [""; 0], "the simulated network did not know what to answer");
    Ok(())
}

#[tokio::test]
async fn the_qr_code_can_be_had_as_a_picture() -> Result<()> {
    let (_network, gateway) = start().await?;
    let id = gateway.create_session("Support", None).await?;
    gateway.connect(&id).await?;
    let (kind, png) = picture(&gateway, &id, "png").await?;
    assert_eq!(kind, "image/png");
    assert!(png.starts_with(b"\x89PNG\r\n\x1a\n") && png.len() > 500);
    let (kind, svg) = picture(&gateway, &id, "svg").await?;
    assert_eq!(kind, "image/svg+xml");
    assert!(String::from_utf8(svg)?.contains("<svg"));
    gateway.stop().await;
    Ok(())
}

#[tokio::test]
async fn the_socket_shows_a_qr_code_then_success() -> Result<()> {
    let (network, gateway) = start().await?;
    let phone = network.add_phone("Ana");
    let id = gateway.create_session("Support", None).await?;
    let mut socket = socket(&gateway, &id).await?;
    let qr = frame(&mut socket, "qr").await?;
    phone.scan(qr["qr"].as_str().context("no text")?).await?;
    let success = frame(&mut socket, "success").await?;
    assert_eq!((&success["id"], &success["phone"]), (&json!(id), &json!(phone.number())));
    assert_eq!((&success["connected"], &success["logged_in"]), (&json!(true), &json!(true)));
    gateway.stop().await;
    Ok(())
}

#[tokio::test]
async fn a_code_typed_on_the_phone_links_the_session() -> Result<()> {
    let (network, gateway) = start().await?;
    let phone = network.add_phone("Ana");
    let id = gateway.create_session("Support", None).await?;
    let path = format!("/api/sessions/{id}/pair-code");
    let (status, answer) = gateway.post(&path, json!({ "phone": phone.number() })).await?;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let code = answer["code"].as_str().context("no code")?;
    let (left, right) = code.split_once('-').context("no dash")?;
    assert_eq!((left.len(), right.len()), (4, 4), "{code}");
    assert_eq!(gateway.wait_state(&id, "pairing").await?["status"]["method"], "code");

    phone.enter_code(code).await?;
    gateway.wait_connected(&id).await?;
    let (status, answer) = gateway.post(&path, json!({ "phone": phone.number() })).await?;
    assert_eq!((status, &answer["code"]), (StatusCode::CONFLICT, &json!("already_linked")));
    gateway.stop().await;
    Ok(())
}

#[tokio::test]
async fn codes_used_up_end_the_pairing_and_a_new_start_gives_a_fresh_one() -> Result<()> {
    let (network, gateway) = start().await?;
    network.faults().spend_refs(1);
    let phone = network.add_phone("Ana");
    let id = gateway.create_session("Support", None).await?;
    gateway.connect(&id).await?;
    gateway.wait_state(&id, "pairing_expired").await?;
    let (status, answer) = gateway.get(&format!("/api/sessions/{id}/qr")).await?;
    assert_eq!((status, &answer["code"]), (StatusCode::CONFLICT, &json!("not_started")));

    gateway.connect(&id).await?;
    phone.scan(&gateway.qr(&id).await?).await?;
    gateway.wait_connected(&id).await?;
    gateway.stop().await;
    Ok(())
}

#[tokio::test]
async fn stopping_while_unlinked_takes_the_code_back_and_the_next_start_gives_another() -> Result<()> {
    let (network, gateway) = start().await?;
    let phone = network.add_phone("Ana");
    let id = gateway.create_session("Support", None).await?;
    gateway.connect(&id).await?;
    let first = gateway.qr(&id).await?;
    gateway.post(&format!("/api/sessions/{id}/disconnect"), json!({})).await?;
    gateway.wait_state(&id, "stopped").await?;
    gateway.connect(&id).await?;
    let second = gateway.qr(&id).await?;
    assert_ne!(first, second);
    assert_eq!(phone.scan(&first).await, Err(PhoneError::Link(LinkError::UnknownQr)));
    phone.scan(&second).await?;
    gateway.wait_connected(&id).await?;
    gateway.stop().await;
    Ok(())
}

#[tokio::test]
async fn a_passkey_asked_for_is_shown() -> Result<()> {
    let (network, gateway) = start().await?;
    network.faults().require_passkey(1);
    let id = gateway.create_session("Support", None).await?;
    let mut socket = socket(&gateway, &id).await?;
    let asked = frame(&mut socket, "passkey").await?;
    assert_eq!(asked["request"]["rpId"], "whatsapp.com");
    let (_, session) = gateway.get(&format!("/api/sessions/{id}")).await?;
    assert_eq!(session["status"]["method"], "passkey");
    let (status, answer) = gateway.get(&format!("/api/sessions/{id}/qr")).await?;
    assert_eq!((status, &answer["code"]), (StatusCode::CONFLICT, &json!("pairing_otherwise")));
    gateway.stop().await;
    Ok(())
}

#[tokio::test]
async fn two_sessions_of_one_account_are_two_devices() -> Result<()> {
    let (network, gateway) = start().await?;
    let phone = network.add_phone("Ana");
    let first = gateway.link(&phone, None).await?;
    let second = gateway.link(&phone, None).await?;
    assert_eq!((phone.devices().len(), phone.online().len()), (2, 2));
    for id in [first, second] {
        assert_eq!(gateway.wait_state(&id, "connected").await?["phone"], phone.number());
    }
    gateway.stop().await;
    Ok(())
}
