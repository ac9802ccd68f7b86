//! The gateway's way: everything it does for an incoming message between reading its event and committing what the
//! plugins decided. The chain comes from the catalog's store, the verdict is checked and applied, what the call left is
//! collected.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use secrecy::SecretString;
use tempfile::TempDir;
use wagate::app::tasks::Tasks;
use wagate::config::Config;
use wagate::egress::Egress;
use wagate::model::{
    Clock, Event, FailurePolicy, Grants, Incoming, Limits, MessageId, MessageKind, Millis, Reuse, Role, Scope,
    SessionId, UserId,
};
use wagate::plugin::{Filtered, Plugins};
use wagate::store::plugins::{NewBinding, NewVersion};
use wagate::store::{Store, Vault};

/// The gateway's plugins over a store of their own.
pub(crate) struct Ours {
    store: Store,
    plugins: Plugins,
    owner: UserId,
    tasks: Tasks,
    _dir: TempDir,
}

/// A message in a session of its own, to which one plugin is bound.
pub(crate) struct Chain(Event);

impl Ours {
    pub(crate) async fn start() -> Result<Self> {
        let dir = TempDir::new()?;
        let config = Config::for_tests(dir.path())?;
        let (clock, tasks) = (Clock::System, Tasks::new());
        let store = Store::open(&config.database, Vault::open(&config.vault).await?, clock.clone(), &tasks).await?;
        let owner = store.users().add("ann", Role::User, "$argon2id$", false).await?.id;
        let egress = Egress::new(&config.webhook, false)?;
        let plugins = Plugins::start(config.plugin, store.clone(), egress, clock, &tasks)?;
        Ok(Self { store, plugins, owner, tasks, _dir: dir })
    }

    /// Installs the plugin and binds it to a new session. The gateway itself runs a compiled plugin fresh and a script
    /// warm; `reuse` is what is to be measured.
    pub(crate) async fn chain(
        &self,
        name: &str,
        component: &[u8],
        script: Option<&str>,
        config: &str,
        reuse: Reuse,
    ) -> Result<Chain> {
        let scope = Scope::of(self.owner);
        let session = self.store.sessions(scope).create(self.owner, SessionId::new(), name, None).await?.id;
        let mut report = self.plugins.inspect(component, script).await?;
        let usual = if script.is_some() { Reuse::Warm } else { Reuse::Fresh };
        ensure!(report.reuse == usual, "the gateway would run {name} {:?}", report.reuse);
        report.reuse = reuse;
        let component = self.store.plugins(scope).add_component(component).await?;
        let version = NewVersion { component, script: script.map(str::to_owned), grants: Grants::default(), report };
        let (plugin, _) = self.store.plugins(scope).install(self.owner, name, version).await?;
        let binding = NewBinding {
            plugin: plugin.id,
            session: Some(session.clone()),
            position: 0,
            config: SecretString::from(config),
            limits: Limits::default(),
            policy: FailurePolicy::Open,
            enabled: true,
        };
        self.store.plugins(scope).bind(binding).await?.context("no such plugin")?;
        self.plugins.forget();
        let fresh = self.store.events(Scope::gateway()).receive(&session, &[message()?]).await?;
        fresh.into_iter().next().map(Chain).context("the message is not new")
    }

    /// The median of its calls, in microseconds.
    pub(crate) async fn calls(&self, Chain(event): &Chain) -> Result<f64> {
        crate::median(async || {
            let mut passage = self.plugins.passage(event, 1).await?;
            let filtered = passage.filter().await;
            let left = passage.finish();
            // A plugin that fails would be fast.
            let Filtered::Forward { route_to: Some(names) } = &filtered else {
                anyhow::bail!("the gateway decided {filtered:?} after {:?}", left.steps);
            };
            ensure!(*names == ["billing"] && left.labels.contains_key("route"), "{names:?}, {:?}", left.labels);
            Ok(())
        })
        .await
    }

    pub(crate) async fn stop(self) {
        self.store.close().await;
        self.tasks.stop(Duration::from_secs(5)).await;
    }
}

fn message() -> Result<Incoming> {
    Ok(Incoming {
        id: MessageId::new(),
        kind: MessageKind::Text,
        chat: "6281381393739".parse()?,
        sender: "6281381393739".parse()?,
        sender_alt: None,
        to: "6282260790996".parse()?,
        from_me: false,
        text: Some(crate::text()),
        push_name: Some("Somebody".to_owned()),
        sent_at: Millis(1_643_723_400_000),
        backfill: false,
        chat_alt: None,
        target: None,
    })
}
