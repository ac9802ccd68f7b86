//! The engines the store stands on, and which of them a run of the tests is about.
//!
//! The environment decides: `WAGATE_TEST_ENGINE` names the engine under most tests (SQLite when it is not set), so that
//! one suite runs on each. `WAGATE_TEST_POSTGRES` and `WAGATE_TEST_MYSQL` are servers that `with-engines` started; a test
//! that needs one and finds none fails, unless `WAGATE_TEST_ENGINES=sqlite` leaves servers out on purpose.

use std::env;
use std::str::FromStr;

use anyhow::{Context as _, Result, bail};

/// An engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// One file.
    Sqlite,
    /// PostgreSQL.
    Postgres,
    /// MariaDB, which stands for the MySQL family.
    Mysql,
}

impl Engine {
    /// The engine of this run.
    pub fn of_run() -> Result<Self> {
        variable("WAGATE_TEST_ENGINE")?
            .map_or(Ok(Self::Sqlite), |name| name.parse::<Self>().context("WAGATE_TEST_ENGINE"))
    }

    /// The engines that are servers; none when they are left out on purpose.
    pub fn servers() -> Result<&'static [Self]> {
        match variable("WAGATE_TEST_ENGINES")?.as_deref() {
            None => Ok(&[Self::Postgres, Self::Mysql]),
            Some("sqlite") => Ok(&[]),
            Some(other) => bail!("WAGATE_TEST_ENGINES is {other:?}; set it to sqlite, or not at all"),
        }
    }

    /// The name of figures.
    pub const fn figure(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
            Self::Mysql => "mariadb",
        }
    }

    /// The variable that says where this engine's server is.
    pub const fn variable(self) -> Option<&'static str> {
        match self {
            Self::Sqlite => None,
            Self::Postgres => Some("WAGATE_TEST_POSTGRES"),
            Self::Mysql => Some("WAGATE_TEST_MYSQL"),
        }
    }

    /// The server of this run for this engine; its user may create databases.
    pub(crate) fn server(self) -> Result<String> {
        let name = self.variable().context("SQLite has no server")?;
        variable(name)?.with_context(|| {
            format!("{name} is not set: run the tests by `make test`, or by `with-engines` from the target folder")
        })
    }
}

impl FromStr for Engine {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "sqlite" => Ok(Self::Sqlite),
            "postgres" => Ok(Self::Postgres),
            "mysql" | "mariadb" => Ok(Self::Mysql),
            other => bail!("{other:?} is no engine; expected sqlite, postgres or mysql"),
        }
    }
}

/// A variable of the environment; `None` when it is not set or empty.
fn variable(name: &str) -> Result<Option<String>> {
    match env::var(name) {
        Ok(text) => Ok(Some(text).filter(|text| !text.is_empty())),
        Err(env::VarError::NotPresent) => Ok(None),
        Err(error) => Err(error).context(name.to_owned()),
    }
}
