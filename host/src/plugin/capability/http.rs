//! `http`: requests to granted hosts, through [`Egress`](crate::egress::Egress) like everything that leaves the gateway.
//!
//! Secrets need not be in the plugin: `{{secret:NAME}}` in a header's value is replaced here by that entry of the
//! binding's configuration.

use std::time::{Duration, Instant};

use bytes::Bytes;
use url::Url;

use crate::egress::{self, EgressError};
use crate::model::Grants;
use crate::plugin::api::v1::http::{Error, Host, Method, Request, Response};
use crate::plugin::api::v1::types::Pair;
use crate::plugin::patch::is_gateways_own;
use crate::plugin::state::{Settings, State};

/// Longest body, each way.
const LONGEST_BODY: usize = 1 << 20;
const HEADERS: usize = 64;
/// Longest value of a header, its secrets in place.
const LONGEST_HEADER: usize = 8 << 10;
const LONGEST_URL: usize = 8 << 10;
/// Kept of the call's time for the plugin to do something with the answer.
const MARGIN: Duration = Duration::from_millis(5);

impl Host for State {
    async fn send(&mut self, request: Request) -> Result<Response, Error> {
        let call = &mut self.call;
        let url = granted(&call.place.grants, &request.url)?;
        if call.requests >= call.place.limits.http_requests {
            return Err(Error::BudgetExhausted);
        }
        call.requests += 1;
        let request = egress_request(request, url, &call.place.settings, call.deadline)?;
        if call.rehearsal {
            return Err(Error::Other("this is a rehearsal: no request leaves the gateway".to_owned()));
        }
        let egress = call.outside.egress.clone();
        let answer = egress.exchange(request).await.result;
        let answer = answer.map_err(|error| told(&error))?;
        if answer.cut {
            return Err(Error::TooLarge(LONGEST_BODY as u64));
        }
        let headers = answer.headers.into_iter().map(|(name, value)| Pair { name, value }).collect();
        Ok(Response { status: answer.status, headers, body: answer.body.to_vec() })
    }
}

/// The address, when it may be reached.
fn granted(grants: &Grants, url: &str) -> Result<Url, Error> {
    if grants.http.is_empty() {
        return Err(Error::Denied("ask the operator for a grant such as http:api.example.org".to_owned()));
    }
    if url.len() > LONGEST_URL {
        return Err(Error::Invalid("the URL has more than 8192 bytes".to_owned()));
    }
    let url = Url::parse(url).map_err(|error| Error::Invalid(format!("the URL: {error}")))?;
    let clear = match url.scheme() {
        "https" => false,
        "http" => true,
        other => return Err(Error::Invalid(format!("{other} is not a scheme that can be reached; use https"))),
    };
    let host = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default().unwrap_or_default();
    if grants.http.iter().any(|grant| grant.admits(clear, host, port)) {
        return Ok(url);
    }
    let scheme = if clear { "http://" } else { "" };
    Err(Error::Denied(format!("ask the operator for the grant http:{scheme}{host}:{port}")))
}

fn egress_request(
    request: Request,
    url: Url,
    settings: &Settings,
    deadline: Instant,
) -> Result<egress::Request, Error> {
    let Request { method, headers, body, timeout_ms, .. } = request;
    let body = body.unwrap_or_default();
    if body.len() > LONGEST_BODY {
        return Err(Error::TooLarge(LONGEST_BODY as u64));
    }
    if headers.len() > HEADERS {
        return Err(Error::Invalid(format!("a request has at most {HEADERS} headers")));
    }
    let headers = headers.into_iter().map(|Pair { name, value }| {
        if is_gateways_own(&name) && !name.eq_ignore_ascii_case("content-type") {
            return Err(Error::Invalid(format!("the header {name} is the gateway's own")));
        }
        Ok((name, filled(&value, settings)?))
    });
    let left = deadline.saturating_duration_since(Instant::now()).saturating_sub(MARGIN);
    let wanted = timeout_ms.map_or(left, |ms| Duration::from_millis(ms.into()));
    if left.is_zero() {
        return Err(Error::Timeout);
    }
    Ok(egress::Request {
        method: word(method).to_owned(),
        url,
        headers: headers.collect::<Result<_, _>>()?,
        body: Bytes::from(body),
        deadline: wanted.min(left),
        answer_limit: LONGEST_BODY,
    })
}

const fn word(method: Method) -> &'static str {
    match method {
        Method::Get => "GET",
        Method::Post => "POST",
        Method::Put => "PUT",
        Method::Patch => "PATCH",
        Method::Delete => "DELETE",
        Method::Head => "HEAD",
    }
}

/// The value with its secrets in place.
fn filled(value: &str, settings: &Settings) -> Result<String, Error> {
    const OPEN: &str = "{{secret:";
    let (mut filled, mut rest) = (String::new(), value);
    let mut put = |part: &str| {
        if filled.len() + part.len() > LONGEST_HEADER {
            return Err(Error::Invalid(format!("a header's value has at most {LONGEST_HEADER} bytes")));
        }
        filled.push_str(part);
        Ok(())
    };
    while let Some((before, after)) = rest.split_once(OPEN) {
        let (name, after) = after
            .split_once("}}")
            .ok_or_else(|| Error::Invalid("a header's value holds {{secret: without the closing }}".to_owned()))?;
        let secret = settings.get(name);
        let secret = secret.ok_or_else(|| Error::Invalid(format!("the configuration has no member {name:?}")))?;
        put(before)?;
        put(&secret)?;
        rest = after;
    }
    put(rest)?;
    Ok(filled)
}

fn told(error: &EgressError) -> Error {
    match error {
        EgressError::Forbidden { .. } => Error::Denied(error.to_string()),
        EgressError::Malformed(_) => Error::Invalid(error.to_string()),
        EgressError::Deadline(_) => Error::Timeout,
        EgressError::Unresolved { .. }
        | EgressError::Connect(_)
        | EgressError::Tls(_)
        | EgressError::Broken(_)
        | EgressError::Protocol(_) => Error::Connect(error.to_string()),
        EgressError::AllowList(_) | EgressError::NoNats => Error::Other(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;

    fn settings() -> Settings {
        Settings::read(&SecretString::from(r#"{"token":"t0p","n":5}"#), None).unwrap()
    }

    fn request(headers: &[(&str, &str)]) -> Request {
        let pair = |(name, value): &(&str, &str)| Pair { name: (*name).to_owned(), value: (*value).to_owned() };
        Request {
            method: Method::Get,
            url: String::new(),
            headers: headers.iter().map(pair).collect(),
            body: None,
            timeout_ms: Some(60_000),
        }
    }

    fn made(headers: &[(&str, &str)]) -> Result<egress::Request, Error> {
        let url = Url::parse("https://api.example.org/").unwrap();
        egress_request(request(headers), url, &settings(), Instant::now() + Duration::from_secs(2))
    }

    #[test]
    fn reaches_granted_hosts_only() {
        let grants = Grants::parse(&["http:api.example.org", "http:*.shop.example"]).unwrap();
        for good in ["https://api.example.org/a?b", "https://API.example.org:443/", "https://x.shop.example/"] {
            assert!(granted(&grants, good).is_ok(), "{good}");
        }
        for bad in [
            "http://api.example.org/",
            "https://api.example.org:8443/",
            "https://api.example.org.evil.example/",
            "https://evil.example/?api.example.org",
            "https://user@evil.example/",
            "https://shop.example/",
        ] {
            assert!(matches!(granted(&grants, bad), Err(Error::Denied(_))), "{bad}");
        }
        for bad in ["", "api.example.org", "ftp://api.example.org/", "file:///etc/passwd"] {
            assert!(matches!(granted(&grants, bad), Err(Error::Invalid(_))), "{bad}");
        }
        assert!(matches!(granted(&Grants::default(), "https://api.example.org"), Err(Error::Denied(_))));
    }

    #[test]
    fn secrets_are_put_in_on_the_way_out() {
        let sent = made(&[("authorization", "Bearer {{secret:token}}"), ("x-n", "{{secret:n}}/{{secret:token}}")]);
        let headers = sent.unwrap().headers;
        assert_eq!(headers[0].1, "Bearer t0p");
        assert_eq!(headers[1].1, "5/t0p");
        for bad in ["{{secret:none}}", "{{secret:token"] {
            assert!(matches!(made(&[("a", bad)]), Err(Error::Invalid(_))), "{bad}");
        }
    }

    #[test]
    fn a_header_stays_short_however_often_it_names_a_secret() {
        let secrets = |times| "{{secret:token}}".repeat(times);
        assert_eq!(made(&[("a", &secrets(LONGEST_HEADER / 3))]).unwrap().headers[0].1.len(), LONGEST_HEADER / 3 * 3);
        for long in [secrets(LONGEST_HEADER / 3 + 1), "x".repeat(LONGEST_HEADER + 1)] {
            assert!(matches!(made(&[("a", &long)]), Err(Error::Invalid(_))));
        }
    }

    #[test]
    fn framing_headers_are_refused() {
        for bad in ["host", "Content-Length", "transfer-encoding", "connection"] {
            assert!(matches!(made(&[(bad, "x")]), Err(Error::Invalid(_))), "{bad}");
        }
        assert!(made(&[("Content-Type", "text/plain")]).is_ok());
    }

    #[test]
    fn waits_no_longer_than_the_call_may() {
        assert!(made(&[]).unwrap().deadline <= Duration::from_secs(2));
        let late = egress_request(request(&[]), Url::parse("https://a.b").unwrap(), &settings(), Instant::now());
        assert!(matches!(late, Err(Error::Timeout)));
    }
}
