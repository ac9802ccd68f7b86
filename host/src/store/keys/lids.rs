//! Which hidden address (LID) belongs to which phone number.
//!
//! A LID has one number; a number may have had several LIDs, of which the newest counts.

use super::{Keys, text};
use crate::store::StoreError;
use crate::store::pool::on;
use crate::store::sql::statements;

statements! {
    BY_LID = "SELECT lid, phone, created_at, updated_at, source FROM whatsapp_lids
              WHERE session_id = $1 AND lid = $2";
    BY_PHONE = "SELECT lid, phone, created_at, updated_at, source FROM whatsapp_lids
                WHERE session_id = $1 AND phone = $2 ORDER BY updated_at DESC, seq DESC LIMIT 1";
    LIST = "SELECT lid, phone, created_at, updated_at, source FROM whatsapp_lids
            WHERE session_id = $1 ORDER BY seq";
    DELETE = "DELETE FROM whatsapp_lids WHERE session_id = $1 AND lid = $2";
    INSERT = "INSERT INTO whatsapp_lids (session_id, lid, phone, created_at, updated_at, source)
              VALUES ($1, $2, $3, $4, $5, $6)";
}

/// A LID and the number it belongs to; both are user parts, without server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lid {
    /// The hidden address.
    pub lid: String,
    /// The phone number.
    pub phone: String,
    /// When it was first learnt, seconds.
    pub created_at: i64,
    /// When it was last learnt, seconds; 0 for hearsay.
    pub updated_at: i64,
    /// What it was learnt from.
    pub source: String,
}

type Columns = (Vec<u8>, Vec<u8>, i64, i64, String);

impl Keys {
    /// The mapping of a LID.
    pub async fn lid(&self, lid: &str) -> Result<Option<Lid>, StoreError> {
        let row: Option<Columns> = on!(self.readers(), |db, q| {
            sqlx::query_as(q(BY_LID)).bind(self.1.as_str()).bind(lid.as_bytes()).fetch_optional(db).await?
        });
        row.map(mapping).transpose()
    }

    /// The newest mapping of a number; of those learnt in the same second, the one stored last.
    pub async fn lid_of(&self, phone: &str) -> Result<Option<Lid>, StoreError> {
        let row: Option<Columns> = on!(self.readers(), |db, q| {
            sqlx::query_as(q(BY_PHONE)).bind(self.1.as_str()).bind(phone.as_bytes()).fetch_optional(db).await?
        });
        row.map(mapping).transpose()
    }

    /// Every mapping, in the order they were stored.
    pub async fn lids(&self) -> Result<Vec<Lid>, StoreError> {
        let rows: Vec<Columns> =
            on!(self.readers(), |db, q| { sqlx::query_as(q(LIST)).bind(self.1.as_str()).fetch_all(db).await? });
        rows.into_iter().map(mapping).collect()
    }

    /// Stores mappings: all of them or none. A LID known before gets the new number and the newest place.
    pub async fn put_lids(&self, lids: Vec<Lid>) -> Result<(), StoreError> {
        if lids.is_empty() {
            return Ok(());
        }
        let session = self.1.clone();
        let work = self.0.write(move |tx| {
            Box::pin(async move {
                on!(tx, |db, q| {
                    for Lid { lid, phone, created_at, updated_at, source } in lids {
                        let (session, lid) = (session.as_str(), lid.into_bytes());
                        sqlx::query(q(DELETE)).bind(session).bind(&lid).execute(&mut *db).await?;
                        let query = sqlx::query(q(INSERT)).bind(session).bind(lid).bind(phone.into_bytes());
                        query.bind(created_at).bind(updated_at).bind(source).execute(&mut *db).await?;
                    }
                });
                Ok(())
            })
        });
        work.await
    }
}

fn mapping((lid, phone, created_at, updated_at, source): Columns) -> Result<Lid, StoreError> {
    Ok(Lid { lid: text(lid)?, phone: text(phone)?, created_at, updated_at, source })
}
