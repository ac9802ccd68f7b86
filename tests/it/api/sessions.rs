//! Sessions as the guide's scenarios use them, and apart from each other.

use anyhow::{Context as _, Result};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::Site;

#[tokio::test]
async fn scenario_one_creates_sessions_and_lists_them_as_a_bare_array() -> Result<()> {
    let site = Site::start().await?;
    let token = site.admin().await?;
    assert_eq!(site.get("/api/sessions", &token).await?.body, json!([]));
    let business = json!({ "name": "Business Support", "webhook_url": "https://myapp.com/webhook/business" });
    let created = site.post("/api/sessions", &token, business).await?;
    assert_eq!(created.status, StatusCode::CREATED, "{}", created.body);
    let id = created.body["id"].as_str().context("id is on top and a text")?.to_owned();
    assert_eq!(created.header("location"), format!("/api/sessions/{id}"));
    let mut shown = created.body.clone();
    shown.as_object_mut().context("no object")?.remove("created_at").context("no created_at")?;
    let expected = json!({
        "id": id, "name": "Business Support", "phone": "", "actual_phone": "", "position": 1,
        "webhook_url": "https://myapp.com/webhook/business", "connected": false, "logged_in": false,
        "status": { "state": "stopped" }
    });
    assert_eq!(shown, expected);
    let second = site.post("/api/sessions", &token, json!({ "name": "Personal Account", "webhook_url": null })).await?;
    assert_eq!((&second.body["position"], &second.body["webhook_url"]), (&json!(2), &json!("")));
    let listed = site.get("/api/sessions", &token).await?;
    assert_eq!(listed.body, json!([created.body, second.body]));
    assert_eq!(site.get(&format!("/api/sessions/{id}"), &token).await?.body, created.body);
    site.stop().await
}

#[tokio::test]
async fn ids_may_be_chosen_once() -> Result<()> {
    let site = Site::start().await?;
    let token = site.admin().await?;
    let create = |body| site.post("/api/sessions", &token, body);
    assert_eq!(create(json!({ "id": "session_sales", "name": "Sales" })).await?.body["id"], json!("session_sales"));
    assert_eq!(create(json!({ "phone": "+62 822-6079-0996" })).await?.body["id"], json!("6282260790996"));
    create(json!({ "id": "session_sales", "name": "Again" })).await?.refuses(409, "id_taken");
    create(json!({ "id": "../etc", "name": "x" })).await?.refuses(400, "invalid_id");
    create(json!({ "name": "  " })).await?.refuses(400, "invalid_name");
    create(json!({ "name": "x".repeat(101) })).await?.refuses(400, "invalid_name");
    create(json!({ "name": "x", "owner": 1 })).await?.refuses(400, "invalid_field");
    site.stop().await
}

#[tokio::test]
async fn renames_and_deletes() -> Result<()> {
    let site = Site::start().await?;
    let token = site.admin().await?;
    site.session(&token, "s").await?;
    let renamed = site.put("/api/sessions/s/name", &token, json!({ "name": " Updated Session Name " })).await?;
    let expected = json!({ "success": true, "message": "Session name updated successfully",
                           "name": "Updated Session Name" });
    assert_eq!((renamed.status, renamed.body), (StatusCode::OK, expected));
    assert_eq!(site.get("/api/sessions/s", &token).await?.body["name"], json!("Updated Session Name"));
    let deleted = site.delete("/api/sessions/s", &token).await?;
    assert_eq!(deleted.body, json!({ "success": true, "message": "Session deleted successfully" }));
    site.get("/api/sessions/s", &token).await?.refuses(404, "not_found");
    site.delete("/api/sessions/s", &token).await?.refuses(404, "not_found");
    site.stop().await
}

#[tokio::test]
async fn a_webhook_is_set_shown_with_its_secret_and_removed() -> Result<()> {
    let site = Site::start().await?;
    let token = site.admin().await?;
    site.session(&token, "s").await?;
    let url = "/api/sessions/s/webhook";
    assert_eq!(site.get(url, &token).await?.body, json!({ "webhook_url": "" }));
    let set = site.put(url, &token, json!({ "webhook_url": "https://myapp.com/webhook" })).await?;
    let expected = json!({ "success": true, "message": "Webhook URL updated successfully",
                           "webhook_url": "https://myapp.com/webhook" });
    assert_eq!(set.body, expected);
    let first = site.get(url, &token).await?.body;
    assert!(first["secret"].as_str().context("no secret")?.starts_with("whsec_"), "{first}");
    site.put(url, &token, json!({ "webhook_url": "https://myapp.com/other" })).await?;
    assert_eq!(site.get(url, &token).await?.body["secret"], first["secret"], "the secret outlives an address");
    let session = site.get("/api/sessions/s", &token).await?;
    assert!(!session.body.to_string().contains("whsec_"), "the session object holds no secret");
    for nothing in [json!(""), json!(null)] {
        site.put(url, &token, json!({ "webhook_url": nothing })).await?;
        assert_eq!(site.get(url, &token).await?.body, json!({ "webhook_url": "" }));
    }
    site.put(url, &token, json!({})).await?.refuses(400, "invalid_field");
    site.stop().await
}

#[tokio::test]
async fn refuses_webhooks_into_the_own_network() -> Result<()> {
    let site = Site::start().await?;
    let token = site.admin().await?;
    site.session(&token, "s").await?;
    let table = [
        ("http://127.0.0.1:8080/hook", "webhook_forbidden"),
        ("http://[::1]/hook", "webhook_forbidden"),
        ("http://169.254.169.254/latest/meta-data", "webhook_forbidden"),
        ("http://10.0.0.7/hook", "webhook_forbidden"),
        ("ftp://myapp.com/hook", "invalid_webhook_url"),
        ("https://user:pass@myapp.com/hook", "invalid_webhook_url"),
        ("not a url", "invalid_webhook_url"),
    ];
    for (url, code) in table {
        site.put("/api/sessions/s/webhook", &token, json!({ "webhook_url": url })).await?.refuses(400, code);
        site.post("/api/sessions", &token, json!({ "name": "x", "webhook_url": url })).await?.refuses(400, code);
    }
    assert_eq!(site.get("/api/sessions", &token).await?.body.as_array().map(Vec::len), Some(1), "nothing was created");
    site.stop().await
}

#[tokio::test]
async fn scenario_two_keeps_users_apart() -> Result<()> {
    let site = Site::start().await?;
    let admin = site.admin().await?;
    let (ana, ben) = (site.user(&admin, "ana").await?, site.user(&admin, "benjamin").await?);
    site.session(&ana, "hers").await?;
    site.session(&ben, "his").await?;
    assert_eq!(ids(&site.get("/api/sessions", &ana).await?.body), ["hers"]);
    assert_eq!(ids(&site.get("/api/sessions", &ben).await?.body), ["his"]);
    assert_eq!(ids(&site.get("/api/sessions", &admin).await?.body), [""; 0], "an administrator owns only their own");
    for (method, path, body) in every_session_request("hers") {
        for stranger in [&ben, &admin] {
            site.call(method.clone(), &path, stranger, body.clone()).await?.refuses(404, "not_found");
        }
    }
    assert_eq!(site.get("/api/sessions/hers", &ana).await?.body["name"], json!("hers"), "nothing has happened to it");
    site.stop().await
}

#[tokio::test]
async fn an_unknown_session_is_not_found_whatever_is_asked() -> Result<()> {
    let site = Site::start().await?;
    let token = site.admin().await?;
    for id in ["1234567890", "a%20b", "%C3%A9"] {
        for (method, path, body) in every_session_request(id) {
            site.call(method, &path, &token, body).await?.refuses(404, "not_found");
        }
    }
    site.stop().await
}

#[tokio::test]
async fn a_session_that_is_not_linked_cannot_send() -> Result<()> {
    let site = Site::start().await?;
    let token = site.admin().await?;
    site.session(&token, "s").await?;
    let message = json!({ "recipient": "6281381393739", "message": "Hello!" });
    site.post("/api/sessions/s/send", &token, message.clone()).await?.refuses(404, "not_connected");
    let number = json!({ "number": "6281381393739" });
    site.post("/api/sessions/s/check-number", &token, number).await?.refuses(404, "not_connected");
    site.get("/api/sessions/s/groups", &token).await?.refuses(404, "not_connected");
    site.get("/api/sessions/s/qr", &token).await?.refuses(409, "not_started");
    let mut from = message;
    from["phone"] = json!("6282260790996");
    site.post("/api/send", &token, from.clone()).await?.refuses(404, "no_such_phone");
    from["phone"] = json!("");
    site.post("/api/send", &token, from).await?.refuses(400, "invalid_phone");
    site.stop().await
}

#[tokio::test]
async fn connects_and_disconnects_in_the_guides_words() -> Result<()> {
    let site = Site::start().await?;
    let token = site.admin().await?;
    site.session(&token, "s").await?;
    let connected = site.call(Method::POST, "/api/sessions/s/connect", &token, None).await?;
    let expected = json!({ "success": true, "message": "Connection started",
                           "websocket_url": format!("ws://{}/api/ws/s", site.address) });
    assert_eq!((connected.status, connected.body), (StatusCode::OK, expected));
    let state = &site.get("/api/sessions/s", &token).await?.body["status"]["state"];
    assert_ne!(state, &json!("stopped"), "it is on its way");
    let stopped = site.call(Method::POST, "/api/sessions/s/disconnect", &token, None).await?;
    assert_eq!(stopped.body, json!({ "success": true, "message": "Session disconnected successfully" }));
    assert_eq!(site.get("/api/sessions/s", &token).await?.body["status"], json!({ "state": "stopped" }));
    site.stop().await
}

/// Every request that names a session.
fn every_session_request(id: &str) -> Vec<(Method, String, Option<Value>)> {
    let at = |tail: &str| format!("/api/sessions/{id}{tail}");
    vec![
        (Method::GET, at(""), None),
        (Method::PUT, at("/name"), Some(json!({ "name": "x" }))),
        (Method::GET, at("/webhook"), None),
        (Method::PUT, at("/webhook"), Some(json!({ "webhook_url": "" }))),
        (Method::POST, at("/connect"), None),
        (Method::POST, at("/disconnect"), None),
        (Method::GET, at("/qr"), None),
        (Method::POST, at("/pair-code"), Some(json!({ "phone": "6282260790996" }))),
        (Method::POST, at("/send"), Some(json!({ "recipient": "6281381393739", "message": "x" }))),
        (Method::POST, at("/follow-presence"), Some(json!({ "contact": "6281381393739" }))),
        (Method::POST, at("/check-number"), Some(json!({ "number": "6281381393739" }))),
        (Method::GET, at("/groups"), None),
        (Method::GET, format!("/api/ws/{id}"), None),
        (Method::DELETE, at(""), None),
    ]
}

fn ids(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(|session| session["id"].as_str()).collect()
}
