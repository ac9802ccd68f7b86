//! Managing users.

use anyhow::{Context as _, Result};
use reqwest::StatusCode;
use serde_json::json;

use super::Site;

#[tokio::test]
async fn an_administrator_adds_a_user_who_chooses_a_password() -> Result<()> {
    let site = Site::start().await?;
    let admin = site.admin().await?;
    let added = site.post("/api/users", &admin, json!({ "username": "user2" })).await?;
    assert_eq!(added.status, StatusCode::CREATED, "{}", added.body);
    assert_eq!((&added.body["role"], &added.body["must_change_password"]), (&json!("user"), &json!(true)));
    let one_time = added.body["one_time_password"]["password"].as_str().context("no one-time password")?;
    let narrow = site.login("user2", one_time).await?;
    site.get("/api/sessions", &narrow).await?.refuses(403, "password_change_due");
    let change = json!({ "current_password": one_time, "new_password": "a phrase of mine" });
    assert_eq!(site.post("/api/password", &narrow, change).await?.status, StatusCode::OK);
    site.login("USER2", "a phrase of mine").await?;
    let users = site.get("/api/users", &admin).await?;
    let names: Vec<_> = users.body.as_array().context("no list")?.iter().map(|user| &user["username"]).collect();
    assert_eq!(names, [&json!("admin"), &json!("user2")]);
    assert!(!users.body.to_string().contains("argon2"), "no hash leaves the gateway");
    site.stop().await
}

#[tokio::test]
async fn only_administrators_manage_users() -> Result<()> {
    let site = Site::start().await?;
    let admin = site.admin().await?;
    let ana = site.user(&admin, "ana").await?;
    site.get("/api/users", &ana).await?.refuses(403, "admin_only");
    site.post("/api/users", &ana, json!({ "username": "eve", "role": "admin" })).await?.refuses(403, "admin_only");
    site.post("/api/users/1/reset", &ana, json!({})).await?.refuses(403, "admin_only");
    site.delete("/api/users/1", &ana).await?.refuses(403, "admin_only");
    site.stop().await
}

#[tokio::test]
async fn refuses_users_that_cannot_be() -> Result<()> {
    let site = Site::start().await?;
    let admin = site.admin().await?;
    let add = |body| site.post("/api/users", &admin, body);
    add(json!({ "username": "a b" })).await?.refuses(400, "invalid_username");
    add(json!({ "username": "" })).await?.refuses(400, "invalid_username");
    add(json!({ "username": "Admin" })).await?.refuses(409, "username_taken");
    add(json!({ "username": "ana", "password": "12345678" })).await?.refuses(400, "unsuitable_password");
    add(json!({ "username": "ana", "role": "root" })).await?.refuses(400, "invalid_field");
    add(json!({ "username": "ana", "id": 1 })).await?.refuses(400, "invalid_field");
    site.stop().await
}

#[tokio::test]
async fn a_reset_revokes_the_password_and_its_tokens() -> Result<()> {
    let site = Site::start().await?;
    let admin = site.admin().await?;
    let ana = site.user(&admin, "ana").await?;
    let reset = site.post("/api/users/2/reset", &admin, json!({})).await?;
    assert_eq!((reset.status, &reset.body["username"]), (StatusCode::OK, &json!("ana")));
    site.get("/api/me", &ana).await?.refuses(401, "invalid_token");
    site.try_login("ana", "lasting secret 3").await?.refuses(401, "invalid_credentials");
    site.login("ana", reset.body["password"].as_str().context("no password")?).await?;
    site.post("/api/users/77/reset", &admin, json!({})).await?.refuses(404, "not_found");
    site.post("/api/users/x/reset", &admin, json!({})).await?.refuses(404, "not_found");
    site.stop().await
}

#[tokio::test]
async fn removes_a_user_once_their_sessions_are_gone() -> Result<()> {
    let site = Site::start().await?;
    let admin = site.admin().await?;
    let ana = site.user(&admin, "ana").await?;
    site.session(&ana, "hers").await?;
    site.delete("/api/users/1", &admin).await?.refuses(409, "yourself");
    site.delete("/api/users/2", &admin).await?.refuses(409, "owns_sessions");
    assert_eq!(site.delete("/api/sessions/hers", &ana).await?.status, StatusCode::OK);
    assert_eq!(site.delete("/api/users/2", &admin).await?.status, StatusCode::OK);
    site.get("/api/me", &ana).await?.refuses(401, "invalid_token");
    site.delete("/api/users/2", &admin).await?.refuses(404, "not_found");
    site.stop().await
}
