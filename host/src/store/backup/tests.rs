use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

use super::*;
use crate::config::VaultConfig;
use crate::model::{Role, Scope, SessionId};
use crate::store::pool::on;
use crate::store::sql::{Sql, sql, statements};
use crate::store::tests::{Fixture, On, every_engine};
use crate::store::vault::rotation::tests::Filled;
use crate::store::{Store, Vault};

statements! {
    PLUGIN = "SELECT id FROM plugins";
    ADD_EVENT = "INSERT INTO events (id, session_id, kind, dedup, payload, stored_at, routed_at)
        VALUES ($1, 'ses_shop', 'text', $2, $3, $4, $5)";
    ADD_VALUE = "INSERT INTO plugin_values (plugin_id, name, value, expires_at) VALUES ($1, $2, $3, $4)";
    DROP_USER = "DELETE FROM users WHERE username_key = $1";
    MOVE_TOKEN = "UPDATE whatsapp_tokens SET jid = $1 WHERE value IS NOT NULL";
}

/// Nothing can be written to a table that comes late, until the second is run.
const HURDLE: Sql = sql!("ALTER TABLE whatsapp_tokens ADD COLUMN hurdle BIGINT NOT NULL");
const NO_HURDLE: Sql = sql!("ALTER TABLE whatsapp_tokens DROP COLUMN hurdle");

/// On SQLite, at migration 4.
const OF_OLD: Sql = sql!(
    "INSERT INTO users (id, username, username_key, role, password_hash, token_version, must_change_password, created_at)
        VALUES (7, 'ann', 'ann', 'user', 'no hash', 1, FALSE, 1);
    INSERT INTO plugins (seq, id, owner, name, current, enabled, created_at)
        VALUES (1, 'plg_a', 7, 'router', 1, TRUE, 1);
    INSERT INTO plugin_values (plugin_id, name, value, expires_at) VALUES ('plg_a', 'counter', x'00ff', NULL)"
);

/// All rows of a database.
type Everything = BTreeMap<String, Vec<Row>>;

#[derive(Default)]
struct Collect(Everything);

impl Sink for Collect {
    async fn table(&mut self, table: &Table, _next: Option<i64>) -> Result<(), BackupError> {
        self.0.insert(table.name.clone(), Vec::new());
        Ok(())
    }

    async fn row(&mut self, table: &Table, row: Row) -> Result<(), BackupError> {
        self.0.get_mut(&table.name).unwrap().push(row);
        Ok(())
    }

    async fn end(&mut self, table: &Table) -> Result<(), BackupError> {
        // Engines order text each in its own way.
        self.0.get_mut(&table.name).unwrap().sort_by_cached_key(|row| format!("{row:?}"));
        Ok(())
    }
}

/// What a database holds that nobody has open.
async fn everything(config: &DatabaseConfig) -> Everything {
    let mut snapshot = Snapshot::of(dialect::visit(config).await.unwrap(), "it").await.unwrap();
    let mut all = Collect::default();
    snapshot.pour(&mut all).await.unwrap();
    snapshot.close().await.unwrap();
    all.0
}

/// As it stands on an engine: PostgreSQL has no NUL in a text.
fn on_engine(engine: On, mut all: Everything) -> Everything {
    for value in all.values_mut().flatten().flatten() {
        if let (On::Postgres, rows::Value::Text(text)) = (engine, value) {
            *text = text.replace('\0', "\u{FFFD}");
        }
    }
    all
}

#[track_caller]
fn assert_same(found: &Everything, expected: &Everything) {
    assert!(found.keys().eq(expected.keys()), "{:?}", found.keys());
    for (table, rows) in expected {
        assert!(found[table] == *rows, "{table} has {} rows, and they differ from {}", found[table].len(), rows.len());
    }
}

/// Nothing is there but what a gateway writes when it opens an empty database.
async fn assert_empty(config: &DatabaseConfig) {
    let filled: Vec<String> =
        everything(config).await.into_iter().filter(|(_, rows)| !rows.is_empty()).map(|(table, _)| table).collect();
    assert!(filled.iter().all(|table| table == "settings"), "{filled:?}");
}

/// The vault the fixture's store is opened with, or another.
async fn vault(key: &str) -> Vault {
    Vault::open(&VaultConfig::given(SecretString::from(key))).await.unwrap()
}

async fn the_vault() -> Vault {
    vault("AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=").await
}

/// Another engine, so that each is left once and entered once; SQLite itself where there are no servers.
fn next(engine: On) -> On {
    let all = On::all();
    let at = all.iter().position(|known| *known == engine).unwrap();
    all[(at + 1) % all.len()]
}

/// A database that a gateway has opened once, and that has nothing in it.
async fn empty(engine: On) -> Fixture {
    let at = Fixture::on(engine).await;
    at.store.close().await;
    at
}

/// The copy that a gateway makes of its file.
async fn copy_of(at: &Fixture) -> PathBuf {
    at.store.backups().start(&at.tasks).unwrap();
    loop {
        let progress = at.store.backups().progress();
        match progress.state {
            State::Running => tokio::time::sleep(Duration::from_millis(5)).await,
            _ => return progress.file.unwrap_or_else(|| panic!("{:?}", progress.error)),
        }
    }
}

/// A dump of a database that is open.
async fn dump_of(at: &Fixture) -> (PathBuf, Contents) {
    let to = at.directory.path().join("backup.dump");
    let contents = match at.engine {
        On::Sqlite => dump_file(&copy_of(at).await, &to, &at.clock).await,
        On::Postgres | On::MySql => dump(&at.config, &to, &at.clock).await,
    };
    (to, contents.unwrap())
}

/// A dump of a gateway with something in every room.
async fn a_dump() -> (Fixture, Filled, PathBuf) {
    let at = Fixture::open().await;
    let filled = Filled::fill(&at.store).await;
    let dump = dump_of(&at).await.0;
    (at, filled, dump)
}

/// Runs statements where no gateway is.
async fn change(config: &DatabaseConfig, sql: Sql) {
    let mut visit = dialect::visit(config).await.unwrap();
    visit.tx.run(sql).await.unwrap();
    visit.tx.close().await.unwrap();
}

/// Writes what moves badly: long values, every byte, characters of four bytes, the ends of a number's range.
async fn add_odd_rows(at: &Fixture) {
    let nul = if at.engine == On::Postgres { "" } else { "\0" };
    let payload = format!("{nul}👩‍👩‍👧‍👦 \u{1F980} \" \\ \n\r\u{2028}{}{nul}", "é".repeat(32 * 1024));
    let bytes: Vec<u8> = (0..=u8::MAX).cycle().take(64 * 1024).collect();
    let plugin: String =
        on!(at.store.readers(), |db, q| { sqlx::query_scalar(q(PLUGIN)).fetch_one(db).await.unwrap() });
    let work = at.store.write(move |tx| {
        Box::pin(async move {
            on!(tx, |db, q| {
                let event = sqlx::query(q(ADD_EVENT)).bind("evt_odd").bind(vec![0_u8, 255, 34]).bind(payload);
                event.bind(i64::MAX).bind(Some(i64::MIN)).execute(&mut *db).await?;
                let event = sqlx::query(q(ADD_EVENT)).bind("evt_empty").bind(vec![0_u8]).bind("");
                event.bind(0_i64).bind(None::<i64>).execute(&mut *db).await?;
                let value = sqlx::query(q(ADD_VALUE)).bind(plugin).bind(vec![0_u8, 255, 0]).bind(bytes);
                value.bind(None::<i64>).execute(db).await?;
            });
            Ok(())
        })
    });
    work.await.unwrap();
}

async fn add_user(store: &Store, name: &str) -> i64 {
    store.users().add(name, Role::User, "no hash", false).await.unwrap().id.0
}

every_engine! {
    async fn a_dump_goes_into_another_engine_and_nothing_changes(at) {
        let filled = Filled::fill(&at.store).await;
        add_odd_rows(&at).await;
        let gone = add_user(&at.store, "gone").await;
        let work = at.store.write(|tx| {
            Box::pin(async move {
                on!(tx, |db, q| { sqlx::query(q(DROP_USER)).bind("gone").execute(db).await?; });
                Ok(())
            })
        });
        work.await.unwrap();
        let (dump, contents) = dump_of(&at).await;
        at.store.close().await;
        let vault = the_vault().await;
        assert_eq!(contents.keys, BTreeSet::from([vault.ring().current().to_string()]));
        assert_eq!((contents.schema, contents.tables["users"]), (dialect::newest(), 1));
        let text = fs::read_to_string(&dump).unwrap();
        assert!(!text.contains("geheim") && !text.contains("whsec_"), "a secret lies open");

        let target = empty(next(at.engine)).await;
        let rehearsed = restore(&dump, &target.config, &vault, true).await.unwrap();
        assert!(rehearsed.dump && rehearsed.contents == contents, "{rehearsed:?}");
        assert_empty(&target.config).await;
        let restored = restore(&dump, &target.config, &vault, false).await.unwrap();
        assert_eq!(restored.contents, contents);
        let expected = on_engine(target.engine, everything(&at.config).await);
        assert_same(&everything(&target.config).await, &expected);

        let store = target.open_again().await.unwrap();
        filled.check(&store).await;
        assert!(add_user(&store, "new").await > gone, "a number is given out twice");
        store.close().await;
    }

    async fn a_database_with_nothing_in_it_moves_too(at) {
        let (dump, contents) = dump_of(&at).await;
        at.store.close().await;
        let target = empty(next(at.engine)).await;
        restore(&dump, &target.config, &the_vault().await, false).await.unwrap();
        assert!(contents.tables.len() > 15 && contents.rows() == contents.tables["settings"], "{contents:?}");
        assert_same(&everything(&target.config).await, &everything(&at.config).await);
    }

    /// A session is written together with its endpoint, which is read later.
    async fn a_dump_is_of_one_moment(at) {
        let owner = at.store.users().add("ann", Role::User, "no hash", false).await.unwrap().id;
        let url = "https://example.org/hook".parse().unwrap();
        let writing = async {
            for number in 0..150 {
                let id: SessionId = format!("ses_{number}").parse().unwrap();
                at.store.sessions(Scope::of(owner)).create(owner, id, "Shop", Some(&url)).await.unwrap();
            }
        };
        let ((dump, contents), ()) = tokio::join!(dump_of(&at), writing);
        assert_eq!(contents.tables["sessions"], contents.tables["endpoints"]);
        let target = empty(next(at.engine)).await;
        restore(&dump, &target.config, &the_vault().await, false).await.unwrap();
    }

    async fn a_restore_that_fails_half_way_leaves_nothing_and_the_next_one_goes(at) {
        let (_from, filled, dump) = a_dump().await;
        let vault = the_vault().await;
        at.store.close().await;
        change(&at.config, HURDLE).await;
        let failed = restore(&dump, &at.config, &vault, false).await;
        assert!(matches!(&failed, Err(BackupError::Table { table, .. }) if table == "whatsapp_tokens"), "{failed:?}");
        assert_empty(&at.config).await;
        change(&at.config, NO_HURDLE).await;
        restore(&dump, &at.config, &vault, false).await.unwrap();
        let store = at.open_again().await.unwrap();
        filled.check(&store).await;
        store.close().await;
    }

    async fn a_database_with_rows_is_refused_and_kept(at) {
        let (_from, _, dump) = a_dump().await;
        add_user(&at.store, "bob").await;
        at.store.close().await;
        let before = everything(&at.config).await;
        for rehearsal in [true, false] {
            let refused = restore(&dump, &at.config, &the_vault().await, rehearsal).await;
            assert!(matches!(&refused, Err(BackupError::NotEmpty { table, .. }) if table == "users"), "{refused:?}");
        }
        assert_same(&everything(&at.config).await, &before);
    }

    async fn nothing_is_restored_below_an_active_gateway(at) {
        let (_from, _, dump) = a_dump().await;
        at.store.lead(&at.tasks).await.unwrap();
        let refused = restore(&dump, &at.config, &the_vault().await, false).await.unwrap_err();
        let told = matches!(refused, BackupError::InUse(_) | BackupError::Store(StoreError::InUse(_)));
        assert!(told, "{:?}: {refused:?}", at.engine);
        at.store.close().await;
        assert_empty(&at.config).await;
        restore(&dump, &at.config, &the_vault().await, false).await.unwrap();
    }

    async fn a_dump_of_an_older_schema_goes_only_where_its_migrations_meet_it(at) {
        let old = DatabaseConfig::Sqlite { path: at.directory.path().join("old.db") };
        let opened = dialect::open_at(&old, Some(4)).await.unwrap();
        opened.readers.close().await;
        let mut tx = opened.tx.unwrap();
        tx.run(OF_OLD).await.unwrap();
        tx.close().await.unwrap();
        drop(opened.source);
        let (file, vault) = (at.directory.path().join("old.dump"), the_vault().await);
        assert_eq!(dump(&old, &file, &at.clock).await.unwrap().schema, 4);
        at.store.close().await;
        let refused = restore(&file, &at.config, &vault, false).await;
        assert!(matches!(refused, Err(BackupError::Ahead { version: 4, .. })), "{refused:?}");

        let folder = tempfile::tempdir().unwrap();
        let target = at.engine.database(&folder).await;
        restore(&file, &target, &vault, false).await.unwrap();
        assert!(Store::migrations(&target).await.unwrap().iter().all(|migration| migration.applied));
        let all = everything(&target).await;
        assert_eq!(all["users"][0][0], rows::Value::Integer(7));
        assert_eq!(all["plugin_values"][0][1..3], [b"counter".to_vec(), vec![0, 255]].map(rows::Value::Bytes));
    }

    async fn a_gateway_copies_its_file_once_at_a_time(at) {
        let begun = at.store.backups().start(&at.tasks);
        if at.engine != On::Sqlite {
            assert!(matches!(begun, Err(BackupError::OnServer)), "{begun:?}");
            return;
        }
        begun.unwrap();
        assert!(matches!(at.store.backups().start(&at.tasks), Err(BackupError::UnderWay)));
        while at.store.backups().progress().state == State::Running {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(at.store.backups().progress().rows, Some(1), "the check value");
        add_user(&at.store, "ann").await;
        assert_eq!(inspect(&copy_of(&at).await).await.unwrap().rows(), 2, "the next copy replaces it");
    }
}

/// The only file of a target that is to be made.
fn new_file(folder: &Path) -> DatabaseConfig {
    DatabaseConfig::Sqlite { path: folder.join("new.db") }
}

/// Restores some bytes, which must be refused and leave nothing.
async fn refusal(folder: &Path, bytes: &[u8], vault: &Vault) -> BackupError {
    let file = folder.join("damaged");
    fs::write(&file, bytes).unwrap();
    let refused = restore(&file, &new_file(folder), vault, false).await;
    assert!(!folder.join("new.db").exists(), "it was made before the backup was verified");
    refused.unwrap_err()
}

#[tokio::test]
async fn a_dump_with_any_byte_changed_is_refused() {
    let (at, _, dump) = a_dump().await;
    let (folder, whole, vault) = (at.directory.path(), fs::read(&dump).unwrap(), the_vault().await);
    let ends = [0, 10, 60, whole.len() - 90, whole.len() - 70, whole.len() - 30, whole.len() - 2, whole.len() - 1];
    for place in (0..whole.len()).step_by(whole.len() / 30).chain(ends) {
        let mut damaged = whole.clone();
        damaged[place] ^= 1;
        let refused = refusal(folder, &damaged, &vault).await;
        assert!(!matches!(refused, BackupError::NotEmpty { .. }), "byte {place}: {refused}");
    }
}

#[tokio::test]
async fn a_dump_that_was_cut_off_or_went_on_is_refused() {
    let (at, _, dump) = a_dump().await;
    let (folder, whole, vault) = (at.directory.path(), fs::read(&dump).unwrap(), the_vault().await);
    let lines: Vec<&[u8]> = whole.split_inclusive(|byte| *byte == b'\n').collect();
    for left in [lines.len() - 1, lines.len() - 2, lines.len() / 2, 1] {
        let refused = refusal(folder, &lines[..left].concat(), &vault).await;
        assert!(refused.to_string().contains("it ends early"), "{left} lines: {refused}");
    }
    for left in [whole.len() - 1, whole.len() / 2, 100] {
        let refused = refusal(folder, &whole[..left], &vault).await;
        assert!(matches!(refused, BackupError::Damaged { .. }), "{left} bytes: {refused}");
    }
    assert!(matches!(refusal(folder, b"", &vault).await, BackupError::Foreign(_)));
    let twice = refusal(folder, &whole.repeat(2), &vault).await;
    assert!(twice.to_string().contains("behind its end"), "{twice}");
}

#[tokio::test]
async fn a_backup_of_a_newer_wagate_is_refused() {
    let (at, _, dump) = a_dump().await;
    let (folder, vault) = (at.directory.path(), the_vault().await);
    let schema = format!("\"schema\":{},", dialect::newest());
    let newer = fs::read_to_string(&dump).unwrap().replacen(&schema, "\"schema\":9999,", 1);
    let refused = refusal(folder, newer.as_bytes(), &vault).await;
    assert!(matches!(refused, BackupError::Newer { found: 9999, .. }), "{refused}");
    let copy = copy_of(&at).await;
    let config = DatabaseConfig::Sqlite { path: copy.clone() };
    change(&config, sql!("UPDATE _sqlx_migrations SET version = 9999 WHERE version = 1")).await;
    let refused = refusal(folder, &fs::read(copy).unwrap(), &vault).await;
    assert!(matches!(refused, BackupError::Store(StoreError::Newer { found: 9999, .. })), "{refused}");
}

#[tokio::test]
async fn the_master_key_must_be_the_one_and_every_value_must_open() {
    let (at, _, dump) = a_dump().await;
    let (folder, whole) = (at.directory.path(), fs::read(&dump).unwrap());
    let other = vault("AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=").await;
    let refused = refusal(folder, &whole, &other).await;
    assert!(matches!(refused, BackupError::KeyLost { .. }), "{refused}");
    let needed = the_vault().await.ring().current().to_string();
    assert!(refused.to_string().contains(&needed), "{refused}");

    let work = at.store.write(|tx| {
        Box::pin(async move {
            on!(tx, |db, q| {
                sqlx::query(q(MOVE_TOKEN)).bind(&b"somebody else"[..]).execute(db).await?;
            });
            Ok(())
        })
    });
    work.await.unwrap();
    let refused = refusal(folder, &fs::read(copy_of(&at).await).unwrap(), &the_vault().await).await;
    assert!(matches!(refused, BackupError::Unopened { table: "whatsapp_tokens" }), "{refused}");
}

#[tokio::test]
async fn a_copied_file_goes_into_every_engine() {
    let at = Fixture::open().await;
    let filled = Filled::fill(&at.store).await;
    add_odd_rows(&at).await;
    let copy = copy_of(&at).await;
    assert!(matches!(deliver(&copy, &copy).await, Err(BackupError::Exists(_))));
    let taken = at.directory.path().join("taken.db");
    deliver(&copy, &taken).await.unwrap();
    assert!(!copy.exists(), "it is taken away");
    at.store.close().await;
    let from = everything(&at.config).await;
    for engine in On::all() {
        let target = empty(engine).await;
        let restored = restore(&taken, &target.config, &the_vault().await, false).await.unwrap();
        assert!(!restored.dump);
        assert_same(&everything(&target.config).await, &on_engine(engine, from.clone()));
        let store = target.open_again().await.unwrap();
        filled.check(&store).await;
        store.close().await;
    }
    let again = at.directory.path().join("again.db");
    copy_closed(&at, &again).await;
    assert_eq!(inspect(&again).await.unwrap(), inspect(&taken).await.unwrap());
}

/// Copies the file of a gateway that does not run, and refuses to write over something.
async fn copy_closed(at: &Fixture, to: &Path) {
    copy(&at.config, to).await.unwrap();
    assert!(matches!(copy(&at.config, to).await, Err(BackupError::Exists(_))));
    assert!(matches!(dump(&at.config, to, &at.clock).await, Err(BackupError::Exists(_))));
}

#[tokio::test]
async fn a_copied_file_that_is_damaged_or_in_use_is_refused() {
    let (at, _, _) = a_dump().await;
    let copy = copy_of(&at).await;
    let (folder, whole, vault) = (at.directory.path(), fs::read(&copy).unwrap(), the_vault().await);
    let mut blank = whole.clone();
    let half = whole.len() / 2 / 4096 * 4096;
    blank[half..half + 4096].fill(0);
    for damaged in [&blank[..], &whole[..half], &whole[..100]] {
        refusal(folder, damaged, &vault).await;
    }
    assert!(matches!(refusal(folder, b"something else entirely", &vault).await, BackupError::Foreign(_)));
    let DatabaseConfig::Sqlite { path } = &at.config else { panic!("SQLite has a file") };
    let in_use = restore(path, &new_file(folder), &vault, true).await;
    assert!(matches!(in_use, Err(BackupError::Damaged { .. })), "{in_use:?}");
}

#[tokio::test]
async fn another_programs_file_is_not_replaced() {
    let (at, _, _) = a_dump().await;
    let (copy, vault) = (copy_of(&at).await, the_vault().await);
    let folder = tempfile::tempdir().unwrap();
    let DatabaseConfig::Sqlite { path } = new_file(folder.path()) else { panic!("SQLite has a file") };
    fs::write(&path, "").unwrap();
    change(&new_file(folder.path()), sql!("CREATE TABLE theirs (a TEXT)")).await;
    for rehearsal in [true, false] {
        let refused = restore(&copy, &new_file(folder.path()), &vault, rehearsal).await;
        assert!(matches!(refused, Err(BackupError::Store(StoreError::Damaged { .. }))), "{refused:?}");
    }
    fs::write(&path, "a letter to somebody, and no database at all").unwrap();
    assert!(restore(&copy, &new_file(folder.path()), &vault, false).await.is_err());
    assert!(fs::read_to_string(&path).unwrap().starts_with("a letter"));
}
