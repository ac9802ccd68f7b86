//! Many endpoints of one session or account: which events each gets, with which headers, under which key.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, anyhow, ensure};
use reqwest::StatusCode;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use wagate::model::{Clock, DeliveryOrder, EndpointLimits, EventFilter, Scope};
use wagate::store::endpoints::{EndpointChange, NewEndpoint};
use wagate_tests::api::{Api, PATIENCE};
use wagate_tests::post::{Post, founding};
use wagate_tests::receiver::{Receiver, Recorded};
use wagate_tests::scene::Scene;

use super::signatures::key_in;
use super::{Desk, add, change, deliveries, states, texts, until};

#[tokio::test]
async fn every_endpoint_gets_the_events_it_asks_for_under_its_own_key() -> Result<()> {
    let desk = Desk::open_at(Clock::System).await?;
    let [crm, archive, account, bots] = receivers::<4>().await?;
    let headers = json!({ "headers": { "authorization": "Bearer secret token", "x-team": "sales" } });
    let with_headers = desk.add("crm", &crm, headers).await?;
    let everything =
        desk.add("archive", &archive, json!({ "events": ["*"], "description": "For the auditors" })).await?;
    let of_account = add(&desk.gateway, "/api/endpoints", "all", &account.url(), json!({})).await?;
    let of_bots = desk.add("bots", &bots, json!({ "events": ["plugin.*"] })).await?;
    desk.mark("to all who ask").await?;

    let mut ids = BTreeSet::new();
    for (endpoint, hook) in [(&with_headers, &crm), (&everything, &archive), (&of_account, &account)] {
        let request = hook.wait_for(1, PATIENCE).await?.remove(0);
        assert_eq!(texts(std::slice::from_ref(&request))?, ["to all who ask"]);
        request.verify_now(&secret(&desk.gateway, endpoint).await?)?;
        ids.insert(request.id().to_owned());
    }
    assert_eq!(ids.len(), 3, "each has a delivery of its own");
    let request = crm.requests().remove(0);
    assert_eq!((request.header("authorization"), request.header("x-team")), ("Bearer secret token", "sales"));
    assert!(!archive.requests()[0].headers.contains_key("authorization"));
    assert!(request.verify_now(&secret(&desk.gateway, &everything).await?).is_err(), "keys are not shared");
    assert!(deliveries(&desk.gateway, &of_bots).await?.is_empty());
    assert_eq!(bots.connections(), 0);

    let (_, shown) = desk.gateway.get(&format!("/api/endpoints/{with_headers}")).await?;
    assert_eq!(shown["header_names"], json!(["authorization", "x-team"]));
    let (_, all) = desk.gateway.get("/api/endpoints").await?;
    for text in [shown.to_string(), all.to_string()] {
        assert!(!text.contains("secret token") && !text.contains("whsec_"), "{text}");
    }
    let (_, shown) = desk.gateway.get(&format!("/api/endpoints/{everything}")).await?;
    assert_eq!((&shown["description"], &shown["events"]), (&json!("For the auditors"), &json!(["*"])));
    desk.close().await;
    Ok(())
}

#[tokio::test]
async fn an_account_s_endpoint_gets_all_sessions_of_its_owner_and_nobody_else_s() -> Result<()> {
    let scene = Scene::set().await?;
    let [ours, theirs] = receivers::<2>().await?;
    let other = scene.gateway.user("other").await?;
    add(&scene.gateway, "/api/endpoints", "all", &ours.url(), json!({})).await?;
    add(&other, "/api/endpoints", "all", &theirs.url(), json!({})).await?;
    // Linked later, the one to the same user, the other to another.
    let (second, foreign) = (scene.network.add_phone("Second"), scene.network.add_phone("Foreign"));
    let second_id = scene.gateway.link(&second, None).await?;
    let foreign_id = other.link(&foreign, None).await?;
    for (phone, text) in [(&scene.account, "first"), (&second, "second"), (&foreign, "foreign")] {
        scene.friend.send_text(phone.number(), text).await?;
    }
    ours.wait_for(2, PATIENCE).await?;
    theirs.wait_for(1, PATIENCE).await?;
    let message = |session: &str, text: &str| (session.to_owned(), text.to_owned());
    let expected = BTreeSet::from([message(&scene.id, "first"), message(&second_id, "second")]);
    assert_eq!(came(&ours.requests())?, expected);
    assert_eq!(came(&theirs.requests())?, BTreeSet::from([message(&foreign_id, "foreign")]));
    scene.end().await;
    Ok(())
}

#[tokio::test]
async fn a_change_holds_from_the_next_event_on_and_for_what_waits() -> Result<()> {
    let desk = Desk::open_at(Clock::System).await?;
    let [before, after] = receivers::<2>().await?;
    let endpoint = desk.add("crm", &before, json!({ "headers": { "x-version": "1" } })).await?;
    desk.mark("one").await?;
    before.wait_for(1, PATIENCE).await?;
    let changed =
        change(&desk.gateway, &endpoint, json!({ "url": after.url(), "headers": { "x-version": "2" } })).await?;
    assert_eq!(changed["url"], after.url());
    desk.mark("two").await?;
    let request = after.wait_for(1, PATIENCE).await?.remove(0);
    assert_eq!(request.header("x-version"), "2");
    change(&desk.gateway, &endpoint, json!({ "events": ["message.sent"] })).await?;
    desk.mark("three").await?;
    change(&desk.gateway, &endpoint, json!({ "events": ["message.*"] })).await?;
    desk.mark("four").await?;
    after.wait_for(2, PATIENCE).await?;
    assert_eq!(texts(&before.requests())?, ["one"]);
    assert_eq!(texts(&after.requests())?, ["two", "four"]);
    let rows = until(&desk.gateway, &endpoint, "three delivered", |rows| states(rows) == ["delivered"; 3]).await?;
    let sequences: Vec<_> = rows.iter().map(|row| row["sequence"].as_i64()).collect();
    assert_eq!(sequences, [Some(1), Some(2), Some(3)]);

    let (status, answer) = desk.gateway.delete(&format!("/api/endpoints/{endpoint}")).await?;
    ensure!(status.is_success(), "not removed: {status} {answer}");
    desk.mark("five").await?;
    assert_eq!(after.count(), 2);
    desk.close().await;
    Ok(())
}

#[tokio::test]
async fn a_test_event_reaches_one_endpoint_whatever_it_asks_for() -> Result<()> {
    let desk = Desk::open_at(Clock::System).await?;
    let [crm, account] = receivers::<2>().await?;
    let endpoint = desk.add("crm", &crm, json!({ "events": ["plugin.*"] })).await?;
    let wide = add(&desk.gateway, "/api/endpoints", "all", &account.url(), json!({ "events": [] })).await?;
    for (endpoint, hook) in [(&endpoint, &crm), (&wide, &account)] {
        let (status, answer) = desk.gateway.post(&format!("/api/endpoints/{endpoint}/test"), json!({})).await?;
        ensure!(status.is_success(), "no test event: {status} {answer}");
        let request = hook.wait_for(1, PATIENCE).await?.remove(0);
        request.verify_now(&secret(&desk.gateway, endpoint).await?)?;
        assert_eq!(request.json()?["event"], "webhook.test");
        until(&desk.gateway, endpoint, "it delivered", |rows| states(rows) == ["delivered"]).await?;
    }
    desk.mark("a message").await?;
    assert_eq!((desk.hook.count(), crm.count(), account.count()), (1, 1, 1));
    desk.close().await;
    Ok(())
}

#[tokio::test]
async fn no_header_of_an_endpoint_takes_the_place_of_ours() -> Result<()> {
    let receiver = Receiver::start().await?;
    let mut post = Post::to(&receiver.url(), Clock::System).await?;
    let forged = ["webhook-id", "webhook-timestamp", "webhook-signature", "wagate-sequence", "content-length", "host"];
    let headers: Vec<_> = forged.iter().map(|name| ((*name).to_owned(), SecretString::from("7"))).collect();
    let new = NewEndpoint {
        owner: post.owner,
        session: Some(post.session.clone()),
        name: "forged".to_owned(),
        description: String::new(),
        url: receiver.url().parse()?,
        events: EventFilter::default(),
        headers: Vec::new(),
        order: DeliveryOrder::default(),
        limits: EndpointLimits::default(),
        ed25519: false,
    };
    let endpoints = post.store.endpoints(Scope::of(post.owner));
    let endpoint = endpoints.add(new).await?.context("no such session")?;
    // Past the API, which would refuse them.
    endpoints.change(&endpoint.id, EndpointChange { headers: Some(headers), ..EndpointChange::default() }).await?;
    let running = post.deliver()?;
    post.receive_for(1, std::slice::from_ref(&endpoint.id), founding).await?;
    running.webhooks.wake(std::slice::from_ref(&endpoint.id));
    let request = receiver.wait_for(1, PATIENCE).await?.remove(0);
    let secret = endpoint.keys.secret().context("no secret")?;
    request.verify_now(secret.expose_secret())?;
    assert_eq!(request.header("wagate-sequence"), "1");
    for name in forged {
        assert_eq!(request.headers.get_all(name).iter().count(), 1, "{name}");
    }
    running.stop().await
}

#[tokio::test]
async fn bad_endpoints_are_refused_with_words() -> Result<()> {
    let desk = Desk::open_at(Clock::System).await?;
    let path = format!("/api/sessions/{}/endpoints", desk.id);
    let url = desk.hook.url();
    let bad = [
        json!({ "name": "x", "url": url, "events": ["message.received", "no such kind"] }),
        json!({ "name": "x", "url": url, "order": "random" }),
        json!({ "name": "x", "url": url, "headers": { "webhook-signature": "v1,forged" } }),
        json!({ "name": "x", "url": url, "headers": { "x y": "1" } }),
        json!({ "name": "x", "url": url, "headers": { "x-own": "a\r\nb: c" } }),
        json!({ "name": "x", "url": url, "limits": { "in_flight": 0 } }),
        json!({ "name": "x", "url": url, "limits": { "timeout_seconds": 61 } }),
        json!({ "name": "x", "url": url, "description": "x".repeat(501) }),
        json!({ "name": "default", "url": url }),
        json!({ "name": "x", "url": "http://169.254.169.254/" }),
    ];
    for body in bad {
        let (status, answer) = desk.gateway.post(&path, body.clone()).await?;
        ensure!(status.is_client_error(), "taken: {body} {status} {answer}");
        assert!(answer["error"].is_string() && answer["message"].is_string(), "{body}: {answer}");
    }
    let (_, listed) = desk.gateway.get(&path).await?;
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "{listed}");
    for strange in ["end_0198c0ffee007000800000000000c0de", "%00", "x%20y"] {
        let (status, answer) = desk.gateway.get(&format!("/api/endpoints/{strange}")).await?;
        ensure!(status.is_client_error(), "{strange}: {status} {answer}");
    }
    let founding = desk.founding().await?;
    let other = desk.gateway.user("other").await?;
    let (status, _) = other.get(&format!("/api/endpoints/{founding}")).await?;
    assert_eq!(status, StatusCode::NOT_FOUND, "another's endpoint is not there");
    desk.close().await;
    Ok(())
}

async fn receivers<const N: usize>() -> Result<[Receiver; N]> {
    let mut receivers = Vec::with_capacity(N);
    for _ in 0..N {
        receivers.push(Receiver::start().await?);
    }
    receivers.try_into().map_err(|made: Vec<Receiver>| anyhow!("{} receivers", made.len()))
}

/// What an endpoint's requests are signed with.
async fn secret(api: &Api, endpoint: &str) -> Result<String> {
    let (status, answer) = api.get(&format!("/api/endpoints/{endpoint}/secret")).await?;
    ensure!(status == StatusCode::OK, "no secret: {status} {answer}");
    key_in(&answer, "whsec_").with_context(|| format!("no secret in {answer}"))
}

/// The sessions and texts of the messages that came.
fn came(requests: &[Recorded]) -> Result<BTreeSet<(String, String)>> {
    let of = |request: &Recorded| {
        let body: Value = request.json()?;
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        anyhow::Ok((word(&body["session_id"]), word(&body["message"]["message"])))
    };
    requests.iter().map(of).collect()
}
