//! Where plugins run. A configuration is stored only after the plugin's own `init` has accepted it.

use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::{Catalog, CatalogError, LONGEST_CHAIN, MOST, checks};
use crate::model::{Binding, BindingId, Bound, FailurePolicy, Limits, Plugin, PluginId, Scope, SessionId};
use crate::plugin::masking;
use crate::store::plugins::NewBinding;

/// A binding as it is asked for, or the change of one: what is `None` stays.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    /// The session, or `Some(None)` for all of the owner's.
    pub session: Option<Option<SessionId>>,
    /// The place in the chain.
    pub position: Option<i64>,
    /// The configuration; masked values stand for what is stored.
    pub config: Option<Value>,
    /// What a call may use.
    pub limits: Option<Limits>,
    /// What becomes of a message when a call fails.
    pub policy: Option<FailurePolicy>,
    /// Whether it runs.
    pub enabled: Option<bool>,
}

/// Where a binding stands when nothing is said: behind the gateway's own `forward`, which stands at 0.
pub const POSITION: i64 = 100;

impl Catalog {
    /// Where a plugin runs.
    pub async fn bindings(&self, scope: Scope, id: &PluginId) -> Result<Vec<Binding>, CatalogError> {
        self.plugin(scope, id).await?;
        Ok(self.0.store.plugins(scope).bindings(id).await?)
    }

    /// Binds a plugin, after it has accepted the configuration.
    pub async fn bind(&self, scope: Scope, id: &PluginId, draft: Draft) -> Result<Binding, CatalogError> {
        let plugin = self.plugin(scope, id).await?;
        if self.0.store.plugins(scope).bindings(id).await?.len() >= MOST {
            return Err(CatalogError::Full("bindings"));
        }
        let binding = self.drafted(scope, draft, fresh(&plugin)).await?;
        self.try_out(scope, &plugin, &binding).await?;
        let Binding { plugin, session, position, config, limits, policy, enabled, .. } = binding;
        let new = NewBinding { plugin, session, position, config, limits, policy, enabled };
        let store = self.0.store.clone();
        let bind = async move { store.plugins(scope).bind(new).await?.ok_or(CatalogError::Missing("session")) };
        self.commit(scope, id, bind).await
    }

    /// Changes a binding, after the plugin has accepted the configuration.
    pub async fn rebind(
        &self,
        scope: Scope,
        id: &PluginId,
        binding: &BindingId,
        draft: Draft,
    ) -> Result<Binding, CatalogError> {
        let plugin = self.plugin(scope, id).await?;
        let present = self.binding(scope, id, binding).await?;
        let binding = self.drafted(scope, draft, present).await?;
        self.try_out(scope, &plugin, &binding).await?;
        let store = self.0.store.clone();
        let rebind =
            async move { store.plugins(scope).rebind(&binding).await?.ok_or(CatalogError::Missing("session")) };
        self.commit(scope, id, rebind).await
    }

    /// Takes a binding away.
    pub async fn unbind(&self, scope: Scope, id: &PluginId, binding: &BindingId) -> Result<(), CatalogError> {
        self.binding(scope, id, binding).await?;
        let (store, binding) = (self.0.store.clone(), binding.clone());
        let unbind = async move { Ok::<_, CatalogError>(store.plugins(scope).unbind(&binding).await?) };
        self.commit(scope, id, unbind).await?;
        Ok(())
    }

    async fn binding(&self, scope: Scope, id: &PluginId, binding: &BindingId) -> Result<Binding, CatalogError> {
        let found = self.0.store.plugins(scope).binding(binding).await?;
        found.filter(|found| found.plugin == *id).ok_or(CatalogError::Missing("binding"))
    }

    /// The binding as the draft wants it.
    async fn drafted(&self, scope: Scope, draft: Draft, present: Binding) -> Result<Binding, CatalogError> {
        let Draft { session, position, config, limits, policy, enabled } = draft;
        if let Some(Some(id)) = &session
            && self.0.store.sessions(scope).get(id).await?.is_none()
        {
            return Err(CatalogError::Missing("session"));
        }
        let config = match config {
            Some(given) => SecretString::from(checks::config(&masking::unmasked(given, &configuration(&present))?)?),
            None => present.config,
        };
        Ok(Binding {
            session: session.unwrap_or(present.session),
            position: position.unwrap_or(present.position),
            config,
            limits: limits.map_or(Ok(present.limits), checks::limits)?,
            policy: policy.unwrap_or(present.policy),
            enabled: enabled.unwrap_or(present.enabled),
            ..present
        })
    }

    /// Looks for room in the chain and lets the version that runs check the binding's configuration. For one that is
    /// switched off nothing is asked.
    async fn try_out(&self, scope: Scope, plugin: &Plugin, binding: &Binding) -> Result<(), CatalogError> {
        if binding.enabled {
            let others = self.0.store.plugins(Scope::of(plugin.owner));
            if others.crowd(binding.session.as_ref(), &binding.id).await? >= LONGEST_CHAIN {
                return Err(CatalogError::Crowded);
            }
            let version = self.version(scope, &plugin.id, plugin.current).await?;
            let bound = Bound { binding: binding.clone(), plugin: plugin.clone(), version };
            self.0.plugins.try_init(&bound).await?;
        }
        Ok(())
    }
}

/// A binding that nothing has been said about yet.
pub(super) fn fresh(plugin: &Plugin) -> Binding {
    Binding {
        id: BindingId::new(),
        plugin: plugin.id.clone(),
        session: None,
        position: POSITION,
        config: SecretString::from("{}"),
        limits: Limits::default(),
        policy: FailurePolicy::default(),
        enabled: true,
        revision: 0,
    }
}

/// A binding's configuration with its secrets. Show it [`masking::masked`] only.
pub fn configuration(binding: &Binding) -> Value {
    serde_json::from_str(binding.config.expose_secret()).unwrap_or_default()
}
