//! Patches of webhooks.

use serde_json::{Map, Value, json};

use super::{PatchError, check};
use crate::plugin::api::v1::types::Pair;
use crate::plugin::api::v1::webhook_transform::{Body, Delivery, DeliveryPatch};

/// Longest body a plugin can make, in bytes.
pub(in crate::plugin) const LONGEST_BODY: usize = 1 << 20;
const HEADERS: usize = 32;
const LONGEST_HEADER_NAME: usize = 64;
const LONGEST_HEADER: usize = 4 << 10;
const LONGEST_CONTENT_TYPE: usize = 256;
const LONGEST_SUFFIX: usize = 512;

/// Puts a patch in place: all of it, or nothing. `suffix` is the path suffix so far.
pub(in crate::plugin) fn shape(
    patch: DeliveryPatch,
    delivery: &mut Delivery,
    suffix: &mut String,
) -> Result<(), PatchError> {
    let DeliveryPatch { body, content_type, set_headers, remove_headers, path_suffix } = patch;
    if let Some(body) = &body {
        check(length(body) <= LONGEST_BODY, "body: more than 1048576 bytes")?;
    }
    if let Some(content_type) = &content_type {
        check(is_content_type(content_type), "content-type: write it as type/subtype, for example application/json")?;
    }
    check(set_headers.len() <= HEADERS, "set-headers: more than 32")?;
    check(remove_headers.len() <= HEADERS, "remove-headers: more than 32")?;
    let sound = remove_headers.iter().all(|name| name.len() <= LONGEST_HEADER_NAME);
    check(sound, "remove-headers: a name has at most 64 bytes")?;
    let mut headers = delivery.headers.clone();
    headers.retain(|header| !remove_headers.iter().any(|name| name.eq_ignore_ascii_case(&header.name)));
    for Pair { name, value } in set_headers {
        let name = name.to_ascii_lowercase();
        check(is_token(&name) && name.len() <= LONGEST_HEADER_NAME, "set-headers: a name is no HTTP header")?;
        if is_gateways_own(&name) {
            return Err(PatchError::new(format!("set-headers: {name} is the gateway's own")));
        }
        let sound = value.len() <= LONGEST_HEADER && value.bytes().all(|b| b == b'\t' || (b' '..=b'~').contains(&b));
        check(sound, "set-headers: a value is printable ASCII of at most 4096 bytes")?;
        headers.retain(|header| header.name != name);
        headers.push(Pair { name, value });
    }
    check(headers.len() <= HEADERS, "set-headers: the webhook would have more than 32")?;
    let path = path_suffix.map(|suffix| path(&suffix)).transpose()?;
    delivery.headers = headers;
    *suffix = path.unwrap_or_else(|| std::mem::take(suffix));
    if let Some(body) = body {
        delivery.body = body;
    }
    if let Some(content_type) = content_type {
        delivery.content_type = content_type;
    }
    Ok(())
}

fn length(body: &Body) -> usize {
    match body {
        Body::Text(text) => text.len(),
        Body::Binary(bytes) => bytes.len(),
    }
}

/// Whether a header belongs to the gateway: it frames or signs the request, or belongs to the connection. Content types
/// have a field of their own.
pub(in crate::plugin) fn is_gateways_own(name: &str) -> bool {
    const NAMES: [&str; 10] = [
        "host",
        "connection",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "expect",
        "proxy-connection",
        "proxy-authorization",
    ];
    let name = name.to_ascii_lowercase();
    NAMES.contains(&name.as_str()) || ["webhook-", "content-"].iter().any(|prefix| name.starts_with(prefix))
}

/// A token of RFC 9110, section 5.6.2.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// `type/subtype`, parameters after it.
fn is_content_type(text: &str) -> bool {
    let essence = text.split(';').next().unwrap_or_default();
    let parts = essence.trim_end_matches(' ').split_once('/');
    text.len() <= LONGEST_CONTENT_TYPE
        && parts.is_some_and(|(kind, subtype)| is_token(kind) && is_token(subtype))
        && text.bytes().all(|b| (b' '..=b'~').contains(&b))
}

/// The suffix with one slash before it: segments that stay below the path they are appended to.
fn path(suffix: &str) -> Result<String, PatchError> {
    check(suffix.len() <= LONGEST_SUFFIX, "path-suffix: more than 512 bytes")?;
    let segments = suffix.strip_prefix('/').unwrap_or(suffix);
    if segments.is_empty() {
        return Ok(String::new());
    }
    let sound = segments.split('/').all(is_segment);
    check(sound, "path-suffix: write segments such as orders/new, without . or .., ?, # or encoded slashes")?;
    Ok(format!("/{segments}"))
}

/// A segment of RFC 3986, section 3.3, that is neither empty nor a step elsewhere.
fn is_segment(segment: &str) -> bool {
    let lower = segment.to_ascii_lowercase();
    let plain = lower.replace("%2e", ".");
    let mut escapes = lower.split('%').skip(1);
    let escaped = escapes.all(|escape| {
        let code = escape.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        code.is_some_and(|byte| !byte.is_ascii_control() && !matches!(byte, b'/' | b'\\'))
    });
    let sound = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@%".contains(&b);
    !plain.is_empty() && plain != "." && plain != ".." && escaped && segment.bytes().all(sound)
}

/// The patch as the trace shows it: what is new, by field; the body by its length, headers by their names, which are
/// not secret.
pub(in crate::plugin) fn shown(patch: &DeliveryPatch) -> Value {
    let DeliveryPatch { body, content_type, set_headers, remove_headers, path_suffix } = patch;
    let names: Vec<&str> = set_headers.iter().map(|header| header.name.as_str()).collect();
    let fields = [
        ("body_bytes", body.as_ref().map(|body| json!(length(body)))),
        ("content_type", content_type.as_ref().map(|content_type| json!(content_type))),
        ("set_headers", (!names.is_empty()).then(|| json!(names))),
        ("remove_headers", (!remove_headers.is_empty()).then(|| json!(remove_headers))),
        ("path_suffix", path_suffix.as_ref().map(|suffix| json!(suffix))),
    ];
    let fields: Map<_, _> = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
    Value::Object(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery() -> Delivery {
        Delivery {
            event_type: "message.received".to_owned(),
            event_id: "evt_1".to_owned(),
            session: "ses_1".to_owned(),
            endpoint_id: "end_1".to_owned(),
            endpoint_name: Some("default".to_owned()),
            occurred_at: 0,
            event: "{}".to_owned(),
            body: Body::Text("{}".to_owned()),
            content_type: "application/json".to_owned(),
            headers: vec![pair("x-a", "1"), pair("x-b", "2")],
        }
    }

    fn pair(name: &str, value: &str) -> Pair {
        Pair { name: name.to_owned(), value: value.to_owned() }
    }

    fn patch() -> DeliveryPatch {
        DeliveryPatch { body: None, content_type: None, set_headers: vec![], remove_headers: vec![], path_suffix: None }
    }

    fn headers(names: &[(&str, &str)]) -> DeliveryPatch {
        DeliveryPatch { set_headers: names.iter().map(|(name, value)| pair(name, value)).collect(), ..patch() }
    }

    #[test]
    fn changes_what_it_names_and_keeps_the_rest() {
        let (mut after, mut suffix) = (delivery(), String::new());
        let change = DeliveryPatch {
            body: Some(Body::Binary(vec![1, 2])),
            content_type: Some("text/plain; charset=utf-8".to_owned()),
            set_headers: vec![pair("X-C", "3"), pair("x-b", "4")],
            remove_headers: vec!["X-A".to_owned()],
            path_suffix: Some("orders/new".to_owned()),
        };
        assert_eq!(shown(&change)["body_bytes"], 2);
        shape(change, &mut after, &mut suffix).unwrap();
        let names: Vec<_> = after.headers.iter().map(|h| (h.name.as_str(), h.value.as_str())).collect();
        assert_eq!(names, [("x-c", "3"), ("x-b", "4")]);
        assert_eq!((suffix.as_str(), after.content_type.as_str()), ("/orders/new", "text/plain; charset=utf-8"));
        shape(patch(), &mut after, &mut suffix).unwrap();
        assert_eq!(suffix, "/orders/new");
    }

    #[test]
    fn refuses_headers_that_are_not_its_own_or_not_sound() {
        for (name, value) in [
            ("webhook-signature", "v1,x"),
            ("Webhook-Id", "x"),
            ("Content-Length", "1"),
            ("content-type", "a/b"),
            ("host", "evil.example"),
            ("Transfer-Encoding", "chunked"),
            ("connection", "close"),
            ("", "x"),
            ("a b", "x"),
            ("x:y", "x"),
            ("x-a", "line\r\nevil: yes"),
            ("x-a", "ä"),
        ] {
            let (mut after, mut suffix) = (delivery(), String::new());
            assert!(shape(headers(&[(name, value)]), &mut after, &mut suffix).is_err(), "{name}: {value}");
            assert_eq!(after.headers.len(), 2, "nothing of it is kept");
        }
        assert!(shape(headers(&[("authorization", "Bearer x")]), &mut delivery(), &mut String::new()).is_ok());
        let many: Vec<_> = (0..31).map(|n| (n.to_string(), String::new())).collect();
        let many: Vec<_> = many.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert!(shape(headers(&many), &mut delivery(), &mut String::new()).is_err(), "33 in all");
    }

    #[test]
    fn a_suffix_stays_below_the_path() {
        for (given, kept) in [("a/b", "/a/b"), ("/a", "/a"), ("", ""), ("/", ""), ("a%20b:c@d", "/a%20b:c@d")] {
            assert_eq!(path(given).as_deref(), Ok(kept));
        }
        for bad in [
            "..",
            "a/../b",
            ".",
            "a//b",
            "//evil.example",
            "a?b",
            "a#b",
            "a\\b",
            "%2e%2e/a",
            "a/.%2E",
            "a%2fb",
            "a%5Cb",
            "a%",
            "a%0ab",
            "a b",
            "ä",
            "a/",
            &"x".repeat(513),
        ] {
            assert!(path(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn content_types_have_two_parts() {
        for good in ["application/json", "text/plain; charset=utf-8", "application/vnd.a+json"] {
            assert!(is_content_type(good), "{good}");
        }
        for bad in ["", "json", "/json", "a/", "a/b c", "a/b\r\n", "a/b;\nx", &format!("a/{}", "b".repeat(300))] {
            assert!(!is_content_type(bad), "{bad}");
        }
    }

    #[test]
    fn a_body_has_a_limit() {
        let sized = |size| DeliveryPatch { body: Some(Body::Text("x".repeat(size))), ..patch() };
        assert!(shape(sized(LONGEST_BODY), &mut delivery(), &mut String::new()).is_ok());
        assert!(shape(sized(LONGEST_BODY + 1), &mut delivery(), &mut String::new()).is_err());
    }
}
