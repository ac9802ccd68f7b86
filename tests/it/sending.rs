//! Sending: the answer is the server's word, a repeated request is one message, and ticks move what is stored.

use std::time::Duration;

use anyhow::{Context as _, Result};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::Instant;
use wagate::model::{MessageId, MessageState, Scope};
use wagate_simulator::{Addressing, GroupSpec, Received};
use wagate_tests::api::{Answer, Api, PATIENCE, http_client};
use wagate_tests::scene::Scene;

async fn send(scene: &Scene, to: &str, text: &str) -> Result<Answer> {
    scene.gateway.post(&format!("/api/sessions/{}/send", scene.id), json!({ "recipient": to, "message": text })).await
}

/// Sends with an `Idempotency-Key`; answers status, body and whether it was a replay.
async fn send_once(scene: &Scene, key: &str, text: &str) -> Result<(StatusCode, Value, bool)> {
    let url = format!("{}/api/sessions/{}/send", scene.gateway.base(), scene.id);
    let request = http_client()?
        .request(Method::POST, url)
        .bearer_auth(scene.gateway.token())
        .header("Idempotency-Key", key)
        .json(&json!({ "recipient": scene.friend.number(), "message": text }));
    let answer = request.send().await?;
    let replayed = answer.headers().get("idempotent-replayed").is_some_and(|value| value == "true");
    Ok((answer.status(), answer.json().await?, replayed))
}

async fn state(scene: &Scene, message: &str) -> Result<Option<(MessageState, Option<u16>)>> {
    let store = scene.gateway.app().store();
    Ok(store.sends(Scope::gateway()).state(&scene.id.parse()?, &MessageId::from(message.to_owned())).await?)
}

async fn wait_for_state(scene: &Scene, message: &str, wanted: MessageState) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while state(scene, message).await?.is_none_or(|(state, _)| state != wanted) {
        anyhow::ensure!(Instant::now() < deadline, "{:?}, not {wanted:?}", state(scene, message).await?);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// The newest send of the session, when its id was never answered.
async fn newest_send(scene: &Scene) -> Result<String> {
    let raw = scene.gateway.raw().await?;
    let newest = raw.texts("SELECT message FROM sends ORDER BY created_at DESC LIMIT 1").await?;
    raw.close().await;
    newest.into_iter().next().context("nothing was sent")
}

fn is(text: &str) -> impl Fn(&Received) -> bool {
    move |message| message.text.as_deref() == Some(text)
}

fn count(inbox: &[Received], text: &str) -> usize {
    inbox.iter().filter(|message| is(text)(message)).count()
}

#[tokio::test]
async fn a_text_reaches_the_phone_under_the_id_that_was_answered() -> Result<()> {
    let scene = Scene::set().await?;
    let (status, answer) = send(&scene, scene.friend.number(), "Hello!").await?;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(answer["recipient"], scene.friend.jid());
    let received = scene.friend.wait_for(PATIENCE, is("Hello!")).await.context("it did not arrive")?;
    assert_eq!(
        (received.id.as_str(), received.from),
        (answer["message_id"].as_str().unwrap_or(""), scene.account.jid())
    );
    let own = scene.account.wait_for(PATIENCE, is("Hello!")).await.context("the own phone does not show it")?;
    assert!(own.from_me && own.chat == scene.friend.jid());
    scene.end().await;
    Ok(())
}

#[tokio::test]
async fn the_answer_waits_for_the_servers_word() -> Result<()> {
    let scene = Scene::set().await?;
    send(&scene, scene.friend.number(), "warm up").await?;
    let late = Duration::from_millis(700);
    scene.network.faults().delay_acks(scene.account.number(), late);
    let began = Instant::now();
    let (status, answer) = send(&scene, scene.friend.number(), "slow").await?;
    assert!(began.elapsed() >= late, "answered after {:?}", began.elapsed());
    assert_eq!(status, StatusCode::OK, "{answer}");
    scene.end().await;
    Ok(())
}

#[tokio::test]
async fn a_refused_send_says_why_and_is_stored_as_refused() -> Result<()> {
    let scene = Scene::set().await?;
    scene.network.faults().refuse_sends(scene.account.number(), 463, 1);
    let (status, answer) = send(&scene, scene.friend.number(), "unwanted").await?;
    assert_eq!((status, &answer["code"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("refused_by_whatsapp")));
    let message = answer["message"].as_str().unwrap_or_default();
    assert!(message.contains("463") && message.contains("recipient does not know"), "{message}");
    let id = newest_send(&scene).await?;
    assert_eq!(state(&scene, &id).await?, Some((MessageState::Refused, Some(463))));
    assert_eq!(count(&scene.friend.inbox(), "unwanted"), 0);
    assert_eq!(send(&scene, scene.friend.number(), "wanted").await?.0, StatusCode::OK);
    scene.end().await;
    Ok(())
}

#[tokio::test]
async fn a_missing_acknowledgement_is_a_timeout_and_a_late_one_is_not_lost() -> Result<()> {
    let scene = Scene::set_with(|config| config.whatsapp.ack_timeout = Duration::from_millis(600)).await?;
    send(&scene, scene.friend.number(), "warm up").await?;
    scene.network.faults().delay_acks(scene.account.number(), Duration::from_millis(1500));
    let (status, answer) = send(&scene, scene.friend.number(), "late").await?;
    assert_eq!((status, &answer["code"]), (StatusCode::GATEWAY_TIMEOUT, &json!("unanswered")), "{answer}");
    assert!(answer["hint"].as_str().is_some_and(|hint| hint.contains("Idempotency-Key")), "{answer}");
    let id = newest_send(&scene).await?;
    wait_for_state(&scene, &id, MessageState::Delivered).await?;
    scene.end().await;
    Ok(())
}

#[tokio::test]
async fn a_number_that_is_not_on_whatsapp_is_named() -> Result<()> {
    let scene = Scene::set().await?;
    let (status, answer) = send(&scene, "6281381393739", "nobody there").await?;
    assert_eq!((status, &answer["code"]), (StatusCode::BAD_REQUEST, &json!("recipient_not_on_whatsapp")));
    assert!(answer["message"].as_str().is_some_and(|message| message.contains("6281381393739")), "{answer}");
    scene.end().await;
    Ok(())
}

#[tokio::test]
async fn a_group_send_reaches_every_member_again_and_again() -> Result<()> {
    let scene = Scene::set().await?;
    let third = scene.network.add_phone("Third");
    for addressing in [Addressing::Number, Addressing::Lid] {
        let spec = GroupSpec { subject: "Team".to_owned(), addressing, ..GroupSpec::default() };
        let group = scene.network.create_group_with(&spec, &scene.friend, &[&scene.account, &third]);
        for round in 0..3 {
            let text = format!("{addressing:?} {round}");
            let (status, answer) = send(&scene, &group.jid(), &text).await?;
            assert_eq!(status, StatusCode::OK, "{answer}");
            for member in [&scene.friend, &third] {
                let received = member.wait_for(PATIENCE, is(&text)).await.context("a member got nothing")?;
                assert_eq!((received.chat, received.from), (group.jid(), scene.account.jid()));
            }
        }
        // A member who joins later needs the sender key as well.
        let late = scene.network.add_phone("Late");
        group.add(&late);
        let text = format!("{addressing:?} for the latecomer");
        assert_eq!(send(&scene, &group.jid(), &text).await?.0, StatusCode::OK);
        late.wait_for(PATIENCE, is(&text)).await.context("the latecomer got nothing")?;
    }
    scene.end().await;
    Ok(())
}

#[tokio::test]
async fn writing_to_a_group_one_is_not_in_is_refused() -> Result<()> {
    let scene = Scene::set().await?;
    let group = scene.network.create_group("Closed", "", &scene.friend, &[]);
    let (status, answer) = send(&scene, &group.jid(), "let me in").await?;
    assert!(status.is_client_error() || status == StatusCode::BAD_GATEWAY, "{status} {answer}");
    assert_eq!(count(&scene.friend.inbox(), "let me in"), 0);
    scene.end().await;
    Ok(())
}

#[tokio::test]
async fn a_note_to_the_own_number_arrives_on_the_own_phone() -> Result<()> {
    let scene = Scene::set().await?;
    let (status, answer) = send(&scene, scene.account.number(), "note to self").await?;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let note = scene.account.wait_for(PATIENCE, is("note to self")).await.context("no note")?;
    assert!(note.from_me);
    scene.end().await;
    Ok(())
}

#[tokio::test]
async fn a_connection_lost_before_the_acknowledgement_ends_the_wait() -> Result<()> {
    let scene = Scene::set().await?;
    send(&scene, scene.friend.number(), "warm up").await?;
    scene.network.faults().drop_acks(scene.account.number(), 1);
    let began = Instant::now();
    let cut = async {
        let arrived = scene.friend.wait_for(PATIENCE, is("unconfirmed")).await.context("it did not go out");
        scene.network.faults().drop_sockets(scene.account.number());
        arrived
    };
    let (answer, arrived) = tokio::join!(send_once(&scene, "order-5", "unconfirmed"), cut);
    let (status, answer, _) = answer?;
    assert_eq!((status, &answer["code"]), (StatusCode::GATEWAY_TIMEOUT, &json!("unanswered")), "{answer}");
    assert!(began.elapsed() < Duration::from_secs(15), "waited {:?} for nothing", began.elapsed());
    scene.gateway.wait_connected(&scene.id).await?;
    let (status, again, _) = send_once(&scene, "order-5", "unconfirmed").await?;
    assert_eq!((status, &again["message_id"]), (StatusCode::OK, &json!(arrived?.id)), "{again}");
    scene.end().await;
    Ok(())
}

#[tokio::test]
async fn a_send_that_found_no_connection_frees_its_key() -> Result<()> {
    let scene = Scene::set().await?;
    let path = format!("/api/sessions/{}", scene.id);
    scene.gateway.post(&format!("{path}/disconnect"), json!({})).await?;
    let (status, answer, _) = send_once(&scene, "order-6", "at last").await?;
    assert_eq!((status, &answer["code"]), (StatusCode::NOT_FOUND, &json!("not_connected")), "{answer}");
    scene.gateway.connect(&scene.id).await?;
    scene.gateway.wait_connected(&scene.id).await?;
    let (status, answer, _) = send_once(&scene, "order-6", "at last").await?;
    assert_eq!(status, StatusCode::OK, "{answer}");
    scene.friend.wait_for(PATIENCE, is("at last")).await.context("it did not arrive")?;
    scene.end().await;
    Ok(())
}

#[tokio::test]
async fn one_key_is_one_message() -> Result<()> {
    let scene = Scene::set().await?;
    let (status, first, replayed) = send_once(&scene, "order-1", "once").await?;
    assert_eq!((status, replayed), (StatusCode::OK, false), "{first}");
    let (status, second, replayed) = send_once(&scene, "order-1", "once").await?;
    assert_eq!((status, replayed, second), (StatusCode::OK, true, first.clone()));
    let (status, other, _) = send_once(&scene, "order-1", "another text").await?;
    assert_eq!((status, &other["code"]), (StatusCode::CONFLICT, &json!("idempotency_key_reused")));
    assert_eq!(send(&scene, scene.friend.number(), "end").await?.0, StatusCode::OK);
    scene.friend.wait_for(PATIENCE, is("end")).await.context("no end")?;
    let inbox = scene.friend.inbox();
    assert_eq!((count(&inbox, "once"), count(&inbox, "another text")), (1, 0));
    scene.end().await;
    Ok(())
}

#[tokio::test]
async fn twenty_requests_at_once_with_one_key_are_one_message() -> Result<()> {
    let scene = Scene::set().await?;
    let requests = (0..20).map(|_| send_once(&scene, "order-2", "all at once"));
    let answers = futures_util::future::try_join_all(requests).await?;
    assert!(answers.iter().any(|(status, ..)| *status == StatusCode::OK));
    for (status, answer, _) in &answers {
        let waiting = *status == StatusCode::CONFLICT && answer["code"] == "idempotency_key_in_flight";
        assert!(*status == StatusCode::OK || waiting, "{status} {answer}");
    }
    send(&scene, scene.friend.number(), "end").await?;
    scene.friend.wait_for(PATIENCE, is("end")).await.context("no end")?;
    assert_eq!(count(&scene.friend.inbox(), "all at once"), 1);
    scene.end().await;
    Ok(())
}

#[tokio::test]
async fn a_repeat_after_a_restart_is_answered_from_the_store() -> Result<()> {
    let scene = Scene::set().await?;
    let (_, first, _) = send_once(&scene, "order-3", "remember me").await?;
    let scene = scene.interval().await.resume().await?;
    let (status, second, replayed) = send_once(&scene, "order-3", "remember me").await?;
    assert_eq!((status, replayed, &second["message_id"]), (StatusCode::OK, true, &first["message_id"]));
    scene.end().await;
    Ok(())
}

#[tokio::test]
async fn a_repeat_after_a_lost_acknowledgement_goes_out_at_once_under_the_same_id() -> Result<()> {
    let scene = Scene::set_with(|config| config.whatsapp.ack_timeout = Duration::from_millis(600)).await?;
    send(&scene, scene.friend.number(), "warm up").await?;
    scene.network.faults().drop_acks(scene.account.number(), 1);
    let (status, answer, _) = send_once(&scene, "order-4", "lost ack").await?;
    assert_eq!(status, StatusCode::GATEWAY_TIMEOUT, "{answer}");
    let received = scene.friend.wait_for(PATIENCE, is("lost ack")).await.context("it did not go out")?;
    let (status, again, _) = send_once(&scene, "order-4", "lost ack").await?;
    assert_eq!((status, &again["message_id"]), (StatusCode::OK, &json!(received.id)), "{again}");
    scene.end().await;
    Ok(())
}

#[tokio::test]
async fn sending_by_number_looks_only_among_the_callers_sessions() -> Result<()> {
    let scene = Scene::set().await?;
    let body = json!({ "phone": scene.account.number(), "recipient": scene.friend.number(), "message": "by number" });
    let (status, answer) = scene.gateway.post("/api/send", body.clone()).await?;
    assert_eq!((status, &answer["session_id"]), (StatusCode::OK, &json!(scene.id)), "{answer}");

    let password = "a password of one's own";
    let user = json!({ "username": "second", "password": password });
    assert_eq!(scene.gateway.post("/api/users", user).await?.0, StatusCode::CREATED);
    let second = Api::login(scene.gateway.base(), "second", password).await?;
    let (status, answer) = second.post("/api/send", body).await?;
    assert_eq!((status, &answer["code"]), (StatusCode::NOT_FOUND, &json!("no_such_phone")));
    let by_id = json!({ "phone": scene.id, "recipient": scene.friend.number(), "message": "by id" });
    assert_eq!(second.post("/api/send", by_id).await?.0, StatusCode::NOT_FOUND);
    let path = format!("/api/sessions/{}", scene.id);
    for (method, path) in [
        (Method::GET, path.clone()),
        (Method::DELETE, path.clone()),
        (Method::POST, format!("{path}/connect")),
        (Method::POST, format!("{path}/disconnect")),
        (Method::GET, format!("{path}/qr")),
        (Method::GET, format!("{path}/groups")),
        (Method::GET, format!("{path}/webhook")),
    ] {
        let (status, answer) = second.call(method.clone(), &path, None).await?;
        assert_eq!((status, &answer["code"]), (StatusCode::NOT_FOUND, &json!("not_found")), "{method} {path}");
    }
    assert_eq!(second.get("/api/sessions").await?.1, json!([]));
    assert_eq!(scene.account.online().len(), 1);
    scene.end().await;
    Ok(())
}

#[tokio::test]
async fn ticks_move_the_stored_state() -> Result<()> {
    let scene = Scene::set().await?;
    let id = scene.gateway.send_text(&scene.id, scene.friend.number(), "tick").await?;
    wait_for_state(&scene, &id, MessageState::Delivered).await?;
    scene.friend.wait_for(PATIENCE, is("tick")).await.context("it did not arrive")?;
    scene.friend.read(scene.account.number(), &id).await?;
    wait_for_state(&scene, &id, MessageState::Read).await?;
    scene.end().await;
    Ok(())
}

#[tokio::test]
async fn ticks_missed_while_away_arrive_after_the_restart() -> Result<()> {
    let scene = Scene::set().await?;
    let id = scene.gateway.send_text(&scene.id, scene.friend.number(), "tick").await?;
    scene.friend.wait_for(PATIENCE, is("tick")).await.context("it did not arrive")?;
    let interval = scene.interval().await;
    interval.friend.read(interval.account.number(), &id).await?;
    let scene = interval.resume().await?;
    wait_for_state(&scene, &id, MessageState::Read).await?;
    scene.end().await;
    Ok(())
}

#[tokio::test]
async fn a_hundred_sends_at_once_all_arrive() -> Result<()> {
    let scene = Scene::set().await?;
    let sends = (0..100).map(|n| {
        let text = format!("burst {n}");
        let scene = &scene;
        async move { scene.gateway.send_text(&scene.id, scene.friend.number(), &text).await }
    });
    let mut ids = futures_util::future::try_join_all(sends).await?;
    for n in 0..100 {
        scene.friend.wait_for(PATIENCE, is(&format!("burst {n}"))).await.with_context(|| format!("{n} is missing"))?;
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 100);
    let inbox = scene.friend.inbox();
    assert_eq!(inbox.iter().filter(|message| message.from == scene.account.jid()).count(), 100);
    scene.end().await;
    Ok(())
}

#[tokio::test]
async fn numbers_and_groups_are_looked_up_on_whatsapp() -> Result<()> {
    let scene = Scene::set().await?;
    let shop = scene.network.add_phone_with(wagate_simulator::PhoneSpec {
        name: "Shop".to_owned(),
        business: Some("Verified Shop".to_owned()),
        ..Default::default()
    })?;
    let group = scene.network.create_group("Team", "What we do", &scene.friend, &[&scene.account, &shop]);
    let path = format!("/api/sessions/{}/check-number", scene.id);
    let (status, answer) = scene.gateway.post(&path, json!({ "number": shop.number() })).await?;
    let expected = json!({ "success": true, "number": shop.number(), "on_whatsapp": true, "verified": false,
        "verified_name": "Verified Shop" });
    assert_eq!((status, answer), (StatusCode::OK, expected));
    let (_, answer) = scene.gateway.post(&path, json!({ "number": "6281381393739" })).await?;
    assert_eq!((&answer["on_whatsapp"], &answer["verified"]), (&json!(false), &json!(false)));

    let (status, answer) = scene.gateway.get(&format!("/api/sessions/{}/groups", scene.id)).await?;
    assert_eq!((status, &answer["count"]), (StatusCode::OK, &json!(1)), "{answer}");
    let expected = json!({ "jid": group.jid(), "name": "Team", "topic": "What we do", "description": "What we do",
        "owner": scene.friend.jid(), "participant_count": 3, "is_admin": false, "is_super_admin": false });
    assert_eq!(answer["groups"][0], expected);
    scene.end().await;
    Ok(())
}
