//! Plugins: the catalog of what is installed, in versions.
//!
//! - [`bindings`] says where plugins run, and makes the chain of a session
//! - [`values`] is what they keep, [`logs`] what they said, [`effects`] what they want done
//!
//! A component is stored once for all who install it, under the digest of its bytes, and deleted when no version uses it
//! any more.
//!
//! Invariant: a version never changes, and only the newest are kept. What runs is the one its plugin calls current, which always exists.

pub mod bindings;
pub mod effects;
pub mod logs;
pub mod values;

use std::time::Duration;

use sha2::{Digest, Sha256};
use sqlx::FromRow;

use super::column::{count, json, parsed, text};
use super::events::held;
use super::pool::{Tx, on};
use super::sql::statements;
use super::{Store, StoreError, plugin_sends};
use crate::model::{Grants, Millis, Plugin, PluginId, PluginVersion, Report, Scope, UserId};

pub use bindings::NewBinding;

/// A plugin, with what a condition leaves of them.
macro_rules! plugin {
    ($condition:literal) => {
        concat!(
            "SELECT id AS plugin_id, owner, name, current, enabled, created_at FROM plugins
            WHERE owner BETWEEN $1 AND $2 ",
            $condition
        )
    };
}

statements! {
    ADD_COMPONENT = "INSERT INTO components (sha256, added_at, bytes) VALUES ($1, $2, $3)
        ON CONFLICT (sha256) DO UPDATE SET added_at = excluded.added_at",
        mysql: "INSERT INTO components (sha256, added_at, bytes) VALUES (?, ?, ?)
        ON DUPLICATE KEY UPDATE added_at = VALUES(added_at)";
    COMPONENT = "SELECT bytes FROM components WHERE sha256 = $1";
    SWEEP_COMPONENTS = "DELETE FROM components WHERE added_at <= $1
        AND NOT EXISTS (SELECT 1 FROM plugin_versions v WHERE v.component = components.sha256)";
    ADD = "INSERT INTO plugins (id, owner, name, current, enabled, created_at) VALUES ($1, $2, $3, 1, TRUE, $4)";
    ADD_VERSION = "INSERT INTO plugin_versions (plugin_id, number, component, script, grants, report, created_at)
        SELECT p.id, COALESCE((SELECT MAX(v.number) FROM plugin_versions v WHERE v.plugin_id = p.id), 0) + 1, $1, $2, $3, $4, $5
        FROM plugins p WHERE p.owner BETWEEN $6 AND $7 AND p.id = $8";
    /// Keeps the one that runs, and so many of the newest others.
    DROP_OLD = "DELETE FROM plugin_versions WHERE plugin_id = $1
        AND number <> (SELECT p.current FROM plugins p WHERE p.id = $2)
        AND number <= (SELECT number FROM (SELECT v.number FROM plugin_versions v JOIN plugins p ON p.id = v.plugin_id
            WHERE p.id = $3 AND v.number <> p.current ORDER BY v.number DESC LIMIT 1 OFFSET $4) AS oldest)";
    NEWEST = "SELECT MAX(number) FROM plugin_versions WHERE plugin_id = $1";
    SET_CURRENT = "UPDATE plugins SET current = $1 WHERE owner BETWEEN $2 AND $3 AND id = $4
        AND EXISTS (SELECT 1 FROM plugin_versions v WHERE v.plugin_id = plugins.id AND v.number = $5)";
    SET_ENABLED = "UPDATE plugins SET enabled = $1 WHERE owner BETWEEN $2 AND $3 AND id = $4";
    REMOVE = "DELETE FROM plugins WHERE owner BETWEEN $1 AND $2 AND id = $3";
    LIST = plugin!("ORDER BY seq");
    GET = plugin!("AND id = $3");
    BY_NAME = plugin!("AND name = $3 ORDER BY seq LIMIT 1");
    VERSIONS = "SELECT v.plugin_id, v.number, v.component, v.script, v.grants, v.report, v.created_at AS installed_at
        FROM plugin_versions v JOIN plugins p ON p.id = v.plugin_id
        WHERE p.owner BETWEEN $1 AND $2 AND v.plugin_id = $3 ORDER BY v.number";
    GIFTS = "SELECT name, component FROM plugin_gifts WHERE owner BETWEEN $1 AND $2 AND owner = $3 ORDER BY name";
    GIVE = "INSERT INTO plugin_gifts (owner, name, component) VALUES ($1, $2, $3)
        ON CONFLICT (owner, name) DO UPDATE SET component = excluded.component",
        mysql: "INSERT INTO plugin_gifts (owner, name, component) VALUES (?, ?, ?)
        ON DUPLICATE KEY UPDATE component = VALUES(component)";
}

/// Versions a plugin keeps.
pub const MOST_VERSIONS: u32 = 100;

/// How long a component that no version uses is kept: it was handed over, and its version may be about to follow.
const UNUSED_LIFE: Duration = Duration::from_mins(10);

/// Calls on plugins within a scope.
#[derive(Debug)]
pub struct Plugins<'a>(pub(super) &'a Store, pub(super) Scope);

/// A version to be installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewVersion {
    /// SHA-256 of a stored component, hex.
    pub component: String,
    /// The pasted script, when the component is the one that runs scripts.
    pub script: Option<String>,
    /// What it may do.
    pub grants: Grants,
    /// What looking at it found.
    pub report: Report,
}

impl Plugins<'_> {
    /// Stores a component, once, and answers the SHA-256 of its bytes in hex. A component that no version uses goes
    /// again after ten minutes.
    pub async fn add_component(&self, bytes: &[u8]) -> Result<String, StoreError> {
        let (now, bytes, sha256) = (self.0.clock().now(), bytes.to_vec(), digest(bytes));
        let answer = sha256.clone();
        let work = self.0.write(move |tx| {
            Box::pin(async move {
                on!(&mut *tx, |db, q| {
                    sqlx::query(q(ADD_COMPONENT)).bind(sha256).bind(now).bind(bytes).execute(db).await?;
                });
                sweep_components(tx, now).await
            })
        });
        work.await.map(|()| answer)
    }

    /// The bytes of a component.
    pub async fn component(&self, sha256: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let bytes =
            on!(self.0.readers(), |db, q| { sqlx::query_scalar(q(COMPONENT)).bind(sha256).fetch_optional(db).await? });
        Ok(bytes)
    }

    /// Installs a plugin for `owner`, enabled, with its first version, whose component must be stored;
    /// [`StoreError::Taken`] when the owner has one of this name.
    pub async fn install(
        &self,
        owner: UserId,
        name: &str,
        version: NewVersion,
    ) -> Result<(Plugin, PluginVersion), StoreError> {
        let (low, high) = self.1.owners();
        if !(low..=high).contains(&owner.0) {
            return Err(sqlx::Error::RowNotFound.into());
        }
        let (id, name, created_at) = (PluginId::new(), name.to_owned(), self.0.clock().now());
        let plugin = Plugin { id, owner, name, current: 1, enabled: true, created_at };
        let work = self.0.write(move |tx| {
            Box::pin(async move {
                let added = on!(&mut *tx, |db, q| {
                    let add = sqlx::query(q(ADD)).bind(&plugin.id).bind(owner).bind(&plugin.name);
                    add.bind(created_at).execute(db).await.map(|_| ())
                });
                let named = sqlx::error::DatabaseError::is_unique_violation;
                added.map_err(|error| StoreError::taken(error, named, "the plugin name"))?;
                let version = add_version(tx, (low, high), &plugin.id, version, created_at).await?;
                Ok((plugin, version.ok_or(sqlx::Error::RowNotFound)?))
            })
        });
        work.await
    }

    /// Adds a version, whose component must be stored, without making it current; `None` when there is no such plugin.
    /// Above [`MOST_VERSIONS`] the oldest goes that is not current.
    pub async fn add_version(
        &self,
        plugin: &PluginId,
        version: NewVersion,
    ) -> Result<Option<PluginVersion>, StoreError> {
        let (owners, now, plugin) = (self.1.owners(), self.0.clock().now(), plugin.clone());
        let work = self.0.write(move |tx| {
            Box::pin(async move {
                let added = add_version(tx, owners, &plugin, version, now).await?;
                if added.is_some() {
                    on!(&mut *tx, |db, q| {
                        let drop = sqlx::query(q(DROP_OLD)).bind(&plugin).bind(&plugin).bind(&plugin);
                        drop.bind(i64::from(MOST_VERSIONS) - 1).execute(db).await?;
                    });
                }
                Ok(added)
            })
        });
        work.await
    }

    /// Makes a version the one that runs; whether there is one of this number.
    pub async fn set_current(&self, plugin: &PluginId, number: u32) -> Result<bool, StoreError> {
        let ((low, high), plugin, number) = (self.1.owners(), plugin.clone(), i64::from(number));
        let work = self.0.write(move |tx| {
            Box::pin(async move {
                let done = on!(tx, |db, q| {
                    let set = sqlx::query(q(SET_CURRENT)).bind(number).bind(low).bind(high).bind(plugin);
                    set.bind(number).execute(db).await?.rows_affected()
                });
                Ok(done == 1)
            })
        });
        work.await
    }

    /// Whether it runs at all; whether there is such a plugin.
    pub async fn set_enabled(&self, plugin: &PluginId, enabled: bool) -> Result<bool, StoreError> {
        let ((low, high), plugin) = (self.1.owners(), plugin.clone());
        let work = self.0.write(move |tx| {
            Box::pin(async move {
                let done = on!(tx, |db, q| {
                    let set = sqlx::query(q(SET_ENABLED)).bind(enabled).bind(low).bind(high).bind(plugin);
                    set.execute(db).await?.rows_affected()
                });
                Ok(done == 1)
            })
        });
        work.await
    }

    /// Removes a plugin with all that is its own; whether it was there. Events that wait for it are due at once, and what
    /// it still wanted to be sent is given up.
    pub async fn remove(&self, plugin: &PluginId) -> Result<bool, StoreError> {
        let ((low, high), now, plugin) = (self.1.owners(), self.0.clock().now(), plugin.clone());
        let work = self.0.write(move |tx| {
            Box::pin(async move {
                let done = on!(&mut *tx, |db, q| {
                    let remove = sqlx::query(q(REMOVE)).bind(low).bind(high).bind(&plugin);
                    remove.execute(db).await?.rows_affected()
                });
                if done == 0 {
                    return Ok(false);
                }
                plugin_sends::abandon(tx, &plugin, now).await?;
                held::release(tx, (low, high), &plugin, now).await?;
                sweep_components(tx, now).await?;
                Ok(true)
            })
        });
        work.await
    }

    /// All plugins, in the order they were installed.
    pub async fn list(&self) -> Result<Vec<Plugin>, StoreError> {
        let (low, high) = self.1.owners();
        let rows: Vec<PluginRow> =
            on!(self.0.readers(), |db, q| { sqlx::query_as(q(LIST)).bind(low).bind(high).fetch_all(db).await? });
        Ok(rows.into_iter().map(PluginRow::into_plugin).collect())
    }

    /// One plugin.
    pub async fn get(&self, plugin: &PluginId) -> Result<Option<Plugin>, StoreError> {
        let (low, high) = self.1.owners();
        let row: Option<PluginRow> = on!(self.0.readers(), |db, q| {
            sqlx::query_as(q(GET)).bind(low).bind(high).bind(plugin).fetch_optional(db).await?
        });
        Ok(row.map(PluginRow::into_plugin))
    }

    /// The plugin of this name; in a scope of several users the one installed first.
    pub async fn by_name(&self, name: &str) -> Result<Option<Plugin>, StoreError> {
        let (low, high) = self.1.owners();
        let row: Option<PluginRow> = on!(self.0.readers(), |db, q| {
            sqlx::query_as(q(BY_NAME)).bind(low).bind(high).bind(name).fetch_optional(db).await?
        });
        Ok(row.map(PluginRow::into_plugin))
    }

    /// The versions of a plugin, oldest first.
    pub async fn versions(&self, plugin: &PluginId) -> Result<Vec<PluginVersion>, StoreError> {
        let (low, high) = self.1.owners();
        let rows: Vec<VersionRow> = on!(self.0.readers(), |db, q| {
            sqlx::query_as(q(VERSIONS)).bind(low).bind(high).bind(plugin).fetch_all(db).await?
        });
        rows.into_iter().map(VersionRow::into_version).collect()
    }

    /// Which of the gateway's own plugins a user was given: name, and the component given last.
    pub async fn gifts(&self, owner: UserId) -> Result<Vec<(String, String)>, StoreError> {
        let (low, high) = self.1.owners();
        let gifts = on!(self.0.readers(), |db, q| {
            sqlx::query_as(q(GIFTS)).bind(low).bind(high).bind(owner).fetch_all(db).await?
        });
        Ok(gifts)
    }

    /// Remembers that a user was given this component under this name.
    pub async fn give(&self, owner: UserId, name: &str, component: &str) -> Result<(), StoreError> {
        let (low, high) = self.1.owners();
        if !(low..=high).contains(&owner.0) {
            return Err(sqlx::Error::RowNotFound.into());
        }
        let (name, component) = (name.to_owned(), component.to_owned());
        let work = self.0.write(move |tx| {
            Box::pin(async move {
                on!(tx, |db, q| {
                    sqlx::query(q(GIVE)).bind(owner).bind(name).bind(component).execute(db).await?;
                });
                Ok(())
            })
        });
        work.await
    }
}

/// Adds a version under the next number; `None` when there is no such plugin.
async fn add_version(
    tx: &mut Tx,
    (low, high): (i64, i64),
    plugin: &PluginId,
    version: NewVersion,
    created_at: Millis,
) -> Result<Option<PluginVersion>, StoreError> {
    let NewVersion { component, script, grants, report } = version;
    let script = script.map(|script| text(&script).into_owned());
    let number: i64 = on!(tx, |db, q| {
        let add = sqlx::query(q(ADD_VERSION)).bind(&component).bind(&script).bind(json(&grants)?);
        let add = add.bind(json(&report)?).bind(created_at).bind(low).bind(high).bind(plugin);
        if add.execute(&mut *db).await?.rows_affected() == 0 {
            return Ok(None);
        }
        sqlx::query_scalar(q(NEWEST)).bind(plugin).fetch_one(db).await?
    });
    let (plugin, number) = (plugin.clone(), count(number));
    Ok(Some(PluginVersion { plugin, number, component, script, grants, report, created_at }))
}

/// Deletes the components that no version uses and that nobody handed over lately.
async fn sweep_components(tx: &mut Tx, now: Millis) -> Result<(), StoreError> {
    on!(tx, |db, q| {
        sqlx::query(q(SWEEP_COMPONENTS)).bind(now.before(UNUSED_LIFE)).execute(db).await?;
    });
    Ok(())
}

fn digest(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

/// A plugin as its row.
#[derive(Debug, FromRow)]
struct PluginRow {
    plugin_id: PluginId,
    owner: UserId,
    name: String,
    current: i64,
    enabled: bool,
    created_at: Millis,
}

impl PluginRow {
    fn into_plugin(self) -> Plugin {
        let Self { plugin_id: id, owner, name, current, enabled, created_at } = self;
        Plugin { id, owner, name, current: count(current), enabled, created_at }
    }
}

/// A version as its row.
#[derive(Debug, FromRow)]
struct VersionRow {
    plugin_id: PluginId,
    number: i64,
    component: String,
    script: Option<String>,
    grants: String,
    report: String,
    installed_at: Millis,
}

impl VersionRow {
    fn into_version(self) -> Result<PluginVersion, StoreError> {
        let Self { plugin_id: plugin, number, component, script, grants, report, installed_at: created_at } = self;
        let (number, grants, report) = (count(number), parsed(&grants)?, parsed(&report)?);
        Ok(PluginVersion { plugin, number, component, script, grants, report, created_at })
    }
}
