//! The programs in `examples/`, run as a user would run them: receivers against signed deliveries, scenarios against a
//! gateway whose codes simulated phones scan.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, HeaderValue};
use serde_json::json;
use standardwebhooks::Webhook;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use wagate_simulator::{Network, NetworkConfig, Phone};
use wagate_tests::api::{Api, PASSWORD, PATIENCE, http_client};
use wagate_tests::gateway::Gateway;
use wagate_tests::receiver::{Receiver, Recorded};

fn example(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(path)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_receiver_takes_signed_messages_once() -> Result<()> {
    takes_signed_messages_once("node", "receivers/node/receiver.mjs").await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_receiver_takes_signed_messages_once() -> Result<()> {
    takes_signed_messages_once("python3", "receivers/python/receiver.py").await
}

async fn takes_signed_messages_once(interpreter: &str, file: &str) -> Result<()> {
    let network = Network::start(NetworkConfig::default()).await?;
    let gateway = Gateway::start(&network).await?;
    let (account, other) = (network.add_phone("Account"), network.add_phone("Other"));
    // One delivery is caught on its way, to be tampered with.
    let catcher = Receiver::start().await?;
    let session = gateway.link(&account, Some(&catcher.url())).await?;
    other.send_text(account.number(), "Caught").await?;
    let caught = catcher.wait_for(1, PATIENCE).await?.remove(0);
    let webhook = format!("/api/sessions/{session}/webhook");
    let (_, endpoint) = gateway.get(&webhook).await?;
    let secret = endpoint["secret"].as_str().context("no secret")?;

    let mut program = Program::start(interpreter, &example(file), secret).await?;
    let (status, answer) = gateway.put(&webhook, json!({ "webhook_url": program.url })).await?;
    ensure!(status == StatusCode::OK, "{status} {answer}");
    let shows = |text: &str| format!("{session}: {}: {text}", other.jid());
    other.send_text(account.number(), "Delivered").await?;
    assert_eq!(program.line().await?, shows("Delivered"));

    for (what, request) in forged(&caught, secret)? {
        assert_eq!(program.post(request).await?, StatusCode::UNAUTHORIZED, "{what}");
    }
    let genuine = || (caught.headers.clone(), caught.body.to_vec());
    assert_eq!(program.post(genuine()).await?, StatusCode::OK);
    assert_eq!(program.line().await?, shows("Caught"));
    assert_eq!(program.post(genuine()).await?, StatusCode::OK, "a repetition is taken, or the gateway would go on");

    // The next line is the next message: neither the forged nor the repeated ones were shown.
    other.send_text(account.number(), "Delivered too").await?;
    assert_eq!(program.line().await?, shows("Delivered too"));
    gateway.stop().await;
    network.stop().await;
    Ok(())
}

type Posted = (HeaderMap, Vec<u8>);

/// The caught request, forged in every way a receiver must notice.
fn forged(caught: &Recorded, secret: &str) -> Result<Vec<(&'static str, Posted)>> {
    let with = |name: &'static str, value: &str| -> Result<HeaderMap> {
        let mut headers = caught.headers.clone();
        headers.insert(name, HeaderValue::from_str(value)?);
        Ok(headers)
    };
    let without = |name: &str| {
        let mut headers = caught.headers.clone();
        headers.remove(name);
        headers
    };
    let signed = |secret: &str, timestamp: i64| -> Result<HeaderMap> {
        let signature = Webhook::new(secret)?.sign(caught.id(), timestamp, &caught.body)?;
        let mut headers = with("webhook-signature", &signature)?;
        headers.insert("webhook-timestamp", HeaderValue::from(timestamp));
        Ok(headers)
    };
    let body = || caught.body.to_vec();
    let tampered = String::from_utf8(body())?.replace("Caught", "Forged");
    ensure!(tampered.as_bytes() != caught.body, "nothing was tampered with");
    let now: i64 = caught.header("webhook-timestamp").parse()?;
    Ok(vec![
        ("a tampered body", (caught.headers.clone(), tampered.into_bytes())),
        ("no body", (caught.headers.clone(), Vec::new())),
        ("another id", (with("webhook-id", "dlv_other")?, body())),
        ("another time", (with("webhook-timestamp", &(now + 1).to_string())?, body())),
        ("a time that is none", (with("webhook-timestamp", "now")?, body())),
        ("an old request", (signed(secret, now - 3600)?, body())),
        ("a request from the future", (signed(secret, now + 3600)?, body())),
        ("another secret", (signed("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", now)?, body())),
        (
            "another scheme",
            (with("webhook-signature", &caught.header("webhook-signature").replace("v1,", "v2,"))?, body()),
        ),
        ("an empty signature", (with("webhook-signature", "v1,")?, body())),
        ("no signature", (without("webhook-signature"), body())),
        ("no id", (without("webhook-id"), body())),
    ])
}

#[tokio::test]
async fn a_receiver_without_a_secret_says_what_to_set() -> Result<()> {
    for (interpreter, file) in [("node", "receivers/node/receiver.mjs"), ("python3", "receivers/python/receiver.py")] {
        for secret in ["", "no prefix", "whsec_"] {
            let mut command = Command::new(interpreter);
            let run =
                command.arg(example(file)).env("WEBHOOK_SECRET", secret).env("PORT", "0").kill_on_drop(true).output();
            let output = tokio::time::timeout(PATIENCE, run).await.context("it went on")??;
            assert!(!output.status.success(), "{file} took the secret {secret:?}");
            assert!(String::from_utf8_lossy(&output.stderr).contains("set WEBHOOK_SECRET"));
        }
    }
    Ok(())
}

/// A running receiver of the examples.
struct Program {
    _child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    url: String,
}

impl Program {
    async fn start(interpreter: &str, file: &Path, secret: &str) -> Result<Self> {
        let mut child = Command::new(interpreter)
            .arg(file)
            .env("WEBHOOK_SECRET", secret)
            .env("PORT", "0")
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot run {interpreter}"))?;
        let lines = BufReader::new(child.stdout.take().context("no stdout")?).lines();
        let mut program = Self { _child: child, lines, url: String::new() };
        let first = program.line().await?;
        first.strip_prefix("listening on ").with_context(|| first.clone())?.clone_into(&mut program.url);
        Ok(program)
    }

    async fn line(&mut self) -> Result<String> {
        let line = tokio::time::timeout(PATIENCE, self.lines.next_line()).await.context("it printed nothing")??;
        line.context("it ended")
    }

    async fn post(&self, (mut headers, body): Posted) -> Result<StatusCode> {
        headers.remove("host");
        headers.remove("content-length");
        Ok(http_client()?.post(&self.url).headers(headers).body(body).send().await?.status())
    }
}

/// Runs a scenario as the administrator of `gateway`, in a folder of its own.
async fn scenario(gateway: &Gateway, folder: &Path, file: &str, environment: &[(&str, &str)]) -> Result<Output> {
    let run = Command::new("bash")
        .arg(example("scenarios").join(file))
        .current_dir(folder)
        .env("GATEWAY", gateway.base())
        .env("WAGATE_PASSWORD", PASSWORD)
        .env("no_proxy", "*")
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(PATIENCE * 3, run).await.context("the scenario did not end")??;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{file} ended with {}: {said}", output.status);
    Ok(output)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_scenario_of_two_numbers_links_both_and_sends_from_both() -> Result<()> {
    let network = Network::start(NetworkConfig::default()).await?;
    let gateway = Gateway::start(&network).await?;
    let [business, personal, other] = ["Business", "Personal", "Other"].map(|name| network.add_phone(name));
    let folder = TempDir::new()?;
    let environment = [("RECIPIENT", other.number())];
    let (output, scanned) = tokio::join!(
        scenario(&gateway, folder.path(), "one-user-two-numbers.sh", &environment),
        scan_both(&gateway, folder.path(), [&business, &personal]),
    );
    scanned?;
    let printed = String::from_utf8(output?.stdout)?;
    for (phone, line) in [&business, &personal].into_iter().zip(printed.lines()) {
        assert!(line.starts_with(&format!("{} sent ", phone.number())), "{printed}");
        let text = format!("Hello from {}!", phone.number());
        let seen = other.wait_for(PATIENCE, |received| received.text.as_deref() == Some(&text)).await;
        assert_eq!(seen.with_context(|| format!("{text} did not arrive"))?.from, phone.jid());
    }
    assert_eq!(printed.lines().count(), 2);
    assert_eq!(std::fs::read_dir(folder.path())?.count(), 0, "a code that was scanned is not left lying about");
    gateway.stop().await;
    network.stop().await;
    Ok(())
}

/// Scans the codes of the scenario as it shows them.
async fn scan_both(api: &Api, folder: &Path, phones: [&Phone; 2]) -> Result<()> {
    for (n, (phone, picture)) in phones.into_iter().zip(["business.png", "personal.png"]).enumerate() {
        let shown = async {
            while !std::fs::read(folder.join(picture)).is_ok_and(|bytes| bytes.starts_with(b"\x89PNG")) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(PATIENCE, shown).await.with_context(|| format!("{picture} was not shown"))?;
        let (_, sessions) = api.get("/api/sessions").await?;
        let id = sessions[n]["id"].as_str().context("no session")?;
        phone.scan(&api.qr(id).await?).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_scenario_of_two_users_keeps_them_apart() -> Result<()> {
    let network = Network::start(NetworkConfig::default()).await?;
    let gateway = Gateway::start(&network).await?;
    let folder = TempDir::new()?;
    // A password that JSON has to quote.
    let password = r#"plain "quoted" \password"#;
    let environment = [("USER2_PASSWORD", password)];
    let output = scenario(&gateway, folder.path(), "two-users.sh", &environment).await?;
    let printed = String::from_utf8(output.stdout)?;
    let second = Api::login(gateway.base(), "user2", password).await?;
    let mut expected = String::new();
    for (name, api) in [("admin", &*gateway), ("user2", &second)] {
        let (_, sessions) = api.get("/api/sessions").await?;
        assert_eq!(sessions.as_array().map(Vec::len), Some(1));
        writeln!(expected, "{name} sees {}", sessions[0]["id"].as_str().context("no id")?)?;
    }
    assert_eq!(printed, expected);
    gateway.stop().await;
    network.stop().await;
    Ok(())
}
