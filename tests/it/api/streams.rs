//! Events as a list, and as they happen: over plain HTTP and over WebSocket.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use wagate::model::{Availability, Happening, Person, Presence, Scope, SessionState, StatusChange};

use super::Site;

const PATIENCE: Duration = Duration::from_secs(10);

fn status() -> Happening {
    Happening::Status(StatusChange { state: SessionState::Stopped, reason: None, account: None })
}

fn presence() -> Happening {
    let from = Person::of("6281381393739@s.whatsapp.net".parse().unwrap(), None);
    Happening::Presence(Presence { from, state: Availability::Available, last_seen: None })
}

/// Has this happen on a session; the ids of the events.
async fn happen(site: &Site, session: &str, what: &[Happening]) -> Result<Vec<String>> {
    let session: wagate::model::SessionId = session.parse()?;
    let news: Vec<_> = what.iter().map(|what| (session.clone(), what.clone())).collect();
    let events = site.store.events(Scope::gateway()).record(&news).await?;
    Ok(events.into_iter().map(|event| event.id.into()).collect())
}

/// A stream of server-sent events.
struct Stream {
    response: reqwest::Response,
    text: String,
}

/// One of them.
#[derive(Debug, PartialEq)]
struct Sent {
    id: Option<String>,
    event: String,
    data: Value,
}

impl Stream {
    async fn open(site: &Site, query: &str, token: &str, last: Option<&str>) -> Result<Self> {
        let mut request = site.http.get(format!("{}/api/events/stream{query}", site.base)).bearer_auth(token);
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let response = request.send().await?.error_for_status()?;
        ensure!(response.headers()["content-type"] == "text/event-stream", "{:?}", response.headers());
        let mut stream = Self { response, text: String::new() };
        let hello = stream.block().await?.context("it ended at once")?;
        ensure!(hello.starts_with(':') || hello.starts_with("retry:"), "{hello}");
        Ok(stream)
    }

    /// The next block of lines; `None` at the end.
    async fn block(&mut self) -> Result<Option<String>> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                return Ok(Some(block));
            }
            let chunk = tokio::time::timeout(PATIENCE, self.response.chunk()).await.context("nothing came")??;
            let Some(chunk) = chunk else { return Ok(None) };
            self.text.push_str(std::str::from_utf8(&chunk)?);
        }
    }

    async fn next(&mut self) -> Result<Sent> {
        let block = self.block().await?.context("it ended")?;
        let field =
            |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(|text| text.trim().to_owned());
        let data = serde_json::from_str(&field("data:").context("no data")?)?;
        Ok(Sent { id: field("id:"), event: field("event:").context("no event")?, data })
    }

    /// The ids of the next events.
    async fn ids(&mut self, count: usize) -> Result<Vec<String>> {
        let mut ids = Vec::with_capacity(count);
        for _ in 0..count {
            ids.push(self.next().await?.id.context("no id")?);
        }
        Ok(ids)
    }
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn socket(site: &Site, query: &str, token: &str) -> Result<Socket> {
    Ok(connect_async(format!("ws://{}/api/events/ws?token={token}{query}", site.address)).await?.0)
}

/// The next frame that is not a ping.
async fn frame(socket: &mut Socket) -> Result<Value> {
    loop {
        match tokio::time::timeout(PATIENCE, socket.next()).await?.context("it closed without a word")?? {
            Message::Ping(_) | Message::Pong(_) => {}
            Message::Text(text) => return Ok(serde_json::from_str(&text)?),
            message => bail!("{message:?}"),
        }
    }
}

#[tokio::test]
async fn a_stream_tells_what_happens_and_goes_on_where_its_reader_stood() -> Result<()> {
    let site = Site::start().await?;
    let token = site.admin().await?;
    site.session(&token, "s").await?;
    happen(&site, "s", &[status()]).await?;
    let mut stream = Stream::open(&site, "", &token, None).await?;
    let ids = happen(&site, "s", &[status(), presence()]).await?;
    let first = stream.next().await?;
    assert_eq!((first.id.as_ref(), first.event.as_str()), (Some(&ids[0]), "session.status"), "from now on");
    assert_eq!((&first.data["id"], &first.data["session_id"]), (&json!(ids[0]), &json!("s")));
    assert_eq!((&first.data["type"], &first.data["status"]["state"]), (&json!("session.status"), &json!("stopped")));
    assert_eq!(stream.ids(1).await?, ids[1..]);
    drop(stream);

    let missed = happen(&site, "s", &[status(), status()]).await?;
    let mut back = Stream::open(&site, "", &token, Some(&ids[1])).await?;
    assert_eq!(back.ids(2).await?, missed);
    let mut asked = Stream::open(&site, &format!("?after={}", ids[0]), &token, None).await?;
    assert_eq!(asked.ids(3).await?, [&ids[1..], &missed[..]].concat());
    let more = happen(&site, "s", &[presence()]).await?;
    assert_eq!((back.ids(1).await?, asked.ids(1).await?), (more.clone(), more));
    site.stop().await
}

#[tokio::test]
async fn a_stream_is_of_its_users_sessions_and_of_the_kinds_asked_for() -> Result<()> {
    let site = Site::start().await?;
    let admin = site.admin().await?;
    let ana = site.user(&admin, "ana").await?;
    site.session(&admin, "ours").await?;
    site.session(&ana, "hers").await?;
    site.session(&ana, "hers2").await?;
    let mut all = Stream::open(&site, "", &ana, None).await?;
    let mut kinds = Stream::open(&site, "?events=presence.*,message.received", &ana, None).await?;
    let mut one = Stream::open(&site, "?session=hers2", &ana, None).await?;
    let mut socket = socket(&site, "&session=hers&events=session.status", &ana).await?;
    happen(&site, "ours", &[status(), presence()]).await?;
    let hers = happen(&site, "hers", &[status(), presence()]).await?;
    let second = happen(&site, "hers2", &[status(), presence()]).await?;
    assert_eq!(all.ids(4).await?, [hers.clone(), second.clone()].concat());
    assert_eq!(kinds.ids(2).await?, [hers[1].clone(), second[1].clone()]);
    assert_eq!(one.ids(2).await?, second);
    let told = frame(&mut socket).await?;
    assert_eq!((&told["type"], &told["data"]["id"]), (&json!("event"), &json!(hers[0])));

    let listed = site.get("/api/events?limit=3", &ana).await?.body;
    let ids = |listed: &Value| -> Vec<String> {
        listed["events"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|event| event["id"].as_str().map(str::to_owned))
            .collect()
    };
    assert_eq!(ids(&listed), [second[1].clone(), second[0].clone(), hers[1].clone()]);
    let next = listed["next"].as_str().context("no next")?;
    let rest = site.get(&format!("/api/events?limit=3&before={next}"), &ana).await?.body;
    assert_eq!((ids(&rest), &rest["next"]), (vec![hers[0].clone()], &Value::Null));
    site.stop().await
}

#[tokio::test]
async fn a_socket_goes_on_where_its_reader_stood_and_one_far_behind_is_told_so() -> Result<()> {
    let site = Site::start().await?;
    let token = site.admin().await?;
    site.session(&token, "s").await?;
    let first = happen(&site, "s", &[status()]).await?.remove(0);
    let many = vec![status(); 500];
    let mut last = String::new();
    for _ in 0..20 {
        last = happen(&site, "s", &many).await?.pop().context("none")?;
    }
    let after = format!("&after={first}");
    let mut near = socket(&site, &after, &token).await?;
    assert_eq!(frame(&mut near).await?["type"], "event", "ten thousand are not too many");
    happen(&site, "s", &vec![status(); 7]).await?;
    let mut far = socket(&site, &after, &token).await?;
    assert_eq!(frame(&mut far).await?, json!({ "type": "missed", "data": { "count": 7 } }));
    let mut stream = Stream::open(&site, &format!("?after={first}"), &token, None).await?;
    let missed = stream.next().await?;
    assert_eq!((missed.id, missed.event.as_str(), &missed.data), (None, "missed", &json!({ "count": 7 })));
    let mut rest = socket(&site, &format!("&after={last}"), &token).await?;
    for _ in 0..7 {
        assert_eq!(frame(&mut rest).await?["data"]["type"], "session.status");
    }
    site.stop().await
}

#[tokio::test]
async fn a_stream_refuses_what_makes_no_sense() -> Result<()> {
    let site = Site::start().await?;
    let admin = site.admin().await?;
    let ana = site.user(&admin, "ana").await?;
    site.session(&ana, "hers").await?;
    for path in ["/api/events/stream", "/api/events"] {
        site.get(path, "garbage").await?.refuses(401, "invalid_token");
        site.get(&format!("{path}?events=Message.*"), &ana).await?.refuses(400, "invalid_events");
        site.get(&format!("{path}?events="), &ana).await?.refuses(400, "invalid_events");
        site.get(&format!("{path}?colour=red"), &ana).await?.refuses(400, "invalid_query");
    }
    site.get("/api/events/stream?session=hers", &admin).await?.refuses(404, "not_found");
    site.get("/api/events/stream?after=yesterday", &ana).await?.refuses(400, "invalid_query");
    site.get("/api/events?limit=501", &ana).await?.refuses(400, "invalid_query");
    site.get("/api/events/ws", &ana).await?.refuses(400, "not_a_websocket");
    site.stop().await
}

#[tokio::test]
async fn a_stream_ends_with_the_gateway_and_with_its_token() -> Result<()> {
    let site = Site::start().await?;
    let admin = site.admin().await?;
    site.session(&admin, "s").await?;
    let mut stream = Stream::open(&site, "", &admin, None).await?;
    let ids = happen(&site, "s", &[status()]).await?;
    assert_eq!(stream.ids(1).await?, ids);
    let ended = tokio::spawn(async move { stream.block().await });
    site.stop().await?;
    assert_eq!(ended.await??, None, "it ends by itself, between two events");
    Ok(())
}
