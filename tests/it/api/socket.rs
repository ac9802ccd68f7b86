//! The pairing socket.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message, error::CapacityError};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::Site;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Opens a socket the founding way, with the token in the query.
async fn open(site: &Site, id: &str, token: &str) -> Result<Socket, Error> {
    connect_async(format!("ws://{}/api/ws/{id}?token={token}", site.address)).await.map(|(socket, _)| socket)
}

/// The status of an upgrade that was refused.
fn refusal(opened: Result<Socket, Error>) -> Result<u16> {
    match opened {
        Err(Error::Http(response)) => Ok(response.status().as_u16()),
        Err(error) => Err(error.into()),
        Ok(_) => bail!("it opened"),
    }
}

/// The next frame that is not a ping.
async fn frame(socket: &mut Socket) -> Result<Message> {
    loop {
        let next = tokio::time::timeout(Duration::from_secs(10), socket.next()).await;
        match next.context("nothing came")?.context("it closed without a word")?? {
            Message::Ping(_) | Message::Pong(_) => {}
            message => return Ok(message),
        }
    }
}

async fn json_frame(socket: &mut Socket) -> Result<Value> {
    Ok(serde_json::from_str(frame(socket).await?.to_text()?)?)
}

#[tokio::test]
async fn opens_for_the_owner_and_starts_the_session() -> Result<()> {
    let site = Site::start().await?;
    let token = site.admin().await?;
    site.session(&token, "s").await?;
    let mut socket = open(&site, "s", &token).await?;
    let first = json_frame(&mut socket).await?;
    assert!(first["type"].is_string() && first["data"].is_object(), "{first}");
    assert_ne!(first["data"]["status"], json!({ "state": "stopped" }), "opening the socket starts the session");
    let mut request = format!("ws://{}/api/ws/s", site.address).into_client_request()?;
    request.headers_mut().insert("authorization", format!("Bearer {token}").parse()?);
    let (mut second, _) = connect_async(request).await?;
    assert!(json_frame(&mut second).await?["type"].is_string(), "a second listener is welcome, by header too");
    site.stop().await
}

#[tokio::test]
async fn refuses_strangers() -> Result<()> {
    let site = Site::start().await?;
    let admin = site.admin().await?;
    let ana = site.user(&admin, "ana").await?;
    site.session(&ana, "hers").await?;
    assert_eq!(refusal(open(&site, "hers", "").await)?, 401);
    assert_eq!(refusal(open(&site, "hers", "garbage").await)?, 401);
    assert_eq!(refusal(open(&site, "hers", &admin).await)?, 404);
    assert_eq!(refusal(open(&site, "nothing", &ana).await)?, 404);
    site.get("/api/ws/hers", &ana).await?.refuses(400, "not_a_websocket");
    let state = &site.get("/api/sessions/hers", &ana).await?.body["status"]["state"];
    assert_eq!(state, "stopped", "nobody was let in, so nothing started");
    site.stop().await
}

#[tokio::test]
async fn tells_when_the_session_stops_and_when_it_is_deleted() -> Result<()> {
    let site = Site::start().await?;
    let token = site.admin().await?;
    site.session(&token, "s").await?;
    let mut socket = open(&site, "s", &token).await?;
    json_frame(&mut socket).await?;
    site.post("/api/sessions/s/disconnect", &token, json!({})).await?;
    while json_frame(&mut socket).await?["data"]["status"]["state"] != "stopped" {}
    site.delete("/api/sessions/s", &token).await?;
    let goodbye = loop {
        if let Message::Close(frame) = frame(&mut socket).await? {
            break frame.context("no reason")?;
        }
    };
    assert_eq!((u16::from(goodbye.code), goodbye.reason.as_str()), (1000, "the session was deleted"));
    site.stop().await
}

#[tokio::test]
async fn a_user_holds_sixteen_sockets() -> Result<()> {
    let site = Site::start().await?;
    let token = site.admin().await?;
    site.session(&token, "s").await?;
    let mut held = Vec::new();
    for _ in 0..16 {
        held.push(open(&site, "s", &token).await?);
    }
    assert_eq!(refusal(open(&site, "s", &token).await)?, 429);
    held.pop().context("none")?.close(None).await?;
    let freed = async {
        while open(&site, "s", &token).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), freed).await.context("the place was not given back")?;
    site.stop().await
}

#[tokio::test]
async fn a_stop_says_goodbye() -> Result<()> {
    let site = Site::start().await?;
    let token = site.admin().await?;
    site.session(&token, "s").await?;
    let mut socket = open(&site, "s", &token).await?;
    json_frame(&mut socket).await?;
    let (stopped, goodbye) = tokio::join!(site.stop(), async {
        loop {
            if let Message::Close(frame) = frame(&mut socket).await? {
                break anyhow::Ok(frame.map(|frame| u16::from(frame.code)));
            }
        }
    });
    stopped?;
    assert_eq!(goodbye?, Some(1001));
    Ok(())
}

#[tokio::test]
async fn a_client_that_shouts_is_hung_up_on() -> Result<()> {
    let site = Site::start().await?;
    let token = site.admin().await?;
    site.session(&token, "s").await?;
    let mut loud = open(&site, "s", &token).await?;
    let shouted = loud.send(Message::text("x".repeat(65 * 1024))).await;
    assert!(!matches!(shouted, Err(Error::Capacity(CapacityError::MessageTooLong { .. }))), "our own client objected");
    let ended = async { while let Some(Ok(_)) = loud.next().await {} };
    tokio::time::timeout(Duration::from_secs(10), ended).await.context("64 KiB and more were taken")?;
    let mut chatty = open(&site, "s", &token).await?;
    for _ in 0..300 {
        if chatty.send(Message::text("hello?")).await.is_err() {
            break;
        }
    }
    let ended = async { while let Some(Ok(_)) = chatty.next().await {} };
    tokio::time::timeout(Duration::from_secs(10), ended).await.context("300 messages at once were taken")?;
    site.stop().await
}
