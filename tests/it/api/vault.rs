//! The master keys, for administrators.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use anyhow::{Context as _, Result};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::sleep;
use wagate::config::VaultConfig;
use wagate::store::vault::new_key;

use super::{Answer, Site, text};

const ROTATE: &str = "/api/admin/vault/rotate";
const ROTATION: &str = "/api/admin/vault/rotation";

async fn rotate(site: &Site, token: &str) -> Result<Answer> {
    site.call(Method::POST, ROTATE, token, None).await
}

/// How the rotation ended.
async fn ended(site: &Site, token: &str) -> Result<Value> {
    loop {
        let rotation = site.get(ROTATION, token).await?.body;
        if rotation["state"] != "running" {
            return Ok(rotation);
        }
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn an_administrator_changes_the_master_key_of_a_running_gateway() -> Result<()> {
    let site = Site::start().await?;
    let admin = site.admin().await?;
    let shop = json!({ "name": "Shop", "id": "shop", "webhook_url": "https://myapp.com/webhook" });
    assert_eq!(site.post("/api/sessions", &admin, shop).await?.status, StatusCode::CREATED);
    let secret = site.get("/api/sessions/shop/webhook", &admin).await?.body["secret"].clone();
    assert!(secret.is_string(), "{secret}");
    assert_eq!(site.get(ROTATION, &admin).await?.body["state"], "idle");

    let changed = new_key(&VaultConfig::in_file(site.file("master.key")))?;
    let (from, to) = (changed.from.to_string(), changed.to.to_string());
    assert_eq!(site.get("/api/admin/vault", &admin).await?.body["current"], json!(from), "not before it is asked for");
    let begun = rotate(&site, &admin).await?;
    assert_eq!(begun.status, StatusCode::ACCEPTED, "{}", begun.body);
    let rotation = ended(&site, &admin).await?;
    assert_eq!((&rotation["state"], &rotation["error"]), (&json!("done"), &Value::Null), "{rotation}");
    // The endpoint's secret, and the configuration of the plugin that everybody has.
    assert_eq!(rotation["resealed"], 2, "{rotation}");

    let vault = site.get("/api/admin/vault", &admin).await?;
    assert_eq!((&vault.body["current"], &vault.body["keys"]), (&json!(to), &json!([to, from])));
    let sealed = |table: &str, column: &str| json!({ "table": table, "column": column, "key": to, "count": 1 });
    let expected = json!([sealed("endpoints", "secret"), sealed("plugin_bindings", "config")]);
    assert_eq!(vault.body["values"], expected, "{}", vault.body);
    assert_eq!(site.get("/api/sessions/shop/webhook", &admin).await?.body["secret"], secret);
    let key = text(&site.file("master.key"))?;
    assert!(!vault.body.to_string().contains(key.trim()), "no key leaves the gateway");
    site.stop().await
}

#[tokio::test]
async fn keys_that_cannot_be_taken_up_change_nothing() -> Result<()> {
    let site = Site::start().await?;
    let admin = site.admin().await?;
    let before = site.get("/api/admin/vault", &admin).await?.body["current"].clone();
    std::fs::set_permissions(site.file("master.key"), std::fs::Permissions::from_mode(0o644))?;
    let refused = rotate(&site, &admin).await?;
    refused.refuses(409, "master_key_unusable");
    assert!(refused.body["message"].as_str().context("no message")?.contains("chmod 600"), "{}", refused.body);
    let rotation = ended(&site, &admin).await?;
    assert_eq!((&rotation["state"], &rotation["error"]), (&json!("failed"), &refused.body["message"]));
    assert_eq!(site.get("/api/admin/vault", &admin).await?.body["current"], before);
    site.stop().await
}

#[tokio::test]
async fn only_administrators_see_and_change_the_master_key() -> Result<()> {
    let site = Site::start().await?;
    let admin = site.admin().await?;
    let ana = site.user(&admin, "ana").await?;
    site.get("/api/admin/vault", &ana).await?.refuses(403, "admin_only");
    site.get(ROTATION, &ana).await?.refuses(403, "admin_only");
    rotate(&site, &ana).await?.refuses(403, "admin_only");
    rotate(&site, "").await?.refuses(401, "invalid_token");
    assert_eq!(site.get(ROTATION, &admin).await?.body["state"], "idle");
    site.stop().await
}
