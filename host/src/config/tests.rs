//! Every road a value can take, and every way it can be wrong.

use std::path::PathBuf;

use secrecy::ExposeSecret;

use super::*;

fn sources(environment: &[(&str, &str)]) -> Sources {
    let environment = environment.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    let mut sources = Sources { environment, ..Sources::default() };
    sources.set("whatsapp.url", "ws://127.0.0.1:9/ws/chat");
    sources
}

fn with_file(text: &str) -> (tempfile::TempDir, Sources) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gateway.toml");
    std::fs::write(&path, text).unwrap();
    let mut sources = sources(&[]);
    sources.file = Some(path);
    (dir, sources)
}

fn refusal(sources: &Sources) -> String {
    Config::load(sources).unwrap_err().to_string()
}

fn origin(sources: &Sources, key: &str) -> String {
    let values = Values::resolve(sources).unwrap();
    values.iter().find(|value| value.setting.key == key).unwrap().origin.to_string()
}

#[test]
fn starts_with_nothing_set() {
    let config = Config::load(&sources(&[])).unwrap();
    assert_eq!(config.http.listen().to_string(), "127.0.0.1:8080");
    assert!(config.auth.jwt_secret.is_none() && config.vault.master_key.is_none());
    assert_eq!(config.database.to_string(), ".wagate/wagate.db");
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file() {
    let (_dir, mut sources) = with_file("[http]\nport = 1\nhost = \"127.0.0.3\"\nconnections = 7\n");
    sources.environment.insert("PORT".to_owned(), "2".to_owned());
    sources.environment.insert("HOST".to_owned(), "127.0.0.2".to_owned());
    sources.set("http.port", "3");
    let config = Config::load(&sources).unwrap();
    assert_eq!(config.http.listen().to_string(), "127.0.0.2:3");
    assert_eq!(config.http.connections, 7);
    assert_eq!(origin(&sources, "http.port"), "flag --port");
    assert_eq!(origin(&sources, "http.host"), "environment HOST");
    assert!(origin(&sources, "http.connections").ends_with("gateway.toml: http.connections"));
    assert_eq!(origin(&sources, "http.body_limit"), "default");
}

#[test]
fn takes_the_founding_environment_names() {
    let secret = "s".repeat(32);
    let config = Config::load(&sources(&[
        ("PORT", "9090"),
        ("JWT_SECRET", &secret),
        ("DB_TYPE", "sqlite"),
        ("DB_HOST", "localhost"),
        ("DB_PORT", "3306"),
        ("DB_USER", "root"),
        ("DB_PASS", "password"),
        ("DB_NAME", "whatsapp_sessions"),
    ]))
    .unwrap();
    assert_eq!(config.http.port, 9090);
    assert_eq!(config.auth.jwt_secret.unwrap().expose_secret(), secret);
}

#[test]
fn an_empty_variable_is_not_set() {
    assert_eq!(origin(&sources(&[("PORT", "")]), "http.port"), "default");
}

#[test]
fn reads_a_secret_from_the_file_its_variable_names() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("jwt");
    std::fs::write(&path, format!("{}\n", "k".repeat(40))).unwrap();
    let mut sources = sources(&[("JWT_SECRET_FILE", path.to_str().unwrap())]);
    assert_eq!(Config::load(&sources).unwrap().auth.jwt_secret.unwrap().expose_secret(), "k".repeat(40));
    assert_eq!(origin(&sources, "auth.jwt_secret"), format!("file {} named by JWT_SECRET_FILE", path.display()));
    sources.environment.insert("JWT_SECRET".to_owned(), "x".repeat(40));
    assert_eq!(refusal(&sources), "JWT_SECRET and JWT_SECRET_FILE are both set; keep one of them");
}

#[test]
fn the_master_key_has_one_setting_and_old_ones_are_a_list() {
    let config =
        Config::load(&sources(&[("MASTER_KEY_COMMAND", " pass  show wagate "), ("MASTER_KEYS_OLD", "a, b\nc")]));
    let vault = config.unwrap().vault;
    assert_eq!(vault.key_command.unwrap(), ["pass", "show", "wagate"]);
    assert_eq!(vault.old_keys.iter().map(ExposeSecret::expose_secret).collect::<Vec<_>>(), ["a", "b", "c"]);
    let told = refusal(&sources(&[("MASTER_KEY_COMMAND", "pass show"), ("MASTER_KEY", "geheim")]));
    assert!(
        told.contains("vault.master_key is set as well (environment MASTER_KEY)") && !told.contains("geheim"),
        "{told}"
    );
}

#[test]
fn refuses_a_secret_file_that_is_missing() {
    assert!(refusal(&sources(&[("MASTER_KEY_FILE", "/nowhere/key")])).starts_with("the file /nowhere/key cannot be"));
}

#[test]
fn refuses_a_wrong_value_with_its_name_origin_and_what_was_expected() {
    let table = [
        (("PORT", "80 80"), "http.port is \"80 80\" (environment PORT): expected a number from 0 to 65535"),
        (("PORT", "65536"), "http.port is \"65536\" (environment PORT): expected a number from 0 to 65535"),
        (
            ("HOST", "my machine"),
            "http.host is \"my machine\" (environment HOST): expected an IP address such as 127.0.0.1 or 0.0.0.0",
        ),
        (
            ("WEBHOOK_TIMEOUT", "15"),
            "webhook.timeout is \"15\" (environment WEBHOOK_TIMEOUT): expected a time such as 15s",
        ),
        (
            ("WEBHOOK_CONCURRENCY", "0"),
            "webhook.concurrency is \"0\" (environment WEBHOOK_CONCURRENCY): expected a number from 1",
        ),
        (
            ("WEBHOOK_ALLOW", "10.0.0.0/33"),
            "webhook.allow is \"10.0.0.0/33\" (environment WEBHOOK_ALLOW): expected networks such as 10.0.0.0/8 or addresses, separated by commas",
        ),
        (
            ("WHATSAPP_VERSION", "2.3000"),
            "whatsapp.version is \"2.3000\" (environment WHATSAPP_VERSION): expected three numbers such as 2.3000.1",
        ),
        (
            ("RETENTION_EVENTS", "30"),
            "retention.events is \"30\" (environment RETENTION_EVENTS): expected a time such as 30d, or off",
        ),
        (
            ("RETENTION_ATTEMPTS", "0d"),
            "retention.attempts is \"0d\" (environment RETENTION_ATTEMPTS): expected a time such as 14d, or off",
        ),
        (
            ("RETENTION_SENDS", "23h"),
            "retention.sends is \"23h\" (environment RETENTION_SENDS): an idempotency key is remembered for a day by the send it belongs to; give at least 1d, or off",
        ),
        (
            ("RETENTION_SIZE", "1GB"),
            "retention.size is \"1GB\" (environment RETENTION_SIZE): expected a number of MiB from 1, or off",
        ),
        (
            ("RETENTION_SIZE", "99999999999999999999"),
            "retention.size is \"99999999999999999999\" (environment RETENTION_SIZE): expected a number of MiB from 1, or off",
        ),
        (("LOG_FORMAT", "xml"), "log.format is \"xml\" (environment LOG_FORMAT): expected text or json"),
    ];
    for (pair, message) in table {
        assert_eq!(refusal(&sources(&[pair])), message);
    }
}

#[test]
fn each_retention_has_a_default_and_can_be_off() {
    let days = |days: u64| Some(std::time::Duration::from_hours(days * 24));
    let config = Config::load(&sources(&[])).unwrap().retention;
    assert_eq!((config.events, config.attempts, config.sends, config.size), (days(30), days(14), days(90), None));

    let config = sources(&[("RETENTION_EVENTS", "2d"), ("RETENTION_SENDS", "24h"), ("RETENTION_SIZE", "512")]);
    let config = Config::load(&config).unwrap().retention;
    assert_eq!((config.events, config.sends, config.size), (days(2), days(1), Some(512 * 1024 * 1024)));

    let names = ["RETENTION_EVENTS", "RETENTION_ATTEMPTS", "RETENTION_SENDS", "RETENTION_SIZE"];
    let config = Config::load(&sources(&names.map(|name| (name, "off")))).unwrap().retention;
    assert_eq!((config.events, config.attempts, config.sends, config.size), (None, None, None, None));
}

fn database(environment: &[(&str, &str)]) -> DatabaseConfig {
    Config::load(&sources(environment)).unwrap().database
}

fn server(environment: &[(&str, &str)]) -> ServerConfig {
    match database(environment) {
        DatabaseConfig::Postgres(server) | DatabaseConfig::MySql(server) => server,
        DatabaseConfig::Sqlite { path } => panic!("{} is a file", path.display()),
    }
}

#[test]
fn a_database_name_with_a_slash_is_the_file() {
    assert_eq!(database(&[("DB_NAME", "/tmp/x/y.db")]).to_string(), "/tmp/x/y.db");
}

#[test]
fn the_founding_names_lead_to_a_server() {
    let named = [("DB_USER", "root"), ("DB_PASS", "secret word"), ("DB_NAME", "whatsapp_sessions")];
    let on = |engine, more: &[(&'static str, &'static str)]| [&named[..], &[("DB_TYPE", engine)], more].concat();
    for (engine, shown) in [
        ("mysql", "MySQL, whatsapp_sessions at localhost:3306"),
        ("mariadb", "MySQL, whatsapp_sessions at localhost:3306"),
        ("postgres", "PostgreSQL, whatsapp_sessions at localhost:5432"),
    ] {
        assert_eq!(database(&on(engine, &[])).to_string(), shown);
    }
    let far = server(&on("postgres", &[("DB_HOST", "db.example"), ("DB_PORT", "6000"), ("DB_TLS", "verify")]));
    assert_eq!((far.host.as_str(), far.port, far.tls), ("db.example", 6000, DatabaseTls::Verify));
    assert_eq!(far.password.as_ref().unwrap().expose_secret(), "secret word");
    assert!(!format!("{far:?} {far}").contains("secret word"));
    assert_eq!(server(&on("mysql", &[])).tls, DatabaseTls::Prefer);
    let socket = database(&on("mysql", &[("DB_HOST", "/run/mysqld/mysqld.sock")]));
    assert_eq!(socket.to_string(), "MySQL, whatsapp_sessions at /run/mysqld/mysqld.sock");
}

#[test]
fn an_address_stands_for_the_single_names() {
    let single = [("DB_HOST", "elsewhere"), ("DB_USER", "other"), ("DB_PASS", "kept"), ("DB_NAME", "other")];
    let at = |url| server(&[&single[..], &[("DATABASE_URL", url)]].concat());
    let full = at("postgresql://us%40er:p%2Fa%20ss@[::1]:6000/gate?sslmode=verify-full&sslrootcert=/etc/ca.pem");
    assert_eq!((full.host.as_str(), full.port, full.user.as_str()), ("::1", 6000, "us@er"));
    assert_eq!((full.name.as_str(), full.tls), ("gate", DatabaseTls::Verify));
    assert_eq!(full.password.as_ref().unwrap().expose_secret(), "p/a ss");
    assert_eq!(full.authorities, Some(PathBuf::from("/etc/ca.pem")));
    let part = at("mariadb://db.example/gate?ssl-mode=DISABLED");
    assert_eq!((part.user.as_str(), part.port, part.tls), ("other", 3306, DatabaseTls::Disable));
    assert_eq!(part.password.as_ref().unwrap().expose_secret(), "kept", "what the address leaves open");
    for url in ["sqlite:/tmp/x%20y.db", "sqlite:///tmp/x%20y.db"] {
        assert_eq!(database(&[("DATABASE_URL", url)]).to_string(), "/tmp/x y.db");
    }
}

#[test]
fn refuses_a_database_that_is_told_wrong_or_twice() {
    type Told<'t> = (&'t [(&'t str, &'t str)], &'t [&'t str]);
    let table: &[Told<'_>] = &[
        (&[("DB_TYPE", "oracle")], &["DB_TYPE", "expected sqlite, postgres or mysql"]),
        (&[("DB_TYPE", "postgres"), ("DB_NAME", "x")], &["database.user", "postgres needs DB_USER", "DATABASE_URL"]),
        (&[("DB_TYPE", "mysql"), ("DB_USER", "x")], &["database.name", "mysql needs DB_NAME", "DATABASE_URL"]),
        (&[("DB_TYPE", "mysql"), ("DB_PORT", "0")], &["DB_PORT", "expected a number from 1"]),
        (&[("DB_TLS", "yes")], &["DB_TLS", "expected disable, prefer, require or verify"]),
        (
            &[("DB_TYPE", "mysql"), ("DATABASE_URL", "postgres://u:hidden@h/n")],
            &["DATABASE_URL names postgres, but DB_TYPE is mysql", "********"],
        ),
        (&[("DATABASE_URL", "oracle://u:hidden@h/n")], &["DATABASE_URL", "expected an address such as postgres://"]),
        (&[("DATABASE_URL", "no address")], &["expected an address such as postgres://"]),
        (&[("DATABASE_URL", "sqlite://wagate.db")], &["sqlite:/var/lib/wagate/wagate.db"]),
        (&[("DATABASE_URL", "postgres://u:hidden@h/n?sslmode=maybe")], &["sslmode in DATABASE_URL is disable"]),
        (&[("DATABASE_URL", "mysql://u:hidden@h/n?charset=latin1")], &["charset in DATABASE_URL is not known"]),
        (&[("DATABASE_URL", "mysql://u:%ff@h/n")], &["an escape (%..) in DATABASE_URL makes no text"]),
    ];
    for (environment, told) in table {
        let message = refusal(&sources(environment));
        assert!(told.iter().all(|part| message.contains(part)), "{environment:?}: {message}");
        assert!(!message.contains("hidden"), "{message}");
    }
}

#[test]
fn an_unknown_key_in_the_file_is_an_error_with_a_suggestion() {
    let table = [
        ("[http]\nprot = 1\n", "http.prot is no setting; did you mean http.port?"),
        ("port = 1\n", "port is no setting; did you mean http.port?"),
        ("[webhok]\ntimeout = \"1s\"\n", "webhok.timeout is no setting; did you mean webhook.timeout?"),
        ("zzz = 1\n", "zzz is no setting"),
    ];
    for (text, message) in table {
        let (_dir, sources) = with_file(text);
        assert!(refusal(&sources).ends_with(message), "{}", refusal(&sources));
    }
}

#[test]
fn refuses_a_file_that_is_missing_or_no_toml() {
    let mut missing = sources(&[]);
    missing.file = Some(PathBuf::from("/nowhere/gateway.toml"));
    assert!(refusal(&missing).starts_with("the file /nowhere/gateway.toml cannot be read"));
    let (_dir, sources) = with_file("port = = 1");
    assert!(refusal(&sources).contains("is not valid TOML"));
}

#[test]
fn refuses_a_list_where_one_value_belongs_and_joins_it_where_many_do() {
    let (_dir, sources) = with_file("[http]\nport = [1, 2]\n");
    assert!(refusal(&sources).contains("expected a number"));
    let (_dir, sources) = with_file("[webhook]\nallow = [\"10.0.0.0/8\", \"fd00::1\"]\n");
    assert_eq!(Config::load(&sources).unwrap().webhook.allow, ["10.0.0.0/8", "fd00::1"]);
}

#[test]
fn a_demo_build_meets_no_server_but_this_machines_and_clear_text_stays_here() {
    let table = [
        ("wss://web.whatsapp.com/ws/chat", true, false),
        ("ws://web.whatsapp.com/ws/chat", false, false),
        ("ws://127.0.0.1:9/ws/chat", true, true),
        ("ws://[::1]:9/", true, true),
        ("wss://localhost/", true, true),
        ("ws://localhost.example.org/", false, false),
        ("ws://127.0.0.1.example.org/", false, false),
        ("wss://10.0.0.1/", true, false),
        ("https://127.0.0.1/", false, false),
    ];
    for (url, product, demo) in table {
        let url: url::Url = url.parse().unwrap();
        assert_eq!(whatsapp::may_dial(&url, false).is_ok(), product, "product: {url}");
        assert_eq!(whatsapp::may_dial(&url, true).is_ok(), demo, "demo: {url}");
    }
}

#[test]
fn shows_every_setting_with_its_origin_and_no_secret() {
    let values = Values::resolve(&sources(&[("JWT_SECRET", &"s".repeat(32)), ("PORT", "9")])).unwrap();
    let page = show(&values);
    assert_eq!(page.lines().count(), settings().count());
    assert!(page.lines().any(|line| line.split_whitespace().eq(["http.port", "9", "environment", "PORT"])), "{page}");
    assert!(page.contains("********") && !page.contains("ssss"), "{page}");
    assert!(!format!("{values:?}").contains("ssss"));
}

#[test]
fn the_example_file_names_every_setting_and_its_values_are_accepted() {
    let page = example();
    let (_dir, sources) = with_file(&page);
    assert!(Config::load(&sources).is_ok(), "all commented out, it sets nothing");
    let set: String = page
        .lines()
        .map(|line| line.strip_prefix('#').filter(|line| !line.starts_with(' ')).unwrap_or(line))
        .fold(String::new(), |page, line| if line.ends_with("= \"\"") { page } else { page + line + "\n" });
    let (_dir, mut sources) = with_file(&set);
    sources.set("whatsapp.url", "ws://127.0.0.1:9/");
    Config::load(&sources).unwrap();
    for setting in settings().filter(|setting| !setting.secret) {
        assert!(sources.read_file().unwrap().contains_key(setting.key), "{}", setting.key);
    }
}

#[test]
fn no_two_settings_share_a_name() {
    let names = |of: fn(&Setting) -> &str| settings().map(of).collect::<std::collections::BTreeSet<_>>().len();
    assert_eq!(names(|setting| setting.key), settings().count());
    assert_eq!(names(|setting| setting.env), settings().count());
}

#[test]
fn reads_times_as_people_write_them() {
    let seconds = |text| value::duration(text).map(|time| time.as_secs_f64());
    assert_eq!(seconds("500ms"), Some(0.5));
    assert_eq!(seconds("2m"), Some(120.0));
    assert_eq!(seconds("3d"), Some(259_200.0));
    for bad in ["", "15", "0s", "s", "-1s", "1.5s", "1w", "99999999999999999999h", "18446744073709551615h"] {
        assert_eq!(seconds(bad), None, "{bad}");
    }
}
