//! Retention in the gateway as it runs: what is old and delivered is gone after a start, what waits is not.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;
use tokio::time::{sleep, timeout};
use wagate_tests::api::PATIENCE;
use wagate_tests::raw::Raw;
use wagate_tests::receiver::Reply;
use wagate_tests::scene::Scene;

const AGE: Duration = Duration::from_secs(1);

/// The texts of the messages that are kept whole, oldest first.
async fn kept(raw: &Raw) -> Result<Vec<String>> {
    raw.texts("SELECT payload FROM events WHERE digest_until IS NULL AND kind = 'message.received' ORDER BY seq")
        .await?
        .iter()
        .map(|payload| {
            let payload: Value = serde_json::from_str(payload)?;
            Ok(payload["text"].as_str().context("no text")?.to_owned())
        })
        .collect()
}

async fn wait_until_kept(raw: &Raw, texts: &[&str]) -> Result<()> {
    let waiting = async {
        while kept(raw).await? != texts {
            sleep(Duration::from_millis(50)).await;
        }
        anyhow::Ok(())
    };
    if let Ok(done) = timeout(PATIENCE, waiting).await {
        return done;
    }
    let kept = kept(raw).await?;
    anyhow::bail!("expected {texts:?}, kept are {kept:?}")
}

#[tokio::test]
async fn what_is_old_and_delivered_goes_and_what_waits_arrives() -> Result<()> {
    let scene = Scene::set().await?;
    scene.mark("delivered").await?;
    scene.hook.otherwise(Reply::status(503));
    scene.mark("refused for now").await?;
    scene.acknowledged().await?;
    let interval = scene.interval().await;
    assert_eq!(kept(&interval.gateway.raw().await?).await?, ["delivered", "refused for now"]);

    sleep(AGE * 2).await;
    let scene = interval.resume_with(|config| config.retention.events = Some(AGE)).await?;
    let database = scene.gateway.raw().await?;
    wait_until_kept(&database, &["refused for now"]).await?;
    assert_eq!(database.texts("SELECT state FROM deliveries").await?, ["waiting"]);

    let tried = scene.hook.count();
    scene.hook.otherwise(Reply::status(200));
    let requests = scene.hook.wait_for(tried + 1, PATIENCE).await?;
    let bodies: Vec<_> = requests.iter().filter(|request| request.id() == requests[1].id()).collect();
    assert!(bodies.len() > 1 && bodies.iter().all(|request| request.body == requests[1].body));
    scene.mark("afterwards").await?;
    scene.end().await;
    Ok(())
}

#[tokio::test]
async fn by_default_what_is_young_is_kept() -> Result<()> {
    let scene = Scene::set().await?;
    scene.mark("delivered").await?;
    let scene = scene.interval().await.resume().await?;
    scene.mark("after a start").await?;
    assert_eq!(kept(&scene.gateway.raw().await?).await?, ["delivered", "after a start"]);
    scene.end().await;
    Ok(())
}
