//! Sealed records by kind and name: all of Signal's state, app state, and the device.

use std::collections::HashMap;

use super::{Key, Keys, Kind, NAME, stored};
use crate::store::StoreError;
use crate::store::pool::on;
use crate::store::sql::{Sql, statements};

const TABLE: &str = "whatsapp_keys";

/// Names in one `IN (…)`; see `SOME`.
const WIDTH: usize = 32;

statements! {
    GET = "SELECT value FROM whatsapp_keys WHERE session_id = $1 AND kind = $2 AND scope = $3 AND name = $4";
    SOME = "SELECT name, value FROM whatsapp_keys WHERE session_id = $1 AND kind = $2 AND scope = $3
            AND name IN ($4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19,
                         $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35)";
    ALL = "SELECT name, value FROM whatsapp_keys WHERE session_id = $1 AND kind = $2 AND scope = $3 ORDER BY name";
    BETWEEN = "SELECT COUNT(*) FROM (SELECT 1 AS found FROM whatsapp_keys
               WHERE session_id = $1 AND kind = $2 AND scope = $3 AND name >= $4 AND name < $5 LIMIT 1) hit";
    PUT = "INSERT INTO whatsapp_keys (session_id, kind, scope, name, value, uploaded) VALUES ($1, $2, $3, $4, $5, $6)
           ON CONFLICT (session_id, kind, scope, name)
           DO UPDATE SET value = excluded.value, uploaded = excluded.uploaded",
        mysql: "INSERT INTO whatsapp_keys (session_id, kind, scope, name, value, uploaded) VALUES (?, ?, ?, ?, ?, ?)
           ON DUPLICATE KEY UPDATE value = VALUES(value), uploaded = VALUES(uploaded)";
    ADD = "INSERT INTO whatsapp_keys (session_id, kind, scope, name, value, uploaded) VALUES ($1, $2, $3, $4, $5, $6)
           ON CONFLICT (session_id, kind, scope, name) DO NOTHING",
        mysql: "INSERT INTO whatsapp_keys (session_id, kind, scope, name, value, uploaded) VALUES (?, ?, ?, ?, ?, ?)
           ON DUPLICATE KEY UPDATE name = name";
    DELETE = "DELETE FROM whatsapp_keys WHERE session_id = $1 AND kind = $2 AND scope = $3 AND name = $4";
    CLEAR = "DELETE FROM whatsapp_keys WHERE session_id = $1 AND kind = $2 AND scope = $3";
}

impl Keys {
    /// A record's value.
    pub async fn get(&self, key: Key<'_>) -> Result<Option<Vec<u8>>, StoreError> {
        let row = Row::of(key);
        let sealed: Option<Vec<u8>> = on!(self.readers(), |db, q| {
            let query = sqlx::query_scalar(q(GET)).bind(self.1.as_str()).bind(row.kind);
            query.bind(&row.scope).bind(&row.name).fetch_optional(db).await?
        });
        sealed.map(|sealed| self.open_row(&row, &sealed)).transpose()
    }

    /// The values of many records of one kind and scope, in the order of `names`.
    pub async fn get_many(
        &self,
        kind: Kind,
        scope: &[u8],
        names: &[&[u8]],
    ) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        let rows: Vec<Row> = names.iter().map(|name| Row::of(kind.within(scope, name))).collect();
        let mut found: HashMap<Vec<u8>, Vec<u8>> = HashMap::with_capacity(rows.len());
        for some in rows.chunks(WIDTH) {
            let first = &some[0];
            let sealed: Vec<(Vec<u8>, Vec<u8>)> = on!(self.readers(), |db, q| {
                let mut query = sqlx::query_as(q(SOME)).bind(self.1.as_str()).bind(first.kind).bind(&first.scope);
                // A last chunk that is not full repeats its first name.
                for at in 0..WIDTH {
                    query = query.bind(&some.get(at).unwrap_or(first).name);
                }
                query.fetch_all(db).await?
            });
            found.extend(sealed);
        }
        rows.iter().map(|row| found.get(&row.name).map(|sealed| self.open_row(row, sealed)).transpose()).collect()
    }

    /// Every record of a kind, by name.
    pub async fn all(&self, kind: Kind) -> Result<Vec<(Vec<u8>, Vec<u8>)>, StoreError> {
        let sealed: Vec<(Vec<u8>, Vec<u8>)> = on!(self.readers(), |db, q| {
            sqlx::query_as(q(ALL)).bind(self.1.as_str()).bind(kind.name()).bind(&b""[..]).fetch_all(db).await?
        });
        let open = |(name, sealed): (Vec<u8>, Vec<u8>)| {
            let value = self.open_row(&Row::of(kind.key(&name)), &sealed)?;
            Ok((name, value))
        };
        sealed.into_iter().map(open).collect()
    }

    /// Whether a record exists; nothing is opened.
    pub async fn has(&self, key: Key<'_>) -> Result<bool, StoreError> {
        let row = Row::of(key);
        // No name lies between a name and itself with a zero behind it.
        let after = [&row.name[..], &[0]].concat();
        self.between(&row, &row.name, &after).await
    }

    /// Whether any record of a kind has a name that begins with `prefix`, which ends in a character below 0xFF.
    pub async fn begins(&self, kind: Kind, prefix: &[u8]) -> Result<bool, StoreError> {
        let after = match prefix.split_last() {
            Some((last, head)) => [head, &[last.saturating_add(1)]].concat(),
            None => vec![0xFF; NAME + 2],
        };
        self.between(&Row::of(kind.key(b"")), prefix, &after).await
    }

    /// Stores records, new or not: all of them or none.
    pub async fn put(&self, records: &[(Key<'_>, &[u8])]) -> Result<(), StoreError> {
        let rows = records.iter().map(|(key, value)| self.seal_row(Row::of(*key), value)).collect();
        self.upsert(rows).await
    }

    /// Stores a record unless there is one.
    pub async fn put_new(&self, key: Key<'_>, value: &[u8]) -> Result<(), StoreError> {
        self.insert(ADD, vec![self.seal_row(Row::of(key), value)]).await
    }

    /// Deletes records: all of them or none.
    pub async fn delete(&self, keys: &[Key<'_>]) -> Result<(), StoreError> {
        let rows: Vec<Row> = keys.iter().copied().map(Row::of).collect();
        if rows.is_empty() {
            return Ok(());
        }
        let session = self.1.clone();
        let work = self.0.write(move |tx| {
            Box::pin(async move {
                on!(tx, |db, q| {
                    for row in &rows {
                        let query = sqlx::query(q(DELETE)).bind(session.as_str()).bind(row.kind);
                        query.bind(&row.scope).bind(&row.name).execute(&mut *db).await?;
                    }
                });
                Ok(())
            })
        });
        work.await
    }

    /// Deletes every record of a kind within a scope.
    pub async fn clear(&self, kind: Kind, scope: &[u8]) -> Result<(), StoreError> {
        let (session, scope) = (self.1.clone(), stored(scope));
        let work = self.0.write(move |tx| {
            Box::pin(async move {
                on!(tx, |db, q| {
                    sqlx::query(q(CLEAR)).bind(session.as_str()).bind(kind.name()).bind(scope).execute(db).await?;
                });
                Ok(())
            })
        });
        work.await
    }

    async fn between(&self, row: &Row, from: &[u8], to: &[u8]) -> Result<bool, StoreError> {
        let found: i64 = on!(self.readers(), |db, q| {
            let query = sqlx::query_scalar(q(BETWEEN)).bind(self.1.as_str()).bind(row.kind).bind(&row.scope);
            query.bind(from).bind(to).fetch_one(db).await?
        });
        Ok(found > 0)
    }

    pub(super) async fn upsert(&self, rows: Vec<Row>) -> Result<(), StoreError> {
        self.insert(PUT, rows).await
    }

    /// Runs `PUT` or `ADD` for every row, in one transaction.
    async fn insert(&self, statement: Sql, rows: Vec<Row>) -> Result<(), StoreError> {
        if rows.is_empty() {
            return Ok(());
        }
        let session = self.1.clone();
        let work = self.0.write(move |tx| {
            Box::pin(async move {
                on!(tx, |db, q| {
                    for row in rows {
                        let query = sqlx::query(q(statement)).bind(session.as_str()).bind(row.kind).bind(row.scope);
                        query.bind(row.name).bind(row.value).bind(row.uploaded).execute(&mut *db).await?;
                    }
                });
                Ok(())
            })
        });
        work.await
    }

    pub(super) fn seal_row(&self, row: Row, value: &[u8]) -> Row {
        let value = self.seal(TABLE, &[row.kind.as_bytes(), &row.scope, &row.name], value);
        Row { value, ..row }
    }

    fn open_row(&self, row: &Row, sealed: &[u8]) -> Result<Vec<u8>, StoreError> {
        self.open(TABLE, &[row.kind.as_bytes(), &row.scope, &row.name], sealed)
    }
}

/// A row of `whatsapp_keys` without its session.
#[derive(Clone)]
pub(super) struct Row {
    kind: &'static str,
    scope: Vec<u8>,
    name: Vec<u8>,
    /// Sealed; empty where only the row is named.
    value: Vec<u8>,
    uploaded: bool,
}

impl Row {
    pub(super) fn of(key: Key<'_>) -> Self {
        Self {
            kind: key.kind.name(),
            scope: stored(key.scope),
            name: stored(key.name),
            value: Vec::new(),
            uploaded: false,
        }
    }

    pub(super) fn uploaded(self, uploaded: bool) -> Self {
        Self { uploaded, ..self }
    }
}
