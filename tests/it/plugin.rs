//! Plugins: the host on its own, over a real store, with components written for the purpose; and on the journeys of a
//! whole gateway.

mod host;
mod hostile;
mod journey;
mod languages;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use secrecy::SecretString;
use tempfile::TempDir;
use wagate::app::tasks::Tasks;
use wagate::config::Config;
use wagate::egress::Egress;
use wagate::model::{
    Bound, Clock, Endpoint, Event, FailurePolicy, Grants, Incoming, Limits, MessageId, MessageKind, Millis, PluginId,
    Role, Scope, Session, UserId,
};
use wagate::plugin::Plugins;
use wagate::store::plugins::{NewBinding, NewVersion};
use wagate::store::{Store, Vault};
use wagate_tests::component::Wat;
use wagate_tests::database::Database;
use wagate_tests::process::demo_binary;

/// Plugins over a store of their own: one user with one session.
struct Stage {
    store: Store,
    plugins: Plugins,
    owner: UserId,
    session: Session,
    clock: Clock,
    tasks: Tasks,
    _database: Database,
    _dir: Arc<TempDir>,
}

/// How a plugin is bound, where it matters.
struct Terms {
    grants: Vec<&'static str>,
    config: &'static str,
    limits: Limits,
    policy: FailurePolicy,
    script: Option<&'static str>,
}

impl Default for Terms {
    fn default() -> Self {
        let limits = Limits::default();
        Self { grants: Vec::new(), config: "{}", limits, policy: FailurePolicy::Open, script: None }
    }
}

impl Stage {
    async fn open() -> Result<Self> {
        let dir = Arc::new(TempDir::new()?);
        let mut config = Config::for_tests(dir.path())?;
        config.plugin.compiler = Some(compiler()?);
        let (clock, tasks) = (Clock::System, Tasks::new());
        let database = Database::of_run()?;
        let store = Store::open(
            &database.config(&dir.path().join("wagate.db"))?,
            Vault::open(&config.vault).await?,
            clock.clone(),
            &tasks,
        )
        .await?;
        let owner = store.users().add("ann", Role::User, "$argon2id$…", false).await?.id;
        let url = "https://example.org/hook".parse()?;
        let session = store.sessions(Scope::of(owner)).create(owner, "ses_shop".parse()?, "Shop", Some(&url)).await?;
        let egress = Egress::new(&config.webhook, false)?;
        let plugins = Plugins::start(config.plugin, store.clone(), egress, clock.clone(), &tasks)?;
        Ok(Self { store, plugins, owner, session, clock, tasks, _database: database, _dir: dir })
    }

    /// Installs a component and binds it to all sessions, at the end of the chain.
    async fn install(&self, name: &str, component: &[u8], terms: Terms) -> Result<PluginId> {
        let scope = Scope::of(self.owner);
        let report = self.plugins.inspect(component, terms.script).await?;
        let component = self.store.plugins(scope).add_component(component).await?;
        let grants = Grants::parse(&terms.grants)?;
        let version = NewVersion { component, script: terms.script.map(str::to_owned), grants, report };
        let (plugin, _) = self.store.plugins(scope).install(self.owner, name, version).await?;
        self.bind(&plugin.id, terms).await?;
        Ok(plugin.id)
    }

    /// Binds an installed plugin once more.
    async fn bind(&self, plugin: &PluginId, terms: Terms) -> Result<()> {
        let Terms { config, limits, policy, .. } = terms;
        let binding = NewBinding {
            plugin: plugin.clone(),
            session: None,
            position: 0,
            config: SecretString::from(config),
            limits,
            policy,
            enabled: true,
        };
        self.store.plugins(Scope::of(self.owner)).bind(binding).await?.context("no such plugin")?;
        self.plugins.forget();
        Ok(())
    }

    /// A component of one hook, installed under its own name.
    async fn install_wat(&self, name: &str, wat: Wat, terms: Terms) -> Result<PluginId> {
        self.install(name, &wat.build()?, terms).await
    }

    /// A stored message.
    async fn message(&self, text: &str) -> Result<Event> {
        let message = Incoming {
            id: MessageId::new(),
            kind: MessageKind::Text,
            chat: "6281381393739".parse()?,
            sender: "6281381393739".parse()?,
            sender_alt: None,
            to: "6282260790996".parse()?,
            from_me: false,
            text: Some(text.to_owned()),
            push_name: Some("Budi".to_owned()),
            sent_at: Millis(1_643_723_400_000),
            backfill: false,
            chat_alt: None,
            target: None,
        };
        let fresh = self.store.events(Scope::gateway()).receive(&self.session.id, &[message]).await?;
        fresh.into_iter().next().context("the message is not new")
    }

    async fn endpoint(&self) -> Result<Endpoint> {
        let endpoints = self.store.endpoints(Scope::gateway()).list(Some(&self.session.id)).await?;
        endpoints.into_iter().next().context("the session has no endpoint")
    }

    async fn chain(&self) -> Result<Vec<Bound>> {
        Ok(self.store.plugins(Scope::gateway()).chain(&self.session.id).await?)
    }

    async fn close(self) {
        self.store.close().await;
        self.tasks.stop(std::time::Duration::from_secs(5)).await;
    }
}

/// The program that compiles: the gateway's own.
fn compiler() -> Result<PathBuf> {
    demo_binary()
}
