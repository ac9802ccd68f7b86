//! Plugins tried on this machine, without a gateway: a store and a catalog in a folder of their own.
//!
//! Invariant: nothing is left behind but compiled code, and that only where a gateway keeps its own.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{grants, show};
use crate::app::tasks::Tasks;
use crate::cli::say;
use crate::config::{Config, DatabaseConfig, VaultConfig};
use crate::egress::Egress;
use crate::model::{Clock, Grants, Hook, Role, Scope, SessionId, User};
use crate::plugin::Plugins;
use crate::plugin::catalog::{Catalog, Draft, Source, Wish};
use crate::plugin::rehearse::{Sample, rehearse};
use crate::store::{Store, Vault};

/// How long the bench may take to be cleared.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

/// Prints what a look at the plugin finds.
pub(super) async fn check(config: &Config, source: &Source) -> Result<()> {
    let bench = Bench::set(config).await?;
    let report = bench.catalog.check(source).await;
    bench.clear().await;
    show::report(&report?);
    Ok(())
}

/// Prints what the plugin would make of a message.
pub(super) async fn run(
    config: &Config,
    source: &Source,
    message: Value,
    configuration: Option<Value>,
    words: &[String],
) -> Result<()> {
    let granted = (!words.is_empty()).then(|| grants(words)).transpose()?;
    // A file saved from a trace or a webhook has the message one level down.
    let message = message.get("message").filter(|inner| inner.is_object()).cloned().unwrap_or(message);
    let sample: Sample = serde_json::from_value(message).context("the message does not fit")?;
    let bench = Bench::set(config).await?;
    let tried = bench.rehearse(source, sample, configuration, granted).await;
    bench.clear().await;
    tried
}

/// A store, a catalog and a folder, all to be thrown away.
struct Bench {
    folder: Folder,
    store: Store,
    catalog: Catalog,
    tasks: Tasks,
    clock: Clock,
}

/// A folder that is removed when this goes.
struct Folder(PathBuf);

impl Bench {
    async fn set(config: &Config) -> Result<Self> {
        let folder = Folder::make()?;
        let (tasks, clock) = (Tasks::new(), Clock::System);
        let vault = Vault::open(&VaultConfig::in_file(folder.0.join("master.key"))).await?;
        let database = DatabaseConfig::Sqlite { path: folder.0.join("bench.db") };
        let store = Store::open(&database, vault, clock.clone(), &tasks).await?;
        let _installed_before = rustls::crypto::ring::default_provider().install_default();
        let egress = Egress::new(&config.webhook, false)?;
        let mut settings = config.plugin.clone();
        if !config.data_dir.exists() {
            settings.cache_dir = folder.0.join("compiled");
        }
        let plugins = Plugins::start(settings, store.clone(), egress, clock.clone(), &tasks)?;
        let catalog = Catalog::new(plugins, store.clone(), || ());
        Ok(Self { folder, store, catalog, tasks, clock })
    }

    /// Installs and binds it here as a gateway would, and rehearses it.
    async fn rehearse(
        &self,
        source: &Source,
        sample: Sample,
        configuration: Option<Value>,
        granted: Option<Grants>,
    ) -> Result<()> {
        let (user, session) = self.tenant().await?;
        let scope = Scope::of(user.id);
        let report = self.catalog.check(source).await?;
        let granted = match granted {
            Some(granted) => granted,
            None => Grants::parse(&report.wants)?,
        };
        if report.hooks.contains(&Hook::WebhookTransform) {
            self.catalog.welcome(user.id).await;
        }
        // What is not granted is denied here: that is to be seen, too.
        let entry = self.catalog.install(user.id, Some("tried"), source, granted, true).await?;
        let draft = Draft { config: configuration, ..Draft::default() };
        self.catalog.bind(scope, &entry.plugin.id, draft).await?;
        let stages = self.catalog.stages(scope, &entry.plugin.id, &session, &Wish::default()).await?;
        let event = sample.into_event(session, self.clock.now()).context("the message cannot be made up")?;
        let rehearsal = rehearse(self.catalog.plugins(), &stages.after, &event, &stages.endpoints).await;
        show::rehearsal(&rehearsal);
        let failed = rehearsal.left.steps.iter().find(|step| step.verdict == "failed");
        if let Some(step) = failed {
            bail!("{} failed: {}", step.name, step.detail.as_deref().unwrap_or("it did not say why"));
        }
        Ok(())
    }

    /// Somebody to install it for, and a session to run it on.
    async fn tenant(&self) -> Result<(User, SessionId)> {
        let user = self.store.users().add("bench", Role::User, "nobody logs in here", true).await?;
        let session = SessionId::new();
        self.store.sessions(Scope::of(user.id)).create(user.id, session.clone(), "bench", None).await?;
        Ok((user, session))
    }

    async fn clear(self) {
        self.store.close().await;
        self.tasks.stop(PATIENCE).await;
        drop(self.folder);
    }
}

impl Folder {
    /// An empty folder that only its owner may enter.
    fn make() -> Result<Self> {
        use std::os::unix::fs::DirBuilderExt as _;
        let path: &Path = &std::env::temp_dir();
        let path = path.join(format!("wagate-{}", crate::model::RequestId::new()));
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("the folder {} cannot be made", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            say::aside(&format!("The folder {} could not be removed: {error}", self.0.display()));
        }
    }
}
