//! Events as their owner looks at them: pages from the newest back, and onward from a place for live streams.
//!
//! Invariant: events become visible in the order of their places, because one writer gives them out and commits them. So
//! whoever goes on from a place misses nothing, whatever is stored meanwhile.

use sqlx::{FromRow, QueryBuilder};

use super::{EventRow, Events};
use crate::model::{Event, EventFilter, EventId, SessionId};
use crate::store::StoreError;
use crate::store::pool::on;
use crate::store::sql::statements;

statements! {
    END = "SELECT COALESCE(MAX(seq), 0) FROM events";
    /// Ids sort as they were given out, so an event that is gone still has a place.
    AT = "SELECT seq, id FROM events WHERE id <= $1 ORDER BY id DESC LIMIT 1";
}

/// The owners' range and conditions follow. The owner is looked up row by row: joined, it would tempt engines to begin
/// with the sessions and to sort.
macro_rules! events {
    ($what:literal) => {
        concat!(
            "SELECT ",
            $what,
            " FROM events e WHERE e.digest_until IS NULL
                AND (SELECT s.owner FROM sessions s WHERE s.id = e.session_id) BETWEEN "
        )
    };
}

const ROWS: &str = events!("e.seq, e.id, e.session_id, e.kind, e.payload, e.stored_at");

/// Of each session as many of the newest as are wanted, and of those the newest: whoever has few among many of others is
/// not kept waiting. The owners' range and [`NEWEST`] follow.
const OF_SESSIONS: &str = "SELECT e.seq, e.id, e.session_id, e.kind, e.payload, e.stored_at
    FROM sessions s JOIN events e ON e.session_id = s.id WHERE e.digest_until IS NULL AND s.owner BETWEEN ";
const NEWEST: &str = " AND e.seq >= COALESCE((SELECT n.seq FROM events n WHERE n.session_id = s.id";
const PLACES: &str = events!("e.seq");
const COUNT: &str = events!("COUNT(*)");

/// Which events are meant.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Of this session; of all when left out.
    pub session: Option<SessionId>,
    /// Of these kinds; of all when left out.
    pub kinds: Option<EventFilter>,
}

/// A place between two events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(i64);

/// What stands after a place.
#[derive(Debug)]
pub struct Onward {
    /// How many wanted events were left out, because too many wait.
    pub missed: u64,
    /// The next, oldest first.
    pub events: Vec<Event>,
    /// Where to go on.
    pub place: Place,
    /// Nothing is known to stand there.
    pub is_end: bool,
}

/// A page of events.
#[derive(Debug)]
pub struct EventPage {
    /// Newest first.
    pub events: Vec<Event>,
    /// The last of them, when there may be older ones.
    pub next: Option<EventId>,
}

#[derive(FromRow)]
struct PlacedRow {
    seq: i64,
    #[sqlx(flatten)]
    event: EventRow,
}

/// Adds the conditions of [`Wanted`] to a query over events that are called so, `e.` for instance.
macro_rules! push_wanted {
    ($query:ident, $wanted:expr, $name:literal) => {
        if let Some(session) = &$wanted.session {
            $query.push(concat!(" AND ", $name, "session_id = ")).push_bind(session);
        }
        if let Some(kinds) = &$wanted.kinds {
            $query.push(" AND (1 = 0");
            for pattern in kinds.patterns() {
                $query.push(concat!(" OR ", $name, "kind LIKE ")).push_bind(like(pattern)).push(" ESCAPE '!'");
            }
            $query.push(")");
        }
    };
}

/// Adds the owners' range, the conditions of [`Wanted`], and the two places between which the events stand.
macro_rules! push_between {
    ($query:ident, $owners:expr, $wanted:expr, $after:expr, $last:expr) => {
        $query.push_bind($owners.0).push(" AND ").push_bind($owners.1);
        push_wanted!($query, $wanted, "e.");
        $query.push(" AND e.seq > ").push_bind($after).push(" AND e.seq <= ").push_bind($last);
    };
}

/// Adds what a page goes on with.
macro_rules! push_page {
    ($query:ident, $before:expr, $name:literal) => {
        if let Some(Place(before)) = $before {
            $query.push(concat!(" AND ", $name, "seq < ")).push_bind(before);
        }
        $query.push(concat!(" ORDER BY ", $name, "seq DESC LIMIT "));
    };
}

impl Events<'_> {
    /// The place after the newest event.
    pub async fn end(&self) -> Result<Place, StoreError> {
        let end = on!(self.0.readers(), |db, q| { sqlx::query_scalar(q(END)).fetch_one(db).await? });
        Ok(Place(end))
    }

    /// The place after this event; of one that is gone, where it stood.
    pub async fn place_after(&self, event: &EventId) -> Result<Place, StoreError> {
        Ok(self.at(event).await?.map_or(Place(0), |(place, _)| place))
    }

    /// The place after an event or, when it is gone, after the one that stood before it, and which of them it is.
    async fn at(&self, event: &EventId) -> Result<Option<(Place, EventId)>, StoreError> {
        let at: Option<(i64, EventId)> =
            on!(self.0.readers(), |db, q| { sqlx::query_as(q(AT)).bind(event).fetch_optional(db).await? });
        Ok(at.map(|(seq, id)| (Place(seq), id)))
    }

    /// The next `limit` wanted events after a place. When more than `most` stand there, the oldest are left out and
    /// counted.
    pub async fn onward(&self, place: Place, wanted: &Wanted, limit: u32, most: u32) -> Result<Onward, StoreError> {
        let (owners, end) = (self.1.owners(), self.end().await?);
        let (place, missed) = self.cut(place, end, wanted, most).await?;
        let rows: Vec<PlacedRow> = on!(self.0.readers(), |db, _q| {
            let mut rows = QueryBuilder::new(ROWS);
            push_between!(rows, owners, wanted, place.0, end.0);
            rows.push(" ORDER BY e.seq LIMIT ").push_bind(i64::from(limit));
            rows.build_query_as().fetch_all(db).await?
        });
        let is_end = rows.len() < usize::try_from(limit).unwrap_or(usize::MAX);
        // A store that was put back from a copy ends before the place a reader comes from.
        let last = rows.last().map_or(end, |row| Place(row.seq));
        let place = if is_end { end } else { last };
        let events = rows.into_iter().filter_map(|row| row.event.readable()).collect();
        Ok(Onward { missed, events, place, is_end })
    }

    /// A page of wanted events, newest first: those before this one, or from the newest on.
    pub async fn page(&self, wanted: &Wanted, before: Option<&EventId>, limit: u32) -> Result<EventPage, StoreError> {
        let ((low, high), limit) = (self.1.owners(), i64::from(limit));
        let walk = self.1.user().is_none() || wanted.session.is_some();
        let before = match before {
            Some(before) => Some(match self.at(before).await? {
                Some((Place(seq), id)) if id == *before => Place(seq),
                Some((Place(seq), _)) => Place(seq.saturating_add(1)),
                None => Place(0),
            }),
            None => None,
        };
        let rows: Vec<PlacedRow> = on!(self.0.readers(), |db, _q| {
            let mut rows = QueryBuilder::new(if walk { ROWS } else { OF_SESSIONS });
            rows.push_bind(low).push(" AND ").push_bind(high);
            if !walk {
                rows.push(NEWEST);
                push_wanted!(rows, wanted, "n.");
                push_page!(rows, before, "n.");
                rows.push("1 OFFSET ").push_bind((limit - 1).max(0)).push("), 0)");
            }
            push_wanted!(rows, wanted, "e.");
            push_page!(rows, before, "e.");
            rows.push_bind(limit);
            rows.build_query_as().fetch_all(db).await?
        });
        let is_last = i64::try_from(rows.len()).unwrap_or(i64::MAX) < limit;
        let next = if is_last { None } else { rows.last().map(|row| row.event.id.clone()) };
        Ok(EventPage { events: rows.into_iter().filter_map(|row| row.event.readable()).collect(), next })
    }

    /// Where to go on when at most `most` wanted events are to stand before the end, and how many that leaves out.
    async fn cut(&self, place: Place, end: Place, wanted: &Wanted, most: u32) -> Result<(Place, u64), StoreError> {
        let owners = self.1.owners();
        if end.0.saturating_sub(place.0) <= i64::from(most) {
            return Ok((place, 0));
        }
        let cut: Option<i64> = on!(self.0.readers(), |db, _q| {
            let mut cut = QueryBuilder::new(PLACES);
            push_between!(cut, owners, wanted, place.0, end.0);
            cut.push(" ORDER BY e.seq DESC LIMIT 1 OFFSET ").push_bind(i64::from(most));
            cut.build_query_scalar().fetch_optional(db).await?
        });
        let Some(cut) = cut else { return Ok((place, 0)) };
        let missed: i64 = on!(self.0.readers(), |db, _q| {
            let mut count = QueryBuilder::new(COUNT);
            push_between!(count, owners, wanted, place.0, cut);
            count.build_query_scalar().fetch_one(db).await?
        });
        Ok((Place(cut), u64::try_from(missed).unwrap_or(0)))
    }
}

/// A pattern of kinds as SQL has it. Its only wildcard is a star at the end.
fn like(pattern: &str) -> String {
    let plain = pattern.strip_suffix('*');
    let escaped = plain.unwrap_or(pattern).replace('_', "!_");
    if plain.is_some() { escaped + "%" } else { escaped }
}

#[cfg(test)]
mod tests;
