//! `wagate session`: which accounts there are, and linking one in the terminal.

use std::pin::pin;

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use futures_util::StreamExt;
use serde::Deserialize;
use serde_json::{Value, json};

use super::door::{Opened, Request};
use super::gateway::Gateway;
use super::{qr, say};
use crate::config::Config;
use crate::model::{Phone, Scope, Session, SessionId};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List sessions: the user's own through a running gateway, everybody's from the database.
    List,
    /// Link a session to a phone: draws the QR code here, or prints a code to type.
    Pair {
        /// The session.
        id: SessionId,
        /// Ask for a code to type on the phone with this number, instead of a QR code.
        #[arg(long, value_name = "NUMBER")]
        phone: Option<Phone>,
    },
}

/// A session, from either door.
#[derive(Debug, Deserialize)]
struct Known {
    id: String,
    name: String,
    phone: String,
    status: State,
}

#[derive(Debug, Deserialize)]
struct State {
    state: String,
}

impl From<Session> for Known {
    fn from(session: Session) -> Self {
        let state = if session.link.is_some() { "linked, not running" } else { "not linked" };
        Self {
            id: session.id.into(),
            name: session.name,
            phone: session.link.map(|link| link.phone.into()).unwrap_or_default(),
            status: State { state: state.to_owned() },
        }
    }
}

pub(super) async fn run(arguments: Request<Command>, config: &Config) -> Result<()> {
    let running = arguments.credentials.enter(config).await?;
    match (arguments.command, running) {
        (Command::List, Some(gateway)) => list(gateway.get("/api/sessions").await?),
        (Command::List, None) => {
            let opened = Opened::existing(config).await?;
            let sessions = opened.store.sessions(Scope::gateway()).list().await;
            opened.close().await;
            list(sessions?.into_iter().map(Known::from).collect());
        }
        (Command::Pair { id, phone }, Some(gateway)) => pair(&gateway, &id, phone.as_ref()).await?,
        (Command::Pair { .. }, None) => bail!(
            "no gateway runs at {}, and linking needs one that stays connected: start `wagate serve` and ask again",
            config.http.listen()
        ),
    }
    Ok(())
}

fn list(sessions: Vec<Known>) {
    let row = |known: Known| [known.id, known.name, known.phone, known.status.state];
    say::table(["ID", "NAME", "PHONE", "STATE"], sessions.into_iter().map(row));
}

/// Starts the session and shows what the phone has to see, until it is linked or the gateway gives up.
async fn pair(gateway: &Gateway, id: &SessionId, phone: Option<&Phone>) -> Result<()> {
    let _started: Value = gateway.post(&format!("/api/sessions/{id}/connect"), None).await?;
    if let Some(phone) = phone {
        let body = json!({ "phone": phone });
        let _asked: Value = gateway.post(&format!("/api/sessions/{id}/pair-code"), Some(body)).await?;
    }
    let mut frames = pin!(gateway.follow(id).await?);
    while let Some(frame) = frames.next().await {
        if let Some(number) = step(&frame?, phone.is_some())? {
            say::line(&format!("Linked to {number}."));
            return Ok(());
        }
    }
    bail!("the gateway closed the socket before the session was linked; is it still running?")
}

/// Shows one frame. Answers the linked number when there is nothing left to do.
fn step(frame: &Value, by_code: bool) -> Result<Option<String>> {
    let data = &frame["data"];
    let text = |name: &str| data[name].as_str().with_context(|| format!("a frame without {name}"));
    match frame["type"].as_str().unwrap_or_default() {
        "qr" if !by_code => {
            let seconds = data["timeout"].as_u64().unwrap_or_default();
            say::aside(&format!("\nScan this in WhatsApp: Linked devices, Link a device. Good for {seconds} s."));
            say::page(&format!("{}\n", qr::draw(text("qr")?)?));
        }
        "code" => {
            say::aside("\nType this in WhatsApp: Linked devices, Link with phone number instead.");
            say::line(text("code")?);
        }
        "passkey" => say::aside("\nWhatsApp asks for this account's passkey; follow what the phone shows."),
        "passkey_confirm" => {
            let code = data["code"].as_str().map(|code| format!(" and compare the code {code}")).unwrap_or_default();
            say::aside(&format!("\nConfirm on the phone{code}."));
        }
        "success" => return Ok(Some(text("phone")?.to_owned())),
        "error" => bail!("{}", text("error")?.to_owned()),
        _ => {}
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_with_the_number_when_linked_and_with_the_reason_when_not() {
        let linked = json!({ "type": "success", "data": { "phone": "6282260790996" } });
        assert_eq!(step(&linked, false).unwrap().as_deref(), Some("6282260790996"));
        let failed = json!({ "type": "error", "data": { "error": "nobody linked the session in time" } });
        assert_eq!(step(&failed, false).unwrap_err().to_string(), "nobody linked the session in time");
    }

    #[test]
    fn goes_on_after_frames_it_does_not_know() {
        assert_eq!(step(&json!({ "type": "status", "data": {} }), false).unwrap(), None);
        assert_eq!(step(&json!({ "type": "new in a later version" }), false).unwrap(), None);
        assert!(step(&json!({ "type": "code", "data": {} }), true).is_err(), "a known frame must be whole");
    }
}
