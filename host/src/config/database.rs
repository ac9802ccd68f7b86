//! Which database engine, and where it is. The environment names are the founding ones, and `DATABASE_URL`.

use std::fmt;
use std::path::{MAIN_SEPARATOR, Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::value::{parsed, secret, words};
use super::{ConfigError, Origin, Setting, Values};

/// Which engine, and where it is. `DB_TYPE DB_HOST DB_PORT DB_USER DB_PASS DB_NAME`, or all of them as `DATABASE_URL`.
#[derive(Clone, Debug)]
pub enum DatabaseConfig {
    /// One file, nothing to install. The file is `DATA_DIR/wagate.db` unless `DB_NAME` is a path.
    Sqlite {
        /// The database file.
        path: PathBuf,
    },
    /// A PostgreSQL server.
    Postgres(ServerConfig),
    /// A MySQL or MariaDB server.
    MySql(ServerConfig),
}

/// A database on a server.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// A host name or address; a path is a Unix socket: MySQL's file, PostgreSQL's folder.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Who logs in.
    pub user: String,
    /// With what; `None` where the server asks for nothing.
    pub password: Option<SecretString>,
    /// The database, which must exist.
    pub name: String,
    /// Whether the way there is encrypted.
    pub tls: DatabaseTls,
    /// Authorities (PEM) that may have signed the server's certificate, besides those the system trusts.
    pub authorities: Option<PathBuf>,
}

/// Whether the way to the server is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatabaseTls {
    /// Never.
    Disable,
    /// Where the server can. Protects from nobody who can change what passes by.
    Prefer,
    /// Always, whoever the server is.
    Require,
    /// Always, and the server must prove its name by a certificate.
    Verify,
}

impl DatabaseConfig {
    pub(super) fn read(values: &Values, data_dir: &Path) -> Result<Self, ConfigError> {
        let chosen = values.required(&TYPE, Engine::named)?;
        let single = Single {
            host: values.optional(&HOST, words)?,
            port: values.optional(&PORT, port)?,
            user: values.optional(&USER, words)?,
            password: values.optional(&PASS, secret)?,
            name: values.optional(&NAME, words)?,
            tls: values.required(&TLS, DatabaseTls::named)?,
            authorities: values.optional(&TLS_CA, words)?.map(PathBuf::from),
        };
        let Some(url) = values.optional(&URL, secret)? else { return single.choose(chosen, data_dir, values) };
        let refuse = |reason: &str| values.refuse(&URL, reason);
        let url: Url = url.expose_secret().parse().map_err(|_unsaid| refuse(&format!("expected {}", URL.expects)))?;
        let engine = Engine::named(url.scheme()).ok_or_else(|| refuse(&format!("expected {}", URL.expects)))?;
        let told = values.iter().any(|value| value.setting.key == TYPE.key && value.origin != Origin::Default);
        if told && engine != chosen {
            return Err(refuse(&format!(
                "DATABASE_URL names {}, but DB_TYPE is {}; keep one of them",
                engine.name(),
                chosen.name()
            )));
        }
        if engine == Engine::Sqlite {
            return sqlite_file(&url).map(|path| Self::Sqlite { path }).ok_or_else(|| {
                refuse("for SQLite DATABASE_URL is sqlite: and a path, for example sqlite:/var/lib/wagate/wagate.db")
            });
        }
        single.with(&url).map_err(|reason| refuse(&reason))?.choose(engine, data_dir, values)
    }
}

/// The database for a reader, without anything secret.
impl fmt::Display for DatabaseConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite { path } => write!(f, "{}", path.display()),
            Self::Postgres(server) => write!(f, "PostgreSQL, {server}"),
            Self::MySql(server) => write!(f, "MySQL, {server}"),
        }
    }
}

/// The database for a reader, without anything secret.
impl fmt::Display for ServerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, name, .. } = self;
        if self.is_local_socket() { write!(f, "{name} at {host}") } else { write!(f, "{name} at {host}:{port}") }
    }
}

impl ServerConfig {
    /// Whether the host is a path, which names a Unix socket.
    pub fn is_local_socket(&self) -> bool {
        self.host.starts_with('/')
    }
}

impl DatabaseTls {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "disable" => Self::Disable,
            "prefer" => Self::Prefer,
            "require" => Self::Require,
            "verify" => Self::Verify,
            _ => return None,
        })
    }

    /// As PostgreSQL's and MySQL's own clients write it in an address.
    fn of_address(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().replace('_', "-").as_str() {
            "disable" | "disabled" => Self::Disable,
            "allow" | "prefer" | "preferred" => Self::Prefer,
            "require" | "required" => Self::Require,
            "verify" | "verify-ca" | "verify-full" | "verify-identity" => Self::Verify,
            _ => return None,
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Engine {
    Sqlite,
    Postgres,
    MySql,
}

impl Engine {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "sqlite" => Self::Sqlite,
            "postgres" | "postgresql" => Self::Postgres,
            "mysql" | "mariadb" => Self::MySql,
            _ => return None,
        })
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
            Self::MySql => "mysql",
        }
    }
}

/// The single settings, as far as they are set.
struct Single {
    host: Option<String>,
    port: Option<u16>,
    user: Option<String>,
    password: Option<SecretString>,
    name: Option<String>,
    tls: DatabaseTls,
    authorities: Option<PathBuf>,
}

impl Single {
    /// With what an address says in their place; else why the address cannot be used.
    fn with(self, url: &Url) -> Result<Self, String> {
        let plain = |text: &str| {
            percent_encoding::percent_decode_str(text)
                .decode_utf8()
                .map(|text| Some(text.into_owned()).filter(|text| !text.is_empty()))
                .map_err(|_unsaid| "an escape (%..) in DATABASE_URL makes no text".to_owned())
        };
        let (mut tls, mut authorities) = (self.tls, self.authorities);
        for (name, value) in url.query_pairs() {
            match name.as_ref() {
                "sslmode" | "ssl-mode" => {
                    tls = DatabaseTls::of_address(&value)
                        .ok_or_else(|| format!("{name} in DATABASE_URL is disable, prefer, require or verify"))?;
                }
                "sslrootcert" | "ssl-ca" => authorities = Some(PathBuf::from(value.as_ref())),
                _ => return Err(format!("{name} in DATABASE_URL is not known; TLS has DB_TLS and DB_TLS_CA")),
            }
        }
        Ok(Self {
            host: plain(url.host_str().unwrap_or_default())?.or(self.host),
            port: url.port().or(self.port),
            user: plain(url.username())?.or(self.user),
            password: plain(url.password().unwrap_or_default())?.map(SecretString::from).or(self.password),
            name: plain(url.path().trim_start_matches('/'))?.or(self.name),
            tls,
            authorities,
        })
    }

    fn choose(self, engine: Engine, data_dir: &Path, values: &Values) -> Result<DatabaseConfig, ConfigError> {
        let default_port = match engine {
            Engine::Sqlite => {
                let named = self.name.filter(|name| name.contains(['/', MAIN_SEPARATOR]));
                let path = named.map_or_else(|| data_dir.join("wagate.db"), PathBuf::from);
                return Ok(DatabaseConfig::Sqlite { path });
            }
            Engine::Postgres => 5432,
            Engine::MySql => 3306,
        };
        let lacks = |setting: &'static Setting| {
            let reason = format!("{} needs {}, or DATABASE_URL with it", engine.name(), setting.env);
            values.refuse(setting, reason)
        };
        let server = ServerConfig {
            host: self.host.unwrap_or_else(|| "localhost".to_owned()).trim_matches(['[', ']']).to_owned(),
            port: self.port.unwrap_or(default_port),
            user: self.user.ok_or_else(|| lacks(&USER))?,
            password: self.password,
            name: self.name.ok_or_else(|| lacks(&NAME))?,
            tls: self.tls,
            authorities: self.authorities,
        };
        Ok(if engine == Engine::Postgres { DatabaseConfig::Postgres(server) } else { DatabaseConfig::MySql(server) })
    }
}

/// The path in `sqlite:/a/b.db`, `sqlite:///a/b.db` or `sqlite:b.db`; `None` where there is a host, or no path.
fn sqlite_file(url: &Url) -> Option<PathBuf> {
    let path = percent_encoding::percent_decode_str(url.path()).decode_utf8().ok()?;
    let sound = url.host_str().unwrap_or_default().is_empty() && url.query().is_none() && !path.is_empty();
    sound.then(|| PathBuf::from(path.into_owned()))
}

/// A port that can be dialled.
fn port(text: &str) -> Option<u16> {
    parsed(text).filter(|port| *port > 0)
}

pub(super) const SETTINGS: &[&Setting] = &[&TYPE, &URL, &HOST, &PORT, &USER, &PASS, &NAME, &TLS, &TLS_CA];

static TYPE: Setting = Setting::new(
    "database.type",
    "DB_TYPE",
    "sqlite, postgres or mysql (mariadb is the same)",
    "Database engine. SQLite needs nothing installed and serves one gateway; the others are servers of your own.",
)
.default("sqlite");

static URL: Setting = Setting::new(
    "database.url",
    "DATABASE_URL",
    "an address such as postgres://user:password@host:5432/name, mysql://… or sqlite:/path/wagate.db",
    "The database as one address, in place of the settings below. ?sslmode= stands for DB_TLS.",
)
.secret();

static HOST: Setting = Setting::new(
    "database.host",
    "DB_HOST",
    "a host name, an address or the path of a Unix socket",
    "Host of the database server, localhost unless set; SQLite has none.",
)
.sample("localhost");

static PORT: Setting = Setting::new(
    "database.port",
    "DB_PORT",
    "a number from 1 to 65535",
    "Port of the database server, 5432 for PostgreSQL and 3306 for MySQL unless set; SQLite has none.",
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

static TLS: Setting = Setting::new(
    "database.tls",
    "DB_TLS",
    "disable, prefer, require or verify",
    "Encryption to the database server. Only verify makes sure that it is the server you mean.",
)
.default("prefer");

static TLS_CA: Setting = Setting::new(
    "database.tls_ca",
    "DB_TLS_CA",
    "a file of certificates (PEM)",
    "Authorities that may have signed the server's certificate, besides those the system trusts. For DB_TLS=verify.",
)
.sample("/etc/wagate/database-ca.pem");
