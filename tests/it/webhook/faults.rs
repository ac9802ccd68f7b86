//! Receivers that do harm: how an attempt at each ends, how soon its worker is free, and how much memory it takes.

use std::pin::pin;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;
use serde_json::json;
use tempfile::TempDir;
use tokio::time::sleep;
use wagate::config::WebhookConfig;
use wagate::model::{Attempt, AttemptOutcome, Clock, DeliveryState};
use wagate_simulator::{Network, NetworkConfig};
use wagate_tests::api::{Api, PATIENCE};
use wagate_tests::database::Database;
use wagate_tests::faults::{Fault, Faulty, YEAR};
use wagate_tests::figures::rss_mib;
use wagate_tests::post::Post;
use wagate_tests::process::{Setup, demo_binary};

use super::add;

/// Time for an attempt, the shortest there is.
const TIMEOUT: Duration = Duration::from_secs(1);
/// What its worker may take beyond that.
const MARGIN: Duration = Duration::from_secs(1);
const SECOND: Duration = Duration::from_secs(1);
/// Bytes a receiver may be rid of when nobody reads them: what fits into the buffers of both ends.
const BUFFERS: u64 = 16 * 1024 * 1024;

/// Attempts that are made at once while memory is watched, each at an endpoint of its own.
const AT_ONCE: u32 = 60;
/// Memory an attempt may take.
const MIB_EACH: f64 = 64.0 / 1024.0;
/// Memory that is not the attempts': pages the allocator holds, the store's cache, our own requests to the API. With an
/// honest receiver the same measurement varies by as much.
const MIB_BESIDES: f64 = 4.0;

/// A test of each fault, with the end that its attempt comes to.
macro_rules! faults {
    ($($name:ident: $fault:expr => $end:literal;)*) => { $(
        #[tokio::test(flavor = "multi_thread")]
        async fn $name() -> Result<()> {
            ends($fault, $end).await
        }
    )* };
}

faults! {
    a_sound_receiver_takes_it: Fault::Sound => "accepted 200";
    one_that_refuses_connections: Fault::Refuses => "unanswered connect";
    one_whose_packets_vanish: Fault::Vanishes => "unanswered timeout";
    one_that_says_nothing: Fault::Silent => "unanswered timeout";
    one_that_resets_the_connection: Fault::Resets => "unanswered broken";
    one_that_breaks_off: Fault::BreaksOff => "unanswered broken";
    one_that_answers_one_byte_a_second: Fault::TricklesHead(SECOND) => "unanswered timeout";
    one_that_goes_on_one_byte_a_second: Fault::TricklesBody(SECOND) => "unanswered timeout";
    one_that_answers_ten_gigabytes: Fault::Floods => "accepted 200";
    one_that_answers_a_gzip_bomb: Fault::GzipBomb => "accepted 200";
    one_with_a_certificate_of_its_own: Fault::SelfSigned => "unanswered tls";
    one_without_tls_where_it_is_asked_for: Fault::PlainText => "unanswered tls";
    one_that_does_not_speak_http: Fault::NotHttp => "unanswered protocol";
    one_that_redirects_to_itself: Fault::RedirectsToItself => "refused 302";
    one_that_wants_to_be_left_alone_for_a_year: Fault::Busy(YEAR) => "refused 429";
    one_that_sends_interim_answers_without_end: Fault::Interim(Duration::ZERO) => "unanswered protocol";
    one_that_sends_an_interim_answer_a_second: Fault::Interim(SECOND) => "unanswered timeout";
    one_whose_head_has_no_end: Fault::EndlessHead => "unanswered protocol";
    one_with_a_header_without_end: Fault::EndlessHeader => "unanswered protocol";
    one_whose_chunk_does_not_begin: Fault::EndlessChunkLine => "unanswered protocol";
    one_whose_trailers_have_no_end: Fault::EndlessTrailers => "unanswered protocol";
}

/// One delivery to a receiver with this fault, and everything that must be true of its attempt.
async fn ends(fault: Fault, end: &str) -> Result<()> {
    let faulty = Faulty::start(fault).await?;
    let mut post = Post::to(&faulty.url(), Clock::System).await?;
    // One worker: if it is not free in time, nothing is.
    let running = post.deliver_under(&WebhookConfig { timeout: TIMEOUT, concurrency: 1, allow: Vec::new() }, true)?;
    post.receive(1).await?;
    let begun = Instant::now();
    running.wake(&post).await?;
    let row = post.until("an attempt", |row| row.attempts == 1).await?;
    running.until_pulse(&post, "a free worker", |pulse| pulse.in_flight == 0).await?;
    ensure!(begun.elapsed() <= TIMEOUT + MARGIN, "the worker was free after {:?}", begun.elapsed());

    let attempt = post.attempts().await?.remove(0);
    assert_eq!(told(&attempt.outcome), end, "{attempt:?}");
    assert_eq!(attempt.address, Some(faulty.address()));
    assert!(attempt.answer.len() <= Attempt::ANSWER_KEPT, "{} bytes are kept", attempt.answer.len());
    if fault == Fault::GzipBomb {
        assert!(attempt.answer.starts_with(&[0x1f, 0x8b]), "it was unpacked");
    }
    if end.starts_with("accepted") {
        assert_eq!(row.state, DeliveryState::Delivered);
    } else {
        let wait = row.due_at.context("it does not wait")?.since(attempt.started_at);
        ensure!(wait <= Duration::from_hours(24) + TIMEOUT + MARGIN, "the next attempt is due in {wait:?}");
    }
    assert!(faulty.connections() <= 1 && faulty.requests() <= 1, "more than one attempt");
    silence(&faulty).await?;
    running.stop().await
}

/// Nobody reads on from a receiver that was given up.
async fn silence(faulty: &Faulty) -> Result<()> {
    sleep(Duration::from_millis(100)).await;
    let before = faulty.sent();
    sleep(Duration::from_millis(100)).await;
    // One that pauses between its bytes learns of the end with the next of them.
    ensure!(faulty.sent() - before < 1024, "the answer of {:?} goes on", faulty.fault());
    ensure!(before <= BUFFERS, "{before} bytes were taken");
    Ok(())
}

/// An outcome in two words.
fn told(outcome: &AttemptOutcome) -> String {
    match outcome {
        AttemptOutcome::Accepted { status } => format!("accepted {status}"),
        AttemptOutcome::Refused { status } => format!("refused {status}"),
        AttemptOutcome::Unanswered { class, .. } => format!("unanswered {}", class.name()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_receiver_does_an_attempt_takes_little_memory() -> Result<()> {
    let harmful = [
        Fault::Refuses,
        Fault::Vanishes,
        Fault::Silent,
        Fault::Resets,
        Fault::TricklesBody(SECOND),
        Fault::Floods,
        Fault::GzipBomb,
        Fault::SelfSigned,
        Fault::RedirectsToItself,
        Fault::Busy(YEAR),
        Fault::Interim(Duration::ZERO),
        Fault::EndlessHeader,
    ];
    let network = Network::start(NetworkConfig::default()).await?;
    let (data, database) = (TempDir::new()?, Database::of_run()?);
    let setup = Setup::new(&demo_binary()?, data.path(), &network.ws_url())?.on(&database);
    let gateway = setup.with("WEBHOOK_TIMEOUT", "1s").start().await?;
    let (api, pid) = (gateway.login().await?, gateway.id().context("the gateway has ended")?);
    // What a gateway takes for attempts at all, it has then: connections, caches, prepared statements.
    for _ in 0..2 {
        growth(&api, pid, Fault::Sound).await?;
    }
    for fault in harmful {
        let grown = growth(&api, pid, fault).await?;
        let most = MIB_EACH * f64::from(AT_ONCE) + MIB_BESIDES;
        ensure!(grown <= most, "{AT_ONCE} attempts at {fault:?} took {grown:.1} MiB, more than {most:.1}");
    }
    gateway.kill().await?;
    network.stop().await;
    Ok(())
}

/// By how many MiB the gateway's memory grows, at its peak, while so many attempts at such a receiver are under way.
async fn growth(api: &Api, pid: u32, fault: Fault) -> Result<f64> {
    let faulty = Faulty::start(fault).await?;
    let session = api.create_session("Sales", None).await?;
    let path = format!("/api/sessions/{session}/endpoints");
    let adding = (0..AT_ONCE).map(async |n| add(api, &path, &format!("endpoint-{n}"), &faulty.url(), json!({})).await);
    let endpoints = try_join_all(adding).await?;

    let before = rss_mib(pid)?;
    let mut peak = before;
    let mut trying = pin!(attempt(api, &session, &endpoints));
    loop {
        tokio::select! {
            tried = &mut trying => break tried?,
            () = sleep(Duration::from_millis(5)) => peak = peak.max(rss_mib(pid)?),
        }
    }
    // Its retries must not meet the next.
    let (status, answer) = api.delete(&format!("/api/sessions/{session}")).await?;
    ensure!(status.is_success(), "the session stays: {status} {answer}");
    Ok(peak - before)
}

/// Has a test event sent to each endpoint and waits until every attempt has ended.
async fn attempt(api: &Api, session: &str, endpoints: &[String]) -> Result<()> {
    let sending = endpoints.iter().map(async |endpoint| {
        let (status, answer) = api.post(&format!("/api/endpoints/{endpoint}/test"), json!({})).await?;
        ensure!(status.is_success(), "no test event: {status} {answer}");
        anyhow::Ok(())
    });
    try_join_all(sending).await?;
    let begun = Instant::now();
    loop {
        let (_, page) = api.get(&format!("/api/deliveries?session={session}&limit=100")).await?;
        let rows = page["deliveries"].as_array().context("no list")?;
        let attempted = rows.iter().filter(|row| row["attempts"].as_i64().is_some_and(|attempts| attempts > 0));
        if attempted.count() == endpoints.len() {
            return Ok(());
        }
        ensure!(begun.elapsed() < PATIENCE, "they are not attempted: {page:#}");
        sleep(Duration::from_millis(100)).await;
    }
}
