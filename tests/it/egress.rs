//! The outgoing client against receivers that redirect, flood, trickle, hang, and stand where it must not go.

mod faults;
mod forbidden;
mod targets;

use std::time::{Duration, Instant};

use bytes::Bytes;
use wagate::config::WebhookConfig;
use wagate::egress::{Answer, Egress, EgressError, Request};
use wagate::model::{ErrorClass, Phases};
use wagate_tests::receiver::{Receiver, Reply};

fn config(allow: &[&str]) -> WebhookConfig {
    let allow = allow.iter().map(|&entry| entry.to_owned()).collect();
    WebhookConfig { timeout: Duration::from_secs(5), concurrency: 64, allow }
}

fn egress(allow: &[&str], loopback: bool) -> Egress {
    Egress::new(&config(allow), loopback).unwrap()
}

/// What comes of a request.
async fn send(egress: &Egress, request: Request) -> Result<Answer, EgressError> {
    egress.exchange(request).await.result
}

fn post(url: &str) -> Request {
    Request {
        method: "POST".to_owned(),
        url: url.parse().unwrap(),
        headers: vec![("content-type".to_owned(), "application/json".to_owned())],
        body: Bytes::from_static(b"{\"a\":1}"),
        deadline: Duration::from_secs(5),
        answer_limit: 64 * 1024,
    }
}

#[tokio::test]
async fn sends_what_it_is_given_and_nothing_that_would_invite_surprises() {
    let receiver = Receiver::start().await.unwrap();
    receiver.otherwise(Reply::status(201).text("ok").header("x-answer".parse().unwrap(), "yes"));
    let mut request = post(&receiver.url_of("/hook?a=1&b=%20"));
    request.headers.push(("x-own".to_owned(), "1".to_owned()));
    request.headers.push(("host".to_owned(), "intranet".to_owned()));
    request.headers.push(("transfer-encoding".to_owned(), "chunked".to_owned()));
    let answer = send(&egress(&[], true), request).await.unwrap();
    assert_eq!((answer.status, answer.body.as_ref(), answer.cut), (201, b"ok".as_slice(), false));
    assert_eq!(answer.header("x-answer"), Some("yes"));

    let request = receiver.requests().remove(0);
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/hook?a=1&b=%20"));
    assert_eq!(request.body.as_ref(), b"{\"a\":1}");
    assert_eq!(request.header("x-own"), "1");
    assert_eq!(request.header("host"), receiver.address().to_string());
    assert_eq!(request.header("user-agent"), concat!("wagate/", env!("CARGO_PKG_VERSION")));
    assert_eq!(request.header("content-length"), "7");
    for absent in ["transfer-encoding", "accept-encoding", "cookie", "referer"] {
        assert!(!request.headers.contains_key(absent), "{absent}");
    }
}

#[tokio::test]
async fn an_allowed_network_may_be_dialled() {
    let receiver = Receiver::start().await.unwrap();
    let egress = egress(&["127.0.0.0/8"], false);
    assert_eq!(send(&egress, post(&receiver.url())).await.unwrap().status, 200);
    let elsewhere = format!("http://[::1]:{}/", receiver.address().port());
    assert!(matches!(send(&egress, post(&elsewhere)).await, Err(EgressError::Forbidden { .. })));
}

#[tokio::test]
async fn does_not_follow_a_redirect() {
    let (receiver, canary) = (Receiver::start().await.unwrap(), Receiver::start().await.unwrap());
    for status in [301, 302, 303, 307, 308] {
        let elsewhere = canary.url();
        receiver.script([Reply::status(status).header("location".parse().unwrap(), &elsewhere)]);
        assert_eq!(send(&egress(&[], true), post(&receiver.url())).await.unwrap().status, status);
    }
    assert_eq!((receiver.count(), canary.connections()), (5, 0));
}

#[tokio::test]
async fn a_receiver_that_trickles_or_hangs_costs_the_deadline_and_no_more() {
    let receiver = Receiver::start().await.unwrap();
    let deadline = Duration::from_millis(400);
    for reply in [Reply::trickle(Duration::from_millis(20)), Reply::status(200).after(Duration::from_mins(1))] {
        receiver.script([reply]);
        let begun = Instant::now();
        let request = Request { deadline, ..post(&receiver.url()) };
        let error = send(&egress(&[], true), request).await.unwrap_err();
        assert!(matches!(error, EgressError::Deadline(d) if d == deadline), "{error}");
        assert!(begun.elapsed() >= deadline && begun.elapsed() < deadline + Duration::from_secs(1));
    }
}

#[tokio::test]
async fn reads_no_more_of_a_flood_than_the_limit() {
    let receiver = Receiver::start().await.unwrap();
    receiver.script([Reply::flood(10_000_000_000)]);
    let begun = Instant::now();
    let answer = send(&egress(&[], true), post(&receiver.url())).await.unwrap();
    assert_eq!((answer.body.len(), answer.cut), (64 * 1024, true));
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    tokio::time::sleep(Duration::from_millis(200)).await;
    let taken = receiver.flooded();
    assert!(taken < 50_000_000, "{taken} bytes left the receiver");
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(receiver.flooded(), taken, "the flood goes on");
}

#[tokio::test]
async fn an_answer_of_exactly_the_limit_is_whole() {
    let receiver = Receiver::start().await.unwrap();
    receiver.script([Reply::flood(1_000_000), Reply::flood(1_000_001)]);
    let egress = egress(&[], true);
    let limited = || Request { answer_limit: 1_000_000, ..post(&receiver.url()) };
    let whole = send(&egress, limited()).await.unwrap();
    assert_eq!((whole.body.len(), whole.cut), (1_000_000, false));
    let cut = send(&egress, limited()).await.unwrap();
    assert_eq!((cut.body.len(), cut.cut), (1_000_000, true));
}

#[tokio::test]
async fn says_what_went_wrong_without_the_address_s_query() {
    let receiver = Receiver::start().await.unwrap();
    receiver.script([Reply::drop_connection()]);
    let egress = egress(&[], true);
    let failure = async |url: String| send(&egress, post(&url)).await.unwrap_err();
    let hung_up = failure(receiver.url_of("/?token=geheim")).await;
    let tls = failure(receiver.url_of("/?token=geheim").replace("http:", "https:")).await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let refused = failure(format!("http://{closed}/?token=geheim")).await;
    let name = failure(format!("http://{}.invalid/?token=geheim", "x".repeat(64))).await;
    for (error, class, words) in [
        (hung_up, ErrorClass::Broken, "the exchange failed"),
        (tls, ErrorClass::Tls, "TLS failed"),
        (refused, ErrorClass::Connect, "refused"),
        (name, ErrorClass::Dns, "does not resolve"),
    ] {
        assert_eq!(error.class(), class, "{error}");
        assert!(error.to_string().contains(words) && !error.to_string().contains("geheim"), "{error}");
    }
}

#[tokio::test]
async fn keeps_a_connection_but_no_cookie() {
    let receiver = Receiver::start().await.unwrap();
    receiver.otherwise(Reply::status(200).header("set-cookie".parse().unwrap(), "a=b; Path=/"));
    let egress = egress(&[], true);
    for first in (0..20).map(|n| n == 0) {
        let exchange = egress.exchange(post(&receiver.url())).await;
        let Phases { dns_us, connect_us, tls_us, first_byte_us } = exchange.phases;
        assert_eq!((dns_us, connect_us.is_some(), tls_us), (None, first, None), "{exchange:?}");
        assert!(exchange.result.is_ok() && first_byte_us.is_some(), "{exchange:?}");
        assert_eq!(exchange.address, Some(receiver.address()));
    }
    assert!(receiver.requests().iter().all(|request| !request.headers.contains_key("cookie")));
    assert_eq!((receiver.count(), receiver.connections()), (20, 1));
}

#[tokio::test]
async fn gives_a_packed_answer_as_it_came() {
    let receiver = Receiver::start().await.unwrap();
    receiver.script([Reply::status(200).text("not really gzip").header("content-encoding".parse().unwrap(), "gzip")]);
    let answer = send(&egress(&[], true), post(&receiver.url())).await.unwrap();
    assert_eq!(answer.body.as_ref(), b"not really gzip");
}
