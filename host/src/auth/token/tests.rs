use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use serde_json::{Value, json};

use super::*;
use crate::model::Role;

const KEY: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyz";
const NOW: Millis = Millis(1_700_000_000_000);

fn user(must_change_password: bool) -> User {
    User {
        id: UserId(7),
        username: "ana".to_owned(),
        role: Role::User,
        token_version: 3,
        must_change_password,
        created_at: NOW,
    }
}

fn tokens() -> Tokens {
    Tokens::new(KEY, Duration::from_hours(12))
}

fn signed(header: &Header, claims: &Value, key: &[u8]) -> String {
    jsonwebtoken::encode(header, claims, &EncodingKey::from_secret(key)).unwrap()
}

fn claims() -> Value {
    json!({ "iss": ISSUER, "aud": AUDIENCE, "typ": "access", "sub": "7", "ver": 3, "jti": "x",
            "iat": NOW.seconds(), "exp": NOW.seconds() + 60 })
}

#[test]
fn a_token_says_who_and_for_how_long() {
    let (token, expires) = tokens().issue(&user(false), NOW).unwrap();
    assert_eq!(expires, NOW.after(Duration::from_hours(12)));
    let said = tokens().read(&token, expires.after(Duration::from_secs(0)).max(NOW));
    assert_eq!(said, None, "expired at its expiry");
    let passport = tokens().read(&token, NOW.after(Duration::from_hours(11))).unwrap();
    assert_eq!(passport, Passport { user: UserId(7), version: 3, reach: Reach::Everything });
}

#[test]
fn a_one_time_password_earns_a_short_token_for_one_thing() {
    let (token, expires) = tokens().issue(&user(true), NOW).unwrap();
    assert_eq!(expires, NOW.after(PASSWORD_CHANGE_LIFETIME));
    assert_eq!(tokens().read(&token, NOW).unwrap().reach, Reach::PasswordChange);
}

#[test]
fn refuses_a_token_with_any_claim_or_key_amiss() {
    let good = signed(&Header::new(Algorithm::HS256), &claims(), KEY);
    assert!(tokens().read(&good, NOW).is_some(), "the table below must start from a good token");
    for (claim, wrong) in [
        ("iss", json!("elsewhere")),
        ("aud", json!("another-api")),
        ("typ", json!("refresh")),
        ("sub", json!("root")),
        ("exp", json!(NOW.seconds() - 1)),
    ] {
        let mut changed = claims();
        changed[claim] = wrong;
        let token = signed(&Header::new(Algorithm::HS256), &changed, KEY);
        assert_eq!(tokens().read(&token, NOW), None, "{claim} is wrong");
        changed.as_object_mut().unwrap().remove(claim);
        let token = signed(&Header::new(Algorithm::HS256), &changed, KEY);
        assert_eq!(tokens().read(&token, NOW), None, "{claim} is missing");
    }
    let foreign = signed(&Header::new(Algorithm::HS256), &claims(), b"another key of more than 32 bytes, too");
    assert_eq!(tokens().read(&foreign, NOW), None, "foreign key");
}

#[test]
fn refuses_every_other_algorithm() {
    let strong = signed(&Header::new(Algorithm::HS512), &claims(), KEY);
    assert_eq!(tokens().read(&strong, NOW), None, "HS512 under the same key");
    let part = |value: &Value| BASE64URL.encode(value.to_string());
    for alg in ["none", "None", "NONE", ""] {
        let unsigned = format!("{}.{}.", part(&json!({ "alg": alg, "typ": "JWT" })), part(&claims()));
        assert_eq!(tokens().read(&unsigned, NOW), None, "alg {alg:?}");
    }
}

#[test]
fn refuses_a_token_changed_on_the_way() {
    let (token, _) = tokens().issue(&user(false), NOW).unwrap();
    let mut parts: Vec<String> = token.split('.').map(str::to_owned).collect();
    let mut said: Value = serde_json::from_slice(&BASE64URL.decode(&parts[1]).unwrap()).unwrap();
    said["sub"] = json!("1");
    parts[1] = BASE64URL.encode(said.to_string());
    assert_eq!(tokens().read(&parts.join("."), NOW), None);
    for garbage in ["", ".", "..", "a.b.c", &token[..token.len() - 2]] {
        assert_eq!(tokens().read(garbage, NOW), None, "{garbage}");
    }
}

#[test]
fn refuses_weak_and_published_secrets() {
    let of = |text: &str| key(Some(&SecretString::from(text)), Path::new("/nowhere"));
    assert!(matches!(of("your-secret-key"), Err(AuthError::KnownSecret)));
    assert!(matches!(of("your-secret-key-but-longer-than-32-bytes"), Err(AuthError::KnownSecret)));
    assert!(matches!(of("a2b4c6d8"), Err(AuthError::WeakSecret)));
    assert!(matches!(of(&"ab".repeat(40)), Err(AuthError::WeakSecret)));
    assert_eq!(of("5f0c1e77d2a94b8896c3e1f0a7b2d4c6").unwrap().len(), 32);
}

#[test]
fn makes_a_private_key_once_and_finds_it_again() {
    let dir = std::env::temp_dir().join(format!("wagate-key-{}", uuid::Uuid::new_v4().simple()));
    std::fs::create_dir(&dir).unwrap();
    let file = dir.join("jwt.key");
    let made = key(None, &file).unwrap();
    assert_eq!(made.len(), KEY_BYTES);
    assert_eq!(key(None, &file).unwrap(), made);
    #[cfg(unix)]
    {
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
    }
    std::fs::write(&file, "short").unwrap();
    assert!(matches!(key(None, &file), Err(AuthError::KeyFile { .. })));
    std::fs::remove_dir_all(&dir).unwrap();
}
