//! A network that misbehaves: every fault ends in a status that says so, and nothing is lost on the way.

use std::time::Duration;

use anyhow::Result;
use reqwest::StatusCode;
use serde_json::json;
use wagate_simulator::StreamFault;
use wagate_tests::scene::{Scene, texts};

#[tokio::test]
async fn errors_that_pass_are_followed_by_a_reconnect() -> Result<()> {
    for fault in [StreamFault::Unavailable, StreamFault::Restart, StreamFault::Code(599)] {
        let scene = Scene::set().await?;
        let before = scene.network.logins(scene.account.number());
        scene.network.faults().stream_error(scene.account.number(), fault);
        scene.mark("all is well").await?;
        assert!(scene.network.logins(scene.account.number()) > before, "{fault:?}");
        scene.gateway.wait_connected(&scene.id).await?;
        scene.end().await;
    }
    Ok(())
}

#[tokio::test]
async fn a_rate_limit_is_waited_out() -> Result<()> {
    let scene = Scene::set().await?;
    scene.network.faults().stream_error(scene.account.number(), StreamFault::RateLimited);
    let session = scene.gateway.wait_state(&scene.id, "connecting").await?;
    assert!(session["status"]["last_error"].is_string(), "{session}");
    let began = tokio::time::Instant::now();
    scene.gateway.wait_connected(&scene.id).await?;
    assert!(began.elapsed() > Duration::from_secs(4), "back after {:?} only", began.elapsed());
    scene.mark("all is well").await?;
    scene.end().await;
    Ok(())
}

#[tokio::test]
async fn a_removed_device_is_logged_out() -> Result<()> {
    let scene = Scene::set().await?;
    scene.network.faults().stream_error(scene.account.number(), StreamFault::Removed);
    let session = scene.gateway.wait_state(&scene.id, "logged_out").await?;
    assert_eq!(session["logged_in"], false);
    scene.end().await;
    Ok(())
}

#[tokio::test]
async fn a_login_refused_for_now_is_tried_again() -> Result<()> {
    let interval = Scene::set().await?.interval().await;
    interval.network.faults().fail_login(interval.account.number(), 503, 1);
    let scene = interval.resume().await?;
    scene.gateway.wait_connected(&scene.id).await?;
    scene.end().await;
    Ok(())
}

#[tokio::test]
async fn a_login_refused_for_good_ends_in_the_status_that_says_why() -> Result<()> {
    // 401 and 403: the link is gone. 402: banned for a while. 406: banned.
    for (reason, state, word) in [(401, "logged_out", ""), (402, "failed", "ban"), (406, "logged_out", "")] {
        let interval = Scene::set().await?.interval().await;
        interval.network.faults().fail_login(interval.account.number(), reason, 1);
        let scene = interval.resume().await?;
        let session = scene.gateway.wait_state(&scene.id, state).await?;
        let said = session["status"]["reason"].as_str().unwrap_or_default();
        assert!(!said.is_empty() && said.contains(word), "{reason}: {session}");
        scene.end().await;
    }
    Ok(())
}

#[tokio::test]
async fn an_outdated_version_is_fetched_again() -> Result<()> {
    let interval = Scene::set().await?.interval().await;
    interval.network.faults().fail_login(interval.account.number(), 405, 1);
    let scene = interval.resume().await?;
    scene.gateway.wait_connected(&scene.id).await?;
    scene.end().await;
    Ok(())
}

#[tokio::test]
async fn a_frozen_server_times_sends_out_and_loses_nothing() -> Result<()> {
    let scene = Scene::set_with(|config| config.whatsapp.ack_timeout = Duration::from_millis(800)).await?;
    scene.mark("before").await?;
    scene.gateway.send_text(&scene.id, scene.friend.number(), "warm up").await?;
    scene.network.faults().freeze(scene.account.number());
    scene.friend.send_text(scene.account.number(), "while frozen").await?;
    let body = json!({ "recipient": scene.friend.number(), "message": "into the ice" });
    let (status, answer) = scene.gateway.post(&format!("/api/sessions/{}/send", scene.id), body).await?;
    assert_eq!((status, &answer["code"]), (StatusCode::GATEWAY_TIMEOUT, &json!("unanswered")), "{answer}");
    assert_eq!(scene.hook.count(), 1);
    scene.network.faults().thaw(scene.account.number());
    let messages = scene.messages(2).await?;
    assert_eq!(texts(&messages)?, ["before", "while frozen"]);
    scene.end().await;
    Ok(())
}

#[tokio::test]
async fn a_connection_that_died_without_a_word_is_noticed_and_replaced() -> Result<()> {
    let scene = Scene::set_with(|config| config.whatsapp.ack_timeout = Duration::from_secs(1)).await?;
    let before = scene.network.logins(scene.account.number());
    scene.network.faults().freeze(scene.account.number());
    // Something must be said for the silence to be noticed: the library waits 20 s for an answer.
    let path = format!("/api/sessions/{}/check-number", scene.id);
    let (status, answer) = scene.gateway.post(&path, json!({ "number": scene.friend.number() })).await?;
    assert_eq!((status, &answer["code"]), (StatusCode::GATEWAY_TIMEOUT, &json!("unanswered")), "{answer}");
    let session = scene.gateway.wait_state(&scene.id, "connecting").await?;
    assert!(session["status"]["last_error"].is_string(), "{session}");
    scene.network.faults().thaw(scene.account.number());
    scene.gateway.wait_connected(&scene.id).await?;
    assert!(scene.network.logins(scene.account.number()) > before);
    scene.mark("thawed").await?;
    scene.end().await;
    Ok(())
}

#[tokio::test]
async fn twenty_cuts_in_a_row_lose_no_message() -> Result<()> {
    let scene = Scene::set().await?;
    for n in 0..20 {
        scene.friend.send_text(scene.account.number(), &format!("{n}")).await?;
        scene.network.faults().drop_sockets(scene.account.number());
        scene.friend.send_text(scene.account.number(), &format!("{n} after")).await?;
        if n % 5 == 0 {
            scene.gateway.wait_connected(&scene.id).await?;
        }
    }
    let mut found = texts(&scene.messages(40).await?)?;
    found.sort();
    found.dedup();
    assert_eq!(found.len(), 40);
    scene.mark("end").await?;
    scene.acknowledged().await?;
    assert_eq!(scene.hook.count(), 41);
    scene.end().await;
    Ok(())
}
