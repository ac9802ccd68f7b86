//! Receiving: what a phone writes reaches the webhook once, in order, whole, whatever happens in between.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use reqwest::StatusCode;
use serde_json::{Value, json};
use wagate::app::tasks::Tasks;
use wagate::model::{Clock, Incoming, MessageKind, Millis, Scope};
use wagate::store::{Store, Vault};
use wagate_simulator::{Addressing, GroupSpec};
use wagate_tests::api::PATIENCE;
use wagate_tests::receiver::Reply;
use wagate_tests::scene::{Interval, Scene, texts};
use whatsapp_rust::buffa::MessageField;
use whatsapp_rust::waproto::whatsapp as wa;

/// The stored messages, oldest first.
async fn stored(scene: &Scene) -> Result<Vec<Value>> {
    let raw = scene.gateway.raw().await?;
    let payloads = raw.texts("SELECT payload FROM events WHERE kind LIKE 'message.%' ORDER BY seq").await?;
    raw.close().await;
    payloads.iter().map(|payload| Ok(serde_json::from_str(payload)?)).collect()
}

fn one_at_a_time(config: &mut wagate::config::Config) {
    // Deliveries then leave in the order they were made.
    config.webhook.concurrency = 1;
}

fn text(text: &str) -> wa::Message {
    wa::Message { conversation: Some(text.to_owned()), ..Default::default() }
}

#[tokio::test]
async fn a_direct_message_arrives_as_the_guide_shows_it() -> Result<()> {
    let scene = Scene::set().await?;
    let id = scene.friend.send_text(scene.account.number(), "Hello!").await?;
    let body = scene.hook.wait_for(1, PATIENCE).await?.remove(0).json()?;
    assert_eq!(body["session_id"], scene.id);
    let message = &body["message"];
    let founding =
        [("id", id), ("from", scene.friend.jid()), ("to", scene.account.jid()), ("message", "Hello!".into())];
    for (field, value) in founding {
        assert_eq!(message[field], value, "{field}");
    }
    assert!(message["timestamp"].as_i64().is_some_and(|seconds| seconds > 1_700_000_000), "{message}");
    assert_eq!(message["chat"], scene.friend.jid());
    assert_eq!(
        (&message["from_me"], &message["is_group"], &message["backfill"]),
        (&json!(false), &json!(false), &json!(false))
    );
    assert_eq!((&message["push_name"], &message["phone"]), (&json!("Friend"), &json!(scene.friend.number())));
    scene.end().await;
    Ok(())
}

#[tokio::test]
async fn a_group_message_names_group_and_writer() -> Result<()> {
    let scene = Scene::set().await?;
    for addressing in [Addressing::Number, Addressing::Lid] {
        let spec = GroupSpec { subject: "Team".to_owned(), addressing, ..GroupSpec::default() };
        let group = scene.network.create_group_with(&spec, &scene.friend, &[&scene.account]);
        let text = format!("to all by {addressing:?}");
        scene.friend.send_text(&group.jid(), &text).await?;
        let request = scene.hook.wait_until(PATIENCE, |request| String::from_utf8_lossy(&request.body).contains(&text));
        let message = request.await?.json()?["message"].clone();
        assert_eq!((&message["chat"], &message["is_group"]), (&json!(group.jid()), &json!(true)));
        assert_eq!((&message["from"], &message["message"]), (&json!(scene.friend.jid()), &json!(text)));
        assert_eq!(message["lid"], format!("{}@lid", scene.friend.lid()), "{message}");
    }
    scene.end().await;
    Ok(())
}

#[tokio::test]
async fn a_picture_arrives_with_its_caption() -> Result<()> {
    let scene = Scene::set().await?;
    scene.friend.send_image(scene.account.number(), vec![7; 2_000], "look").await?;
    let message = scene.messages(1).await?.remove(0);
    assert_eq!((&message["kind"], &message["message"]), (&json!("image"), &json!("look")));
    scene.end().await;
    Ok(())
}

#[tokio::test]
async fn a_writer_behind_a_lid_is_named_by_number_and_lid() -> Result<()> {
    let scene = Scene::set().await?;
    scene.friend.write_from_lid(true);
    scene.friend.send_text(scene.account.number(), "from behind").await?;
    let message = scene.messages(1).await?.remove(0);
    assert_eq!((&message["from"], &message["chat"]), (&json!(scene.friend.jid()), &json!(scene.friend.jid())));
    assert_eq!(message["lid"], format!("{}@lid", scene.friend.lid()));
    assert_eq!(message["phone"], scene.friend.number());
    let (status, answer) = answer_to(&scene, &message["from"]).await?;
    assert_eq!(status, StatusCode::OK, "{answer}");
    scene
        .friend
        .wait_for(PATIENCE, |message| message.text.as_deref() == Some("an answer"))
        .await
        .context("no answer")?;
    scene.end().await;
    Ok(())
}

async fn answer_to(scene: &Scene, to: &Value) -> Result<(StatusCode, Value)> {
    let body = json!({ "recipient": to, "message": "an answer" });
    scene.gateway.post(&format!("/api/sessions/{}/send", scene.id), body).await
}

#[tokio::test]
async fn what_the_account_writes_itself_is_stored_and_not_forwarded() -> Result<()> {
    let scene = Scene::set().await?;
    let id = scene.account.send_text(scene.friend.number(), "written by myself").await?;
    scene.mark("afterwards").await?;
    assert_eq!(texts(&scene.messages(1).await?)?, ["afterwards"]);
    let events = stored(&scene).await?;
    let own = events.iter().find(|message| message["id"] == id).context("not stored")?;
    assert_eq!((&own["from_me"], &own["chat"]), (&json!(true), &json!(scene.friend.jid())));
    scene.end().await;
    Ok(())
}

#[tokio::test]
async fn protocol_messages_are_for_machines_and_stay_inside() -> Result<()> {
    use wa::message::protocol_message::Type;
    let scene = Scene::set().await?;
    let protocol = |kind| wa::Message {
        protocol_message: MessageField::some(wa::message::ProtocolMessage { r#type: Some(kind), ..Default::default() }),
        ..Default::default()
    };
    for kind in [Type::EPHEMERAL_SETTING, Type::APP_STATE_SYNC_KEY_SHARE, Type::HISTORY_SYNC_NOTIFICATION] {
        scene.friend.send(scene.account.number(), protocol(kind)).await?;
    }
    scene.mark("afterwards").await?;
    assert_eq!(texts(&scene.messages(1).await?)?, ["afterwards"]);
    assert_eq!(stored(&scene).await?.len(), 1, "the phone's key shares must not be events either");
    scene.acknowledged().await.context("they must be acknowledged all the same")?;
    scene.end().await;
    Ok(())
}

#[tokio::test]
async fn edits_and_revocations_arrive_beside_the_message_they_change() -> Result<()> {
    use wa::message::protocol_message::Type;
    let scene = Scene::set().await?;
    let to = scene.account.number();
    let id = scene.friend.send_text(to, "first").await?;
    let change = |kind, text_after: Option<&str>| wa::Message {
        protocol_message: MessageField::some(wa::message::ProtocolMessage {
            r#type: Some(kind),
            key: MessageField::some(wa::MessageKey { id: Some(id.clone()), from_me: Some(true), ..Default::default() }),
            edited_message: text_after.map_or_else(MessageField::none, |after| MessageField::some(text(after))),
            ..Default::default()
        }),
        ..Default::default()
    };
    scene.friend.send(to, change(Type::MESSAGE_EDIT, Some("second"))).await?;
    scene.friend.send(to, change(Type::REVOKE, None)).await?;
    let found: BTreeSet<_> =
        scene.messages(3).await?.iter().map(|m| format!("{} {}", m["kind"], m["message"])).collect();
    let expected = [r#""edit" "second""#, r#""revoke" """#, r#""text" "first""#].map(str::to_owned);
    assert_eq!(found, BTreeSet::from(expected));
    scene.end().await;
    Ok(())
}

#[tokio::test]
async fn two_hundred_messages_of_a_chat_keep_their_order() -> Result<()> {
    let scene = Scene::set_with(one_at_a_time).await?;
    let third = scene.network.add_phone("Third");
    for n in 0..200 {
        scene.friend.send_text(scene.account.number(), &format!("{n}")).await?;
        if n % 10 == 0 {
            third.send_text(scene.account.number(), "meanwhile").await?;
        }
    }
    let messages = scene.messages(220).await?;
    let from_friend: Vec<_> = messages.into_iter().filter(|message| message["from"] == scene.friend.jid()).collect();
    assert_eq!(texts(&from_friend)?, (0..200).map(|n| n.to_string()).collect::<Vec<_>>());
    scene.end().await;
    Ok(())
}

#[tokio::test]
async fn messages_sent_while_the_gateway_was_down_arrive_once_in_order_as_backfill() -> Result<()> {
    let interval = Scene::set_with(one_at_a_time).await?.interval().await;
    let group = interval.network.create_group("Team", "", &interval.friend, &[&interval.account]);
    for n in 0..60 {
        interval.friend.send_text(interval.account.number(), &format!("direct {n}")).await?;
        interval.friend.send_text(&group.jid(), &format!("group {n}")).await?;
    }
    let scene = interval.resume_with(one_at_a_time).await?;
    let messages = scene.messages(120).await?;
    scene.mark("live").await?;
    assert_eq!(scene.hook.count(), 121, "each once");
    assert!(messages.iter().all(|message| message["backfill"] == true), "{messages:?}");
    for (place, is_group) in [("direct", false), ("group", true)] {
        let of_chat: Vec<_> = messages.iter().filter(|message| message["is_group"] == is_group).cloned().collect();
        assert_eq!(texts(&of_chat)?, (0..60).map(|n| format!("{place} {n}")).collect::<Vec<_>>());
    }
    let last = scene.messages(121).await?.remove(120);
    assert_eq!((&last["message"], &last["backfill"]), (&json!("live"), &json!(false)));
    scene.acknowledged().await?;
    scene.end().await;
    Ok(())
}

#[tokio::test]
async fn the_same_message_twice_is_one_delivery() -> Result<()> {
    let scene = Scene::set().await?;
    let to = scene.account.number();
    let third = scene.network.add_phone("Third");
    scene.friend.send_with_id(to, "SAME", text("once")).await?;
    scene.friend.send_with_id(to, "SAME", text("once")).await?;
    // The same id from somebody else is another message: senders choose ids.
    third.send_with_id(to, "SAME", text("from the third")).await?;
    scene.mark("afterwards").await?;
    let mut found = texts(&scene.messages(3).await?)?;
    found.sort();
    assert_eq!(found, ["afterwards", "from the third", "once"]);
    scene.acknowledged().await?;
    scene.end().await;
    Ok(())
}

#[tokio::test]
async fn what_could_not_be_stored_is_not_acknowledged_and_comes_again_by_itself() -> Result<()> {
    // `events` is our own table; into `whatsapp_messages` the library puts a message before it asks us to store it.
    for table in ["events", "whatsapp_messages"] {
        let scene = Scene::set().await?;
        scene.mark("before").await?;
        scene.acknowledged().await?;
        let raw = scene.gateway.raw().await?;
        raw.refuse(table, None).await?;
        scene.friend.send_text(scene.account.number(), "during").await?;
        scene.friend.send_text(scene.account.number(), "during, too").await?;
        tokio::time::sleep(std::time::Duration::from_millis(700)).await;
        assert_eq!(scene.hook.count(), 1, "{table}");
        assert_eq!(scene.account.unacked_messages(), 2, "{table}: acknowledged without being stored");
        raw.allow(table).await?;
        raw.close().await;
        let mut found = texts(&scene.messages(3).await?)?;
        found.sort();
        assert_eq!(found, ["before", "during", "during, too"], "{table}");
        scene.mark("after").await?;
        scene.acknowledged().await?;
        assert_eq!(scene.hook.count(), 4, "{table}");
        scene.end().await;
    }
    Ok(())
}

#[tokio::test]
async fn what_could_not_be_stored_survives_a_restart() -> Result<()> {
    let scene = Scene::set().await?;
    scene.mark("before").await?;
    scene.acknowledged().await?;
    let raw = scene.gateway.raw().await?;
    raw.refuse("events", None).await?;
    scene.friend.send_text(scene.account.number(), "during").await?;
    let interval = scene.interval().await;
    assert_eq!(interval.account.unacked_messages(), 1, "the message was acknowledged without being stored");
    assert_eq!(interval.hook.count(), 1);
    raw.allow("events").await?;
    raw.close().await;
    let scene = interval.resume().await?;
    assert_eq!(texts(&scene.messages(2).await?)?, ["before", "during"]);
    scene.end().await;
    Ok(())
}

#[tokio::test]
async fn a_webhook_is_signed_with_the_sessions_secret() -> Result<()> {
    let scene = Scene::set().await?;
    scene.mark("signed").await?;
    let (_, webhook) = scene.gateway.get(&format!("/api/sessions/{}/webhook", scene.id)).await?;
    let secret = webhook["secret"].as_str().context("no secret")?;
    let request = scene.hook.requests().remove(0);
    request.verify_now(secret)?;
    assert!(request.verify("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").is_err());
    scene.end().await;
    Ok(())
}

#[tokio::test]
async fn a_failed_webhook_is_posted_again_the_same() -> Result<()> {
    let scene = Scene::set().await?;
    scene.hook.script([Reply::status(500)]);
    scene.friend.send_text(scene.account.number(), "twice").await?;
    let requests = scene.hook.wait_for(2, PATIENCE).await?;
    assert_eq!((requests[0].id(), &requests[0].body), (requests[1].id(), &requests[1].body));
    scene.end().await;
    Ok(())
}

async fn store_without_routing(interval: &Interval, message: Incoming) -> Result<()> {
    let config = interval.gateway.config()?;
    let tasks = Tasks::new();
    let store = Store::open(&config.database, Vault::open(&config.vault).await?, Clock::System, &tasks).await?;
    let events = store.events(Scope::gateway()).receive(&interval.id.parse()?, &[message]).await?;
    assert_eq!(events.len(), 1);
    store.close().await;
    tasks.stop(PATIENCE).await;
    Ok(())
}

#[tokio::test]
async fn what_was_stored_and_not_routed_when_the_process_ended_is_routed_at_the_next_start() -> Result<()> {
    let interval = Scene::set().await?.interval().await;
    let message = Incoming {
        id: "CRASHED".to_owned().into(),
        kind: MessageKind::Text,
        chat: interval.friend.jid().parse()?,
        sender: interval.friend.jid().parse()?,
        sender_alt: None,
        to: interval.account.jid().parse()?,
        from_me: false,
        text: Some("stored, then the light went out".to_owned()),
        push_name: None,
        sent_at: Millis(1_700_000_000_000),
        backfill: false,
        chat_alt: None,
        target: None,
    };
    store_without_routing(&interval, message).await?;
    let scene = interval.resume().await?;
    let found = scene.messages(1).await?.remove(0);
    assert_eq!((&found["id"], &found["message"]), (&json!("CRASHED"), &json!("stored, then the light went out")));
    scene.end().await;
    Ok(())
}

#[tokio::test]
async fn a_webhook_set_later_gets_what_comes_later() -> Result<()> {
    let scene = Scene::set().await?;
    let path = format!("/api/sessions/{}/webhook", scene.id);
    scene.mark("one").await?;
    assert_eq!(scene.gateway.put(&path, json!({ "webhook_url": null })).await?.0, StatusCode::OK);
    scene.friend.send_text(scene.account.number(), "nobody listens").await?;
    let url = scene.hook.url_of("/other");
    while stored(&scene).await?.len() < 2 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(scene.gateway.put(&path, json!({ "webhook_url": url })).await?.0, StatusCode::OK);
    scene.mark("two").await?;
    let found: Vec<_> = scene.hook.requests().iter().map(|request| request.path.clone()).collect();
    assert_eq!(found.len(), 2);
    assert_eq!(found[1], "/other");
    scene.end().await;
    Ok(())
}
