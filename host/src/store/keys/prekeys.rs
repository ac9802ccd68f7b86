//! One-time pre-keys: made by the hundred, handed out by WhatsApp, used once.
//!
//! Their numbers are stored as 4 bytes, highest first, so that they sort as numbers.

use super::records::Row;
use super::{Keys, Kind};
use crate::store::StoreError;
use crate::store::pool::on;
use crate::store::sql::statements;

statements! {
    LAST = "SELECT name FROM whatsapp_keys WHERE session_id = $1 AND kind = $2 AND scope = $3 ORDER BY name DESC LIMIT 1";
    UPLOADED = "UPDATE whatsapp_keys SET uploaded = $1
                WHERE session_id = $2 AND kind = $3 AND scope = $4 AND name = $5";
}

impl Keys {
    /// Stores pre-keys: all of them or none.
    pub async fn put_prekeys<V: AsRef<[u8]>>(&self, keys: &[(u32, V)], uploaded: bool) -> Result<(), StoreError> {
        let row = |(id, record): &(u32, V)| {
            let row = Row::of(Kind::PreKey.key(&id.to_be_bytes())).uploaded(uploaded);
            self.seal_row(row, record.as_ref())
        };
        self.upsert(keys.iter().map(row).collect()).await
    }

    /// The highest number stored; `None` when there is no pre-key.
    pub async fn last_prekey(&self) -> Result<Option<u32>, StoreError> {
        let name: Option<Vec<u8>> = on!(self.readers(), |db, q| {
            let query = sqlx::query_scalar(q(LAST)).bind(self.1.as_str()).bind(Kind::PreKey.name());
            query.bind(&b""[..]).fetch_optional(db).await?
        });
        name.map(|name| number(&name)).transpose()
    }

    /// Marks stored pre-keys as known to WhatsApp. One that was used up meanwhile stays gone.
    pub async fn mark_uploaded(&self, ids: &[u32]) -> Result<(), StoreError> {
        if ids.is_empty() {
            return Ok(());
        }
        let (session, ids) = (self.1.clone(), ids.to_vec());
        let work = self.0.write(move |tx| {
            Box::pin(async move {
                on!(tx, |db, q| {
                    for id in ids {
                        let query = sqlx::query(q(UPLOADED)).bind(true).bind(session.as_str());
                        let query = query.bind(Kind::PreKey.name()).bind(&b""[..]).bind(id.to_be_bytes().to_vec());
                        query.execute(&mut *db).await?;
                    }
                });
                Ok(())
            })
        });
        work.await
    }

    /// Every signed pre-key, by number.
    pub async fn signed_prekeys(&self) -> Result<Vec<(u32, Vec<u8>)>, StoreError> {
        self.all(Kind::SignedPreKey).await?.into_iter().map(|(name, record)| Ok((number(&name)?, record))).collect()
    }
}

fn number(name: &[u8]) -> Result<u32, StoreError> {
    let bytes = name.try_into().map_err(|_| sqlx::Error::Decode("the number of a pre-key has 4 bytes".into()))?;
    Ok(u32::from_be_bytes(bytes))
}
