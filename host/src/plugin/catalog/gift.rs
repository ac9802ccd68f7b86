//! The gateway's own plugin `forward`, given once to every user: without it a webhook would not carry the founding body.
//!
//! Invariant: what a user removed does not come back, and what a user replaced is not replaced again.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::sync::OnceCell;

use super::{Catalog, CatalogError, Source, fresh};
use crate::model::{Binding, FailurePolicy, Grants, Plugin, Report, Scope, UserId};
use crate::plugin::builtin;
use crate::plugin::compile::hex;
use crate::store::StoreError;
use crate::store::plugins::{NewBinding, NewVersion};

/// Its name in the catalog.
const FORWARD: &str = "forward";

/// What has been given in this run of the gateway.
#[derive(Default)]
pub(super) struct Gifts {
    /// Users who have the newest.
    served: Mutex<HashSet<UserId>>,
    /// One gift at a time: two for the same user would meet.
    giving: tokio::sync::Mutex<()>,
    /// What looking at the component found.
    report: OnceCell<Report>,
}

impl Gifts {
    fn has(&self, owner: UserId) -> bool {
        self.served.lock().unwrap_or_else(PoisonError::into_inner).contains(&owner)
    }

    fn note(&self, owner: UserId) {
        self.served.lock().unwrap_or_else(PoisonError::into_inner).insert(owner);
    }
}

/// Gives the user what they do not have yet.
pub(super) async fn give(catalog: &Catalog, owner: UserId) -> Result<(), CatalogError> {
    let gifts = &catalog.0.gifts;
    if gifts.has(owner) {
        return Ok(());
    }
    let _alone = gifts.giving.lock().await;
    let newest = hex(&Sha256::digest(builtin::FORWARD));
    let store = catalog.0.store.plugins(Scope::of(owner));
    let given = store.gifts(owner).await?.into_iter().find(|(name, _)| name == FORWARD).map(|(_, component)| component);
    let present = store.by_name(FORWARD).await?;
    match (given, present) {
        (Some(given), _) if given == newest => {}
        (Some(given), Some(plugin)) => renew(catalog, owner, &plugin, &given).await?,
        // Removed by its user.
        (Some(_), None) => {}
        (None, None) => install(catalog, owner).await?,
        // The user's own, or ours from a gift that was interrupted.
        (None, Some(plugin)) => complete(catalog, owner, &plugin, &newest).await?,
    }
    store.give(owner, FORWARD, &newest).await?;
    gifts.note(owner);
    Ok(())
}

async fn install(catalog: &Catalog, owner: UserId) -> Result<(), CatalogError> {
    let version = version(catalog).await?;
    let (plugin, _) = catalog.0.store.plugins(Scope::of(owner)).install(owner, FORWARD, version).await?;
    bind(catalog, owner, &plugin).await
}

/// Binds it, if it is ours and was not bound.
async fn complete(catalog: &Catalog, owner: UserId, plugin: &Plugin, newest: &str) -> Result<(), CatalogError> {
    let scope = Scope::of(owner);
    let ours = catalog.version(scope, &plugin.id, plugin.current).await?.component == newest;
    if ours && catalog.0.store.plugins(scope).bindings(&plugin.id).await?.is_empty() {
        bind(catalog, owner, plugin).await?;
    }
    Ok(())
}

/// Replaces the component given before, if it is still the one that runs.
async fn renew(catalog: &Catalog, owner: UserId, plugin: &Plugin, given: &str) -> Result<(), CatalogError> {
    let scope = Scope::of(owner);
    if catalog.version(scope, &plugin.id, plugin.current).await?.component != given {
        return Ok(());
    }
    let version = version(catalog).await?;
    let (store, id) = (catalog.0.store.clone(), plugin.id.clone());
    let renew = async move {
        if let Some(version) = store.plugins(scope).add_version(&id, version).await? {
            store.plugins(scope).set_current(&id, version.number).await?;
        }
        Ok::<_, CatalogError>(())
    };
    catalog.commit(scope, &plugin.id, renew).await
}

/// On all sessions, in front of the user's own. A body that cannot be made now is made later: a webhook in another
/// shape than the receiver knows would be as good as lost.
async fn bind(catalog: &Catalog, owner: UserId, plugin: &Plugin) -> Result<(), CatalogError> {
    let (id, Binding { plugin, session, config, limits, enabled, .. }) = (&plugin.id, fresh(plugin));
    let new = NewBinding { plugin, session, position: 0, config, limits, policy: FailurePolicy::Park, enabled };
    let (store, scope) = (catalog.0.store.clone(), Scope::of(owner));
    let bind = async move { Ok::<_, CatalogError>(store.plugins(scope).bind(new).await?) };
    catalog.commit(scope, id, bind).await?;
    Ok(())
}

async fn version(catalog: &Catalog) -> Result<NewVersion, CatalogError> {
    let source = Source::Component(Bytes::from_static(builtin::FORWARD));
    let report = catalog.0.gifts.report.get_or_try_init(|| catalog.check(&source)).await?;
    let version: Result<_, StoreError> = catalog.new_version(&source, Grants::default(), report.clone()).await;
    Ok(version?)
}
