//! The two ways to a gateway's users and sessions: through the gateway that runs, or, when none does, through its
//! database. SQLite serves one process, so the running gateway is always asked first.

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use secrecy::SecretString;

use super::gateway::Gateway;
use crate::app::tasks::Tasks;
use crate::auth::Auth;
use crate::config::{Config, DatabaseConfig, environment};
use crate::model::Clock;
use crate::store::{Store, Vault};

/// How long the database may take to close.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

/// The arguments of a command with commands of its own.
#[derive(Debug, Args)]
pub(super) struct Request<C: Subcommand> {
    #[command(subcommand)]
    pub(super) command: C,
    #[command(flatten)]
    pub(super) credentials: Credentials,
}

/// Who asks a running gateway.
#[derive(Debug, Args)]
pub(super) struct Credentials {
    /// User to log in as when a gateway runs.
    #[arg(long, global = true, value_name = "NAME", default_value = "admin")]
    username: String,
    /// Their password; better given as `WAGATE_PASSWORD`, which other users of the machine cannot see.
    #[arg(long, global = true, value_name = "PASSWORD")]
    password: Option<SecretString>,
}

impl Credentials {
    /// The running gateway, logged in; `None` when none listens where the settings say.
    pub(super) async fn knock(&self, config: &Config) -> Result<Option<Gateway>> {
        let Some(gateway) = Gateway::find(config).await? else { return Ok(None) };
        let Some(password) = self.password()? else {
            bail!(
                "a gateway runs at {} and wants a login: set WAGATE_PASSWORD, and --username unless it is admin",
                gateway.address()
            );
        };
        gateway.login(&self.username, &password).await.map(Some)
    }

    /// The same, for calls that somebody with a one-time password may not make yet.
    pub(super) async fn enter(&self, config: &Config) -> Result<Option<Gateway>> {
        let gateway = self.knock(config).await?;
        if gateway.as_ref().is_some_and(Gateway::newcomer) {
            bail!("{} has a one-time password; choose a lasting one first: wagate user password", self.username);
        }
        Ok(gateway)
    }

    /// The same, for commands that have nothing to ask but a gateway that runs.
    pub(super) async fn demand(&self, config: &Config) -> Result<Gateway> {
        let Some(gateway) = self.enter(config).await? else {
            bail!("no gateway runs at {}: start `wagate serve` and ask again", config.http.listen());
        };
        Ok(gateway)
    }

    /// The password given; `None` when there is none.
    pub(super) fn password(&self) -> Result<Option<SecretString>> {
        match &self.password {
            Some(password) => Ok(Some(password.clone())),
            None => Ok(environment("WAGATE_PASSWORD")?.map(SecretString::from)),
        }
    }
}

/// The gateway's state, opened by this process because no gateway runs.
pub(super) struct Opened {
    pub(super) store: Store,
    pub(super) auth: Auth,
    pub(super) tasks: Tasks,
}

impl Opened {
    /// Opens the state, making what does not exist yet.
    pub(super) async fn open(config: &Config) -> Result<Self> {
        let tasks = Tasks::new();
        let vault = Vault::open(&config.vault).await?;
        let store = Store::open(&config.database, vault, Clock::System, &tasks).await?;
        let auth = Auth::open(&config.auth, &config.data_dir, store.clone(), Clock::System)?;
        Ok(Self { store, auth, tasks })
    }

    /// Opens state that must exist: a list of nothing would hide a wrong `DATA_DIR`.
    pub(super) async fn existing(config: &Config) -> Result<Self> {
        if !Store::migrations(&config.database).await?.iter().any(|migration| migration.applied) {
            let on_a_file = matches!(config.database, DatabaseConfig::Sqlite { .. });
            bail!(
                "no gateway runs at {} and there is no database {}; {} the gateway uses?",
                config.http.listen(),
                config.database,
                if on_a_file { "is DATA_DIR the one" } else { "are the settings of the database those" },
            );
        }
        Self::open(config).await
    }

    /// Waits until everything is written.
    pub(super) async fn close(self) {
        self.store.close().await;
        self.tasks.stop(PATIENCE).await;
    }
}
