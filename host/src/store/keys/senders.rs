//! Which devices of a group hold our sender key, so that only the others are sent it.

use super::{Keys, WIPE_SENDERS, text};
use crate::store::StoreError;
use crate::store::pool::on;
use crate::store::sql::statements;

statements! {
    LIST = "SELECT device, has_key FROM whatsapp_sender_key_devices
            WHERE session_id = $1 AND chat = $2 ORDER BY device";
    PUT = "INSERT INTO whatsapp_sender_key_devices (session_id, chat, device, has_key) VALUES ($1, $2, $3, $4)
           ON CONFLICT (session_id, chat, device) DO UPDATE SET has_key = excluded.has_key",
        mysql: "INSERT INTO whatsapp_sender_key_devices (session_id, chat, device, has_key) VALUES (?, ?, ?, ?)
           ON DUPLICATE KEY UPDATE has_key = VALUES(has_key)";
    CLEAR = "DELETE FROM whatsapp_sender_key_devices WHERE session_id = $1 AND chat = $2";
    FORGET = "DELETE FROM whatsapp_sender_key_devices WHERE session_id = $1 AND device = $2";
}

impl Keys {
    /// The devices known in a group, and whether each holds our key.
    pub async fn sender_devices(&self, group: &str) -> Result<Vec<(String, bool)>, StoreError> {
        let rows: Vec<(Vec<u8>, bool)> = on!(self.readers(), |db, q| {
            sqlx::query_as(q(LIST)).bind(self.1.as_str()).bind(group.as_bytes()).fetch_all(db).await?
        });
        rows.into_iter().map(|(device, has_key)| Ok((text(device)?, has_key))).collect()
    }

    /// Notes for devices of a group whether they hold our key: all of them or none.
    pub async fn set_sender_devices(&self, group: &str, devices: &[(&str, bool)]) -> Result<(), StoreError> {
        if devices.is_empty() {
            return Ok(());
        }
        let (session, group) = (self.1.clone(), group.as_bytes().to_vec());
        let devices: Vec<(Vec<u8>, bool)> =
            devices.iter().map(|(device, has_key)| (device.as_bytes().to_vec(), *has_key)).collect();
        let work = self.0.write(move |tx| {
            Box::pin(async move {
                on!(tx, |db, q| {
                    for (device, has_key) in devices {
                        let query = sqlx::query(q(PUT)).bind(session.as_str()).bind(&group);
                        query.bind(device).bind(has_key).execute(&mut *db).await?;
                    }
                });
                Ok(())
            })
        });
        work.await
    }

    /// Forgets every device of a group.
    pub async fn clear_sender_devices(&self, group: &str) -> Result<(), StoreError> {
        self.strike(CLEAR, vec![group.as_bytes().to_vec()]).await
    }

    /// Forgets these devices in every group: all of them or none.
    pub async fn forget_sender_devices(&self, devices: &[&str]) -> Result<(), StoreError> {
        self.strike(FORGET, devices.iter().map(|device| device.as_bytes().to_vec()).collect()).await
    }

    /// Forgets every device of every group.
    pub async fn clear_all_sender_devices(&self) -> Result<(), StoreError> {
        let session = self.1.clone();
        let work = self.0.write(move |tx| {
            Box::pin(async move {
                on!(tx, |db, q| {
                    sqlx::query(q(WIPE_SENDERS)).bind(session.as_str()).execute(db).await?;
                });
                Ok(())
            })
        });
        work.await
    }
}
