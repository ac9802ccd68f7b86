//! The admin API, by HTTP as a script would use it.

use serde_json::{Value, json};
use wagate_simulator::{Network, NetworkConfig, NetworkError};

use super::client::{Device, http, network};
use super::messages::until;

async fn call(network: &Network, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    let (status, answer) = http(method, &format!("{}{path}", network.http_url()), &body).await.unwrap();
    (status, serde_json::from_slice(&answer).unwrap_or_else(|_| String::from_utf8_lossy(&answer).into_owned().into()))
}

#[tokio::test]
async fn a_script_makes_phones_links_and_chats() {
    let network = network().await;
    let (status, ada) = call(&network, "POST", "/admin/phones", &json!({ "name": "Ada" })).await;
    assert_eq!((status, &ada["name"]), (201, &json!("Ada")));
    let ada = ada["number"].as_str().unwrap().to_owned();
    let (_, ben) = call(&network, "POST", "/admin/phones", &json!({ "name": "Ben", "number": "4915112345678" })).await;
    assert_eq!(ben["number"], "4915112345678");

    let device = Device::start(&network).await;
    let qr = device.qr().await;
    let linked = call(&network, "POST", &format!("/admin/phones/{ada}/scan"), &json!({ "qr": qr })).await;
    assert_eq!(linked, (200, json!({ "device": 1 })));
    device.connected().await;

    let (_, sent) =
        call(&network, "POST", "/admin/phones/4915112345678/send", &json!({ "to": ada, "text": "hi" })).await;
    device.message("hi").await;
    let id = sent["id"].as_str().unwrap();
    let (_, ticks) = call(&network, "GET", &format!("/admin/phones/4915112345678/ticks/{id}"), &Value::Null).await;
    assert_eq!(ticks["ticks"], "delivered");
    let (_, inbox) = call(&network, "GET", &format!("/admin/phones/{ada}/inbox"), &Value::Null).await;
    assert_eq!((&inbox[0]["text"], &inbox[0]["id"]), (&json!("hi"), &json!(id)));
    let read = json!({ "chat": "4915112345678", "id": id });
    assert_eq!(call(&network, "POST", &format!("/admin/phones/{ada}/read"), &read).await.0, 200);
    let (_, ticks) = call(&network, "GET", &format!("/admin/phones/4915112345678/ticks/{id}"), &Value::Null).await;
    assert_eq!(ticks["ticks"], "read");
    assert_eq!(call(&network, "GET", "/admin/health", &Value::Null).await.1["online"], 1);
    assert_eq!(call(&network, "POST", &format!("/admin/phones/{ada}/unlink"), &json!({ "device": 1 })).await.0, 200);
}

#[tokio::test]
async fn a_bare_qr_text_chooses_the_phone_by_push_name_or_makes_one() {
    let network = network().await;
    let device = Device::start(&network).await;
    let qr = device.qr().await;
    let url = format!("{}/admin/mock-phone/scan-qr", network.http_url());
    let (status, _) = http("POST", &url, qr.as_bytes()).await.unwrap();
    assert_eq!((status, network.phones().len()), (200, 1));
    device.connected().await;

    let twin = Device::start(&network).await;
    let qr = twin.qr().await;
    let number = network.phones()[0].number().to_owned();
    let (status, _) = http("POST", &format!("{url}?phone={number}"), qr.as_bytes()).await.unwrap();
    assert_eq!((status, network.phones().len(), network.phones()[0].devices()), (200, 1, vec![1, 2]));
    let (status, answer) = http("POST", &url, b"not a QR text").await.unwrap();
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!((status, &answer["error"]), (400, &json!("malformed_qr")));
}

#[tokio::test]
async fn every_refusal_says_why() {
    let network = network().await;
    network.add_phone("Ada");
    let cases = [
        ("POST", "/admin/phones", json!({}), 400, "bad_request"),
        ("POST", "/admin/phones", json!({ "name": "X", "number": "12" }), 400, "bad_number"),
        ("POST", "/admin/phones", json!({ "name": "X", "number": "15550000001" }), 409, "number_taken"),
        ("POST", "/admin/phones/1/send", json!({ "to": "2", "text": "x" }), 404, "unknown_phone"),
        ("POST", "/admin/phones/15550000001/send", json!({ "to": "2", "text": "x" }), 404, "unknown_chat"),
        ("POST", "/admin/phones/15550000001/enter-code", json!({ "code": "ABCD-1234" }), 404, "unknown_code"),
        ("POST", "/admin/phones/15550000001/unlink", json!({ "device": 3 }), 404, "unknown_device"),
        ("POST", "/admin/phones/15550000001/read", json!({ "chat": "15550000001", "id": "x" }), 404, "unknown_message"),
        ("POST", "/admin/faults", json!({ "type": "earthquake" }), 400, "bad_request"),
        ("POST", "/admin/bulk/send", json!({ "from": "15550000001", "to": [], "count": 1 }), 400, "bad_request"),
        ("GET", "/admin/nothing", Value::Null, 404, "not_found"),
        ("DELETE", "/admin/phones", Value::Null, 405, "method_not_allowed"),
    ];
    for (method, path, body, status, error) in cases {
        let (got, answer) = call(&network, method, path, &body).await;
        assert_eq!((got, answer["error"].as_str()), (status, Some(error)), "{method} {path} {body}");
        assert!(answer["message"].as_str().is_some_and(|message| !message.is_empty()));
    }
}

#[tokio::test]
async fn bulk_calls_make_phones_and_messages() {
    let network = network().await;
    let (_, made) = call(&network, "POST", "/admin/bulk/phones", &json!({ "count": 20 })).await;
    assert_eq!(made.as_array().unwrap().len(), 20);
    let numbers: Vec<&str> = made.as_array().unwrap().iter().map(|phone| phone["number"].as_str().unwrap()).collect();
    let send = json!({ "from": numbers[0], "to": &numbers[1..4], "count": 30, "rate_per_s": 1000 });
    let (status, sent) = call(&network, "POST", "/admin/bulk/send", &send).await;
    assert_eq!((status, &sent["sent"]), (200, &json!(30)));
    assert_eq!(network.phone(numbers[1]).unwrap().inbox().len(), 10);
}

#[tokio::test]
async fn faults_and_groups_by_http() {
    let network = network().await;
    let ada = network.add_phone("Ada");
    let device = Device::linked(&network, &ada).await;
    let fault = json!({ "type": "stream_error", "phone": ada.number(), "fault": "restart" });
    let logins = network.logins(ada.number());
    assert_eq!(call(&network, "POST", "/admin/faults", &fault).await.0, 200);
    until("another login", || network.logins(ada.number()) > logins).await;
    device.connected().await;
    assert_eq!(call(&network, "DELETE", "/admin/faults", &Value::Null).await.0, 200);

    let group = json!({ "subject": "Club", "owner": ada.number(), "members": [] });
    assert_eq!(call(&network, "POST", "/admin/groups", &group).await.0, 201);
    let (_, groups) = call(&network, "GET", "/admin/groups", &Value::Null).await;
    assert_eq!(groups[0]["members"][0]["rank"], "superadmin");
    assert_eq!(call(&network, "GET", "/admin/root-key", &Value::Null).await.1.as_str().unwrap().len(), 64);
    assert!(call(&network, "GET", "/", &Value::Null).await.1.as_str().unwrap().contains("The phones"));
}

#[tokio::test]
async fn listens_on_loopback_only() {
    let config = NetworkConfig { listen: "0.0.0.0:0".parse().unwrap(), ..NetworkConfig::default() };
    let refused = Network::start(config).await.err().unwrap();
    assert!(matches!(refused, NetworkError::NotLoopback(_)) && refused.to_string().contains("loopback"));
}
