//! Every forbidden address, by every way in which a user can have the gateway go somewhere: as it is saved, as it is
//! changed, as something is delivered to it, and as a plugin asks for it. On this machine canaries listen for whoever
//! comes all the same.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;
use reqwest::Method;
use secrecy::SecretString;
use serde_json::json;
use tempfile::TempDir;
use tokio::net::TcpStream;
use wagate::app::tasks::Tasks;
use wagate::config::Config;
use wagate::egress::{EgressError, Request};
use wagate::model::{AttemptOutcome, Clock, ErrorClass, FailurePolicy, Grants, Limits, Phases, Scope};
use wagate::plugin::Plugins;
use wagate::store::deliveries::DeliveryRow;
use wagate::store::plugins::{NewBinding, NewVersion};
use wagate_tests::component::{MessagePatch, Verdict, Wat};
use wagate_tests::post::{PATIENCE, Post, founding};
use wagate_tests::process::demo_binary;
use wagate_tests::receiver::Receiver;

use super::targets::{forbidden, malformed};
use super::{config, egress, post};
use crate::api::Site;

/// A public address. Nothing here goes there: it is saved only.
const PUBLIC: &str = "https://93.184.216.34/hook";
/// Endpoints a session has room for beside its founding one.
const ROOM: usize = 60;
/// What a plugin says of a request that was let through.
const LET_THROUGH: &str = "it was not refused";

/// A listener on every address of this machine.
struct Canary(Receiver);

impl Canary {
    async fn start() -> Result<Self> {
        let both_families = Receiver::start_at("[::]:0".parse()?).await;
        let receiver = match both_families {
            Ok(receiver) => receiver,
            Err(_no_ipv6) => Receiver::start_at("0.0.0.0:0".parse()?).await?,
        };
        Ok(Self(receiver))
    }

    fn port(&self) -> u16 {
        self.0.address().port()
    }

    /// Nobody has come, and whoever had would have been seen.
    async fn is_silent(&self) -> Result<()> {
        ensure!(self.0.connections() == 0, "{} connections were opened", self.0.connections());
        let _caller = TcpStream::connect(("127.0.0.1", self.port())).await?;
        for _ in 0..500 {
            if self.0.connections() == 1 {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        anyhow::bail!("the canary does not see who comes")
    }
}

#[tokio::test]
async fn no_forbidden_address_is_dialled() -> Result<()> {
    let canary = Canary::start().await?;
    // Networks that are allowed open no others.
    let egress = egress(&["10.9.0.0/16", "fd99::/16"], false);
    let targets = forbidden(canary.port());
    ensure!(targets.len() >= 200, "{} targets", targets.len());
    for url in &targets {
        let exchange = egress.exchange(post(url)).await;
        let error = exchange.result.unwrap_err();
        assert!(matches!(error, EgressError::Forbidden { .. }), "{url}: {error}");
        assert!(helps(&error.to_string()), "{url}: {error}");
        assert_eq!(exchange.address, None, "{url}");
        assert_eq!(exchange.phases, Phases { dns_us: exchange.phases.dns_us, ..Phases::default() }, "{url}");
        assert!(matches!(egress.check(&url.parse()?).await, Err(EgressError::Forbidden { .. })), "{url}");
    }
    for url in malformed(canary.port()) {
        let Ok(url) = url.parse() else { continue };
        let error = egress.exchange(Request { url, ..post(PUBLIC) }).await.result.unwrap_err();
        assert_eq!(error.class(), ErrorClass::Malformed, "{error}");
    }
    canary.is_silent().await
}

#[tokio::test]
async fn metadata_stay_closed_to_an_allow_list_of_everything() -> Result<()> {
    let egress = egress(&["0.0.0.0/0", "::/0"], true);
    for host in ["169.254.169.254", "2852039166", "0xa9.0xfe.0xa9.0xfe", "[::ffff:a9fe:a9fe]", "[fd00:ec2::254]"] {
        let error = egress.exchange(post(&format!("http://{host}/latest/meta-data/"))).await.result.unwrap_err();
        assert!(error.to_string().ends_with("no setting allows that"), "{host}: {error}");
    }
    Ok(())
}

#[tokio::test]
async fn no_forbidden_address_is_saved() -> Result<()> {
    let (canary, site) = (Canary::start().await?, Site::start().await?);
    let token = site.admin().await?;
    site.session(&token, "shop").await?;
    let founding = site.put("/api/sessions/shop/webhook", &token, json!({ "webhook_url": PUBLIC })).await?;
    ensure!(founding.status.is_success(), "{}", founding.body);
    let added = site.post("/api/sessions/shop/endpoints", &token, json!({ "name": "crm", "url": PUBLIC })).await?;
    ensure!(added.status.is_success(), "{}", added.body);
    let endpoint = format!("/api/endpoints/{}", added.body["id"].as_str().context("no id")?);

    let forbidden = forbidden(canary.port()).into_iter().map(|url| (url, "webhook_forbidden"));
    let malformed = malformed(canary.port()).into_iter().map(|url| (url, "invalid_webhook_url"));
    let targets: Vec<_> = forbidden.chain(malformed).collect();
    for some in targets.chunks(16) {
        try_join_all(some.iter().map(async |(url, code)| {
            let (hook, named) = (json!({ "webhook_url": url }), json!({ "name": "other", "url": url }));
            let calls = [
                (Method::POST, "/api/sessions", hook.clone()),
                (Method::POST, "/api/sessions/shop/endpoints", named.clone()),
                (Method::POST, "/api/endpoints", named),
                (Method::PUT, "/api/sessions/shop/webhook", hook),
                (Method::PATCH, endpoint.as_str(), json!({ "url": url })),
            ];
            for (method, path, body) in calls {
                let answer = site.call(method.clone(), path, &token, Some(body)).await?;
                let refused = answer.status == 400 && answer.body["code"] == *code;
                ensure!(refused, "{method} {path} of {url:?}: {} {}", answer.status, answer.body);
            }
            anyhow::Ok(())
        }))
        .await?;
    }
    let kept = site.store.endpoints(Scope::gateway()).list(None).await?;
    assert_eq!(kept.iter().map(|endpoint| endpoint.url.as_str()).collect::<Vec<_>>(), [PUBLIC, PUBLIC]);
    canary.is_silent().await?;
    site.stop().await
}

#[tokio::test]
async fn nothing_is_delivered_to_a_forbidden_address() -> Result<()> {
    let canary = Canary::start().await?;
    let mut post = Post::to(PUBLIC, Clock::System).await?;
    let running = post.deliver_under(&config(&[]), false)?;
    let (scope, targets) = (Scope::of(post.owner), forbidden(canary.port()));
    for some in targets.chunks(ROOM) {
        // Into the store, past the check: as if it had been a public address when it was saved.
        let mut endpoints = Vec::new();
        for (n, url) in some.iter().enumerate() {
            endpoints.push(post.add_endpoint(&format!("endpoint-{n}"), url).await?);
        }
        post.receive_for(u32::try_from(some.len())?, &endpoints, founding).await?;
        running.webhooks.wake(&endpoints);
        let tried = |row: &&DeliveryRow| row.attempts > 0 && endpoints.contains(&row.endpoint);
        let all = |rows: &[DeliveryRow]| rows.iter().filter(tried).count() == some.len();
        for row in post.until_all("an attempt at each", all).await?.iter().filter(tried) {
            let attempt = post.store.deliveries(scope).attempts(&row.id).await?.remove(0);
            let AttemptOutcome::Unanswered { class, error } = &attempt.outcome else { panic!("{attempt:?}") };
            assert_eq!((*class, attempt.address), (ErrorClass::Forbidden, None), "{error}");
            assert!(helps(error), "{error}");
        }
        for endpoint in &endpoints {
            // What waits for it goes with it.
            ensure!(post.store.endpoints(scope).remove(endpoint).await?, "{endpoint} is gone");
            running.webhooks.changed(endpoint);
        }
    }
    canary.is_silent().await?;
    running.stop().await?;
    post.close().await;
    Ok(())
}

#[tokio::test]
async fn no_plugin_reaches_a_forbidden_address() -> Result<()> {
    let canary = Canary::start().await?;
    let (forbidden, malformed) = (forbidden(canary.port()), malformed(canary.port()));
    let targets: Vec<_> = forbidden.iter().chain(&malformed).map(String::as_str).collect();
    let mut post = Post::to(PUBLIC, Clock::System).await?;
    let (dir, tasks, scope) = (TempDir::new()?, Tasks::new(), Scope::of(post.owner));
    let mut config = Config::for_tests(dir.path())?;
    config.plugin.compiler = Some(demo_binary()?);
    let plugins = Plugins::start(config.plugin, post.store.clone(), egress(&[], false), Clock::System, &tasks)?;

    // Granted whatever can be: the grant is the operator's word for the plugin, not for the address.
    let mut words: Vec<_> = targets.iter().filter_map(|url| grant(url)).collect();
    words.push("log".to_owned());
    words.sort();
    words.dedup();
    let component = asking(&targets).build()?;
    let report = plugins.inspect(&component, None).await?;
    let component = post.store.plugins(scope).add_component(&component).await?;
    let version = NewVersion { component, script: None, grants: Grants::parse(&words)?, report };
    let (plugin, _) = post.store.plugins(scope).install(post.owner, "asking", version).await?;
    let many = u32::try_from(targets.len())?;
    let limits = Limits { cpu_ms: 1_000, wall_ms: 30_000, http_requests: many, log_lines: many, ..Limits::default() };
    let binding = NewBinding {
        plugin: plugin.id,
        session: None,
        position: 0,
        config: SecretString::from("{}"),
        limits,
        policy: FailurePolicy::Open,
        enabled: true,
    };
    post.store.plugins(scope).bind(binding).await?.context("no such plugin")?;

    let message = post.messages(1)?;
    let event = post.store.events(Scope::gateway()).receive(&post.session, &message).await?.remove(0);
    let mut passage = plugins.passage(&event, 1).await?;
    passage.filter().await;
    let left = passage.finish();
    assert_eq!(left.logs.len(), targets.len(), "{:?}", left.steps);
    for (url, line) in targets.iter().zip(&left.logs) {
        let said = line.message.as_str();
        let expected = match grant(url) {
            Some(_) if forbidden.iter().any(|target| target == url) => helps(said),
            Some(_) => said != LET_THROUGH,
            None => said != LET_THROUGH && !helps(said),
        };
        assert!(expected, "{url}: {said}");
    }
    canary.is_silent().await?;
    post.close().await;
    ensure!(tasks.stop(PATIENCE).await == 0, "plugins were left behind");
    Ok(())
}

/// Whether a refusal names the setting that would help, or says that none would.
fn helps(refusal: &str) -> bool {
    refusal.contains("to WEBHOOK_ALLOW") || refusal.contains("no setting allows that")
}

/// The grant that lets a plugin go there, if there can be one: there is none for IPv6 addresses and for port 0.
fn grant(url: &str) -> Option<String> {
    let url: reqwest::Url = url.parse().ok()?;
    let word = format!("http:{}://{}:{}", url.scheme(), url.host_str()?, url.port_or_known_default()?);
    Grants::parse(std::slice::from_ref(&word)).is_ok().then_some(word)
}

/// A plugin that asks for all of these, one after the other, and logs why each was refused.
fn asking(urls: &[&str]) -> Wat {
    let mut wat = Wat::new("asking").capability("http.send").capability("log");
    let (let_through, answer, pass) = (wat.text(LET_THROUGH), wat.room(64), wat.verdict(&Verdict::Pass));
    // A patch with labels holds a list of pairs, 16 bytes each. Here the first of a pair is the address.
    let pairs: Vec<_> = urls.iter().map(|url| (*url, "")).collect();
    let patch = wat.verdict(&Verdict::Modify(MessagePatch { labels: &pairs, ..MessagePatch::default() }));
    // The answer is an error of the first two cases, which have words: denied, or invalid.
    let (case, words) = (answer + 8, answer + 16);
    let refused = format!(
        "(i32.and (i32.load8_u (i32.const {answer})) (i32.lt_u (i32.load8_u (i32.const {case})) (i32.const 2)))"
    );
    wat.on_message(&format!(
        "(loop $again
           (local.set $b (i32.add (i32.load (i32.const {list})) (i32.shl (local.get $a) (i32.const 4))))
           (call $http.send (i32.const 0) (i32.load (local.get $b)) (i32.load offset=4 (local.get $b))
             (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
             (i32.const {answer}))
           (if {refused}
             (then (call $log.log (i32.const 2) (i32.load (i32.const {words})) (i32.load offset=4 (i32.const {words}))
               (i32.const 0) (i32.const 0)))
             (else (call $log.log (i32.const 2) {let_through} (i32.const 0) (i32.const 0))))
           (br_if $again (i32.lt_u (local.tee $a (i32.add (local.get $a) (i32.const 1))) (i32.const {count}))))
         (i32.const {pass})",
        list = patch + 32,
        let_through = let_through.args(),
        count = urls.len(),
    ))
}
