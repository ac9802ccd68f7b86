//! The founding guide, taken at its word: its own samples run against a gateway whose sessions are linked to simulated
//! phones, and get the answers it prints.
//!
//! What is changed in a sample: the gateway's address, `https://myapp.com` (the reader's own program, which here is a
//! receiver on loopback) and the placeholders a reader fills in. The scenario is the guide's too: its two numbers, its
//! session id, its two groups, and `admin`/`admin`, which logs in because the gateway runs in demo mode.

mod answers;
mod document;
mod javascript;
mod script;
mod shell;
mod stage;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::StatusCode;
use serde_json::{Value, json};
use wagate_tests::api::{Api, PATIENCE};

use self::answers::{same_types, same_values};
use self::document::{printed, samples};
use self::shell::Shell;
use self::stage::{ACCOUNT, OTHER, SESSION, Stage};

/// A text that only one curl sample holds, for each.
mod curl {
    pub(super) const LOGIN: &str = "\"username\": \"admin\",\n";
    pub(super) const ONE_USER: &str = "Business Support";
    pub(super) const TWO_USERS: &str = "User 2 Login";
    pub(super) const CONNECT: &str = "POST http://localhost:8080/api/sessions/1234567890/connect";
    pub(super) const SEND: &str = "Hello from specific session!";
    pub(super) const SEND_BY_PHONE: &str = "Hello from selected phone!";
    pub(super) const CHECK_NUMBER: &str = "check-number";
    pub(super) const GROUPS: &str = "-X GET";
    pub(super) const WEBHOOK: &str = "-X PUT";
}

/// What is tried, by the test that tries it.
const TRIED: [(&str, &str); 25] = [
    ("bash", curl::LOGIN),
    ("bash", curl::ONE_USER),
    ("bash", curl::TWO_USERS),
    ("bash", curl::CONNECT),
    ("bash", curl::SEND),
    ("bash", curl::SEND_BY_PHONE),
    ("bash", curl::CHECK_NUMBER),
    ("bash", curl::GROUPS),
    ("bash", curl::WEBHOOK),
    ("json", "\"token\""),
    ("json", "verified_name"),
    ("json", "participant_count"),
    ("json", "session_id"),
    ("json", "Error Type"),
    ("javascript", javascript::SOCKET),
    ("javascript", javascript::OPTION_A),
    ("javascript", javascript::OPTION_B),
    ("javascript", javascript::BULK),
    ("javascript", javascript::BROADCAST),
    ("javascript", javascript::WEBHOOK),
    ("javascript", javascript::ROUTING),
    ("javascript", javascript::TENANT),
    ("javascript", javascript::BALANCER),
    ("javascript", javascript::RETRY),
    ("javascript", javascript::MONITOR),
];

/// What is not, and why.
const NOT_TRIED: [(&str, &str, &str); 4] = [
    ("bash", "./main", "starts the program of the guide's time; ours is `wagate serve`"),
    ("bash", "\nAuthorization: Bearer", "is a header, no command; every other sample carries it"),
    ("bash", "export PORT=8080", "is an environment; tests/it/config.rs has those names"),
    ("dockerfile", "FROM golang", "builds the program of the guide's time"),
];

#[test]
fn every_sample_is_tried_or_has_a_reason() {
    let all = samples();
    assert_eq!(all.len(), TRIED.len() + NOT_TRIED.len());
    let marks = TRIED.into_iter().chain(NOT_TRIED.map(|(language, mark, _)| (language, mark)));
    let marks: Vec<_> = marks.collect();
    for sample in all {
        let text = format!("\n{}\n", sample.text);
        let fitting = marks.iter().filter(|(language, mark)| *language == sample.language && text.contains(mark));
        assert_eq!(fitting.count(), 1, "{}", sample.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn logging_in_is_answered_as_printed() -> Result<()> {
    let stage = Stage::set().await?;
    let shell = Shell::open(stage.api.base(), &stage.receiver.url_of(""))?;
    let (status, answer) = shell.curl(curl::LOGIN).await?;
    ensure!(status == StatusCode::OK, "{status} {answer}");
    let printed = printed("\"token\"")?;
    same_types(&printed, &answer)?;
    same_values(&json!({ "success": printed["success"], "user": printed["user"] }), &answer)?;
    // The guide prints a token's first part and dots: a JWT with this head, whose members may stand in any order.
    let (ours, theirs) = (head(&answer["token"])?, head(&printed["token"])?);
    ensure!(ours == theirs, "the token's head is {ours}, not {theirs}");
    stage.strike().await;
    Ok(())
}

fn head(token: &Value) -> Result<Value> {
    let head = token.as_str().and_then(|token| token.split('.').next()).context("no token")?;
    Ok(serde_json::from_slice(&URL_SAFE_NO_PAD.decode(head)?)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_user_links_two_numbers() -> Result<()> {
    let stage = Stage::set().await?;
    let mut shell = Shell::open(stage.api.base(), &stage.receiver.url_of(""))?;
    shell.note("YOUR_TOKEN", stage.api.token());
    let commands = Shell::commands(curl::ONE_USER)?;
    ensure!(commands.len() == 4, "{commands:?}");

    let mut ids = Vec::new();
    let named = [("Business Support", "business"), ("Personal Account", "personal")];
    for ((command, (name, path)), placeholder) in commands.iter().zip(named).zip(["SESSION_ID_1", "SESSION_ID_2"]) {
        let (status, session) = shell.run(command).await?;
        ensure!(status == StatusCode::CREATED, "{status} {session}");
        let webhook = stage.receiver.url_of(&format!("/webhook/{path}"));
        same_values(
            &json!({ "name": name, "webhook_url": webhook, "connected": false, "logged_in": false }),
            &session,
        )?;
        let id = session["id"].as_str().context("no id")?.to_owned();
        shell.note(placeholder, &id);
        ids.push(id);
    }
    for command in commands.iter().skip(2) {
        let (status, answer) = shell.run(command).await?;
        ensure!(status == StatusCode::OK && answer["success"] == true, "{status} {answer}");
    }
    for (id, phone) in ids.iter().zip([&stage.account, &stage.other]) {
        stage.scan(id, phone).await?;
    }
    let (_, sessions) = stage.api.get("/api/sessions").await?;
    let linked = |phone: &str| json!({ "phone": phone, "connected": true, "logged_in": true });
    same_values(&json!([linked(ACCOUNT), linked(OTHER)]), &sessions)?;
    stage.strike().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_users_have_their_sessions_apart() -> Result<()> {
    let stage = Stage::set().await?;
    let user = json!({ "username": "user2", "password": "password2" });
    let (status, answer) = stage.api.post("/api/users", user).await?;
    ensure!(status == StatusCode::CREATED, "{status} {answer}");
    let mut shell = Shell::open(stage.api.base(), &stage.receiver.url_of(""))?;
    let commands = Shell::commands(curl::TWO_USERS)?;
    ensure!(commands.len() == 4, "{commands:?}");

    for (command, placeholder) in commands.iter().zip(["TOKEN1", "TOKEN2"]) {
        let (status, answer) = shell.run(command).await?;
        ensure!(status == StatusCode::OK, "{status} {answer}");
        same_types(&printed("\"token\"")?, &answer)?;
        shell.note(placeholder, answer["token"].as_str().context("no token")?);
    }
    let mut ids = Vec::new();
    for (command, name) in commands.iter().skip(2).zip(["User 1 Session", "User 2 Session"]) {
        let (status, session) = shell.run(command).await?;
        ensure!(status == StatusCode::CREATED && session["name"] == name, "{status} {session}");
        ids.push(session["id"].as_str().context("no id")?.to_owned());
    }
    let second = Api::login(stage.api.base(), "user2", "password2").await?;
    for (api, own, foreign) in [(&stage.api, &ids[0], &ids[1]), (&second, &ids[1], &ids[0])] {
        let (_, sessions) = api.get("/api/sessions").await?;
        same_values(&json!([{ "id": own }]), &sessions)?;
        let (status, answer) = api.get(&format!("/api/sessions/{foreign}")).await?;
        ensure!(status == StatusCode::NOT_FOUND, "{status} {answer}");
    }
    stage.strike().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_and_the_groups_are_answered_as_printed() -> Result<()> {
    let stage = Stage::set().await?;
    stage.found_groups()?;
    let mut shell = Shell::open(stage.api.base(), &stage.receiver.url_of(""))?;
    shell.note("YOUR_TOKEN", stage.api.token());
    stage.create(SESSION).await?;
    let (status, answer) = shell.curl(curl::CONNECT).await?;
    ensure!(status == StatusCode::OK && answer["success"] == true, "{status} {answer}");
    stage.scan(SESSION, &stage.account).await?;

    let (status, answer) = shell.curl(curl::CHECK_NUMBER).await?;
    ensure!(status == StatusCode::OK, "{status} {answer}");
    same_values(&printed("verified_name")?, &answer)?;
    let (status, answer) = shell.curl(curl::GROUPS).await?;
    ensure!(status == StatusCode::OK, "{status} {answer}");
    same_values(&printed("participant_count")?, &answer)?;
    stage.strike().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_go_out_by_session_and_by_number() -> Result<()> {
    let stage = Stage::linked().await?;
    let mut shell = Shell::open(stage.api.base(), &stage.receiver.url_of(""))?;
    shell.note("YOUR_TOKEN", stage.api.token());
    for text in [curl::SEND, curl::SEND_BY_PHONE] {
        let (status, answer) = shell.curl(text).await?;
        ensure!(status == StatusCode::OK && answer["success"] == true, "{status} {answer}");
        let (_, from) = stage.shown(&stage.other, text).await?;
        assert_eq!(from, format!("{ACCOUNT}@s.whatsapp.net"));
    }
    stage.strike().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_reaches_the_webhook_as_printed() -> Result<()> {
    let stage = Stage::linked().await?;
    let mut shell = Shell::open(stage.api.base(), &stage.receiver.url_of(""))?;
    shell.note("YOUR_TOKEN", stage.api.token());
    let (status, answer) = shell.curl(curl::WEBHOOK).await?;
    ensure!(status == StatusCode::OK && answer["success"] == true, "{status} {answer}");

    let id = stage.other.send_text(ACCOUNT, "Hello!").await?;
    let request = &stage.receiver.wait_for(1, PATIENCE).await?[0];
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/webhook"));
    assert_eq!(request.header("content-type"), "application/json");
    as_printed(&request.json()?, &id)?;
    stage.strike().await;
    Ok(())
}

/// The webhook body the guide prints. Only the message's id and time are the message's own.
fn as_printed(body: &Value, id: &str) -> Result<()> {
    let mut printed = printed("session_id")?;
    same_types(&printed, body)?;
    printed["message"]["id"] = json!(id);
    printed["message"]["timestamp"] = body["message"]["timestamp"].clone();
    same_values(&printed, body)?;
    let now = std::time::UNIX_EPOCH.elapsed()?.as_secs();
    let sent = body["message"]["timestamp"].as_u64().context("no timestamp")?;
    ensure!(now.abs_diff(sent) < 300, "{sent} is not now in seconds");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_have_the_statuses_and_the_form_of_the_guide() -> Result<()> {
    let stage = Stage::set().await?;
    let mut shell = Shell::open(stage.api.base(), &stage.receiver.url_of(""))?;
    let printed = printed("Error Type")?;
    let mut seen = Vec::new();
    // A reader who forgot to fill in the token.
    seen.push((StatusCode::UNAUTHORIZED, shell.curl(curl::SEND).await?));
    shell.note("YOUR_TOKEN", stage.api.token());
    // One who forgot to create the session, and one who did not link it.
    seen.push((StatusCode::NOT_FOUND, shell.curl(curl::CONNECT).await?));
    seen.push((StatusCode::NOT_FOUND, shell.curl(curl::SEND_BY_PHONE).await?));
    stage.create(SESSION).await?;
    seen.push((StatusCode::NOT_FOUND, shell.curl(curl::SEND).await?));
    // And one who misremembers a field.
    let misnamed = Shell::commands(curl::SEND)?[0].replace("\"message\"", "\"text\"");
    seen.push((StatusCode::BAD_REQUEST, shell.run(&misnamed).await?));
    for (expected, (status, answer)) in seen {
        ensure!(status == expected, "{status}, not {expected}: {answer}");
        same_types(&printed, &answer)?;
    }
    stage.strike().await;
    Ok(())
}
