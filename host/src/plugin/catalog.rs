//! The catalog: what is installed, in which versions, and where it is bound. Everything is looked at and tried before it
//! is stored, so that a plugin that cannot run is refused while somebody is there to read why.
//!
//! Invariant: after every change the chains are read anew and what waits for the plugin is due at once, also when
//! whoever asked for it did not wait for the answer.

mod bindings;
mod checks;
mod error;
mod gift;
mod stage;

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use self::bindings::fresh;
pub use self::bindings::{Draft, POSITION, configuration};
pub use self::checks::ungranted;
pub use self::error::CatalogError;
use self::gift::Gifts;
pub use self::stage::{Replaying, Wish};
use super::{Health, Plugins, Refusal, builtin};
use crate::model::{Binding, Bound, Grants, Plugin, PluginId, PluginVersion, Report, Scope, UserId};
use crate::store::plugins::NewVersion;
use crate::store::{Store, StoreError};

/// Plugins a user may have, bindings a plugin.
const MOST: usize = 100;

/// Bindings in force that may meet on one session: each is a call on the way of every message.
const LONGEST_CHAIN: u64 = 32;

/// The catalog of all users. Cheap to clone.
#[derive(Clone)]
pub struct Catalog(Arc<Inner>);

struct Inner {
    plugins: Plugins,
    store: Store,
    gifts: Gifts,
    /// Users with a replay under way.
    replaying: Mutex<HashSet<UserId>>,
    released: Box<dyn Fn() + Send + Sync>,
}

/// What is to be installed.
#[derive(Clone, Debug)]
pub enum Source {
    /// A component's bytes.
    Component(Bytes),
    /// JavaScript, run by the component that runs scripts.
    Script(String),
}

/// A plugin with everything the catalog knows of it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The plugin.
    pub plugin: Plugin,
    /// The version that runs.
    pub version: PluginVersion,
    /// Where it runs, in the order the bindings were made.
    pub bindings: Vec<Binding>,
    /// How it has fared.
    pub health: Health,
}

impl Source {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Component(bytes) => bytes,
            Self::Script(_) => builtin::SCRIPT,
        }
    }

    fn script(&self) -> Option<&str> {
        match self {
            Self::Component(_) => None,
            Self::Script(script) => Some(script),
        }
    }
}

impl Catalog {
    /// A catalog of these plugins. `released` is called when events that waited for a plugin have become due.
    pub fn new(plugins: Plugins, store: Store, released: impl Fn() + Send + Sync + 'static) -> Self {
        let (gifts, replaying, released) = (Gifts::default(), Mutex::default(), Box::new(released));
        Self(Arc::new(Inner { plugins, store, gifts, replaying, released }))
    }

    /// The plugins it is the catalog of.
    pub fn plugins(&self) -> &Plugins {
        &self.0.plugins
    }

    /// Longest component that can be installed, in bytes.
    pub fn max_component(&self) -> usize {
        self.0.plugins.0.config.max_component()
    }

    /// Looks at a component or a script; stores nothing.
    pub async fn check(&self, source: &Source) -> Result<Report, Refusal> {
        self.0.plugins.inspect(source.bytes(), source.script()).await
    }

    /// Gives a user the gateway's own plugins, once. A failure is logged and tried again at the next occasion: nobody
    /// who asks for something else is to suffer from it.
    pub async fn welcome(&self, owner: UserId) {
        if let Err(error) = gift::give(self, owner).await {
            tracing::warn!(user = %owner, %error, "the gateway's own plugins could not be given to a user");
        }
    }

    /// The same for every user: at the start, before anything is routed.
    pub async fn welcome_all(&self) -> Result<(), StoreError> {
        for user in self.0.store.users().list().await? {
            self.welcome(user.id).await;
        }
        Ok(())
    }

    /// A user's plugins, in the order they were installed.
    pub async fn list(&self, owner: UserId) -> Result<Vec<Entry>, CatalogError> {
        self.welcome(owner).await;
        let mut entries = Vec::new();
        for plugin in self.0.store.plugins(Scope::of(owner)).list().await? {
            // One removed meanwhile is left out.
            entries.extend(self.entry(Scope::of(owner), plugin).await?);
        }
        Ok(entries)
    }

    /// One plugin.
    pub async fn get(&self, scope: Scope, id: &PluginId) -> Result<Entry, CatalogError> {
        let plugin = self.plugin(scope, id).await?;
        self.entry(scope, plugin).await?.ok_or(CatalogError::Missing("plugin"))
    }

    /// A plugin's versions, oldest first.
    pub async fn versions(&self, scope: Scope, id: &PluginId) -> Result<Vec<PluginVersion>, CatalogError> {
        self.plugin(scope, id).await?;
        Ok(self.0.store.plugins(scope).versions(id).await?)
    }

    /// Installs a plugin with its first version; without a name it gets the one it gives itself. It runs nowhere until
    /// it is bound. What a component imports must be granted, unless that is accepted.
    pub async fn install(
        &self,
        owner: UserId,
        name: Option<&str>,
        source: &Source,
        grants: Grants,
        accept_ungranted: bool,
    ) -> Result<Entry, CatalogError> {
        let scope = Scope::of(owner);
        let name = name.map(checks::name).transpose()?;
        let report = self.admitted(source, &grants, accept_ungranted).await?;
        let name = name.map_or_else(|| checks::name(&report.name), Ok)?;
        let store = self.0.store.plugins(scope);
        if store.by_name(&name).await?.is_some() {
            return Err(CatalogError::NameTaken(name));
        }
        if store.list().await?.len() >= MOST {
            return Err(CatalogError::Full("plugins"));
        }
        let version = self.new_version(source, grants, report).await?;
        let (plugin, version) = store.install(owner, &name, version).await.map_err(|error| match error {
            StoreError::Taken(_) => CatalogError::NameTaken(name),
            error => error.into(),
        })?;
        let health = self.0.plugins.health(&plugin.id);
        Ok(Entry { plugin, version, bindings: Vec::new(), health })
    }

    /// Adds a version, with the grants of the present one unless others are given, and makes it the one that runs if
    /// asked to. Where there are very many, the oldest that does not run makes way.
    pub async fn add_version(
        &self,
        scope: Scope,
        id: &PluginId,
        source: &Source,
        grants: Option<Grants>,
        accept_ungranted: bool,
        activate: bool,
    ) -> Result<PluginVersion, CatalogError> {
        let plugin = self.plugin(scope, id).await?;
        let versions = self.0.store.plugins(scope).versions(id).await?;
        let present = versions.iter().find(|version| version.number == plugin.current);
        let grants = grants.or_else(|| present.map(|version| version.grants.clone())).unwrap_or_default();
        let report = self.admitted(source, &grants, accept_ungranted).await?;
        let version = self.new_version(source, grants, report).await?;
        let added = self.0.store.plugins(scope).add_version(id, version).await?;
        let version = added.ok_or(CatalogError::Missing("plugin"))?;
        if activate {
            self.activate(scope, &plugin, &version).await?;
        }
        Ok(version)
    }

    /// Switches a plugin on or off, or makes another of its versions the one that runs.
    pub async fn change(
        &self,
        scope: Scope,
        id: &PluginId,
        enabled: Option<bool>,
        current: Option<u32>,
    ) -> Result<Entry, CatalogError> {
        let plugin = self.plugin(scope, id).await?;
        if let Some(number) = current {
            let version = self.version(scope, id, number).await?;
            self.activate(scope, &plugin, &version).await?;
        }
        if let Some(enabled) = enabled {
            let (store, plugin) = (self.0.store.clone(), id.clone());
            let switch =
                async move { Ok::<_, CatalogError>(store.plugins(scope).set_enabled(&plugin, enabled).await?) };
            self.commit(scope, id, switch).await?;
        }
        self.get(scope, id).await
    }

    /// Removes a plugin with its versions, bindings, values and logs.
    pub async fn remove(&self, scope: Scope, id: &PluginId) -> Result<(), CatalogError> {
        let (store, plugin) = (self.0.store.clone(), id.clone());
        let remove = async move {
            let removed = store.plugins(scope).remove(&plugin).await?;
            if removed { Ok(()) } else { Err(CatalogError::Missing("plugin")) }
        };
        self.commit(scope, id, remove).await
    }

    /// Makes what waits for a plugin due now; answers how many events those are.
    pub async fn release(&self, scope: Scope, id: &PluginId) -> Result<u64, CatalogError> {
        self.plugin(scope, id).await?;
        let released = self.0.store.events(scope).release_held(id).await?;
        (self.0.released)();
        Ok(released)
    }

    /// A plugin of this scope.
    pub(super) async fn plugin(&self, scope: Scope, id: &PluginId) -> Result<Plugin, CatalogError> {
        self.0.store.plugins(scope).get(id).await?.ok_or(CatalogError::Missing("plugin"))
    }

    /// A version of a plugin.
    pub(super) async fn version(
        &self,
        scope: Scope,
        id: &PluginId,
        number: u32,
    ) -> Result<PluginVersion, CatalogError> {
        let versions = self.0.store.plugins(scope).versions(id).await?;
        versions.into_iter().find(|version| version.number == number).ok_or(CatalogError::NoVersion(number))
    }

    /// The plugin with its present version and bindings; `None` when it went meanwhile.
    async fn entry(&self, scope: Scope, plugin: Plugin) -> Result<Option<Entry>, StoreError> {
        let store = self.0.store.plugins(scope);
        let versions = store.versions(&plugin.id).await?;
        let Some(version) = versions.into_iter().find(|version| version.number == plugin.current) else {
            return Ok(None);
        };
        let bindings = store.bindings(&plugin.id).await?;
        let health = self.0.plugins.health(&plugin.id);
        Ok(Some(Entry { plugin, version, bindings, health }))
    }

    /// Looks at what is to be installed, and at what it imports.
    async fn admitted(&self, source: &Source, grants: &Grants, accept_ungranted: bool) -> Result<Report, CatalogError> {
        let report = self.check(source).await?;
        // The component that runs scripts imports everything.
        if !accept_ungranted && source.script().is_none() {
            checks::imports(&report, grants)?;
        }
        Ok(report)
    }

    async fn new_version(&self, source: &Source, grants: Grants, report: Report) -> Result<NewVersion, StoreError> {
        // The gateway's own scope: components belong to nobody.
        let component = self.0.store.plugins(Scope::gateway()).add_component(source.bytes()).await?;
        Ok(NewVersion { component, script: source.script().map(str::to_owned), grants, report })
    }

    /// Makes a version the one that runs, after it has started under every binding that is in force.
    async fn activate(&self, scope: Scope, plugin: &Plugin, version: &PluginVersion) -> Result<(), CatalogError> {
        let bindings = self.0.store.plugins(scope).bindings(&plugin.id).await?;
        for binding in bindings.into_iter().filter(|binding| binding.enabled) {
            let bound = Bound { binding, plugin: plugin.clone(), version: version.clone() };
            if let Err(refusal) = self.0.plugins.try_init(&bound).await {
                let (version, binding) = (version.number, bound.binding.id);
                return Err(CatalogError::Unfit { version, binding, refusal });
            }
        }
        let (store, id, number) = (self.0.store.clone(), plugin.id.clone(), version.number);
        let switch = async move { Ok::<_, CatalogError>(store.plugins(scope).set_current(&id, number).await?) };
        self.commit(scope, &plugin.id, switch).await?;
        Ok(())
    }

    /// Makes a change and tells the chains, in a task that goes on when whoever asked for the change leaves meanwhile.
    async fn commit<T, F>(&self, scope: Scope, id: &PluginId, change: F) -> Result<T, CatalogError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, CatalogError>> + Send + 'static,
    {
        let (catalog, id) = (self.clone(), id.clone());
        let whole = async move {
            let done = change.await?;
            catalog.changed(scope, &id).await?;
            Ok(done)
        };
        let finished = self.0.plugins.0.tasks.finish("plugin change", whole).await;
        let unfinished = || Refusal::Unavailable("the change was not finished".to_owned());
        finished.unwrap_or_else(|| Err(unfinished().into()))
    }

    async fn changed(&self, scope: Scope, id: &PluginId) -> Result<(), CatalogError> {
        self.0.plugins.forget();
        self.0.store.events(scope).release_held(id).await?;
        (self.0.released)();
        Ok(())
    }
}

impl std::fmt::Debug for Catalog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Catalog").finish_non_exhaustive()
    }
}
