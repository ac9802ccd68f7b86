//! The whole thing without a phone: a simulated WhatsApp network, the gateway, a webhook receiver, and a message's way
//! through them, step by step, each with the `curl` that would do it.
//!
//! Everything is real but the network at the other end: sockets, Signal encryption, database, webhook. It opens loopback
//! only and keeps its state in a folder that goes when it ends.

mod curl;
mod plugins;
mod receiver;
mod stage;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use wagate_simulator::{Phone, Ticks};

use self::curl::Rest;
use self::stage::Stage;
use super::say;

/// How long any one step may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Arguments of `wagate demo`.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct Arguments {
    /// Show it once and exit: 0 when every step worked.
    #[arg(long)]
    once: bool,
}

/// Runs the demo.
pub(super) async fn run(arguments: Arguments) -> Result<()> {
    let stage = Stage::set().await.context("demo: setting the stage failed")?;
    let outcome = show(&stage).await;
    if let (Ok(travelled), false) = (&outcome, arguments.once) {
        say::line(&format!("\nThe message took {} ms from the phone to the webhook's 200.", travelled.as_millis()));
        stay(&stage).await?;
    }
    stage.strike().await;
    say::line(&format!("demo: ok {} ms", outcome?.as_millis()));
    Ok(())
}

/// The steps. Answers how long a message took from a phone's send to the webhook's 200.
async fn show(stage: &Stage) -> Result<Duration> {
    introduce(stage);
    let rest = step("1. Log in", log_in(stage)).await?;
    let (alice, bob) = (&stage.alice, &stage.bob);
    let sales = step("2. Link Alice's phone by its QR", link(stage, &rest, alice)).await?;
    let support = step("3. Link Bob's phone by its QR", link(stage, &rest, bob)).await?;
    step("4. Send from Alice's session by REST", send(&rest, &sales, bob)).await?;
    step("5. The webhook of Bob's session receives it", received(stage, &support, GREETING)).await?;
    step("6. Send by Alice's number instead of her session's id", send_from(&rest, alice, bob)).await?;
    let travelled = step("7. Bob answers on his phone; Alice's webhook receives it", answer(stage, &sales)).await?;
    step("8. Ask whether a number is on WhatsApp, and for the groups", ask(&rest, &sales, bob)).await?;
    step("9. A plugin routes invoices to an endpoint of their own", plugins::route(stage, &rest, &sales)).await?;
    step("10. A plugin reshapes the webhook: card numbers are masked", plugins::reshape(stage, &rest, &sales)).await?;
    Ok(travelled)
}

const GREETING: &str = "Hello from the gateway!";
const ANSWER: &str = "Hello, gateway.";

/// Runs a step under its title; its failure carries the title.
async fn step<T>(title: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
    say::line(&format!("\n{title}"));
    work.await.with_context(|| format!("demo: step failed: {title}"))
}

fn introduce(stage: &Stage) {
    say::line("wagate demo: everything below runs on this machine, against a simulated WhatsApp network.");
    say::line(&format!("   gateway    {}   (admin / admin, in the demo only)", stage.base()));
    say::line(&format!("   phones     {}/", stage.network.http_url()));
    say::line(&format!("   receiver   {}", stage.receiver.url()));
}

async fn log_in(stage: &Stage) -> Result<Rest> {
    let mut rest = Rest::new(stage.egress.clone(), stage.base());
    let answer = rest.post("/api/login", &json!({ "username": "admin", "password": "admin" })).await?;
    rest.carry(answer["token"].as_str().context("the login answered no token")?);
    happened("a token, good for 12 hours; below it is $TOKEN");
    Ok(rest)
}

async fn link(stage: &Stage, rest: &Rest, phone: &Phone) -> Result<String> {
    let body = json!({ "name": phone.name(), "webhook_url": stage.receiver.url() });
    let created = rest.post("/api/sessions", &body).await?;
    let id = created["id"].as_str().context("the session has no id")?.to_owned();
    rest.post(&format!("/api/sessions/{id}/connect"), &json!({})).await?;
    let answer = rest.get(&format!("/api/sessions/{id}/qr")).await?;
    let qr = answer["data"]["qr"].as_str().context("no QR was given")?;
    let device = phone.scan(qr).await?;
    happened(&format!("{} scanned the QR: the gateway is linked device {device} of {}", phone.name(), phone.number()));
    let connected = |session: &Value| session["connected"] == true;
    rest.wait(&format!("/api/sessions/{id}"), connected, PATIENCE).await.context("the session did not connect")?;
    happened("connected");
    Ok(id)
}

async fn send(rest: &Rest, session: &str, to: &Phone) -> Result<()> {
    let body = json!({ "recipient": to.number(), "message": GREETING });
    let answer = rest.post(&format!("/api/sessions/{session}/send"), &body).await?;
    let id = answer["message_id"].as_str().context("the answer has no message_id")?;
    happened(&format!("accepted by WhatsApp as {id}"));
    shown_on(to, GREETING).await
}

async fn send_from(rest: &Rest, from: &Phone, to: &Phone) -> Result<()> {
    let text = "And this one by number.";
    let body = json!({ "phone": from.number(), "recipient": to.number(), "message": text });
    rest.post("/api/send", &body).await?;
    shown_on(to, text).await
}

async fn shown_on(phone: &Phone, text: &str) -> Result<()> {
    let seen = phone.wait_for(PATIENCE, |received| received.text.as_deref() == Some(text)).await;
    ensure!(seen.is_some(), "{}'s phone did not show the message", phone.name());
    happened(&format!("{}'s phone shows \"{text}\"", phone.name()));
    Ok(())
}

async fn received(stage: &Stage, session: &str, text: &str) -> Result<()> {
    let webhook = stage.receiver.wait(session, text, PATIENCE).await.context("no webhook came")?;
    happened(&format!("webhook-id {}, signature {}", webhook.id, webhook.signature));
    happened(&webhook.body);
    Ok(())
}

async fn answer(stage: &Stage, session: &str) -> Result<Duration> {
    let began = tokio::time::Instant::now();
    let id = stage.bob.send_text(stage.alice.number(), ANSWER).await?;
    let webhook = stage.receiver.wait(session, ANSWER, PATIENCE).await.context("no webhook came")?;
    let travelled = webhook.answered.duration_since(began);
    happened(&webhook.body);
    let delivered = tokio::time::timeout(PATIENCE, async {
        while stage.bob.ticks(&id) < Ticks::Delivered {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    delivered.await.context("Bob's phone did not see the second tick")?;
    happened("Bob's phone shows two ticks: the message is stored here and acknowledged");
    Ok(travelled)
}

async fn ask(rest: &Rest, session: &str, about: &Phone) -> Result<()> {
    let checked =
        rest.post(&format!("/api/sessions/{session}/check-number"), &json!({ "number": about.number() })).await?;
    ensure!(checked["on_whatsapp"] == true, "the number was not found: {checked}");
    let groups = rest.get(&format!("/api/sessions/{session}/groups")).await?;
    ensure!(groups["count"] == 1, "the group was not listed: {groups}");
    Ok(())
}

async fn stay(stage: &Stage) -> Result<()> {
    say::line("The demo stays up. Write from the simulated phones in a browser, or with the commands above:");
    say::line(&format!("   phones     {}/", stage.network.http_url()));
    say::line("Ctrl-C ends it and removes what it stored.");
    tokio::signal::ctrl_c().await.context("Ctrl-C cannot be awaited")
}

/// Tells what a step brought about.
fn happened(what: &str) {
    say::line(&format!("   → {what}"));
}
