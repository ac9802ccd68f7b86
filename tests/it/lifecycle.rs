//! A linked session's life: restart, disconnect, delete, logout from the phone, and a network that fails.

use std::time::Duration;

use anyhow::{Context as _, Result};
use reqwest::StatusCode;
use serde_json::json;
use wagate_simulator::{Network, NetworkConfig, StreamFault};
use wagate_tests::api::PATIENCE;
use wagate_tests::gateway::Gateway;
use wagate_tests::raw::Raw;
use wagate_tests::scene::{Scene, texts};

/// Every table but those that hold no session's rows.
async fn rows_of(raw: &Raw, session: &str) -> Result<Vec<(String, i64)>> {
    let mut found = Vec::new();
    for table in raw.tables().await? {
        let columns = raw.columns(&table).await?;
        let condition = match table.as_str() {
            "sessions" => format!("id = '{session}'"),
            "attempts" => "1 = 1".to_owned(),
            _ if columns.iter().any(|column| column == "session_id") => format!("session_id = '{session}'"),
            // A plugin is its owner's, with what it keeps and what it said; so is a replay.
            "leadership" | "settings" | "users" | "components" | "plugins" | "plugin_versions" | "plugin_gifts"
            | "plugin_values" | "plugin_logs" | "replays" => continue,
            other => panic!("does {other} hold rows of a session? say so here"),
        };
        let rows = raw.count(&table, &condition).await?;
        found.push((table, rows));
    }
    Ok(found)
}

#[tokio::test]
async fn a_restart_comes_back_without_a_qr_code() -> Result<()> {
    let scene = Scene::set().await?;
    let before = scene.network.handshakes().len();
    let interval = scene.interval().await;
    assert_eq!(interval.account.online(), [0; 0], "a stopped gateway must leave WhatsApp");
    let scene = interval.resume().await?;
    let session = scene.gateway.wait_state(&scene.id, "connected").await?;
    assert_eq!(session["phone"], scene.account.number());
    let later = scene.network.handshakes().split_off(before);
    assert!(!later.is_empty() && later.iter().all(|pattern| *pattern == "IK"), "{later:?}");
    scene.mark("after the restart").await?;
    scene.end().await;
    Ok(())
}

#[tokio::test]
async fn a_disconnected_session_stays_linked_and_stays_down_over_a_restart() -> Result<()> {
    let scene = Scene::set().await?;
    let (status, _) = scene.gateway.post(&format!("/api/sessions/{}/disconnect", scene.id), json!({})).await?;
    assert_eq!(status, StatusCode::OK);
    let session = scene.session().await?;
    assert_eq!((&session["status"]["state"], &session["logged_in"]), (&json!("stopped"), &json!(true)));
    assert_eq!((scene.account.devices().len(), scene.account.online().len()), (1, 0));

    let scene = scene.interval().await.resume().await?;
    assert_eq!(scene.session().await?["status"]["state"], "stopped");
    scene.gateway.connect(&scene.id).await?;
    scene.gateway.wait_connected(&scene.id).await?;
    scene.mark("back again").await?;
    scene.end().await;
    Ok(())
}

#[tokio::test]
async fn deleting_logs_out_on_whatsapp_and_leaves_no_row() -> Result<()> {
    let scene = Scene::set().await?;
    scene.mark("something to be deleted").await?;
    scene.gateway.send_text(&scene.id, scene.friend.number(), "and a send").await?;
    let raw = scene.gateway.raw().await?;
    let held = rows_of(&raw, &scene.id).await?;
    for table in ["sessions", "endpoints", "events", "deliveries", "sends", "whatsapp_keys", "whatsapp_messages"] {
        assert!(held.iter().any(|(name, rows)| name == table && *rows > 0), "{table} is empty already: {held:?}");
    }
    let (status, _) = scene.gateway.delete(&format!("/api/sessions/{}", scene.id)).await?;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(scene.account.devices(), [0; 0]);
    assert_eq!(scene.gateway.get(&format!("/api/sessions/{}", scene.id)).await?.0, StatusCode::NOT_FOUND);
    let interval = scene.interval().await;
    let left: Vec<_> = rows_of(&raw, &interval.id).await?.into_iter().filter(|(_, rows)| *rows > 0).collect();
    assert_eq!(left, []);
    raw.close().await;
    Ok(())
}

#[tokio::test]
async fn deleting_a_stopped_session_logs_it_out_as_well() -> Result<()> {
    let scene = Scene::set().await?;
    scene.gateway.post(&format!("/api/sessions/{}/disconnect", scene.id), json!({})).await?;
    let (status, _) = scene.gateway.delete(&format!("/api/sessions/{}", scene.id)).await?;
    assert_eq!((status, scene.account.devices().len()), (StatusCode::OK, 0));
    scene.end().await;
    Ok(())
}

#[tokio::test]
async fn a_logout_on_the_phone_wipes_the_keys_and_the_next_start_asks_for_a_qr_code() -> Result<()> {
    let scene = Scene::set().await?;
    let device = *scene.account.devices().first().context("no device")?;
    scene.account.unlink(device).await?;
    let session = scene.gateway.wait_state(&scene.id, "logged_out").await?;
    assert_eq!((&session["logged_in"], &session["phone"]), (&json!(false), &json!("")));
    assert!(session["status"]["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{session}");
    let raw = scene.gateway.raw().await?;
    let held = rows_of(&raw, &scene.id).await?;
    let keys: Vec<_> = held.iter().filter(|(table, rows)| table.starts_with("whatsapp_") && *rows > 0).collect();
    assert!(keys.is_empty(), "{keys:?}");
    raw.close().await;

    scene.gateway.connect(&scene.id).await?;
    let again = scene.account.scan(&scene.gateway.qr(&scene.id).await?).await?;
    scene.gateway.wait_connected(&scene.id).await?;
    assert_ne!(again, device);
    scene.mark("linked anew").await?;
    scene.end().await;
    Ok(())
}

#[tokio::test]
async fn a_logout_while_the_gateway_was_down_is_noticed_at_its_start() -> Result<()> {
    let interval = Scene::set().await?.interval().await;
    for device in interval.account.devices() {
        interval.account.unlink(device).await?;
    }
    let scene = interval.resume().await?;
    let session = scene.gateway.wait_state(&scene.id, "logged_out").await?;
    assert_eq!(session["logged_in"], false);
    scene.end().await;
    Ok(())
}

#[tokio::test]
async fn a_connection_taken_over_by_another_client_ends_for_good() -> Result<()> {
    let scene = Scene::set().await?;
    let logins = scene.network.logins(scene.account.number());
    scene.network.faults().stream_error(scene.account.number(), StreamFault::Replaced);
    let session = scene.gateway.wait_state(&scene.id, "failed").await?;
    assert!(session["status"]["reason"].as_str().is_some_and(|reason| reason.contains("took over")), "{session}");
    assert_eq!(session["logged_in"], true, "the link is still good");
    assert_eq!(scene.network.logins(scene.account.number()), logins, "it must not fight for the connection");
    scene.gateway.connect(&scene.id).await?;
    scene.gateway.wait_connected(&scene.id).await?;
    scene.end().await;
    Ok(())
}

#[tokio::test]
async fn many_connects_at_once_are_one_client() -> Result<()> {
    let scene = Scene::set().await?.interval().await.resume().await?;
    scene.gateway.wait_connected(&scene.id).await?;
    scene.gateway.post(&format!("/api/sessions/{}/disconnect", scene.id), json!({})).await?;
    let before = scene.network.logins(scene.account.number());
    let connects = (0..8).map(|_| scene.gateway.connect(&scene.id));
    futures_util::future::try_join_all(connects).await?;
    scene.gateway.wait_connected(&scene.id).await?;
    scene.gateway.connect(&scene.id).await?;
    scene.mark("still one").await?;
    assert_eq!(scene.network.logins(scene.account.number()), before + 1);
    assert_eq!(scene.account.online().len(), 1);
    scene.end().await;
    Ok(())
}

#[tokio::test]
async fn a_cut_connection_is_opened_again_by_itself() -> Result<()> {
    let scene = Scene::set().await?;
    let before = scene.network.logins(scene.account.number());
    scene.network.faults().drop_sockets(scene.account.number());
    let down = scene.gateway.wait_state(&scene.id, "connecting").await?;
    assert!(down["status"]["last_error"].is_string(), "{down}");
    assert_eq!((&down["connected"], &down["logged_in"]), (&json!(false), &json!(true)));
    scene.gateway.wait_connected(&scene.id).await?;
    assert_eq!(scene.network.logins(scene.account.number()), before + 1);
    scene.mark("after the cut").await?;
    scene.end().await;
    Ok(())
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_is_named_in_the_status() -> Result<()> {
    let network = Network::start(NetworkConfig::default()).await?;
    let gateway = Gateway::start_with(&network, |config| {
        // Port 9 of this machine: nobody listens there.
        config.whatsapp.url = "ws://127.0.0.1:9/ws/chat".parse().expect("a URL");
    })
    .await?;
    let id = gateway.create_session("Support", None).await?;
    gateway.connect(&id).await?;
    let session = gateway.wait_status(&id, |session| session["status"]["last_error"].is_string()).await?;
    assert_eq!(session["status"]["state"], "connecting");
    let error = session["status"]["last_error"].as_str().unwrap_or_default();
    assert!(error.contains("cannot reach 127.0.0.1"), "{error}");
    gateway.wait_status(&id, |session| session["status"]["attempt"].as_u64() > Some(1)).await?;
    let (status, answer) = gateway.get(&format!("/api/sessions/{id}/qr")).await?;
    assert_eq!((status, &answer["code"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("qr_pending")));
    gateway.stop().await;
    Ok(())
}

#[tokio::test]
async fn a_server_that_is_not_whatsapp_is_said_to_be_none() -> Result<()> {
    // A web server that answers the WebSocket upgrade with an error page.
    let other = wagate_tests::receiver::Receiver::start().await?;
    let network = Network::start(NetworkConfig::default()).await?;
    let url = other.url().replacen("http", "ws", 1);
    let gateway = Gateway::start_with(&network, |config| config.whatsapp.url = url.parse().expect("a URL")).await?;
    let id = gateway.create_session("Support", None).await?;
    gateway.connect(&id).await?;
    let session = gateway.wait_status(&id, |session| session["status"]["last_error"].is_string()).await?;
    assert_eq!(session["status"]["state"], "connecting", "{session}");
    gateway.stop().await;
    Ok(())
}

#[tokio::test]
async fn a_gateway_stops_quickly_with_sessions_in_every_state() -> Result<()> {
    let scene = Scene::set().await?;
    let pairing = scene.gateway.create_session("pairing", None).await?;
    scene.gateway.connect(&pairing).await?;
    scene.gateway.qr(&pairing).await?;
    scene.network.faults().freeze(scene.account.number());
    let began = tokio::time::Instant::now();
    let network = scene.network.clone();
    scene.gateway.stop().await;
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    network.stop().await;
    Ok(())
}

#[tokio::test]
async fn messages_of_many_sessions_find_their_own_webhooks() -> Result<()> {
    let scene = Scene::set().await?;
    let other = scene.network.add_phone("Other");
    let receiver = wagate_tests::receiver::Receiver::start().await?;
    scene.gateway.link(&other, Some(&receiver.url())).await?;
    scene.friend.send_text(other.number(), "for the other").await?;
    scene.mark("for the first").await?;
    let request = receiver.wait_for(1, PATIENCE).await?.remove(0);
    assert_eq!(request.json()?["message"]["message"], "for the other");
    assert_eq!(texts(&scene.messages(1).await?)?, ["for the first"]);
    scene.end().await;
    Ok(())
}
