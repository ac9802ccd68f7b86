//! One attempt, from a claimed row to a settled one, as four types: what exists at each point is what the type holds.
//!
//! ```text
//! Due ──sign──▶ Signed ──post──▶ Answered ──judge──▶ Settled ──record──▶ row
//! ```
//!
//! Only `post` and `record` touch the world, and no transaction is open during `post`.
//!
//! Invariants: the body that is posted is the stored one, byte for byte, under the delivery's own id; no stored header
//! takes the place of one of ours, and no stored path leaves the endpoint's.

use std::time::{Duration, Instant};

use url::Url;

use super::{retry, sign};
use crate::egress::{Answer, Egress, EgressError, Request};
use crate::model::{Attempt, AttemptOutcome, Delivery, DeliveryId, EndpointId, Millis, SessionId};
use crate::store::deliveries::Settlement;
use crate::store::{Store, StoreError};

/// Bytes read of an answer. Its content decides nothing; reading it lets the connection be used again.
const ANSWER_LIMIT: usize = 64 * 1024;

/// A claimed delivery.
#[derive(Debug)]
pub(super) struct Due(pub(super) Delivery);

/// A request ready for the wire.
#[derive(Debug)]
pub(super) struct Signed {
    claim: Claim,
    request: Request,
    started_at: Millis,
}

/// What the receiver made of it.
#[derive(Debug)]
pub(super) struct Answered {
    claim: Claim,
    attempt: Attempt,
    retry_after: Option<Duration>,
}

/// What is to be written.
#[derive(Debug)]
pub(super) struct Settled {
    pub(super) claim: Claim,
    pub(super) attempt: Attempt,
    pub(super) then: Settlement,
}

/// The claim under which an attempt runs, and what the log calls it.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    pub(super) delivery: DeliveryId,
    pub(super) endpoint: EndpointId,
    pub(super) session: SessionId,
    pub(super) epoch: i64,
    /// Attempts made before this one.
    pub(super) earlier: u32,
}

impl Due {
    /// Signs the stored body at `now`. A delivery that cannot be signed is answered already: nothing goes out.
    pub(super) fn sign(self, now: Millis, deadline: Duration) -> Result<Signed, Box<Answered>> {
        let Self(delivery) = self;
        let claim = Claim {
            delivery: delivery.id,
            endpoint: delivery.endpoint.id,
            session: delivery.endpoint.session,
            epoch: delivery.epoch,
            earlier: delivery.attempts,
        };
        let shape = delivery.shape;
        let signature = match sign::headers(&delivery.endpoint.secret, &claim.delivery, now, &shape.body) {
            Ok(headers) => headers,
            Err(error) => return Err(Box::new(Answered::unanswered(claim, now, &error.to_string()))),
        };
        let mut headers = vec![("content-type".to_owned(), shape.content_type)];
        headers.extend(signature);
        let free = |(name, _): &(String, String)| !headers.iter().any(|(ours, _)| ours.eq_ignore_ascii_case(name));
        let theirs: Vec<_> = shape.headers.into_iter().filter(free).collect();
        headers.extend(theirs);
        let request = Request {
            method: "POST".to_owned(),
            url: below(delivery.endpoint.url.url(), &shape.path_suffix),
            headers,
            body: shape.body,
            deadline,
            answer_limit: ANSWER_LIMIT,
        };
        Ok(Signed { claim, request, started_at: now })
    }
}

/// The address with these segments after its path: where a webhook with this path suffix is posted. Segments are escaped,
/// once, and `.` and `..` left out, so that the result lies below the address whatever the suffix holds.
pub fn below(address: &Url, suffix: &str) -> Url {
    let mut url = address.clone();
    if let (false, Ok(mut path)) = (suffix.is_empty(), url.path_segments_mut()) {
        path.pop_if_empty().extend(suffix.split('/').filter(|segment| !segment.is_empty()).map(unescaped));
    }
    url
}

/// A segment without its escapes, but those of control characters; as it is, where they make no text.
fn unescaped(segment: &str) -> String {
    let (mut bytes, mut rest) = (Vec::with_capacity(segment.len()), segment);
    while let Some((before, after)) = rest.split_once('%') {
        bytes.extend_from_slice(before.as_bytes());
        let digits = after.get(..2).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        let byte = byte.filter(|byte| !byte.is_ascii_control());
        bytes.push(byte.unwrap_or(b'%'));
        rest = byte.and_then(|_| after.get(2..)).unwrap_or(after);
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8(bytes).unwrap_or_else(|_no_text| segment.to_owned())
}

impl Signed {
    /// Posts it and waits for the answer, at most the deadline given to [`Due::sign`].
    pub(super) async fn post(self, egress: &Egress) -> Answered {
        let begun = Instant::now();
        let result = egress.exchange(self.request).await;
        let took_ms = i64::try_from(begun.elapsed().as_millis()).unwrap_or(i64::MAX);
        Answered::new(self.claim, self.started_at, took_ms, result)
    }
}

impl Answered {
    fn new(claim: Claim, started_at: Millis, took_ms: i64, result: Result<Answer, EgressError>) -> Self {
        let ended = started_at.after(Duration::from_millis(u64::try_from(took_ms).unwrap_or(0)));
        let (outcome, retry_after) = match result {
            Ok(Answer { status, .. }) if (200..300).contains(&status) => (AttemptOutcome::Accepted { status }, None),
            Ok(answer) => {
                let asked = answer.header("retry-after").and_then(|header| retry::asked(header, ended));
                (AttemptOutcome::Refused { status: answer.status }, asked)
            }
            Err(error) => (AttemptOutcome::Unanswered { error: error.to_string() }, None),
        };
        Self { claim, attempt: Attempt { started_at, took_ms, outcome }, retry_after }
    }

    fn unanswered(claim: Claim, at: Millis, error: &str) -> Self {
        let outcome = AttemptOutcome::Unanswered { error: error.to_owned() };
        Self { claim, attempt: Attempt { started_at: at, took_ms: 0, outcome }, retry_after: None }
    }

    /// Decides what becomes of the delivery at `now`; `dice` in `0.0..1.0` spreads the retries.
    pub(super) fn judge(self, now: Millis, dice: f64) -> Settled {
        let then = retry::next(&self.attempt.outcome, self.claim.earlier, self.retry_after, now, dice);
        Settled { claim: self.claim, attempt: self.attempt, then }
    }
}

impl Settled {
    /// Writes it, unless the claim is no longer the newest (`false`).
    pub(super) async fn record(&self, store: &Store) -> Result<bool, StoreError> {
        let deliveries = store.deliveries(crate::model::Scope::gateway());
        deliveries.settle(&self.claim.delivery, self.claim.epoch, &self.attempt, self.then).await
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::model::{Endpoint, Shape};

    const NOW: Millis = Millis(1_700_000_000_000);
    const DEADLINE: Duration = Duration::from_secs(15);

    fn due(secret: &str, attempts: u32) -> Due {
        Due(Delivery {
            id: "dlv_1".parse().unwrap(),
            event: "evt_1".parse().unwrap(),
            endpoint: Endpoint {
                id: "end_1".parse().unwrap(),
                session: "ses_1".parse().unwrap(),
                name: "default".to_owned(),
                url: "https://example.org/hook".parse().unwrap(),
                secret: secret.into(),
            },
            shape: Shape::json("{\"a\": 1}"),
            attempts,
            epoch: 7,
            created_at: NOW,
        })
    }

    fn answered(status: u16, headers: &[(&str, &str)]) -> Answered {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let answer = Answer { status, headers, body: Bytes::new(), cut: false };
        let claim = due("whsec_AAAA", 0).sign(NOW, DEADLINE).unwrap().claim;
        Answered::new(claim, NOW, 12, Ok(answer))
    }

    #[test]
    fn a_signed_request_carries_the_stored_body_and_the_delivery_s_id() {
        let signed = due("whsec_AAAA", 3).sign(NOW, DEADLINE).unwrap();
        assert_eq!(signed.request.body, "{\"a\": 1}");
        assert_eq!((signed.claim.epoch, signed.claim.earlier), (7, 3));
        let header = |name: &str| signed.request.headers.iter().find(|(known, _)| known == name).unwrap().1.clone();
        assert_eq!(header("content-type"), "application/json");
        assert_eq!(header("webhook-id"), "dlv_1");
        assert_eq!(header("webhook-timestamp"), "1700000000");
    }

    #[test]
    fn a_shape_sets_type_headers_and_path_but_none_of_our_headers() {
        let mut due = due("whsec_AAAA", 0);
        let pairs = [("x-kind", "invoice"), ("Webhook-Id", "forged"), ("webhook-signature", "v1,forged")];
        due.0.shape = Shape {
            body: Bytes::from_static(b"\xff\x00"),
            content_type: "application/cbor".to_owned(),
            headers: pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
            path_suffix: "/tickets/4 2".to_owned(),
        };
        let signed = due.sign(NOW, DEADLINE).unwrap().request;
        assert_eq!(signed.url.as_str(), "https://example.org/hook/tickets/4%202");
        assert_eq!(signed.body, b"\xff\x00"[..]);
        let names: Vec<&str> = signed.headers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["content-type", "webhook-id", "webhook-timestamp", "webhook-signature", "x-kind"]);
        assert_eq!((signed.headers[0].1.as_str(), signed.headers[1].1.as_str()), ("application/cbor", "dlv_1"));
    }

    #[test]
    fn a_suffix_stays_below_the_endpoint_s_path() {
        let table = [
            ("https://example.org", "a/b", "https://example.org/a/b"),
            ("https://example.org/hook/?key=1", "a", "https://example.org/hook/a?key=1"),
            ("https://example.org/hook", "../../admin", "https://example.org/hook/admin"),
            ("https://example.org/hook", "//evil.example/x", "https://example.org/hook/evil.example/x"),
            ("https://example.org/hook", "a?b#c", "https://example.org/hook/a%3Fb%23c"),
            ("https://example.org/hook", "%2e%2e/x", "https://example.org/hook/x"),
            ("https://example.org/hook", "%252e%252e/x", "https://example.org/hook/%252e%252e/x"),
            ("https://example.org/hook", "a%20b:c@d/%C3%A9", "https://example.org/hook/a%20b:c@d/%C3%A9"),
            ("https://example.org/hook", "a%2F..%2fb", "https://example.org/hook/a%2F..%2Fb"),
            ("https://example.org/hook", ".%09./%FF", "https://example.org/hook/.%2509./%25FF"),
            ("https://example.org/hook", "100%/%+f", "https://example.org/hook/100%25/%25+f"),
            ("https://example.org/hook", "", "https://example.org/hook"),
        ];
        for (address, suffix, expected) in table {
            assert_eq!(below(&address.parse().unwrap(), suffix).as_str(), expected, "{suffix}");
        }
    }

    #[test]
    fn a_delivery_that_cannot_be_signed_is_retried_with_the_reason() {
        let settled = due("nonsense", 0).sign(NOW, DEADLINE).unwrap_err().judge(NOW, 0.0);
        assert!(matches!(settled.attempt.outcome, AttemptOutcome::Unanswered { error } if error.contains("secret")));
        assert_eq!(settled.then, Settlement::Retry(Millis(NOW.0 + 5_000)));
    }

    #[test]
    fn answers_become_settlements() {
        assert_eq!(answered(200, &[]).judge(NOW, 0.0).then, Settlement::Delivered);
        assert_eq!(answered(302, &[]).judge(NOW, 0.0).then, Settlement::Retry(Millis(NOW.0 + 5_000)));
        assert_eq!(answered(410, &[("retry-after", "9")]).judge(NOW, 0.0).then, Settlement::Dead);
        let asked = answered(503, &[("retry-after", "60")]).judge(NOW, 0.0);
        assert_eq!(asked.then, Settlement::Retry(Millis(NOW.0 + 60_000)));
        assert_eq!(
            asked.attempt,
            Attempt { started_at: NOW, took_ms: 12, outcome: AttemptOutcome::Refused { status: 503 } }
        );
    }
}
