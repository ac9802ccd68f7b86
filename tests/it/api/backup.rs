//! The copy of the database, for administrators.

use std::time::Duration;

use anyhow::{Context as _, Result};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::sleep;
use wagate::store::backup::inspect;
use wagate_tests::engine::Engine;

use super::Site;

const BACKUP: &str = "/api/admin/backup";

#[tokio::test]
async fn an_administrator_has_the_database_copied_while_the_gateway_works() -> Result<()> {
    let site = Site::start().await?;
    let admin = site.admin().await?;
    assert_eq!(site.get(BACKUP, &admin).await?.body["state"], "idle");
    let begun = site.call(Method::POST, BACKUP, &admin, None).await?;
    if Engine::of_run()? != Engine::Sqlite {
        begun.refuses(409, "database_on_server");
        return site.stop().await;
    }
    assert_eq!(begun.status, StatusCode::ACCEPTED, "{}", begun.body);
    site.session(&admin, "meanwhile").await?;
    let mut backup = begun.body;
    while backup["state"] == "running" {
        sleep(Duration::from_millis(10)).await;
        backup = site.get(BACKUP, &admin).await?.body;
    }
    assert_eq!((&backup["state"], &backup["error"]), (&json!("done"), &Value::Null), "{backup}");
    let file = backup["file"].as_str().context("no file")?;
    let contents = inspect(file.as_ref()).await?;
    assert_eq!(backup["rows"].as_u64(), Some(contents.rows()));
    assert_eq!(contents.tables["users"], 1);
    site.stop().await
}

#[tokio::test]
async fn only_administrators_have_the_database_copied() -> Result<()> {
    let site = Site::start().await?;
    let admin = site.admin().await?;
    let ana = site.user(&admin, "ana").await?;
    site.get(BACKUP, &ana).await?.refuses(403, "admin_only");
    site.call(Method::POST, BACKUP, &ana, None).await?.refuses(403, "admin_only");
    site.call(Method::POST, BACKUP, "", None).await?.refuses(401, "invalid_token");
    assert_eq!(site.get(BACKUP, &admin).await?.body["state"], "idle");
    site.stop().await
}
