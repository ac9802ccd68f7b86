//! A fresh database for one test, on whichever engine, gone with the value.

use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail};
use sqlx::{AssertSqlSafe, Connection as _, MySqlConnection, PgConnection};
use wagate::config::{Config, DatabaseConfig, Sources};

use crate::engine::Engine;
use crate::raw::Raw;
use crate::servers::Server;

/// A database nobody else uses. With SQLite it is a file in a folder of the test's; elsewhere it is dropped with this.
#[derive(Debug)]
pub struct Database {
    engine: Engine,
    /// On a server: the server's address and the database's name.
    place: Option<(String, String)>,
    /// A server of its own.
    own: Option<Server>,
}

impl Database {
    /// One on the engine of this run.
    pub fn of_run() -> Result<Self> {
        Self::on(Engine::of_run()?)
    }

    /// One on this engine, at the server of this run.
    pub fn on(engine: Engine) -> Result<Self> {
        match engine {
            Engine::Sqlite => Ok(Self { engine, place: None, own: None }),
            _ => Self::create(engine, engine.server()?),
        }
    }

    /// One at this server. Drop it first.
    pub fn at(server: &Server) -> Result<Self> {
        Self::create(server.engine(), server.url())
    }

    /// One whose raw files nobody else writes to, for whoever wants to look into them: at a server of its own.
    pub async fn apart(engine: Engine) -> Result<Self> {
        if engine == Engine::Sqlite {
            return Self::on(engine);
        }
        let server = Server::start(engine).await?;
        let mut database = Self::at(&server)?;
        database.own = Some(server);
        Ok(database)
    }

    /// Where it is.
    pub fn engine(&self) -> Engine {
        self.engine
    }

    /// Its address; SQLite has none.
    pub fn url(&self) -> Option<String> {
        self.place.as_ref().map(|(server, name)| format!("{server}/{name}"))
    }

    /// The gateway's setting for it. `file` is where SQLite's file lies.
    pub fn config(&self, file: &Path) -> Result<DatabaseConfig> {
        let Some(url) = self.url() else { return Ok(DatabaseConfig::Sqlite { path: file.to_owned() }) };
        let mut sources = Sources::default();
        sources.set("database.url", url);
        sources.set("whatsapp.url", "ws://127.0.0.1:9/ws/chat");
        Ok(Config::load(&sources)?.database)
    }

    /// A way into it behind the gateway's back.
    pub async fn raw(&self, file: &Path) -> Result<Raw> {
        Raw::open(self.engine, self.url().as_deref(), file).await
    }

    /// The folder with its raw files, and with SQLite whatever lies beside `file`. Only of a database [`Database::apart`].
    pub fn folder<'a>(&'a self, file: &'a Path) -> Result<&'a Path> {
        match (&self.own, self.engine) {
            (Some(server), _) => Ok(server.folder()),
            (None, Engine::Sqlite) => file.parent().context("the file has no folder"),
            (None, _) => Err(anyhow!("others write to this server, too")),
        }
    }

    fn create(engine: Engine, server: String) -> Result<Self> {
        let name = format!("wagate_{:016x}", rand::random::<u64>());
        aside(engine, server.clone(), format!("CREATE DATABASE {name}"))
            .with_context(|| format!("no database could be made at the server of {engine:?}"))?;
        Ok(Self { engine, place: Some((server, name)), own: None })
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // A server of its own takes everything with it.
        let Some((server, name)) = self.place.take().filter(|_| self.own.is_none()) else { return };
        let drop = match self.engine {
            // Whoever a failed test left behind is thrown out.
            Engine::Postgres => format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"),
            _ => format!("SET lock_wait_timeout = 5; DROP DATABASE IF EXISTS {name}"),
        };
        if let Err(error) = aside(self.engine, server, drop) {
            tracing::warn!(%error, "a database is left behind; it goes with its server");
        }
    }
}

/// Runs a statement at a server to its end, on a thread of its own: a value that is dropped cannot await.
fn aside(engine: Engine, server: String, statement: String) -> Result<()> {
    let working = std::thread::spawn(move || -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(tell(engine, &server, statement))
    });
    working.join().map_err(|_| anyhow!("the thread at the server panicked"))?
}

async fn tell(engine: Engine, server: &str, statement: String) -> Result<()> {
    let statement = sqlx::raw_sql(AssertSqlSafe(statement));
    match engine {
        Engine::Postgres => {
            let mut connection = PgConnection::connect(server).await?;
            statement.execute(&mut connection).await?;
            connection.close().await?;
        }
        Engine::Mysql => {
            let mut connection = MySqlConnection::connect(server).await?;
            statement.execute(&mut connection).await?;
            connection.close().await?;
        }
        Engine::Sqlite => bail!("SQLite has no server"),
    }
    Ok(())
}
