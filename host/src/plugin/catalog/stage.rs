//! What a rehearsal needs: the chains to run and the endpoints to shape for.

use std::sync::PoisonError;

use secrecy::SecretString;
use serde_json::Value;

use super::{Catalog, CatalogError, checks, configuration, fresh};
use crate::model::{Binding, Bound, Endpoint, Limits, Millis, Plugin, PluginId, Scope, SessionId, UserId};
use crate::plugin::masking;
use crate::plugin::rehearse::{Stages, Trial, staged};

/// How a plugin is to be tried. What is `None` is taken from where it is bound.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// The version; the one that runs when `None`.
    pub version: Option<u32>,
    /// The configuration.
    pub config: Option<Value>,
    /// What a call may use.
    pub limits: Option<Limits>,
    /// Whether it stands alone, without the rest of the session's chain.
    pub alone: bool,
}

/// A user's replay, while it is under way.
#[derive(Debug)]
pub struct Replaying {
    catalog: Catalog,
    owner: UserId,
}

impl Drop for Replaying {
    fn drop(&mut self) {
        self.catalog.0.replaying.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.owner);
    }
}

/// Where webhooks of a session without endpoints would go.
const NOWHERE: &str = "https://example.org/webhook";

impl Catalog {
    /// A session's chain as it is, and with the plugin standing in it as wished; a session without endpoints gets one
    /// that is made up, so that its webhooks can be seen. The plugin has accepted the configuration.
    pub async fn stages(
        &self,
        scope: Scope,
        id: &PluginId,
        session: &SessionId,
        wish: &Wish,
    ) -> Result<Stages, CatalogError> {
        let plugin = self.plugin(scope, id).await?;
        let version = self.version(scope, id, wish.version.unwrap_or(plugin.current)).await?;
        let bindings = self.wished(scope, &plugin, session, wish).await?;
        for binding in &bindings {
            let bound = Bound { binding: binding.clone(), plugin: plugin.clone(), version: version.clone() };
            self.0.plugins.try_init(&bound).await?;
        }
        let store = &self.0.store;
        let chain = store.plugins(scope).chain(session).await?;
        let trial = Trial { plugin, version, bindings };
        let after = staged(if wish.alone { &[] } else { &chain }, &trial);
        let mut endpoints = store.endpoints(scope).of_session(session).await?;
        if endpoints.is_empty() {
            endpoints.extend(made_up(session));
        }
        Ok(Stages { before: chain.into(), after, endpoints })
    }

    /// The session a made-up message is tried on: the one the plugin is bound to, else the caller's first, else one
    /// that does not exist.
    pub async fn usual_session(&self, scope: Scope, id: &PluginId) -> Result<SessionId, CatalogError> {
        let bound = self.bindings(scope, id).await?.into_iter().find_map(|binding| binding.session);
        let first = self.0.store.sessions(scope).list().await?.into_iter().next().map(|session| session.id);
        Ok(bound.or(first).unwrap_or_else(SessionId::new))
    }

    /// Begins a replay for the user, who may have one at a time.
    pub fn begin_replay(&self, owner: UserId) -> Result<Replaying, CatalogError> {
        let first = self.0.replaying.lock().unwrap_or_else(PoisonError::into_inner).insert(owner);
        if first { Ok(Replaying { catalog: self.clone(), owner }) } else { Err(CatalogError::Replaying) }
    }

    /// Whether a plugin's bindings let it run on the session; one that is bound nowhere is tried on all.
    pub fn covers(bindings: &[Binding], session: &SessionId) -> bool {
        let mut enabled = bindings.iter().filter(|binding| binding.enabled).peekable();
        enabled.peek().is_none() || enabled.any(|binding| is_on(binding, session))
    }

    /// Where the plugin would run on the session, or as if it were bound there as it is bound first, with the wishes
    /// over it.
    async fn wished(
        &self,
        scope: Scope,
        plugin: &Plugin,
        session: &SessionId,
        wish: &Wish,
    ) -> Result<Vec<Binding>, CatalogError> {
        let mut bindings = self.0.store.plugins(scope).bindings(&plugin.id).await?;
        let first = bindings.first().cloned();
        bindings.retain(|binding| binding.enabled && is_on(binding, session));
        if bindings.is_empty() {
            bindings.push(first.unwrap_or_else(|| fresh(plugin)));
        }
        let over = |mut binding: Binding| {
            if let Some(config) = &wish.config {
                let config = masking::unmasked(config.clone(), &configuration(&binding))?;
                binding.config = SecretString::from(checks::config(&config)?);
            }
            if let Some(limits) = wish.limits {
                binding.limits = checks::limits(limits)?;
            }
            Ok(binding)
        };
        bindings.into_iter().map(over).collect()
    }
}

fn is_on(binding: &Binding, session: &SessionId) -> bool {
    binding.session.as_ref().is_none_or(|bound| bound == session)
}

/// An endpoint that does not exist.
fn made_up(session: &SessionId) -> Option<Endpoint> {
    Some(Endpoint::plain(UserId(0), Some(session.clone()), "default", NOWHERE.parse().ok()?, Millis(0)))
}
