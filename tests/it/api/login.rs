//! Logging in, tokens, and the first start.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use futures_util::future::join_all;
use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sha2::Sha256;

use super::{Answer, JWT_SECRET, PASSWORD, Site, text};

#[tokio::test]
async fn logs_in_as_the_guide_shows() -> Result<()> {
    let site = Site::start().await?;
    let answer = site.try_login("admin", PASSWORD).await?;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.body["success"], json!(true));
    assert_eq!(answer.body["user"]["id"], json!(1));
    assert_eq!(answer.body["user"]["username"], json!("admin"));
    assert_eq!(answer.body["must_change_password"], json!(false));
    assert_eq!(answer.header("cache-control"), "no-store");
    let token = answer.body["token"].as_str().context("no token")?;
    assert!(token.starts_with("eyJ"), "the guide shows a JSON Web Token");
    let me = site.get("/api/me", token).await?;
    assert_eq!((me.status, &me.body["username"]), (StatusCode::OK, &json!("admin")));
    site.stop().await
}

#[tokio::test]
async fn takes_json_the_way_curl_sends_it_without_a_header() -> Result<()> {
    let site = Site::start().await?;
    let body = json!({ "username": "ADMIN", "password": PASSWORD }).to_string();
    for content_type in [None, Some("application/x-www-form-urlencoded")] {
        let mut request = site.http.post(format!("{}/api/login", site.base)).body(body.clone());
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        assert_eq!(Answer::of(request).await?.status, StatusCode::OK, "{content_type:?}");
    }
    site.stop().await
}

#[tokio::test]
async fn an_unknown_user_and_a_wrong_password_look_the_same() -> Result<()> {
    let site = Site::start().await?;
    let mut times: [Vec<Duration>; 2] = [Vec::new(), Vec::new()];
    for n in 0..7 {
        for (at, name) in ["admin".to_owned(), format!("nobody{n}")].into_iter().enumerate() {
            let started = Instant::now();
            let mut answer = site.try_login(&name, "a wrong password").await?;
            times[at].push(started.elapsed());
            answer.refuses(401, "invalid_credentials");
            answer.body.as_object_mut().context("no object")?.remove("request_id");
            let expected = json!({ "error": "Unauthorized", "message": "invalid username or password",
                                   "code": "invalid_credentials" });
            assert_eq!(answer.body, expected, "{name}");
        }
    }
    for times in &mut times {
        times.sort();
    }
    let [known, unknown] = [times[0][3], times[1][3]];
    // One hash is some thirty milliseconds, no hash is below one: a factor of three tells them apart on a busy machine.
    assert!(known < unknown * 3 && unknown < known * 3, "known {known:?}, unknown {unknown:?}");
    site.stop().await
}

#[tokio::test]
async fn a_flood_of_logins_is_slowed_down_for_that_account_only() -> Result<()> {
    let site = Site::start().await?;
    let admin = site.admin().await?;
    let tries = (0..24).map(|_| site.try_login("victim", "a wrong password"));
    let answers = join_all(tries).await.into_iter().collect::<Result<Vec<_>>>()?;
    let refused = answers.iter().find(|answer| answer.status == StatusCode::TOO_MANY_REQUESTS);
    let refused = refused.context("24 tries at once went through")?;
    refused.refuses(429, "too_many_attempts");
    assert!((1..=3).contains(&refused.header("retry-after").parse::<u32>()?), "{:?}", refused.headers);
    assert_eq!(site.try_login("admin", PASSWORD).await?.status, StatusCode::OK, "another account is not concerned");
    assert_eq!(site.get("/api/me", &admin).await?.status, StatusCode::OK, "a token is not concerned");
    site.stop().await
}

#[tokio::test]
async fn believes_a_forwarded_address_only_from_a_trusted_proxy() -> Result<()> {
    let flood = async |site: &Site| -> Result<usize> {
        let tries = (0..50).map(|n| {
            let request = site.http.post(format!("{}/api/login", site.base));
            let request = request.header("x-forwarded-for", format!("198.51.100.{n}"));
            let login = json!({ "username": format!("nobody{n}"), "password": "a wrong password" });
            Answer::of(request.json(&login))
        });
        let answers = join_all(tries).await.into_iter().collect::<Result<Vec<_>>>()?;
        Ok(answers.iter().filter(|answer| answer.status == StatusCode::TOO_MANY_REQUESTS).count())
    };
    let open = Site::start().await?;
    assert!(flood(&open).await? > 0, "a client may not choose its own address");
    open.stop().await?;
    let proxied = Site::start_with(|settings| settings.http.trusted_proxies = vec![[127, 0, 0, 1].into()]).await?;
    assert_eq!(flood(&proxied).await?, 0, "behind the proxy these are 50 networks");
    proxied.stop().await
}

#[tokio::test]
async fn refuses_every_token_but_its_own() -> Result<()> {
    let site = Site::start().await?;
    let now = site.clock.now().seconds();
    let claims = json!({ "iss": "wagate", "aud": "wagate-api", "typ": "access", "sub": "1", "ver": 0, "jti": "x",
                         "iat": now, "exp": now + 60 });
    let version = site.store.users().list().await?[0].token_version;
    let with = |name: &str, value: Value| {
        let mut changed = claims.clone();
        changed["ver"] = json!(version);
        changed[name] = value;
        changed
    };
    let good = with("ver", json!(version));
    let hs256 = json!({ "alg": "HS256", "typ": "JWT" });
    assert_eq!(site.get("/api/me", &signed(&hs256, &good, JWT_SECRET)).await?.status, StatusCode::OK);
    let unsigned = format!("{}.{}.", part(&json!({ "alg": "none" })), part(&good));
    let mut changed = signed(&hs256, &good, JWT_SECRET);
    changed.replace_range(40..41, if &changed[40..41] == "A" { "B" } else { "A" });
    let table = [
        ("no token", String::new()),
        ("no JWT", "garbage".to_owned()),
        ("alg none", unsigned),
        ("changed", changed),
        ("foreign key", signed(&hs256, &good, "another secret of more than thirty-two bytes")),
        ("expired", signed(&hs256, &with("exp", json!(now - 1)), JWT_SECRET)),
        ("wrong audience", signed(&hs256, &with("aud", json!("another-api")), JWT_SECRET)),
        ("wrong issuer", signed(&hs256, &with("iss", json!("elsewhere")), JWT_SECRET)),
        ("unknown user", signed(&hs256, &with("sub", json!("99")), JWT_SECRET)),
        ("old version", signed(&hs256, &with("ver", json!(version - 1)), JWT_SECRET)),
    ];
    for (what, token) in table {
        let answer = site.get("/api/sessions", &token).await?;
        answer.refuses(401, "invalid_token");
        assert_eq!(answer.header("www-authenticate"), "Bearer", "{what}");
    }
    site.stop().await
}

#[tokio::test]
async fn a_token_expires_after_its_lifetime() -> Result<()> {
    let site = Site::start().await?;
    let token = site.admin().await?;
    site.clock.advance(Duration::from_hours(12) - Duration::from_secs(1));
    assert_eq!(site.get("/api/me", &token).await?.status, StatusCode::OK);
    site.clock.advance(Duration::from_secs(2));
    site.get("/api/me", &token).await?.refuses(401, "invalid_token");
    site.stop().await
}

#[tokio::test]
async fn a_new_password_revokes_every_old_token() -> Result<()> {
    let site = Site::start().await?;
    let (first, second) = (site.admin().await?, site.admin().await?);
    let change = |current: &str, new: &str| json!({ "current_password": current, "new_password": new });
    let url = "/api/password";
    site.post(url, &first, change("not the password", "a fine new phrase")).await?.refuses(401, "invalid_credentials");
    site.post(url, &first, change(PASSWORD, "short")).await?.refuses(400, "unsuitable_password");
    site.post(url, &first, change(PASSWORD, PASSWORD)).await?.refuses(400, "unsuitable_password");
    let changed = site.post(url, &first, change(PASSWORD, "a fine new phrase")).await?;
    assert_eq!(changed.status, StatusCode::OK, "{}", changed.body);
    for old in [first, second] {
        site.get("/api/me", &old).await?.refuses(401, "invalid_token");
    }
    let fresh = changed.body["token"].as_str().context("no token")?;
    assert_eq!(site.get("/api/me", fresh).await?.status, StatusCode::OK);
    site.try_login("admin", PASSWORD).await?.refuses(401, "invalid_credentials");
    site.login("admin", "a fine new phrase").await?;
    site.stop().await
}

#[tokio::test]
async fn the_first_start_prints_a_password_that_can_only_change_itself() -> Result<()> {
    let site = Site::start_with(|settings| settings.auth.admin_password = None).await?;
    let file = site.file("first-password");
    let password = text(&file)?.trim().to_owned();
    let printed = site.first_password.as_ref().context("nothing to print")?;
    assert_eq!((printed.username.as_str(), printed.file.as_ref()), ("admin", Some(&file)));
    assert_eq!(password.len(), 24);
    #[cfg(unix)]
    {
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file)?.permissions());
        assert_eq!(mode & 0o777, 0o600);
    }
    let login = site.try_login("admin", &password).await?;
    assert_eq!(login.body["must_change_password"], json!(true));
    let narrow = login.body["token"].as_str().context("no token")?;
    for (method, path) in [(Method::GET, "/api/sessions"), (Method::GET, "/api/me"), (Method::GET, "/api/users")] {
        site.call(method, path, narrow, None).await?.refuses(403, "password_change_due");
    }
    site.post("/api/sessions", narrow, json!({ "name": "x" })).await?.refuses(403, "password_change_due");
    let change = json!({ "current_password": password, "new_password": "a fine new phrase" });
    let changed = site.post("/api/password", narrow, change).await?;
    assert_eq!(changed.status, StatusCode::OK, "{}", changed.body);
    let wide = changed.body["token"].as_str().context("no token")?;
    assert_eq!(site.get("/api/sessions", wide).await?.status, StatusCode::OK);
    assert!(!file.exists(), "a used password must not lie around");
    site.try_login("admin", &password).await?.refuses(401, "invalid_credentials");
    site.stop().await
}

#[tokio::test]
async fn a_first_password_is_good_for_a_day_and_made_anew_at_the_next_start() -> Result<()> {
    let site = Site::start_with(|settings| settings.auth.admin_password = None).await?;
    let (stale, dir) = (text(&site.file("first-password"))?.trim().to_owned(), Arc::clone(&site.dir));
    site.clock.advance(Duration::from_hours(24));
    site.try_login("admin", &stale).await?.refuses(401, "invalid_credentials");
    site.store.settings().set("one-time-password:1", "0").await?;
    site.stop().await?;
    let again = Site::start_with(|settings| {
        settings.auth.admin_password = None;
        settings.dir = dir;
    })
    .await?;
    let fresh = text(&again.file("first-password"))?.trim().to_owned();
    assert_ne!(fresh, stale);
    again.login("admin", &fresh).await?;
    again.stop().await
}

#[tokio::test]
async fn admin_admin_works_in_the_demo_and_nowhere_after_it() -> Result<()> {
    let demo = Site::start_with(|settings| settings.demo = true).await?;
    let dir = Arc::clone(&demo.dir);
    let token = demo.login("admin", "admin").await?;
    assert_eq!(demo.get("/api/sessions", &token).await?.status, StatusCode::OK, "the guide's first steps work");
    demo.stop().await?;
    let product = Site::start_with(|settings| settings.dir = dir).await?;
    product.try_login("admin", "admin").await?.refuses(401, "invalid_credentials");
    product.stop().await
}

#[tokio::test]
async fn refuses_to_start_with_a_published_secret_or_a_weak_password() -> Result<()> {
    let start = async |change: fn(&mut super::Settings)| match Site::start_with(change).await {
        Ok(_) => "it started".to_owned(),
        Err(error) => error.to_string(),
    };
    let published = start(|settings| settings.auth.jwt_secret = Some("your-secret-key".into())).await;
    assert!(published.contains("JWT_SECRET is a published example") && published.contains("openssl"), "{published}");
    let weak = start(|settings| settings.auth.admin_password = Some("password1".into())).await;
    assert!(weak.contains("ADMIN_PASSWORD: "), "{weak}");
    Ok(())
}

fn part(value: &Value) -> String {
    BASE64URL.encode(value.to_string())
}

fn signed(header: &Value, claims: &Value, key: &str) -> String {
    let text = format!("{}.{}", part(header), part(claims));
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("any length is a key");
    mac.update(text.as_bytes());
    format!("{text}.{}", BASE64URL.encode(mac.finalize().into_bytes()))
}
