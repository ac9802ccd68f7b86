//! Attempts of a delivery, as their rows. They are written where their delivery is settled.

use std::net::AddrParseError;

use bytes::Bytes;
use sqlx::{FromRow, QueryBuilder};

use super::Deliveries;
use crate::model::{Attempt, AttemptOutcome, DeliveryId, ErrorClass, Millis, Phases};
use crate::store::StoreError;
use crate::store::bulk::portions;
use crate::store::column::{text, unknown};
use crate::store::pool::{Tx, on};
use crate::store::sql::statements;

statements! {
    ATTEMPTS = "SELECT a.started_at, a.took_ms, a.outcome, a.status, a.error, a.class, a.dns_us, a.connect_us, a.tls_us,
            a.first_byte_us, a.address, a.answer
        FROM attempts a JOIN deliveries d ON d.id = a.delivery_id JOIN sessions s ON s.id = d.session_id
        WHERE s.owner BETWEEN $1 AND $2 AND a.delivery_id = $3 ORDER BY a.number";
}

impl Deliveries<'_> {
    /// The attempts of a delivery, oldest first.
    pub async fn attempts(&self, delivery: &DeliveryId) -> Result<Vec<Attempt>, StoreError> {
        let (low, high) = self.1.owners();
        let rows: Vec<AttemptRow> = on!(self.0.readers(), |db, q| {
            sqlx::query_as(q(ATTEMPTS)).bind(low).bind(high).bind(delivery).fetch_all(db).await?
        });
        rows.into_iter().map(AttemptRow::into_attempt).collect()
    }
}

/// An attempt as its columns.
#[derive(Debug, FromRow)]
pub(super) struct AttemptRow {
    started_at: Millis,
    took_ms: i64,
    outcome: String,
    status: Option<i64>,
    error: Option<String>,
    /// Null in rows from before there were classes.
    class: Option<String>,
    dns_us: Option<i64>,
    connect_us: Option<i64>,
    tls_us: Option<i64>,
    first_byte_us: Option<i64>,
    address: Option<String>,
    answer: Option<Vec<u8>>,
}

impl AttemptRow {
    pub(super) fn of(attempt: Attempt) -> Self {
        let Attempt { started_at, took_ms, phases, address, outcome, answer } = attempt;
        let (outcome, status, error, class) = match outcome {
            AttemptOutcome::Accepted { status } => ("accepted", Some(status), None, None),
            AttemptOutcome::Refused { status } => ("refused", Some(status), None, None),
            AttemptOutcome::Unanswered { class, error } => ("unanswered", None, Some(error), Some(class)),
        };
        let Phases { dns_us, connect_us, tls_us, first_byte_us } = phases;
        let answer = answer.slice(..answer.len().min(Attempt::ANSWER_KEPT));
        Self {
            started_at,
            took_ms,
            outcome: outcome.to_owned(),
            status: status.map(i64::from),
            error: error.map(|error| text(&error).into_owned()),
            class: class.map(|class| class.name().to_owned()),
            dns_us,
            connect_us,
            tls_us,
            first_byte_us,
            address: address.map(|address| address.to_string()),
            answer: (!answer.is_empty()).then(|| answer.into()),
        }
    }

    fn into_attempt(self) -> Result<Attempt, StoreError> {
        let Self { started_at, took_ms, outcome, error, class, dns_us, connect_us, tls_us, first_byte_us, .. } = self;
        let status = self.status.and_then(|status| u16::try_from(status).ok());
        let outcome = match (outcome.as_str(), status, error) {
            ("accepted", Some(status), _) => AttemptOutcome::Accepted { status },
            ("refused", Some(status), _) => AttemptOutcome::Refused { status },
            ("unanswered", _, Some(error)) => {
                let class = class.as_deref().map_or(Ok(ErrorClass::Broken), class_named)?;
                AttemptOutcome::Unanswered { class, error }
            }
            _ => return Err(unknown("attempt outcome", &outcome)),
        };
        let address = self.address.map(|address| address.parse()).transpose();
        let address = address.map_err(|error: AddrParseError| sqlx::Error::Decode(error.into()))?;
        let phases = Phases { dns_us, connect_us, tls_us, first_byte_us };
        let answer = self.answer.map_or_else(Bytes::new, Bytes::from);
        Ok(Attempt { started_at, took_ms, phases, address, outcome, answer })
    }

    /// About how many bytes its columns take.
    fn bytes(&self) -> usize {
        self.error.as_ref().map_or(0, String::len) + self.answer.as_ref().map_or(0, Vec::len)
    }
}

/// An attempt, of which delivery, and its number there.
pub(super) type Numbered<'a> = (&'a DeliveryId, u32, &'a AttemptRow);

/// Adds attempts.
pub(super) async fn add(tx: &mut Tx, attempts: &[Numbered<'_>]) -> Result<(), StoreError> {
    for portion in portions(attempts, |(.., attempt)| attempt.bytes()) {
        on!(&mut *tx, |db, _q| {
            let mut insert = QueryBuilder::new(
                "INSERT INTO attempts (delivery_id, number, started_at, took_ms, outcome, status, error, class, dns_us,
                    connect_us, tls_us, first_byte_us, address, answer) ",
            );
            insert.push_values(portion, |mut row, (delivery, number, attempt)| {
                row.push_bind(delivery).push_bind(i64::from(*number)).push_bind(attempt.started_at);
                row.push_bind(attempt.took_ms).push_bind(&attempt.outcome).push_bind(attempt.status);
                row.push_bind(&attempt.error).push_bind(&attempt.class).push_bind(attempt.dns_us);
                row.push_bind(attempt.connect_us).push_bind(attempt.tls_us).push_bind(attempt.first_byte_us);
                row.push_bind(&attempt.address).push_bind(&attempt.answer);
            });
            insert.build().execute(db).await?;
        });
    }
    Ok(())
}

fn class_named(name: &str) -> Result<ErrorClass, StoreError> {
    ErrorClass::ALL.into_iter().find(|class| class.name() == name).ok_or_else(|| unknown("error class", name))
}
