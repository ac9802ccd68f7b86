//! One attempt, from a due delivery to a settled one, as four types: what exists at each point is what the type holds.
//!
//! ```text
//! Due ──sign──▶ Signed ──post──▶ Answered ──judge──▶ Settled ──▶ row
//! ```
//!
//! Only `post` touches the world.
//!
//! Invariants: the body that is posted is the stored one, byte for byte, under the delivery's own id; no header of a
//! plugin or an endpoint takes the place of one of ours, and no stored path leaves the endpoint's.

use std::iter;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::ExposeSecret as _;
use url::Url;

use super::lane::Answer as Verdict;
use super::{retry, sign};
use crate::egress::{Egress, Exchange, Request};
use crate::model::{
    Attempt, AttemptOutcome, Delivery, DeliveryId, Endpoint, EndpointId, ErrorClass, Millis, Phases, SessionId,
    WebhookUrl,
};
use crate::store::deliveries::{self, Settlement};

/// A delivery whose turn it is, and where it goes.
#[derive(Debug)]
pub(super) struct Due {
    pub(super) delivery: Delivery,
    pub(super) endpoint: Arc<Endpoint>,
}

/// A request ready for the wire.
#[derive(Debug)]
pub(super) struct Signed {
    of: Of,
    request: Request,
    started_at: Millis,
}

/// What the receiver made of it.
#[derive(Debug)]
pub(super) struct Answered {
    of: Of,
    attempt: Attempt,
    retry_after: Option<Duration>,
}

/// What is to be written.
#[derive(Debug)]
pub(super) struct Settled {
    pub(super) delivery: DeliveryId,
    pub(super) endpoint: EndpointId,
    pub(super) session: SessionId,
    /// Attempts made before this one.
    pub(super) earlier: u32,
    pub(super) attempt: Attempt,
    pub(super) then: Settlement,
}

/// The delivery an attempt is of.
#[derive(Clone, Debug)]
struct Of {
    delivery: DeliveryId,
    endpoint: EndpointId,
    session: SessionId,
    /// Attempts made before this one.
    earlier: u32,
    /// Of them, those before its schedule began anew.
    replayed_from: u32,
}

impl Due {
    /// Signs the stored body at `now`. A delivery that cannot be signed is answered already: nothing goes out.
    pub(super) fn sign(self, now: Millis, deadline: Duration) -> Result<Signed, Box<Answered>> {
        let Self { delivery, endpoint } = self;
        let of = Of {
            delivery: delivery.id,
            endpoint: delivery.endpoint,
            session: delivery.session,
            earlier: delivery.attempts,
            replayed_from: delivery.replayed_from,
        };
        let shape = delivery.shape;
        let signature = match sign::headers(endpoint.keys.at(now), &of.delivery, now, &shape.body) {
            Ok(headers) => headers,
            Err(error) => return Err(Box::new(Answered::unsigned(of, now, &error.to_string()))),
        };
        let mut headers = vec![("content-type".to_owned(), shape.content_type)];
        headers.extend(signature);
        if delivery.sequence > 0 {
            headers.push(("wagate-sequence".to_owned(), delivery.sequence.to_string()));
        }
        // The endpoint's own go before a plugin's.
        let own = endpoint.headers.iter().map(|(name, value)| (name.clone(), value.expose_secret().to_owned()));
        for (name, value) in own.chain(shape.headers) {
            if !headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(&name)) {
                headers.push((name, value));
            }
        }
        let request = Request {
            method: "POST".to_owned(),
            url: below(endpoint.url.url(), &shape.path_suffix),
            headers,
            body: shape.body,
            deadline,
            answer_limit: Attempt::ANSWER_KEPT,
        };
        Ok(Signed { of, request, started_at: now })
    }
}

/// The address with these segments after its path: where a webhook with this path suffix is posted. Segments are escaped,
/// once, and `.` and `..` left out, so that the result lies below the address whatever the suffix holds. On NATS they are
/// further words of the subject.
pub fn below(address: &Url, suffix: &str) -> Url {
    let mut url = address.clone();
    if url.scheme() == WebhookUrl::NATS {
        let words = suffix.split('/').filter(|segment| !matches!(*segment, "" | "." | ".."));
        let words = words.map(|word| utf8_percent_encode(&unescaped(word), SUBJECT).to_string());
        let subject = iter::once(url.path().to_owned()).chain(words).collect::<Vec<_>>().join(".");
        url.set_path(&subject);
    } else if let (false, Ok(mut path)) = (suffix.is_empty(), url.path_segments_mut()) {
        path.pop_if_empty().extend(suffix.split('/').filter(|segment| !segment.is_empty()).map(unescaped));
    }
    url
}

/// What a word of a subject on NATS is not made of.
const SUBJECT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'_').remove(b'-');

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
        let exchange = if self.request.url.scheme() == WebhookUrl::NATS {
            egress.publish(self.of.session.as_str(), self.request).await
        } else {
            egress.exchange(self.request).await
        };
        let took_ms = i64::try_from(begun.elapsed().as_millis()).unwrap_or(i64::MAX);
        Answered::new(self.of, self.started_at, took_ms, exchange)
    }
}

impl Answered {
    fn new(of: Of, started_at: Millis, took_ms: i64, exchange: Exchange) -> Self {
        let Exchange { result, phases, address } = exchange;
        let ended = started_at.after(Duration::from_millis(took_ms.unsigned_abs()));
        let (outcome, retry_after, answer) = match result {
            Ok(answer) if (200..300).contains(&answer.status) => {
                (AttemptOutcome::Accepted { status: answer.status }, None, answer.body)
            }
            Ok(answer) => {
                let asked = answer.header("retry-after").and_then(|header| retry::asked(header, ended));
                (AttemptOutcome::Refused { status: answer.status }, asked, answer.body)
            }
            Err(error) => {
                let outcome = AttemptOutcome::Unanswered { class: error.class(), error: error.to_string() };
                (outcome, None, Bytes::new())
            }
        };
        Self { of, attempt: Attempt { started_at, took_ms, phases, address, outcome, answer }, retry_after }
    }

    fn unsigned(of: Of, at: Millis, error: &str) -> Self {
        let outcome = AttemptOutcome::Unanswered { class: ErrorClass::Malformed, error: error.to_owned() };
        let phases = Phases::default();
        let attempt = Attempt { started_at: at, took_ms: 0, phases, address: None, outcome, answer: Bytes::new() };
        Self { of, attempt, retry_after: None }
    }

    /// Decides what becomes of the delivery at `now`; `dice` in `0.0..1.0` spreads the retries.
    pub(super) fn judge(self, now: Millis, dice: f64) -> Settled {
        let Of { delivery, endpoint, session, earlier, replayed_from } = self.of;
        let tries = earlier.saturating_sub(replayed_from);
        let then = retry::next(&self.attempt.outcome, tries, self.retry_after, now, dice);
        Settled { delivery, endpoint, session, earlier, attempt: self.attempt, then }
    }
}

impl Settled {
    /// As the store writes it.
    pub(super) fn row(&self) -> deliveries::Settled {
        deliveries::Settled {
            delivery: self.delivery.clone(),
            attempts: self.earlier,
            attempt: self.attempt.clone(),
            then: self.then,
        }
    }

    /// What it says about the receiver.
    pub(super) fn answer(&self) -> Verdict {
        match self.attempt.outcome {
            AttemptOutcome::Accepted { .. } => Verdict::Taken,
            AttemptOutcome::Refused { status: 410 } => Verdict::Gone,
            AttemptOutcome::Refused { status: 429 | 500..=599 } => Verdict::Ill,
            AttemptOutcome::Refused { .. } | AttemptOutcome::Unanswered { class: ErrorClass::Malformed, .. } => {
                Verdict::Refused
            }
            AttemptOutcome::Unanswered { .. } => Verdict::Ill,
        }
    }
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;
    use crate::egress::{Answer, EgressError};
    use crate::model::{DeadWhy, DeliveryOrder, EndpointLimits, EventFilter, Shape, SigningKey, UserId};

    const NOW: Millis = Millis(1_700_000_000_000);
    const DEADLINE: Duration = Duration::from_secs(15);

    fn endpoint(secret: &str) -> Endpoint {
        Endpoint {
            id: "end_1".parse().unwrap(),
            owner: UserId(1),
            session: Some("ses_1".parse().unwrap()),
            name: "default".to_owned(),
            description: String::new(),
            url: "https://example.org/hook".parse().unwrap(),
            events: EventFilter::default(),
            headers: vec![("x-token".to_owned(), "t0p".into()), ("webhook-id".to_owned(), "forged".into())],
            keys: vec![SigningKey { secret: SecretString::from(secret), until: None }].into(),
            order: DeliveryOrder::default(),
            limits: EndpointLimits::default(),
            disabled: None,
            succeeded_at: None,
            failing_since: None,
            created_at: NOW,
        }
    }

    fn due(secret: &str, attempts: u32) -> Due {
        let delivery = Delivery {
            id: "dlv_1".parse().unwrap(),
            event: "evt_1".parse().unwrap(),
            session: "ses_1".parse().unwrap(),
            endpoint: "end_1".parse().unwrap(),
            chat: None,
            sequence: 42,
            shape: Shape::json("{\"a\": 1}"),
            attempts,
            replayed_from: 0,
            created_at: NOW,
        };
        Due { delivery, endpoint: Arc::new(endpoint(secret)) }
    }

    fn after(result: Result<Answer, EgressError>) -> Settled {
        let of = due("whsec_AAAA", 0).sign(NOW, DEADLINE).unwrap().of;
        let exchange = Exchange { result, phases: Phases::default(), address: None };
        Answered::new(of, NOW, 12, exchange).judge(NOW, 0.0)
    }

    fn answered(status: u16, headers: &[(&str, &str)]) -> Settled {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        after(Ok(Answer { status, headers, body: Bytes::from_static(b"said"), cut: false }))
    }

    #[test]
    fn a_signed_request_carries_the_stored_body_and_the_delivery_s_id() {
        let signed = due("whsec_AAAA", 3).sign(NOW, DEADLINE).unwrap();
        assert_eq!(signed.request.body, "{\"a\": 1}");
        assert_eq!(signed.of.earlier, 3);
        let header = |name: &str| signed.request.headers.iter().find(|(known, _)| known == name).unwrap().1.clone();
        assert_eq!(header("content-type"), "application/json");
        assert_eq!(header("webhook-id"), "dlv_1");
        assert_eq!(header("webhook-timestamp"), "1700000000");
        assert_eq!(header("wagate-sequence"), "42");
        assert_eq!(header("x-token"), "t0p");
    }

    #[test]
    fn neither_plugin_nor_endpoint_sets_a_header_of_ours() {
        let mut due = due("whsec_AAAA", 0);
        let pairs =
            [("x-kind", "invoice"), ("Webhook-Id", "forged"), ("webhook-signature", "v1,forged"), ("X-Token", "no")];
        due.delivery.shape = Shape {
            body: Bytes::from_static(b"\xff\x00"),
            content_type: "application/cbor".to_owned(),
            headers: pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
            path_suffix: "/tickets/4 2".to_owned(),
        };
        let signed = due.sign(NOW, DEADLINE).unwrap().request;
        assert_eq!(signed.url.as_str(), "https://example.org/hook/tickets/4%202");
        assert_eq!(signed.body, b"\xff\x00"[..]);
        let names: Vec<&str> = signed.headers.iter().map(|(name, _)| name.as_str()).collect();
        let ours = ["content-type", "webhook-id", "webhook-timestamp", "webhook-signature", "wagate-sequence"];
        assert_eq!(names, [&ours[..], &["x-token", "x-kind"]].concat());
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
            ("nats:orders", "", "nats:orders"),
            ("nats:orders", "tickets/4 2/../x.y/>", "nats:orders.tickets.4%202.x%2Ey.%3E"),
            ("nats:orders", "%2e%2e/%2a", "nats:orders.%2E%2E.%2A"),
        ];
        for (address, suffix, expected) in table {
            assert_eq!(below(&address.parse().unwrap(), suffix).as_str(), expected, "{suffix}");
        }
    }

    #[test]
    fn a_delivery_that_cannot_be_signed_is_retried_with_the_reason() {
        let settled = due("nonsense", 0).sign(NOW, DEADLINE).unwrap_err().judge(NOW, 0.0);
        assert_eq!(settled.answer(), Verdict::Refused);
        assert!(
            matches!(settled.attempt.outcome, AttemptOutcome::Unanswered { error, .. } if error.contains("secret"))
        );
        assert_eq!(settled.then, Settlement::Retry(Millis(NOW.0 + 5_000)));
    }

    #[test]
    fn answers_become_settlements_and_say_how_the_receiver_is() {
        let table = [
            (200, Settlement::Delivered, Verdict::Taken),
            (302, Settlement::Retry(Millis(NOW.0 + 5_000)), Verdict::Refused),
            (404, Settlement::Retry(Millis(NOW.0 + 5_000)), Verdict::Refused),
            (410, Settlement::Dead(DeadWhy::Gone), Verdict::Gone),
            (429, Settlement::Retry(Millis(NOW.0 + 5_000)), Verdict::Ill),
            (503, Settlement::Retry(Millis(NOW.0 + 5_000)), Verdict::Ill),
        ];
        for (status, then, verdict) in table {
            let settled = answered(status, &[]);
            assert_eq!((settled.then, settled.answer()), (then, verdict), "{status}");
            assert_eq!(settled.attempt.answer, "said");
        }
        assert_eq!(answered(410, &[("retry-after", "9")]).then, Settlement::Dead(DeadWhy::Gone));
        assert_eq!(answered(503, &[("retry-after", "60")]).then, Settlement::Retry(Millis(NOW.0 + 60_000)));
        let silent = after(Err(EgressError::Deadline(DEADLINE)));
        assert_eq!(silent.answer(), Verdict::Ill);
        assert!(matches!(silent.attempt.outcome, AttemptOutcome::Unanswered { class: ErrorClass::Timeout, .. }));
    }

    #[test]
    fn a_replay_begins_the_schedule_anew() {
        let mut due = due("whsec_AAAA", 9);
        due.delivery.replayed_from = 9;
        let of = due.sign(NOW, DEADLINE).unwrap().of;
        let exchange =
            Exchange { result: Err(EgressError::Deadline(DEADLINE)), phases: Phases::default(), address: None };
        let settled = Answered::new(of, NOW, 12, exchange).judge(NOW, 0.0);
        assert_eq!((settled.then, settled.row().attempts), (Settlement::Retry(Millis(NOW.0 + 5_000)), 9));
    }
}
