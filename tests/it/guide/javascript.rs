//! The guide's JavaScript: each sample with a driver that calls it.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use wagate_simulator::PhoneSpec;

use super::answers::same_values;
use super::as_printed;
use super::script::Script;
use super::stage::{ACCOUNT, OTHER, SESSION, Stage};

/// A text that only one sample holds, for each.
pub(super) const SOCKET: &str = "new WebSocket(";
pub(super) const OPTION_A: &str = "api.qrserver.com";
pub(super) const OPTION_B: &str = "import QRCode";
pub(super) const BULK: &str = "async function sendBulkMessages";
pub(super) const BROADCAST: &str = "async function broadcastToGroups";
pub(super) const WEBHOOK: &str = "app.post('/webhook'";
pub(super) const ROUTING: &str = "const departments";
pub(super) const TENANT: &str = "class WhatsAppTenant";
pub(super) const BALANCER: &str = "class MessageBalancer";
pub(super) const RETRY: &str = "async function sendMessageWithRetry";
pub(super) const MONITOR: &str = "async function monitorSessions";

/// Runs the socket sample with one of its ways to display a code; `code` finds the code in what was displayed.
async fn pair(option: &str, code: impl Fn(&Value) -> Result<String>) -> Result<()> {
    let stage = Stage::set().await?;
    stage.create(SESSION).await?;
    let mut script = Script::start(&stage, &[SOCKET, option], include_str!("drivers/pairing.mjs"))?;
    let displayed = script.told().await?;
    stage.account.scan(&code(&displayed).with_context(|| format!("no code in {displayed}"))?).await?;
    let after = script.told().await?;
    assert_eq!(after["complained"], json!([]));
    let logged: Vec<&str> = after["logged"].as_array().context("no log")?.iter().filter_map(Value::as_str).collect();
    assert_eq!(logged.first(), Some(&"WebSocket connected"));
    assert!(logged.contains(&"QR Code:"), "{logged:?}");
    assert_eq!(logged.last(), Some(&"Authentication successful!"));
    script.end().await?;
    let (_, session) = stage.api.get(&format!("/api/sessions/{SESSION}")).await?;
    same_values(&json!({ "phone": ACCOUNT, "connected": true, "logged_in": true }), &session)?;
    stage.strike().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_socket_sample_links_a_phone_that_scans_an_image() -> Result<()> {
    // The sample has a stranger's server draw the code, which hands the account to whoever runs it. Here the image's
    // address is only read. The gateway draws codes itself: GET /api/sessions/{id}/qr?format=png.
    pair(OPTION_A, |displayed| {
        let address: reqwest::Url = displayed["picture"].as_str().context("no image")?.parse()?;
        assert_eq!(address.host_str(), Some("api.qrserver.com"));
        let (_, data) = address.query_pairs().find(|(name, _)| name == "data").context("no data")?;
        Ok(data.into_owned())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_socket_sample_links_a_phone_that_scans_a_canvas() -> Result<()> {
    pair(OPTION_B, |displayed| {
        let drawn = &displayed["drawn"];
        same_values(&json!({ "canvas": { "id": "qr-canvas" }, "options": { "width": 256 } }), drawn)?;
        Ok(drawn["text"].as_str().context("no text")?.to_owned())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn bulk_messages_go_to_numbers_on_whatsapp_only() -> Result<()> {
    let stage = Stage::linked().await?;
    let third = PhoneSpec { name: "Third".to_owned(), number: Some("6281381393740".to_owned()), business: None };
    let third = stage.network.add_phone_with(third)?;
    let exchanges = Script::run(&stage, &[BULK, TENANT], include_str!("drivers/bulk.mjs")).await?;
    let check = |number: &str, on_whatsapp: bool| {
        json!({ "method": "POST", "path": format!("/api/sessions/{SESSION}/check-number"), "status": 200,
                "body": { "number": number, "on_whatsapp": on_whatsapp } })
    };
    let sent = |number: &str| sent_through(SESSION, &format!("{number}@s.whatsapp.net"));
    let expected = json!([
        check(OTHER, true),
        check("6280000000000", false),
        check(third.number(), true),
        sent(OTHER),
        sent(third.number())
    ]);
    same_values(&expected, &exchanges)?;
    for phone in [&stage.other, &third] {
        stage.shown(phone, "Hello to many!").await?;
    }
    stage.strike().await;
    Ok(())
}

/// The exchange of a send that WhatsApp accepted.
fn sent_through(session: &str, recipient: &str) -> Value {
    json!({ "method": "POST", "path": format!("/api/sessions/{session}/send"), "status": 200,
            "body": { "success": true, "recipient": recipient } })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broadcast_reaches_every_group_or_those_one_administers() -> Result<()> {
    let stage = Stage::set().await?;
    stage.found_groups()?;
    stage.link(SESSION, &stage.account).await?;
    let exchanges = Script::run(&stage, &[BROADCAST, TENANT], include_str!("drivers/broadcast.mjs")).await?;
    let (family, work) = ("120363302171476233@g.us", "6281381393739-1624931511@g.us");
    let listed = json!({ "method": "GET", "path": format!("/api/sessions/{SESSION}/groups"), "status": 200,
                         "body": { "count": 2 } });
    let sent = |group| sent_through(SESSION, group);
    same_values(&json!([listed, sent(work), listed, sent(family), sent(work)]), &exchanges)?;
    assert_eq!(stage.shown(&stage.other, "Hello to my own!").await?.0, work);
    stage.shown(&stage.other, "Hello to all!").await?;
    let all = || stage.other.inbox().into_iter().filter(|message| message.text.as_deref() == Some("Hello to all!"));
    let deadline = tokio::time::Instant::now() + wagate_tests::api::PATIENCE;
    while all().count() < 2 && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(all().map(|message| message.chat).collect::<Vec<_>>(), [family, work]);
    stage.strike().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_webhook_sample_takes_a_message() -> Result<()> {
    let stage = Stage::linked().await?;
    let mut script = Script::start(&stage, &[WEBHOOK], include_str!("drivers/webhook.mjs"))?;
    let port = script.told().await?["port"].as_u64().context("no port")?;
    let webhook = json!({ "webhook_url": format!("http://127.0.0.1:{port}/webhook") });
    let (status, answer) = stage.api.put(&format!("/api/sessions/{SESSION}/webhook"), webhook).await?;
    ensure!(status.is_success(), "{status} {answer}");
    let id = stage.other.send_text(ACCOUNT, "Hello!").await?;
    let told = script.told().await?;
    let processed = &told["processed"][0];
    as_printed(&json!({ "session_id": processed["session"], "message": processed["message"] }), &id)?;
    let at = &processed["message"]["timestamp"];
    let expected = json!([
        format!("New message in session {SESSION}:"),
        format!("From: {OTHER}@s.whatsapp.net"),
        "Message: Hello!",
        format!("Timestamp: {at}")
    ]);
    assert_eq!(told["logged"], expected);
    script.go_on().await?;
    script.end().await?;
    stage.strike().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn departments_write_through_sessions_of_their_own() -> Result<()> {
    let stage = Stage::set().await?;
    let departments = ["sales", "support", "billing"];
    let phones = departments.map(|department| stage.network.add_phone(department));
    for (department, phone) in departments.iter().zip(&phones) {
        stage.link(&format!("session_{department}"), phone).await?;
    }
    let answers = Script::run(&stage, &[ROUTING], include_str!("drivers/routing.mjs")).await?;
    for (department, phone) in departments.iter().zip(&phones) {
        let body = json!({ "success": true, "session_id": format!("session_{department}") });
        same_values(&json!({ "status": 200, "body": body }), &answers[department])?;
        let (_, from) = stage.shown(&stage.other, &format!("Hello from {department}!")).await?;
        assert_eq!(from, phone.jid());
    }
    stage.strike().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_creates_a_session_and_writes_through_it() -> Result<()> {
    let stage = Stage::set().await?;
    let driver = include_str!("drivers/tenant.mjs")
        .replace("https://example.com/never-called", &stage.receiver.url_of("/tenant"));
    let mut script = Script::start(&stage, &[TENANT], &driver)?;
    let created = script.told().await?;
    let session = json!({ "name": "Tenant 1", "webhook_url": stage.receiver.url_of("/tenant") });
    same_values(&json!({ "status": 201, "kept": true, "session": session }), &created)?;
    let id = created["session"]["id"].as_str().context("no id")?;
    stage.api.connect(id).await?;
    stage.scan(id, &stage.account).await?;
    script.go_on().await?;
    let sent = script.told().await?;
    same_values(&json!({ "status": 200, "body": { "success": true, "session_id": id } }), &sent)?;
    script.end().await?;
    stage.shown(&stage.other, "Hello from a tenant!").await?;
    stage.strike().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn balanced_messages_leave_by_each_number_in_turn() -> Result<()> {
    let stage = Stage::linked().await?;
    let second = stage.network.add_phone("Second");
    stage.link("second", &second).await?;
    let told = Script::run(&stage, &[BALANCER], include_str!("drivers/balancer.mjs")).await?;
    assert_eq!(told["phones"], json!([ACCOUNT, second.number()]));
    let sent = |session: &str| json!({ "status": 200, "body": { "success": true, "session_id": session } });
    same_values(&json!([sent(SESSION), sent("second"), sent(SESSION), sent("second")]), &told["used"])?;
    for (n, phone) in [&stage.account, &second, &stage.account, &second].into_iter().enumerate() {
        let (_, from) = stage.shown(&stage.other, &format!("Balanced {}", n + 1)).await?;
        assert_eq!(from, phone.jid());
    }
    stage.strike().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_send_is_retried_as_the_sample_says() -> Result<()> {
    let stage = Stage::linked().await?;
    stage.create("not_linked").await?;
    let told = Script::run(&stage, &[RETRY], include_str!("drivers/retry.mjs")).await?;
    let tried =
        |session: &str, status: u16| json!({ "path": format!("/api/sessions/{session}/send"), "status": status });
    same_values(&json!({ "plain": { "success": true }, "refreshed": { "success": true } }), &told)?;
    assert_eq!(told["atOnce"], json!([tried(SESSION, 200)]));
    let login = json!({ "path": "/api/login", "status": 200 });
    assert_eq!(told["afterLogin"], json!([tried(SESSION, 401), login, tried(SESSION, 200)]));
    assert_eq!(told["message"], "Session not found or not logged in");
    // A fault of the guide: it throws for 404 inside its own try, and so repeats what cannot succeed.
    assert_eq!(told["refused"], json!([tried("not_linked", 404), tried("not_linked", 404), tried("not_linked", 404)]));
    for text in ["Sent at once", "Sent after a new login"] {
        stage.shown(&stage.other, text).await?;
    }
    stage.strike().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_monitor_counts_sessions_by_their_state() -> Result<()> {
    let stage = Stage::linked().await?;
    stage.link("paused", &stage.other).await?;
    let (status, answer) = stage.api.post("/api/sessions/paused/disconnect", json!({})).await?;
    ensure!(status.is_success(), "{status} {answer}");
    stage.create("never_linked").await?;
    let told = Script::run(&stage, &[MONITOR], include_str!("drivers/monitor.mjs")).await?;
    let stats = json!({ "total": 3, "connected": 1, "logged_in": 2, "disconnected": 2 });
    assert_eq!(told, json!({ "stats": stats, "logged": [["Session Stats:", stats]], "intervals": [60000] }));
    stage.strike().await;
    Ok(())
}
