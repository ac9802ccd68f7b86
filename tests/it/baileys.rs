//! Conformance: Baileys, a client nobody here wrote, links to the simulated network and exchanges messages.
//!
//! The driver is `tests/baileys/link.mjs`; its packages are installed with `npm ci` when they are missing.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use wagate_simulator::{Network, NetworkConfig, Phone, Ticks};
use wagate_tests::gateway::Gateway;
use wagate_tests::receiver::Receiver;

const PATIENCE: Duration = Duration::from_mins(1);

/// A Baileys client in a process of its own.
struct Baileys {
    _process: Child,
    commands: ChildStdin,
    events: Lines<BufReader<ChildStdout>>,
}

impl Baileys {
    async fn start(network: &Network) -> Self {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("baileys");
        if !folder.join("node_modules/baileys").exists() {
            let installed = Command::new("npm").arg("ci").current_dir(&folder).status().await.unwrap();
            assert!(installed.success(), "npm ci failed");
        }
        let mut process = Command::new("node")
            .arg("link.mjs")
            .arg(network.ws_url())
            .current_dir(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let commands = process.stdin.take().unwrap();
        let events = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { _process: process, commands, events }
    }

    async fn command(&mut self, command: Value) {
        self.commands.write_all(format!("{command}\n").as_bytes()).await.unwrap();
    }

    /// Waits for an event of this name for which `wanted` holds.
    async fn wait(&mut self, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let wait = async {
            loop {
                let line = self.events.next_line().await.unwrap().expect("Baileys is alive");
                let Ok(event) = serde_json::from_str::<Value>(&line) else { continue };
                assert_ne!(event["event"], "error", "Baileys failed: {event}");
                if event["event"] == name && wanted(&event) {
                    return event;
                }
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("Baileys did not emit {name}"))
    }

    async fn link(&mut self, phone: &Phone) {
        let qr = self.wait("qr", |_| true).await;
        phone.scan(qr["qr"].as_str().unwrap()).await.unwrap();
        let open = self.wait("open", |_| true).await;
        assert!(open["id"].as_str().unwrap().starts_with(phone.number()), "{open}");
    }

    async fn send(&mut self, to: &str, text: &str) -> String {
        self.command(json!({ "cmd": "send", "to": to, "text": text })).await;
        self.wait("sent", |_| true).await["id"].as_str().unwrap().to_owned()
    }

    async fn message(&mut self, text: &str) -> Value {
        self.wait("message", |event| event["text"] == text).await
    }
}

#[tokio::test]
async fn baileys_links_and_exchanges_messages() {
    let network = Network::start(NetworkConfig::default()).await.unwrap();
    let [ada, ben] = ["Ada", "Ben"].map(|name| network.add_phone(name));
    let mut baileys = Baileys::start(&network).await;
    baileys.link(&ada).await;

    let id = baileys.send(ben.number(), "hello Ben").await;
    let received = ben.wait_for(PATIENCE, |message| message.id == id).await.unwrap();
    assert_eq!((received.text.as_deref(), received.from), (Some("hello Ben"), ada.jid()));

    let id = ben.send_text(ada.number(), "hello Ada").await.unwrap();
    assert_eq!(baileys.message("hello Ada").await["chat"], ben.jid());
    assert_eq!(ben.ticks(&id), Ticks::Delivered);

    baileys.command(json!({ "cmd": "check", "number": ben.number() })).await;
    assert_eq!(baileys.wait("checked", |_| true).await["exists"], true);

    let group = network.create_group("Club", "We meet", &ben, &[&ada]);
    baileys.command(json!({ "cmd": "groups" })).await;
    let groups = baileys.wait("groups", |_| true).await;
    assert_eq!((&groups["groups"][0]["subject"], &groups["groups"][0]["desc"]), (&json!("Club"), &json!("We meet")));

    let id = baileys.send(&group.jid(), "hello all").await;
    let received = ben.wait_for(PATIENCE, |message| message.id == id).await.unwrap();
    assert_eq!((received.text.as_deref(), received.chat), (Some("hello all"), group.jid()));
    ben.send_text(&group.jid(), "welcome").await.unwrap();
    assert_eq!(baileys.message("welcome").await["chat"], group.jid());

    baileys.command(json!({ "cmd": "quit" })).await;
    assert_eq!(network.unanswered(), Vec::<String>::new());
}

#[tokio::test]
async fn baileys_talks_with_an_account_held_by_the_gateway() {
    let network = Network::start(NetworkConfig::default()).await.unwrap();
    let [ada, held] = ["Ada", "Held"].map(|name| network.add_phone(name));
    let group = network.create_group("Club", "We meet", &held, &[&ada]);
    let receiver = Receiver::start().await.unwrap();
    let gateway = Gateway::start(&network).await.unwrap();
    let session = gateway.link(&held, Some(&receiver.url())).await.unwrap();
    let mut baileys = Baileys::start(&network).await;
    baileys.link(&ada).await;

    // One to one, both ways.
    gateway.send_text(&session, ada.number(), "from the gateway").await.unwrap();
    assert_eq!(baileys.message("from the gateway").await["chat"], held.jid());
    baileys.send(held.number(), "from Baileys").await;
    let webhooks = receiver.wait_for(1, PATIENCE).await.unwrap();
    let message = &webhooks[0].json().unwrap()["message"];
    assert_eq!((&message["from"], &message["message"]), (&json!(ada.jid()), &json!("from Baileys")));

    // In a group, both ways.
    gateway.send_text(&session, &group.jid(), "gateway to all").await.unwrap();
    assert_eq!(baileys.message("gateway to all").await["chat"], group.jid());
    baileys.send(&group.jid(), "Baileys to all").await;
    let webhooks = receiver.wait_for(2, PATIENCE).await.unwrap();
    let message = &webhooks[1].json().unwrap()["message"];
    assert_eq!((&message["chat"], &message["from"]), (&json!(group.jid()), &json!(ada.jid())));
    assert_eq!(message["message"], "Baileys to all");

    baileys.command(json!({ "cmd": "quit" })).await;
    gateway.stop().await;
    assert_eq!(network.unanswered(), Vec::<String>::new());
}
