//! Small values of the gateway itself, and the check value that ties a database to its master key.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::pool::on;
use super::sql::statements;
use super::vault::Address;
use super::{Store, StoreError};

statements! {
    GET = "SELECT value FROM settings WHERE name = $1";
    SET = "INSERT INTO settings (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        mysql: "INSERT INTO settings (name, value) VALUES (?, ?) ON DUPLICATE KEY UPDATE value = VALUES(value)";
}

/// The setting that holds a sealed value nobody needs: it opens only under the key the others are sealed with.
const CANARY: &str = "vault.canary";

const CANARY_ADDRESS: Address<'static> =
    Address { table: "settings", column: "value", owner: "", row: CANARY.as_bytes() };

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

    /// Opens the check value, or seals one when the database is new.
    pub(super) async fn check_key(&self) -> Result<(), StoreError> {
        let vault = self.0.vault();
        let Some(sealed) = self.get(CANARY).await? else {
            return self.set(CANARY, &STANDARD.encode(vault.seal(CANARY_ADDRESS, CANARY.as_bytes()))).await;
        };
        let opened = STANDARD.decode(sealed).ok().and_then(|sealed| vault.unseal(CANARY_ADDRESS, &sealed));
        opened.map(|_| ()).ok_or(StoreError::Sealed("the database's check value"))
    }
}
