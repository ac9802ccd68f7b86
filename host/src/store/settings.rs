//! Small values of the gateway itself.

use super::pool::on;
use super::sql::statements;
use super::{Store, StoreError};

statements! {
    GET = "SELECT value FROM settings WHERE name = $1";
    SET = "INSERT INTO settings (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        mysql: "INSERT INTO settings (name, value) VALUES (?, ?) ON DUPLICATE KEY UPDATE value = VALUES(value)";
}

/// Calls on settings.
#[derive(Debug)]
pub struct Settings<'a>(pub(super) &'a Store);

impl Settings<'_> {
    /// A value.
    pub async fn get(&self, name: &str) -> Result<Option<String>, StoreError> {
        let found = on!(self.0.readers(), |db, q| { sqlx::query_scalar(q(GET)).bind(name).fetch_optional(db).await });
        Ok(found?)
    }

    /// Sets a value.
    pub async fn set(&self, name: &str, value: &str) -> Result<(), StoreError> {
        let (name, value) = (name.to_owned(), value.to_owned());
        let work = self.0.write(|tx| {
            Box::pin(async move {
                on!(tx, |db, q| {
                    sqlx::query(q(SET)).bind(name).bind(value).execute(db).await?;
                });
                Ok(())
            })
        });
        work.await
    }
}
