//! Which database engine, and where it is. The environment names are the founding ones.

use std::path::{MAIN_SEPARATOR, Path, PathBuf};

use super::value::{parsed, words};
use super::{ConfigError, Setting, Values};

/// Which engine, and where it is. `DB_TYPE DB_HOST DB_PORT DB_USER DB_PASS DB_NAME`.
#[derive(Clone, Debug)]
pub enum DatabaseConfig {
    /// One file, nothing to install. The file is `DATA_DIR/wagate.db` unless `DB_NAME` is a path.
    Sqlite {
        /// The database file.
        path: PathBuf,
    },
}

impl DatabaseConfig {
    pub(super) fn read(values: &Values, data_dir: &Path) -> Result<Self, ConfigError> {
        let engine = values.required(&TYPE, words)?;
        values.optional(&PORT, parsed::<u16>)?;
        match engine.as_str() {
            "sqlite" => {
                let named = values.optional(&NAME, words)?.filter(|name| name.contains(['/', MAIN_SEPARATOR]));
                Ok(Self::Sqlite { path: named.map_or_else(|| data_dir.join("wagate.db"), PathBuf::from) })
            }
            "mysql" | "postgres" => {
                Err(values.refuse(&TYPE, "this version stores in SQLite only; leave DB_TYPE unset or set it to sqlite"))
            }
            _ => Err(values.refuse(&TYPE, format!("expected {}", TYPE.expects))),
        }
    }
}

pub(super) const SETTINGS: &[&Setting] = &[&TYPE, &HOST, &PORT, &USER, &PASS, &NAME];

static TYPE: Setting =
    Setting::new("database.type", "DB_TYPE", "sqlite (this version refuses mysql and postgres)", "Database engine.")
        .default("sqlite");

static HOST: Setting =
    Setting::new("database.host", "DB_HOST", "a host name", "Host of the database server; SQLite has none.")
        .sample("localhost");

static PORT: Setting = Setting::new(
    "database.port",
    "DB_PORT",
    "a number from 1 to 65535",
    "Port of the database server; SQLite has none.",
)
.sample("3306");

static USER: Setting =
    Setting::new("database.user", "DB_USER", "a name", "User at the database server; SQLite has none.")
        .sample("wagate");

static PASS: Setting =
    Setting::new("database.pass", "DB_PASS", "a password", "Password at the database server; SQLite has none.")
        .secret();

static NAME: Setting = Setting::new(
    "database.name",
    "DB_NAME",
    "a name, or for SQLite a path with a slash",
    "Name of the database. With SQLite a name without a slash is ignored, and the file is DATA_DIR/wagate.db.",
)
.sample("/var/lib/wagate/wagate.db");
