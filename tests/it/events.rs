//! Every kind of event on its way from WhatsApp to a webhook that asks for all of them, people by number and LID.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use reqwest::StatusCode;
use serde_json::{Value, json};
use wagate_simulator::Phone;
use wagate_tests::api::PATIENCE;
use wagate_tests::receiver::Receiver;
use wagate_tests::scene::Scene;

/// A scene whose session has a second endpoint, for everything; who writes there is known by number and LID.
async fn watched() -> Result<(Scene, Receiver)> {
    let (scene, all) = (Scene::set().await?, Receiver::start().await?);
    let body = json!({ "name": "all", "url": all.url(), "events": ["*"] });
    let (status, answer) = scene.gateway.post(&format!("/api/sessions/{}/endpoints", scene.id), body).await?;
    ensure!(status == StatusCode::CREATED, "{status} {answer}");
    scene.mark("hello").await?;
    Ok((scene, all))
}

/// The body of the first webhook of this kind that is as wanted, past or future.
async fn told(all: &Receiver, kind: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
    let fits = |body: &Value| body["event"] == kind && wanted(body);
    let request = all.wait_until(PATIENCE, |request| request.json().is_ok_and(|body| fits(&body))).await;
    let body = request.with_context(|| format!("no {kind} as wanted came"))?.json()?;
    ensure!(body["event_id"].as_str().is_some_and(|id| id.starts_with("evt_")), "{body}");
    Ok(body)
}

/// The same for what is no message: its data.
async fn data(all: &Receiver, kind: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
    let body = told(all, kind, |body| wanted(&body["data"])).await?;
    ensure!(body["occurred_at"].as_i64().is_some_and(|at| at > 1_700_000_000_000), "{body}");
    Ok(body["data"].clone())
}

/// Somebody, as webhooks name them.
fn person(phone: &Phone) -> Value {
    json!({ "chat": phone.jid(), "phone": phone.number(), "lid": lid(phone) })
}

fn lid(phone: &Phone) -> String {
    format!("{}@lid", phone.lid())
}

/// Compares an object with its description: all of its fields, unless some belong to other cases.
fn as_described(object: &Value, schema: &str, whole: bool) -> Result<()> {
    let text = wagate::http::openapi();
    let (_, schema_text) = text.split_once(&format!("\n    {schema}:\n")).context("not described")?;
    let lines = schema_text.lines().take_while(|line| line.starts_with("      "));
    let properties = lines.skip_while(|line| *line != "      properties:");
    let names = properties.filter_map(|line| line.strip_prefix("        ")?.strip_suffix(':'));
    let described: BTreeSet<_> = names.filter(|name| !name.starts_with(' ')).collect();
    let fields: BTreeSet<_> = object.as_object().context("no object")?.keys().map(String::as_str).collect();
    let fits = if whole { fields == described } else { fields.is_subset(&described) };
    ensure!(fits, "{schema} is described with {described:?} and came with {fields:?}");
    Ok(())
}

async fn send(scene: &Scene, text: &str) -> Result<String> {
    let body = json!({ "recipient": scene.friend.number(), "message": text });
    let (status, answer) = scene.gateway.post(&format!("/api/sessions/{}/send", scene.id), body).await?;
    ensure!(status == StatusCode::OK, "{status} {answer}");
    let received = scene.friend.wait_for(PATIENCE, |message| message.text.as_deref() == Some(text)).await;
    Ok(received.context("it did not arrive")?.id)
}

#[tokio::test]
async fn a_sent_message_is_told_with_each_step_it_takes() -> Result<()> {
    let (scene, all) = watched().await?;
    let id = send(&scene, "on its way").await?;
    let sent = told(&all, "message.sent", |body| body["message"]["id"] == id).await?;
    let message = &sent["message"];
    assert_eq!((&message["from_me"], &message["message"]), (&json!(true), &json!("on its way")));
    assert_eq!((&message["from"], &message["to"]), (&json!(scene.account.jid()), &json!(scene.friend.jid())));
    assert_eq!((&message["phone"], &message["lid"]), (&json!(scene.friend.number()), &json!(lid(&scene.friend))));

    scene.friend.read(scene.account.number(), &id).await?;
    data(&all, "message.ack", |ack| ack["id"] == id && ack["state"] == "read").await?;
    scene.friend.play(scene.account.number(), &id).await?;
    for state in ["delivered", "read", "played"] {
        let ack = data(&all, "message.ack", |ack| ack["id"] == id && ack["state"] == state).await?;
        assert_eq!((&ack["to"], &ack["from"]), (&person(&scene.friend), &person(&scene.friend)), "{state}");
        as_described(&ack, "MessageAck", true)?;
    }
    scene.friend.read(scene.account.number(), &id).await?;
    scene.mark("afterwards").await?;
    let acks =
        all.requests().iter().filter(|request| request.json().is_ok_and(|body| body["event"] == "message.ack")).count();
    assert_eq!(acks, 3, "each step once");
    assert!(
        scene
            .hook
            .requests()
            .iter()
            .all(|request| { request.json().is_ok_and(|body| body["event"] == "message.received") }),
        "the founding webhook gets what it always got"
    );
    scene.end().await;
    Ok(())
}

#[tokio::test]
async fn what_the_account_writes_on_its_phone_is_sent_by_it() -> Result<()> {
    let (scene, all) = watched().await?;
    let id = scene.account.send_text(scene.friend.number(), "by thumb").await?;
    let message = told(&all, "message.sent", |body| body["message"]["id"] == id).await?["message"].clone();
    assert_eq!((&message["message"], &message["to"]), (&json!("by thumb"), &json!(scene.friend.jid())));
    assert_eq!((&message["phone"], &message["lid"]), (&json!(scene.friend.number()), &json!(lid(&scene.friend))));
    scene.end().await;
    Ok(())
}

#[tokio::test]
async fn reactions_edits_and_revocations_say_what_they_are_about() -> Result<()> {
    let (scene, all) = watched().await?;
    let (friend, chat) = (&scene.friend, scene.account.number());
    let ours = send(&scene, "like it?").await?;
    friend.react(chat, &ours, "👍").await?;
    let theirs = friend.send_text(chat, "frist").await?;
    friend.edit(chat, &theirs, "first").await?;
    friend.revoke(chat, &theirs).await?;
    // (event, kind, text, the message it is about, who wrote that)
    let table = [
        ("message.reaction", "reaction", "👍", &ours, &scene.account),
        ("message.edited", "edit", "first", &theirs, friend),
        ("message.revoked", "revoke", "", &theirs, friend),
    ];
    for (event, kind, text, target, author) in table {
        let message = told(&all, event, |_| true).await?["message"].clone();
        assert_eq!((&message["kind"], &message["message"]), (&json!(kind), &json!(text)), "{message}");
        assert_eq!((&message["phone"], &message["lid"]), (&json!(friend.number()), &json!(lid(friend))), "{message}");
        let expected = json!({ "id": target, "sender": person(author), "from_me": event == "message.reaction" });
        assert_eq!(message["target"], expected, "{event}");
        as_described(&message["target"], "MessageTarget", true)?;
    }
    scene.end().await;
    Ok(())
}

#[tokio::test]
async fn who_is_there_and_who_types_is_told() -> Result<()> {
    let (scene, all) = watched().await?;
    let (friend, chat) = (&scene.friend, scene.account.number());
    let path = format!("/api/sessions/{}/follow-presence", scene.id);
    let (status, answer) = scene.gateway.post(&path, json!({ "contact": friend.number() })).await?;
    assert_eq!((status, &answer["success"]), (StatusCode::OK, &json!(true)), "{answer}");
    data(&all, "presence.update", |presence| presence["state"] == "unavailable").await?;
    friend.set_available(true);
    let presence = data(&all, "presence.update", |presence| presence["state"] == "available").await?;
    assert_eq!((&presence["from"], &presence["last_seen"]), (&person(friend), &Value::Null));
    as_described(&presence, "PresenceUpdate", true)?;

    friend.typing(chat).await?;
    friend.record(chat).await?;
    friend.stop_typing(chat).await?;
    for state in ["typing", "recording", "paused"] {
        let typing = data(&all, "chat.presence", |typing| typing["state"] == state).await?;
        assert_eq!((&typing["chat"], &typing["from"]), (&json!(friend.jid()), &person(friend)), "{state}");
        as_described(&typing, "ChatPresence", true)?;
    }
    scene.end().await;
    Ok(())
}

#[tokio::test]
async fn changes_of_groups_are_told() -> Result<()> {
    let (scene, all) = watched().await?;
    let third = scene.network.add_phone("Third");
    let group = scene.network.create_group("Team", "", &scene.friend, &[&scene.account]);
    group.rename("The team");
    group.add(&third);
    group.set_admin(&third, true);
    group.remove(&third);
    let actions = [
        ("created", json!({ "subject": "Team" })),
        ("subject", json!({ "subject": "The team" })),
        ("added", json!({ "participants": [person(&third)] })),
        ("promoted", json!({ "participants": [person(&third)] })),
        ("removed", json!({ "participants": [person(&third)] })),
    ];
    for (action, particulars) in actions {
        let update = data(&all, "group.update", |update| update["action"] == action).await?;
        assert_eq!((&update["chat"], &update["from"]), (&json!(group.jid()), &person(&scene.friend)), "{action}");
        for (name, value) in particulars.as_object().context("no object")? {
            assert_eq!(&update[name], value, "{action}");
        }
        as_described(&update, "GroupUpdate", false)?;
    }
    scene.end().await;
    Ok(())
}

#[tokio::test]
async fn calls_are_told_also_those_that_rang_while_the_session_was_away() -> Result<()> {
    let (scene, all) = watched().await?;
    let id = scene.friend.call(scene.account.number(), true).await?;
    let call = data(&all, "call.received", |call| call["id"] == id).await?;
    assert_eq!((&call["from"], &call["chat"]), (&person(&scene.friend), &json!(scene.friend.jid())));
    assert_eq!((&call["video"], &call["missed"]), (&json!(true), &json!(false)));
    as_described(&call, "CallReceived", true)?;
    let interval = scene.interval().await;
    let id = interval.friend.call(interval.account.number(), false).await?;
    let scene = interval.resume().await?;
    let call = data(&all, "call.received", |call| call["id"] == id).await?;
    assert_eq!((&call["from"], &call["missed"]), (&person(&scene.friend), &json!(true)));
    scene.acknowledged().await?;
    scene.end().await;
    Ok(())
}

#[tokio::test]
async fn a_session_tells_how_it_fares() -> Result<()> {
    let (scene, all) = watched().await?;
    let path = format!("/api/sessions/{}", scene.id);
    let account = person(&scene.account);
    for (step, state) in [("disconnect", "stopped"), ("connect", "connected")] {
        let (status, answer) = scene.gateway.post(&format!("{path}/{step}"), json!({})).await?;
        ensure!(status.is_success(), "{status} {answer}");
        let told = data(&all, "session.status", |status| status["state"] == state).await?;
        assert_eq!((&told["account"], &told["reason"]), (&account, &Value::Null), "{state}");
        as_described(&told, "SessionStatus", true)?;
    }
    scene.account.unlink(scene.account.devices()[0]).await?;
    let told = data(&all, "session.status", |status| status["state"] == "logged_out").await?;
    assert_eq!(told["account"], account);
    assert!(told["reason"].is_string(), "{told}");
    scene.end().await;
    Ok(())
}
