//! The demo's plugins: components of this repository, installed over REST as a user would.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::curl::Rest;
use super::stage::Stage;
use super::{PATIENCE, happened};

const ROUTER: &[u8] = include_bytes!("../../../../plugins/dist/keyword-router.wasm");
const REDACT: &[u8] = include_bytes!("../../../../plugins/dist/redact.wasm");

const INVOICE: &str = "Please send me the invoice.";
const CARD: &str = "4111 1111 1111 1111";

/// Sends messages with the word invoice to a second endpoint, and shows that one went there and nowhere else.
pub(super) async fn route(stage: &Stage, rest: &Rest, session: &str) -> Result<()> {
    let endpoint = json!({ "name": "billing", "url": stage.receiver.billing_url() });
    rest.post(&format!("/api/sessions/{session}/endpoints"), &endpoint).await?;
    let config = json!({ "routes": [{ "words": ["invoice"], "endpoints": ["billing"] }], "otherwise": ["default"] });
    install(rest, session, "keyword-router", ROUTER, &["log"], &config).await?;
    stage.bob.send_text(stage.alice.number(), INVOICE).await?;
    let webhook = stage.receiver.wait(session, INVOICE, PATIENCE).await.context("no webhook came")?;
    ensure!(webhook.path == "/billing", "the message went to {}", webhook.path);
    happened(&format!("it came to {} and nowhere else", webhook.path));
    let body: Value = serde_json::from_str(&webhook.body)?;
    let event = body["event_id"].as_str().context("the webhook names no event")?;
    let trace = rest.get(&format!("/api/events/{event}/trace")).await?;
    let steps = trace["routing"]["steps"].as_array().context("the trace has no steps")?;
    for step in steps {
        happened(&format!("{} said {} in {} µs", step["name"], step["verdict"], step["took_us"]));
    }
    Ok(())
}

/// Masks card numbers in what the webhooks carry.
pub(super) async fn reshape(stage: &Stage, rest: &Rest, session: &str) -> Result<()> {
    install(rest, session, "redact", REDACT, &[], &json!({})).await?;
    stage.bob.send_text(stage.alice.number(), &format!("My card is {CARD}, thanks.")).await?;
    let webhook = stage.receiver.wait_where(session, |text| text.starts_with("My card is"), PATIENCE).await;
    let webhook = webhook.context("no webhook came")?;
    ensure!(!webhook.body.contains(CARD), "the card number was not masked: {}", webhook.body);
    happened(&webhook.body);
    Ok(())
}

async fn install(
    rest: &Rest,
    session: &str,
    name: &str,
    component: &'static [u8],
    grants: &[&str],
    config: &Value,
) -> Result<()> {
    let granted = grants.iter().fold(String::new(), |query, grant| query + "&grant=" + grant);
    let file = format!("plugins/dist/{name}.wasm");
    let plugin = rest.upload(&format!("/api/plugins?name={name}{granted}"), &file, component).await?;
    let id = plugin["id"].as_str().context("the plugin has no id")?;
    let binding = json!({ "session_id": session, "config": config });
    rest.post(&format!("/api/plugins/{id}/bindings"), &binding).await?;
    Ok(())
}
