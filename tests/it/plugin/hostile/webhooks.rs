//! Webhooks shaped so that they would be too large, go elsewhere, or carry another's headers.

use anyhow::Result;
use wagate_tests::component::{Body, DeliveryPatch, Outcome, Wat};

use super::bodies::SPIN;
use super::{Case, Scene, fails};

const PATCH: DeliveryPatch<'static> =
    DeliveryPatch { body: None, content_type: None, headers: &[], unset: &[], path_suffix: None };
const SUFFIX: &str = "its answer is not valid: path-suffix: ";
const OWN: &str = "its answer is not valid: set-headers: ";

fn shaping(patch: DeliveryPatch<'_>) -> Wat {
    Wat::new("shaper").shaping(&Outcome::Modify(patch))
}

fn headers(name: &'static str, headers: &[(&str, &str)], detail: &'static str) -> Case {
    fails(name, shaping(DeliveryPatch { headers, ..PATCH }), detail)
}

pub(super) async fn all() -> Result<()> {
    let scene = Scene::open().await?;
    for case in cases() {
        scene.shape(&case).await?;
    }
    scene.close().await;
    Ok(())
}

fn cases() -> Vec<Case> {
    let body = "x".repeat((1 << 20) + 1);
    let typed = |kind| shaping(DeliveryPatch { content_type: Some(kind), ..PATCH });
    let many: Vec<String> = (0..1_000).map(|n| format!("x-{n}")).collect();
    let many: Vec<_> = many.iter().map(|name| (name.as_str(), "1")).collect();
    let mut cases = vec![
        fails("panic", Wat::new("x").transform("unreachable"), "it crashed: it panicked or aborted"),
        fails("spin", Wat::new("x").transform(SPIN), "it used more than 50 ms of processor time (limit cpu_ms)"),
        fails(
            "huge-text",
            shaping(DeliveryPatch { body: Some(Body::Text(&body)), ..PATCH }),
            "its answer is not valid: body: ",
        ),
        fails(
            "huge-bytes",
            shaping(DeliveryPatch { body: Some(Body::Binary(body.as_bytes())), ..PATCH }),
            "its answer is not valid: body: more than 1048576 bytes",
        ),
        fails("no-type", typed("json"), "its answer is not valid: content-type: "),
        fails("split-type", typed("a/b\r\nevil: yes"), "its answer is not valid: content-type: "),
        headers(
            "signs",
            &[("webhook-signature", "v1,x")],
            "its answer is not valid: set-headers: webhook-signature is",
        ),
        headers(
            "hosts",
            &[("Host", "evil.example")],
            "its answer is not valid: set-headers: host is the gateway's own",
        ),
        headers("chunks", &[("Transfer-Encoding", "chunked")], OWN),
        headers("measures", &[("Content-Length", "1")], OWN),
        headers("splits", &[("x-a", "b\r\nevil: yes")], OWN),
        headers("splits-name", &[("x-a\r\nevil", "yes")], OWN),
        headers("nameless", &[("", "x")], OWN),
        headers("crowds", &many, "its answer is not valid: set-headers: more than 32"),
    ];
    for (name, suffix) in [
        ("climbs", "../admin"),
        ("climbs-in-code", "%2e%2e/admin"),
        ("asks", "a?b=c"),
        ("points", "a#b"),
        ("goes-elsewhere", "//evil.example/a"),
        ("names-a-host", "https://evil.example/"),
        ("hides-a-slash", "a%2fb"),
        ("breaks-a-line", "a\r\nb"),
    ] {
        cases.push(fails(name, shaping(DeliveryPatch { path_suffix: Some(suffix), ..PATCH }), SUFFIX));
    }
    cases
}
