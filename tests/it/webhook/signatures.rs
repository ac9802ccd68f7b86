//! Signatures, judged by others: the `standardwebhooks` crate, its sibling for JavaScript, and for key pairs Node's own
//! cryptography. The two in JavaScript are in `tests/signatures/verify.mjs`; their package is installed with `npm ci`
//! when it is missing, as `make test` does beforehand.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rand::RngExt as _;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use wagate::model::{Clock, Scope, Shape};
use wagate::store::endpoints::Rotation;
use wagate_tests::post::{Post, Running};
use wagate_tests::receiver::{Receiver, Recorded};

use super::{Desk, manual};

const PATIENCE: Duration = Duration::from_mins(1);
const DAY: Duration = Duration::from_hours(24);
/// Deliveries made at a time.
const BATCH: u32 = 500;
/// The longest body in characters.
const LONGEST: usize = 600;

/// A request, and a key it is said to be signed with.
type Claim<'a> = (&'a str, &'a Recorded);

#[tokio::test(flavor = "multi_thread")]
async fn of_ten_thousand_random_bodies_others_find_every_signature_genuine() -> Result<()> {
    let receiver = Receiver::start().await?;
    let mut post = Post::to(&receiver.url(), Clock::System).await?;
    let running = post.deliver()?;
    let first = vec![post.secret.clone()];
    let of_first = deliver_random(&mut post, &running, &receiver, 4_000).await?;
    let second = rotate(&post, &running, false, DAY).await?;
    let of_second = deliver_random(&mut post, &running, &receiver, 3_000).await?;
    let third = rotate(&post, &running, true, DAY).await?;
    let of_third = deliver_random(&mut post, &running, &receiver, 3_000).await?;
    running.stop().await?;

    assert!(second.len() == 2 && second[1] == first[0], "the old secret signs beside the new one");
    assert!(third.len() == 3 && third.iter().filter(|key| key.starts_with("whsk_")).count() == 1);
    let mut claims: Vec<Claim<'_>> = Vec::new();
    for (keys, requests) in [(&first, &of_first), (&second, &of_second), (&third, &of_third)] {
        for request in requests {
            let signatures = request.header("webhook-signature").split(' ').count();
            ensure!(signatures == keys.len(), "{signatures} signatures by {} keys", keys.len());
            claims.extend(keys.iter().map(|key| (key.as_str(), request)));
        }
    }
    assert_eq!(claims.len(), 4_000 + 2 * 3_000 + 3 * 3_000);
    for (key, request) in claims.iter().filter(|(key, _)| key.starts_with("whsec_")) {
        request.verify_now(key)?;
    }
    let verdicts = judge(&claims).await?;
    assert!(verdicts.iter().all(|verdict| verdict == "ok"), "{:?}", verdicts.iter().find(|verdict| *verdict != "ok"));
    Ok(())
}

#[tokio::test]
async fn judges_that_would_call_everything_genuine_prove_nothing() -> Result<()> {
    let receiver = Receiver::start().await?;
    let mut post = Post::to(&receiver.url(), Clock::System).await?;
    let running = post.deliver()?;
    rotate(&post, &running, true, DAY).await?;
    let genuine = deliver_random(&mut post, &running, &receiver, 1).await?.remove(0);
    running.stop().await?;
    let secret = post.secret.as_str();
    let of_another = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="];
    let mut tampered = genuine.clone();
    tampered.body = [genuine.body.as_ref(), b" "].concat().into();
    let mut older = genuine.clone();
    let timestamp: i64 = genuine.header("webhook-timestamp").parse()?;
    older.headers.insert("webhook-timestamp", (timestamp - 1).into());
    let claims = [(of_another[0], &genuine), (of_another[1], &genuine), (secret, &tampered), (secret, &older)];
    for verdict in judge(&claims).await? {
        assert!(verdict.contains("signature"), "{verdict}");
    }
    assert_eq!(judge(&[(secret, &genuine)]).await?, ["ok"]);
    Ok(())
}

#[tokio::test]
async fn an_old_secret_signs_beside_the_new_one_until_its_time_is_over() -> Result<()> {
    let receiver = Receiver::start().await?;
    let mut post = Post::to(&receiver.url(), manual()).await?;
    let running = post.deliver()?;
    let old = post.secret.clone();
    // Less than the five minutes that judges grant as a difference between clocks.
    let keep = Duration::from_mins(1);
    let keys = rotate(&post, &running, false, keep).await?;
    let new = keys.first().context("no key")?;
    assert!(keys.len() == 2 && keys[1] == old && *new != old, "newest first");
    let both = deliver_random(&mut post, &running, &receiver, 1).await?.remove(0);
    post.clock.advance(keep.saturating_sub(Duration::from_secs(1)));
    let both_still = deliver_random(&mut post, &running, &receiver, 1).await?.remove(0);
    post.clock.advance(Duration::from_secs(1));
    let one = deliver_random(&mut post, &running, &receiver, 1).await?.remove(0);
    let at_once = rotate(&post, &running, false, Duration::ZERO).await?;
    let last = deliver_random(&mut post, &running, &receiver, 1).await?.remove(0);
    running.stop().await?;

    assert!(at_once.len() == 1 && at_once[0] != *new, "with nothing kept, the new one stands alone");
    let genuine: [Claim<'_>; 6] =
        [(&old, &both), (new, &both), (&old, &both_still), (new, &both_still), (new, &one), (&at_once[0], &last)];
    let forged: [Claim<'_>; 3] = [(&old, &one), (&old, &last), (new, &last)];
    for (key, request) in genuine {
        request.verify_now(key)?;
    }
    for (key, request) in forged {
        assert!(request.verify_now(key).is_err(), "an old secret signs for ever");
    }
    assert_eq!(judge(&genuine).await?, ["ok"; 6]);
    assert!(judge(&forged).await?.iter().all(|verdict| verdict.contains("signature")));
    for (request, signatures) in [(&both, 2), (&both_still, 2), (&one, 1), (&last, 1)] {
        assert_eq!(request.header("webhook-signature").split(' ').count(), signatures);
    }
    Ok(())
}

#[tokio::test]
async fn receivers_check_with_the_keys_that_the_api_shows() -> Result<()> {
    let desk = Desk::open_at(Clock::System).await?;
    let hook = Receiver::start().await?;
    let endpoint = desk.add("crm", &hook, json!({})).await?;
    let rotate = async |body: Value| {
        let (status, answer) = desk.gateway.post(&format!("/api/endpoints/{endpoint}/rotate"), body).await?;
        ensure!(status.is_success(), "not rotated: {status} {answer}");
        anyhow::Ok(answer)
    };
    let (_, shown) = desk.gateway.get(&format!("/api/endpoints/{endpoint}/secret")).await?;
    let first = key_in(&shown, "whsec_").context("no secret")?;
    let answer = rotate(json!({ "algorithm": "ed25519" })).await?;
    let public = key_in(&answer, "whpk_").context("no public key")?;
    assert!(!answer.to_string().contains("whsk_"), "a private key is shown to nobody");
    desk.mark("one").await?;
    let answer = rotate(json!({ "algorithm": "hmac", "keep_old_for": 3_600 })).await?;
    let second = key_in(&answer, "whsec_").context("no secret")?;
    assert_ne!(first, second);
    desk.mark("two").await?;
    rotate(json!({ "algorithm": "hmac", "keep_old_for": 0 })).await?;
    desk.mark("three").await?;
    let (_, shown) = desk.gateway.get(&format!("/api/endpoints/{endpoint}/secret")).await?;
    let third = key_in(&shown, "whsec_").context("no secret")?;

    let requests = hook.wait_for(3, PATIENCE).await?;
    let [one, two, three] = [&requests[0], &requests[1], &requests[2]];
    let genuine: [Claim<'_>; 7] = [
        (&first, one),
        (&public, one),
        (&first, two),
        (&second, two),
        (&public, two),
        (&third, three),
        (&public, three),
    ];
    assert_eq!(judge(&genuine).await?, ["ok"; 7]);
    assert!(three.verify_now(&second).is_err());
    for bad in [json!({ "algorithm": "rsa" }), json!({ "algorithm": "hmac", "keep_old_for": 8 * 24 * 3_600 })] {
        let (status, answer) = desk.gateway.post(&format!("/api/endpoints/{endpoint}/rotate"), bad).await?;
        assert!(status.is_client_error() && answer["message"].is_string(), "{status} {answer}");
    }
    desk.close().await;
    Ok(())
}

/// The first key of this kind that an answer shows.
pub(super) fn key_in(answer: &Value, prefix: &str) -> Option<String> {
    answer.to_string().split('"').find(|word| word.starts_with(prefix)).map(str::to_owned)
}

/// Delivers so many bodies of random text; the requests they were posted with.
async fn deliver_random(post: &mut Post, running: &Running, receiver: &Receiver, count: u32) -> Result<Vec<Recorded>> {
    let (before, endpoint) = (receiver.count(), [post.endpoint().await?]);
    for done in (0..count).step_by(BATCH as usize) {
        post.receive_for(BATCH.min(count - done), &endpoint, |_| Shape::json(random_text())).await?;
        running.webhooks.wake(&endpoint);
    }
    let requests = receiver.wait_for(before + count as usize, PATIENCE).await?;
    Ok(requests[before..].to_vec())
}

/// Any characters there are, control characters and those beyond the first plane included.
fn random_text() -> String {
    let mut rng = rand::rng();
    let length = rng.random_range(0..LONGEST);
    (0..length).map(|_| if rng.random() { rng.random::<char>() } else { rng.random_range(' '..='~') }).collect()
}

/// Gives the endpoint a new key and keeps the old one so long; all that sign from now on, newest first.
async fn rotate(post: &Post, running: &Running, ed25519: bool, keep: Duration) -> Result<Vec<String>> {
    let id = post.endpoint().await?;
    let rotated = post.store.endpoints(Scope::gateway()).rotate(&id, Rotation { ed25519, keep }).await?;
    running.webhooks.changed(&id);
    let keys = rotated.context("no endpoint")?.keys;
    Ok(keys.at(post.clock.now()).map(|key| key.secret.expose_secret().to_owned()).collect())
}

/// What the judges in JavaScript say of each claim.
async fn judge(claims: &[Claim<'_>]) -> Result<Vec<String>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("signatures");
    if !folder.join("node_modules/standardwebhooks").exists() {
        let installed = Command::new("npm").arg("ci").current_dir(&folder).status().await?;
        ensure!(installed.success(), "npm ci failed");
    }
    let mut lines = String::new();
    for (key, request) in claims {
        let names = ["webhook-id", "webhook-timestamp", "webhook-signature"];
        let headers: serde_json::Map<_, _> =
            names.iter().map(|name| ((*name).to_owned(), json!(request.header(name)))).collect();
        let body = STANDARD.encode(&request.body);
        writeln!(lines, "{}", json!({ "key": key, "headers": headers, "body": body }))?;
    }
    let mut process = Command::new("node")
        .arg("verify.mjs")
        .current_dir(&folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("cannot run node")?;
    let mut input = process.stdin.take().context("no input")?;
    let writing = async move { input.write_all(lines.as_bytes()).await };
    let judging = async { tokio::join!(writing, process.wait_with_output()) };
    let (written, output) = tokio::time::timeout(PATIENCE, judging).await.context("the judges do not answer")?;
    written?;
    let verdicts: Vec<String> = String::from_utf8(output?.stdout)?.lines().map(str::to_owned).collect();
    ensure!(verdicts.len() == claims.len(), "{} verdicts on {} claims", verdicts.len(), claims.len());
    Ok(verdicts)
}
