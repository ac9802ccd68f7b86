use std::time::Instant;

use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::app::tasks::Tasks;
use crate::model::ErrorClass;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn config(allow: &[&str]) -> WebhookConfig {
    let allow = allow.iter().map(|&entry| entry.to_owned()).collect();
    WebhookConfig { timeout: Duration::from_secs(5), concurrency: 4, allow }
}

fn egress(allow: &[&str], loopback: bool) -> Result<Egress, EgressError> {
    Egress::new(&config(allow), loopback)
}

fn url(text: &str) -> Url {
    Url::parse(text).unwrap()
}

fn get(text: &str) -> Request {
    Request {
        method: "GET".to_owned(),
        url: url(text),
        headers: Vec::new(),
        body: Bytes::new(),
        deadline: Duration::from_secs(5),
        answer_limit: 1024,
    }
}

/// Has every connection to a new address served by `serve`.
async fn listen<F: Future<Output = ()> + Send + 'static>(
    serve: impl Fn(TcpStream) -> F + Send + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    Tasks::new().spawn("listener", async move {
        let tasks = Tasks::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tasks.spawn("connection", serve(stream));
        }
    });
    address
}

/// Answers so many requests without a body, then closes the connection.
async fn answer(stream: impl AsyncRead + AsyncWrite + Unpin, requests: usize, answer: &[u8]) {
    let mut stream = BufReader::new(stream);
    for _ in 0..requests {
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                return;
            }
        }
        stream.write_all(answer).await.unwrap();
        stream.flush().await.unwrap();
    }
}

fn certificate() -> CertificateDer<'static> {
    CertificateDer::from_slice(include_bytes!("../../../tests/fixtures/tls/certificate.der"))
}

fn acceptor() -> TlsAcceptor {
    let key = PrivatePkcs8KeyDer::from(include_bytes!("../../../tests/fixtures/tls/key.der").as_slice());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![certificate()], key.into()).unwrap();
    TlsAcceptor::from(Arc::new(config))
}

#[test]
fn refuses_to_start_on_an_entry_that_is_no_network() {
    let error = egress(&["10.0.0.0/8", "intranet"], false).unwrap_err();
    assert_eq!(
        error.to_string(),
        "WEBHOOK_ALLOW holds \"intranet\", which is no network; write 10.0.0.0/8, fd00::/8 or a single address"
    );
}

#[tokio::test]
async fn a_check_refuses_what_dialling_would_refuse() {
    let egress = egress(&[], false).unwrap();
    for forbidden in ["http://127.0.0.1/", "http://localhost:9/", "http://[::1]/", "http://0xa9fea9fe/latest"] {
        let error = egress.check(&url(forbidden)).await.unwrap_err();
        assert!(matches!(error, EgressError::Forbidden { .. }), "{forbidden}: {error}");
        let exchange = egress.exchange(get(forbidden)).await;
        assert_eq!(exchange.result.unwrap_err().class(), ErrorClass::Forbidden, "{forbidden}");
        assert_eq!(exchange.address, None, "{forbidden}");
    }
    assert!(egress.check(&url("https://8.8.8.8/hook")).await.is_ok());
}

#[tokio::test]
async fn a_refusal_names_the_setting_that_would_help() {
    let egress = egress(&[], false).unwrap();
    let refusal = async |text: &str| egress.check(&url(text)).await.unwrap_err().to_string();
    assert_eq!(
        refusal("http://10.1.2.3/").await,
        "10.1.2.3 is not a public address; to allow it, add 10.1.2.3 or its network to WEBHOOK_ALLOW"
    );
    assert_eq!(
        refusal("http://169.254.169.254/").await,
        "169.254.169.254 is where a cloud hands out its credentials; no setting allows that"
    );
    let by_name = refusal("http://localhost/").await;
    assert!(by_name.starts_with("localhost resolves to ") && by_name.contains(", which is not a public"), "{by_name}");
}

#[tokio::test]
async fn refuses_other_schemes_and_credentials() {
    let egress = egress(&[], true).unwrap();
    for bad in ["ftp://127.0.0.1/", "file:///etc/passwd", "http://user@127.0.0.1/", "http://:secret@127.0.0.1/"] {
        let error = egress.check(&url(bad)).await.unwrap_err();
        assert!(matches!(error, EgressError::Malformed(_)), "{bad}: {error}");
    }
}

#[test]
fn the_client_frames_the_message() {
    let pair = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    let theirs =
        [("Host", "intranet"), ("content-length", "9"), ("Connection", "close"), ("X-Own", "1"), ("x-own", "2")];
    let headers = theirs.map(pair).to_vec();
    let request = Request { method: "POST".to_owned(), headers, ..get("http://example.org:8080/a%20b?c={d}#e") };
    let message = message(&request).unwrap();
    assert_eq!(message.uri(), "/a%20b?c={d}");
    let values = |name: &str| message.headers().get_all(name).iter().map(|v| v.to_str().unwrap()).collect::<Vec<_>>();
    assert_eq!(values("host"), ["example.org:8080"]);
    assert_eq!(values("content-length"), ["0"]);
    assert_eq!(values("x-own"), ["1", "2"]);
    assert_eq!(values("user-agent"), [AGENT]);
    assert!(values("connection").is_empty());

    for (method, name, value) in [("CONNECT", "a", "b"), ("PO ST", "a", "b"), ("GET", "a b", "c"), ("GET", "a", "b\n")]
    {
        let request = Request { method: method.to_owned(), headers: vec![pair((name, value))], ..get("http://a.b") };
        assert!(matches!(super::message(&request), Err(EgressError::Malformed(_))), "{method} {name}: {value}");
    }
}

#[tokio::test]
async fn phases_are_told_of_the_connection_that_was_opened_for_the_exchange() {
    let address = listen(|stream| answer(stream, 9, OK)).await;
    let egress = egress(&[], true).unwrap();
    let by_name = format!("http://localhost:{}/", address.port());
    let first = egress.exchange(get(&by_name)).await;
    assert_eq!(first.result.unwrap().body, "ok");
    let Phases { dns_us, connect_us, tls_us, first_byte_us } = first.phases;
    assert!(dns_us.is_some() && connect_us.is_some() && tls_us.is_none(), "{:?}", first.phases);
    assert!(first_byte_us >= connect_us, "{:?}", first.phases);
    assert_eq!(first.address, Some(address));

    let second = egress.exchange(get(&by_name)).await;
    assert_eq!(second.phases, Phases { first_byte_us: second.phases.first_byte_us, ..Phases::default() });
    assert!(second.phases.first_byte_us.is_some());
    assert_eq!(second.address, Some(address));

    let literal = egress.exchange(get(&format!("http://{address}/"))).await.phases;
    assert!(literal.dns_us.is_none() && literal.connect_us.is_some(), "{literal:?}");
}

#[tokio::test]
async fn speaks_tls_with_those_it_trusts_and_no_others() {
    let acceptor = acceptor();
    let address = listen(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                answer(stream, 9, OK).await;
            }
        }
    })
    .await;
    let here = format!("https://localhost:{}/", address.port());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate()).unwrap();
    let trusting = Egress::trusting(roots, &config(&[]), true).unwrap();
    let first = trusting.exchange(get(&here)).await;
    assert_eq!(first.result.unwrap().body, "ok");
    assert!(first.phases.tls_us.is_some() && first.phases.first_byte_us >= first.phases.tls_us, "{:?}", first.phases);
    let second = trusting.exchange(get(&here)).await;
    assert!(second.result.is_ok() && second.phases.tls_us.is_none(), "{:?}", second.phases);

    let careful = egress(&[], true).unwrap().exchange(get(&here)).await;
    let error = careful.result.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Tls, "{error}");
    assert!(error.to_string().contains("certificate"), "{error}");
    assert!(careful.phases.tls_us.is_some() && careful.phases.first_byte_us.is_none(), "{:?}", careful.phases);
}

#[tokio::test]
async fn a_deadline_tells_the_phase_it_passed_in() {
    let address = listen(|stream| async move {
        let _held = stream;
        std::future::pending::<()>().await;
    })
    .await;
    let deadline = Duration::from_millis(200);
    let hung = egress(&[], true).unwrap().exchange(Request { deadline, ..get(&format!("https://{address}/")) }).await;
    assert_eq!(hung.result.unwrap_err().class(), ErrorClass::Timeout);
    let Phases { dns_us, connect_us, tls_us, first_byte_us } = hung.phases;
    assert!((150_000..1_200_000).contains(&tls_us.unwrap()), "{:?}", hung.phases);
    assert!(connect_us.unwrap() < tls_us.unwrap() && dns_us.is_none() && first_byte_us.is_none(), "{:?}", hung.phases);
    assert_eq!(hung.address, Some(address));
}

#[tokio::test]
async fn what_goes_on_without_content_ends_long_before_the_deadline() {
    let table: [(&'static [u8], &'static [u8]); 3] = [
        (b"", b"HTTP/1.1 102 Processing\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"0"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1", b" "),
    ];
    for (beginning, piece) in table {
        let address = listen(move |mut stream| async move {
            let endless = piece.repeat(4096);
            stream.read_exact(&mut [0; 16]).await.unwrap();
            let mut sent = stream.write_all(beginning).await;
            while sent.is_ok() {
                sent = stream.write_all(&endless).await;
            }
        })
        .await;
        let begun = Instant::now();
        let error = egress(&[], true).unwrap().exchange(get(&format!("http://{address}/"))).await.result.unwrap_err();
        assert_eq!(error.class(), ErrorClass::Protocol, "{error}");
        assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    }
}

#[test]
fn every_failure_has_a_class_of_its_own() {
    let words = String::new;
    let errors = [
        EgressError::Malformed(words()),
        EgressError::Forbidden { host: words(), address: [10, 0, 0, 1].into() },
        EgressError::Unresolved { host: words(), reason: words() },
        EgressError::Connect(words()),
        EgressError::Tls(words()),
        EgressError::Deadline(Duration::ZERO),
        EgressError::Broken(words()),
        EgressError::Protocol(words()),
    ];
    assert_eq!(errors.map(|error| error.class()), ErrorClass::ALL);
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_is_not_used() {
    let address = listen(|stream| answer(stream, 1, OK)).await;
    let (egress, here) = (egress(&[], true).unwrap(), format!("http://{address}/"));
    for _ in 0..3 {
        let exchange = egress.exchange(get(&here)).await;
        assert!(exchange.result.is_ok() && exchange.phases.connect_us.is_some(), "{exchange:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn an_answer_longer_than_what_is_kept_leaves_the_connection_usable() {
    let long = format!("HTTP/1.1 200 OK\r\ncontent-length: 60000\r\n\r\n{}", "x".repeat(60_000));
    let long: &'static [u8] = Vec::leak(long.into_bytes());
    let address = listen(move |stream| answer(stream, 9, long)).await;
    let (egress, here) = (egress(&[], true).unwrap(), format!("http://{address}/"));
    for reused in [false, true] {
        let exchange = egress.exchange(get(&here)).await;
        assert_eq!(exchange.phases.connect_us.is_none(), reused);
        let answer = exchange.result.unwrap();
        assert_eq!((answer.body.len(), answer.cut), (1024, true));
    }
}

#[tokio::test]
async fn an_exchange_that_is_given_up_takes_its_connection_along() {
    let (ended, mut end) = tokio::sync::mpsc::unbounded_channel();
    let address = listen(move |mut stream| {
        let ended = ended.clone();
        async move {
            // Nothing is read at first, so that the request stands half written when its time has passed.
            tokio::time::sleep(Duration::from_millis(200)).await;
            let (mut buffer, mut came) = (vec![0; 64 * 1024], 0);
            while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                came += read;
            }
            ended.send(came).unwrap();
        }
    })
    .await;
    let body = Bytes::from(vec![b'x'; 64 * 1024 * 1024]);
    let deadline = Duration::from_millis(50);
    let request = Request { method: "POST".to_owned(), body, deadline, ..get(&format!("http://{address}/")) };
    let egress = egress(&[], true).unwrap();
    let begun = Instant::now();
    assert_eq!(egress.exchange(request).await.result.unwrap_err().class(), ErrorClass::Timeout);
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    let came = tokio::time::timeout(Duration::from_secs(5), end.recv()).await.unwrap().unwrap();
    assert!(came < 32 * 1024 * 1024, "{came} bytes came: the connection outlived its exchange");
}
