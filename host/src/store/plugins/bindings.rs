//! Where plugins run: bindings, and the chain they make for a session.
//!
//! A binding's configuration holds secrets, so it is sealed like those of endpoints.
//!
//! Invariant: a plugin is bound only to sessions of its own owner.

use secrecy::{ExposeSecret, SecretString};
use sqlx::FromRow;

use super::{PluginRow, Plugins, VersionRow};
use crate::model::{Binding, BindingId, Bound, FailurePolicy, Limits, PluginId, SessionId};
use crate::store::column::{json, parsed, unknown};
use crate::store::pool::on;
use crate::store::sql::statements;
use crate::store::vault::Address;
use crate::store::{StoreError, Vault};

/// A binding, with what a condition leaves of them.
macro_rules! binding {
    ($condition:literal) => {
        concat!(
            "SELECT b.id AS binding_id, b.plugin_id, b.session_id, b.position, b.config, b.limits, b.policy,
            b.enabled AS runs, b.revision FROM plugin_bindings b JOIN plugins p ON p.id = b.plugin_id
            WHERE p.owner BETWEEN $1 AND $2 ",
            $condition
        )
    };
}

statements! {
    LIST = binding!("AND b.plugin_id = $3 ORDER BY b.position, b.seq");
    GET = binding!("AND b.id = $3");
    BIND = "INSERT INTO plugin_bindings (id, plugin_id, session_id, position, config, limits, policy, enabled, revision)
        SELECT $1, p.id, $2, $3, $4, $5, $6, $7, 1 FROM plugins p WHERE p.owner BETWEEN $8 AND $9 AND p.id = $10
        AND (COALESCE($11, '') = '' OR EXISTS (SELECT 1 FROM sessions s WHERE s.owner = p.owner AND s.id = $12))";
    REBIND = "UPDATE plugin_bindings SET session_id = $1, position = $2, config = $3, limits = $4, policy = $5, enabled = $6,
            revision = revision + 1
        WHERE id = $7 AND EXISTS (SELECT 1 FROM plugins p WHERE p.owner BETWEEN $8 AND $9 AND p.id = plugin_bindings.plugin_id
            AND p.id = $10 AND (COALESCE($11, '') = '' OR EXISTS (SELECT 1 FROM sessions s WHERE s.owner = p.owner AND s.id = $12)))";
    REVISION = "SELECT revision FROM plugin_bindings WHERE id = $1";
    UNBIND = "DELETE FROM plugin_bindings WHERE id = $1
        AND EXISTS (SELECT 1 FROM plugins p WHERE p.owner BETWEEN $2 AND $3 AND p.id = plugin_bindings.plugin_id)";
    /// Bindings in force, by session; those to all sessions under null.
    CROWD = "SELECT b.session_id, COUNT(*) FROM plugin_bindings b JOIN plugins p ON p.id = b.plugin_id
        WHERE p.owner BETWEEN $1 AND $2 AND b.enabled AND b.id <> $3 GROUP BY b.session_id";
    CHAIN = "SELECT b.id AS binding_id, b.plugin_id, b.session_id, b.position, b.config, b.limits, b.policy,
            b.enabled AS runs, b.revision, p.owner, p.name, p.current, p.enabled, p.created_at,
            v.number, v.component, v.script, v.grants, v.report, v.created_at AS installed_at
        FROM sessions s JOIN plugins p ON p.owner = s.owner AND p.enabled
        JOIN plugin_bindings b ON b.plugin_id = p.id AND b.enabled AND (b.session_id IS NULL OR b.session_id = s.id)
        JOIN plugin_versions v ON v.plugin_id = p.id AND v.number = p.current
        WHERE s.owner BETWEEN $1 AND $2 AND s.id = $3 ORDER BY b.position, b.seq";
}

/// A binding to be made.
#[derive(Clone, Debug)]
pub struct NewBinding {
    /// The plugin.
    pub plugin: PluginId,
    /// The session whose messages it sees; `None` for all of its owner's.
    pub session: Option<SessionId>,
    /// The place in the chain.
    pub position: i64,
    /// A JSON object.
    pub config: SecretString,
    /// What a call may use.
    pub limits: Limits,
    /// What becomes of a message when a call fails.
    pub policy: FailurePolicy,
    /// Whether it runs.
    pub enabled: bool,
}

impl Plugins<'_> {
    /// The bindings of a plugin, in the order of their places.
    pub async fn bindings(&self, plugin: &PluginId) -> Result<Vec<Binding>, StoreError> {
        let (low, high) = self.1.owners();
        let rows: Vec<BindingRow> = on!(self.0.readers(), |db, q| {
            sqlx::query_as(q(LIST)).bind(low).bind(high).bind(plugin).fetch_all(db).await?
        });
        rows.into_iter().map(|row| row.open(self.0.vault())).collect()
    }

    /// One binding.
    pub async fn binding(&self, id: &BindingId) -> Result<Option<Binding>, StoreError> {
        let (low, high) = self.1.owners();
        let row: Option<BindingRow> = on!(self.0.readers(), |db, q| {
            sqlx::query_as(q(GET)).bind(low).bind(high).bind(id).fetch_optional(db).await?
        });
        row.map(|row| row.open(self.0.vault())).transpose()
    }

    /// Binds a plugin; `None` when there is no such plugin, or its owner has no such session.
    pub async fn bind(&self, new: NewBinding) -> Result<Option<Binding>, StoreError> {
        let NewBinding { plugin, session, position, config, limits, policy, enabled } = new;
        let binding =
            Binding { id: BindingId::new(), plugin, session, position, config, limits, policy, enabled, revision: 1 };
        let ((low, high), limits, sealed) = (self.1.owners(), json(&limits)?, seal(self.0.vault(), &binding));
        let work = self.0.write(move |tx| {
            Box::pin(async move {
                let done = on!(tx, |db, q| {
                    let bind = sqlx::query(q(BIND)).bind(&binding.id).bind(&binding.session).bind(position);
                    let bind = bind.bind(sealed).bind(limits).bind(policy.name()).bind(enabled);
                    let bind = bind.bind(low).bind(high).bind(&binding.plugin);
                    bind.bind(&binding.session).bind(&binding.session).execute(db).await?.rows_affected()
                });
                Ok((done == 1).then_some(binding))
            })
        });
        work.await
    }

    /// Changes a binding to this, except for its plugin, and raises its revision; `None` when there is no such binding of
    /// its plugin, or the plugin's owner has no such session.
    pub async fn rebind(&self, binding: &Binding) -> Result<Option<Binding>, StoreError> {
        let ((low, high), binding) = (self.1.owners(), binding.clone());
        let (limits, sealed) = (json(&binding.limits)?, seal(self.0.vault(), &binding));
        let work = self.0.write(move |tx| {
            Box::pin(async move {
                let Binding { id, plugin, session, position, policy, enabled, .. } = &binding;
                let revision: i64 = on!(tx, |db, q| {
                    let rebind = sqlx::query(q(REBIND)).bind(session).bind(position).bind(sealed).bind(limits);
                    let rebind = rebind.bind(policy.name()).bind(enabled).bind(id).bind(low).bind(high);
                    let rebind = rebind.bind(plugin).bind(session).bind(session);
                    if rebind.execute(&mut *db).await?.rows_affected() == 0 {
                        return Ok(None);
                    }
                    sqlx::query_scalar(q(REVISION)).bind(id).fetch_one(db).await?
                });
                Ok(Some(Binding { revision, ..binding }))
            })
        });
        work.await
    }

    /// Takes a binding away; whether it was there.
    pub async fn unbind(&self, id: &BindingId) -> Result<bool, StoreError> {
        let ((low, high), id) = (self.1.owners(), id.clone());
        let work = self.0.write(move |tx| {
            Box::pin(async move {
                let done = on!(tx, |db, q| {
                    sqlx::query(q(UNBIND)).bind(id).bind(low).bind(high).execute(db).await?.rows_affected()
                });
                Ok(done == 1)
            })
        });
        work.await
    }

    /// How many other bindings in force a binding to `session` meets there; one to all sessions (`None`) on the fullest.
    pub async fn crowd(&self, session: Option<&SessionId>, binding: &BindingId) -> Result<u64, StoreError> {
        let (low, high) = self.1.owners();
        let counts: Vec<(Option<SessionId>, i64)> = on!(self.0.readers(), |db, q| {
            sqlx::query_as(q(CROWD)).bind(low).bind(high).bind(binding).fetch_all(db).await?
        });
        let everywhere: i64 = counts.iter().filter(|(at, _)| at.is_none()).map(|(_, count)| *count).sum();
        let meets = |at: &SessionId| session.is_none_or(|session| session == at);
        let there = counts.iter().filter(|(at, _)| at.as_ref().is_some_and(meets)).map(|(_, count)| *count).max();
        Ok((everywhere + there.unwrap_or(0)).unsigned_abs())
    }

    /// What runs on a session, in order: enabled bindings of its owner's enabled plugins, to it or to all sessions.
    pub async fn chain(&self, session: &SessionId) -> Result<Vec<Bound>, StoreError> {
        let (low, high) = self.1.owners();
        let rows: Vec<ChainRow> = on!(self.0.readers(), |db, q| {
            sqlx::query_as(q(CHAIN)).bind(low).bind(high).bind(session).fetch_all(db).await?
        });
        let read = |ChainRow { binding, plugin, version }| {
            let (binding, version) = (BindingRow::open(binding, self.0.vault())?, VersionRow::into_version(version)?);
            Ok(Bound { binding, plugin: PluginRow::into_plugin(plugin), version })
        };
        rows.into_iter().map(read).collect()
    }
}

#[derive(FromRow)]
struct ChainRow {
    #[sqlx(flatten)]
    binding: BindingRow,
    #[sqlx(flatten)]
    plugin: PluginRow,
    #[sqlx(flatten)]
    version: VersionRow,
}

#[derive(FromRow)]
struct BindingRow {
    binding_id: BindingId,
    plugin_id: PluginId,
    session_id: Option<SessionId>,
    position: i64,
    config: Vec<u8>,
    limits: String,
    policy: String,
    runs: bool,
    revision: i64,
}

impl BindingRow {
    /// The binding with its configuration opened.
    fn open(self, vault: &Vault) -> Result<Binding, StoreError> {
        let Self { binding_id: id, plugin_id: plugin, session_id: session, position, revision, .. } = self;
        let config = vault.unseal(address(&plugin, &id), &self.config).and_then(|json| String::from_utf8(json).ok());
        let config = SecretString::from(config.ok_or(StoreError::Sealed("a plugin's configuration"))?);
        let limits = parsed(&self.limits)?;
        let policy = FailurePolicy::named(&self.policy).ok_or_else(|| unknown("failure policy", &self.policy))?;
        Ok(Binding { id, plugin, session, position, config, limits, policy, enabled: self.runs, revision })
    }
}

fn seal(vault: &Vault, binding: &Binding) -> Vec<u8> {
    vault.seal(address(&binding.plugin, &binding.id), binding.config.expose_secret().as_bytes())
}

fn address<'a>(plugin: &'a PluginId, binding: &'a BindingId) -> Address<'a> {
    Address { table: "plugin_bindings", column: "config", owner: plugin.as_str(), row: binding.as_str().as_bytes() }
}
